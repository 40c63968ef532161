"""How likely a model finds a sequence."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from seqpipe.data.base import Field, Record
from seqpipe.errors import ConfigError, DataError
from seqpipe.models.encoder_decoder import EncoderDecoder
from seqpipe.models.one_to_many import OneToMany
from seqpipe.nn.precision import precise, widest
from seqpipe.tasks.base import Task

CHUNK = 2_048  # steps whose logits are held at once


@dataclass(frozen=True)
class Score:
    """The log-probability of one sequence, in nats.

    Args:
        tokens: the symbols, <EOS> included where the field writes one; of a roll, the steps.
        log_probabilities: of each, given those before it.
    """

    tokens: list[str]
    log_probabilities: list[float]

    @property
    def total(self) -> float:
        """Of the whole sequence: what sequences are ranked by."""
        return math.fsum(self.log_probabilities)

    @property
    def per_token(self) -> float:
        """The mean: what sequences of different length are compared by."""
        return self.total / len(self.log_probabilities)

    @property
    def perplexity(self) -> float:
        """exp(-per_token)."""
        return math.exp(-self.per_token)

    @property
    def unknown(self) -> int:
        """How many symbols the model does not know: it scored <UNK> in their place."""
        return sum(token == "<UNK>" for token in self.tokens)


@torch.inference_mode()
def score(network: nn.Module, task: Task, x: Field | None, y: Field, record: Record) -> Score:
    """The log-probability of a record's y, given its x where there is one.

    The whole sequence is read from its start, however training cut it.

    Args:
        network: a OneToMany or an EncoderDecoder, in eval mode.
        task: it was trained for.
        x: fitted; None for a language model.
        y: fitted.
        record: with the columns of both.

    Raises:
        ConfigError: the model gives sequences no probability.
        DataError: the record cannot be read.
    """
    if not isinstance(network, OneToMany | EncoderDecoder):
        text = "gives no probability to sequences; allowed: one_to_many or encoder_decoder"
        raise ConfigError(f"{type(network).__name__}: {text}")
    device = next(network.parameters()).device
    symbols = y.encode_target(record)
    if len(symbols) == 0:
        raise DataError(f"{y.column}: has no steps; allowed: one or more")
    ids = symbols.to(y.spec.dtype).unsqueeze(0).to(device)
    parts = [_of(one, ids, y) for one in _logits(network, x, record, ids)]
    values = torch.cat(parts).tolist()
    names = y.spec.names or ()
    if y.spec.kind == "roll":
        tokens = [y.decode(row.unsqueeze(0)) for row in symbols]
    else:
        tokens = [names[int(id_)] for id_ in symbols]
    return Score(tokens, values)


def _logits(network: OneToMany | EncoderDecoder, x: Field | None, record: Record, y: Tensor) -> Any:
    """(steps before, logits (1, T, V)) of the pieces of one sequence, each after the last one."""
    steps = y.shape[1]
    if x is None and isinstance(network, OneToMany):
        state = network.start(1)
        for start in range(0, steps, CHUNK):
            piece = y[:, start : start + CHUNK]
            lengths = torch.tensor([piece.shape[1]], device=y.device)
            logits, state = network.carry(None, None, piece, lengths, state)
            yield start, logits
        return
    assert x is not None
    encoded = x.encode(record).to(x.spec.dtype).unsqueeze(0).to(y.device)
    x_lengths = torch.tensor([encoded.shape[1]], device=y.device) if x.spec.has_time else None
    lengths = torch.tensor([steps], device=y.device)
    yield 0, network(encoded, x_lengths, y, lengths)


def _of(piece: tuple[int, Tensor], y: Tensor, field: Field) -> Tensor:
    """Log-probabilities of the true steps of a piece, (T,) float64."""
    start, logits = piece
    logits = precise(logits[0]).to(widest(y.device))
    truth = y[0, start : start + len(logits)]
    if field.spec.kind == "roll":
        return -torch.nn.functional.binary_cross_entropy_with_logits(
            logits, truth.to(logits.dtype), reduction="none"
        ).sum(dim=-1)
    chosen: Tensor = logits.log_softmax(dim=-1).gather(1, truth.long().unsqueeze(1)).squeeze(1)
    return chosen


def ranked(scores: list[Score]) -> list[int]:
    """Which of some sequences come first: the likeliest as a whole, then the next."""
    return sorted(range(len(scores)), key=lambda place: -scores[place].total)
