"""Predictions for a stream of records: batched by length, returned in order, in threads."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice, pairwise
from typing import Any

import numpy as np
import torch
from torch import nn

from seqpipe.data.base import Field, Found, Record
from seqpipe.data.columns import Integers
from seqpipe.data.kinds import Answer, Floats
from seqpipe.errors import DataError
from seqpipe.inference.generate import Decoding, search_answers
from seqpipe.inference.prefetch import Prefetch, Workers
from seqpipe.inference.preprocess import MOST_STEPS, Encoder, Inputs, batched
from seqpipe.inference.unknown_symbols import counts_unknown, unknown_at
from seqpipe.tasks.base import Task

CHUNK = 4_096  # records that are sorted by length together
STARTED = 2  # chunks at once that are computed or written; two more are read ahead


@dataclass(slots=True)
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
        inputs = self.encoder.encode_many(found)
        batches = list(batched(inputs.steps, rows, MOST_STEPS))
        spelled = partial(self._spelled, found, inputs) if self.how.unknown == "copy" else None
        waits = [start(self._compute, inputs, places, spelled) for places in batches]
        return partial(self._answers_of, found, inputs, batches, waits)

    @torch.inference_mode()
    def _compute(
        self,
        inputs: Inputs,
        places: Integers,
        spelled: Callable[[Integers], list[list[str]]] | None,
    ) -> Sequence[Any]:
        """An answer, or (prediction, probabilities), of each piece. places: (B,)."""
        batch = self.encoder.batch_of(inputs, places).to(self.device)
        if self.searches:
            sources = None if spelled is None else spelled(places)
            return search_answers(self.network, self.task, self.y, batch, self.how, sources)
        return self._predict(batch)

    def _spelled(self, found: Sequence[Found], inputs: Inputs, places: Integers) -> list[list[str]]:
        """The symbols of x as its text spells them, of each piece. places: (B,)."""
        records, x = [found[row] for row in inputs.examples[places].tolist()], self.encoder.x
        assert x is not None, "checked before"
        return [x.steps(x.value(one))[0] for one in records if not isinstance(one, DataError)]

    def _answers_of(
        self,
        found: Sequence[Found],
        inputs: Inputs,
        batches: Sequence[Integers],
        waits: Sequence[Callable[[], Sequence[Any]]],
    ) -> Iterator[Asked]:
        computed: list[Any] = [None] * sum(map(len, batches))
        for places, wait in zip(batches, waits, strict=True):
            for place, one in zip(places.tolist(), wait(), strict=True):
                computed[place] = one
        answers = iter(computed) if self.searches else self._answers_to(inputs, computed)
        unknown = self._count_unknown(inputs, len(found))
        for row, one in enumerate(found):
            record = None if isinstance(one, DataError) else one
            if row in inputs.errors:
                yield Asked(record, None, "; ".join(inputs.errors[row].problems))
                continue
            answer: Answer = next(answers)
            if unknown is not None:
                answer["unknown"] = unknown[row]
            yield Asked(record, answer)

    def _answers_to(
        self, inputs: Inputs, parts: Sequence[tuple[Any, Floats | None]]
    ) -> Iterator[Answer]:
        """Yield one answer after another: as plain values they take far more memory than arrays."""
        joined = parts if self.encoder.window is None else _joined(inputs, parts)
        return (self.task.answer(self.y, *part) for part in joined)

    def _count_unknown(self, inputs: Inputs, count: int) -> list[int] | None:
        """The number of unknown symbols of each x; None if symbols cannot be unknown."""
        spec = self.encoder.spec.x
        if spec is None or not counts_unknown(spec):
            return None
        if inputs.x is None:
            return [0] * count
        unknown = unknown_at(spec, inputs.x.span(0, inputs.x.steps))
        rows = np.repeat(inputs.rows, np.diff(inputs.x.starts()))
        counts: list[int] = np.bincount(rows[unknown], minlength=count).tolist()
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


def _joined(
    inputs: Inputs, parts: Sequence[tuple[Any, Floats | None]]
) -> Iterator[tuple[Any, Floats | None]]:
    """Join the pieces of each example."""
    bounds = np.flatnonzero(np.diff(inputs.examples, prepend=-1, append=-1)).tolist()
    for start, end in pairwise(bounds):
        predicted, chances = zip(*parts[start:end], strict=True)
        has_chances = chances[0] is not None
        yield torch.cat(predicted), np.concatenate(chances) if has_chances else None
