"""Beam search: the most probable sequences of a decoder, found from a few candidates at each step.

Shapes: B sequences, k = beam_size hypotheses of each, n = n_best, T steps, V symbols.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from seqpipe.bounds import BeamSize, LengthPenalty, checked, within_beam
from seqpipe.models.decoding import PAD
from seqpipe.nn.precision import widest
from seqpipe.nn.recurrent import StackState
from seqpipe.rules import require

Step = Callable[[Tensor, Tensor], Tensor]
"""From (B, k) symbols and the places (B, k), in the beam of the last call, of the hypotheses that
they continue, to log p of the next symbols (B, k, V): -inf for those that are never written."""


@dataclass(frozen=True)
class Hypotheses:
    """The n best sequences found for each x, the best first.

    Those that end in <EOS> stand before those that were cut off at `max_length`, whose probability
    includes all continuations. Where fewer than n are found, the rest have length 0 and score -inf.

    Args:
        ids: (B, n, T), <PAD> after the end.
        lengths: (B, n), <EOS> included.
        scores: (B, n) log p(y | x) in nats.
        normalised: (B, n) scores over `length_norm`, by which they are ranked.
    """

    ids: Tensor
    lengths: Tensor
    scores: Tensor
    normalised: Tensor


def length_norm(length: int, length_penalty: float) -> float:
    """Return the divisor of log p: lp(Y) = (5 + |Y|)^alpha / (5 + 1)^alpha.

    Args:
        length: |Y|, <EOS> included.
        length_penalty: alpha; with 0 it is 1 for all, with more longer answers gain.

    Source: Wu et al. (2016), equation 14, without the coverage penalty.
    """
    return float(((5 + length) / 6) ** length_penalty)


@checked()
def check_beam(beam_size: BeamSize, length_penalty: LengthPenalty, n_best: int) -> None:
    """Refuse options of a beam search that are out of bounds.

    Raises:
        ConfigError: a beam below 1, more answers than the beam is wide, a negative penalty.
    """
    require("n_best", n_best, within_beam(beam_size))


@torch.no_grad()
def beam_search(
    step: Step,
    rows: int,
    *,
    first: int,
    eos: int,
    max_length: int,
    beam_size: int,
    length_penalty: float,
    n_best: int,
    device: torch.device,
) -> Hypotheses:
    """The best sequences for each of B rows.

    At each step the k most likely of all continuations of a row's hypotheses are kept; those that
    end in <EOS> leave the beam for the list of the n best, the others stay in it. A row is done
    when nothing in its beam can still enter the list: log p only falls, and the largest norm it can
    be divided by is that of `max_length`.

    Args:
        step: one step of the decoder for all hypotheses at once.
        rows: B.
        first: id read at the first step.
        eos: id that ends a sequence.
        max_length: steps at most.
        beam_size: k; 1 is greedy decoding.
        length_penalty: alpha of `length_norm`.
        n_best: n, at most k.
        device: where to search.

    Raises:
        ConfigError: see `check_beam`.

    Source: Graves (2012), "Sequence transduction", section 2.5, and Sutskever et al. (2014),
    section 3.2, for beams; Wu et al. (2016), section 7, for the norm.
    """
    check_beam(beam_size, length_penalty, n_best)
    nothing = torch.full((rows, beam_size), -torch.inf, dtype=widest(device), device=device)
    ids = torch.full((rows, beam_size, max_length), PAD, device=device)
    best = _hypotheses(ids, nothing, 0, length_penalty)
    scores = nothing.clone()
    scores[:, 0] = 0.0  # of the one hypothesis there is before the first step
    symbols, parents = torch.full_like(ids[..., 0], first), torch.zeros_like(ids[..., 0])
    for t in range(max_length):
        scores, parents, symbols = _grown(scores, step(symbols, parents))
        ids = ids.gather(1, parents.unsqueeze(2).expand_as(ids))
        ids[:, :, t] = symbols
        ended = symbols == eos
        found = _hypotheses(ids, scores.where(ended, -torch.inf), t + 1, length_penalty)
        best = _merged(best, found, n_best, eos)
        scores = scores.masked_fill(ended, -torch.inf)
        settled = _settled(scores, best.normalised[:, -1:], max_length, length_penalty)
        scores = scores.masked_fill(settled, -torch.inf)
        if bool(settled.all()):
            break
    best = _merged(best, _hypotheses(ids, scores, t + 1, length_penalty), n_best, eos)
    longest = max(1, int(best.lengths.max()))
    return Hypotheses(best.ids[..., :longest], best.lengths, best.scores, best.normalised)


def states_of(state: StackState, rows: Tensor) -> StackState:
    """The state of the rows given, (N,) places in the batch; one may be given often."""
    return tuple(
        tuple(tuple(part.index_select(0, rows) for part in parts) for parts in layer)
        for layer in state
    )


def _grown(scores: Tensor, log_p: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The k most likely continuations. scores: (B, k); log_p: (B, k, V).

    Returns scores, places in the beam they go on from, and symbols, (B, k) each.
    """
    V = log_p.shape[2]
    scores, chosen = (scores.unsqueeze(2) + log_p).flatten(1).topk(scores.shape[1], dim=1)
    return scores, chosen // V, chosen % V


def _settled(scores: Tensor, worst: Tensor, max_length: int, length_penalty: float) -> Tensor:
    """True where no hypothesis in the beam can pass the worst that is kept, (B, 1)."""
    most = scores.amax(dim=1, keepdim=True) / length_norm(max_length, length_penalty)
    return most <= worst


def _hypotheses(ids: Tensor, scores: Tensor, length: int, length_penalty: float) -> Hypotheses:
    """Those of one length; none where the score is -inf."""
    there = scores > -torch.inf
    return Hypotheses(
        ids.masked_fill(~there.unsqueeze(2), PAD),
        there * length,
        scores,
        scores / length_norm(length, length_penalty),
    )


def _merged(these: Hypotheses, those: Hypotheses, count: int, eos: int) -> Hypotheses:
    """The best `count` of both, those that ended first."""
    ids, lengths, scores, normalised = (
        torch.cat([getattr(each, name) for each in (these, those)], dim=1)
        for name in ("ids", "lengths", "scores", "normalised")
    )
    ended = (ids == eos).any(dim=2)
    order = normalised.argsort(dim=1, descending=True, stable=True)
    first = ended.gather(1, order).byte().argsort(dim=1, descending=True, stable=True)
    order = order.gather(1, first)[:, :count]
    return Hypotheses(
        ids.gather(1, order.unsqueeze(2).expand(-1, -1, ids.shape[2])),
        lengths.gather(1, order),
        scores.gather(1, order),
        normalised.gather(1, order),
    )
