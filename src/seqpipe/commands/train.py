"""Train a model, test its best checkpoint, and leave a record: the life of one run."""

import functools
import logging
import math
import time

from omegaconf import DictConfig

from seqpipe.allocator import keep_freed_memory
from seqpipe.config.compose import Launch
from seqpipe.data.batching import ResumableLoader
from seqpipe.report.findings import Observer
from seqpipe.runs import artifacts, failure, folds, resume, summary
from seqpipe.runs.baselines import compare_with_baselines
from seqpipe.runs.checked_module import build_checked_module
from seqpipe.runs.identity import judged_on
from seqpipe.runs.load_data import Loaded, is_later_fold, load_data
from seqpipe.runs.observers import build_observers
from seqpipe.runs.pruning import add_pruning, end_pruned
from seqpipe.runs.threads import choose_threads, computing_with
from seqpipe.runs.together import Together
from seqpipe.runs.training_run import RunResult, TrainingRun
from seqpipe.targets import refusing_callbacks
from seqpipe.tracking.base import recording
from seqpipe.training.archives import read_archive
from seqpipe.training.checkpoints import BestAndLast, same_weights

log = logging.getLogger(__name__)


def run(cfg: DictConfig, launch: Launch) -> RunResult:
    """Everything from a composed configuration to a tested and recorded model.

    Args:
        cfg: the whole configuration, see conf/config.yaml.
        launch: how the run was started.

    Raises:
        ConfigError: the configuration or the model cannot work; before anything is written.
        DataError: the data cannot be used; before anything is written.
        TrainingError: too many updates were not finite.
    """
    with Together() as together:
        return train(cfg, launch, load_data(cfg, launch, join=together.join), together)


def train(
    cfg: DictConfig,
    launch: Launch,
    loaded: Loaded,
    together: Together,
    rerun_threads: int | None = None,
) -> RunResult:
    """As `run`, with data that is loaded already.

    Args:
        cfg: the whole configuration.
        launch: how the run was started.
        loaded: the data and the trainer.
        together: connects several processes.
        rerun_threads: the number of threads of the run that is repeated.
    """
    data, resumed = loaded.data, loaded.resumed
    keep_freed_memory()
    module, preflight = build_checked_module(cfg, launch, loaded)
    threads = choose_threads(cfg, loaded, module, rerun_threads)
    folder, trainer, tracker = artifacts.claim_run_folder(
        cfg, launch, loaded.trainer, loaded.tracker, together.folder_of_first
    )
    this = TrainingRun(cfg, launch, data, module, trainer, tracker, folder, preflight, threads)
    with computing_with(threads), recording(tracker):
        if this.first:
            artifacts.open_record(tracker, cfg, launch, data, folder)
        with failure.reporting(this, together):
            built = build_observers(cfg, module.model, module.task, data, tracker)
            callbacks = vars(trainer)["callbacks"]
            callbacks[:0] = built  # first: they measure the gradient as the model leaves it
            pruning = add_pruning(this)
            this.observers = [module, preflight, *(c for c in callbacks if isinstance(c, Observer))]
            together.start(trainer, folder, tracker.run_id)
            fit(this, resumed)
            if pruning is not None and pruning.stopped:
                end_pruned(this)
            else:
                test(this)
                together.leave()
                if this.first:
                    compare(this)
                    folds.write_terms(this)
                    artifacts.keep_results(this)
    lines, line = summary.closing_lines(this), summary.closing_line(this)
    known = (this.metrics, this.monitored, folder, tracker.run_id, lines, line)
    return RunResult(*known, judged_on(cfg, data), bool(this.pruned))


def fit(run: TrainingRun, resumed: resume.Resumed | None) -> None:
    """Trains, and validates the final weights.

    With `trainer.overfit_batches` validation sees the batch that is trained on.

    Args:
        run: before its first update.
        resumed: the checkpoint to continue from, if any.
    """
    cfg, trainer, module, history = run.cfg, run.trainer, run.module, run.history
    if run.first and not is_later_fold(run.launch, run.data):
        summary.print_start(run)
    run.tracker.log_metrics({**run.preflight.metrics, **run.sizes}, step=0)
    overfit = cfg.trainer.overfit_batches > 0
    train = run.data.loader("train", shuffle=not overfit)
    valid = run.data.loader("train", shuffle=False) if overfit else run.data.loader("valid")
    path = None
    if resumed is not None:
        path = str(resumed.path)
        train.load_state_dict({"batches": resumed.batches})
        for callback in trainer.checkpoint_callbacks:
            if isinstance(callback, BestAndLast):
                callback.resumed_from = resumed.path
    started, begun = time.perf_counter(), functools.partial(getattr, history, "started")
    with refusing_callbacks(cfg, trainer, begun), resume.restoring(path, begun):
        trainer.fit(module, train, valid, ckpt_path=path, weights_only=True)
    run.seconds = time.perf_counter() - started
    # max_steps or max_time came in between, or a callback averaged the weights at the very end.
    changed = not same_weights(module.validated, module.state_dict())
    if history.last is None or history.last.step != trainer.global_step or changed:
        trainer.validate(module, valid, verbose=False)
    monitor, last = module.task.monitor, history.last
    if last is not None and not math.isfinite(last.metrics[monitor]):
        text = "%s is %s after epoch %d: the trained model is useless"
        log.warning(text, monitor, last.metrics[monitor], last.epoch)


def test(run: TrainingRun) -> None:
    """Tests the best checkpoint, or the last weights where no checkpoint was kept."""
    last = run.history.last if run.history.last is not None else run.chosen
    run.metrics = {**run.sizes, **last.metrics, **run.best_metrics()}
    if run.checkpoint is not None and run.first:  # the other processes get its weights
        # Not by Lightning: a callback that averages weights would restore those it trained.
        run.module.load_state_dict(read_archive(run.checkpoint.best_path)["state_dict"])
    run.trainer.test(run.module, _tested_batches(run), verbose=False)
    run.metrics |= {name: value.item() for name, value in run.trainer.callback_metrics.items()}


def compare(run: TrainingRun) -> None:
    """Tests the baselines, and adds the numbers of all that observed the run."""
    if run.cfg.baselines:
        run.compared = compare_with_baselines(run, _tested_batches(run))
        run.observers.append(run.compared)
    for each in run.observers:
        run.metrics |= each.scalars()


def _tested_batches(run: TrainingRun) -> ResumableLoader:
    overfit = run.cfg.trainer.overfit_batches > 0
    return run.data.loader("train", shuffle=False) if overfit else run.data.loader("test")
