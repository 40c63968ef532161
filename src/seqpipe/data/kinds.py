"""Kinds of entries, and the properties of a fitted field that a model must know.

A kind defines how entries are encoded, where they can be used, and how an answer is written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import torch

from seqpipe.data.tags import spans
from seqpipe.data.vocabulary import SPECIALS, UNK

Answer = dict[str, Any]
"""The answer to one example: plain values by name, always with `prediction`."""
Columns = dict[str, pa.DataType]
Floats = np.ndarray[Any, np.dtype[np.float32]]

_TEXT, _NUMBER = pa.string(), pa.float64()
_TEXTS, _NUMBERS = pa.list_(_TEXT), pa.list_(_NUMBER)
_SPAN = {"type": _TEXT, "start": pa.int64(), "end": pa.int64(), "text": _TEXT}
_BEST = {"prediction": _TEXT, "score": _NUMBER}


@dataclass(frozen=True)
class Kind:
    """The properties that all fields of one kind share.

    Args:
        name: the `kind` of fields and of `FieldSpec`.
        phrase: an entry in words, for messages.
        axes: of one encoded example: `T`, its steps; `size`, that of the spec; `any` number.
        holds: `ids`, `bits` (0 and 1) or `floats`.
        roles: where it can be used, as `x`, `y` or both.
        per_step: as y, it has one entry for each step of an x that has steps.
    """

    name: str
    phrase: str
    axes: tuple[Literal["T", "size", "any"], ...]
    holds: Literal["ids", "bits", "floats"]
    roles: str = "xy"
    per_step: bool = False

    @property
    def has_time(self) -> bool:
        """True if an example is a sequence of steps."""
        return "T" in self.axes

    @property
    def is_text(self) -> bool:
        """True if the steps are symbols of a text; as y, it is generated and ends in <EOS>."""
        return self.holds == "ids" and self.has_time and not self.per_step

    @property
    def needs_steps(self) -> bool:
        """True if it can only be the y of an x with steps, as tags are."""
        return self.per_step and self.holds == "ids"

    @property
    def read_as(self) -> str:
        """The kind that a model reads it as: numbers are a vector, ordered classes a category."""
        if self.axes == ():
            return "category"
        return "vector" if self.is_condition and self.holds == "floats" else self.name

    @property
    def is_condition(self) -> bool:
        """True if, as x of a y with steps, it is a condition that many examples share."""
        return "x" in self.roles and not self.has_time

    def answer(
        self,
        spec: FieldSpec,
        predicted: Any,
        probabilities: Floats | None,
        decode: Callable[[Any], str],
    ) -> Answer:
        """Return one example's answer, see `FieldSpec.answer`."""
        raise AssertionError(f"{self.name} is no kind of y")

    def columns(self, spec: FieldSpec, n_best: int) -> Columns:
        """Return the type of each column of an answer."""
        raise AssertionError(f"{self.name} is no kind of y")


class _Class(Kind):
    def answer(
        self, spec: FieldSpec, predicted: Any, probabilities: Floats | None, decode: object
    ) -> Answer:
        assert spec.names is not None and probabilities is not None
        chances = probabilities.tolist()
        return {
            "prediction": spec.names[int(predicted)],
            "probability": chances[int(predicted)],
            "probabilities": dict(zip(spec.names, chances, strict=True)),
        }

    def columns(self, spec: FieldSpec, n_best: int) -> Columns:
        return {"prediction": _TEXT, "probability": _NUMBER, **_by_name(spec)}


class _Labels(Kind):
    def answer(
        self, spec: FieldSpec, predicted: Any, probabilities: Floats | None, decode: object
    ) -> Answer:
        assert spec.names is not None and probabilities is not None
        return {
            "prediction": _named(spec, predicted.tolist()),
            "probabilities": dict(zip(spec.names, probabilities.tolist(), strict=True)),
        }

    def columns(self, spec: FieldSpec, n_best: int) -> Columns:
        return {"prediction": _TEXTS, **_by_name(spec)}


class _Numbers(Kind):
    def answer(
        self, spec: FieldSpec, predicted: Any, probabilities: object, decode: object
    ) -> Answer:
        numbers = spec.in_units(np.asarray(predicted, dtype=np.float64)).tolist()
        single = not self.has_time and len(numbers) == 1
        return {"prediction": numbers[0] if single else numbers}

    def columns(self, spec: FieldSpec, n_best: int) -> Columns:
        if self.has_time:
            return {"prediction": pa.list_(_NUMBERS)}
        return {"prediction": _NUMBER if spec.size == 1 else _NUMBERS}


