"""The number of threads of a training: typed, recorded, or the fastest of a few measured steps.

A recurrent step is short, and several threads wait for each other in each. One alone is often
faster, and always beside other busy programs. Another number of threads also rounds differently:
the number is part of the record, and a run that is repeated or resumed uses the recorded one.
"""

import contextlib
import logging
import math
import os
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from omegaconf import DictConfig

from seqpipe.processes import THREAD_VARIABLES, usable_cores, workers_of_machine
from seqpipe.runs.load_data import Loaded
from seqpipe.runs.resume import seconds_of
from seqpipe.runs.step_times import RunLength, step_times
from seqpipe.training.module import SequenceModule

log = logging.getLogger(__name__)

GAIN = 0.9
"""More threads are chosen if a step takes at most this share of its time with fewer."""
HALF_FROM = 5  # cores; from here on half of them is a candidate, as two threads may share a core
BATCHES = 4  # that are measured: of the first epoch, so their lengths are like those of others


@dataclass(frozen=True)
class Threads:
    """The number of threads of a training.

    Args:
        count: of each process.
        cores: that this process may use.
        reason: for this number, in words.
    """

    count: int
    cores: int
    reason: str

    @property
    def line(self) -> str:
        """The number and its reason: `1 of 2 (OMP_NUM_THREADS)`."""
        return f"{self.count} of {self.cores} ({self.reason})"


def choose_threads(
    cfg: DictConfig, loaded: Loaded, module: SequenceModule, rerun: int | None = None
) -> Threads:
    """The number of threads of a run; `trainer.threads=auto` may measure it.

    Nothing is measured where the environment sets the number, several processes share the cores, a
    GPU computes, `trainer.deterministic` asks for the same numbers each time, or the run has too
    few batches.

    Args:
        cfg: the whole configuration.
        loaded: the data, the trainer, and the checkpoint that is resumed from.
        module: before its first update; it and the random state stay as they are.
        rerun: the number of the run that is repeated; None: this is none, or it is not recorded.
    """
    workers, trainer = workers_of_machine(), loaded.trainer
    cores = max(1, usable_cores() // workers)
    typed = cfg.trainer.get("threads", "auto")
    resumed = () if loaded.resumed is None else loaded.resumed.threads
    # A worker has them from the sweep, unless the user had set them.
    set_by_user = [name for name in THREAD_VARIABLES if workers == 1 and os.environ.get(name)]
    if rerun is not None:
        chosen = Threads(rerun, cores, "of the rerun")
    elif typed != "auto":
        chosen = Threads(typed, cores, "trainer.threads")
    elif len(resumed) == trainer.world_size:
        chosen = Threads(resumed[0], cores, "as the run that is resumed")
    elif set_by_user:
        return Threads(torch.get_num_threads(), cores, set_by_user[0])
    elif trainer.num_devices > 1:
        return _shared(cores, trainer.num_devices)
    elif workers > 1 and cores == 1:
        return Threads(1, cores, f"{workers} workers share the cores")
    elif trainer.strategy.root_device.type != "cpu":
        return _as_torch(cores, f"the model computes on {trainer.strategy.root_device.type}")
    elif cfg.trainer.get("deterministic", False):
        return _as_torch(cores, "trainer.deterministic")
    else:
        return _measured(cfg, loaded, module, cores)
    _warn_of_few_cores(chosen)
    return chosen


@contextlib.contextmanager
def computing_with(threads: Threads) -> Iterator[None]:
    """Computes with this number of threads in the block, and in processes that it starts."""
    count, variable = torch.get_num_threads(), os.environ.get(THREAD_VARIABLES[0])
    torch.set_num_threads(threads.count)
    os.environ[THREAD_VARIABLES[0]] = str(threads.count)  # Lightning would set another number
    try:
        yield
    finally:
        torch.set_num_threads(count)
        os.environ.pop(THREAD_VARIABLES[0])
        if variable is not None:
            os.environ[THREAD_VARIABLES[0]] = variable


def fastest(seconds: Mapping[int, Sequence[float]]) -> int:
    """The number of threads to use; more of them only for a gain, see `GAIN`.

    Args:
        seconds: of the same steps, by the number of threads.
    """
    best, *more = sorted(seconds)
    for count in more:
        pairs = zip(seconds[count], seconds[best], strict=True)
        if statistics.median(new / old for new, old in pairs) <= GAIN:
            best = count
    return best


def _shared(cores: int, processes: int) -> Threads:
    return Threads(max(1, cores // processes), cores, f"shared by {processes} processes")


def _as_torch(cores: int, reason: str) -> Threads:
    return Threads(torch.get_num_threads(), cores, f"torch's default: {reason}")


def _measured(cfg: DictConfig, loaded: Loaded, module: SequenceModule, cores: int) -> Threads:
    """The fastest number of threads, of a few training steps."""
    candidates = sorted({1, cores, *([cores // 2] if cores >= HALF_FROM else [])})
    if len(candidates) == 1:
        return Threads(1, cores, "the only core")
    loader = loaded.data.loader("train")  # of its own: that of the training stays at its start
    try:
        run = run_length(cfg, len(loader))
        seconds = step_times(module, loaded.trainer, loader.first(BATCHES), candidates, run)
    except Exception:  # a user's model: training will show where
        log.debug("threads", exc_info=True)
        return _as_torch(cores, "no step could be measured")
    if not seconds:
        return _as_torch(cores, "a short run, nothing is measured")
    times = [
        f"{count} {'thread' if count == 1 else 'threads'} {_milliseconds(each)}"
        for count, each in seconds.items()
    ]
    times[0] += " a step"
    return Threads(fastest(seconds), cores, f"measured: {', '.join(times)}")


def _milliseconds(seconds: Sequence[float]) -> str:
    time = 1e3 * statistics.median(seconds)
    return f"{time:.3g} ms" if time < 999 else f"{time:,.0f} ms"


def run_length(cfg: DictConfig, batches: int) -> RunLength:
    """The end of a training: of its epochs, updates and time the one that comes first.

    Args:
        cfg: the whole configuration.
        batches: in an epoch, without a limit.
    """
    limit = cfg.trainer.overfit_batches or cfg.trainer.get("limit_train_batches")
    if limit is not None:
        batches = min(limit, batches) if isinstance(limit, int) else int(limit * batches)
    epochs, updates = cfg.trainer.max_epochs, cfg.trainer.max_steps
    ends = [math.inf if epochs == -1 else epochs * batches]
    ends += [] if updates == -1 else [updates * cfg.trainer.get("accumulate_grad_batches", 1)]
    given = cfg.trainer.get("max_time")
    return RunLength(min(ends), math.inf if given is None else seconds_of(given))


def _warn_of_few_cores(threads: Threads) -> None:
    if threads.count > threads.cores:
        text = f"threads: {threads.line}: more than the cores that this process may use, which is"
        log.warning("%s slower than trainer.threads=%d", text, threads.cores)
