"""Connectionist temporal classification (CTC): the loss, greedy decoding, prefix beam search.

Every step of x emits one of V - 1 symbols or nothing (the blank). A path, one of them for each
step, stands for the symbols that remain when repeats are merged and blanks are left out; the
probability of y is that of all its paths together.

Shapes: B sequences, T steps of x, U symbols of y, V outputs, k = beam_size prefixes, n = n_best.
Source: Graves, Fernandez, Gomez & Schmidhuber (2006), "Connectionist temporal classification"; for
the beam Graves (2012), "Supervised sequence labelling", section 7.5.3, and Hannun et al. (2014),
algorithm 1, whose language model is added in logarithms, symbol by symbol.
"""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from seqpipe.bounds import BeamSize, checked, within_beam
from seqpipe.nn.masks import length_mask
from seqpipe.nn.precision import precise, widest
from seqpipe.rules import require


class Transcripts(NamedTuple):
    """The n most likely y found for each x, the best first.

    Where fewer are found, the rest are empty with a score of -inf. (An empty y that was found has
    a score above that.)

    Args:
        ids: (B, n, U), filled up with the blank.
        lengths: (B, n) symbols, maybe 0.
        scores: (B, n) log p(y | x) in nats, of all paths, as of the loss; what the search was given
            besides is added.
    """

    ids: Tensor
    lengths: Tensor
    scores: Tensor


class Continued(NamedTuple):
    """The scores of all continuations of some prefixes.

    Args:
        state: what is needed to continue further, of N prefixes.
        symbols: (N, V), added to log p of a prefix that grows by a symbol.
        end: (N,), added to log p of a prefix that is the whole y.
    """

    state: Any
    symbols: Tensor
    end: Tensor


@runtime_checkable
class PrefixScorer(Protocol):
    """Scores of symbols given those before them, in nats: of a language model, for example."""

    def start(self, rows: int, steps: int) -> Continued:
        """The continuations of `rows` empty prefixes, which grow in `steps` steps at most."""

    def grow(self, state: Any, symbols: Tensor) -> Continued:
        """The continuations of N prefixes that grew by a symbol each. symbols: (N,) ids of y."""

    def of_rows(self, state: Any, rows: Tensor) -> Any:
        """The state of the rows given, (N,); one may be given often."""

    def replaced(self, state: Any, rows: Tensor, by: Any) -> Any:
        """The state with other rows in some places. rows: (N,) places; by: a state of N rows."""


class _Fused:
    """The scores that a beam of B * k prefixes gets from elsewhere.

    Attributes:
        total: (B, k), the sum over the symbols of each prefix.
    """

    def __init__(self, scorer: PrefixScorer, like: Tensor, steps: int) -> None:
        self.scorer, self.like = scorer, like
        B, k = like.shape
        self.now = scorer.start(B * k, steps)
        self.total = torch.zeros_like(like)

    def continued(self, blank: int) -> Tensor:
        """The total after each symbol, (B, k, V); the blank leaves it as it is."""
        after = self.total.unsqueeze(2) + self.now.symbols.to(self.like).view(*self.like.shape, -1)
        after[:, :, blank] = self.total
        return after

    def grow(self, parents: Tensor, symbols: Tensor, total: Tensor, grew: Tensor) -> None:
        """The prefixes of the next step.

        Args:
            parents: (B, k), each one's place in the beam before.
            symbols: (B, k), those that they grew by.
            total: (B, k).
            grew: (B, k), True where they did.
        """
        B, k = parents.shape
        rows = (torch.arange(B, device=parents.device).unsqueeze(1) * k + parents).flatten()
        self.total = total
        state = self.scorer.of_rows(self.now.state, rows)
        scores, end = self.now.symbols[rows], self.now.end[rows]
        places = grew.flatten().nonzero().squeeze(1)
        if len(places):
            new = self.scorer.grow(
                self.scorer.of_rows(state, places), symbols.flatten().index_select(0, places)
            )
            state = self.scorer.replaced(state, places, new.state)
            scores = scores.index_copy(0, places, new.symbols)
            end = end.index_copy(0, places, new.end)
        self.now = Continued(state, scores, end)

    def ended(self) -> Tensor:
        """The total of prefixes that are whole, (B, k)."""
        return self.total + self.now.end.to(self.like).view_as(self.total)


class _Prefixes(NamedTuple):
    """Distinct prefixes of y, and log p of the paths so far that stand for them.

    Args:
        ids: (B, k, T), filled up with the blank.
        lengths: (B, k).
        blank: (B, k) of the paths that end in a blank.
        symbol: (B, k) of those that end in the last symbol.
    """

    ids: Tensor
    lengths: Tensor
    blank: Tensor
    symbol: Tensor

    @property
    def both(self) -> Tensor:
        """(B, k) of all paths; -inf where there is no prefix."""
        return torch.logaddexp(self.blank, self.symbol)


