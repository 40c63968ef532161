"""Turning logits into symbols, one step at a time."""

import torch
from torch import Tensor, nn

from seqpipe.bounds import Count, Temperature, TopP, checked
from seqpipe.errors import ConfigError
from seqpipe.nn.precision import precise
from seqpipe.rules import refusal

PAD = 0
"""<PAD> of every vocabulary: what stands after the end."""


def next_input(y: Tensor, first: int | Tensor) -> Tensor:
    """Return the input of each step: x<t> = y<t-1>, and `first` before y_1.

    y: (B, T_y) ids, or (B, T_y, K) of a roll; `first`: of each row, (B,) or (B, K), or one for
    all: <BOS>, or 0, which is silence. Returns the same shape as y.
    """
    before = torch.full_like(y[:, 0], first) if isinstance(first, int) else first
    return torch.cat([before.unsqueeze(1), y[:, :-1]], dim=1)


def lengths_to_end(ids: Tensor, eos: int) -> Tensor:
    """Steps up to and including the first <EOS>, or all. ids: (B, T). Returns (B,)."""
    ended = (ids == eos).cumsum(dim=1) > 0
    return (~ended).sum(dim=1).add(1).clamp(max=ids.shape[1])


def log_probabilities(logits: Tensor, y: Tensor) -> Tensor:
    """Log p of each step of y in nats, of a roll that of all its notes together.

    logits: (B, T, V) or (B, T, K); y: (B, T) ids, or (B, T, K) of 0 and 1. Returns (B, T),
    padding included.
    """
    logits = precise(logits)
    if y.is_floating_point():
        target = y.to(logits.dtype)
        notes = nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
        return -notes.sum(dim=-1)
    return -nn.functional.cross_entropy(logits.mT, y, reduction="none")


def without(logits: Tensor, banned: tuple[int, ...]) -> Tensor:
    """The logits (..., V) with those of the banned ids at minus infinity."""
    return logits.index_fill(-1, torch.tensor(banned, device=logits.device).long(), -torch.inf)


def draw(
    logits: Tensor,
    *,
    temperature: float,
    banned: tuple[int, ...],
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """One symbol for each row, drawn from softmax(logits / temperature).

    Args:
        logits: (B, V).
        temperature: above 0; 1 is the model's own distribution, towards 0 the likeliest symbol.
        banned: ids never drawn.
        top_k: draw among the k likeliest of those left only.
        top_p: draw among the likeliest only, as few as have this probability together; after
            `top_k`.
        generator: random state, on any device; None: torch's global one.

    Returns:
        (B,) ids.

    Source: Fan et al. (2018), section 5.4 (top k); Holtzman et al. (2020), equations 2 and 3
    (top p, the nucleus).
    """
    probabilities = torch.softmax(without(logits.float(), banned) / temperature, dim=-1)
    if top_k is not None or top_p is not None:
        likeliest, ids = probabilities.sort(dim=-1, descending=True, stable=True)
        if top_k is not None:
            likeliest[:, top_k:] = 0.0
        if top_p is not None:
            before = likeliest.cumsum(dim=-1) - likeliest
            enough = before >= top_p * likeliest.sum(dim=-1, keepdim=True)
            likeliest = likeliest.masked_fill(enough, 0.0)
        probabilities = torch.zeros_like(probabilities).scatter(1, ids, likeliest)
    device = logits.device if generator is None else generator.device
    chosen = torch.multinomial(probabilities.to(device), 1, generator=generator)
    return chosen.squeeze(1).to(logits.device)


@checked()
def check_drawing(
    temperature: Temperature, top_k: Count | None, top_p: TopP | None, *, roll: bool
) -> None:
    """Refuse what nothing can be drawn with.

    Raises:
        ConfigError: a temperature of 0 or less, a `top_k` below 1, a `top_p` outside (0, 1], or
            one of these two of a roll.
    """
    for name, value in {"top_k": top_k, "top_p": top_p}.items():
        if roll and value is not None:
            wrong = "each note of a roll is drawn on its own, 1 or 0"
            raise ConfigError(refusal(name, value, wrong, f"{name}=null"))


def draw_each(
    logits: Tensor, *, temperature: float, generator: torch.Generator | None = None
) -> Tensor:
    """Each of K notes on its own: 1 with probability sigmoid(logit / temperature).

    Args:
        logits: (B, K).
        temperature: above 0; 1 is the model's own distribution, towards 0 the likelier of both.
        generator: random state, on any device; None: torch's global one.

    Returns:
        (B, K) of 0 and 1, of the logits' type.
    """
    device = logits.device if generator is None else generator.device
    shares = torch.sigmoid(logits / temperature).to(device)
    return torch.bernoulli(shares, generator=generator).to(logits.device)
