"""A stream of records through a model: sorted by length a few thousand at a time, in order out."""

import queue
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from seqpipe.data.base import Field, Found, Record
from seqpipe.errors import DataError
from seqpipe.inference.answers import Answer, Floats, answer_of
from seqpipe.inference.decoding import Decoding, decoded, decodes
from seqpipe.inference.encoding import MOST_STEPS, Encoder, Piece, batched
from seqpipe.tasks.base import Task

CHUNK = 4_096  # records that are sorted by length together
T = TypeVar("T")


@dataclass(frozen=True)
class Asked:
    """What was asked, and what came of it.

    Args:
        record: as it was given; None where nothing could be read.
        place: `reviews.csv:17`, or `inputs[16]`.
        answer: of the model; None where there is an error.
        error: why there is no answer.
    """

    record: Record | None
    place: str
    answer: Answer | None
    error: str | None = None


@dataclass(frozen=True)
class _Chunk:
    """Records in their order, and what is read of those that can be."""

    asked: list[Asked]
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
        self.spec = encoder.spec.y

    def answers(
        self, found: Iterable[Found], *, rows: int, chunk: int, ahead: bool
    ) -> Iterator[Asked]:
        """See `Model.answers`; rows: examples that are computed at once."""
        chunks = self._chunks(found, chunk)
        for one in read_ahead(chunks) if ahead else chunks:
            yield from self._answered(one, rows)

    def _chunks(self, found: Iterable[Found], size: int) -> Iterator[_Chunk]:
        rest = iter(found)
        while some := list(islice(rest, size)):
            asked: list[Asked] = []
            pieces: list[Piece] = []
            for row, one in enumerate(some):
                place = getattr(one, "place", "")
                try:
                    if isinstance(one, DataError):
                        raise one
                    pieces += self.encoder.pieces(row, one, labelled=False)
                    asked.append(Asked(one, place, None))
                except DataError as error:
                    record = None if isinstance(one, DataError) else one
                    asked.append(Asked(record, place, None, "; ".join(error.problems)))
            yield _Chunk(asked, pieces)

    @torch.inference_mode()
    def _answered(self, chunk: _Chunk, rows: int) -> list[Asked]:
        asked, pieces = list(chunk.asked), chunk.pieces
        written_of: list[Any] = [None] * len(pieces)
        searched = decodes(self.network, self.task)
        for chosen in batched(pieces, rows, MOST_STEPS):
            batch = self.encoder.batch([pieces[place] for place in chosen])
            batch = batch.to(next(self.network.parameters()).device)
            if searched:
                written: Sequence[Any] = decoded(self.network, self.task, self.y, batch, self.how)
            else:
                written = self._written(batch)
            for place, part in zip(chosen, written, strict=True):
                written_of[place] = part
        for row, of_row in groupby(zip(pieces, written_of, strict=True), lambda one: one[0].row):
            parts = [part for _, part in of_row]
            answer: Answer = parts[0] if searched else self._answer(parts)
            asked[row] = Asked(asked[row].record, asked[row].place, answer)
        return asked

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
