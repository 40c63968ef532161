"""Summary of the data in numbers, shown before training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from seqpipe.data.base import SPLITS, FieldSpec
from seqpipe.data.columns import Column, Integers
from seqpipe.data.dataset import SequenceData
from seqpipe.data.field_checks import item_role
from seqpipe.data.fields.text_field import unknown_rate
from seqpipe.data.sampling import evenly_spread
from seqpipe.data.vocabulary import SPECIALS

Row = dict[str, object]
SHOWN = 20  # classes or symbols in a table, numbers of a step
EXAMPLES = 5
_SAMPLE = 2**16  # steps from which the moments of numbers are estimated


@dataclass
class Summary:
    """Tables, and the numbers of the figures.

    Args:
        splits: a row for each split: examples, records, left out, repeated, steps.
        lengths: role -> split -> steps of each example, for roles with time.
        classes: role -> a row for each class or symbol: how often it occurs, by split.
        numbers: role -> a row for each number of a step: mean, deviation, least and largest.
        unknown: role -> split -> share of symbols that are not in the vocabulary.
        examples: a few of the training split, decoded.
        problems: the first of the records that were left out.
    """

    splits: list[Row]
    lengths: dict[str, dict[str, Integers]]
    classes: dict[str, list[Row]]
    numbers: dict[str, list[Row]]
    unknown: dict[str, dict[str, float]]
    examples: list[Row]
    problems: list[str]


def summary_of(data: SequenceData) -> Summary:
    """Summarise all prepared splits."""
    specs = data.spec.by_role()
    lengths = {
        role: {split: column_of(data, split, role).lengths for split in SPLITS}
        for role, spec in specs.items()
        if spec.has_time
    }
    classes, unknown = {}, {}
    for role, spec in specs.items():
        counts = data.counts(role)
        if counts:
            classes[role] = _class_rows(spec, counts)
        if counts and spec.unknown is not None:
            unknown[role] = {split: unknown_rate(count) for split, count in counts.items()}
    numbers = {
        role: list(_number_rows(data, role)) for role, spec in specs.items() if spec.holds_floats
    }
    return Summary(
        splits=[_split_row(data, split, lengths) for split in SPLITS],
        lengths=lengths,
        classes=classes,
        numbers=numbers,
        unknown=unknown,
        examples=_examples(data, specs),
        problems=[p for split in SPLITS for p in data.facts[split].problems],
    )


def column_of(data: SequenceData, split: str, role: str) -> Column:
    """The encoded x or y of a split."""
    examples = data.columns(split)
    column = examples.x if role == "x" else examples.y
    assert column is not None
    return column


def _split_row(data: SequenceData, split: str, lengths: dict[str, dict[str, Integers]]) -> Row:
    facts = data.facts[split]
    row: Row = {
        "split": split,
        "examples": len(data.columns(split)),
        "records": facts.records,
        "left out": facts.skipped,
        **({"dropped": facts.dropped, "truncated": facts.truncated} if data.trim else {}),
        f"{item_role(data.x, data.y)} seen in train before": facts.repeated,
    }
    for role, steps in lengths.items():
        low, middle, high = np.percentile(steps[split], [0, 50, 100]).astype(int).tolist()
        row[f"steps of {role}"] = int(steps[split].sum())
        row[f"shortest, median, longest {role}"] = f"{low:,}, {middle:,}, {high:,}"
    return row


def _class_rows(spec: FieldSpec, counts: dict[str, Integers]) -> list[Row]:
    train = counts["train"]
    order = np.argsort(-train, kind="stable")
    shown = [int(k) for k in order if train[k] or not _is_special(spec, int(k))][:SHOWN]
    names = spec.names or tuple(map(str, range(spec.size)))
    rows: list[Row] = [{"name": names[k], **_shares(counts, [k])} for k in shown]
    rest = [k for k in range(spec.size) if k not in set(shown)]
    if any(counts[split][rest].any() for split in counts):
        rows.append({"name": f"{len(rest):,} others", **_shares(counts, rest)})
    return rows


def _is_special(spec: FieldSpec, number: int) -> bool:
    return spec.unknown is not None and number < len(SPECIALS)


def _shares(counts: dict[str, Integers], which: list[int]) -> Row:
    row: Row = {}
    for split, count in counts.items():
        number = int(count[which].sum())
        row[split] = number
        row[f"{split}, share"] = number / max(1, int(count.sum()))
    return row


def _number_rows(data: SequenceData, role: str) -> Iterator[Row]:
    """Moments of the first numbers of a step, over the first steps of the training split."""
    column = column_of(data, "train", role)
    chunk = column.chunks[0].values[:_SAMPLE]
    values = chunk.reshape(len(chunk), -1).astype(np.float64)
    for number in range(min(SHOWN, values.shape[1])):
        one = values[:, number]
        yield {
            "number": number,
            "mean": float(one.mean()),
            "deviation": float(one.std()),
            "least": float(one.min()),
            "largest": float(one.max()),
        }


def _examples(data: SequenceData, specs: dict[str, FieldSpec]) -> list[Row]:
    rows: list[Row] = []
    for index in evenly_spread(EXAMPLES, len(data.columns("train"))):
        row: Row = {}
        for role, fld in data.fields.items():
            values: Any = column_of(data, "train", role)[index].to(specs[role].dtype)
            row[role] = fld.decode(values)
        rows.append(row)
    return rows
