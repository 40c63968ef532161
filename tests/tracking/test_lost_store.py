"""A store that fails, hangs or is away: nothing is lost, and `sync` sends what waited."""

import errno
import json
import math
import re
import time
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from mlflow import MlflowClient

from seqpipe.commands import sync
from seqpipe.commands.options import Sync
from seqpipe.errors import ConfigError
from seqpipe.tracking import outbox
from seqpipe.tracking.base import Dataset
from seqpipe.tracking.journal import Journal
from seqpipe.tracking.mlflow import MLflowTracker
from seqpipe.tracking.run_record import write_provenance

CALLS = ("log_batch", "log_inputs", "log_artifact", "log_dict", "log_image", "set_terminated")
DATABASE = "sqlite:///outputs/mlflow.db"
PICTURE = np.zeros((4, 4, 3), np.uint8)


class Outage:
    """Calls of the store that fail with an error while `error` is set."""

    def __init__(self, monkeypatch, names=(*CALLS, "get_run")):
        self.error: BaseException | None = None
        self.after = 0  # calls that still succeed
        for name in names:
            monkeypatch.setattr(MlflowClient, name, self._failing(getattr(MlflowClient, name)))

    def _failing(self, made):
        def call(*arguments, **options):
            self.after -= 1
            if self.error is not None and self.after < 0:
                raise self.error
            return made(*arguments, **options)

        return call


@pytest.fixture
def outage(monkeypatch) -> Outage:
    return Outage(monkeypatch)


@pytest.fixture
def synced(store_root, tmp_path, capsys):
    """synced(): exit code and output of the command about the run in the test's folder."""

    def send(**options) -> tuple[int, str]:
        answer = sync.run(Sync(**{"run": str(tmp_path), **options}), store_root)
        return answer.code, "\n".join([capsys.readouterr().out, answer.text, answer.note])

    return send


def record_all(tracker, folder: Path) -> None:
    """Every kind of call: several steps of metrics, files, a table, a picture."""
    for step in range(4):
        tracker.log_metrics({"train/loss": 1.0 / (step + 1), "lr": 0.1}, step)
    tracker.log_metrics({"val/loss": math.nan, "x" * 300: 1.0}, 4)
    (folder / "figures").mkdir(exist_ok=True)
    (folder / "figures" / "curves.png").write_bytes(b"a picture")
    (folder / "config.yaml").write_text("cell: lstm\n")
    tracker.log_artifacts(folder)
    tracker.log_artifact(Path(__file__), "code")
    tracker.log_table("examples", [{"x": "a", "y": 1}])
    tracker.log_image("look", lambda: PICTURE, 3)


def record_of(client, run_id) -> dict:
    """All that the store has of a run, without what differs from run to run."""
    run = client.get_run(run_id)
    files, waiting = {}, [""]
    while waiting:
        for entry in client.list_artifacts(run_id, waiting.pop() or None):
            if entry.is_dir:
                waiting.append(entry.path)
            else:
                name = re.sub(r"timestamp.+(?=\.\w+$)", "", entry.path)
                files[name] = files.get(name, 0) + 1
    own = ("mlflow.runName", "process", "offline_id")
    return {
        "params": run.data.params,
        "tags": {key: value for key, value in run.data.tags.items() if key not in own},
        "datasets": sorted(
            one.dataset.name + one.tags[0].value for one in run.inputs.dataset_inputs
        ),
        "metrics": {
            key: [(one.step, str(one.value)) for one in client.get_metric_history(run_id, key)]
            for key in run.data.metrics
        },
        "files": files,
        "status": run.info.status,
    }


