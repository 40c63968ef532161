"""The interface of trackers, a tracker that records nothing, and the status at a run's end.

A tracker is made once per run, started before training and ended after the last artifact:

    with recording(make_tracker(root=Path.cwd(), output_dir=run_folder)) as tracker:
        tracker.start(run_name="lstm", experiment="digits", params={...}, tags={}, datasets={})
        ...                                   # train, test, log artifacts
"""

import contextlib
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from seqpipe.signals import ENDING_SIGNALS, signal_handlers, signals_as_exit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from pytorch_lightning.loggers.logger import Logger

    Pixels = NDArray[np.uint8]

PARENT = "parent"
"""The tag of a run that belongs to another, with the id of that."""
PRUNED = "pruned"
"""The tag of a run that its search stopped early, with when that was."""
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
    """Example inputs of a model with its answers, and the parameters of a request.

    `params`: name -> (type, default). `optional`: columns of the inputs that may be missing.
    """

    inputs: Sequence[Row]
    answers: Sequence[Row]
    params: Mapping[str, tuple[type, object]]
    optional: Sequence[str] = ()


class Tracker:
    """Records one run; this base class records nothing.

    A tracker of the user's own has the same methods, and need not be a subclass. No method after
    `start` raises because of the place it records to.

    Attributes:
        logger: the logger for Lightning's Trainer, if there is one.
        run_id: the id of the run in the store; None where runs have none.
        location: the place of the record, for people.
        waiting: where parts of the record wait that the store does not have, and what sends them,
            for people; empty if it has all.
        has_parents: True where a run may hold others, as that of a sweep holds those of its jobs.
    """

    logger: "Logger | None" = None
    run_id: str | None = None
    location: str = ""
    waiting: str = ""
    has_parents: bool = False

    @property
    def record_id(self) -> str | None:
        """The name by which the records of other runs refer to this one; None where there is none.

        It is `run_id`, or a name that becomes one when the record reaches its store.
        """
        return self.run_id

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
            run_name: shown in lists of runs.
            experiment: the group of comparable runs, used where the configuration names none.
            params: the configuration, flat, each key as typed on the command line (`optim.lr`).
            tags: other facts to search for.
            datasets: by split (train, val, test).

        Raises:
            ConfigError: The place cannot be recorded to.
        """

    def take_over(self, run_id: str | None) -> None:
        """Takes over the record of a process that was lost, to write what is left and end it.

        Args:
            run_id: that process's.
        """

    def reopen(self, record_id: str) -> None:
        """Opens a run that has ended, in place of `start`: its record is continued.

        Args:
            record_id: what `record_id` was.

        Raises:
            ConfigError: the place cannot be recorded to.
            TrackingError: there is no such run.
        """

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Records numbers under exactly these names; step: optimizer updates so far."""

    def flush(self) -> None:
        """Writes the numbers that are still buffered, as far as the place can be reached."""

    def log_artifact(self, path: Path, folder: str = "") -> None:
        """Keeps a copy of one file, in `folder` of the record."""

    def log_artifacts(self, folder: Path) -> None:
        """Keeps a copy of every file in a run's folder except its checkpoints."""

    def log_table(self, name: str, rows: Sequence[Row]) -> None:
        """Keeps rows, all with the same columns, as a table called `name`."""

    def log_image(self, key: str, draw: "Callable[[], Pixels]", step: int) -> None:
        """Keeps a picture of a series, one for each step, where the record can show them.

        Args:
            key: name of the series.
            draw: returns the picture, (height, width, 3) of 0..255; called only if it is kept.
            step: optimizer updates so far.
        """

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Records facts that are known only after the start."""

    def write_model(self, folder: Path, data: Path, usage: Usage) -> bool:
        """Converts an exported model to the tracker's own format, if it has one.

        Args:
            folder: made here, in the run's folder.
            data: the model's folder, copied to <folder>/data/.
            usage: examples of what it reads and answers.

        Returns:
            False where the tracker has no such format, and nothing was written.
        """
        return False

    def discard(self) -> None:
        """Removes the run from lists of runs: nothing came of it. Called in place of `end`."""

    def end(self, status: Status) -> None:
        """Writes what is still buffered, then the status. Only the first call counts."""


class NoTracker(Tracker):
    """Records nothing besides the run's folder.

    Args:
        root: the folder the user works in (unused).
        output_dir: the run's folder.
    """

    def __init__(self, root: Path, output_dir: Path) -> None:
        self.location = str(output_dir)


@contextlib.contextmanager
def recording(tracker: Tracker) -> Iterator[Tracker]:
    """Ends the run however the block is left; every exception passes.

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
            # A second Ctrl-C (or SIGTERM: `timeout` sends two) must not interrupt the last writes.
            with signal_handlers(dict.fromkeys((*ENDING_SIGNALS, signal.SIGINT), signal.SIG_IGN)):
                tracker.end(status)
