"""Train a model, test its best checkpoint, and leave a record: the life of one run."""

import functools
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lightning_utilities.core.rank_zero import rank_zero_only
from omegaconf import DictConfig
from pytorch_lightning import Trainer, seed_everything

from seqpipe.build import build_model, build_module, build_task, build_trainer
from seqpipe.checks import (
    check_limits,
    check_monitors,
    check_optimizer,
    check_schedule,
)
from seqpipe.config.compose import Launch
from seqpipe.console import PlainConsole
from seqpipe.data.dataset import SequenceData
from seqpipe.diagnostics.preflight import Preflight
from seqpipe.errors import RecordError
from seqpipe.files import unwritable
from seqpipe.report import run_files as report
from seqpipe.report.findings import Finding
from seqpipe.runs import (
    artifacts,
    failure,
    free_running_report,
    preflight_step,
    probe_report,
    resume,
    resume_states,
    saved_model,
    summary,
)
from seqpipe.runs.load_data import load_data
from seqpipe.targets import beginning
from seqpipe.tracking.base import NoTracker, Tracker, recording
from seqpipe.training.checkpoints import BestAndLast, History, Validation, read_archive, same
from seqpipe.training.module import SequenceModule

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunResult:
    """What a finished run came to.

    Args:
        metrics: `test/...`, `val/...` of the last epoch, `best/val/...` of the weights that were
            tested.
        monitored: the value of `task.monitor` for those weights; NaN if there was no validation.
        output_dir: the run's folder.
        run_id: of MLflow, None where it was not asked.
        summary: the lines a person reads at the end.
        judged_on: a hash of what was validated and tested, see `describe.judged_on`.
    """

    metrics: dict[str, float]
    monitored: float
    output_dir: Path
    run_id: str | None
    summary: str
    judged_on: str = ""


def run(
    cfg: DictConfig,
    launch: Launch,
    on_data: Callable[[SequenceData], None] = lambda data: None,
    *,
    resolved: bool = False,
) -> RunResult:
    """Everything from a composed configuration to a tested and recorded model.

    Args:
        cfg: the whole configuration, see conf/config.yaml.
        launch: how the run was started.
        on_data: called with the data before anything is made of it; what it raises ends the run.
        resolved: cfg is a run's config.yaml, of which only the values are checked.

    Raises:
        ConfigError: the configuration or the model cannot work; before anything is written.
        DataError: the data cannot be used; likewise.
        TrainingError: too many updates were not finite.
    """
    loaded = load_data(cfg, launch, on_data, resolved=resolved)
    data = loaded.data
    check_limits(cfg, data, loaded.processes)
    ready = _made(cfg, launch, data, loaded.resumed)
    if _first():
        folder, tracker = artifacts.claim(cfg, launch)
    else:
        folder, tracker = launch.output_dir, _silent(launch, launch.output_dir)
    with recording(tracker):
        if _first():
            artifacts.start(tracker, cfg, launch, data, folder)
        progress = failure.Progress()
        try:
            facts, history = _trained(cfg, launch, ready, folder, tracker, progress)
            if _first():
                _keep(cfg, facts, history)
        except BaseException as error:
            if _first():
                about = (ready.data, ready.module, ready.checked, folder, tracker)
                failure.write(cfg, launch, *about, progress, error)
            raise
    monitored = facts.chosen.metrics.get(ready.module.task.monitor, float("nan"))
    told, judged_on = summary.summary(facts), summary.judged_on(cfg, data)
    return RunResult(facts.metrics, monitored, folder, tracker.run_id, told, judged_on)


def _keep(cfg: DictConfig, facts: summary.RunFacts, history: History) -> None:
    """Writes what the run leaves, the smallest and most wanted first, and records it.

    Raises:
        RecordError: the place takes no more; with the closing lines, which are not lost.
    """
    folder, tracker = facts.folder, facts.tracker
    try:
        report.write_metrics(folder, facts.metrics)
        if facts.checkpoint is not None:
            tracker.log_metrics(summary.best_metrics(facts.chosen), step=facts.chosen.step)
        saved_model.write(cfg, facts.data, facts.module, folder, tracker, facts.metrics)
        tracker.log_table("examples", artifacts.write(cfg, facts, history))
    except Exception as error:
        place = unwritable(error)
        if place is None:
            raise
        text = f"{place}: the run was trained and tested, but {folder} does not hold all of it"
        raise RecordError(text, summary.summary(facts)) from error
    tracker.log_artifacts(folder)
    if facts.checkpoint is not None:
        tracker.log_artifact(facts.checkpoint, "checkpoints")


@dataclass(frozen=True)
class _Ready:
    """What a training needs, made and looked over, before anything is written."""

    data: SequenceData
    module: SequenceModule
    checked: Preflight | None
    resumed: resume.Resumed | None


def _made(
    cfg: DictConfig, launch: Launch, data: SequenceData, resumed: resume.Resumed | None
) -> _Ready:
    task = build_task(cfg, data)
    check_monitors(cfg, task)
    # After the data: the weights must not depend on how many numbers it drew.
    seed_everything(cfg.seed, workers=True, verbose=False)
    model = build_model(cfg, data.spec, task.output_size)
    probe_report.check(launch.overrides, model)
    module = build_module(cfg, model, task, data.digests)
    resume.check_weights(cfg, resumed, module)
    preflight_step.check_answers(cfg, module, data)
    check_optimizer(cfg, module)
    check_schedule(cfg, module)
    resume_states.check_states(cfg, module, resume.ALLOWED)
    checked = preflight_step.check(cfg, module, data, first=_first())
    return _Ready(data, module, checked, resumed)


