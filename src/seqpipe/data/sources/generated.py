"""Made-up data of any size: dates in many spellings, and three tests of memory."""

import datetime
import random
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from seqpipe.bounds import Count
from seqpipe.data.base import Record, Source, Splits
from seqpipe.data.sources.argument_checks import check_arguments
from seqpipe.errors import ConfigError
from seqpipe.rules import whole

# Written out, since calendar's names follow the machine's language.
MONTHS = (
    "January February March April May June July August September October November December"
).split()
WEEKDAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()

DATE_FORMATS = (
    "{yyyy}-{mm}-{dd}",
    "{yyyy}/{mm}/{dd}",
    "{yyyy}.{m}.{d}",
    "{yyyy}{mm}{dd}",
    "{yyyy} {Month} {d}",
    "{yyyy}, {Month} {ord}",
    "{m}/{d}/{yyyy}",
    "{mm}/{dd}/{yyyy}",
    "{m}/{d}/{yy}",
    "{d}.{m}.{yyyy}",
    "{dd}.{mm}.{yyyy}",
    "{d}.{m}.{yy}",
    "{d} {Mon} {yyyy}",
    "{dd}-{Mon}-{yyyy}",
    "{d}-{Mon}-{yy}",
    "{d} {Month} {yyyy}",
    "{d} {Month} {yy}",
    "{d}. {Month} {yyyy}",
    "{ord} {Month} {yyyy}",
    "{ord} of {Month}, {yyyy}",
    "the {ord} of {Month} {yyyy}",
    "{Month} {d}, {yyyy}",
    "{Month} {ord}, {yyyy}",
    "{Mon} {d}, {yyyy}",
    "{Mon}. {d} {yyyy}",
    "{Weekday}, {Month} {d}, {yyyy}",
    "{Weekday}, {d} {Month} {yyyy}",
    "{Weekday} the {ord} of {Month}, {yyyy}",
    "{Wday} {d} {Mon} {yyyy}",
    "{Wday}, {dd} {Mon} {yyyy}",
)
_FIRST_DAY = datetime.date(1950, 1, 1)
_LAST_DAY = datetime.date(2049, 12, 31)


@dataclass
class Generated(Source):
    """Made-up records, as many as asked for.

    Args:
        train: records to train on.
        valid: records to validate on.
        test: records to test on.
        seed: of everything random.
    """

    train: Count = 10_000
    valid: Count = 1_000
    test: Count = 1_000
    seed: int = 0

    def __post_init__(self) -> None:
        check_arguments(self)

    @property
    def sizes(self) -> dict[str, int]:
        """The number of records of each split."""
        return {"train": self.train, "valid": self.valid, "test": self.test}


