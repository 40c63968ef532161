"""A stream of records through a model: sorted by length a few thousand at a time, in order out."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import nn

from seqpipe.data.base import Field, Found, Record
from seqpipe.data.kinds import Answer, Floats
from seqpipe.errors import DataError
from seqpipe.inference.generate import Decoding, searched
from seqpipe.inference.prefetch import Ahead, Workers
from seqpipe.inference.preprocess import MOST_STEPS, Encoder, Piece, batched
from seqpipe.inference.unknown_symbols import counts_unknown, unknown_at
from seqpipe.tasks.base import Task

CHUNK = 4_096  # records that are sorted by length together
BEGUN = 2  # chunks at once that are computed or written; two more are read ahead


@dataclass(frozen=True)
class Asked:
    """A record that was asked, and its answer or error.

    Args:
        record: the one asked; None where nothing could be read.
        answer: of the model; None where there is an error.
        error: why there is no answer.
    """

    record: Record | None
    answer: Answer | None
    error: str | None = None

    @property
    def place(self) -> str:
        """`reviews.csv:17`, or `inputs[16]`; empty without a record: its error names the place."""
        return getattr(self.record, "place", "")


@dataclass(frozen=True)
class _Chunk:
    """Records in their order, and what is read of those that can be."""

    found: list[Found]
    errors: dict[int, DataError]
    pieces: list[Piece]


class Answering:
    """Asks a model about many records.

    Args:
        network: in eval mode.
        task: it was trained for.
        encoder: of its records.
        y: the field of its answers, fitted.
        how: translations and transcripts are searched for.
    """

    def __init__(
        self, network: nn.Module, task: Task, encoder: Encoder, y: Field, how: Decoding
    ) -> None:
        self.network, self.task, self.encoder, self.y, self.how = network, task, encoder, y, how
        self.searched = bool(task.search_options)
        self.device = next(network.parameters()).device

    def answers(
        self, found: Iterable[Found], *, rows: int, chunk: int, ahead: bool
    ) -> Iterator[Asked]:
        """See `Model.answers`; rows: examples that are computed at once."""
        if not ahead:
            rest = iter(found)
            while together := list(islice(rest, chunk)):
                yield from self._begin(together, rows, partial)()
            return
        with Ahead(found, chunk) as reading, self._computing() as start:
            begun: deque[Callable[[], Iterator[Asked]]] = deque()
            more = True
            while more or begun:
                some = reading.next(wait=not begun) if more and len(begun) < BEGUN else None
                if some is None:  # what was started is answered, whether or not more comes
                    yield from begun.popleft()()
                elif some:
                    begun.append(self._begin(some, rows, start))
                else:
                    more = False

    @contextmanager
    def _computing(self) -> Iterator[Callable[..., Any]]:
        """The function that starts a batch. Threads do not help a search."""
        if self.searched:
            yield partial
        else:
            with Workers(self.device) as workers:
                yield workers.start

    def _begin(
        self, found: list[Found], rows: int, start: Callable[..., Any]
    ) -> Callable[[], Iterator[Asked]]:
        chunk = self._chunk(found)
        batches = list(batched(chunk.pieces, rows, MOST_STEPS))
        begun = [start(self._computed, [chunk.pieces[p] for p in places]) for places in batches]
        return partial(self._answered, chunk, batches, begun)

    def _chunk(self, found: list[Found]) -> _Chunk:
        errors: dict[int, DataError] = {}
        pieces: list[Piece] = []
        for row, one in enumerate(found):
            try:
                if isinstance(one, DataError):
                    raise one
                pieces += self.encoder.pieces(row, one, labelled=False)
            except DataError as error:
                errors[row] = error
        return _Chunk(found, errors, pieces)

    @torch.inference_mode()
    def _computed(self, pieces: Sequence[Piece]) -> Sequence[Any]:
        batch = self.encoder.batch(pieces).to(self.device)
        if self.searched:
            return searched(self.network, self.task, self.y, batch, self.how)
        return self._written(batch)

    def _answered(
        self,
        chunk: _Chunk,
        batches: Sequence[list[int]],
        begun: Sequence[Callable[[], Sequence[Any]]],
    ) -> Iterator[Asked]:
        written_of: list[Any] = [None] * len(chunk.pieces)
        for places, result in zip(batches, begun, strict=True):
            for place, part in zip(places, result(), strict=True):
                written_of[place] = part
        parts_of: list[list[Any]] = [[] for _ in chunk.found]
        for piece, part in zip(chunk.pieces, written_of, strict=True):
            parts_of[piece.row].append(part)
        unknown = self._unknown(chunk)
        for row, (one, parts) in enumerate(zip(chunk.found, parts_of, strict=True)):
            record = None if isinstance(one, DataError) else one
            if row in chunk.errors:
                yield Asked(record, None, "; ".join(chunk.errors[row].problems))
            else:
                if self.searched:
                    answer: Answer = dict(parts[0])
                else:
                    answer = self.task.answer(self.y, *_joined(parts))
                if unknown is not None:
                    answer["unknown"] = unknown[row]
                yield Asked(record, answer)

    def _unknown(self, chunk: _Chunk) -> list[int] | None:
        """Number of unknown symbols of each x; None where none can be unknown."""
        spec = self.encoder.spec.x
        if spec is None or not counts_unknown(spec):
            return None
        counts = [0] * len(chunk.found)
        for piece in chunk.pieces:
            assert piece.x is not None
            counts[piece.row] += int(np.count_nonzero(unknown_at(spec, piece.x)))
        return counts

    def _written(self, batch: Any) -> list[tuple[Any, Floats | None]]:
        """(prediction, probabilities) of each piece, without padding."""
        outputs = self.network(batch.x, batch.x_lengths, batch.y, batch.y_lengths)
        predictions = self.task.predict(self.network, outputs, batch)
        answers = [predicted for predicted, _ in self.task.decoded(predictions, batch)]
        found = self.task.probabilities(outputs, batch)
        if found is None:
            return [(predicted, None) for predicted in answers]
        chances = found.cpu().numpy()
        if batch.y_lengths is None:
            return list(zip(answers, chances, strict=True))
        each = zip(answers, chances, batch.y_lengths.tolist(), strict=True)
        return [(predicted, rows[:steps]) for predicted, rows, steps in each]


def _joined(parts: list[tuple[Any, Floats | None]]) -> tuple[Any, Floats | None]:
    """The pieces of one example, one after the other."""
    if len(parts) == 1:
        return parts[0]
    chances = [chance for _, chance in parts if chance is not None]
    return torch.cat([part for part, _ in parts]), np.concatenate(chances) if chances else None
