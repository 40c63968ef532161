"""The .ts files of the UCR and UEA archives, as sktime and aeon write them."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seqpipe.data.base import Found, PlacedRecord, place
from seqpipe.data.sources.files import FileSource
from seqpipe.data.sources.numeric_text import Missing, Numbers, filled, number, numbers
from seqpipe.data.sources.text_lines import lines
from seqpipe.errors import DataError, counted, did_you_mean

_LABELS, _TARGETS = "@classlabel", "@targetlabel"


@dataclass(kw_only=True)
class Ts(FileSource):
    """Series of one or several dimensions, equally long or not, a series a line.

    Records: `series` (T, D) float64; `label` str, one of @classLabel, or float, with
    @targetLabel, where the header announces one.

    Args:
        missing: what becomes of a `?` or NaN: `error`, or filled by the number `previous` to it,
            on a `linear` way to the next, or with `zero`.

    Source: Bagnall et al. (2018), "The UEA multivariate time series classification archive";
    the format as aeon's documentation gives it, time stamps left out.
    """

    suffixes = (".ts",)

    missing: Missing = "error"

    def parse(self, file: Path) -> Iterator[Found]:
        """A record for each line after @data.

        Raises:
            DataError: no @data, a header that cannot be used, or no series.
        """
        header: dict[str, list[str]] = {}
        in_data, count = False, 0
        for at, line in lines(file, self.encoding):
            if isinstance(line, DataError):
                yield line
                continue
            text = line.strip()
            if not text or text.startswith(("#", "%")):
                continue
            if in_data:
                count += 1
                yield self._record(text, header, file, at)
            elif text.lower().startswith("@data"):
                in_data = True
            else:
                key, *values = text.split()
                _check_header(key, values, place(file, at))
                header[key.lower().replace("@dimensions", "@dimension")] = values
        if not in_data:
            raise DataError(f"{file}: has no line @data; allowed: a .ts file, header first")
        if count == 0:
            raise DataError(f"{file}: no series follow @data; allowed: one per line")

    def _record(self, text: str, header: dict[str, list[str]], file: Path, line: int) -> Found:
        try:
            *dimensions, label = text.split(":") if _labelled(header) else [*text.split(":"), ""]
            if self.bare:
                univariate = header.get("@univariate", ["false"])[0].lower() == "true"
                wanted = int(header.get("@dimension", [1 if univariate else len(dimensions)])[0])
                dimensions = text.split(":")[: wanted or None]
            if not dimensions:
                raise ValueError("no `:` between the series and its label; allowed: 1,2,3:label")
            columns: dict[str, object] = {"series": self._series(dimensions, header)}
            if _labelled(header) and not self.bare:
                columns["label"] = _label(label.strip(), header)
            return PlacedRecord(columns, file, line)
        except ValueError as problem:
            return DataError(f"{place(file, line)}: {problem}")

    def _series(self, dimensions: list[str], header: dict[str, list[str]]) -> Numbers:
        wanted = int(header.get("@dimension", [len(dimensions)])[0])
        if len(dimensions) != wanted:
            text = f"holds {counted(len(dimensions), 'dimension')}"
            raise ValueError(f"{text}; allowed: {wanted}, as @dimensions says")
        rows = []
        for place_, dimension in enumerate(dimensions, 1):
            if not dimension.strip():
                raise ValueError(f"dimension {place_} is empty; allowed: a step or more")
            rows.append(numbers(dimension.split(",")))
        for place_, row in enumerate(rows, 1):
            if len(row) != len(rows[0]):
                first = f"dimension 1 has {len(rows[0])}; allowed: as many in each"
                raise ValueError(f"dimension {place_} has {counted(len(row), 'step')}, {first}")
        if header.get("@equallength", [""])[0].lower() == "true" and "@serieslength" in header:
            length = int(header["@serieslength"][0])
            if len(rows[0]) != length:
                allowed = f"{length}, as @seriesLength says, or @equalLength false"
                raise ValueError(f"has {counted(len(rows[0]), 'step')}; allowed: {allowed}")
        return filled(np.stack(rows, axis=1), self.missing)


def _labelled(header: dict[str, list[str]]) -> bool:
    return any(header.get(key, ["false"])[0].lower() == "true" for key in (_LABELS, _TARGETS))


def _label(text: str, header: dict[str, list[str]]) -> str | float:
    if _LABELS not in header:
        target = number(text)
        if math.isnan(target):
            raise ValueError(f"{text!r} is no target; allowed: a number")
        return target
    classes = header[_LABELS][1:]
    if classes and text not in classes:
        shown = ", ".join(classes)
        raise ValueError(
            f"{text!r} is not a class of @classLabel; allowed: {shown}{did_you_mean(text, classes)}"
        )
    if not text:
        raise ValueError("has no label; allowed: one after the last `:`")
    return text


def _check_header(key: str, values: list[str], where: str) -> None:
    """Refuse a line before @data whose option is not supported."""
    if not key.startswith("@"):
        raise DataError(
            f"{where}: {key[:40]!r} before @data; allowed: lines that start with @ or #"
        )
    name = key.lower()
    if name == "@timestamps" and values[:1] and values[0].lower() == "true":
        raise DataError(
            f"{where}: {key} true: steps with times; allowed: false, one number per step"
        )
    if name in ("@dimension", "@dimensions", "@serieslength") and not (
        values and values[0].isdecimal() and int(values[0]) > 0
    ):
        raise DataError(f"{where}: {' '.join([key, *values])}: allowed: a number from 1")
