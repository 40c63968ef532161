"""Sums that metrics are computed from: numbers in float64, and the share of each example."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
from torch import Tensor
from torchmetrics import Metric

from seqpipe.data.base import SequenceBatch
from seqpipe.nn.precision import exact


def added_up(values: Tensor, examples: Tensor, count: int) -> Tensor:
    """Sums of (N, ...) values by example, (count, ...); examples: (N,), whose each value is."""
    return values.new_zeros(count, *values.shape[1:]).index_add_(0, examples, values)


def examples_of(count: int, batch: SequenceBatch) -> Tensor:
    """The example that each of `count` answers of a batch belongs to, (count,).

    There is one answer for each example, or one for each real step.
    """
    examples = torch.arange(len(batch), device=batch.y.device)
    if count == len(batch):
        return examples
    assert batch.y_lengths is not None, f"{count} answers to {len(batch)} examples without steps"
    return examples.repeat_interleave(batch.y_lengths)


def sums_by_example(values: Tensor, batch: SequenceBatch) -> Tensor:
    """Sums of (N,) values, one for each example or real step, by example: (B,)."""
    return added_up(values, examples_of(len(values), batch), len(batch))


class ByExample(Metric):
    """A metric made of sums, which computes what each example of a batch adds to them at once.

    A metric without `of_examples` is updated example by example, which is slow.
    """

    full_state_update = False

    def of_examples(
        self, predictions: Any, truths: Any, examples: Tensor, count: int
    ) -> dict[str, Tensor]:
        """The sums that each example adds.

        Args:
            predictions: N of them, as `update` takes them.
            truths: N of them.
            examples: (N,) whose each is.
            count: how many examples there are.

        Returns:
            state -> (count, ...).
        """
        raise NotImplementedError

    def update(self, predictions: Any, truths: Any) -> None:
        """Adds what N predictions and truths contribute, as if all were of one example."""
        device = truths.device if isinstance(truths, Tensor) else None
        one = torch.zeros(len(truths), dtype=torch.long, device=device)
        for name, added in self.of_examples(predictions, truths, one, 1).items():
            held: Tensor = getattr(self, name)
            setattr(self, name, held + added[0].to(held.device))


class Sums(Metric):
    """Running sums in float64, whatever the precision of the model.

    In float32 a sum of a million batches is wrong by a percent: what is added is rounded to the
    digits of the sum. On a device without float64 (Apple's GPUs) the sums stay on the CPU.
    """

    full_state_update = False

    def add_sum(self, name: str) -> None:
        """A sum of that name, 0 at first, added up over processes."""
        self.add_state(name, torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")

    def exact(self, values: Tensor) -> Tensor:
        """The values in float64, where the sums are."""
        return exact(values.detach()).to(self._sum_device)

    @property
    def _sum_device(self) -> torch.device:
        held = next(iter(self.metric_state.values()))
        assert isinstance(held, Tensor)
        return held.device

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> Self:
        """Moves the sums with the module, but keeps them in float64."""

        @functools.wraps(fn)  # torchmetrics looks at the name
        def moved(held: Tensor) -> Tensor:
            if held.dtype != torch.float64:
                return fn(held)
            try:
                return fn(held).double()
            except TypeError:  # the device has no float64
                return held

        super()._apply(moved, exclude_state)
        return self