class _Tags(Kind):
    def answer(
        self, spec: FieldSpec, predicted: Any, probabilities: Floats | None, decode: object
    ) -> Answer:
        assert spec.names is not None and probabilities is not None
        tags = [spec.names[int(id_)] for id_ in predicted]
        chances = probabilities[range(len(predicted)), np.asarray(predicted)]
        answer: Answer = {"prediction": tags, "probability": chances.tolist()}
        if spec.scheme is not None:
            answer["spans"] = [
                {"type": span.type, "start": span.start, "end": span.end} for span in spans(tags)
            ]
        return answer

    def columns(self, spec: FieldSpec, n_best: int) -> Columns:
        columns: Columns = {"prediction": _TEXTS, "probability": _NUMBERS}
        if spec.scheme is not None:
            columns["spans"] = pa.list_(pa.struct(list(_SPAN.items())))
        return columns


class _Roll(Kind):
    def answer(
        self, spec: FieldSpec, predicted: Any, probabilities: object, decode: object
    ) -> Answer:
        return {"prediction": [_named(spec, row) for row in np.asarray(predicted).tolist()]}

    def columns(self, spec: FieldSpec, n_best: int) -> Columns:
        return {"prediction": pa.list_(_TEXTS)}


class _Symbols(Kind):
    def answer(
        self, spec: FieldSpec, predicted: Any, probabilities: object, decode: Callable[[Any], str]
    ) -> Answer:
        return {"prediction": decode(predicted)}

    def columns(self, spec: FieldSpec, n_best: int) -> Columns:
        columns: Columns = {"prediction": _TEXT, "score": _NUMBER}
        if n_best > 1:
            columns["n_best"] = pa.list_(pa.struct(list(_BEST.items())))
        return columns


def _named(spec: FieldSpec, row: list[Any]) -> list[str]:
    return [name for name, on in zip(spec.names or (), row, strict=True) if on]


def _by_name(spec: FieldSpec) -> Columns:
    return {f"probabilities.{name}": _NUMBER for name in spec.names or ()}


KINDS = {
    kind.name: kind
    for kind in (
        _Numbers("values", "a series", ("T", "size"), "floats", per_step=True),
        _Symbols("symbols", "a text", ("T",), "ids"),
        Kind("spelled", "spelled words", ("T", "any"), "ids", roles="x"),
        Kind("vector", "one vector", ("size",), "floats", roles="x"),
        _Class("category", "one category", (), "ids"),
        _Numbers("number", "one number", ("size",), "floats"),
        _Class("ordinal", "one ordered class", (), "ids"),
        _Labels("multi_label", "any of several labels", ("size",), "bits", roles="y"),
        _Tags("tags", "a tag for each step", ("T",), "ids", roles="y", per_step=True),
        _Roll("roll", "a piano roll", ("T", "size"), "bits", roles="y", per_step=True),
    )
}
"""Every kind, by name."""


def kinds_of(role: Literal["x", "y"]) -> str:
    """List the kinds that can be x or y, for messages: `values, symbols, ...`."""
    return ", ".join(name for name, kind in KINDS.items() if role in kind.roles)


