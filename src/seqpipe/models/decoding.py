"""Turning logits into symbols, one step at a time."""

import torch
from torch import Tensor


def next_input(y: Tensor, bos: int) -> Tensor:
    """What each step reads: x<t> = y<t-1>, and <BOS> first.

    y: (B, T_y) ids. Returns (B, T_y).
    """
    first = torch.full_like(y[:, :1], bos)
    return torch.cat([first, y[:, :-1]], dim=1)


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
