"""Turning logits into symbols, one step at a time."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from seqpipe.bounds import Count, Temperature, TopP, checked
from seqpipe.errors import ConfigError, TrainingError
from seqpipe.nn.masks import length_mask
from seqpipe.nn.precision import precise
from seqpipe.rules import refusal

PAD = 0
"""<PAD> of every vocabulary: what stands after the end."""

Step = Callable[[Tensor, Any], tuple[Tensor, Any]]
"""A step of a decoder: from its input (B,) or (B, K) and its state to logits and the next state."""
Pick = Callable[[Tensor], Tensor]
"""From the logits of a step to its symbols (B,), or to the notes of a roll (B, K)."""


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


def log_probabilities(logits: Tensor, y: Tensor, y_lengths: Tensor | None = None) -> Tensor:
    """Log p of each step of y in nats, of a roll that of all its notes together.

    Args:
        logits: (B, T, V) or (B, T, K).
        y: (B, T) ids, or (B, T, K) of 0 and 1.
        y_lengths: (B,); None: all steps are real.

    Returns:
        (B, T), 0 at padding.
    """
    logits = precise(logits)
    if y.is_floating_point():
        target = y.to(logits.dtype)
        notes = nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
        scores = -notes.sum(dim=-1)
    else:
        scores = -nn.functional.cross_entropy(logits.mT, y, reduction="none")
    if y_lengths is None:
        return scores
    return scores.masked_fill(~length_mask(y_lengths, y.shape[1]), 0.0)


def write_steps(
    step: Step,
    y_t: Tensor,
    state: Any,
    *,
    pick: Pick,
    max_length: int,
    eos: int | None,
    refuse_nan: bool = False,
) -> tuple[Tensor, Tensor]:
    """Write sequences step by step; each step reads what the one before picked.

    Args:
        step: of the decoder.
        y_t: input of the first step.
        state: before the first step.
        pick: chooses a step from its logits.
        max_length: steps at most.
        eos: id that ends a sequence; None: nothing does.
        refuse_nan: raise where the last logits are NaN. One NaN makes all later steps NaN, by the
            weights or the state, so it is looked for once.

    Returns:
        (B, T) ids or (B, T, K) notes; lengths (B,), <EOS> included.

    Raises:
        TrainingError: with `refuse_nan`.
    """
    written: list[Tensor] = []
    ended = torch.zeros(len(y_t), dtype=torch.bool, device=y_t.device)
    for _ in range(max_length):
        logits, state = step(y_t, state)
        y_t = pick(logits)
        written.append(y_t)
        if eos is not None:
            ended |= y_t == eos
            if bool(ended.all()):
                break
    if refuse_nan and bool(logits.isnan().any()):
        raise TrainingError("the model: its outputs are NaN; allowed: one that trained to the end")
    y = torch.stack(written, dim=1)
    if eos is None:
        return y, torch.full((len(y),), len(written), device=y.device)
    return y, lengths_to_end(y, eos)


def read_guesses(
    step: Step,
    y_t: Tensor,
    state: Any,
    y: Tensor,
    *,
    guess: Pick,
    forced_share: float = 0.0,
) -> Tensor:
    """Logits of as many steps as y has; each step reads the guess at the step before it.

    Args:
        step: of the decoder.
        y_t: input of the first step.
        state: before the first step.
        y: (B, T) or (B, T, K).
        guess: chooses a step from its logits.
        forced_share: probability, drawn for each sequence and step, that the true y_{t-1} is read
            in place of the guess.

    Returns:
        (B, T, V) or (B, T, K).
    """
    steps: list[Tensor] = []
    for t in range(y.shape[1]):
        logits, state = step(y_t, state)
        steps.append(logits)
        y_t = guess(logits)
        if forced_share > 0:
            forced = torch.rand(len(y), device=y.device) < forced_share
            y_t = torch.where(forced, y[:, t], y_t)
    return torch.stack(steps, dim=1)


def bans(V: int, banned: tuple[int, ...], device: torch.device) -> Tensor:
    """A row (V,) to add to logits: minus infinity for banned ids, 0 for all others."""
    ids = torch.tensor(banned, device=device, dtype=torch.int64)
    return torch.zeros(V, device=device).index_fill_(0, ids, -torch.inf)


def draw(
    logits: Tensor,
    *,
    temperature: float,
    banned: Tensor | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """One symbol for each row, drawn from softmax(logits / temperature).

    Args:
        logits: (B, V).
        temperature: above 0; 1 is the model's own distribution, towards 0 the most likely symbol.
        banned: see `bans`; None: every id may be drawn.
        top_k: draw among the k most likely of those left only.
        top_p: draw among the most likely only, as few as have this probability together; after
            `top_k`.
        generator: random state, on any device; None: torch's global one.

    Returns:
        (B,) ids.

    Source: Fan et al. (2018), section 5.4 (top k); Holtzman et al. (2020), equations 2 and 3
    (top p, the nucleus); Maddison et al. (2014), "A* sampling", section 2: with q from an
    exponential distribution, argmax p / q is drawn from p. `torch.multinomial` does the same after
    checks that take longer than the draw.
    """
    logits = logits.float() if banned is None else logits.float() + banned
    if temperature != 1.0:
        logits = logits / temperature
    probabilities = torch.softmax(logits, dim=-1)
    if top_k is not None or top_p is not None:
        probabilities = _most_likely(probabilities, top_k, top_p)
    drawn_on = probabilities if generator is None else probabilities.to(generator.device)
    waits = torch.empty_like(drawn_on).exponential_(generator=generator)
    return drawn_on.div(waits).argmax(dim=-1).to(logits.device)


def _most_likely(probabilities: Tensor, top_k: int | None, top_p: float | None) -> Tensor:
    """The probabilities (B, V) with 0 where `draw` must not look; they need not add up to 1."""
    highest, ids = probabilities.sort(dim=-1, descending=True, stable=True)
    if top_k is not None:
        highest[:, top_k:] = 0.0
    if top_p is not None:
        before = highest.cumsum(dim=-1) - highest
        enough = before >= top_p * highest.sum(dim=-1, keepdim=True)
        highest = highest.masked_fill(enough, 0.0)
    return torch.zeros_like(probabilities).scatter(1, ids, highest)


@checked()
def check_drawing(
    temperature: Temperature, top_k: Count | None, top_p: TopP | None, *, roll: bool
) -> None:
    """Refuse options of sampling that are out of bounds.

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