@dataclass(frozen=True)
class FieldSpec:
    """The properties of a fitted field that a model must know.

    Args:
        kind: as x, "values" (B, T_x, D) float32, "symbols" (B, T_x) int64, "spelled"
            (B, T_x, 1 + C) int64 (a word and its characters), "vector" (B, D) float32 without
            time, "category" and "ordinal" (B,) int64 (the order of ordinal classes means
            something), "number" (B, K) float32; as y, "category", "ordinal" and "number" too,
            "multi_label" (B, K) float32 of 0 and 1, "symbols" (B, T_y) int64, and with T = T_x
            where x has time, "tags" (B, T) int64, "roll" (B, T, K) float32 of 0 and 1, and
            "values" (B, T, K) float32.
        size: D, K, the number of classes, or the size of the vocabulary.
        names: the names of classes or symbols, by id; None for floats.
        unit: "characters", "words" or another name of one symbol; None if there is no name.
        counts: how often each class or symbol occurs in the training split, (size,) int64; None
            for floats.
        characters: of "spelled", the number of ids of characters; `size` counts words.
        mean: subtracted from each number, which is then divided by `scale`, (size,); None: not
            standardised.
        scale: see `mean`.
        vectors: pretrained, (size, D) float32; NaN for symbols without a vector.
        scheme: of tags that mark spans, `io`, `iob1`, `bio` or `bioes`; None for others.
        text: writes ids of "symbols" as text, to compare it; None if that is not possible.
        cut: splits a text into symbols, if its texts contain the symbol of UNK themselves.
    """

    kind: str
    size: int
    names: tuple[str, ...] | None = None
    unit: str | None = None
    counts: np.ndarray[Any, np.dtype[np.int64]] | None = field(
        default=None, compare=False, repr=False
    )
    characters: int | None = None
    mean: tuple[float, ...] | None = None
    scale: tuple[float, ...] | None = None
    vectors: np.ndarray[Any, np.dtype[np.float32]] | None = field(
        default=None, compare=False, repr=False
    )
    scheme: str | None = None
    text: Callable[[Sequence[int]], str] | None = field(default=None, compare=False, repr=False)
    cut: Callable[[str], Sequence[str]] | None = field(default=None, compare=False, repr=False)

    @property
    def unknown(self) -> int | None:
        """The id of symbols outside the vocabulary; None without a vocabulary."""
        names = self.names or ()
        specials = [name for id_, name in enumerate(SPECIALS) if id_ != UNK]
        found = [name for id_, name in enumerate(names[: len(SPECIALS)]) if id_ != UNK]
        return UNK if found == specials else None

    @property
    def can_be_unknown(self) -> bool:
        """True if a symbol of a text can be unknown: not of bytes or subwords."""
        may = self.is_text and self.unknown is not None
        return may and self.unit not in ("bytes", "subwords")

    @property
    def form(self) -> Kind:
        """The kind as an object."""
        return KINDS[self.kind]

    @property
    def has_time(self) -> bool:
        """True if an example is a sequence of steps."""
        return self.form.has_time

    @property
    def dtype(self) -> torch.dtype:
        """The type of the numbers in a batch."""
        return torch.int64 if self.form.holds == "ids" else torch.float32

    @property
    def holds_floats(self) -> bool:
        """True for measured numbers; false for ids, and for bits."""
        return self.form.holds == "floats"

    @property
    def is_counted(self) -> bool:
        """True for ids below `size`, which can be counted."""
        return self.form.holds == "ids" and not self.is_spelled

    @property
    def is_class(self) -> bool:
        """True if an example is one of a few classes, ordered or not."""
        return self.form.axes == ()

    @property
    def names_classes(self) -> bool:
        """True if an example, or each of its steps, is one of a few classes."""
        return self.is_class or self.form.needs_steps

    @property
    def is_text(self) -> bool:
        """True if the steps are symbols of a text; as y, it is generated and ends in <EOS>."""
        return self.form.is_text

    @property
    def is_spelled(self) -> bool:
        """True if each step is the id of a word followed by those of its characters."""
        return "any" in self.form.axes

    @property
    def is_roll(self) -> bool:
        """True if any of K notes can sound at each step."""
        return self.form.holds == "bits" and self.has_time

    @property
    def row_shape(self) -> tuple[int, ...]:
        """The axes of one step, or of an example without steps: (size,), or () for one id."""
        return (self.size,) if "size" in self.form.axes else ()

    def is_per_step_of(self, x: FieldSpec | None) -> bool:
        """True if, as y, it has one entry for each step of x."""
        return x is not None and x.has_time and self.form.per_step

    def in_units(self, numbers: Any) -> Any:
        """Convert numbers of a model, (..., size), to the units of the data.

        Args:
            numbers: an array or a tensor of floats; the result has the same type.
        """
        if self.mean is None or self.scale is None:
            return numbers
        if isinstance(numbers, torch.Tensor):
            return numbers * numbers.new_tensor(self.scale) + numbers.new_tensor(self.mean)
        return numbers * np.array(self.scale) + np.array(self.mean)

    def answer(
        self, predicted: Any, probabilities: Floats | None, decode: Callable[[Any], str]
    ) -> Answer:
        """Return one example's answer in plain values.

        Args:
            predicted: of one example, without padding, as `Task.decoded` returns it.
            probabilities: of the classes or labels, (K,), or (T, K) for one a step; None if the
                task computes none.
            decode: `Field.decode` of the fitted field.

        Returns:
            category, ordinal: `prediction`, its `probability`, `probabilities` by class.
            multi_label: `prediction`, a list of labels; `probabilities` by label.
            number: `prediction`, a number, or a list of several; in the data's units.
            tags: `prediction`, a tag a step; `probability` of each; `spans`, if tags mark spans.
            roll: `prediction`, the names of the notes of each step.
            values: `prediction`, (T, K) numbers in the data's units.
            symbols: `prediction`, text.
        """
        return self.form.answer(self, predicted, probabilities, decode)

    def answer_columns(self, n_best: int = 1) -> Columns:
        """Return the type of each column of answers, before there are any.

        Args:
            n_best: number of answers of each input, if they are searched for.
        """
        return self.form.columns(self, n_best)


@dataclass(frozen=True)
class SequenceSpec:
    """The properties of the data: of x (None for a language model) and of y."""

    x: FieldSpec | None
    y: FieldSpec

    def by_role(self) -> dict[str, FieldSpec]:
        """Return the properties by role, x first; only y for a language model."""
        return {"y": self.y} if self.x is None else {"x": self.x, "y": self.y}
