"""From records to encoded columns: fields fitted, examples encoded, faults collected."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from seqpipe.data.base import (
    ALIGNED_KINDS,
    ID_KINDS,
    SPLITS,
    Field,
    FieldSpec,
    Found,
    PlacedRecord,
    Record,
    Source,
)
from seqpipe.data.columns import Array, Column, ColumnsWriter, Integers
from seqpipe.data.digests import Digest
from seqpipe.data.progress import Progress
from seqpipe.data.sources.parts import item_number
from seqpipe.errors import DataError

Items = np.ndarray[Any, np.dtype[np.uint64]]
MOST_PROBLEMS = 10  # shown at once
_MOST_READ = 1000  # problems, before reading stops: the same one may stand in every line


@dataclass(frozen=True)
class SplitFacts:
    """What is known of a split that was prepared.

    Args:
        digest: sha256 of its raw records.
        records: how many were encoded.
        skipped: how many could not be used, and were left out.
        problems: the first of them.
        repeated: records whose x stands in training too (in train: more than once).
        counts: how often each class or symbol occurs, by role; none for floats.
    """

    digest: str
    records: int
    skipped: int
    problems: tuple[str, ...]
    repeated: int
    counts: Mapping[str, Integers] = field(default_factory=dict)


@dataclass(frozen=True)
class Prepared:
    """Encoded splits.

    Args:
        columns: split -> role (`x`, `y`, `goes_on`) -> column.
        facts: by split.
    """

    columns: dict[str, dict[str, Column]]
    facts: dict[str, SplitFacts]


class Problems:
    """Faults of the data as they are found: all of the first ten at once, or left out and counted.

    Args:
        skip: leave a bad record out in place of stopping.
    """

    def __init__(self, skip: bool) -> None:
        self.skip = skip
        self.told: list[str] = []
        self._more: Counter[str] = Counter()
        self._read = 0

    def add(self, place: str, problems: Iterable[str]) -> None:
        """Take up what is wrong with one record.

        Raises:
            DataError: there are too many to go on looking for others.
        """
        for problem in problems:
            self._read += 1
            self._more[problem] += 1
            if self._more[problem] == 1 and len(self.told) < MOST_PROBLEMS:
                self.told.append(f"{place}{problem}")
        if not self.skip and (len(self._more) >= MOST_PROBLEMS or self._read >= _MOST_READ):
            self.check()

    def check(self) -> None:
        """Stop if anything was wrong and nothing may be skipped.

        Raises:
            DataError: with the first ten, each kind once.
        """
        if self.told and not self.skip:
            raise DataError([self._with_count(text) for text in self.told])

    def _with_count(self, text: str) -> str:
        for problem, count in self._more.items():
            if count > 1 and text.endswith(problem):
                return f"{text} (and in {count - 1:,} more)"
        return text


def prepare(
    source: Source,
    x: Field | None,
    y: Field,
    *,
    folder: Path | None,
    skip: bool,
    progress: Progress,
    trim: Callable[[Array | None, Array], tuple[Array | None, Array] | None] | None = None,
) -> Prepared:
    """Fit the fields on the training split and encode all of them.

    Args:
        source: read several times from its start.
        x: None for a language model.
        y: what a model has to answer.
        folder: where the columns are written; None: kept in memory.
        skip: leave bad records out, in place of stopping at them.
        progress: told of every record.
        trim: shortens what is too long, or drops it (None).

    Raises:
        DataError: records that cannot be used, the first ten; a split without any.
    """
    source.keep_together([(y if x is None else x).column])
    splits = source.read().by_name()
    roles: dict[str, Field] = {"y": y} if x is None else {"x": x, "y": y}
    for role, fld in roles.items():
        _fit(role, fld, splits["train"], skip, progress)
    columns, facts = {}, {}
    seen: Items | None = None
    problems = Problems(skip)
    for split in SPLITS:
        sink = None if folder is None else folder / f"{split}.arrow"
        encoder = _Encoder(split, roles, problems, trim)
        columns[split] = encoder.run(progress.count(splits[split], f"encoding {split}"), sink)
        seen, facts[split] = encoder.facts(seen, columns[split])
    problems.check()
    empty = [f"{split}: holds no records" for split in SPLITS if not facts[split].records]
    if empty:
        raise DataError(empty)
    return Prepared(columns, facts)


def _fit(role: str, fld: Field, found: Iterable[Found], skip: bool, progress: Progress) -> None:
    """Fit a field on the usable records, or tell which are not."""
    unfitted = copy.deepcopy(fld)
    usable = (one for one in found if not isinstance(one, DataError))
    try:
        fld.fit(progress.count(usable, f"fitting {role}"))
    except DataError:
        problems, bad = Problems(skip), set()
        for number, one in enumerate(found):
            if isinstance(one, DataError):
                problems.add("", one.problems)
                continue
            try:
                copy.deepcopy(unfitted).fit([one])
            except DataError as error:
                bad.add(number)
                problems.add(place_of(one, "train", number), error.problems)
        problems.check()
        if not bad:
            raise
        fld.__dict__.update(unfitted.__dict__)
        good = (
            one
            for number, one in enumerate(found)
            if number not in bad and not isinstance(one, DataError)
        )
        fld.fit(good)


class _Encoder:
    """Encodes the records of one split and keeps count."""

    def __init__(
        self,
        split: str,
        roles: Mapping[str, Field],
        problems: Problems,
        trim: Callable[[Array | None, Array], tuple[Array | None, Array] | None] | None,
    ) -> None:
        self.split, self.roles, self.problems, self.trim = split, roles, problems, trim
        self.specs = {role: fld.spec for role, fld in roles.items()}
        self.item_of = roles.get("x", roles["y"])
        self.digest, self.records, self.skipped = Digest(), 0, 0
        self.first_problems: list[str] = []
        self.items: list[int] = []

    def run(self, found: Iterable[Found], sink: Path | None) -> dict[str, Column]:
        """Encode everything."""
        has_time = {role: spec.has_time for role, spec in self.specs.items()}
        writer = ColumnsWriter(sink)
        for number, one in enumerate(found):
            place = place_of(one, self.split, number)
            try:
                if isinstance(one, DataError):
                    raise one
                encoded = self._encode(one)
            except DataError as error:
                self._skip(place if not isinstance(one, DataError) else "", error)
                continue
            self.digest.update(one)
            self.items.append(item_number(one[self.item_of.column]))
            goes_on = np.array(getattr(one, "goes_on", False), dtype=np.uint8)
            writer.add({**has_time, "goes_on": False}, **encoded, goes_on=goes_on)
            self.records += 1
        return writer.close()

    def _skip(self, place: str, error: DataError) -> None:
        self.skipped += 1
        told = [f"{place}{problem}" for problem in error.problems]
        self.first_problems += told[: MOST_PROBLEMS - len(self.first_problems)]
        self.problems.add(place, error.problems)

    def _encode(self, record: Record) -> dict[str, Array]:
        roles = self.roles
        y = roles["y"].encode_target(record).numpy()
        _check_steps(roles["y"], "y", self.specs["y"], y)
        x = None
        if "x" in roles:
            x = roles["x"].encode(record).numpy()
            _check_steps(roles["x"], "x", self.specs["x"], x)
            aligned = self.specs["y"].kind in ALIGNED_KINDS and self.specs["x"].has_time
            if aligned and len(x) != len(y):
                lengths = f"{roles['y'].column} has {len(y)} steps, {roles['x'].column} has"
                raise DataError(f"{lengths} {len(x)}; each step of x needs one of y")
        if self.trim is not None:
            trimmed = self.trim(x, y)
            if trimmed is None:
                raise DataError("longer than data.max_length; dropped")
            x, y = trimmed
        encoded = {} if x is None else {"x": _small(x, self.specs["x"])}
        return {**encoded, "y": _small(y, self.specs["y"])}

    def facts(
        self, training: Items | None, columns: Mapping[str, Column]
    ) -> tuple[Items, SplitFacts]:
        """The items of the training split, sorted; what is known of this one."""
        items, times = np.unique(np.array(self.items, dtype=np.uint64), return_counts=True)
        if training is None:
            training, repeated = items, int(times.sum() - len(times))
        else:
            repeated = int(times[np.isin(items, training, assume_unique=True)].sum())
        counts = {role: columns[role].counts(self.specs[role].size) for role in self._counted()}
        facts = SplitFacts(
            self.digest.hex(),
            self.records,
            self.skipped,
            tuple(self.first_problems),
            repeated,
            {role: count for role, count in counts.items() if count is not None},
        )
        return training, facts

    def _counted(self) -> Iterator[str]:
        for role, spec in self.specs.items():
            if self.records and spec.kind in ID_KINDS and spec.kind != "spelled":
                yield role


def place_of(one: Found, split: str, number: int) -> str:
    """`reviews.csv:17: ` or, for a record that stands in no file, `train[16]: `."""
    if isinstance(one, PlacedRecord) and one.file is not None:
        return f"{one.place}: "
    return f"{split}[{number}]: "


def _check_steps(fld: Field, role: str, spec: FieldSpec, values: Array) -> None:
    if spec.has_time and len(values) == 0:
        raise DataError(f"{fld.column}: {role} has no steps")


def _small(values: Array, spec: FieldSpec) -> Array:
    """Ids in as few bytes as they need."""
    if spec.kind not in ID_KINDS or spec.kind == "spelled":
        return values
    return values.astype(np.min_scalar_type(max(0, spec.size - 1)), copy=False)
