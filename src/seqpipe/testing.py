"""Contract checks for a source or a field of your own, to call from a test or a shell.

Each raises an AssertionError that names the broken rule, and returns nothing.
"""

import copy
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from seqpipe.data.base import SPLITS, Field, FieldSpec, Found, Record, Source, Splits
from seqpipe.data.batching import pad
from seqpipe.data.cache import pack, unpack
from seqpipe.data.hashing import digest
from seqpipe.data.kinds import KINDS
from seqpipe.data.vocabulary import EOS
from seqpipe.errors import ConfigError, DataError

__all__ = ["check_field", "check_source"]


def check_source(source: Source, *, columns: Sequence[str] = (), disjoint: bool = True) -> None:
    """Check the contract of a source, see `seqpipe.data.base.Source`.

    It has records in three splits: the same ones in the same order each time they are iterated
    over or read; entries of types that a record may hold; no item in two splits; `inputs` that
    exist. DataErrors in place of records are ignored.

    Args:
        source: built, not read yet.
        columns: those of x: records that agree in them are one item. Empty: in every column.
        disjoint: False for splits that were made elsewhere, and may share items.

    Raises:
        AssertionError: a rule is broken.
    """
    name = type(source).__name__
    source.keep_together(columns)
    splits = source.read()
    if not isinstance(splits, Splits):
        _broken(f"{name}.read: gives {type(splits).__name__}; allowed: seqpipe.data.base.Splits")
    again = source.read().by_name()
    items = {}
    for split, found in splits.by_name().items():
        first = _digests(name, split, found)
        if not first:
            _broken(f"{name}.{split}: holds no records")
        for what, other in (("gone through", found), ("read", again[split])):
            _check_same(f"{name}.{split}", first, _digests(name, split, other), what)
        items[split] = {_item(one, columns) for one in _records(found)}
    for a, b in combinations(SPLITS, 2) if disjoint else ():
        if shared := len(items[a] & items[b]):
            _broken(f"{name}: {shared} items of {a} are in {b} too")
    missing = [file for file in source.inputs() if not Path(file).is_file()]
    if missing:
        _broken(f"{name}.inputs: {missing[0]} is no file")


def check_field(field: Field, records: Iterable[Found], *, round_trip: bool = True) -> None:
    """Check the contract of a field, see `seqpipe.data.base.Field`.

    It is fitted in a single pass; its spec describes its encodings, which are the same each time
    and do not change the records; its state can be saved as JSON and arrays and restored; its
    encodings can be padded, decoded and described; what it augments keeps its shape and type, and
    is drawn from the generator it is given.

    Args:
        field: built, not fitted yet.
        records: training records; DataErrors are ignored.
        round_trip: text entries, decoded, encode to the same values. False for a field that
            leaves something out on purpose.

    Raises:
        AssertionError: a rule is broken.
        DataError: the field refuses a record.
    """
    name, usable = type(field).__name__, list(_records(records))
    before = digest(usable)
    fitted, restored = copy.deepcopy(field), copy.deepcopy(field)
    fitted.fit(_Once(name, usable))
    spec = fitted.spec
    _check_spec(name, field, spec)
    encoded = []
    for record in usable:
        values = fitted.encode(record)
        _check_values(f"{name}.encode", values, spec)
        if not torch.equal(values, fitted.encode(record)):
            _broken(f"{name}.encode: another result the second time")
        _check_target(name, fitted, record, spec)
        _check_decoding(name, fitted, record, values, round_trip)
        _check_augmenting(name, fitted, values)
        encoded.append(values)
    _check_restoring(name, fitted, restored, usable, encoded)
    if digest(usable) != before:
        _broken(f"{name}: changes the records it is given")
    _check_padding(name, encoded, spec)
    if spec.is_counted:
        ids = torch.cat([values.reshape(-1).long() for values in encoded]).numpy()
        counts = {"train": np.bincount(ids, minlength=spec.size)}
    else:
        counts = {}
    if not isinstance(fitted.describe(counts), str):
        _broken(f"{name}.describe: gives no text")


class _Once:
    """Records that can be iterated over once, as records that do not fit in memory."""

    def __init__(self, name: str, records: Sequence[Record]) -> None:
        self.name, self.records, self.started = name, records, False

    def __iter__(self) -> Iterator[Record]:
        if self.started:
            _broken(f"{self.name}.fit: goes through the records twice; allowed: once")
        self.started = True
        return iter(self.records)


def _records(found: Iterable[Found]) -> Iterator[Record]:
    return (one for one in found if not isinstance(one, DataError))


def _digests(name: str, split: str, found: Iterable[Found]) -> list[str]:
    digests = []
    for number, record in enumerate(_records(found)):
        try:
            digests.append(digest([record]))
        except (DataError, TypeError) as error:
            _broken(f"{name}.{split}[{number}]: {error}")
    return digests


def _check_same(where: str, first: list[str], other: list[str], what: str) -> None:
    for number, (one, two) in enumerate(zip(first, other, strict=False)):
        if one != two:
            _broken(f"{where}[{number}]: another record when {what} again")
    if len(first) != len(other):
        _broken(f"{where}: {len(first)} records, and {len(other)} when {what} again")


def _item(record: Record, columns: Sequence[str]) -> str:
    for column in columns:
        if column not in record:
            _broken(f"column={column}: not in the record; it has {', '.join(record)}")
    return digest([{column: record[column] for column in columns} if columns else record])


