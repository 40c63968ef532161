"""Preparation of data: fit the fields, encode the records, collect the problems."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from seqpipe.data.base import SPLITS, Field, FieldSpec, Found, Record, Source
from seqpipe.data.columns import Array, Column, ColumnsWriter, Integers
from seqpipe.data.encoding import ExampleEncoder
from seqpipe.data.error_collector import MOST_PROBLEMS, Problems, place_of
from seqpipe.data.field_checks import item_role
from seqpipe.data.hashing import Digest
from seqpipe.data.progress import Progress
from seqpipe.data.sources.splitting import item_number
from seqpipe.errors import DataError

Items = np.ndarray[Any, np.dtype[np.uint64]]


@dataclass(frozen=True)
class SplitFacts:
    """Counts and digest of a prepared split.

    Args:
        digest: sha256 of its raw records.
        records: how many were encoded.
        skipped: how many could not be used, and were left out.
        dropped: how many were longer than `data.max_length`, and left out.
        truncated: how many were longer, and cut.
        problems: the first problems of skipped records.
        repeated: records whose item, x or y (see `item_role`), also occurs in train (in train:
            occurs more than once).
        counts: how often each class or symbol occurs, by role; none for floats.
        warnings: other warnings about the data; those of all splits are in the facts of train.
    """

    digest: str
    records: int
    skipped: int
    dropped: int
    truncated: int
    problems: tuple[str, ...]
    repeated: int
    counts: Mapping[str, Integers] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Prepared:
    """Encoded splits.

    Args:
        columns: split -> role (`x`, `y`, `goes_on`, of a y in words `text`) -> column.
        facts: by split.
    """

    columns: dict[str, dict[str, Column]]
    facts: dict[str, SplitFacts]


@dataclass(frozen=True)
class ExampleCheck:
    """A task's check of single examples, applied while they are encoded.

    So the message names file and line, and `data.on_error=skip` leaves such a record out.

    Args:
        name: of the rule; part of the key of the cache.
        of: takes the fitted y and returns a function: from an x and its y, encoded, trimmed and
            cut into windows, to their problem, or None.
    """

    name: str
    of: Callable[[FieldSpec], Callable[[Array | None, Array], str | None]]


def prepare(
    source: Source,
    x: Field | None,
    y: Field,
    *,
    folder: Path | None,
    skip: bool,
    progress: Progress,
    trim: Callable[[Array | None, Array], tuple[Array | None, Array] | None] | None = None,
    fit: bool = True,
    only: Sequence[str] = SPLITS,
    check: ExampleCheck | None = None,
    windows: Mapping[str, int | None] | None = None,
) -> Prepared:
    """Fit the fields on the training split and encode all of them.

    Args:
        source: read several times from its start.
        x: None for a language model.
        y: the field of the answers.
        folder: where the columns are written; None: kept in memory.
        skip: leave bad records out instead of stopping.
        progress: counts every record.
        trim: truncates examples that are too long, or drops them (None).
        fit: False: the fields are fitted already.
        only: the splits to encode; `train` is among them where the fields are to be fitted.
        check: refuses single examples.
        windows: split -> steps that its sequences are cut into before they are checked.

    Raises:
        DataError: records cannot be used, the first ten are listed; a split has no records.
    """
    roles: dict[str, Field] = {"y": y} if x is None else {"x": x, "y": y}
    items = roles[item_role(x, y)]
    source.keep_together([items.column])
    splits = source.read().by_name()
    for role, fld in roles.items():
        if fit:
            _fit(role, fld, splits["train"], skip, progress)
        _check_classes(role, fld, splits["train"], skip)
    columns, facts, problems = {}, {}, Problems(skip)
    seen: Items | None = None
    for fld in roles.values() if fit else ():
        fld.watch()
    warnings, refused = list[str](), list[str]()
    rule = None if check is None else check.of(y.spec)
    for split in only:
        sink = None if folder is None else folder / f"{split}.arrow"
        encoder = _Encoder(split, roles, items, problems, trim, rule, (windows or {}).get(split))
        columns[split] = encoder.run(progress.count(splits[split], f"encoding {split}"), sink)
        seen, facts[split] = encoder.facts(seen, columns[split])
        if split == "train":
            warnings, refused = _digit_losses(roles)
    problems.check()
    if refused:
        raise DataError(refused)
    facts[only[0]] = replace(facts[only[0]], warnings=(*warnings, *source.warnings()))
    if empty := [_why_empty(split, facts[split]) for split in only if not facts[split].records]:
        raise DataError(empty)
    return Prepared(columns, facts)


def _digit_losses(roles: Mapping[str, Field]) -> tuple[list[str], list[str]]:
    """Collect warnings and problems of lost digits, see `Field.digit_loss`."""
    warnings, problems = list[str](), list[str]()
    for role, fld in roles.items():
        try:
            warnings += filter(None, [fld.digit_loss(role)])
        except DataError as error:
            problems += error.problems
    return warnings, problems


def _check_classes(role: str, fld: Field, found: Iterable[Found], skip: bool) -> None:
    """Refuse a y with one class only; unreadable records are reported as the cause."""
    spec = fld.spec
    if role != "y" or not spec.names_classes or spec.size >= 2:
        return
    problems, unread = Problems(skip), 0
    for number, one in enumerate(found):
        try:
            if isinstance(one, DataError):
                raise one
            fld.check(one)
        except DataError as error:
            unread += 1
            at = "" if error is one else place_of(one, "train", number)
            problems.add(at, error.problems)
    problems.check()
    names = ", ".join(spec.names or ())
    text = f"the training split has {f'one class only, {names}' if names else 'no class'}"
    if unread:
        text += f" ({unread:,} records could not be used and were skipped, {problems.shown[0]})"
    raise DataError(f"{fld.column}: {text}; allowed: two or more")


def _why_empty(split: str, facts: SplitFacts) -> str:
    left_out = []
    if facts.dropped:
        left_out.append(f"{facts.dropped:,} are longer than data.max_length and were dropped")
    if facts.skipped:
        first = f", the first: {facts.problems[0]}" if facts.problems else ""
        left_out.append(f"{facts.skipped:,} could not be used and were skipped{first}")
    why = f" ({'; '.join(left_out)})" if left_out else ""
    return f"{split}: holds no records{why}; allowed: a file or a share that holds some"


def _fit(role: str, fld: Field, found: Iterable[Found], skip: bool, progress: Progress) -> None:
    """Fit a field on the usable records, and report the others."""
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
                unfitted.check(one)
            except DataError as error:
                bad.add(number)
                problems.add(place_of(one, "train", number), error.problems)
            else:
                problems.usable += 1
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
    """Encodes one split, and counts its records and problems."""

    def __init__(
        self,
        split: str,
        roles: Mapping[str, Field],
        items: Field,
        problems: Problems,
        trim: Callable[[Array | None, Array], tuple[Array | None, Array] | None] | None,
        rule: Callable[[Array | None, Array], str | None] | None,
        window: int | None,
    ) -> None:
        self.rule, self.window = rule, window
        self.split, self.roles, self.problems, self.trim = split, roles, problems, trim
        self.specs = {role: fld.spec for role, fld in roles.items()}
        self.encode = ExampleEncoder(roles.get("x"), roles["y"])
        self.item_of = items
        self.digest, self.records, self.skipped = Digest(), 0, 0
        self.dropped = self.truncated = 0
        self.first_problems: list[str] = []
        self.items: list[int] = []

    def run(self, found: Iterable[Found], sink: Path | None) -> dict[str, Column]:
        """Encode all records. Returns the columns by role; sink: their file."""
        has_time = {role: spec.has_time for role, spec in self.specs.items()}
        writer = ColumnsWriter(sink)
        for number, one in enumerate(found):
            place = place_of(one, self.split, number)
            try:
                if isinstance(one, DataError):
                    raise one
                if self.trim is not None and getattr(one, "goes_on", False):
                    text = "is a piece of a longer text, and data.max_length would cut it again"
                    raise DataError(f"{text}; allowed: null, and data.window or data.bptt")
                encoded = self._trim_and_check(*self.encode(one), self._text(one))
            except DataError as error:
                self._skip(place if not isinstance(one, DataError) else "", error)
                continue
            if encoded is None:
                self.dropped += 1
                continue
            self.digest.update(one)
            self.items.append(item_number(one[self.item_of.column]))
            goes_on = np.array(getattr(one, "goes_on", False), dtype=np.uint8)
            timed = {**has_time, "goes_on": False, "text": True}
            writer.add(timed, **encoded, goes_on=goes_on)
            self.records += 1
            self.problems.usable += 1
        return writer.close()

    def _skip(self, place: str, error: DataError) -> None:
        self.skipped += 1
        texts = [f"{place}{problem}" for problem in error.problems]
        self.first_problems += texts[: MOST_PROBLEMS - len(self.first_problems)]
        self.problems.add(place, error.problems)

    def _text(self, record: Record) -> dict[str, Array]:
        """The raw y, if it is a text that answers an x."""
        if "x" not in self.roles or not self.specs["y"].is_text:
            return {}
        return {"text": np.frombuffer(self.roles["y"].truth(record).encode(), dtype=np.uint8)}

    def _trim_and_check(
        self, x: Array | None, y: Array, text: dict[str, Array]
    ) -> dict[str, Array] | None:
        """The example by role, at most `data.max_length` steps; None if it is dropped."""
        if self.trim is not None:
            trimmed = self.trim(x, y)
            if trimmed is None:
                return None
            self.truncated += trimmed[0] is not x or trimmed[1] is not y
            if trimmed[1] is not y:  # the raw y is no longer the encoded one
                text = {name: values[:0] for name, values in text.items()}
            x, y = trimmed
        self._check(x, y)
        encoded = {} if x is None else {"x": _small(x, self.specs["x"])}
        return {**encoded, **text, "y": _small(y, self.specs["y"])}

    def _check(self, x: Array | None, y: Array) -> None:
        if self.rule is None:
            return
        cuts = [slice(None)]
        if self.window is not None:
            cuts = [slice(at, at + self.window) for at in range(0, len(y), self.window)]
        for cut in cuts:
            problem = self.rule(None if x is None else x[cut], y[cut])
            if problem is not None:
                raise DataError(problem)

    def facts(
        self, training: Items | None, columns: Mapping[str, Column]
    ) -> tuple[Items, SplitFacts]:
        """Return the items of the training split, sorted, and the facts of this split."""
        items, times = np.unique(np.array(self.items, dtype=np.uint64), return_counts=True)
        if training is None:
            training, repeated = items, int(times.sum() - len(times))
        else:
            repeated = int(times[np.isin(items, training, assume_unique=True)].sum())
        counted = [role for role, spec in self.specs.items() if self.records and spec.is_counted]
        counts = {role: columns[role].counts(self.specs[role].size) for role in counted}
        facts = SplitFacts(
            self.digest.hex(),
            self.records,
            self.skipped,
            self.dropped,
            self.truncated,
            tuple(self.first_problems),
            repeated,
            {role: count for role, count in counts.items() if count is not None},
        )
        return training, facts


def _small(values: Array, spec: FieldSpec) -> Array:
    """Ids in the smallest type that holds them."""
    if not spec.is_counted:
        return values
    return values.astype(np.min_scalar_type(max(0, spec.size - 1)), copy=False)
