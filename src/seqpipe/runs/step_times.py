"""Seconds of training steps with several numbers of threads, measured in turns."""

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from pytorch_lightning import Trainer

from seqpipe.data.base import SequenceBatch
from seqpipe.diagnostics.tracing import random_state_kept
from seqpipe.training.carried_state import Carried, answer
from seqpipe.training.module import SequenceModule

SHARE = 0.03  # of the batches or the time of a run that measuring may take
WARM, FEW, MOST = 1, 3, 11  # turns: to warm up, enough of a slow model, enough of a fast one
SECONDS = 0.2  # of a fast model
CLEAR = 2.0  # times as slow: no further turn would change the choice


@dataclass(frozen=True)
class RunLength:
    """The end of a training, as far as it is known before.

    Args:
        batches: inf where only time limits it.
        seconds: inf where `trainer.max_time` is null.
    """

    batches: float
    seconds: float


def step_times(
    module: SequenceModule,
    trainer: Trainer,
    batches: Sequence[SequenceBatch],
    candidates: Sequence[int],
    run: RunLength,
) -> dict[int, list[float]]:
    """Seconds of forward and backward passes, the same ones for each number of threads.

    All is done on a copy of the module: weights, gradients, metrics and the random state stay as
    they are. In turns, because other programs come and go.

    Args:
        module: what is trained.
        trainer: gives the precision.
        batches: of the training, on the CPU.
        candidates: numbers of threads, the smallest first.
        run: its length.

    Returns:
        by the number of threads, without the first turn if there are more; empty where two turns
        would take more than `SHARE` of the run.
    """
    turns = int(min(MOST + WARM, SHARE * run.batches / len(candidates)))
    if turns <= WARM:
        return {}
    before = torch.get_num_threads()
    with random_state_kept():
        try:
            step, limit = _step_of(module, trainer), SHARE * run.seconds
            seconds = _in_turns(step, batches, candidates, turns, limit)
        finally:
            torch.set_num_threads(before)
    return {count: each[WARM:] or each for count, each in seconds.items()}


def _in_turns(
    step: Callable[[SequenceBatch], None],
    batches: Sequence[SequenceBatch],
    candidates: Sequence[int],
    turns: int,
    limit: float,
) -> dict[int, list[float]]:
    """The seconds of each turn, at most so many turns and seconds in all."""
    seconds: dict[int, list[float]] = {count: [] for count in candidates}
    began = time.perf_counter()
    for turn in range(turns):
        for count in reversed(candidates) if turn % 2 else candidates:
            torch.set_num_threads(count)
            started = time.perf_counter()
            step(batches[turn % len(batches)])
            seconds[count].append(time.perf_counter() - started)
        spent, done = time.perf_counter() - began, turn + 1
        enough = done >= WARM + FEW or _is_clear(seconds)
        if spent * (done + 1) / done > limit or (spent > SECONDS and enough):
            break
    return seconds


def _is_clear(seconds: Mapping[int, Sequence[float]]) -> bool:
    """True if every larger number of threads is far slower than the smallest."""
    fewest, *more = (min(each) for each in seconds.values())
    return all(other > CLEAR * fewest for other in more)


def _step_of(module: SequenceModule, trainer: Trainer) -> Callable[[SequenceBatch], None]:
    """A forward and backward pass of a copy, in the precision of the training."""
    precision = trainer.precision_plugin
    trial = copy.deepcopy(module).train()
    precision.convert_module(trial)

    def step(batch: SequenceBatch) -> None:
        for parameter in trial.parameters():
            parameter.grad = None
        with precision.train_step_context(), torch.enable_grad():
            outputs = answer(trial.model, precision.convert_input(batch), Carried())
            loss = trial.task.loss(outputs, batch, training=True)
        loss.backward()

    return step