def _check_spec(name: str, field: Field, spec: FieldSpec) -> None:
    if field.kind not in KINDS:
        _broken(f"{name}.kind={field.kind}: no such kind; allowed: {', '.join(KINDS)}")
    # Options may choose between kinds that fit the same models: ids or numbers for each step.
    if spec.kind != field.kind and not {spec.kind, field.kind} <= {"symbols", "values"}:
        _broken(f"{name}.spec.kind={spec.kind}: the class says {field.kind}")
    if spec.size < 1:
        _broken(f"{name}.spec.size={spec.size}: must be at least 1")
    if spec.names is not None and len(spec.names) != spec.size:
        _broken(f"{name}.spec.names: {len(spec.names)} of them; the size is {spec.size}")


def _check_restoring(
    name: str, fitted: Field, fresh: Field, records: Sequence[Record], encoded: Sequence[Tensor]
) -> None:
    """Check that the state of one, kept as JSON and arrays, makes the other equal."""
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    try:
        text = json.dumps(pack(fitted.state(), arrays, "field"))
    except TypeError as error:
        _broken(f"{name}.state: {error}; allowed: numbers, text, lists, tuples, dicts, arrays")
    fresh.restore(unpack(json.loads(text), arrays))
    if fresh.spec != fitted.spec:
        _broken(f"{name}.restore: the spec is {fresh.spec}; it was {fitted.spec}")
    for record, values in zip(records, encoded, strict=True):
        try:
            same = torch.equal(fresh.encode(record), values)
        except Exception as error:  # any error of a field that was not restored
            _broken(f"{name}.restore: cannot encode after it ({error}); is all in `fitted`?")
        if not same:
            _broken(f"{name}.restore: encodes otherwise than before; is all in `fitted`?")


def _check_values(where: str, values: object, spec: FieldSpec) -> None:
    if not isinstance(values, Tensor):
        _broken(f"{where}: gives {type(values).__name__}; allowed: a tensor")
    wanted = [spec.size if axis == "size" else None for axis in spec.form.axes]
    shape = tuple(values.shape)
    if len(shape) != len(wanted) or any(
        w not in (None, s) for w, s in zip(wanted, shape, strict=True)
    ):
        axes = ", ".join("any" if axis is None else str(axis) for axis in wanted)
        _broken(f"{where}: shape {shape}; {spec.kind} have ({axes})")
    if spec.form.holds == "ids":
        if values.is_floating_point():
            _broken(f"{where}: {values.dtype}; {spec.kind} are whole numbers")
        outside = values[(values < 0) | (values >= spec.size)].reshape(-1)
        if spec.is_counted and len(outside):
            _broken(f"{where}: {int(outside[0])} is outside 0..{spec.size - 1}")
    elif not bool(torch.isfinite(values).all()):
        _broken(f"{where}: holds NaN or infinity")


def _check_target(name: str, field: Field, record: Record, spec: FieldSpec) -> None:
    if "y" not in spec.form.roles:
        return
    try:
        target = field.encode_target(record)
    except ConfigError:  # it says that it cannot be answered
        return
    _check_values(f"{name}.encode_target", target, spec)
    ends = not spec.is_text or not len(target) or int(target[-1]) == EOS
    if not ends and not getattr(record, "goes_on", False):
        _broken(f"{name}.encode_target: ends in {int(target[-1])}; allowed: <EOS>, which is {EOS}")


def _check_decoding(
    name: str, field: Field, record: Record, values: Tensor, round_trip: bool
) -> None:
    text = field.decode(values)
    if not isinstance(text, str):
        _broken(f"{name}.decode: gives {type(text).__name__}; allowed: text")
    if round_trip and isinstance(record[field.column], str):
        back = field.encode({**record, field.column: text})
        if not torch.equal(back, values):
            _broken(f"{name}.decode: {text!r} encodes to something else")


def _check_augmenting(name: str, field: Field, values: Tensor) -> None:
    if not field.augments:
        return
    given = values.numpy().copy()
    first, again = (field.augment(given, np.random.default_rng(0)) for _ in range(2))
    if not np.array_equal(given, values.numpy()):
        _broken(f"{name}.augment: changes the values it is given")
    if first.shape != given.shape or first.dtype != given.dtype:
        shapes = f"{first.dtype} {first.shape} for {given.dtype} {given.shape}"
        _broken(f"{name}.augment: gives {shapes}; allowed: the same shape and type")
    if not np.array_equal(first, again):
        _broken(f"{name}.augment: another result with the same random numbers")


def _check_padding(name: str, encoded: Sequence[Tensor], spec: FieldSpec) -> None:
    rows = [values.numpy() for values in encoded]
    padded, lengths = pad(rows, spec)
    if padded.dtype != spec.dtype:
        _broken(f"{name}: {padded.dtype} in a batch; {spec.kind} are {spec.dtype}")
    for row, (values, whole) in enumerate(zip(encoded, padded, strict=True)):
        real = whole if lengths is None else whole[: int(lengths[row])]
        if not torch.equal(real, values.to(spec.dtype)):
            _broken(f"{name}: is not in a batch what it was alone")


def _broken(rule: str) -> NoReturn:
    raise AssertionError(rule)
