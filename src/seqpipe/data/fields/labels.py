"""Labels: one class, one number (or a few), or a class for each step."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from seqpipe.bounds import checked
from seqpipe.data.base import FieldSpec, Record
from seqpipe.data.fields.classes import Classes, class_name, several_in
from seqpipe.data.fields.series import Standardized, doubles
from seqpipe.data.missing import MISSING_WORDS, is_blank, is_infinite
from seqpipe.data.number_precision import Doubles, LostDigitsError
from seqpipe.data.tag_notation import PLAIN, Convention, Notation, Survey
from seqpipe.data.tags import all_tags, allowed_in, belongs, faults, types
from seqpipe.errors import ConfigError, DataError, counted


class Category(Classes):
    """One class an example, () int64. Class names sorted, numbers by their value.

    Args:
        column: the key of the entry in a record; its value may be text or a number.
    """

    kind = "category"

    def fit(self, records: Iterable[Record]) -> None:
        """Learn the classes.

        Raises:
            DataError: a label is missing, or is no single one.
        """
        self._learn(self._label(record) for record in records)

    def encode(self, record: Record) -> Tensor:
        """() int64.

        Raises:
            DataError: the class does not occur in the training split, or is missing.
        """
        return torch.tensor(self._id(self._label(record)))

    def _label(self, record: Record) -> object:
        value = self.value(record)
        if is_blank(value):
            self.refuse(value, "is missing; allowed: a class")
        if isinstance(value, (list, tuple)) and len(value) > 1:
            several = "task=multi_label data.y._target_=seqpipe.data.fields.multilabel.MultiLabel"
            self.refuse(value, f"{len(value)} labels; allowed: one, or several with {several}")
        if not isinstance(value, (str, int, float, Decimal, np.generic)):
            self.refuse(value, "not one label; allowed: text or a number")
        if is_infinite(value):
            self.refuse(value, "is not finite; allowed: a class")
        return value

    def decode(self, values: Tensor | Sequence[Any]) -> str:
        """The name of the class."""
        return self.names[int(torch.as_tensor(values))]

    def describe(self, counts: object) -> str:
        """The number of classes and their names."""
        return f"{len(self.names)} classes ({self.shown_names()})"

    def notes(self, key: str) -> list[str]:
        """Classes that mean the same, or look like several others together."""
        alike = super().notes(key)
        found = several_in(self.names)
        if found is None:
            return alike
        separator, together = found
        several = f"task=multi_label {key}._target_=seqpipe.data.fields.multilabel"
        return [
            *alike,
            f"{key}: {len(together):,} classes look like several labels, as"
            f" {together[0]!r}, and each is a class of its own; allowed: several labels"
            f" with {several}.MultiLabel +{key}.separator='{separator}'",
        ]


class Tags(Classes):
    """A class for each step, (T,) int64. Class names sorted, numbers by their value.

    Tags that mark spans (B-PER I-PER O) are judged by their spans too. Every type that the
    training split holds then has all prefixes of the scheme, met there or not.

    Args:
        column: the key of the entry in a record; its value is a list as long as x.
        scheme: of tags that mark spans, `io`, `iob1`, `bio` or `bioes` (see `seqpipe.data.tags`);
            a sequence that breaks it is refused. `auto`: the one that most tags of the training
            split follow, if any; other notations (BILOU, B_PER, see `data/tag_notation.py`) are
            read as its tags, odd tags are refused. None: they mark none.
    """

    kind = "tags"
    fitted = ("names", "found_scheme", "notation")

    @checked()
    def __init__(
        self,
        column: str,
        *,
        scheme: Literal["auto", "io", "iob1", "bio", "bioes"] | None = None,
    ) -> None:
        super().__init__(column)
        self.scheme = scheme
        self.found_scheme = ""
        self.notation: tuple[Any, ...] = PLAIN
        self._odd: dict[str, str] = {}

    def fit(self, records: Iterable[Record]) -> None:
        """Learn the classes, and the scheme where it is to be found out.

        Raises:
            DataError: what is no tag of the scheme.
        """
        sequences = ([class_name(tag) for tag in self._tags(record)] for record in records)
        if self.scheme != "auto":
            names = {tag for tags in sequences for tag in tags}
            self.found_scheme = self.scheme or ""
            self._learn(names if self.scheme is None else self._all_of(names, self.scheme))
            return
        survey = Survey(sequences)
        found = survey.convention()
        if found is None:
            self._learn(survey.tags)
            return
        self.found_scheme, self.notation, self._odd = found.scheme, found.notation, found.odd
        self._learn(all_tags(types(found.read(found.usual)), found.scheme))

    def _all_of(self, names: Iterable[str], scheme: str) -> list[str]:
        for name in sorted(names):
            if not belongs(name, scheme):
                self.refuse(name, f"no tag of {scheme}; allowed: {allowed_in(scheme)}")
        return all_tags(types(names), scheme)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Set the classes and the scheme."""
        super().restore(state)
        self.found_scheme = state["found_scheme"]
        self.notation = state.get("notation", PLAIN)

    def encode(self, record: Record) -> Tensor:
        """(T,) int64.

        Raises:
            DataError: a tag does not occur in the training split, or breaks the scheme.
        """
        tags = self._tags(record)
        if not self.found_scheme:
            ids = {tag: self._id(tag) for tag in set(tags)}
            return torch.tensor([ids[tag] for tag in tags], dtype=torch.int64)
        names = self._read([class_name(tag) for tag in tags])
        return torch.tensor([self._id(name) for name in names], dtype=torch.int64)

    def _read(self, written: list[str]) -> list[str]:
        convention = Convention(
            self.found_scheme, Notation(*self.notation), self._odd, tuple(self.names)
        )
        names = convention.read(written) if self.scheme == "auto" else written
        problems = []
        for step, text in faults(names, self.found_scheme):
            hint = "" if names[step] else convention.likely(written[step])
            shown = f"{self.column}[{step}]={written[step]}: {text}"
            problems.append(f"{shown}, or data.y.scheme=null{hint}")
        if problems:
            raise DataError(problems)
        return names

    def _tags(self, record: Record) -> Sequence[Any]:
        tags: Sequence[Any] = self.value(record)
        try:
            set(tags)
        except TypeError:  # a number, or lists in a list
            self.refuse(tags, "not a list of tags, one for each step")
        for step, tag in enumerate(tags):
            if is_blank(tag) or is_infinite(tag):
                wrong = "is missing" if is_blank(tag) else "is not finite"
                text = f"[{step}]={tag!r}: {wrong}; allowed: a tag for each step"
                raise DataError(f"{self.column}{text}")
        return tags

    def decode(self, values: Tensor | Sequence[Any]) -> str:
        """The names of the tags, with spaces between."""
        return " ".join(self.names[int(value)] for value in values)

    @property
    def spec(self) -> FieldSpec:
        """Size: the number of classes."""
        return replace(super().spec, scheme=self.found_scheme or None)

    def describe(self, counts: object) -> str:
        """The number of classes and their names, or the types of spans."""
        text = f"one of {len(self.names)} tags a step"
        if not self.found_scheme:
            text += ", which mark no spans" if self.scheme == "auto" else ""
            return f"{text} ({self.shown_names()})"
        found = [type_ or "spans" for type_ in types(self.names)]
        return f"{text} ({self.found_scheme}: {', '.join(found)})"


