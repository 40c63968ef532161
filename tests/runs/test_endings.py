"""Real signals at chosen moments of a whole run, in a process of its own: how it ends."""

import json
import os
import signal
import sqlite3
import sys
import time
import traceback
from collections.abc import Callable

import pytest

from seqpipe import cli
from seqpipe.data.sources.generated import Adding
from seqpipe.runs import saved_model
from seqpipe.training.module import SequenceModule

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")]

TYPED = (
    *("data=adding", "data.length=6", "data.source.train=60", "data.source.valid=16"),
    *("data.source.test=16", "hidden_size=8", "data.batch_size=16", "data.cache=null"),
    *("trainer.accelerator=cpu", "trainer.enable_progress_bar=false", "trainer.max_epochs=2"),
    *("preflight=none", "diagnostics=none", "trainer.log_every_n_steps=1"),
)
MOMENTS = {
    "reading data": (Adding, "read"),
    "before the first step": (SequenceModule, "on_train_start"),
    "in a step": (SequenceModule, "training_step"),
    "in validation": (SequenceModule, "validation_step"),
    "in the test": (SequenceModule, "test_step"),
    "writing the model": (saved_model, "write"),
}
HELD: list[sqlite3.Connection] = []  # till the process ends
ENDS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


@pytest.fixture
def ended(tmp_path) -> Callable[..., tuple[int, str, float]]:
    """ended(before, "logger=csv"): exit code, messages and seconds of a run in another process."""

    def start(before: Callable[[], None], *overrides: str) -> tuple[int, str, float]:
        told, started = tmp_path / "messages", time.monotonic()
        if (child := os.fork()) == 0:
            code = 99
            try:
                for number, name in ((1, os.devnull), (2, str(told))):
                    os.dup2(os.open(name, os.O_RDWR | os.O_CREAT), number)
                sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
                os.chdir(tmp_path)
                signal.alarm(100)
                sys.argv = ["seqpipe", *TYPED, *overrides]
                before()
                code = cli.main()
            except SystemExit as error:
                code = int(error.code or 0)
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        _, status = os.waitpid(child, 0)
        seconds = time.monotonic() - started
        return os.waitstatus_to_exitcode(status), told.read_text(), seconds

    return start


def hits(place: str, number: signal.Signals) -> Callable[[], None]:
    """Has a process send itself a signal at its first call of a function."""

    def before() -> None:
        owner, name = MOMENTS[place]
        call = getattr(owner, name)

        def struck(*arguments, **named):
            setattr(owner, name, call)
            os.kill(os.getpid(), number)
            return call(*arguments, **named)

        setattr(owner, name, struck)

    return before


@pytest.mark.parametrize("place", MOMENTS)
@pytest.mark.parametrize("number", ENDS, ids=lambda number: number.name)
def test_a_signal_ends_a_run_with_its_code_and_a_final_state(ended, tmp_path, place, number):
    code, told, _ = ended(hits(place, number), "logger=csv")
    assert code == ENDS[number], told
    assert "Traceback" not in told
    runs = sorted(tmp_path.glob("outputs/runs/*"))
    if place == "reading data":
        assert not runs
        return
    (folder,) = runs
    assert json.loads((folder / "run.json").read_text())["status"] == "KILLED"
    assert "not finished" in (folder / "report.md").read_text()
    saved = place in ("before the first step", "in a step", "in validation")  # finished first
    trained = place in ("in validation", "in the test", "writing the model")
    metrics = json.loads((folder / "metrics.json").read_text())
    assert ("best/val/loss" in metrics) == trained
    assert (folder / "checkpoints" / "best.ckpt").is_file() == trained
    assert (folder / "checkpoints" / "last.ckpt").is_file() == (trained or saved)
    assert not list(folder.rglob(".new-*"))


def test_a_signal_leaves_the_store_with_a_final_state(ended, tmp_path):
    code, _, _ = ended(hits("in validation", signal.SIGTERM), "logger=mlflow")
    assert code == 143
    with sqlite3.connect(tmp_path / "outputs" / "mlflow.db") as store:
        assert store.execute("SELECT status FROM runs").fetchall() == [("KILLED",)]


def test_a_store_that_is_locked_keeps_no_run_waiting(ended, tmp_path):
    """Another program holds it: messages without a traceback, and the results all the same."""
    code, told, _ = ended(lambda: None, "logger=mlflow", "trainer.max_epochs=1")
    assert code == 0, told
    store = tmp_path / "outputs" / "mlflow.db"

    def lock() -> None:
        def locking(*arguments, **named):
            SequenceModule.training_step = call
            HELD.append(sqlite3.connect(store, check_same_thread=False))
            HELD[0].execute("BEGIN EXCLUSIVE")
            return call(*arguments, **named)

        call = SequenceModule.training_step
        SequenceModule.training_step = locking

    code, told, seconds = ended(lock, "logger=mlflow")
    assert "Traceback" not in told
    assert "could not be recorded: " in told
    assert seconds < 90, told  # on a busy machine; the waiting itself is bounded
    newest = sorted(tmp_path.glob("outputs/runs/*"))[-1]
    assert json.loads((newest / "metrics.json").read_text())["test/mse"] > 0
    assert (newest / "checkpoints" / "best.ckpt").is_file()


def test_outputs_that_take_no_files_are_one_message(ended, tmp_path):
    (tmp_path / "outputs").symlink_to("/proc/self/fdinfo")  # whoever runs this, it takes none
    code, told, _ = ended(lambda: None, "logger=none")
    assert code in (1, 2), told
    assert "Traceback" not in told
    assert told.strip().count("\n") < 12
    assert "outputs" in told
