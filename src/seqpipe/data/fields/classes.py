"""The base of fields of named classes."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from math import isfinite
from typing import Any, ClassVar

import numpy as np

from seqpipe.data.base import Field, FieldSpec
from seqpipe.data.missing import is_missing, missing_among_numbers
from seqpipe.errors import did_you_mean, first_of

_WHOLE = re.compile(r"[+-]?[0-9]+\.0*")
SEPARATORS = ("|", ";", ",")


def class_name(value: object) -> str:
    """The name of the class of a value: text as it is, a number by its value.

    >>> class_name(1.0), class_name(-0.0), class_name(0.5), class_name("1.0"), class_name(True)
    ('1', '0', '0.5', '1.0', 'True')
    """
    if isinstance(value, (float, np.floating, Decimal)) and not is_missing(value):
        if isfinite(value) and value == int(value):
            return str(int(value))
    return str(value)


def alike_in(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Names that mean the same: one number, or one text but for white space.

    >>> alike_in(["1", "1.0", "2", "yes", "yes "]), alike_in(["0", "1", "True"])
    ([('1', '1.0'), ('yes', 'yes ')], [('1', 'True')])
    """
    groups: dict[object, list[str]] = {}
    for name in names:
        key: object = name.strip()
        with suppress(ValueError):
            key = float({"True": "1", "False": "0"}.get(name, name))
        groups.setdefault(key, []).append(name)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def class_names(values: Iterable[object]) -> tuple[str, ...]:
    """Distinct names in order: as numbers where all are numbers, else as text."""
    names = sorted({class_name(value) for value in values})
    try:
        return tuple(sorted(names, key=float))
    except ValueError:
        return tuple(names)


def several_in(names: Sequence[str]) -> tuple[str, list[str]] | None:
    """The sign between names that make up other names, and these; None where there are none.

    >>> several_in(["a", "a;b", "b"])
    (';', ['a;b'])
    """
    known = frozenset(names)
    for separator in SEPARATORS:
        together = [name for name in names if _joins(name, separator, known)]
        if together:
            return separator, together
    return None


def _joins(name: str, separator: str, names: Collection[str]) -> bool:
    parts = [part.strip() for part in name.split(separator)]
    return len(parts) > 1 and all(part in names for part in parts)


class Classes(Field):
    """Named classes, known from the training split."""

    fitted: ClassVar[tuple[str, ...]] = ("names",)

    def __init__(self, column: str) -> None:
        super().__init__(column)
        self.names: tuple[str, ...] = ()
        self._ids: dict[str, int] = {}

    def _learn(self, values: Iterable[object]) -> None:
        names = {class_name(value) for value in values}
        self._set(class_names(names - missing_among_numbers(names)))

    def _set(self, names: tuple[str, ...]) -> None:
        self.names = names
        self._ids = {name: id_ for id_, name in enumerate(self.names)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Set the classes."""
        self._set(tuple(state["names"]))

    def _id(self, value: object) -> int:
        name = self._name(value)
        if name not in self._ids:
            if missing_among_numbers([*self.names, name]):
                wrong = "is not finite" if "inf" in name.lower() else "is missing"
                self.refuse(value, f"{wrong}, among classes that are numbers; allowed: a class")
            problem = f"not a class of the training split; it has {first_of(self.names, 20)}"
            self.refuse(value, problem + did_you_mean(name, self.names))
        return self._ids[name]

    def notes(self, key: str) -> list[str]:
        """Classes that mean the same."""
        return [
            f"{key}: the classes {' and '.join(map(repr, group))} seem to mean the same, but each"
            " is a class of its own; allowed: one way to write it"
            for group in alike_in(self.names)[:3]
        ]

    def _name(self, value: object) -> str:
        """The name of the class of a value here: 1.0 is 1, in a text file too."""
        if isinstance(value, str) and value in self._ids:  # the usual case, for each tag of a text
            return value
        text = str(value)
        others = (text, class_name(float(text)) if _WHOLE.fullmatch(text) else text)
        known = (name for name in (class_name(value), *others) if name in self._ids)
        return next(known, class_name(value))

    @property
    def spec(self) -> FieldSpec:
        """Size: the number of classes."""
        return FieldSpec(self.kind, len(self.names), self.names)

    def shown_names(self) -> str:
        """All of them, or the first two and the last."""
        if len(self.names) <= 12:
            return ", ".join(self.names)
        return f"{self.names[0]}, {self.names[1]}, ..., {self.names[-1]}"
