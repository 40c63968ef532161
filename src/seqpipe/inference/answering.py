"""A stream of records through a model: sorted by length a few thousand at a time, in order out."""

import queue
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from seqpipe.data.base import Field, Found, Record
from seqpipe.errors import DataError
from seqpipe.inference.answers import Answer, Floats, answer_of
from seqpipe.inference.decoding import Decoding, decoded, decodes
from seqpipe.inference.encoding import MOST_STEPS, Encoder, Piece, batched
from seqpipe.inference.threads import in_threads
from seqpipe.tasks.base import Task

CHUNK = 4_096  # records that are sorted by length together
T = TypeVar("T")


@dataclass(frozen=True)
class Asked:
    """What was asked, and what came of it.

    Args:
        record: as it was given; None where nothing could be read.
        answer: of the model; None where there is an error.
        error: why there is no answer.
    """

    record: Record | None
    answer: Answer | None
    error: str | None = None

    @property
    def place(self) -> str:
        """`reviews.csv:17`, or `inputs[16]`; nothing where the record does not know."""
        return getattr(self.record, "place", "")


@dataclass(frozen=True, eq=False)
class _Chunk:
    """Records in their order, and what is read of those that can be."""

    found: list[Found]
    errors: dict[int, DataError]
    pieces: list[Piece]


@dataclass(frozen=True)
class _Batch:
    """Pieces of a chunk that are computed together, by their places; and what came of each."""

    chunk: _Chunk
    places: list[int]
    last: bool
    written: Sequence[Any] = ()


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
        self.spec, self.searched = encoder.spec.y, decodes(network, task)

    def answers(
        self, found: Iterable[Found], *, rows: int, chunk: int, ahead: bool
    ) -> Iterator[Asked]:
        """See `Model.answers`; rows: examples that are computed at once."""
        batches = self._batches(found, rows, chunk)
        device = next(self.network.parameters()).device
        work = partial(self._computed, device=device)
        done = in_threads(work, batches, device) if ahead else map(work, batches)
        together: list[_Batch] = []
        for batch in done:
            together.append(batch)
            if batch.last:  # told at once, whether or not more is there to read
                yield from self._answered(together)
                together = []

    def _batches(self, found: Iterable[Found], rows: int, size: int) -> Iterator[_Batch]:
        for chunk in self._chunks(found, size):
            batches = [*batched(chunk.pieces, rows, MOST_STEPS)] or [[]]
            for number, places in enumerate(batches, 1):
                yield _Batch(chunk, places, number == len(batches))

    def _chunks(self, found: Iterable[Found], size: int) -> Iterator[_Chunk]:
        rest = iter(found)
        while some := list(islice(rest, size)):
            errors: dict[int, DataError] = {}
            pieces: list[Piece] = []
            for row, one in enumerate(some):
                try:
                    if isinstance(one, DataError):
                        raise one
                    pieces += self.encoder.pieces(row, one, labelled=False)
                except DataError as error:
                    errors[row] = error
            yield _Chunk(some, errors, pieces)

    @torch.inference_mode()
    def _computed(self, given: _Batch, device: torch.device) -> _Batch:
        if not given.places:
            return given
        batch = self.encoder.batch([given.chunk.pieces[place] for place in given.places])
        batch = batch.to(device)
        if self.searched:
            return replace(given, written=decoded(self.network, self.task, self.y, batch, self.how))
        return replace(given, written=self._written(batch))

    def _answered(self, batches: Sequence[_Batch]) -> Iterator[Asked]:
        chunk = batches[0].chunk
        parts_of: list[list[Any]] = [[] for _ in chunk.found]
        written_of: list[Any] = [None] * len(chunk.pieces)
        for batch in batches:
            for place, part in zip(batch.places, batch.written, strict=True):
                written_of[place] = part
        for piece, part in zip(chunk.pieces, written_of, strict=True):
            parts_of[piece.row].append(part)
        for row, (one, parts) in enumerate(zip(chunk.found, parts_of, strict=True)):
            record = None if isinstance(one, DataError) else one
            if row in chunk.errors:
                yield Asked(record, None, "; ".join(chunk.errors[row].problems))
            else:
                yield Asked(record, parts[0] if self.searched else self._answer(parts))

    def _answer(self, parts: list[tuple[Any, Floats | None]]) -> Answer:
        return answer_of(self.y, self.spec, *_joined(parts))

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


def read_ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items, the next of which is made in a thread of its own while one is worked on."""
    made: queue.Queue[tuple[T | None, BaseException | None, bool]] = queue.Queue(maxsize=1)
    stopped = threading.Event()

    def put(item: T | None, error: BaseException | None, last: bool) -> bool:
        while not stopped.is_set():
            try:
                made.put((item, error, last), timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def run() -> None:
        try:
            for item in items:
                if not put(item, None, False):
                    return
            put(None, None, True)
        except BaseException as error:  # told where it is waited for
            put(None, error, True)
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()

    thread = threading.Thread(target=run, name="reads ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, error, last = made.get()
            if error is not None:
                raise error
            if last:
                return
            yield item  # type: ignore[misc]  # None only with `last`
    finally:
        stopped.set()
        thread.join(timeout=1.0)  # it may wait for input that never comes; it dies with the process
