"""A field from a folder outside the package: every command works."""

import csv
import json
from pathlib import Path

import pytest

from seqpipe.testing import check_field

TRAIN = (
    *("train", "data=clock", "hidden_size=8", "trainer.max_epochs=1", "logger=none"),
    *("trainer.enable_progress_bar=false", "diagnostics=none", "hydra.run.dir=run"),
)
OF_RUN = ("run=run", "trust=[clock]")


def visits(number):
    """Times of one day: in the night shift around midnight, else around noon."""
    start = (23 if number % 2 else 11) * 60 + 7 * (number % 13)
    times = [(start + 20 * step) % 1440 for step in range(2 + number % 3)]
    return " ".join(f"{time // 60:02}:{time % 60:02}" for time in times)


def write(file, numbers, more=()):
    rows = [(visits(number), "night" if number % 2 else "day") for number in numbers]
    with file.open("w", newline="") as opened:
        csv.writer(opened).writerows([("times", "shift"), *rows, *more])


@pytest.fixture(scope="module")
def trained(seqpipe, tmp_path_factory):
    """A folder with a run whose x is read by a field of one's own, and what it printed."""
    folder = tmp_path_factory.mktemp("clock")
    write(folder / "visits.csv", range(60))
    write(folder / "new.csv", range(100, 106))
    return folder, seqpipe(folder, *TRAIN)


def test_it_keeps_the_contract_of_fields(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent / "toys")
    from clock import Clock

    check_field(Clock("times"), [{"times": visits(number)} for number in range(8)])


def test_it_trains_and_its_report_is_written(trained):
    folder, printed = trained
    assert "2 to 4 steps; values (2) -> 2 classes (day, night)" in printed
    assert "night" in (folder / "run" / "report.html").read_text()


def test_its_model_is_evaluated(seqpipe, trained):
    folder, _ = trained
    assert "6 of new.csv" in seqpipe(
        folder, "evaluate", *OF_RUN, "resamples=20", "data.path=new.csv"
    )


def test_its_model_predicts(seqpipe, trained):
    folder, _ = trained
    seqpipe(folder, "predict", *OF_RUN, "input=new.csv", "output=out.jsonl")
    answers = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
    assert [set(one["probabilities"]) for one in answers] == [{"day", "night"}] * 6


def test_what_it_refuses_is_reported_with_file_and_line(seqpipe, tmp_path):
    write(tmp_path / "visits.csv", range(20), [("12:00 25:00", "day")])
    printed = seqpipe(tmp_path, *TRAIN, code=2)
    wrong = "times='25:00': not a time of day; allowed: 00:00 to 23:59"
    assert printed.startswith(f"seqpipe: visits.csv:22: {wrong}")
