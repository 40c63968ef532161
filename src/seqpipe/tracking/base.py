"""What a run's recorder must do, a recorder that records nothing, and the end of every run.

A tracker is made once per run, started before training and ended after the last artifact:

    with recording(make_tracker(root=Path.cwd(), output_dir=run_folder)) as tracker:
        tracker.start(run_name="lstm", experiment="digits", params={...}, tags={}, datasets={})
        ...                                   # train, test, log artifacts
"""

import contextlib
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from seqpipe.terminal import ENDING, handling, signals_as_exit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from pytorch_lightning.loggers.logger import Logger

    Pixels = NDArray[np.uint8]

Status = Literal["FINISHED", "FAILED", "KILLED"]
ParamValue = str | int | float | bool | None
Row = Mapping[str, object]


class Dataset(NamedTuple):
    """The identity of the data of one split; `digest` is the SHA-256 of its records, in hex."""

    name: str
    digest: str
    n_examples: int
    description: str = ""


class Usage(NamedTuple):
    """How a model is used: what it reads, what it answers to that, and how it may be asked.

    `params`: name -> (type, what holds where it is not given). `extras`: of seqpipe, whose
    libraries it needs. `optional`: columns of the inputs that need not be there.
    """

    inputs: Sequence[Row]
    answers: Sequence[Row]
    params: Mapping[str, tuple[type, object]]
    extras: Sequence[str] = ()
    optional: Sequence[str] = ()


class Tracker(Protocol):
    """Records one run. No method after `start` raises because of the place it records to."""

    @property
    def logger(self) -> "Logger | None":
        """What Lightning's Trainer is given, if there is anything to give."""

    @property
    def run_id(self) -> str | None:
        """The run's name in the store; None where runs have none."""

    @property
    def location(self) -> str:
        """Where the record is to be found, for people."""

    def start(
        self,
        *,
        run_name: str,
        experiment: str,
        params: Mapping[str, ParamValue],
        tags: Mapping[str, str],
        datasets: Mapping[str, Dataset],
    ) -> None:
        """Opens the run.

        Args:
            run_name: says what ran; shown in lists of runs.
            experiment: the group of comparable runs, used where the configuration names none.
            params: what was chosen, flat, each key as typed on the command line (`optim.lr`).
            tags: anything else worth searching for.
            datasets: by split (train, val, test).

        Raises:
            ConfigError: The place cannot be recorded to.
        """

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Records numbers under exactly these names; step: optimizer updates so far."""

    def log_artifact(self, path: Path, folder: str = "") -> None:
        """Keeps a copy of one file, in `folder` of the record."""

    def log_artifacts(self, folder: Path) -> None:
        """Keeps a copy of every file in a run's folder except its checkpoints."""

    def log_table(self, name: str, rows: Sequence[Row]) -> None:
        """Keeps rows, all with the same columns, as a table called `name`."""

    def log_image(self, key: str, draw: "Callable[[], Pixels]", step: int) -> None:
        """Keeps a picture of a series, one for each step, where the record can show them.

        Args:
            key: of the series.
            draw: makes it, (height, width, 3) of 0..255; called only if it is kept.
            step: optimizer updates so far.
        """

    def write_model(self, folder: Path, data: Path, usage: Usage) -> bool:
        """Makes of a model's folder what the record's own tools can load.

        Args:
            folder: to be made, in the run's folder.
            data: the model's folder, copied to <folder>/data/.
            usage: what it reads and answers, by example.

        Returns:
            False where there are no such tools, and nothing was written.
        """

    def end(self, status: Status) -> None:
        """Writes what is waiting, then the status. Only the first call counts."""


class NoTracker:
    """Records nothing: what a run leaves is its folder.

    Args:
        root: the folder the user works in (unused).
        output_dir: the run's folder.
    """

    logger = None
    run_id = None

    def __init__(self, root: Path, output_dir: Path) -> None:
        self.location = str(output_dir)

    def start(
        self,
        *,
        run_name: str,
        experiment: str,
        params: Mapping[str, ParamValue],
        tags: Mapping[str, str],
        datasets: Mapping[str, Dataset],
    ) -> None:
        """Does nothing."""

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Does nothing."""

    def log_artifact(self, path: Path, folder: str = "") -> None:
        """Does nothing."""

    def log_artifacts(self, folder: Path) -> None:
        """Does nothing."""

    def log_table(self, name: str, rows: Sequence[Row]) -> None:
        """Does nothing."""

    def log_image(self, key: str, draw: "Callable[[], Pixels]", step: int) -> None:
        """Does nothing."""

    def write_model(self, folder: Path, data: Path, usage: Usage) -> bool:
        """There is nothing that could load it."""
        return False

    def end(self, status: Status) -> None:
        """Does nothing."""


@contextlib.contextmanager
def recording(tracker: Tracker) -> Iterator[Tracker]:
    """Ends the run whichever way the block is left, and lets every exception through.

    FINISHED if it runs to its end, KILLED on Ctrl-C, a signal that ends the process or any
    other SystemExit (Lightning turns Ctrl-C into one), FAILED on every other exception.
    """
    status: Status = "FAILED"
    with signals_as_exit():
        try:
            yield tracker
            status = "FINISHED"
        except (KeyboardInterrupt, SystemExit):
            status = "KILLED"
            raise
        finally:
            with _undisturbed():
                tracker.end(status)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """A second Ctrl-C (or SIGTERM, `timeout` sends two) must not cut off the writing of the end."""
    with handling(dict.fromkeys((*ENDING, signal.SIGINT), signal.SIG_IGN)):
        yield
