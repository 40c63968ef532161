"""A run that does not come to its end leaves its numbers, its reason and its state."""

import csv
import errno
import json
from pathlib import Path

import pytest

from seqpipe.commands import train
from seqpipe.errors import RecordError, TrainingError
from seqpipe.files import replacing
from seqpipe.report import run_files as report
from seqpipe.runs import artifacts, examples, saved_model
from seqpipe.training import archives
from seqpipe.training.module import SequenceModule

PLAIN = ["trainer.max_epochs=3", "scheduler=none", "logger=csv", "preflight=none"]
QUICK = [*PLAIN, "diagnostics=none"]
FULL = OSError(errno.ENOSPC, "No space left on device")


def left(tmp_path: Path) -> tuple[Path, dict, str, str]:
    """The run's folder, its metrics, its report and its state."""
    folder = tmp_path / "runs" / "run"
    metrics = json.loads((folder / "metrics.json").read_text())
    state = json.loads((folder / "run.json").read_text())["status"]
    return folder, metrics, (folder / "report.md").read_text(), state


def raise_at(monkeypatch, place: object, name: str, error: BaseException, after: int = 0) -> None:
    """Makes a function raise, from its call number `after` + 1 on."""
    made, calls = getattr(place, name), []

    def planted(*arguments, **options):
        calls.append(name)
        if len(calls) > after:
            raise error
        return made(*arguments, **options)

    monkeypatch.setattr(place, name, planted)


# An epoch has four updates.
STAGES = [
    (
        train,
        "build_observers",
        0,
        RuntimeError("planted"),
        "RuntimeError: planted",
        set(),
    ),
    (SequenceModule, "training_step", 0, ValueError("planted"), "ValueError: planted", set()),
    (SequenceModule, "training_step", 2, KeyboardInterrupt(), "Ctrl-C", {"train/loss"}),
    (
        *(SequenceModule, "training_step", 6, SystemExit(143), "SIGTERM"),
        {"train/loss", "val/loss", "best/val/loss"},
    ),
    (SequenceModule, "validation_step", 0, SystemExit(129), "SIGHUP", {"train/loss"}),
    (
        *(SequenceModule, "optimizer_step", 5, TrainingError("update 6 cannot be made")),
        *("update 6 cannot be made", {"train/loss", "val/loss", "best/val/loss"}),
    ),
    (
        *(SequenceModule, "test_step", 0, RuntimeError("CUDA out of memory. Tried to allocate")),
        *("out of memory: CUDA out of memory", {"train/loss", "val/loss", "best/val/loss"}),
    ),
    (
        *(examples, "example_rows", 0, MemoryError("8 GB"), "out of memory: 8 GB"),
        {"test/loss", "val/loss", "best/val/loss"},
    ),
    (
        examples,
        "example_rows",
        0,
        OSError(errno.EIO, "Input/output error"),
        "Input/output error",
        set(),
    ),
]


@pytest.mark.parametrize(("place", "name", "after", "error", "told", "metrics"), STAGES)
def test_a_run_that_ends_early_leaves_its_reason_and_its_numbers(
    launch, tmp_path, monkeypatch, place, name, after, error, told, metrics
):
    raise_at(monkeypatch, place, name, error, after)
    expected = (type(error), SystemExit, RecordError)  # Lightning exits on Ctrl-C
    with pytest.raises(expected) as caught:
        launch("adding", *QUICK)
    assert caught.value is error or caught.value.__cause__ is error or name == "training_step"
    folder, numbers, page, state = left(tmp_path)
    killed = isinstance(error, (KeyboardInterrupt, SystemExit))
    assert state == ("KILLED" if killed else "FAILED")
    assert metrics <= set(numbers)
    assert told in page
    assert "## What ended the run" in page
    assert (folder / "report.html").is_file()
    assert not [*folder.rglob(".new-*")]