class Ordinal(Category):
    """One of ordered classes an example, () int64: bad, ok, good; 1 to 5 stars.

    Args:
        column: the key of the entry in a record; its value may be text or a number.
        order: the classes from the lowest to the highest; None: those of the training split,
            numbers by their value. Text has no order of its own, so it must be given.

    Raises:
        ConfigError: an `order` with fewer than two classes, or one twice.
    """

    kind = "ordinal"

    def __init__(self, column: str, *, order: list[str | int | float] | None = None) -> None:
        super().__init__(column)
        self.order = None if order is None else [class_name(name) for name in order]
        if self.order is not None and (
            len(self.order) < 2 or len(set(self.order)) < len(self.order)
        ):
            shown = ",".join(self.order)
            text = "allowed: two classes or more, each once"
            raise ConfigError(f"data.y.order=[{shown}]: is no order; {text}")

    def check(self, record: Record) -> None:
        """Refuse a label that is missing; one record alone has no two classes.

        Raises:
            DataError: it is missing.
        """
        self._label(record)

    def fit(self, records: Iterable[Record]) -> None:
        """Learn the classes.

        Raises:
            DataError: fewer than two, or text without a given order.
        """
        if self.order is not None:
            self._set(tuple(self.order))
            return
        super().fit(records)
        shown = ", ".join(self.names[:20])
        if len(self.names) < 2:
            text = "allowed: two classes or more in the training split"
            raise DataError(f"column={self.column}: the only class is {shown}; {text}")
        try:
            [float(name) for name in self.names]
        except ValueError:
            text = "classes that are not numbers have no order of their own; allowed: order=[...]"
            raise DataError(f"column={self.column}: {text} of {shown}") from None

    def describe(self, counts: object) -> str:
        """The number of classes, from the lowest to the highest."""
        return f"{len(self.names)} ordered classes ({self.shown_names()})"


class Number(Standardized):
    """One number an example, or a few, (K,) float32.

    Args:
        column: the key of the entry in a record; its value is a number or a flat list of them.
        standardize: subtract from each of the K numbers its mean over the training split, and
            divide by its standard deviation: a model then learns in units of that, whatever the
            numbers are measured in. Metrics and predictions stay in the units of the data.
    """

    kind = "number"
    digits = 4

    def describe(self, counts: object) -> str:
        """The width."""
        return "a number" if self.size == 1 else f"{self.size} numbers"

    def _array(self, record: Record) -> Doubles:
        value = self.value(record)
        if isinstance(value, str) and value.strip().lower() in MISSING_WORDS:
            self.refuse(value, "is missing; allowed: a number")
        try:
            numbers = doubles(value).reshape(-1)
        except LostDigitsError as error:
            self.refuse(value, str(error))
        except (TypeError, ValueError):
            self.refuse(value, "not a number, nor a list of numbers; allowed: as 12, -0.5 or 1e-3")
        if not numbers.size:
            self.refuse(value, "is empty; allowed: a number, or a list of them")
        if not np.isfinite(numbers).all():
            self.refuse(value, "not finite")
        return numbers

    def _sized(self, count: int) -> str:
        return f"holds {counted(count, 'number')}"
