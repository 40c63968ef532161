"""Tables of pandas, and rows of them, as records; pandas itself need not be installed."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np


def is_table(data: Any) -> bool:
    """Whether it has rows and columns as a table of pandas has."""
    return hasattr(data, "to_dict") and hasattr(data, "columns")


def records_of(table: Any) -> list[dict[str, Any]]:
    """A record for each row of a table."""
    return [plain(row) for row in table.to_dict(orient="records")]


def plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """A record as JSON gave it: arrays of arrays are lists again, and empty cells None.

    A cell of a table is NaN where its row lacks a column that another row has.
    """
    return {str(name): None if _missing(cell) else _list(cell) for name, cell in row.items()}


def _list(value: Any) -> Any:
    return [_list(one) for one in value] if isinstance(value, np.ndarray) else value


def _missing(cell: Any) -> bool:
    return isinstance(cell, float) and math.isnan(cell)
