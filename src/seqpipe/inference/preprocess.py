"""Encoding of raw records and rows of tables as batches of a trained model."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from seqpipe.bounds import Count, rules_of
from seqpipe.data.base import Field, Found, Record, SequenceBatch, SequenceSpec
from seqpipe.data.batching import pad, padded
from seqpipe.data.columns import Array, Column, Integers
from seqpipe.data.encoding import ExampleEncoder
from seqpipe.data.field_checks import check_steps
from seqpipe.data.truncation import MaxLength
from seqpipe.errors import ConfigError, DataError
from seqpipe.rules import faults

MOST_ROWS = 256  # of a batch
MOST_STEPS = 16_384  # of a batch, padding included


class Piece(NamedTuple):
    """The part of an example that a model reads at once.

    Args:
        row: the number of its example.
        x: (T, ...) or (...); None if there is no x.
        y: (T, ...) or (...); None if it is to be predicted.
        steps: those of the longer of both; 1 if neither has time.
        text: the raw y, see `SequenceBatch.texts`.
    """

    row: int
    x: Array | None
    y: Array | None
    steps: int
    text: str = ""


@dataclass(frozen=True)
class Inputs:
    """Encoded inputs of many examples.

    Args:
        x: without those that have an error; cut into the pieces that a model reads at once. None
            if there are none.
        rows: (rows of x,) the number of each example.
        errors: why an example has no x, by its number.
    """

    x: Column | None
    rows: Integers
    errors: Mapping[int, DataError]

    @property
    def steps(self) -> Integers:
        """Steps of each piece, (pieces,); 1 without time."""
        if self.x is None:
            return np.zeros(0, dtype=np.int64)
        return self.x.lengths if self.x.has_time else np.ones(len(self.x), dtype=np.int64)

    @property
    def examples(self) -> Integers:
        """The number of the example of each piece, (pieces,)."""
        if self.x is None:
            return np.zeros(0, dtype=np.int64)
        return self.rows[self.x.origins(np.arange(len(self.x)))[0]]


class Encoder:
    """Encodes records as in training: fields encode them, `MaxLength` trims, windows cut.

    Args:
        spec: of the trained model.
        x: fitted; None for a language model.
        y: fitted.
        data: the configuration of the data: `max_length`, `longer`, `keep`, `window`,
            `eval_window`, `bptt`.

    Attributes:
        aligned: True if y has a step for each step of x.

    Raises:
        ConfigError: x and y cannot be cut so.
    """

    def __init__(
        self, spec: SequenceSpec, x: Field | None, y: Field, data: Mapping[str, Any]
    ) -> None:
        self.spec, self.x, self.y = spec, x, y
        self.x_has_time = spec.x is not None and spec.x.has_time
        self.y_has_time = spec.y.has_time
        self.aligned = spec.y.is_per_step_of(spec.x)
        self.encode = ExampleEncoder(x, y)
        names = ("window", "eval_window", "bptt", "max_length", "longer", "keep")
        check_steps(x, y, {name: data[name] for name in names if name in data})
        self.trim: MaxLength | None = None
        if data.get("max_length") is not None:
            given = {"max_length": data["max_length"]}  # of a record, which may hold anything
            problems = faults(rules_of(max_length=Count), given, "data.")
            if problems:
                raise ConfigError(problems)
            x_form = None if x is None else x.form
            ends = {name: data[name] for name in ("longer", "keep")}
            self.trim = MaxLength(data["max_length"], x_form, y.form, **ends)
        # Lanes carry their state from piece to piece, which equals one pass over the whole.
        window = data.get("window") and (data.get("eval_window") or data["window"])
        self.window: int | None = window if self.aligned else None

    def pieces(self, row: int, record: Record, *, labelled: bool) -> list[Piece]:
        """Encode one example: one piece, or several if training cut it in windows.

        Args:
            row: its number, kept in the pieces.
            record: with the columns of x and, if `labelled`, of y.
            labelled: also encode y.

        Raises:
            DataError: the record cannot be encoded.
        """
        if not labelled:
            return self._pieces(row, self.encode.read(record), None)
        x, y = self.encode(record)
        is_answer = x is not None and self.spec.y.is_text
        return self._pieces(row, x, y, self.y.truth(record) if is_answer else "")

    def encode_many(self, found: Sequence[Found]) -> Inputs:
        """Encode x of many examples together, trimmed and cut.

        Args:
            found: records with the column of x, and errors.
        """
        errors = {row: one for row, one in enumerate(found) if isinstance(one, DataError)}
        rows = [row for row in range(len(found)) if row not in errors]
        examples = self.encode.read_many([one for one in found if not isinstance(one, DataError)])
        if self.trim is not None:
            examples = [self._trimmed(self.trim, x) for x in examples]
        errors |= {
            row: x for row, x in zip(rows, examples, strict=True) if isinstance(x, DataError)
        }
        if errors:
            rows = [row for row in rows if row not in errors]
        return Inputs(self._column(examples), np.array(rows), errors)

    def _column(self, found: Sequence[Array | DataError | None]) -> Column | None:
        examples = [x for x in found if isinstance(x, np.ndarray)]
        if not examples:
            return None
        is_large = self.x_has_time and self.spec.x is not None and self.spec.x.form.holds != "ids"
        made = Column.of_large(examples) if is_large else Column.of(examples, self.x_has_time)
        return made if self.window is None else made.cut(self.window)

    def batch_of(self, inputs: Inputs, places: Array) -> SequenceBatch:
        """Pad some pieces to the longest; for y see `batch`. places: (B,)."""
        assert inputs.x is not None and self.spec.x is not None
        x, x_lengths = padded(inputs.x, places, self.spec.x)
        y, y_lengths = self._no_y(len(places), x, x_lengths)
        index = torch.from_numpy(inputs.rows[inputs.x.origins(places)[0]])
        return SequenceBatch(x, x_lengths, y, y_lengths, index)

    def _pieces(self, row: int, x: Array | None, y: Array | None, text: str = "") -> list[Piece]:
        """Trim an encoded example and cut it. text: the raw y, if y is a text that answers x."""
        if self.trim is not None:
            x, y = self._trim(self.trim, x, whole := y)
            text = text if y is whole else ""
        if self.window is None or x is None:
            return [self._piece(row, x, y, text)]
        starts = range(0, len(x), self.window)
        cuts = [slice(start, start + self.window) for start in starts]
        return [self._piece(row, x[cut], None if y is None else y[cut]) for cut in cuts]

    def _piece(self, row: int, x: Array | None, y: Array | None, text: str = "") -> Piece:
        steps = len(x) if self.x_has_time and x is not None else 1
        if self.y_has_time and y is not None:
            steps = max(steps, len(y))
        return Piece(row, x, y, steps, text)

    def _trim(
        self, trim: MaxLength, x: Array | None, y: Array | None
    ) -> tuple[Array | None, Array | None]:
        substitute = y
        if y is None:  # x alone is trimmed with a y of fitting length
            substitute = np.zeros(len(x) if self.aligned and x is not None else 1)
        assert substitute is not None
        trimmed = trim(x, substitute)
        if trimmed is None:
            text = f"has more than {trim.steps} steps"
            raise DataError(f"{text}, which data.longer=drop left out; allowed: a shorter one")
        return trimmed[0], (None if y is None else trimmed[1])

    def _trimmed(self, trim: MaxLength, x: Array | DataError | None) -> Array | DataError | None:
        if isinstance(x, DataError):
            return x
        try:
            return self._trim(trim, x, None)[0]
        except DataError as error:
            return error

    def batch(self, pieces: Sequence[Piece]) -> SequenceBatch:
        """Pad pieces to the longest; a y to be predicted is 0, with as many steps as x, or one."""
        spec = self.spec
        x, x_lengths = None, None
        if spec.x is not None:
            x, x_lengths = pad([p.x for p in pieces if p.x is not None], spec.x)
        if pieces[0].y is not None:
            y, y_lengths = pad([p.y for p in pieces if p.y is not None], spec.y)
        else:
            y, y_lengths = self._no_y(len(pieces), x, x_lengths)
        index, texts = torch.tensor([p.row for p in pieces]), tuple(p.text for p in pieces)
        return SequenceBatch(x, x_lengths, y, y_lengths, index, texts=texts)

    def _no_y(
        self, rows: int, x: Tensor | None, x_lengths: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        spec, width = self.spec.y, self.spec.y.row_shape
        if not spec.has_time:
            return torch.zeros(rows, *width, dtype=spec.dtype), None
        if self.aligned and x is not None:
            return torch.zeros(*x.shape[:2], *width, dtype=spec.dtype), x_lengths
        return torch.zeros(rows, 1, *width, dtype=spec.dtype), torch.ones(rows, dtype=torch.int64)


def batched(lengths: Sequence[int] | Integers, rows: int, steps: int) -> Iterator[Integers]:
    """Yield the places of each batch: at most `rows` of similar length, `steps` with padding.

    Args:
        lengths: steps of each piece, (N,).
        rows: most pieces of a batch.
        steps: most steps of a batch, padding included; a longer piece is a batch of its own.
    """
    order = np.argsort(np.asarray(lengths), kind="stable")
    start, ordered = 0, np.asarray(lengths)[order].tolist()
    for place, long in enumerate(ordered):
        count = place - start
        if count and (count == rows or (count + 1) * long > steps):
            yield order[start:place]
            start = place
    if start < len(order):
        yield order[start:]


def is_table(data: Any) -> bool:
    """True for a table of pandas, or an object with the same methods."""
    return hasattr(data, "to_dict") and hasattr(data, "columns")


def records_of(table: Any) -> list[dict[str, Any]]:
    """Return a record for each row of a table."""
    return [plain(row) for row in table.to_dict(orient="records")]


def plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """Restore a record of JSON from a table: arrays become lists, empty cells None.

    A cell of a table is NaN if its row lacks a column that another row has.
    """
    return {str(name): None if _missing(cell) else _list(cell) for name, cell in row.items()}


def _list(value: Any) -> Any:
    return [_list(one) for one in value] if isinstance(value, np.ndarray) else value


def _missing(cell: Any) -> bool:
    return isinstance(cell, float) and math.isnan(cell)