@torch.no_grad()
@checked()
def prefix_beam(
    logits: Float[Tensor, "B T V"],
    x_lengths: Int[Tensor, " B"],
    *,
    blank: int,
    beam_size: BeamSize,
    n_best: int = 1,
    banned: tuple[int, ...] = (),
    scorer: PrefixScorer | None = None,
) -> Transcripts:
    """The n most probable y of each x, by a beam search with k prefixes at each step.

    Step by step a prefix stays as it is (a blank, or its last symbol again) or grows by a symbol;
    paths to the same prefix are added up, and the k most likely are kept. The sums of a narrow beam
    lack the paths that it dropped, so the answers are scored again at the end, over all paths.

    Args:
        logits: (B, T, V); steps after the length are not read.
        x_lengths: (B,) real steps of x.
        blank: its id.
        beam_size: k.
        n_best: n, at most k.
        banned: ids never written.
        scorer: of symbols given those before them; what it gives is added to log p(y | x), in the
            search and in the scores.

    Raises:
        ConfigError: a beam below 1, or `n_best` outside 1..k.
    """
    require("n_best", n_best, within_beam(beam_size))
    B, T = logits.shape[:2]
    real = length_mask(x_lengths, T)
    log_p = precise(logits).masked_fill(~real.unsqueeze(2), 0.0).log_softmax(dim=-1)
    log_p = log_p.to(widest(logits.device))
    log_p = log_p.index_fill(2, torch.tensor(banned, device=logits.device).long(), -torch.inf)
    ids = torch.full((B, beam_size, T), blank, device=logits.device)
    nothing = torch.full((B, beam_size), -torch.inf, dtype=log_p.dtype, device=logits.device)
    first = nothing.clone()
    first[:, 0] = 0.0  # the empty prefix
    beam = _Prefixes(ids, torch.zeros_like(ids[..., 0]), first, nothing)
    fused = None if scorer is None else _Fused(scorer, nothing, T)
    for t in range(T):
        goes_on = real[:, t].unsqueeze(1)
        grown = _grown(beam, log_p[:, t], blank, fused, goes_on)
        beam = _Prefixes(
            grown.ids.where(goes_on.unsqueeze(2), beam.ids),
            *(new.where(goes_on, old) for new, old in zip(grown[1:], beam[1:], strict=True)),
        )
    added = None if fused is None else fused.ended()
    return _scored(beam, added, n_best, logits, x_lengths, blank)


def _grown(
    beam: _Prefixes, log_p: Tensor, blank: int, fused: _Fused | None, goes_on: Tensor
) -> _Prefixes:
    """The k most likely prefixes one step on. log_p: (B, V); goes_on: (B, 1), True in x."""
    B, k, T = beam.ids.shape
    V = log_p.shape[1]
    last = beam.ids.gather(2, (beam.lengths - 1).clamp(min=0).unsqueeze(2))  # (B, k, 1)
    log_p_last = log_p.gather(1, last.squeeze(2))
    # Longer by a symbol; by the last one only after a blank, for without it is the last one still.
    longer = beam.both.unsqueeze(2) + log_p.unsqueeze(1)  # (B, k, V)
    longer = longer.scatter(2, last, (beam.blank + log_p_last).unsqueeze(2))
    # Prefix i longer by the last symbol of j may be prefix j: those paths belong to j.
    meets = _meets(beam, blank)  # (B, k of j, k of i)
    by_last = longer.mT.gather(1, last.expand(B, k, k)).masked_fill(~meets, -torch.inf)
    again = torch.logaddexp(beam.symbol + log_p_last, by_last.logsumexp(dim=2))
    met = meets.mT.to(longer.dtype)
    gone = torch.zeros_like(longer).scatter_add(2, last.mT.expand(B, k, k), met)
    longer = longer.masked_fill(gone > 0, -torch.inf)
    # No prefix grows by a blank: that column stands for the prefix as it is.
    longer[:, :, blank] = again
    stays = torch.full_like(longer, -torch.inf)
    stays[:, :, blank] = beam.both + log_p[:, blank].unsqueeze(1)
    scores = torch.logaddexp(stays, longer)
    after = None if fused is None else fused.continued(blank)
    if after is not None:
        scores = scores + after
    chosen = scores.flatten(1).topk(k, dim=1).indices
    parents, symbols = chosen // V, chosen % V
    if fused is not None and after is not None:
        here = torch.arange(k, device=parents.device).expand_as(parents)
        there = scores.flatten(1).gather(1, chosen) > -torch.inf
        fused.grow(
            parents.where(goes_on, here),
            symbols,
            after.flatten(1).gather(1, chosen).where(goes_on & there, fused.total),
            goes_on & there & (symbols != blank),
        )
    lengths = beam.lengths.gather(1, parents)
    ids = beam.ids.gather(1, parents.unsqueeze(2).expand(B, k, T))
    return _Prefixes(
        ids.scatter(2, lengths.unsqueeze(2), symbols.unsqueeze(2)),
        lengths + (symbols != blank),
        stays.flatten(1).gather(1, chosen),
        longer.flatten(1).gather(1, chosen),
    )