@pytest.fixture(scope="module")
def undisturbed(store_root, client, tmp_path_factory) -> dict:
    """The record of a run whose store never failed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    tracker = MLflowTracker(store_root, folder, DATABASE, flush_seconds=0)
    tracker.start(**facts())
    record_all(tracker, folder)
    tracker.end("FINISHED")
    assert not (folder / "unsent").exists()
    assert tracker.waiting == ""
    return record_of(client, tracker.run_id)


def facts() -> dict:
    """What `start` is given."""
    params = {"cell": "lstm", "depth": 3, "long": "w" * 9000}
    data = {"train": Dataset("digits", "a1" * 32, 1200, "handwritten digits")}
    tags = {"data": "digits", "command": "python -m seqpipe"}
    return {
        "run_name": "digits lstm",
        "experiment": "lost",
        "params": params,
        "tags": tags,
        "datasets": data,
    }


@pytest.mark.parametrize("moment", [0, 7])
def test_a_store_that_goes_away_at_any_moment_gets_all_of_it_from_sync(
    make_tracker, client, outage, undisturbed, synced, tmp_path, caplog, moment
):
    tracker = make_tracker(flush_seconds=0)
    tracker.start(**facts())
    outage.after, outage.error = moment, OSError("server gone")
    record_all(tracker, tmp_path)
    tracker.end("FINISHED")
    assert caplog.text.count("cannot be written, training continues: server gone") == 1
    assert f"they wait in {tmp_path}/unsent for python -m seqpipe sync" in caplog.text
    assert "python -m seqpipe sync" in tracker.waiting
    code, told = synced()
    assert (code, "remains: " in told) == (1, True)
    outage.error = None
    code, told = synced()
    assert (code, f"sent to mlflow run {tracker.run_id}" in told) == (0, True)
    assert record_of(client, tracker.run_id) == undisturbed
    assert not (tmp_path / "unsent").exists()
    assert synced() == (0, f"\nnothing waits below {tmp_path}\n")


@pytest.mark.parametrize("moment", [0, 2, 8])
def test_a_run_without_its_store_is_made_by_sync_once_however_often_that_is_killed(
    make_tracker, client, outage, undisturbed, synced, tmp_path, moment
):
    tracker = make_tracker(flush_seconds=0, offline=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("seqpipe.tracking.mlflow.open_store", Mock(side_effect=AssertionError))
        tracker.start(**facts())
        write_provenance(tmp_path, tracker.run_id, tracker.location, facts())
        record_all(tracker, tmp_path)
        tracker.end("FINISHED")
    assert tracker.run_id is None
    known = {run.info.run_id for run in lost_runs(client)}
    # A process that is killed notes nothing more of what it has sent.
    outage.after, outage.error = moment, KeyboardInterrupt()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Journal, "note_sent", lambda *arguments: None)
        patch.setattr(Journal, "close", lambda self: self._lock.release())
        with pytest.raises(KeyboardInterrupt):
            synced()
    outage.error = None
    assert synced()[0] == 0
    (run,) = [one for one in lost_runs(client) if one.info.run_id not in known]
    found = record_of(client, run.info.run_id)
    assert found.pop("files").pop("provenance.json") == 1
    assert found == {key: value for key, value in undisturbed.items() if key != "files"}
    assert run.info.run_name == "digits lstm"
    assert json.loads((tmp_path / "provenance.json").read_text())["run_id"] == run.info.run_id
    assert synced()[1].strip().startswith("nothing waits")


def lost_runs(client) -> list:
    experiment = client.get_experiment_by_name("lost")
    return list(client.search_runs([experiment.experiment_id]))


def test_a_store_that_comes_back_gets_what_waited_while_the_training_continues(
    make_tracker, client, outage, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(outbox, "_FIRST_WAIT", 0.0)
    monkeypatch.setattr(outbox, "_LONGEST_WAIT", 0.0)
    tracker = make_tracker(flush_seconds=0)
    tracker.start(**facts())
    outage.error = OSError("server gone")
    for step in range(3):
        tracker.log_metrics({"train/loss": step}, step)
    tracker.log_artifact(Path(__file__))
    assert (tmp_path / "unsent" / "journal.jsonl").is_file()
    outage.error = None
    tracker.log_metrics({"train/loss": 3}, 3)
    history = client.get_metric_history(tracker.run_id, "train/loss")
    assert [point.step for point in history] == [0, 1, 2, 3]
    assert caplog.text.count("the store answers again: what waited was sent") == 1
    tracker.end("FINISHED")
    assert not (tmp_path / "unsent").exists()
    assert client.get_run(tracker.run_id).info.status == "FINISHED"
    assert "could not be recorded" not in caplog.text


def test_a_store_that_is_away_is_asked_less_and_less_often(
    make_tracker, client, monkeypatch, tmp_path
):
    tracker = make_tracker(flush_seconds=0)
    tracker.start(**facts())
    start, asked = time.monotonic(), []
    now = [start]
    monkeypatch.setattr(outbox.time, "monotonic", lambda: now[0])
    gone = Mock(side_effect=lambda *a, **b: asked.append(now[0]) or failing())

    def failing():
        raise OSError("gone")

    for name in (*CALLS, "get_run"):
        monkeypatch.setattr(MlflowClient, name, gone)
    for second in range(200):
        now[0] = start + second
        tracker.log_metrics({"train/loss": 1.0}, second)
    # At 0, 1, 3, 7, 15, 31, 63, 123 and 183 s: the call, and whether the store answers at all.
    assert sorted({round(moment - start) for moment in asked}) == [0, 1, 3, 7, 15, 31, 63, 123, 183]
    assert sum(1 for _ in Journal(tmp_path).calls()) == 200


@pytest.mark.parametrize("status", ["FINISHED", "FAILED", "KILLED"])
def test_a_store_that_never_answers_costs_a_run_seconds_and_says_so_once(
    make_tracker, client, monkeypatch, caplog, tmp_path, status
):
    (tmp_path / "figures").mkdir()
    for k in range(30):
        (tmp_path / "figures" / f"{k}.png").write_bytes(b"a picture")
    tracker = make_tracker(flush_seconds=0)
    tracker.start(**facts())
    for name, seconds in {"_CALL": 0.2, "_NEXT": 0.1, "_TRAINING": 0.4, "_END": 0.4}.items():
        monkeypatch.setattr(f"seqpipe.tracking.timeouts.{name}", seconds)
    hangs = lambda *a, **b: time.sleep(20)  # noqa: E731
    for name in CALLS:
        monkeypatch.setattr(MlflowClient, name, hangs)
    started = time.monotonic()
    for step in range(50):
        tracker.log_metrics({"train/loss": step}, step)
    tracker.log_artifacts(tmp_path)
    tracker.log_table("examples", [{"x": 1}])
    tracker.end(status)
    assert time.monotonic() - started < 15.0  # one call alone would hang for 20
    calls = [line for _, line in Journal(tmp_path).calls()]
    assert sum(len(line.get("points", ())) for line in calls) == 50
    assert [line["status"] for line in calls if line["kind"] == "status"] == [status]
    warnings = [record for record in caplog.records if record.levelname == "WARNING"]
    (error,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len(warnings) == 1
    assert "50 metric values; figures/0.png; figures/1.png; figures/10.png" in error.message
    assert "more; they wait in" in error.message
    assert client.get_run(tracker.run_id).info.status == "RUNNING"


@pytest.mark.parametrize(
    ("site", "lacks"),
    [
        ("log_batch", ["the params", "1 metric value"]),
        ("log_inputs", ["the datasets"]),
        ("log_artifact", ["test_lost_store.py", "rows.json", "look of step 1"]),
        ("log_dict", ["rows.json"]),
        ("log_image", ["look of step 1"]),
        ("set_terminated", ["the status FINISHED"]),
    ],
)
def test_whatever_a_full_store_does_not_take_waits_and_the_rest_is_there(
    make_tracker, a_run, client, monkeypatch, tmp_path, synced, caplog, site, lacks
):
    full = OSError(errno.ENOSPC, "No space left on device")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MlflowClient, site, Mock(side_effect=full))
        tracker = make_tracker(flush_seconds=0)
        tracker.start(**a_run)
        tracker.log_metrics({"train/loss": 1.0}, 1)
        tracker.log_artifact(Path(__file__))
        tracker.log_table("rows", [{"a": 1}])
        tracker.log_image("look", lambda: PICTURE, 1)
        tracker.end("FINISHED")
    (error,) = [record.message for record in caplog.records if record.levelname == "ERROR"]
    named = error.partition("recorded: ")[2].split("; ")[:-1]
    assert sorted(name for name in lacks for text in named if name in text) == sorted(lacks)
    assert len(named) == len(lacks)
    status = client.get_run(tracker.run_id).info.status
    assert status == ("RUNNING" if site == "set_terminated" else "FINISHED")
    assert synced()[0] == 0
    assert client.get_run(tracker.run_id).info.status == "FINISHED"
    assert client.get_metric_history(tracker.run_id, "train/loss")[0].step == 1


def test_where_the_disk_is_full_as_well_calls_wait_in_memory(
    make_tracker, client, outage, monkeypatch, tmp_path, caplog
):
    full = Mock(side_effect=OSError(errno.ENOSPC, "No space left on device"))
    monkeypatch.setattr("seqpipe.tracking.journal.append_whole", full)
    monkeypatch.setattr(outbox, "_MOST_HELD", 30)
    tracker = make_tracker(flush_seconds=0)
    tracker.start(**facts())
    outage.error = OSError("server gone")
    for step in range(40):
        tracker.log_metrics({"train/loss": step}, step)
    assert caplog.text.count("nothing can wait there for the store: No space left") == 1
    assert not (tmp_path / "unsent").exists()  # nor an empty journal, which sync would find
    outage.error = None
    tracker.end("FINISHED")
    history = client.get_metric_history(tracker.run_id, "train/loss")
    assert [point.step for point in history] == list(range(10, 40))
    assert "and nothing can send them later: 10 older values" in caplog.text
    assert client.get_run(tracker.run_id).info.status == "FINISHED"


def test_a_process_that_was_killed_leaves_what_sync_sends_with_its_status(
    make_tracker, client, tmp_path, synced
):
    tracker = make_tracker(flush_seconds=0, offline=True)
    tracker.start(**facts())
    tracker.log_metrics({"train/loss": 1.0}, 1)
    code, told = synced()
    assert (code, "another process writes it" in told) == (1, True)  # it still runs
    path = tmp_path / "unsent" / "journal.jsonl"
    tracker._outbox._journal._lock.release()
    path.write_bytes(path.read_bytes() + b'{"kind": "metrics", "poin')  # it was killed here
    code, told = synced()
    assert code == 0, told
    run = next(one for one in lost_runs(client) if one.info.status == "KILLED")
    assert client.get_metric_history(run.info.run_id, "train/loss")[0].value == 1.0


@pytest.mark.parametrize("order", [("parent", "child"), ("child", "parent")])
def test_a_sweep_without_its_store_becomes_a_parent_with_its_children_in_either_order(
    store_root, client, tmp_path, synced, order
):
    runs = {}
    for name in ("parent", "child"):
        (tmp_path / name).mkdir()
        tracker = MLflowTracker(store_root, tmp_path / name, DATABASE, offline=True)
        tags = {"parent": runs["parent"].record_id} if runs else {}
        tracker.start(**facts() | {"run_name": f"{tmp_path.name} {name}", "tags": tags})
        tracker.end("FINISHED")
        runs[name] = tracker
    for name in order:
        assert synced(run=str(tmp_path / name))[0] == 0
    found = {run.info.run_name.split()[-1]: run for run in lost_runs(client)}
    for tag in ("parent", "mlflow.parentRunId"):
        assert found["child"].data.tags[tag] == found["parent"].info.run_id


def test_a_run_that_is_discarded_leaves_nothing_to_send(make_tracker, client, tmp_path, synced):
    for offline in (True, False):
        tracker = make_tracker(offline=offline)
        tracker.start(**facts())
        tracker.discard()
        tracker.end("FINISHED")
    assert client.get_run(tracker.run_id).info.lifecycle_stage == "deleted"
    assert synced()[1].strip().startswith("nothing waits")


def test_a_file_that_is_gone_is_named_and_given_up(make_tracker, client, tmp_path, synced):
    tracker = make_tracker(offline=True)
    tracker.start(**facts())
    (tmp_path / "note.txt").write_text("short")
    tracker.log_artifact(tmp_path / "note.txt")
    tracker.end("FINISHED")
    (tmp_path / "note.txt").unlink()
    code, told = synced()
    assert "gone, and given up: note.txt" in told
    assert code == 0
    assert synced()[1].strip().startswith("nothing waits")


def test_auto_records_on_disk_only_if_the_store_cannot_be_opened(
    make_tracker, tmp_path, caplog, synced, client, store_root
):
    away = make_tracker(offline="auto", tracking_uri="http://127.0.0.1:9")
    away.start(**facts())
    assert "cannot be reached (Connection refused)" in caplog.text
    assert "the run is recorded on disk, for python -m seqpipe sync" in caplog.text
    away.end("FINISHED")
    code, told = synced()
    assert (code, "tracking_uri=http://127.0.0.1:9: cannot be reached" in told) == (1, True)
    known = len(lost_runs(client))
    code, told = synced(tracking_uri=f"sqlite:///{store_root}/outputs/mlflow.db")
    assert (code, len(lost_runs(client))) == (0, known + 1)
    there = make_tracker(offline="auto")
    there.start(**facts())
    there.end("FINISHED")
    assert there.run_id is not None
    assert not (tmp_path / "unsent").exists()


def test_a_store_that_does_not_answer_at_the_start_is_refused_with_the_way_out(make_tracker):
    tracker = make_tracker(tracking_uri="http://127.0.0.1:9")
    with pytest.raises(ConfigError, match=r"or logger\.offline=true to record on disk"):
        tracker.start(**facts())


def test_the_journal_of_somebody_else_names_no_store_and_no_file_for_us(
    make_tracker, tmp_path, synced, client, store_root
):
    tracker = make_tracker(offline=True)
    tracker.start(**facts())
    tracker.end("FINISHED")
    path = tmp_path / "unsent" / "journal.jsonl"
    lines = path.read_text().splitlines()
    head = {**json.loads(lines[0]), "tracking_uri": "http://127.0.0.1:1"}
    secret = store_root / "secret.txt"
    secret.write_text("secret")
    stolen = [
        {"kind": "file", "path": name, "place": ""}
        for name in (str(secret), f"../../{secret.name}", "link.txt")
    ]
    (tmp_path / "link.txt").symlink_to(secret)
    path.write_text("".join(json.dumps(line) + "\n" for line in [head, *stolen]))
    code, told = synced()
    assert code == 1
    assert "was not started from this folder" in told
    assert "allowed: tracking_uri=http://127.0.0.1:1" in told
    code, told = synced(tracking_uri=f"sqlite:///{store_root}/outputs/mlflow.db")
    assert code == 1
    assert "leads out of its folder" in told
    for run in lost_runs(client):
        names = [entry.path for entry in client.list_artifacts(run.info.run_id)]
        assert not {"secret.txt", "link.txt"} & set(names)


@pytest.mark.parametrize(
    "damage",
    [b"", b"not json\n", b"[1]\n", b'{"a": 1}\n', b'{"key": "x", "tags": []}\n', b"\xff\n"],
)
def test_a_damaged_journal_is_one_line(tmp_path, synced, damage):
    (tmp_path / "unsent").mkdir()
    (tmp_path / "unsent" / "journal.jsonl").write_bytes(damage)
    code, told = synced()
    assert code == 1
    assert f"remains: all of it ({tmp_path}/unsent/journal.jsonl: " in told
    assert (tmp_path / "unsent" / "journal.jsonl").read_bytes() == damage


def test_a_folder_that_does_not_exist_is_refused(synced):
    with pytest.raises(ConfigError, match="run=nowhere: no such folder; allowed: a run folder"):
        synced(run="nowhere")
