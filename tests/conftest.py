"""What holds for every test: one thread, no telemetry, no screen, checked shape annotations."""

import gc
import os
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

# Before torch, MLflow and matplotlib are imported, and for the programs that tests start.
os.environ |= {"OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "MPLBACKEND": "Agg"}
os.environ["HF_HUB_OFFLINE"] = "1"  # no test waits for a hub that this machine may not reach

import pytest
import torch
from hypothesis import settings
from pytorch_lightning import Callback

import prepared
import shapes
from forking import EVERYTHING, Forking

pytest_plugins = ["refusals"]
os.fsync = lambda number: None  # a test does not wait for the disk
torch.set_num_threads(1)  # the workers of pytest-xdist share the cores
gc.set_threshold(1_000_000)  # while tests are imported and collected: little is garbage
shapes.check(["seqpipe.nn", "seqpipe.models"])  # before they are imported

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("SEQPIPE_SHARED", REPOSITORY.parent / "shared"))

# The same examples every time: a test fails because of a change, not by chance or a busy machine.
# More of them, and other ones each time: make test ARGS=--hypothesis-profile=nightly
settings.register_profile("few", deadline=None, max_examples=30, derandomize=True)
settings.register_profile("nightly", deadline=None, max_examples=500)
settings.load_profile("few")


@pytest.fixture(scope="session", autouse=True)
def composed_once() -> Iterator[None]:
    """See `prepared.compose_once`."""
    with pytest.MonkeyPatch.context() as patch:
        prepared.compose_once(patch)
        yield


@pytest.fixture(scope="session")
def tables_made_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """See `prepared.copy_tables`."""
    with pytest.MonkeyPatch.context() as patch:
        prepared.copy_tables(patch, tmp_path_factory.mktemp("tables") / "mlflow.db")
        yield


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forking]:
    """warm.run(code, *arguments, cwd=...): a process in which all that trains is imported."""
    program = Forking(EVERYTHING, tmp_path_factory.mktemp("pipes"))
    yield program
    program.close()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets; for tests marked `realdata`."""
    return SHARED / "data"


@pytest.fixture
def gone() -> Callable[[], bool]:
    """gone(): the threads of a stream of answers have ended, or do within five seconds."""

    def of_streams() -> bool:
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            names = [thread.name for thread in threading.enumerate()]
            if not [name for name in names if name.startswith(("computes", "reads ahead"))]:
                return True
            time.sleep(0.01)
        return False

    return of_streams


def pytest_collection_finish() -> None:
    """Thousands of imported modules and collected tests are not searched for garbage each time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 20, 20)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    if item.get_closest_marker("realdata") and not (SHARED / "data").is_dir():
        pytest.skip(f"no data sets in {SHARED / 'data'}; set SEQPIPE_SHARED")


class StopAfter(Callback):
    """Asks for the end as `max_time` does: after a batch, wherever that is."""

    def __init__(self, batches: int) -> None:
        self.left = batches

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self.left -= 1
        trainer.should_stop = trainer.should_stop or self.left <= 0


@pytest.fixture(scope="session")
def stop_after() -> type[StopAfter]:
    """stop_after(6): a callback that ends a training after six batches."""
    return StopAfter


class Evil:
    """Pickled, it makes a folder where it is opened."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self):
        return os.mkdir, (str(self.canary),)


@pytest.fixture
def canary(tmp_path) -> Path:
    """A folder that exists only if a hostile file was executed."""
    return tmp_path / "canary"


@pytest.fixture
def evil_object(canary) -> Evil:
    """An object whose pickle makes the canary where it is opened."""
    return Evil(canary)


@pytest.fixture
def evil(evil_object) -> bytes:
    """The pickle of the evil object."""
    return pickle.dumps(evil_object)
