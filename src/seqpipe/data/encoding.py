"""Encoding of examples: x and y of a record as numbers that fit together."""

from collections.abc import Sequence

from seqpipe.data.base import Field, FieldSpec, Record
from seqpipe.data.columns import Array
from seqpipe.errors import DataError, counted


class ExampleEncoder:
    """Encodes x and y of a record, and refuses pairs that do not fit together.

    Args:
        x: fitted; None for a language model.
        y: fitted.
    """

    def __init__(self, x: Field | None, y: Field) -> None:
        self.x, self.y = x, y
        self.x_spec, self.y_spec = None if x is None else x.spec, y.spec
        self.aligned = self.y_spec.is_per_step_of(self.x_spec)

    def __call__(self, record: Record) -> tuple[Array | None, Array]:
        """Return x (None for a language model) and y.

        Raises:
            DataError: an entry cannot be used, has no steps, or not as many as the other.
        """
        y = self.y.encode_target(record).numpy()
        _check_steps(self.y, "y", self.y_spec, y)
        if self.x is None:
            return None, y
        if self.y_spec.is_text:
            self.y.refuse_blank(record)  # white space alone is no answer to an x
        x = self.read(record)
        assert x is not None
        if self.aligned and len(x) != len(y):
            of_y = counted(len(y), "step")
            lengths = f"{self.y.column} has {of_y}, {self.x.column} has {len(x)}"
            raise DataError(f"{lengths}; each step of x needs one of y")
        return x, y

    def read(self, record: Record) -> Array | None:
        """Return x alone.

        Raises:
            DataError: x cannot be used, or has no steps.
        """
        if self.x is None or self.x_spec is None:
            return None
        x = self.x.encode(record).numpy()
        _check_steps(self.x, "x", self.x_spec, x)
        return x

    def read_many(self, records: Sequence[Record]) -> list[Array | DataError | None]:
        """Return x of each record, or the error that `read` raises."""
        if self.x is None or self.x_spec is None:
            return [None] * len(records)
        found = self.x.encode_many(records)
        if self.x_spec.has_time:
            for place, x in enumerate(found):
                if not isinstance(x, DataError) and len(x) == 0:
                    found[place] = _no_steps(self.x, "x")
        return [*found]


def _check_steps(fld: Field, role: str, spec: FieldSpec, values: Array) -> None:
    if spec.has_time and len(values) == 0:
        raise _no_steps(fld, role)


def _no_steps(fld: Field, role: str) -> DataError:
    return DataError(f"{fld.column}: is empty, {role} has no steps; allowed: one or more")
