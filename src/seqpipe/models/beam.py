"""Beam search: the most probable sequences of a decoder, found from a few candidates at each step.

Shapes: B sequences, k = beam_size hypotheses of each, n = n_best, T steps, V symbols.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from seqpipe.bounds import BeamSize, LengthPenalty, checked, within_beam
from seqpipe.models.decoding import PAD
from seqpipe.nn.precision import widest
from seqpipe.rules import require

Step = Callable[[Tensor, Tensor], Tensor]
"""From (N, k) symbols, and the hypotheses (N, k) that they continue, to log p of the next symbols
(N, k, V): -inf for those that are never written. A hypothesis is given by its place among all those
of the last call, row after row. Rows that were decided since then have left."""

BLOCKS = 32
"""Parts of a large vocabulary whose maxima are compared first."""


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

    def of_rows(self, rows: Tensor) -> "Hypotheses":
        """Those of some x. rows: (N,) places in the batch."""
        return Hypotheses(*(getattr(self, part.name)[rows] for part in fields(self)))


def length_norm(length: int, length_penalty: float) -> float:
    """Return the divisor of log p: lp(Y) = (5 + |Y|)^alpha / (5 + 1)^alpha.

    Args:
        length: |Y|, <EOS> included.
        length_penalty: alpha; with 0 it is 1 for all, with more longer answers gain.

    Source: Wu et al. (2016), equation 14, without the coverage penalty.
    """
    return float(((5 + length) / 6) ** length_penalty)


@dataclass(frozen=True)
class _Beam:
    """The hypotheses that are searched on, of N rows, k of each.

    Args:
        ids: (N, k, T), <PAD> after their last symbol.
        scores: (N, k) log p in nats, -inf for one that fills a place only.
        symbols: (N, k) their last symbols.
        parents: (N, k) what they continue, see `Step`.
    """

    ids: Tensor
    scores: Tensor
    symbols: Tensor
    parents: Tensor

    @classmethod
    def start(cls, rows: int, first: int, T: int, device: torch.device) -> "_Beam":
        """One hypothesis of each row, that begins with `first`."""
        ids = torch.full((rows, 1, T), PAD, device=device)
        scores = torch.zeros(rows, 1, dtype=widest(device), device=device)
        parents = torch.arange(rows, device=device).unsqueeze(1)
        return cls(ids, scores, torch.full_like(parents, first), parents)

    def grown(self, log_p: Tensor, beam_size: int, t: int) -> "_Beam":
        """The most likely continuations, `beam_size` of each row or all, with their step t.

        log_p: (N, k, V) of the next symbols.
        """
        each = min(beam_size, log_p.shape[2])
        likely, symbols = _largest(log_p, each)
        sums = (self.scores.unsqueeze(2) + likely).flatten(1)
        scores, chosen = sums.topk(min(beam_size, sums.shape[1]), dim=1)
        places, symbols = chosen // each, symbols.flatten(1).gather(1, chosen)
        ids = self.ids.gather(1, places.unsqueeze(2).expand(-1, -1, self.ids.shape[2]))
        ids[:, :, t] = symbols
        first = torch.arange(len(ids), device=ids.device).unsqueeze(1) * self.scores.shape[1]
        return _Beam(ids, scores, symbols, first + places)

    def without(self, gone: Tensor) -> tuple["_Beam", Tensor]:
        """The beam without some hypotheses, and without rows that have none left.

        gone: (N, k). Returns M rows, as wide as the row with most hypotheses needs; and which rows
        they are, (N,) booleans.
        """
        scores = self.scores.masked_fill(gone, -torch.inf)
        there = scores > -torch.inf
        kept, width = there.any(dim=1), int(there.sum(dim=1).max())
        best = scores[kept].argsort(dim=1, descending=True, stable=True)[:, :width]
        ids = self.ids[kept].gather(1, best.unsqueeze(2).expand(-1, -1, self.ids.shape[2]))
        parts = (scores, self.symbols, self.parents)
        return _Beam(ids, *(part[kept].gather(1, best) for part in parts)), kept


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
    end in <EOS> leave the beam for the list of the n best. Those that can no longer enter this list
    leave it too: log p only falls, and the largest norm it can be divided by is that of
    `max_length`. A row whose beam is empty leaves the batch.

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
    beam = _Beam.start(rows, first, max_length, device)
    going = torch.arange(rows, device=device)  # the rows of the beam
    nothing = beam.scores.new_full((rows, n_best), -torch.inf)
    best = _hypotheses(beam.ids.expand(-1, n_best, -1), nothing, 0, length_penalty)
    done: list[tuple[Tensor, Hypotheses]] = []
    for t in range(max_length):
        beam = beam.grown(step(beam.symbols, beam.parents), beam_size, t)
        ended = beam.symbols == eos
        if bool(ended.any()):
            scores = beam.scores.where(ended, -torch.inf)
            found = _hypotheses(beam.ids, scores, t + 1, length_penalty)
            best = _merged(best, found, n_best, eos)
        settled = _settled(beam.scores, best.normalised[:, -1:], max_length, length_penalty)
        beam, kept = beam.without(ended | settled)
        if not bool(kept.all()):
            done.append((going[~kept], best.of_rows(~kept)))
            going, best = going[kept], best.of_rows(kept)
        if len(going) == 0:
            break
    cut_off = _hypotheses(beam.ids, beam.scores, t + 1, length_penalty)
    return _in_order([*done, (going, _merged(best, cut_off, n_best, eos))])


def _in_order(done: list[tuple[Tensor, Hypotheses]]) -> Hypotheses:
    """Joins (rows, their hypotheses), and cuts off what is padding in all."""
    order = torch.cat([rows for rows, _ in done]).argsort()
    ids, lengths, scores, normalised = (
        torch.cat([getattr(found, part.name) for _, found in done])[order]
        for part in fields(Hypotheses)
    )
    return Hypotheses(ids[..., : max(1, int(lengths.max()))], lengths, scores, normalised)


def _largest(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` largest along the last axis, and their places, faster than `topk` for a large V.

    Cut into blocks, the rows of a table, they are in its `count` columns with the largest maxima.
    """
    V = values.shape[-1]
    width = V // BLOCKS
    if width <= count:
        return values.topk(count, dim=-1)
    table = values[..., : width * BLOCKS].unflatten(-1, (BLOCKS, width))
    columns = table.amax(dim=-2).topk(count, dim=-1).indices
    starts = torch.arange(0, width * BLOCKS, width, device=values.device)
    places = (columns.unsqueeze(-2) + starts.unsqueeze(-1)).flatten(-2)
    rest = torch.arange(width * BLOCKS, V, device=values.device).expand(*places.shape[:-1], -1)
    places = torch.cat([places, rest], dim=-1)
    largest, chosen = values.gather(-1, places).topk(count, dim=-1)
    return largest, places.gather(-1, chosen)


def _settled(scores: Tensor, worst: Tensor, max_length: int, length_penalty: float) -> Tensor:
    """True where a hypothesis in the beam (N, k) cannot pass the worst that is kept, (N, 1)."""
    return scores / length_norm(max_length, length_penalty) <= worst


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