def test_the_gradient_norms_before_a_break_are_kept(launch, tmp_path, monkeypatch):
    """Of windows of four updates the second is not full: it is the end that writes it."""
    raise_at(monkeypatch, SequenceModule, "training_step", TrainingError("planted"), after=7)
    with pytest.raises(TrainingError, match="planted"):
        launch("adding", *QUICK, "trainer.log_every_n_steps=4")
    folder, numbers, page, _ = left(tmp_path)
    with (folder / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["metric"] == "grad_norm/window_max"]
    assert [int(row["step"]) for row in rows] == [4, 7]
    assert float(rows[-1]["value"]) == numbers["grad_norm/window_max"]
    assert "In 7 updates the median gradient norm was" in page
    history = (folder / "history.csv").read_text()
    assert "grad_norm/window_max,7," in history


def test_what_was_seen_inside_a_model_before_a_break_is_drawn(launch, tmp_path, monkeypatch):
    raise_at(monkeypatch, SequenceModule, "training_step", TrainingError("planted"), after=6)
    with pytest.raises(TrainingError, match="planted"):
        launch("adding", *PLAIN)
    folder, _, page, _ = left(tmp_path)
    assert (folder / "gradients.parquet").is_file()
    assert "## Gradients" in page
    assert (folder / "figures" / "learning_curves.png").is_file()


@pytest.mark.parametrize(
    ("place", "name", "after"),
    [
        (artifacts, "write_history", 0),
        (report, "write_metrics", 0),
        (saved_model, "write", 0),
        (examples, "example_rows", 0),
        (artifacts, "write_report", 0),
    ],
)
def test_a_full_disk_ends_a_run_with_its_state_and_what_was_written(
    launch, tmp_path, monkeypatch, place, name, after
):
    raise_at(monkeypatch, place, name, FULL, after)
    with pytest.raises((OSError, RecordError), match="No space left on device") as caught:
        launch("adding", *QUICK)
    folder = tmp_path / "runs" / "run"
    assert json.loads((folder / "run.json").read_text())["status"] == "FAILED"
    assert not [*folder.rglob(".new-*")]
    if isinstance(caught.value, RecordError):  # it was tested: the result is not lost
        assert "test:       loss" in caught.value.summary
        assert str(folder) in str(caught.value)


# Each epoch of the three writes the best checkpoint and then the last one.
@pytest.mark.parametrize(
    ("fails", "kept", "best_epochs"),
    [
        ({1, 2, 3, 4, 5, 6}, set(), {None}),
        ({1, 2}, {"best.ckpt", "last.ckpt"}, {2, 3}),
        ({3, 4, 5, 6}, {"best.ckpt", "last.ckpt"}, {1}),
        ({2, 4, 6}, {"best.ckpt"}, {1, 2, 3}),
    ],
)
def test_a_checkpoint_that_the_disk_cannot_hold_leaves_the_one_before_and_the_training_continues(
    launch, tmp_path, monkeypatch, caplog, fails, kept, best_epochs
):
    made, calls = archives.write_archive, []

    def half(path, content):
        calls.append(path)
        if len(calls) in fails:
            with replacing(path) as new:
                new.write_bytes(b"half of it")
                raise FULL
        made(path, content)

    monkeypatch.setattr(archives, "write_archive", half)
    result = launch("adding", *QUICK)
    folder = tmp_path / "runs" / "run" / "checkpoints"
    files = {path.name for path in folder.iterdir()} - {".before-best.ckpt"}
    assert files == kept
    for name in files:
        assert archives.read_archive(folder / name)["state_dict"]
    if "best.ckpt" in files:  # the validation of the file, not of weights that are lost
        assert result.metrics["best/epoch"] in best_epochs
        assert archives.read_archive(folder / "best.ckpt")["global_step"] == 4 * int(
            result.metrics["best/epoch"]
        )
    else:
        assert "best/epoch" not in result.metrics
    assert result.metrics["test/loss"] > 0
    text = "No space left on device: training continues with the checkpoint before"
    assert caplog.text.count(text) == (3 if fails == {2, 4, 6} else 1)
    assert ("checkpoints can be written again" in caplog.text) == (6 not in fails or len(fails) < 4)
    assert not list(folder.glob(".new-*"))
    assert json.loads((folder.parent / "run.json").read_text())["status"] == "FINISHED"
