import csv
import json
import resource

import pytest

from seqpipe.tracking.base import recording
from seqpipe.tracking.csv import CsvTracker


def test_metrics_and_facts_are_plain_files_in_the_run_folder(tmp_path, a_run):
    with recording(CsvTracker(tmp_path, tmp_path / "run")) as tracker:
        tracker.start(**a_run)
        assert json.loads((tmp_path / "run/run.json").read_text())["status"] == "RUNNING"
        tracker.logger.log_metrics({"train/loss": 0.5, "epoch": 0}, 1)
        tracker.logger.log_metrics({"val/loss": float("nan")}, 2)
        tracker.log_table("predictions", [{"x": "a,b", "y": 1}])
    with (tmp_path / "run/metrics.csv").open() as file:
        rows = [(row["step"], row["metric"], row["value"]) for row in csv.DictReader(file)]
    assert rows == [("1", "train/loss", "0.5"), ("1", "epoch", "0.0"), ("2", "val/loss", "nan")]
    facts = json.loads((tmp_path / "run/run.json").read_text())
    assert facts["status"] == "FINISHED"
    assert facts["params"] == a_run["params"]
    assert facts["datasets"]["train"]["digest"] == "a1" * 32
    assert (tmp_path / "run/predictions.csv").read_text() == 'x,y\n"a,b",1\n'
    assert tracker.location == str(tmp_path / "run/metrics.csv")


def test_only_the_first_end_counts(tmp_path, a_run):
    tracker = CsvTracker(tmp_path, tmp_path)
    tracker.start(**a_run)
    tracker.end("FAILED")
    tracker.end("FINISHED")
    assert json.loads((tmp_path / "run.json").read_text())["status"] == "FAILED"


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path, a_run, caplog):
    (tmp_path / "run").write_text("a file, not a folder")
    with recording(CsvTracker(tmp_path, tmp_path / "run")) as tracker:
        tracker.start(**a_run)
        tracker.log_metrics({"train/loss": 0.5}, 1)
    assert caplog.text.count("cannot be written, training continues") == 1


def test_a_disk_with_room_again_gets_what_waited_and_no_row_is_cut(tmp_path, a_run, caplog):
    tracker = CsvTracker(tmp_path, tmp_path)
    tracker.start(**a_run)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        for step in range(9):
            tracker.log_metrics({"train/loss": step / 7}, step)
        assert (tmp_path / "metrics.csv").read_text().endswith("\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    tracker.end("FINISHED")
    with (tmp_path / "metrics.csv").open() as file:
        rows = [(int(row["step"]), float(row["value"])) for row in csv.DictReader(file)]
    assert rows == [(step, step / 7) for step in range(9)]
    assert caplog.text.count("cannot be written, training continues: File too large") == 1


def test_a_second_process_writes_nothing(tmp_path, a_run, monkeypatch):
    from pytorch_lightning.utilities import rank_zero_only

    monkeypatch.setattr(rank_zero_only, "rank", 1)
    tracker = CsvTracker(tmp_path, tmp_path / "run")
    tracker.start(**a_run)
    tracker.log_metrics({"train/loss": 0.5}, 1)
    tracker.end("FINISHED")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["metrics.csv", "run.json"])
def test_a_run_that_never_started_leaves_nothing(tmp_path, name):
    CsvTracker(tmp_path, tmp_path).end("FAILED")
    assert not (tmp_path / name).exists()