def _trained(
    cfg: DictConfig,
    launch: Launch,
    ready: _Ready,
    folder: Path,
    tracker: Tracker,
    progress: failure.Progress,
) -> tuple[summary.RunFacts, History]:
    """Trains, tests, and draws what was seen on the way."""
    data, module, checked = ready.data, ready.module, ready.checked
    _show(summary.model_table(module.model, data, checked))
    if checked is not None:
        _show(checked.line)
        tracker.log_metrics(checked.metrics, step=0)
    guesses = free_running_report.make_free_running(cfg, module.model, data)
    probe = probe_report.make_probe(cfg, module.task, data, tracker)
    looking = [callback for callback in (probe, guesses) if callback is not None]
    trainer = build_trainer(cfg, folder, tracker, looking)
    progress.trainer, progress.probe = trainer, probe
    seconds = _fit(cfg, trainer, module, data, ready.resumed)
    if _first():
        artifacts.write_history(folder, _history(trainer).series)
    history, chosen, checkpoint = _chosen(trainer)
    metrics = dict(history.last.metrics if history.last is not None else chosen.metrics)
    if checkpoint is not None:
        metrics |= summary.best_metrics(chosen)
    metrics |= _test(cfg, trainer, module, data, checkpoint)
    if module.bad_steps.count:
        metrics["bad_steps"] = float(module.bad_steps.count)
    metrics |= probe_report.final_scalars(probe)
    progress.metrics = metrics
    found: tuple[Finding, ...] = preflight_step.findings(checked)
    if _first():
        title = summary.run_name(cfg, launch)
        found += probe_report.write(folder, probe, title)
        found += free_running_report.write(folder, guesses, trainer, module, title)
    facts = summary.RunFacts(
        *(launch, data, module, metrics, chosen, checkpoint, folder, tracker, seconds),
        findings=found,
        checked=checked,
    )
    return facts, history


def _fit(
    cfg: DictConfig,
    trainer: Trainer,
    module: SequenceModule,
    data: SequenceData,
    resumed: resume.Resumed | None,
) -> float:
    """Trains, and validates what the training ended with. Returns the seconds of the training.

    With `trainer.overfit_batches` validation sees the batch that is trained on.
    """
    overfit = cfg.trainer.overfit_batches > 0
    train = data.loader("train", shuffle=not overfit)
    valid = data.loader("train", shuffle=False) if overfit else data.loader("valid")
    train.load_state_dict({"batches": 0 if resumed is None else resumed.batches})
    started = time.perf_counter()
    begun = functools.partial(getattr, _history(trainer), "started")
    with beginning(cfg, trainer, begun), resume.restoring(cfg.resume, begun):
        trainer.fit(module, train, valid, ckpt_path=cfg.resume, weights_only=True)
    seconds = time.perf_counter() - started
    last = _history(trainer).last
    # max_steps or max_time came in between, or a callback averaged the weights at the very end.
    changed = not same(module.validated, module.state_dict())
    if last is None or last.step != trainer.global_step or changed:
        trainer.validate(module, valid, verbose=False)
    _tell_of_nan(_history(trainer).last, module.task.monitor)
    return seconds


def _tell_of_nan(last: Validation | None, monitor: str) -> None:
    """Early stopping ends such a training, and would say nothing."""
    if last is not None and not math.isfinite(last.metrics[monitor]):
        value = last.metrics[monitor]
        log.warning(
            "%s is %s after epoch %d: the training is of no use", monitor, value, last.epoch
        )


def _test(
    cfg: DictConfig,
    trainer: Trainer,
    module: SequenceModule,
    data: SequenceData,
    checkpoint: Path | None,
) -> dict[str, float]:
    """Tests the best checkpoint, or the last weights where no checkpoint was kept."""
    overfit = cfg.trainer.overfit_batches > 0
    loader = data.loader("train", shuffle=False) if overfit else data.loader("test")
    if checkpoint is not None:
        # Not by Lightning: a callback that averages weights would go back to those it trained.
        saved = read_archive(checkpoint)
        module.load_state_dict(saved["state_dict"])
    trainer.test(module, loader, verbose=False)
    return {name: value.item() for name, value in trainer.callback_metrics.items()}


def _history(trainer: Trainer) -> History:
    return next(c for c in trainer.checkpoint_callbacks if isinstance(c, History))


def _chosen(trainer: Trainer) -> tuple[History, Validation, Path | None]:
    """The run's history; the validation of the weights that count, and their checkpoint.

    They are the best ones, or the last where no checkpoints are kept.
    """
    history = _history(trainer)
    assert history.last is not None
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, BestAndLast) and callback.best is not None:
            return history, callback.best, callback.best_path
    return history, history.last, None


def _first() -> bool:
    """True in the only process, or the first of several: it alone writes and prints."""
    return getattr(rank_zero_only, "rank", 0) == 0


def _silent(launch: Launch, folder: Path) -> Tracker:
    return NoTracker(root=launch.root, output_dir=folder)


def _show(table: object) -> None:
    if _first():
        console = PlainConsole(stderr=True)
        if not console.is_terminal:  # a file or a pipe has no width of its own
            console.width = 120
        console.print(table)
