"""A training while it runs: its parts, its numbers, and the result that it returns."""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from omegaconf import DictConfig
from pytorch_lightning import Trainer

from seqpipe.config.compose import Launch
from seqpipe.data.dataset import SequenceData
from seqpipe.diagnostics.preflight import Preflight
from seqpipe.report.findings import Finding, Observer
from seqpipe.rules import best_of
from seqpipe.runs.baseline_comparison import Comparison
from seqpipe.runs.identity import run_name
from seqpipe.runs.matched_size import parameter_count
from seqpipe.runs.threads import Threads
from seqpipe.tracking.base import Tracker
from seqpipe.training.checkpoints import BestAndLast
from seqpipe.training.freezing import trained_count
from seqpipe.training.history import History, Validation
from seqpipe.training.module import SequenceModule


@dataclass(frozen=True)
class RunResult:
    """The result of a finished run.

    Args:
        metrics: `test/...`, `val/...` of the last epoch, `best/val/...` of the weights that were
            tested.
        monitored: the value of `task.monitor` for those weights; NaN if there was no validation.
        output_dir: the run's folder.
        run_id: of MLflow, None where it was not asked.
        summary: the lines a person reads at the end.
        line: the same in one line, for one of many runs.
        judged_on: a hash of what was validated and tested, see `identity.judged_on`.
        pruned: the search that the run belongs to ended it, so it was not tested.
    """

    metrics: dict[str, float]
    monitored: float
    output_dir: Path
    run_id: str | None
    summary: str
    line: str = ""
    judged_on: str = ""
    pruned: bool = False


@dataclass
class TrainingRun:
    """A training run: everything that summary, report and artifacts are about.

    Args:
        cfg: the whole configuration.
        launch: how it was started.
        data: what it is trained on.
        module: what is trained.
        trainer: Lightning's.
        tracker: what records it.
        folder: the run's.
        preflight: the checks before the first step.
        threads: that compute it.

    Attributes:
        observers: everything that reports findings, in the order of the page.
        metrics: `test/...`, `val/...` of the last epoch, `best/val/...` of the tested weights; as
            far as they are known.
        seconds: of training.
        compared: the test beside that of the baselines; None where it was not asked for.
        pruned: when its search stopped it; empty for other runs.
    """

    cfg: DictConfig
    launch: Launch
    data: SequenceData
    module: SequenceModule
    trainer: Trainer
    tracker: Tracker
    folder: Path
    preflight: Preflight
    threads: Threads
    observers: list[Observer] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    compared: Comparison | None = None
    pruned: str = ""

    @property
    def first(self) -> bool:
        """True in the only process, or the first of several: it alone writes and prints."""
        return self.trainer.is_global_zero

    @property
    def device(self) -> torch.device:
        """The device that trains the model."""
        device: torch.device = self.trainer.strategy.root_device
        return device

    @property
    def parameters(self) -> int:
        """The number of parameters of the model; a shared one counts once."""
        return parameter_count(self.module.model)

    @property
    def trained_parameters(self) -> int:
        """The number of those that are not frozen."""
        return trained_count(self.module.model)

    @property
    def sizes(self) -> dict[str, float]:
        """Both numbers as metrics; only the first where nothing is frozen."""
        trained = self.trained_parameters
        more = {} if trained == self.parameters else {"trained_parameters": trained}
        return {"parameters": self.parameters, **more}

    @property
    def name(self) -> str:
        """A short description of the run."""
        return run_name(self.cfg, self.launch)

    @property
    def history(self) -> History:
        """The numbers of each epoch."""
        return next(c for c in self.trainer.checkpoint_callbacks if isinstance(c, History))

    @property
    def checkpoint(self) -> BestAndLast | None:
        """The callback that holds the best weights; None where none are kept."""
        kept = (c for c in self.trainer.checkpoint_callbacks if isinstance(c, BestAndLast))
        return next((callback for callback in kept if callback.best is not None), None)

    @property
    def chosen(self) -> Validation:
        """The validation of the weights that count: the best, or the last where none are kept."""
        kept = self.checkpoint
        found = self.history.last if kept is None else kept.best
        assert found is not None, "nothing was validated"
        return found

    @property
    def monitored(self) -> float:
        """The monitored metric of the weights that count."""
        return self.chosen.metrics.get(self.module.task.monitor, float("nan"))

    @property
    def monitored_name(self) -> str:
        """The name of that number in the metrics."""
        monitor = self.module.task.monitor
        return monitor if self.checkpoint is None else best_of(monitor)

    def best_metrics(self) -> dict[str, float]:
        """`best/epoch`, and `best/val/<name>` for each `val/<name>`; empty without checkpoints."""
        kept = self.checkpoint
        if kept is None or kept.best is None:
            return {}
        numbers = {best_of(name): value for name, value in kept.best.metrics.items()}
        return {"best/epoch": float(kept.best.epoch), **numbers}

    def findings(self) -> list[Finding]:
        """The findings of all observers."""
        return [one for each in self.observers for one in each.findings(self.folder, self.name)]
