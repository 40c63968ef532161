"""Truncation: sequences longer than allowed are cut, dropped or refused."""

from dataclasses import dataclass
from typing import Literal

from seqpipe.data.columns import Array
from seqpipe.data.kinds import Kind
from seqpipe.errors import DataError, counted


@dataclass(frozen=True)
class MaxLength:
    """The policy on sequences of more than `steps` steps.

    Truncation cuts x alone if y is one answer; x and y at the same steps if y has one for each
    step of x; y alone if x has no steps. A text that is cut at its end loses its <EOS>, so that no
    model learns to end there. An x and a y of different lengths, as in translation, are never cut:
    a part of x is not answered by a part of y.

    Args:
        steps: most steps of x, and of y.
        x: kind of the field x, None if there is none.
        y: kind of the field y.
        longer: `truncate`, `drop` or `refuse`.
        keep: the steps that truncation keeps, the `first` or the `last`.

    `step_faults` refuses impossible policies.
    """

    steps: int
    x: Kind | None
    y: Kind
    longer: Literal["truncate", "drop", "refuse"] = "truncate"
    keep: Literal["first", "last"] = "first"

    @property
    def aligned(self) -> bool:
        """True if y has one step for each of x."""
        return self._x_has_time and self.y.per_step

    def __call__(self, x: Array | None, y: Array) -> tuple[Array | None, Array] | None:
        """Return one example, truncated; None if it is dropped.

        Args:
            x: (T_x, ...), or (...) without steps; None without x.
            y: (T_y, ...), or (...) without steps.

        Raises:
            DataError: it is longer, and `longer` is `refuse`.
        """
        lengths = {"x": len(x)} if x is not None and self._x_has_time else {}
        lengths |= {"y": len(y)} if self._y_has_time else {}
        longest = max(lengths, key=lambda role: lengths[role])  # x where both are as long
        if lengths[longest] <= self.steps:
            return x, y
        if self.longer == "refuse":
            text = f"{longest} has {counted(lengths[longest], 'step')}"
            allowed = f"data.max_length={self.steps}, or data.longer=drop{self._or_truncate}"
            raise DataError(f"{text}; allowed: {allowed}")
        if self.longer == "drop":
            return None
        kept = slice(self.steps) if self.keep == "first" else slice(-self.steps, None)
        if x is not None and self._x_has_time:
            x = x[kept]
        return x, (y[kept] if self._y_has_time else y)

    @property
    def _or_truncate(self) -> str:
        can = self.aligned or not (self._x_has_time and self._y_has_time)
        return " or truncate" if can else ""

    @property
    def _x_has_time(self) -> bool:
        return self.x is not None and self.x.has_time

    @property
    def _y_has_time(self) -> bool:
        return self.y.has_time
