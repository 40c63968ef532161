"""A store that all tests of this folder share: making one takes seconds."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from seqpipe.tracking.base import Dataset
from seqpipe.tracking.mlflow import MLflowTracker
from seqpipe.tracking.store import open_store


@pytest.fixture(scope="session", autouse=True)
def stores_made_fast(tables_made_once: None) -> None:
    """Every store of this folder has copied tables, but for those of other processes."""


@pytest.fixture(scope="session")
def store_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which outputs/mlflow.db lies."""
    return tmp_path_factory.mktemp("tracking store")


@pytest.fixture(scope="session")
def client(store_root: Path) -> MlflowClient:
    """Reads the store, and makes it for the first who asks."""
    return open_store(f"sqlite:///{store_root}/outputs/mlflow.db", "digits")[0]


@pytest.fixture
def make_tracker(store_root: Path, tmp_path: Path) -> Callable[..., MLflowTracker]:
    def make(**options: object) -> MLflowTracker:
        chosen = {"tracking_uri": "sqlite:///outputs/mlflow.db", **options}
        return MLflowTracker(store_root, tmp_path, **chosen)

    return make


@pytest.fixture
def a_run() -> dict[str, object]:
    """What `start` is given."""
    return {
        "run_name": "digits lstm 3x64",
        "experiment": "digits",
        "params": {"cell": "lstm", "depth": 3, "bidirectional": True, "optim.lr": 0.001},
        "tags": {"data": "digits"},
        "datasets": {
            "train": Dataset("digits", "a1" * 32, 1200, "handwritten digits"),
            "test": Dataset("digits", "b2" * 32, 100, "handwritten digits"),
        },
    }


# One interpreter is imported into (seconds), then forks a program for each case.
_LOOPS = """
import gc, os, sys, time
from pathlib import Path
from seqpipe.tracking.base import recording
from seqpipe.tracking.mlflow import MLflowTracker
import mlflow.store.tracking.sqlalchemy_store
root, cases = Path(sys.argv[1]), sys.argv[2:]
# At the end of a process torch imports tabulate, if it is there, and Python then forgets Ctrl-C.
sys.modules["tabulate"] = None
gc.freeze()  # what was imported is not looked through again where a child ends
children = {}
for case in cases:
    children[case] = os.fork()
    if children[case] == 0:
        break
else:
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children.values()]
    print(*(f"{case} {code}" for case, code in zip(cases, codes)), sep="\\n")
    sys.exit()
tracker = MLflowTracker(root, root / case, "sqlite:///outputs/mlflow.db")
with recording(tracker):
    tracker.start(run_name=case, experiment="loops", params={}, tags={}, datasets={})
    for step in range(6000):
        tracker.log_metrics({"train/loss": 1 / (step + 1)}, step)
        if step == 20:
            os.write(1, f"{case} {os.getpid()} {tracker.run_id}\\n".encode())
        time.sleep(0.01)
        if case == "raise" and step == 30:
            raise RuntimeError("planted")
        if case == "ok" and step == 30:
            break
"""
_SIGNALS = {
    "ok": (),
    "raise": (),
    "Ctrl-C": (signal.SIGINT,),
    "SIGTERM": (signal.SIGTERM,),
    "Ctrl-C twice": (signal.SIGINT, signal.SIGINT),
    "SIGTERM twice": (signal.SIGTERM, signal.SIGTERM),
}


@pytest.fixture(scope="session")
def loops(store_root: Path, client: MlflowClient) -> dict[str, tuple[str, int]]:
    """Small training loops that ended in many ways, each a process: {case: (run id, exit code)}."""
    command = [sys.executable, "-c", _LOOPS, str(store_root), *_SIGNALS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as it:
        assert it.stdout is not None
        assert it.stderr is not None
        run_ids = {}
        while len(run_ids) < len(_SIGNALS):
            line = it.stdout.readline()
            assert line, it.stderr.read()
            case, pid, run_id = line.rsplit(maxsplit=2)
            run_ids[case] = run_id
            for number in _SIGNALS[case]:
                os.kill(int(pid), number)
                time.sleep(0.02)
        codes = dict(line.rsplit(maxsplit=1) for line in it.communicate(timeout=60)[0].splitlines())
    return {case: (run_ids[case], int(codes[case])) for case in _SIGNALS}
