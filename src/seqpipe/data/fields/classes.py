"""What fields of named classes share."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from seqpipe.data.base import Field, FieldSpec
from seqpipe.data.missing import missing_among_numbers
from seqpipe.errors import did_you_mean

SEPARATORS = ("|", ";", ",")


def class_names(values: Iterable[object]) -> tuple[str, ...]:
    """Distinct names in order: as numbers where all are numbers, else as text."""
    names = sorted({str(value) for value in values})
    try:
        return tuple(sorted(names, key=float))
    except ValueError:
        return tuple(names)


def several_in(names: Sequence[str]) -> tuple[str, list[str]] | None:
    """The sign between names that make up other names, and these; None where there are none.

    >>> several_in(["a", "a;b", "b"])
    (';', ['a;b'])
    """
    for separator in SEPARATORS:
        together = [name for name in names if _joins(name, separator, names)]
        if together:
            return separator, together
    return None


def _joins(name: str, separator: str, names: Sequence[str]) -> bool:
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
        names = {str(value) for value in values}
        self._set(class_names(names - missing_among_numbers(names)))

    def _set(self, names: tuple[str, ...]) -> None:
        self.names = names
        self._ids = {name: id_ for id_, name in enumerate(self.names)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up the classes."""
        self._set(tuple(state["names"]))

    def _id(self, value: object) -> int:
        name = str(value)
        if name not in self._ids:
            if missing_among_numbers([*self.names, name]):
                self.refuse(value, "is missing, among classes that are numbers; allowed: a class")
            shown = ", ".join(self.names[:20]) + (", ..." if len(self.names) > 20 else "")
            problem = f"not a class of the training split; it has {shown}"
            self.refuse(value, problem + did_you_mean(name, self.names))
        return self._ids[name]

    @property
    def spec(self) -> FieldSpec:
        """Size: the number of classes."""
        return FieldSpec(self.kind, len(self.names), self.names)

    def shown_names(self) -> str:
        """All of them, or the first two and the last."""
        if len(self.names) <= 12:
            return ", ".join(self.names)
        return f"{self.names[0]}, {self.names[1]}, ..., {self.names[-1]}"
