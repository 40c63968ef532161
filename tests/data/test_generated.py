import datetime
import re
from collections import Counter

import numpy as np
import pytest

from seqpipe.data.dataset import SequenceData
from seqpipe.data.fields.labels import Tags
from seqpipe.data.fields.symbols import Symbols
from seqpipe.data.hashing import digest
from seqpipe.data.sources.generated import (
    DATE_FORMATS,
    Adding,
    CopyMemory,
    Dates,
    TemporalOrder,
    spell,
)
from seqpipe.errors import ConfigError

SMALL = {"train": 300, "valid": 40, "test": 40}


def parse(human):
    """An independent reading of a spelling, by its look alone: (year, month, day)."""
    text = re.sub(r"(?i)^\w+day(,| the)? |^(mon|tue|wed|thu|fri|sat|sun),? ", "", human)
    text = re.sub(r"(?i)^the | of\b", "", text)
    text = re.sub(r"(?i)(\d)(st|nd|rd|th)\b", r"\1", text)
    text = re.sub(r"[,. /-]+", " ", text).strip()
    if "/" in human and not re.match(r"\d{4}", human):
        orders = ["%m %d"]
    else:
        orders = ["%d %m", "%d %B", "%d %b", "%B %d", "%b %d"]
    found = set()
    for order in [*(f"{o} %Y" for o in orders), "%Y %m %d", "%Y%m%d", "%Y %B %d"]:
        try:
            found.add(datetime.datetime.strptime(text, order).date())
        except ValueError:
            continue
    for order in orders:
        if re.search(r"(?<!\d)\d\d$", text):
            try:
                year = int(text[-2:])
                full = f"{text[:-2]}{1900 + year if year >= 50 else 2000 + year}"
                found.add(datetime.datetime.strptime(full, f"{order} %Y").date())
            except ValueError:
                continue
    return found


@pytest.mark.parametrize("template", DATE_FORMATS)
def test_every_format_reads_back_as_the_one_day_it_was_made_of(template):
    first = datetime.date(1950, 1, 1)
    for step in range(0, 36_500, 797):
        day = first + datetime.timedelta(days=step)
        human = spell(day, template)
        assert {parse(h).pop() for h in (human, human.lower(), human.upper())} == {day}
        assert len(parse(human)) == 1, human


def test_ordinals_are_those_of_english():
    days = [datetime.date(2000, 1, d) for d in (1, 2, 3, 4, 11, 12, 13, 21, 22, 23, 31)]
    assert [spell(day, "{ord}") for day in days] == (
        "1st 2nd 3rd 4th 11th 12th 13th 21st 22nd 23rd 31st".split()
    )


def test_there_are_many_formats_all_different():
    day = datetime.date(2003, 4, 5)
    assert len({spell(day, template) for template in DATE_FORMATS}) == len(DATE_FORMATS) >= 20


def test_date_records_hold_a_spelling_of_their_day():
    splits = Dates(**SMALL).read()
    assert {r["format"] for r in splits.train} == set(DATE_FORMATS)
    for record in splits.train:
        assert parse(record["human"]) == {datetime.date.fromisoformat(record["iso"])}
    humans = [r["human"] for r in splits.train]
    assert any(h.isupper() for h in humans)
    assert any(h.islower() for h in humans)


def test_the_target_of_adding_is_the_sum_of_the_two_marked_numbers():
    splits = Adding(length=7, **SMALL).read()
    assert {split: len(r) for split, r in splits.by_name().items()} == SMALL
    for record in splits.train:
        series = record["series"]
        assert series.shape == (7, 2)
        first, second = np.flatnonzero(series[:, 1])
        assert first < 3 <= second
        assert set(series[:, 1]) <= {0, 1}
        assert series[:, 0].min() >= 0
        assert series[:, 0].max() < 1
        assert record["sum"] == pytest.approx(float(series[first, 0]) + float(series[second, 0]))


