"""Turning logits into symbols, one step at a time."""

import torch
from torch import Tensor


def next_input(y: Tensor, first: int | Tensor) -> Tensor:
    """What each step reads: x<t> = y<t-1>, and at the first step what stands before y_1.

    y: (B, T_y) ids, or (B, T_y, K) of a roll; `first`: of each row, (B,) or (B, K), or one for
    all: <BOS>, or 0, which is silence. Returns the same shape as y.
    """
    before = torch.full_like(y[:, 0], first) if isinstance(first, int) else first
    return torch.cat([before.unsqueeze(1), y[:, :-1]], dim=1)


def lengths_to_end(ids: Tensor, eos: int) -> Tensor:
    """Steps up to and including the first <EOS>, or all. ids: (B, T). Returns (B,)."""
    ended = (ids == eos).cumsum(dim=1) > 0
    return (~ended).sum(dim=1).add(1).clamp(max=ids.shape[1])


def draw(
    logits: Tensor,
    *,
    temperature: float,
    banned: tuple[int, ...],
    generator: torch.Generator | None = None,
) -> Tensor:
    """One symbol for each row, drawn from softmax(logits / temperature).

    Args:
        logits: (B, V).
        temperature: above 0; 1 is the model's own distribution, towards 0 the likeliest symbol.
        banned: ids never drawn.
        generator: random state; None: torch's global one.

    Returns:
        (B,) ids.
    """
    logits = logits.float().clone()
    logits[:, list(banned)] = -torch.inf
    probabilities = torch.softmax(logits / temperature, dim=-1)
    return torch.multinomial(probabilities, 1, generator=generator).squeeze(1)


def draw_each(
    logits: Tensor, *, temperature: float, generator: torch.Generator | None = None
) -> Tensor:
    """Each of K notes on its own: 1 with probability sigmoid(logit / temperature).

    Args:
        logits: (B, K).
        temperature: above 0; 1 is the model's own distribution, towards 0 the likelier of both.
        generator: random state; None: torch's global one.

    Returns:
        (B, K) of 0 and 1, of the logits' type.
    """
    return torch.bernoulli(torch.sigmoid(logits / temperature), generator=generator)
