"""Ends a training that its search does not find promising."""

import math
from pathlib import Path

from pytorch_lightning import Callback, LightningModule, Trainer

from seqpipe.report import run_files as report
from seqpipe.report.findings import Finding
from seqpipe.report.page import ENDED
from seqpipe.runs import artifacts
from seqpipe.runs.training_run import TrainingRun
from seqpipe.search.reporting import TrialReport
from seqpipe.tracking.base import PRUNED

PRUNED_EPOCH = "pruned/epoch"
"""The metric of a run that its search stopped: the last epoch that was validated."""


class Pruning(Callback):
    """Reports the monitored metric after each validation, and stops the training if it is poor.

    Of several processes the first one reports, and all of them stop.

    Args:
        task: of the job, see `seqpipe.search.studies`.
        monitor: the metric.

    Attributes:
        stopped: True if it stopped the training.
    """

    def __init__(self, task: Path, monitor: str) -> None:
        self._path, self._monitor = task, monitor
        self._report: TrialReport | None = None
        self._validations = 0
        self.stopped = False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """After each validation of the training."""
        if trainer.sanity_checking or trainer.state.fn != "fit" or self.stopped:
            return
        self._validations += 1
        poor = False
        if trainer.is_global_zero:
            self._report = self._report or TrialReport(self._path)
            value = trainer.callback_metrics.get(self._monitor)
            number = math.nan if value is None else float(value)
            poor = self._report.is_poor(number, self._validations)
        self.stopped = bool(trainer.strategy.broadcast(poor)) and not _ends_anyway(trainer)
        if self.stopped:
            trainer.should_stop = True

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """After the training, finished or not."""
        if self._report is not None:
            self._report.close()


def _ends_anyway(trainer: Trainer) -> bool:
    """True if the training ends with this validation."""
    if trainer.should_stop or trainer.global_step == trainer.max_steps:
        return True
    epochs = trainer.max_epochs
    return trainer.is_last_batch and epochs is not None and 0 < epochs <= trainer.current_epoch + 1


def add_pruning(run: TrainingRun) -> Pruning | None:
    """Adds the callback to the trainer of a run; None for a run that its search lets finish."""
    if run.launch.task is None:
        return None
    pruning = Pruning(run.launch.task, run.module.task.monitor)
    vars(run.trainer)["callbacks"].insert(0, pruning)  # before the checkpoints
    return pruning


def end_pruned(run: TrainingRun) -> None:
    """Writes and records the results of a run that was stopped: without a test, or a model.

    Its checkpoints stay in its folder, so that it can be resumed.
    """
    assert run.history.last is not None, "it was validated"
    last = run.history.last
    run.metrics = {"parameters": run.parameters, **last.metrics, **run.best_metrics()}
    run.metrics[PRUNED_EPOCH] = float(last.epoch)
    for each in run.observers:
        run.metrics |= each.scalars()
    run.pruned = f"after epoch {last.epoch}"
    if not run.first:
        return
    report.write_metrics(run.folder, run.metrics)
    ended = {**run.best_metrics(), PRUNED_EPOCH: run.metrics[PRUNED_EPOCH]}
    run.tracker.log_metrics(ended, step=run.chosen.step)
    run.tracker.set_tags({PRUNED: run.pruned})
    text = "The search stopped this run early, because other trials were better. It was not tested."
    rows = [{"": PRUNED, " ": run.pruned}]
    found = [Finding(ENDED, text, rows=rows, group=ENDED), *artifacts.curve_findings(run)]
    artifacts.write_page(run, f"{run.name}: pruned", [*found, *run.findings()])
    run.tracker.log_artifacts(run.folder)
