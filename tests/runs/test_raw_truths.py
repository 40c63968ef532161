"""What a run leaves of its truths, and how evaluate measures them: as the data wrote them."""

import csv
import json

import pytest

from seqpipe.commands.dispatch import COMMANDS
from seqpipe.commands.evaluate import run as evaluate

Evaluate = COMMANDS["evaluate"].options
WORDS = "uno due tre quattro".split()
RARE = "zebra"  # each once: min_count=2 makes <UNK> of it


@pytest.fixture(scope="module", params=["transduction", "transcription"])
def trained(request, tmp_path_factory, launch_in):
    root = tmp_path_factory.mktemp(request.param)
    for name, count in (("train", 40), ("test", 8)):
        rows = [
            f"{' '.join(WORDS[(n + k) % 4] for k in range(1 + n % 3))} so so so\t"
            f"{WORDS[n % 4].upper()}-{WORDS[(n + 1) % 4]}, {RARE}{n}!"
            for n in range(count)
        ]
        (root / f"{name}.tsv").write_text("\n".join(rows) + "\n")
    more = []
    if request.param == "transcription":
        more = ["architecture=many_to_many", "task=transcription", "data.x.by=characters"]
    result = launch_in(
        root,
        "pairs",
        f"data.path={root}/train.tsv",
        f"data.source.valid={root}/test.tsv",
        f"data.source.test={root}/test.tsv",
        "data.cache=null",
        "trainer.max_epochs=1",
        *more,
    )
    return root, result


def test_examples_show_the_truths_as_the_data_wrote_them(trained):
    """Only lowercase, which data=pairs declares, changes them."""
    root, result = trained
    with (result.output_dir / "examples.csv").open() as file:
        shown = {row["truth"] for row in csv.DictReader(file)}
    lines = (root / "test.tsv").read_text().splitlines()
    assert shown == {line.split("\t")[1].lower() for line in lines}
    assert "zebra3!" in (result.output_dir / "report.md").read_text()


def test_evaluate_compares_with_the_raw_text_however_it_reads_it(trained):
    """Every truth holds a word that training made <UNK> of, so that no answer is right."""
    root, result = trained
    run = str(result.output_dir)
    evaluate(Evaluate(run=run, resamples=0), root)
    evaluate(Evaluate(run=run, input=f"{root}/test.tsv", resamples=0), root)
    for name in ("test", "test.tsv"):
        file = result.output_dir / "evaluations" / f"evaluation_{name}.json"
        held = json.loads(file.read_text())
        found = {row["metric"]: row["value"] for row in held if row["slice"] == "all"}
        assert found["exact_match"] == 0
        assert found["error_rate"] == pytest.approx(result.metrics["test/error_rate"], rel=1e-5)
