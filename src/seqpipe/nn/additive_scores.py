"""Scores of additive attention, v . tanh(q + k), for every query and key, piece by piece.

All pre-activations at once would be (B, T_y, T_x, Q) numbers that are written to memory and read
again by each operation, forwards and backwards. Here a piece of them stays in the cache, and the
backward pass computes it again rather than keep it. tanh(a) is 2 σ(2 a) - 1: torch's sigmoid takes
a fifth of the time of its tanh on a CPU with AVX-512.

Shapes: B sequences, T_y queries, T_x keys, Q numbers each.
Source: Bahdanau et al. (2015), appendix A.1.2.
"""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from seqpipe.nn.precision import precise

_PIECE = {"cpu": 2**18}
"""Numbers of a piece, by device: a megabyte, which a cache of level 2 holds."""
_LARGE_PIECE = 2**26


def additive_scores(
    queries: Float[Tensor, "B T_y Q"], keys: Float[Tensor, "B T_x Q"], v: Float[Tensor, " Q"]
) -> Float[Tensor, "B T_y T_x"]:
    """Return v . tanh(query + key) of every query and key, in float32 at least.

    Args:
        queries: (B, T_y, Q).
        keys: (B, T_x, Q).
        v: (Q,).
    """
    with torch.autocast(v.device.type, enabled=False):
        parts = precise(queries), precise(keys), precise(v)
        scores: Tensor = _AdditiveScores.apply(*parts)  # type: ignore[no-untyped-call]
    return scores


class _AdditiveScores(torch.autograd.Function):
    """With s = σ(2 (q + k)): the score is v . (2 s - 1), and its derivative by q 4 v s (1 - s)."""

    @staticmethod
    def forward(ctx: Any, queries: Tensor, keys: Tensor, v: Tensor) -> Tensor:
        ctx.save_for_backward(queries, keys, v)
        scores = queries.new_empty(*queries.shape[:2], keys.shape[1])
        for piece, s in _sigmoids(queries, keys):
            scores[:, piece] = s @ v
        return scores.mul_(2).sub_(v.sum())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        queries, keys, v = ctx.saved_tensors
        of_queries, of_keys = torch.empty_like(queries), torch.zeros_like(keys)
        of_v = torch.zeros_like(v)
        for piece, s in _sigmoids(queries, keys):
            g = gradient[:, piece].unsqueeze(3)  # (B, t, T_x, 1)
            of_v += torch.mv(s.flatten(0, 2).t(), g.flatten())
            slope = s.addcmul_(s, s, value=-1).mul_(g)
            of_queries[:, piece] = slope.sum(dim=2)
            of_keys += slope.sum(dim=1)
        four_v = 4 * v
        of_v = of_v.mul_(2).sub_(gradient.sum())
        return of_queries.mul_(four_v), of_keys.mul_(four_v), of_v


def _sigmoids(queries: Tensor, keys: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Pieces of the queries, and σ(2 (q + k)) of each with every key, (B, t, T_x, Q)."""
    B, T_y, _ = queries.shape
    queries, keys = 2 * queries.unsqueeze(2), 2 * keys.unsqueeze(1)
    size = max(1, _PIECE.get(keys.device.type, _LARGE_PIECE) // max(1, keys.numel()))
    room = keys.new_empty(B, min(size, T_y), *keys.shape[2:])
    for start in range(0, T_y, size):
        piece = slice(start, min(start + size, T_y))
        s = room[:, : piece.stop - start]
        yield piece, torch.add(queries[:, piece], keys, out=s).sigmoid_()
