"""A source from a folder outside the package: every command works."""

import json
from pathlib import Path

import pytest

from seqpipe.errors import DataError
from seqpipe.testing import check_source

TRAIN = (
    *("train", "data=cards", "hidden_size=8", "trainer.max_epochs=1", "logger=none"),
    *("trainer.enable_progress_bar=false", "diagnostics=none", "hydra.run.dir=run"),
)
OF_RUN = ("run=run", "trust=[cards]")
WORDS = {"offer": "cheap prize winner", "letter": "dear friend yours"}


def write(file, numbers, *, labelled=True):
    cards = []
    for number in numbers:
        kind = "letter" if number % 2 else "offer"
        words = WORDS[kind].split()
        text = " ".join(words[(number + place) % 3] for place in range(2 + number % 4))
        cards.append(f"text: {text} {number}\n" + (f"kind: {kind}\n" if labelled else ""))
    file.write_text("\n".join(cards))


@pytest.fixture(scope="module")
def trained(seqpipe, tmp_path_factory):
    """A folder with a run on a source of one's own, and what it printed."""
    folder = tmp_path_factory.mktemp("cards")
    write(folder / "mail.card", range(60))
    return folder, seqpipe(folder, *TRAIN)


def test_it_keeps_the_contract_of_sources(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(Path(__file__).parent / "toys")
    from cards import Cards

    write(tmp_path / "mail.card", range(40))
    check_source(Cards(train="mail.card", path=str(tmp_path)), columns=["text"])


def test_it_is_trained_on_and_the_report_is_written(trained):
    folder, printed = trained
    assert "Cards: train 36, valid 12, test 12" in printed
    assert "letter" in (folder / "run" / "report.html").read_text()


def test_a_model_is_evaluated(seqpipe, trained):
    folder, _ = trained
    write(folder / "more.card", range(60, 70))
    printed = seqpipe(folder, "evaluate", *OF_RUN, "resamples=20", "data.source.test=more.card")
    assert "10 of more.card" in printed


def test_a_model_reads_such_files_without_labels(seqpipe, trained):
    folder, _ = trained
    write(folder / "new.card", range(70, 76), labelled=False)
    seqpipe(folder, "predict", *OF_RUN, "input=new.card", "format=source", "output=out.jsonl")
    answers = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
    assert [set(one["probabilities"]) for one in answers] == [set(WORDS)] * 6


def test_what_it_refuses_is_named_by_file_and_line(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(Path(__file__).parent / "toys")
    from cards import Cards

    write(tmp_path / "mail.card", range(20))
    with (tmp_path / "mail.card").open("a") as opened:
        opened.write("no colon\n")
    refused = [
        str(one)
        for one in Cards(train="mail.card", path=str(tmp_path)).examples()
        if isinstance(one, DataError)
    ]
    assert refused == [f"{tmp_path / 'mail.card'}:60: has no colon; allowed: key: value"]
