"""The baselines of a run: fitted on its training split, measured on the batches of its test."""

import functools
import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import torch
from torchmetrics import Metric

from seqpipe.baselines.base import Baseline, Skipped
from seqpipe.data.base import SequenceBatch
from seqpipe.data.batching import ResumableLoader
from seqpipe.data.dataset import SequenceData
from seqpipe.data.progress import Progress
from seqpipe.data.sampling import alone
from seqpipe.runs.baseline_comparison import Comparison
from seqpipe.runs.remedies import usual_remedies
from seqpipe.runs.training_run import TrainingRun
from seqpipe.tasks.base import Task
from seqpipe.training.epoch_sums import Counted, EpochSums

log = logging.getLogger(__name__)


def compare_with_baselines(run: TrainingRun, loader: ResumableLoader) -> Comparison:
    """Fit the baselines of a run's task and measure them on the batches of its test.

    Args:
        run: that was tested.
        loader: of the test's batches, at its start.
    """
    task = run.module.task
    prefix = "test/"
    tested = {n.removeprefix(prefix): v for n, v in run.metrics.items() if n.startswith(prefix)}
    remedies = functools.partial(usual_remedies, task.remedies, run.cfg, run.launch.choices)
    found = Comparison(task, functools.cache(remedies), tested)
    limit, several = run.trainer.num_test_batches[0], run.trainer.world_size > 1
    if several and run.cfg.trainer.limit_test_batches != 1.0:
        log.warning(
            "baselines: of several processes with trainer.limit_test_batches there are none"
        )
        return found
    batches = loader.here()
    if math.isfinite(limit) and not several:
        batches = islice(batches, int(limit))
    try:
        with alone(), Progress(run.cfg.trainer.enable_progress_bar, "baselines") as progress:
            fitted = list(fitted_baselines(task, run.data, found.skipped))
            found.phrases = {baseline.name: baseline.phrase for baseline in fitted}
            tested_on = progress.count(batches, "test")
            found.metrics, found.answers = measured(fitted, task, tested_on)
    except Exception as error:  # the model is trained: what follows must not be lost with it
        log.warning("baselines: not measured: %s: %s", type(error).__name__, error)
    return found


def fitted_baselines(task: Task, data: SequenceData, skipped: dict[str, str]) -> Iterator[Baseline]:
    """Yield the baselines of a task, fitted on the training split.

    Args:
        task: whose they are.
        data: of the run.
        skipped: baseline -> why these data do not allow it; filled.
    """
    for baseline in task.baselines(data):
        try:
            baseline.fit(data)
        except Skipped as reason:
            skipped[baseline.name] = str(reason)
        else:
            yield baseline


def measured(
    baselines: Sequence[Baseline], task: Task, batches: Iterable[SequenceBatch]
) -> tuple[dict[str, dict[str, float]], int]:
    """The metrics of each baseline, by the task's own metrics of the test, and of how many answers.

    Args:
        baselines: fitted.
        task: that judges them as it judges a model.
        batches: on the CPU; lanes in their order.
    """
    sums = {baseline.name: EpochSums(task.metrics("test")) for baseline in baselines}
    for metric in (m for one in sums.values() for m in one.modules() if isinstance(m, Metric)):
        metric.distributed_available_fn = _never  # only one process measures
    has_loss, count = dict.fromkeys(sums, False), 0
    with torch.inference_mode():
        for batch in batches if baselines else ():
            units = task.units(batch)
            count += int(units)
            for baseline in baselines:
                answers = baseline.answers(batch)
                has_loss[baseline.name] = answers.loss is not None
                loss = torch.tensor(math.nan) if answers.loss is None else answers.loss
                pairs = task.pairs(answers.predictions, batch)
                scores = answers.scores if sums[baseline.name].takes_scores else None
                sums[baseline.name].add(Counted(loss, units, pairs, scores))
        metrics = {name: _scalars(one, task, has_loss[name]) for name, one in sums.items()}
    return metrics, count


def _never() -> bool:
    return False


def _scalars(sums: EpochSums, task: Task, has_loss: bool) -> dict[str, float]:
    loss, computed = sums.take()
    scalars = task.scalars(computed)
    if has_loss:
        scalars |= {"loss": loss, **task.derived(loss)}
    return {name: scalars[name].item() for name in task.metric_names() if name in scalars}