def test_always_answering_one_to_adding_errs_by_a_sixth():
    sums = np.array(
        [r["sum"] for r in Adding(length=5, train=20_000, valid=1, test=1).read().train]
    )
    assert np.mean((sums - 1) ** 2) == pytest.approx(1 / 6, rel=0.03)


@pytest.mark.parametrize("length", [1, 6])
def test_copy_memory_asks_for_the_ten_symbols_after_the_mark(length):
    splits = CopyMemory(length=length, **SMALL).read()
    assert {split: len(r) for split, r in splits.by_name().items()} == SMALL
    for record in splits.train:
        x, y = record["x"], record["y"]
        assert len(x) == len(y) == length + 20
        assert set(x[:10]) <= set(range(8))
        assert x[10:] == [8] * (length - 1) + [9] + [8] * 10
        assert y == [8] * (length + 10) + x[:10]


def test_symbols_of_copy_memory_are_all_as_frequent_and_no_record_comes_twice():
    splits = CopyMemory(length=1, train=2000, valid=200, test=200).read().by_name()
    words = [tuple(r["x"][:10]) for records in splits.values() for r in records]
    assert len(set(words)) == 2400
    counts = np.bincount(np.array(words).reshape(-1), minlength=8)
    assert counts.min() > 2700
    assert counts.max() < 3300


def test_copy_memory_tags_keep_their_numbers():
    data = SequenceData(CopyMemory(length=2, **SMALL), Tags("y"), Symbols("x", size=10))
    assert data.spec.y.names == tuple("012345678")
    example = data.examples("train")[0]
    assert example.y[-10:].tolist() == example.x[:10].tolist()


@pytest.mark.parametrize("length", [10, 57, 100])
def test_the_class_of_temporal_order_is_its_two_marked_symbols_in_their_order(length):
    splits = TemporalOrder(length=length, **SMALL).read()
    assert {split: len(r) for split, r in splits.by_name().items()} == SMALL
    firsts, seconds = set(), set()
    for record in splits.train:
        sequence = record["sequence"]
        first, second = (t for t, symbol in enumerate(sequence) if symbol in "AB")
        assert record["order"] == sequence[first] + sequence[second]
        assert set(sequence) - {"A", "B"} <= set("cdef")
        assert len(sequence) == length
        firsts.add(first)
        seconds.add(second)
    assert (min(firsts), max(firsts)) == (length // 10, 2 * length // 10)
    assert (min(seconds), max(seconds)) == (4 * length // 10, 5 * length // 10)


def test_the_four_orders_are_as_frequent():
    records = TemporalOrder(length=10, train=20_000, valid=1, test=1).read().train
    counts = Counter(r["order"] for r in records)
    assert set(counts) == {"AA", "AB", "BA", "BB"}
    assert min(counts.values()) > 4800


@pytest.mark.parametrize("source", [Dates, Adding, CopyMemory, TemporalOrder])
def test_the_seed_makes_the_data(source):
    options = {} if source is Dates else {"length": 10}
    one, same, other = (source(**options, **SMALL, seed=seed).read() for seed in (0, 0, 1))
    assert digest(one.train) == digest(same.train) != digest(other.train)
    assert digest(one.test) == digest(same.test) != digest(other.test)


@pytest.mark.parametrize(
    "sizes", [(80_000, 1, 1), (1, 1, 80_000), (1, 80_000, 1), (1, 1, 1), (300, 40, 40)]
)
def test_every_split_has_days_of_its_own_however_unequal_they_are(sizes):
    splits = Dates(**dict(zip(SMALL, sizes, strict=True))).read().by_name()
    assert tuple(map(len, splits.values())) == sizes
    days = [{record["iso"] for record in records} for records in splits.values()]
    assert all(days)
    assert sum(map(len, days)) == len(set.union(*days))


def test_more_words_than_there_are_cannot_be_remembered():
    message = "only 1,073,741,824 words differ; allowed: fewer of them"
    with pytest.raises(ConfigError, match=message):
        CopyMemory(length=5, train=2_000_000_000).read()
