"""Cross entropy over many classes in one pass over the logits, without a copy of them.

A vocabulary makes the logits the largest tensor of a training, far larger than the caches of a
processor. The plain formula writes them three times more: log-probabilities, their gradient and
that of the logits. Here a few rows at a time go through the whole formula while they are in the
cache. A training that reads the logits no more writes their gradient over them.

Shapes: N things (steps, examples), K classes.
"""

from typing import Any

import torch
from torch import Tensor

from seqpipe.nn.precision import precise

LARGE = 2**21
"""Logits from which the formula by rows is faster than the plain one: 8 MB in float32."""
CACHED = 2**18
"""Logits of one chunk on a CPU: 1 MB in float32."""
ON_DEVICE = 2**26
"""Logits of one chunk elsewhere, where only memory counts."""
TINY = 1e-30
"""Probabilities above it have all their digits in float32."""

_SAME_NUMBERS = frozenset({"ViewBackward0", "UnsafeViewBackward0", "ReshapeAliasBackward0"})
_FROM_INPUTS = frozenset(
    {
        "_ProductBackward",
        "AddmmBackward0",
        "MmBackward0",
        "AddBackward0",
        "StackBackward0",
        "CatBackward0",
    }
)


def is_measured_only(logits: Tensor) -> bool:
    """True of many logits whose gradient nobody asks for. logits: (..., K)."""
    return logits.numel() >= LARGE and not (torch.is_grad_enabled() and logits.requires_grad)


def may_be_overwritten(logits: Tensor) -> bool:
    """True of many logits whose place their gradient can take. logits: (..., K).

    A product with a matrix needs its factors for its gradient, not the product. An operation that
    is not known may need what it returned. Half precision by float16 waits for the scale of the
    loss before it rounds.
    """
    node = logits.grad_fn
    while node is not None and node.name() in _SAME_NUMBERS:
        node = node.next_functions[0][0]
    written = node is not None and node.name() in _FROM_INPUTS
    return written and logits.numel() >= LARGE and logits.dtype != torch.float16


def overwriting_cross_entropy(
    logits: Tensor, classes: Tensor, weights: Tensor, *, label_smoothing: float = 0.0
) -> Tensor:
    """The sum of weighted cross entropies, a scalar; the gradient is written over the logits.

    A second backward pass and gradients of gradients are refused.

    Args:
        logits: (N, K), which nobody reads later, see `may_be_overwritten`.
        classes: (N,) ids; any where the weight is 0.
        weights: (N,), of each cross entropy; 1 / N for a mean, 0 for padding.
        label_smoothing: mass spread over all classes.
    """
    total: Tensor = _Overwriting.apply(  # type: ignore[no-untyped-call]
        logits, classes, weights, label_smoothing
    )
    return total


@torch.no_grad()
def cross_entropies(logits: Tensor, classes: Tensor) -> Tensor:
    """Cross entropy in nats of each thing, (N,), without a gradient. logits: (N, K)."""
    chunks = zip(_chunks(logits, logits), _chunks(logits, classes), strict=True)
    return torch.cat([_nats(rows, ids, 0.0)[0] for rows, ids in chunks])


class _Overwriting(torch.autograd.Function):
    """The sum of weighted cross entropies; forward leaves the gradient where the logits were."""

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, classes: Tensor, weights: Tensor, label_smoothing: float
    ) -> Tensor:
        counted = weights != 0
        classes = classes.where(counted, 0)
        padded = weights.device.type != "cpu" or not bool(counted.all())  # reading it would wait
        nats = []
        values = (logits, classes, weights, counted)
        for rows, ids, weight, real in zip(
            *(_chunks(logits, each) for each in values), strict=True
        ):
            of_rows, chances = _nats(rows, ids, label_smoothing)
            nats.append(of_rows)
            if label_smoothing > 0:
                chances -= label_smoothing / logits.shape[1]
            right = chances.new_full((len(ids), 1), label_smoothing - 1.0)
            chances.scatter_add_(1, ids.unsqueeze(1), right)
            torch.mul(chances, weight.unsqueeze(1), out=rows)
            if padded:  # padding may hold anything, NaN included
                rows.masked_fill_(~real.unsqueeze(1), 0.0)
        ctx.save_for_backward(logits)
        ctx.spent = False
        return (torch.cat(nats).where(counted, 0.0) * weights).sum()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.spent or torch.is_grad_enabled():  # as with create_graph
            raise RuntimeError("logits that are overwritten have one gradient, and none of its own")
        ctx.spent = True
        (logits,) = ctx.saved_tensors
        if gradient.device.type != "cpu" or gradient.item() != 1.0:  # reading it would wait
            logits.mul_(gradient)
        return logits.detach(), None, None, None


def _nats(logits: Tensor, classes: Tensor, label_smoothing: float) -> tuple[Tensor, Tensor]:
    """Cross entropies (N,) and probabilities (N, K) of a few rows, in float32 at least.

    Where the probability of a class may underflow, the sum of exponentials follows from the largest
    one, which cannot.
    """
    wide = precise(logits.new_empty(0)).dtype
    chances = torch.softmax(logits, dim=-1, dtype=wide)
    certain = chances.gather(1, classes.unsqueeze(1)).squeeze(1)
    if label_smoothing == 0 and logits.device.type == "cpu" and bool((certain > TINY).all()):
        return -certain.log(), chances
    log_sum = logits.amax(dim=-1).to(wide) - chances.amax(dim=-1).log()
    right = logits.gather(1, classes.unsqueeze(1)).squeeze(1).to(wide)
    if label_smoothing > 0:
        right = torch.lerp(right, logits.mean(dim=-1, dtype=wide), label_smoothing)
    return log_sum - right, chances


def _chunks(logits: Tensor, values: Tensor) -> tuple[Tensor, ...]:
    """The (N, ...) values in pieces of as many rows as are worked on at once."""
    at_once = CACHED if logits.device.type == "cpu" else ON_DEVICE
    pieces: tuple[Tensor, ...] = values.split(max(1, at_once // logits.shape[1]))
    return pieces
