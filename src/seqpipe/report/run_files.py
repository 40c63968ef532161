"""Metrics, tables and the metric history in a run's folder."""

import csv
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from seqpipe.files import replacing, write_json
from seqpipe.report.findings import Row
from seqpipe.report.markdown import columns_of

History = Mapping[str, Sequence[tuple[int, float]]]
"""For each metric the pairs (optimizer step, value)."""
_NUMBERS = re.compile(r"[-+]?[\d.][-+\d., eE]*")  # one number, or a row of them


def write_metrics(folder: Path, metrics: Mapping[str, float]) -> Path:
    """Writes metrics.json: sorted, and null for what is not finite, which JSON cannot hold."""
    finite = {
        name: float(value) if math.isfinite(value) else None
        for name, value in sorted(metrics.items())
    }
    return write_json(folder / "metrics.json", finite)


def write_rows(path: Path, rows: Sequence[Row]) -> Path:
    """Writes rows as CSV for people; the columns are those of all rows, by first appearance.

    A spreadsheet would run text that starts with one of `= + - @` as a formula, so such text gets
    an apostrophe in front. Files that are read again (predictions) hold it unchanged.
    """
    with replacing(path) as made, made.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=columns_of(rows))
        writer.writeheader()
        writer.writerows({name: _no_formula(value) for name, value in row.items()} for row in rows)
    return path


def _no_formula(value: object) -> object:
    if not isinstance(value, str) or not value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return value
    return value if _NUMBERS.fullmatch(value) else f"'{value}"


def read_history(path: Path) -> History:
    """Reads history.csv of a run; nothing where there is none."""
    series: dict[str, list[tuple[int, float]]] = {}
    if path.is_file():
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                point = (int(row["step"]), float(row["value"]))
                series.setdefault(row["metric"], []).append(point)
    return series
