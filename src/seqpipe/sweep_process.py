"""A sweep in the process that starts it: opened before its first job, closed after the last."""

import contextlib
import signal
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from seqpipe.config.sweep_callback import Comparison
from seqpipe.config.sweep_keys import SKIP_DONE
from seqpipe.config.sweep_plan import SweepPlan
from seqpipe.errors import ConfigError, DataError
from seqpipe.processes import rank, started_outside
from seqpipe.signals import ENDING_SIGNALS, signal_handlers
from seqpipe.terminal import print_error, print_text

if TYPE_CHECKING:
    from seqpipe.runs.skip_done import Continued
    from seqpipe.runs.sweep_record import StartedSweep


def continued_sweep(plan: SweepPlan, command: str) -> "Continued | None":
    """Finds the sweep that `skip_done=true` finishes, and prints what happens.

    Args:
        plan: of the sweep.
        command: train, describe or replay.

    Returns:
        None if there is no such sweep.

    Raises:
        ConfigError: the command trains nothing, or the sweep cannot be finished.
    """
    if command != "train":
        text = f"{command} trains nothing that could be done; allowed: leave it out"
        raise ConfigError(f"{SKIP_DONE}=true: {text}")
    if started_outside():
        text = "a launcher has started this process beside others, which do not know what is done"
        raise ConfigError(f"{SKIP_DONE}=true: {text}; allowed: without torchrun or srun")
    from seqpipe.runs.skip_done import continue_sweep

    wanted, is_named = plan.folder()
    try:
        found = continue_sweep(plan, wanted.absolute(), is_named=is_named)
    except DataError as error:
        raise ConfigError(error.problems) from None
    for line in [] if found is None else found.lines():
        print_text(line)
    if found is None:
        where = f"in {wanted if is_named else wanted.parent}"
        print_text(f"{SKIP_DONE}: there is no sweep of these jobs {where}: all of them run")
    return found


@contextlib.contextmanager
def sweeping(
    plan: SweepPlan | None, command: str, continued: "Continued | None" = None
) -> Iterator[None]:
    """Opens the record of a sweep before its first job, and closes it however the block is left.

    Args:
        plan: of the sweep; None where Hydra only prints, or nothing is trained.
        command: repeats the sweep.
        continued: the sweep that is finished now, if it is one.
    """
    from seqpipe.runs.sweep_record import StartedSweep, restart_sweep, start_sweep

    started: list[StartedSweep] = []

    def start(folder: Path) -> Path:
        if plan is None or rank() > 0:
            return folder
        if continued is not None:
            at = (continued.folder, continued.record, continued.lock)
            started.append(restart_sweep(*at, plan, Path.cwd()))
            return continued.folder
        try:
            started.append(start_sweep(folder, plan, Path.cwd(), command))
        except OSError as error:
            if folder.is_dir():  # otherwise Hydra cannot make it either, and says so
                print_error(f"{folder}: no record of the sweep ({error.strerror})")
            return folder
        return started[0].folder

    Comparison.started, Comparison.opening = None, start
    interrupted = False
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        interrupted = True
        raise
    finally:
        Comparison.opening = None
        if Comparison.started is not None and rank() == 0:
            with signal_handlers(dict.fromkeys((*ENDING_SIGNALS, signal.SIGINT), signal.SIG_IGN)):
                _end_sweep(Comparison.started, started, interrupted=interrupted)


def _end_sweep(
    options: Comparison, started: "Sequence[StartedSweep]", *, interrupted: bool
) -> None:
    """Writes the page about a sweep; if no job left anything, removes the sweep's folder."""
    from seqpipe.runs.sweep import end_sweep, print_folds

    compared = None
    for sweep in started:
        try:
            how = {"interrupted": interrupted, "figure": options.figure, **options.options}
            compared = end_sweep(sweep, **how)
        except Exception:  # the runs themselves are complete
            traceback.print_exc()
            print_error(f"{sweep.folder}: the jobs could not be compared")
            return
        print_folds(compared.folds)
    if compared is not None and (page := compared.page) is not None:
        place = page.relative_to(Path.cwd()) if Path.cwd() in page.parents else page
        print_text(f"comparison: {place}")
        for name, line in compared.best.items():
            print_text(f"best:       {name}\nagain:      {line}")
        return
    note = options.folder / "multirun.yaml"  # Hydra's own
    if [*options.folder.glob("*")] == [note]:
        note.unlink()
    remove_empty(options.folder, Path.cwd())


def remove_empty(folder: Path, root: Path) -> None:
    """Removes a run's folder if it is empty, and empty ones above it up to the root."""
    with contextlib.suppress(OSError):  # not empty
        while root in folder.parents:
            folder.rmdir()
            folder = folder.parent
