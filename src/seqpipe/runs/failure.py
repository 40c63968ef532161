"""Report of a run that failed or was interrupted: its numbers so far, and what ended it."""

import contextlib
import functools
import logging
import traceback
from collections.abc import Iterator
from pathlib import Path

from seqpipe.build import build_tracker
from seqpipe.errors import SeqpipeError, place_message, resource_message
from seqpipe.report import run_files as report
from seqpipe.report.findings import Finding
from seqpipe.report.page import ENDED
from seqpipe.runs import artifacts
from seqpipe.runs.together import Together, describe_end
from seqpipe.runs.training_run import TrainingRun

log = logging.getLogger(__name__)

_FRAMES = 6  # of a traceback, the last


@contextlib.contextmanager
def reporting(run: TrainingRun, together: Together) -> Iterator[None]:
    """Writes a report of what is known if the block fails.

    Args:
        run: that is trained in the block.
        together: connects several processes; where another one was lost, that is the reason.

    Raises:
        ExchangeError: another process was lost, or did not answer in time.
    """
    together.on_emergency(functools.partial(_close_at_once, run, together))
    try:
        yield
    except BaseException as error:
        reason = together.explained(error)
        _close(run, together, reason)
        if reason is error:
            raise
        raise reason from None


def _close(run: TrainingRun, together: Together, error: BaseException) -> None:
    """Writes the report, in the first process, or in the next one where that is lost."""
    if not run.first and together.closes(error):
        run.tracker = build_tracker(run.cfg, run.launch.root, run.folder)
        run.tracker.take_over(together.run_id)
        write_failure_report(run, error)
        run.tracker.end("FAILED")
    elif run.first:
        write_failure_report(run, error)


def _close_at_once(run: TrainingRun, together: Together, error: BaseException) -> None:
    """Closes the record while the main thread waits for a process that is lost."""
    _close(run, together, error)
    run.tracker.end("FAILED")


def write_failure_report(run: TrainingRun, error: BaseException) -> None:
    """Writes history.csv, metrics.json and the report, as far as they go, and records them.

    Never raises: the user must see what ended the run.
    """
    cause = error if place_message(error) is not None else None  # as a disk that is full
    with _warn_instead(run.folder, cause):
        run.module.record_last_window(run.trainer)
        run.metrics = _newest_numbers(run)
        artifacts.write_history(run.folder, run.history.series)
        report.write_metrics(run.folder, run.metrics)
    with _warn_instead(run.folder, cause):
        found = [_cause_of_end(run, error), *artifacts.curve_findings(run), *run.findings()]
        artifacts.write_page(run, f"{run.name}: not finished", found)
    with _warn_instead(run.folder, cause):
        run.tracker.log_artifacts(run.folder)


def _newest_numbers(run: TrainingRun) -> dict[str, float]:
    """The newest value of each metric; of an epoch that was cut short, the loss so far."""
    metrics = {name: points[-1][1] for name, points in run.history.series.items()}
    loss = run.module.sums_of("train").loss
    if run.trainer.world_size == 1 and loss.update_called:
        so_far = {"train/loss": float(loss.compute())}
        run.history.add_points(so_far, run.trainer.global_step)
        run.tracker.log_metrics(so_far, run.trainer.global_step)
        metrics |= so_far
    if best := run.best_metrics():
        run.tracker.log_metrics(best, run.chosen.step)
    return metrics | run.module.scalars() | best | run.metrics


def _cause_of_end(run: TrainingRun, error: BaseException) -> Finding:
    rows: list[dict[str, object]] = [
        {"": "ended by", " ": describe_end(error)},
        {"": "after", " ": f"{run.trainer.global_step:,} updates"},
    ]
    if run.history.last is not None:
        rows.append({"": "last validated epoch", " ": run.history.last.epoch})
    rows += [{"": "in", " ": frame} for frame in _frames(error)]
    text = "This run did not finish. The report shows what was known until then."
    return Finding(ENDED, text, rows=rows, group=ENDED)


def _frames(error: BaseException) -> Iterator[str]:
    """The last frames of a fault of ours; a user's mistake is explained by its message."""
    if isinstance(error, (SeqpipeError, KeyboardInterrupt, SystemExit)) or resource_message(error):
        return
    for frame in traceback.extract_tb(error.__traceback__)[-_FRAMES:]:
        name = Path(frame.filename).name
        yield f"{name}:{frame.lineno} {frame.name}: {frame.line or ''}"


@contextlib.contextmanager
def _warn_instead(folder: Path, cause: BaseException | None) -> Iterator[None]:
    """Warns about an error; not if a place that cannot be written to has ended the run already."""
    try:
        yield
    except Exception as error:
        if cause is not None and place_message(error) is not None:
            return
        text = resource_message(error) or f"{type(error).__name__}: {error}"
        log.warning("%s: part of the report could not be written: %s", folder, text)
