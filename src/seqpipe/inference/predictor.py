"""Predictions for a stream of records: batched by length, returned in order, in threads."""

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
from seqpipe.inference.generate import Decoding, search_answers
from seqpipe.inference.prefetch import Prefetch, Workers
from seqpipe.inference.preprocess import MOST_STEPS, Encoder, Piece, batched
from seqpipe.inference.unknown_symbols import counts_unknown, unknown_at
from seqpipe.tasks.base import Task

CHUNK = 4_096  # records that are sorted by length together
STARTED = 2  # chunks at once that are computed or written; two more are read ahead


@dataclass(frozen=True)
class Asked:
    """An input record, and its answer or error.

    Args:
        record: the input; None if it could not be read.
        answer: the model's; None if there is an error.
        error: the reason why there is no answer.
    """

    record: Record | None
    answer: Answer | None
    error: str | None = None

    @property
    def place(self) -> str:
        """`reviews.csv:17`, or `inputs[16]`; empty without a record, whose error has the place."""
        return getattr(self.record, "place", "")


@dataclass(frozen=True)
class _Chunk:
    """Records in their order, errors by row, and the encoded pieces of all others."""

    found: list[Found]
    errors: dict[int, DataError]
    pieces: list[Piece]


class Predictor:
    """Answers many records with a model.

    Args:
        network: in eval mode.
        task: the task it was trained for.
        encoder: of its records.
        y: the field of its answers, fitted.
        how: the search for translations and transcripts.
    """

    def __init__(
        self, network: nn.Module, task: Task, encoder: Encoder, y: Field, how: Decoding
    ) -> None:
        self.network, self.task, self.encoder, self.y, self.how = network, task, encoder, y, how
        self.searches = bool(task.search_options)
        self.device = next(network.parameters()).device

    def answers(
        self, found: Iterable[Found], *, rows: int, chunk: int, ahead: bool
    ) -> Iterator[Asked]:
        """See `Model.answers`; rows: most examples that are computed at once."""
        if not ahead:
            rest = iter(found)
            while together := list(islice(rest, chunk)):
                yield from self._start_chunk(together, rows, partial)()
            return
        with Prefetch(found, chunk) as reading, self._starter() as start:
            started: deque[Callable[[], Iterator[Asked]]] = deque()
            more = True
            while more or started:
                can_start = more and len(started) < STARTED
                some = reading.next(wait=not started) if can_start else None
                if some is None:  # answer what was started; the input may come slowly
                    yield from started.popleft()()
                elif some:
                    started.append(self._start_chunk(some, rows, start))
                else:
                    more = False

    @contextmanager
    def _starter(self) -> Iterator[Callable[..., Any]]:
        """The function that starts a batch: in threads, which do not help a search."""
        if self.searches:
            yield partial
        else:
            with Workers(self.device) as workers:
                yield workers.start

    def _start_chunk(
        self, found: list[Found], rows: int, start: Callable[..., Any]
    ) -> Callable[[], Iterator[Asked]]:
        """Start to compute a chunk. Returns a function that waits for its answers."""
        chunk = self._encode(found)
        batches = list(batched(chunk.pieces, rows, MOST_STEPS))
        waits = [start(self._compute, [chunk.pieces[p] for p in places]) for places in batches]
        return partial(self._answers_of, chunk, batches, waits)

    def _encode(self, found: list[Found]) -> _Chunk:
        pieces, errors = self.encoder.pieces_of(found)
        return _Chunk(found, errors, pieces)

    @torch.inference_mode()
    def _compute(self, pieces: Sequence[Piece]) -> Sequence[Any]:
        """An answer, or (prediction, probabilities), of each piece."""
        batch = self.encoder.batch(pieces).to(self.device)
        if self.searches:
            return search_answers(self.network, self.task, self.y, batch, self.how)
        return self._predict(batch)

    def _answers_of(
        self,
        chunk: _Chunk,
        batches: Sequence[list[int]],
        waits: Sequence[Callable[[], Sequence[Any]]],
    ) -> Iterator[Asked]:
        computed: list[Any] = [None] * len(chunk.pieces)
        for places, wait in zip(batches, waits, strict=True):
            for place, part in zip(places, wait(), strict=True):
                computed[place] = part
        parts_of: list[list[Any]] = [[] for _ in chunk.found]
        for piece, part in zip(chunk.pieces, computed, strict=True):
            parts_of[piece.row].append(part)
        unknown = self._count_unknown(chunk)
        for row, (one, parts) in enumerate(zip(chunk.found, parts_of, strict=True)):
            record = None if isinstance(one, DataError) else one
            if row in chunk.errors:
                yield Asked(record, None, "; ".join(chunk.errors[row].problems))
            else:
                if self.searches:
                    answer: Answer = dict(parts[0])
                else:
                    answer = self.task.answer(self.y, *_join(parts))
                if unknown is not None:
                    answer["unknown"] = unknown[row]
                yield Asked(record, answer)

    def _count_unknown(self, chunk: _Chunk) -> list[int] | None:
        """The number of unknown symbols of each x; None if symbols cannot be unknown."""
        spec = self.encoder.spec.x
        if spec is None or not counts_unknown(spec):
            return None
        if not chunk.pieces:
            return [0] * len(chunk.found)
        steps = [piece.x for piece in chunk.pieces if piece.x is not None]
        rows = np.repeat([piece.row for piece in chunk.pieces], [len(x) for x in steps])
        unknown = unknown_at(spec, np.concatenate(steps))
        counts: list[int] = np.bincount(rows[unknown], minlength=len(chunk.found)).tolist()
        return counts

    def _predict(self, batch: Any) -> list[tuple[Any, Floats | None]]:
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


def _join(parts: list[tuple[Any, Floats | None]]) -> tuple[Any, Floats | None]:
    """Concatenate the pieces of one example."""
    if len(parts) == 1:
        return parts[0]
    chances = [chance for _, chance in parts if chance is not None]
    return torch.cat([part for part, _ in parts]), np.concatenate(chances) if chances else None