def _meets(beam: _Prefixes, blank: int) -> Tensor:
    """(B, k, k): [j, i] where prefix j without its last symbol is prefix i."""
    longest = max(1, int(beam.lengths.max()))
    ids = beam.ids[:, :, :longest]
    t = torch.arange(longest, device=ids.device)
    without_last = ids.masked_fill(t >= (beam.lengths - 1).unsqueeze(2), blank)
    same = (without_last.unsqueeze(2) == ids.unsqueeze(1)).all(dim=3)
    one_more = beam.lengths.unsqueeze(2) == beam.lengths.unsqueeze(1) + 1
    return same & one_more & (beam.both > -torch.inf).unsqueeze(2)


def _scored(
    beam: _Prefixes,
    added: Tensor | None,
    n_best: int,
    logits: Tensor,
    x_lengths: Tensor,
    blank: int,
) -> Transcripts:
    """The n most likely, by log p of all their paths. added: (B, k), to log p of each prefix."""
    scores = beam.both if added is None else beam.both + added
    found, best = scores.topk(n_best, dim=1)
    longest = max(1, int(beam.lengths.gather(1, best).max()))
    ids = beam.ids.gather(1, best.unsqueeze(2).expand(*best.shape, beam.ids.shape[2]))
    lengths = beam.lengths.gather(1, best)
    losses = [
        ctc_loss(logits, x_lengths, ids[:, n, :longest], lengths[:, n], blank=blank)
        for n in range(n_best)
    ]
    there = found > -torch.inf
    scores = -torch.stack(losses, dim=1)
    if added is not None:
        scores = scores + added.gather(1, best)
    scores = scores.masked_fill(~there, -torch.inf)
    scores, order = scores.sort(dim=1, descending=True, stable=True)
    ids = ids.masked_fill(~there.unsqueeze(2), blank)[:, :, :longest]
    return Transcripts(
        ids.gather(1, order.unsqueeze(2).expand_as(ids)), (lengths * there).gather(1, order), scores
    )


def ctc_loss(
    logits: Float[Tensor, "B T V"],
    x_lengths: Int[Tensor, " B"],
    y: Int[Tensor, "B U"],
    y_lengths: Int[Tensor, " B"],
    *,
    blank: int,
) -> Float[Tensor, " B"]:
    """-log p(y | x) in nats of each sequence, infinite where x is too short for y (B,).

    Args:
        logits: (B, T, V); steps after the length are not read.
        x_lengths: (B,) real steps of x.
        y: (B, U) ids, the blank not among them.
        y_lengths: (B,) symbols of y.
        blank: its id.

    Source: equations 5 to 8, in torch; summed in float32 at least.
    """
    # Padding may hold anything: NaN times the zero gradient of a step that is not read is NaN.
    mask = length_mask(x_lengths, logits.shape[1]).unsqueeze(-1)
    log_p = precise(logits).masked_fill(~mask, 0.0).log_softmax(dim=-1)
    losses: Tensor = nn.functional.ctc_loss(
        log_p.transpose(0, 1), y, x_lengths, y_lengths, blank=blank, reduction="none"
    )
    return losses


def best_path(
    logits: Float[Tensor, "B T V"], x_lengths: Int[Tensor, " B"], *, blank: int
) -> tuple[Int[Tensor, "B T"], Int[Tensor, " B"]]:
    """Greedy decoding: the most likely symbol of each step, repeats merged, blanks left out.

    Args:
        logits: (B, T, V); steps after the length are not read.
        x_lengths: (B,) real steps of x.
        blank: its id.

    Returns:
        (B, T) ids, filled up with the blank, and (B,) how many symbols each has; it may be 0.

    Source: section 3.2, best path decoding. It is not the most likely y, which has many paths.
    """
    path = logits.argmax(dim=-1)
    before = nn.functional.pad(path, (1, 0), value=blank)[:, :-1]
    emitted = length_mask(x_lengths, path.shape[1]) & (path != blank) & (path != before)
    # A stable sort by "left out" moves the emitted symbols to the front, in their order.
    order = (~emitted).to(torch.uint8).argsort(dim=1, stable=True)
    lengths = emitted.sum(dim=1)
    ids = path.gather(1, order).masked_fill(~length_mask(lengths, path.shape[1]), blank)
    return ids, lengths


def steps_needed(ids: Int[Tensor, " U"]) -> int:
    """Fewest steps of x that can emit `ids`: one each, and a blank between equal neighbours."""
    return len(ids) + int((ids[1:] == ids[:-1]).sum())
