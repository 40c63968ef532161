"""Measurement of a trained model on labelled examples, by slices of length and of class."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from seqpipe.data.base import SequenceBatch
from seqpipe.data.dataset import SequenceData
from seqpipe.data.field_checks import item_role
from seqpipe.data.progress import Progress
from seqpipe.errors import DataError
from seqpipe.inference.evaluation import Evaluation, length_slices
from seqpipe.inference.model import Model
from seqpipe.inference.preprocess import MOST_ROWS, MOST_STEPS, Piece, batched
from seqpipe.inference.readers import Reader
from seqpipe.runs.measured_data import count_by_file
from seqpipe.training.carried_state import Carried, answer

CLASSES_SHOWN = 20
_MOST_PROBLEMS = 10


def measure_split(model: Model, data: SequenceData, split: str, seed: int) -> Evaluation:
    """Measure a model on a split of prepared data.

    Args:
        model: the model.
        data: with fields fitted as the model's.
        split: the split.
        seed: of the bootstrap.
    """
    examples = data.columns(split)
    lengths, labels = [0] * data.sizes[split], list[str]()
    if data.bptt is None:
        timed = examples.y if examples.x is None or not examples.x.has_time else examples.x
        lengths = timed.lengths.tolist()
        column = examples.x if _has_condition(model) else examples.y
        assert column is not None
        labels = _class_slices(model, (column.array(i) for i in range(len(lengths))))
    evaluation = Evaluation(model.task, _slices(lengths, labels), seed)
    model.task.learn_references(data.loader(split, shuffle=False))
    _add(evaluation, model, data.loader(split, shuffle=False), split)
    return evaluation


def measure_input(
    model: Model, reader: Reader, input: str, seed: int, counts: dict[str, int]
) -> Evaluation:
    """Measure a model on labelled raw input.

    Args:
        model: the model.
        reader: of labelled records.
        input: the files.
        seed: of the bootstrap.
        counts: file -> number of records; filled.

    Raises:
        DataError: records that cannot be used, the first ten; or there are none.
    """
    pieces = _read_pieces(model, reader, input, counts)
    entries = (piece.x if _has_condition(model) else piece.y for piece in pieces)
    labels = _class_slices(model, (entry for entry in entries if entry is not None))
    evaluation = Evaluation(model.task, _slices([piece.steps for piece in pieces], labels), seed)

    def batches() -> Iterator[SequenceBatch]:
        for chosen in batched([piece.steps for piece in pieces], MOST_ROWS, MOST_STEPS):
            batch = model.encoder.batch([pieces[place] for place in chosen])
            batch.index = torch.from_numpy(chosen)
            yield batch

    model.task.learn_references(batches())
    _add(evaluation, model, batches(), input)
    return evaluation


def _add(evaluation: Evaluation, model: Model, batches: Iterable[SequenceBatch], name: str) -> None:
    carried = Carried()
    with Progress(doing="evaluating") as progress, torch.inference_mode():
        for batch in progress.count(batches, name):
            moved = batch.to(model.device)
            evaluation.add(model.network, moved, answer(model.network, moved, carried))


def _read_pieces(model: Model, reader: Reader, input: str, counts: dict[str, int]) -> list[Piece]:
    pieces, problems = list[Piece](), list[str]()
    for row, one in enumerate(count_by_file(reader.read(input), counts)):
        try:
            if isinstance(one, DataError):
                raise one
            read = model.encoder.pieces(row, one, labelled=True)
            model.task.check_pieces((piece.x, piece.y) for piece in read)
            pieces += read
        except DataError as error:
            where = "" if isinstance(one, DataError) else f"{getattr(one, 'place', row)}: "
            problems += [f"{where}{text}" for text in error.problems]
        if len(problems) >= _MOST_PROBLEMS:
            break
    if problems:
        raise DataError(problems[:_MOST_PROBLEMS])
    if not pieces:
        raise DataError(f"input={input}: holds no examples; allowed: one or more")
    return pieces


def _has_condition(model: Model) -> bool:
    """True if x is a condition that many examples share; then its classes are the slices."""
    return model.x is not None and item_role(model.x, model.y) == "y"


def _class_slices(model: Model, truths: Iterator[Any]) -> list[str]:
    """`class spam` of each example, if y is one of a few classes; `condition spam` of such an x."""
    spec = model.spec.x if _has_condition(model) else model.spec.y
    assert spec is not None
    if not spec.is_class or spec.size > CLASSES_SHOWN:
        return []
    names = spec.names or ()
    what = "condition" if _has_condition(model) else "class"
    return [f"{what} {names[int(np.asarray(truth))]}" for truth in truths]


def _slices(lengths: Sequence[int], classes: Sequence[str]) -> list[tuple[str, ...]]:
    by_length = length_slices(lengths)
    every = [by_length, list(classes)] if classes else [by_length]
    return [tuple(name for name in names if name) for names in zip(*every, strict=True)]
