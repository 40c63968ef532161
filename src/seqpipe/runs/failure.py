"""What a run leaves that did not come to its end: its numbers so far, and a page that says why."""

import contextlib
import logging
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from omegaconf import DictConfig
from pytorch_lightning import Trainer

from seqpipe.config.compose import Launch
from seqpipe.data.dataset import SequenceData
from seqpipe.diagnostics.preflight import Preflight
from seqpipe.diagnostics.probe import Probe
from seqpipe.errors import SeqpipeError
from seqpipe.files import unusable
from seqpipe.report import run_files as report
from seqpipe.report.findings import Finding
from seqpipe.report.page import ENDED, write_report
from seqpipe.runs import artifacts, preflight_step, probe_report, summary
from seqpipe.tasks.metrics import WeightedMean
from seqpipe.terminal import ENDING
from seqpipe.tracking.base import Tracker
from seqpipe.tracking.provenance import environment_tags
from seqpipe.training.checkpoints import BestAndLast, History, record
from seqpipe.training.module import SequenceModule

log = logging.getLogger(__name__)

_FRAMES = 6  # of a traceback, the last


@dataclass
class Progress:
    """How far a run came.

    Args:
        trainer: None before it is made.
        probe: None where nothing is looked at.
        metrics: of the whole run, once it is tested.
    """

    trainer: Trainer | None = None
    probe: Probe | None = None
    metrics: dict[str, float] = field(default_factory=dict)

    @property
    def history(self) -> History:
        """The numbers of each epoch."""
        callbacks = [] if self.trainer is None else self.trainer.checkpoint_callbacks
        return next((c for c in callbacks if isinstance(c, History)), History())


def write(
    cfg: DictConfig,
    launch: Launch,
    data: SequenceData,
    module: SequenceModule,
    checked: Preflight | None,
    folder: Path,
    tracker: Tracker,
    progress: Progress,
    error: BaseException,
) -> None:
    """Writes history.csv, metrics.json and the report, as far as they go, and records them.

    Never raises: what ended the run is what its user must see.

    Args:
        cfg: the whole configuration.
        launch: how it was started.
        data: it was trained on.
        module: what was trained.
        checked: what was found before its first step.
        folder: the run's.
        tracker: what records it.
        progress: how far it came.
        error: what ended it.
    """
    with _noted(folder):
        flush(progress.trainer, module)
        metrics = _numbers(progress, module, tracker)
        artifacts.write_history(folder, progress.history.series)
        report.write_metrics(folder, metrics)
    with _noted(folder):
        title = summary.run_name(cfg, launch)
        found = [
            _why(error, progress),
            *artifacts.curves(folder, module.task, progress.history, None),
            *artifacts.gradient_flow(module),
            *preflight_step.findings(checked),
            *probe_report.write(folder, progress.probe, title),
        ]
        digests: dict[str, object] = {f"sha256 {k}": v[:16] for k, v in data.digests.items()}
        write_report(
            folder,
            title=f"{title}: not finished",
            command=summary.command(launch),
            data={"data": data.description, **digests},
            model=summary.model_rows(module.model, checked),
            metrics=metrics,
            findings=found,
            versions=environment_tags(launch.root),
        )
    with _noted(folder):
        tracker.log_artifacts(folder)


def flush(trainer: Trainer | None, module: SequenceModule) -> None:
    """Records the gradient norms of the window that the end of the training cut short."""
    if trainer is not None:
        record(trainer, module.flow.of_window(ended=True), max(0, trainer.global_step - 1))


def _numbers(progress: Progress, module: SequenceModule, tracker: Tracker) -> dict[str, float]:
    """The newest value of each metric; of an epoch that was cut short, the loss so far."""
    trainer, series = progress.trainer, progress.history.series
    metrics = {name: points[-1][1] for name, points in series.items()}
    if trainer is None:
        return metrics
    loss = cast(WeightedMean, module.losses["train_loss"])
    if trainer.world_size == 1 and loss.update_called:
        late = {"train/loss": float(loss.compute())}
        progress.history.note(late, trainer.global_step)
        tracker.log_metrics(late, trainer.global_step)
        metrics |= late
    if module.bad_steps.count:
        metrics["bad_steps"] = float(module.bad_steps.count)
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, BestAndLast) and callback.best is not None:
            best = summary.best_metrics(callback.best)
            tracker.log_metrics(best, callback.best.step)
            metrics |= best
    return {**metrics, **progress.metrics}


def _why(error: BaseException, progress: Progress) -> Finding:
    """What ended the run and when."""
    rows: list[dict[str, object]] = [{"": "ended by", " ": reason(error)}]
    if progress.trainer is not None:
        updates = progress.trainer.global_step
        rows.append({"": "after", " ": f"{updates:,} updates"})
        if progress.history.last is not None:
            rows.append({"": "last validated epoch", " ": progress.history.last.epoch})
    for frame in _frames(error):
        rows.append({"": "in", " ": frame})
    text = "This run did not come to its end. What follows is what was known until then."
    return Finding(ENDED, text, rows=rows, group=ENDED)


def reason(error: BaseException) -> str:
    """What ended a run, in a line."""
    if isinstance(error, SeqpipeError):
        return str(error)
    interrupted = isinstance(error.__context__, KeyboardInterrupt)  # Lightning exits on Ctrl-C
    if isinstance(error, KeyboardInterrupt) or (isinstance(error, SystemExit) and interrupted):
        return "Ctrl-C"
    if isinstance(error, SystemExit):
        names = {128 + number: number.name for number in ENDING}
        return str(names.get(error.code, error))
    told = unusable(error)
    first = str(error).strip().partition("\n")[0]
    return told if told is not None else f"{type(error).__name__}: {first}"


def _frames(error: BaseException) -> Iterator[str]:
    """Where a fault of ours happened; a user's mistake is explained by its message."""
    if isinstance(error, (SeqpipeError, KeyboardInterrupt, SystemExit)) or unusable(error):
        return
    for frame in traceback.extract_tb(error.__traceback__)[-_FRAMES:]:
        name = Path(frame.filename).name
        yield f"{name}:{frame.lineno} {frame.name}: {frame.line or ''}"


@contextlib.contextmanager
def _noted(folder: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        told = unusable(error) or f"{type(error).__name__}: {error}"
        log.warning("%s: not all of the report can be written: %s", folder, told)
