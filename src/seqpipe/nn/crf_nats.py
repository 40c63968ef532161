"""The loss of a CRF and its gradient: p(y_t | y_{t-1}, x) of all tags, by one recursion each way.

Back through time, what may come after step t is summed for each tag at t. On a CPU that is done
with the exponentials of the scores, one product with a matrix a step, which is several times as
fast as with logarithms. Where a probability is too small for that, and elsewhere, logarithms are
summed. The gradient goes forward through time: the chances of each pair of tags, less the pair
that occurred.

Shapes: B sequences, T steps, K tags. Scores are potentials as in `seqpipe.nn.crf`.
Source: Sutton & McCallum (2012), sections 4.1 (the recursions) and 5.1 (the gradient).
"""

from typing import Any

import torch
from torch import Tensor, nn

from seqpipe.nn.masks import clear_padding

TINY = 1e-30
"""Probabilities above it have all their digits in float32."""


def conditional_nats(scores: Tensor, padding: Tensor, y: Tensor) -> Tensor:
    """-log p(y_t | y_{t-1}, x) of each step in nats, (B, T), 0 in the padding.

    A gradient of its gradient is refused.

    Args:
        scores: (B, T, K, K), in float32 at least; padding may hold anything.
        padding: (B, T), True there.
        y: (B, T) ids, 0 in the padding.
    """
    with torch.autocast(scores.device.type, enabled=False):  # it would round the products
        run: Any = _ConditionalNats.apply
        nats: Tensor = run(scores.contiguous(), padding, y)
    return nats


def log_ahead(scores: Tensor) -> Tensor:
    """Log of the sum over all that may come after step t, given the tag at t, (B, T, K).

    The largest value of each step is subtracted, so that long sequences lose no digits; a softmax
    over tags does not change, so the subtraction needs no gradient. Scores of 0, as in the
    padding, give 0. scores: (B, T, K, K).
    """
    B, _, K = scores.shape[:3]
    ahead = [scores.new_zeros(B, K)]
    # Unbound once: the gradient of a slice is as large as the whole, so T slices cost T^2.
    for scores_t in reversed(scores.unbind(1)[1:]):
        summed = (scores_t + ahead[-1].unsqueeze(1)).logsumexp(dim=-1)
        ahead.append(summed - summed.detach().amax(dim=-1, keepdim=True))
    return torch.stack(ahead[::-1], dim=1)


class _ConditionalNats(torch.autograd.Function):
    """`conditional_nats`; keeps the chances of all pairs of tags."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, padding: Tensor, y: Tensor) -> Tensor:
        before = nn.functional.pad(y, (1, 0))[:, :-1]  # the first one is any: all rows are alike
        pairs = (before * scores.shape[3] + y).unsqueeze(2)
        chances = _chances(scores, padding) if scores.device.type == "cpu" else None
        right = None if chances is None else chances.flatten(2).gather(2, pairs)
        if chances is not None and right is not None and bool((right > TINY).all()):
            nats = -right.log()
        else:
            real = scores.masked_fill(padding.unsqueeze(2).unsqueeze(3), 0.0)
            log_p = (real + log_ahead(real).unsqueeze(2)).log_softmax(dim=-1)
            chances, nats = log_p.exp(), -log_p.flatten(2).gather(2, pairs)
        ctx.save_for_backward(chances, padding, before.unsqueeze(2), pairs)
        return nats.squeeze(2).masked_fill_(padding, 0.0)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """Return the gradient of the scores: chances, weighed by how likely the tag before is.

        Where all steps count alike that likelihood is the marginal p(y_{t-1} = i | x). A step that
        counts more than the one before adds the difference at the tag that occurred.
        """
        if torch.is_grad_enabled():  # as with create_graph
            raise RuntimeError("the gradient of a CRF's loss has no gradient of its own")
        chances, padding, before, pairs = ctx.saved_tensors
        B, T, K, _ = chances.shape
        gradient = gradient.masked_fill(padding, 0.0)
        more = gradient - nn.functional.pad(gradient, (1, 0))[:, :-1]
        added = gradient.new_zeros(B, T, K).scatter_(2, before, more.unsqueeze(2))
        each = [added[:, :1]]
        steps = zip(added.split(1, dim=1)[1:], chances.unbind(1), strict=False)
        with torch.autocast(chances.device.type, enabled=False):
            for added_t, chances_before in steps:
                each.append(torch.baddbmm(added_t, each[-1], chances_before))
        expected = chances * torch.cat(each, dim=1).unsqueeze(3)
        expected.flatten(2).scatter_add_(2, pairs, -gradient.unsqueeze(2))
        clear_padding(expected.flatten(2), padding)
        return expected, None, None


def _chances(scores: Tensor, padding: Tensor) -> Tensor | None:
    """p(y_t | y_{t-1}, x), (B, T, K, K), by exponentials of scores; None where digits are lost."""
    weights = scores - scores.amax(dim=(2, 3), keepdim=True)
    clear_padding(weights.flatten(2), padding)
    weights.exp_()
    ahead, sums = [scores.new_ones(*scores.shape[::2], 1)], []
    for weights_t in reversed(weights.unbind(1)):
        sums.append(torch.bmm(weights_t, ahead[-1]))
        ahead.append(sums[-1] / sums[-1].amax(dim=1, keepdim=True))
    after = torch.stack(ahead[-2::-1], dim=1)
    if not bool((after > TINY).all()):
        return None
    return weights.mul_(after.transpose(2, 3)).div_(torch.stack(sums[::-1], dim=1))