@dataclass
class Dates(Generated):
    """Spellings of a day by people, and the day in ISO 8601; 1950-01-01 to 2049-12-31.

    30 formats (`DATE_FORMATS`), a third each as written, in small and in capital letters. They
    are unambiguous: slashes after the day or month mean month/day/year, dots day.month.year,
    a first number of four digits is the year; a year of two digits is 1950..1999 from 50 on,
    else 2000..2049. Days never cross splits.

    Records: `human` str; `iso` str; `format` str.
    """

    def read(self) -> Splits:
        """Split the days by the sizes of the splits, then spell days of each split."""
        rng = random.Random(self.seed)
        n_days = (_LAST_DAY - _FIRST_DAY).days + 1
        days = [_FIRST_DAY + datetime.timedelta(days=i) for i in range(n_days)]
        rng.shuffle(days)
        total = sum(self.sizes.values())
        splits: dict[str, list[Record]] = {}
        start = 0
        for later, (split, size) in zip((2, 1, 0), self.sizes.items(), strict=True):
            # At least a day for each split; the last, test, takes what rounding leaves.
            share = min(max(1, n_days * size // total), n_days - start - later)
            own = days[start:] if split == "test" else days[start : start + share]
            start += share
            splits[split] = [_date_record(own[i % len(own)], rng) for i in range(size)]
        return Splits(**splits)


def _date_record(day: datetime.date, rng: random.Random) -> Record:
    template = rng.choice(DATE_FORMATS)
    human = spell(day, template)
    human = rng.choice((human, human.lower(), human.upper()))
    return {"human": human, "iso": day.isoformat(), "format": template}


def spell(day: datetime.date, template: str) -> str:
    """A day as a format writes it.

    >>> spell(datetime.date(1979, 5, 3), "{ord} of {Month}, {yyyy}")
    '3rd of May, 1979'
    """
    month, weekday = MONTHS[day.month - 1], WEEKDAYS[day.weekday()]
    teen = day.day in (11, 12, 13)
    ending = "th" if teen else {1: "st", 2: "nd", 3: "rd"}.get(day.day % 10, "th")
    return template.format(
        d=day.day,
        dd=f"{day.day:02}",
        ord=f"{day.day}{ending}",
        m=day.month,
        mm=f"{day.month:02}",
        Mon=month[:3],
        Month=month,
        yy=f"{day.year % 100:02}",
        yyyy=day.year,
        Wday=weekday[:3],
        Weekday=weekday,
    )


@dataclass(kw_only=True)
class Adding(Generated):
    """The adding problem: the sum of the two marked ones of `length` numbers.

    Each step holds a number, uniform in [0, 1), and a mark: 1 once in the first half, once in
    the second, else 0. Always answering 1 has a mean squared error of 1/6.

    Records: `series` (length, 2) float32; `sum` float.

    Args:
        length: T_x.

    Source: Hochreiter & Schmidhuber (1997), experiment 4; numbers in [0, 1] and a mark in each
    half as in Arjovsky, Shah & Bengio (2016), section 4.2.
    """

    length: Annotated[int, whole(2).because("a step for each mark")]

    def read(self) -> Splits:
        """Draw all records from one generator."""
        rng = np.random.default_rng(self.seed)

        def records(size: int) -> list[Record]:
            series = np.zeros((size, self.length, 2), dtype=np.float32)
            series[:, :, 0] = rng.random((size, self.length), dtype=np.float32)
            rows, half = np.arange(size), self.length // 2
            series[rows, rng.integers(0, half, size), 1] = 1
            series[rows, rng.integers(half, self.length, size), 1] = 1
            sums = (series[:, :, 0] * series[:, :, 1]).sum(axis=1)
            return [{"series": series[i], "sum": float(sums[i])} for i in rows]

        return Splits(**{split: records(size) for split, size in self.sizes.items()})


@dataclass(kw_only=True)
class CopyMemory(Generated):
    """Copy memory: ten symbols of eight, to be repeated `length` steps later, after a mark.

    x: ten symbols 0..7, `length` - 1 blanks (8), the mark (9), ten blanks; y: `length` + 10
    blanks, then the ten symbols. T_x = T_y = `length` + 20. Without memory the best mean cross
    entropy is 10 ln 8 / (`length` + 20) nats. No ten symbols come twice.

    Records: `x` and `y`, lists of int.

    Args:
        length: steps from the end of the ten symbols to the end of the mark.

    Source: Arjovsky, Shah & Bengio (2016), "Unitary evolution recurrent neural networks",
    section 4.1.
    """

    SYMBOLS, REMEMBERED, BLANK, MARK = 8, 10, 8, 9

    length: Annotated[int, whole(1).because("the step of the mark")]

    def read(self) -> Splits:
        """Draw different words of ten symbols, then write x and y around them."""
        total, most = sum(self.sizes.values()), self.SYMBOLS**self.REMEMBERED
        if total > most:
            given = " ".join(f"data.source.{k}={v}" for k, v in self.sizes.items())
            raise ConfigError(f"{given}: only {most:,} words differ; allowed: fewer of them")
        numbers = random.Random(self.seed).sample(range(most), total)
        words = np.array(numbers)[:, None] // self.SYMBOLS ** np.arange(self.REMEMBERED)
        words %= self.SYMBOLS
        x = np.full((total, self.length + 2 * self.REMEMBERED), self.BLANK)
        y = x.copy()
        x[:, : self.REMEMBERED] = y[:, -self.REMEMBERED :] = words
        x[:, -self.REMEMBERED - 1] = self.MARK
        records: list[Record] = [
            {"x": a, "y": b} for a, b in zip(x.tolist(), y.tolist(), strict=True)
        ]
        first, second = self.sizes["train"], self.sizes["train"] + self.sizes["valid"]
        return Splits(records[:first], records[first:second], records[second:])


@dataclass(kw_only=True)
class TemporalOrder(Generated):
    """The temporal order problem: which of A and B came first and second, far apart.

    Each of `length` = T symbols is one of c, d, e, f, but for two that are A or B: one in
    [T/10, 2T/10], one in [4T/10, 5T/10], counted from 0 and rounded down. The class is what the
    two are, in their order: AA, AB, BA or BB, each as likely. The last half of the sequence says
    nothing of it.

    Records: `sequence` str of `length` letters; `order` str.

    Args:
        length: T_x.

    Source: Hochreiter & Schmidhuber (1997), "Long short-term memory", experiment 6a, there with
    one more symbol at each end; places in tenths of T as in Pascanu, Mikolov & Bengio (2013), "On
    the difficulty of training recurrent neural networks", section 4.1.1.
    """

    OTHERS, MARKED = "cdef", "AB"

    length: Annotated[int, whole(10).because("a step for each tenth")]

    def read(self) -> Splits:
        """Draw all records from one generator."""
        rng = np.random.default_rng(self.seed)
        others, marked = np.array(list(self.OTHERS)), np.array(list(self.MARKED))
        tenth = self.length / 10

        def records(size: int) -> list[Record]:
            symbols = others[rng.integers(0, len(others), (size, self.length))]
            order = marked[rng.integers(0, len(marked), (size, 2))]
            for place, (first, last) in enumerate(((1, 2), (4, 5))):
                steps = rng.integers(int(first * tenth), int(last * tenth) + 1, size)
                symbols[np.arange(size), steps] = order[:, place]
            rows = zip(symbols.tolist(), order.tolist(), strict=True)
            return [{"sequence": "".join(row), "order": "".join(two)} for row, two in rows]

        return Splits(**{split: records(size) for split, size in self.sizes.items()})
