"""predict writes the regions that a model of DNA finds as GFF3 and BED."""

import json
import random
from itertools import groupby

import pytest

from seqpipe.commands.dispatch import COMMANDS
from seqpipe.commands.predict import run as predict

Predict = COMMANDS["predict"].options


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    """A sequence of 4,000 bases with a coding part every 400, and its annotation."""
    folder, rng = tmp_path_factory.mktemp("genome"), random.Random(0)
    letters = [rng.choice("AT") for _ in range(4_000)]
    lines = ["##gff-version 3"]
    for number, start in enumerate(range(150, 4_000, 400)):
        letters[start : start + 90] = [rng.choice("GC") for _ in range(90)]
        columns = ["chr1", "x", "CDS", start + 1, start + 90, ".", "+", "0", f"ID=c{number}"]
        lines.append("\t".join(map(str, columns)))
    (folder / "genome.fa").write_text(">chr1\n" + "".join(letters) + "\n")
    (folder / "genes.gff").write_text("\n".join(lines) + "\n")
    return folder


def regions_by_hand(rows):
    """(start, end) from 0 of each run of coding bases, over windows that follow each other."""
    tags = {}
    for row in rows:
        for place, tag in enumerate(row["prediction"]):
            tags[row["start"] - 1 + place] = tag
    found = []
    for tag, group in groupby(sorted(tags), key=tags.get):
        places = list(group)
        if tag == "coding":
            found.append((places[0], places[-1] + 1))
    return found


def test_regions_of_a_genome_are_those_of_its_bases(launch_in, genome, tmp_path, capsys):
    data = ["data.length=100", "data.source.region=200", "data.batch_size=4"]
    result = launch_in(
        *(tmp_path, "gff", f"data.source.path={genome}", "data.source.train=genome.fa"),
        *("data.source.annotation=genes.gff", *data, "data.cache=null", "trainer.max_epochs=6"),
        *("optim.lr=0.03", "preflight=none", "diagnostics=none"),
        *("task.spans=runs", "task.background=noncoding"),
    )
    assert result.metrics["test/f1/coding"] > 0.8
    assert "test/entity_f1/coding" in result.metrics
    asked = {"run": str(result.output_dir), "input": str(genome / "genome.fa")}
    for name in ("out.jsonl", "out.gff3", "out.bed"):
        predict(Predict(**asked, output=str(tmp_path / name)), tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    wanted = regions_by_hand(rows)
    assert len(wanted) >= 5
    gff = [line.split("\t") for line in (tmp_path / "out.gff3").read_text().splitlines()[1:]]
    bed = [line.split("\t") for line in (tmp_path / "out.bed").read_text().splitlines()]
    assert [(int(one[3]) - 1, int(one[4])) for one in gff] == wanted
    assert [(int(one[1]), int(one[2])) for one in bed] == wanted
    assert {(one[0], one[2], one[6]) for one in gff} == {("chr1", "coding", ".")}
