"""Log-probabilities of sequences."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from seqpipe.data.base import Field, Record
from seqpipe.errors import ConfigError, DataError, did_you_mean
from seqpipe.inference.unknown_symbols import counts_unknown, shown, unknown_at, unknown_symbols
from seqpipe.models.architecture import Carries, Scores
from seqpipe.models.decoding import log_probabilities
from seqpipe.nn.precision import widest

CHUNK = 2_048  # steps whose logits are held at once
Unknown = Literal["count", "skip", "refuse"]


@dataclass(frozen=True)
class Score:
    """The log-probability of one sequence, in nats.

    Args:
        tokens: the symbols, with <EOS> if the field writes one; of a roll, the steps.
        log_probabilities: of each symbol, given those before it.
        unknown_at: True for a symbol that the model does not know; <UNK> is scored instead.
        skip: leave unknown symbols out of the total. The next symbols are still given them.
    """

    tokens: list[str]
    log_probabilities: list[float]
    unknown_at: list[bool]
    skip: bool = False

    @property
    def counted(self) -> list[float]:
        """The log-probabilities that add up to the total."""
        every = zip(self.log_probabilities, self.unknown_at, strict=True)
        return [value for value, unknown in every if not (self.skip and unknown)]

    @property
    def total(self) -> float:
        """Log-probability of the whole sequence, by which sequences are ranked."""
        return math.fsum(self.counted)

    @property
    def per_token(self) -> float:
        """The mean, which compares sequences of different length; NaN without symbols."""
        return self.total / len(self.counted) if self.counted else math.nan

    @property
    def probability(self) -> float:
        """exp(total); 0 below the smallest float, about 1e-308."""
        return math.exp(self.total)

    @property
    def perplexity(self) -> float:
        """exp(-per_token)."""
        return math.exp(-self.per_token)

    @property
    def unknown(self) -> int:
        """The number of unknown symbols, for which <UNK> was scored."""
        return sum(self.unknown_at)


@torch.inference_mode()
def score(
    network: nn.Module,
    x: Field | None,
    y: Field,
    record: Record,
    unknown: Unknown = "count",
) -> Score:
    """Compute the log-probability of a record's y, given its x if there is one.

    The whole sequence is read from its start, even if training cut it.

    Args:
        network: one that scores, in eval mode.
        x: fitted; None for a language model.
        y: fitted.
        record: with the columns of both.
        unknown: how to treat symbols that are not in the vocabulary: `count` scores <UNK> instead,
            `skip` leaves them out of the total, `refuse` raises.

    Raises:
        ConfigError: the model gives sequences no probability, or `unknown` is none of these.
        DataError: the record cannot be read, or has unknown symbols that are refused.
    """
    if unknown not in get_args(Unknown):
        allowed = ", ".join(get_args(Unknown))
        hint = did_you_mean(str(unknown), get_args(Unknown))
        raise ConfigError(f"unknown={unknown}: no such policy; allowed: {allowed}{hint}")
    if not isinstance(network, Scores):
        text = "gives no probability to sequences; allowed: one_to_many or encoder_decoder"
        raise ConfigError(f"{type(network).__name__}: {text}")
    device = next(network.parameters()).device
    symbols = y.encode_target(record)
    if len(symbols) == 0:
        raise DataError(f"{y.column}: has no steps; allowed: one or more")
    there = [False] * len(symbols)
    if counts_unknown(y.spec):
        there = unknown_at(y.spec, symbols).tolist()
    if unknown == "refuse" and any(there):
        found = shown(unknown_symbols(y, record.get(y.column), symbols), sum(there))
        allowed = "known symbols, unknown=skip or unknown=count"
        raise DataError(f"{y.column}: holds {found}; allowed: {allowed}")
    ids = symbols.to(y.spec.dtype).unsqueeze(0).to(device)
    pieces = _logits(network, x, record, ids)
    parts = [log_probabilities(logits.to(widest(device)), truth)[0] for logits, truth in pieces]
    values = torch.cat(parts).tolist()
    names = y.spec.names or ()
    if y.spec.is_roll:
        tokens = [y.decode(row.unsqueeze(0)) for row in symbols]
    else:
        tokens = [names[int(id_)] for id_ in symbols]
    return Score(tokens, values, there, skip=unknown == "skip")


def _logits(
    network: nn.Module, x: Field | None, record: Record, y: Tensor
) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits and true steps, (1, T, ...) each, of the pieces of one sequence."""
    if x is None and isinstance(network, Carries):
        state = network.start(1)
        for piece in y.split(CHUNK, dim=1):
            lengths = torch.tensor([piece.shape[1]], device=y.device)
            logits, state = network.carry(None, None, piece, lengths, state)
            yield logits, piece
        return
    encoded, x_lengths = None, None
    if x is not None:
        encoded = x.encode(record).to(x.spec.dtype).unsqueeze(0).to(y.device)
        x_lengths = torch.tensor([encoded.shape[1]], device=y.device) if x.spec.has_time else None
    yield network(encoded, x_lengths, y, torch.tensor([y.shape[1]], device=y.device)), y


def probability_of(total: float) -> str:
    """Format a log-probability in nats as a probability, however small: `5.7e-10`.

    >>> probability_of(math.log(0.25)), probability_of(-21.28), probability_of(-1000.0)
    ('0.25', '5.7e-10', '5.1e-435')
    """
    if total > -700:  # about the logarithm of the smallest number of 64 bits
        return f"{math.exp(total):.2g}"
    if total == -math.inf or math.isnan(total):
        return f"{math.exp(total):g}"
    exponent = math.floor(total / math.log(10))
    digits = 10 ** (total / math.log(10) - exponent)
    if float(f"{digits:.1f}") == 10:
        digits, exponent = 1.0, exponent + 1
    return f"{digits:.1f}e{exponent}"


def ranked(scores: list[Score]) -> list[int]:
    """Return the places of the scores in order, the most likely sequence first."""
    return sorted(range(len(scores)), key=lambda place: -scores[place].total)
