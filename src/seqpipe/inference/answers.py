"""From what a model wrote to what people and programs read: an answer for each example."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqpipe.data.base import Field, FieldSpec
from seqpipe.data.tags import spans
from seqpipe.tasks.regression import in_units

Floats = np.ndarray[Any, np.dtype[np.float32]]
Answer = dict[str, Any]
"""Plain values by name; `prediction` is always among them."""


def answer_of(y: Field, spec: FieldSpec, predicted: Any, probabilities: Floats | None) -> Answer:
    """One example's answer.

    Args:
        y: the field, fitted.
        spec: what it says of itself.
        predicted: as `Task.decoded` gives it, of one example, without padding.
        probabilities: of the classes or labels, (K,), or (T, K) where there is one a step; None
            where the task gives none.

    Returns:
        category, ordinal: `prediction`, its `probability`, `probabilities` by class.
        multi_label: `prediction`, a list of labels; `probabilities` by label.
        number: `prediction`, a number, or a list where there are several; in the data's units.
        tags: `prediction`, a tag a step; `probability` of each; `spans`, where tags mark some.
        roll: `prediction`, the names of the notes of each step.
        values: `prediction`, (T, K) numbers in the data's units.
        symbols: `prediction`, text.
        Where x is text, `Answering` adds `unknown`, how many of its symbols are not known.
    """
    return _ANSWERS[spec.kind](y, spec, predicted, probabilities)


def _category(y: Field, spec: FieldSpec, predicted: Any, probabilities: Floats | None) -> Answer:
    assert spec.names is not None and probabilities is not None
    chances = probabilities.tolist()
    return {
        "prediction": spec.names[int(predicted)],
        "probability": chances[int(predicted)],
        "probabilities": dict(zip(spec.names, chances, strict=True)),
    }


def _labels(y: Field, spec: FieldSpec, predicted: Any, probabilities: Floats | None) -> Answer:
    assert spec.names is not None and probabilities is not None
    on = zip(spec.names, predicted.tolist(), strict=True)
    return {
        "prediction": [name for name, there in on if there],
        "probabilities": dict(zip(spec.names, probabilities.tolist(), strict=True)),
    }


def _number(y: Field, spec: FieldSpec, predicted: Any, probabilities: Floats | None) -> Answer:
    numbers = _in_units(spec, predicted).tolist()
    return {"prediction": numbers[0] if len(numbers) == 1 else numbers}


def _tags(y: Field, spec: FieldSpec, predicted: Any, probabilities: Floats | None) -> Answer:
    assert spec.names is not None and probabilities is not None
    tags = [spec.names[int(id_)] for id_ in predicted]
    chances = probabilities[range(len(predicted)), predicted.numpy()]
    answer: Answer = {"prediction": tags, "probability": chances.tolist()}
    if spec.scheme is not None:
        answer["spans"] = [
            {"type": span.type, "start": span.start, "end": span.end} for span in spans(tags)
        ]
    return answer


def _roll(y: Field, spec: FieldSpec, predicted: Any, probabilities: Floats | None) -> Answer:
    names: Sequence[str] = spec.names or ()
    rows = torch.as_tensor(predicted).tolist()
    return {
        "prediction": [[name for name, on in zip(names, row, strict=True) if on] for row in rows]
    }


def _values(y: Field, spec: FieldSpec, predicted: Any, probabilities: Floats | None) -> Answer:
    return {"prediction": _in_units(spec, predicted).tolist()}


def _text(y: Field, spec: FieldSpec, predicted: Any, probabilities: Floats | None) -> Answer:
    return {"prediction": y.decode(predicted)}


def _in_units(spec: FieldSpec, numbers: Any) -> Tensor:
    """(..., K) float64 as they were before they were standardised."""
    return in_units(spec, torch.as_tensor(numbers, dtype=torch.float64))


_ANSWERS: dict[str, Callable[[Field, FieldSpec, Any, Floats | None], Answer]] = {
    "category": _category,
    "ordinal": _category,
    "multi_label": _labels,
    "number": _number,
    "tags": _tags,
    "roll": _roll,
    "values": _values,
    "symbols": _text,
}
