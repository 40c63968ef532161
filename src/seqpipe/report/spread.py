"""Mean, standard deviation and confidence interval of repeated measurements."""

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from seqpipe.report.markdown import number

CONFIDENCE = 0.95
"""Level of the intervals in comparisons."""


class Spread(NamedTuple):
    """The mean of some values and their spread; NaN where one value alone has none.

    Args:
        mean: of the values.
        deviation: their standard deviation (n - 1).
        low: lower end of the confidence interval of the mean.
        high: upper end.
    """

    mean: float
    deviation: float
    low: float
    high: float


def half_width(values: Sequence[float]) -> float:
    """Half of the 95 % confidence interval of a mean, by Student's t; NaN for a single value.

    Source: Student (1908): t_{n-1} s / sqrt(n), for values that are normally distributed.
    """
    if len(values) < 2:
        return math.nan
    from scipy.stats import t  # takes half a second

    quantile = float(t.ppf((1 + CONFIDENCE) / 2, len(values) - 1))
    return quantile * statistics.stdev(values) / math.sqrt(len(values))


def spread_of(values: Sequence[float]) -> Spread:
    """Mean, standard deviation and interval; all are NaN where a value is not finite."""
    if not values or not all(map(math.isfinite, values)):
        return Spread(math.nan, math.nan, math.nan, math.nan)
    mean, half = statistics.fmean(values), half_width(values)
    deviation = statistics.stdev(values) if len(values) > 1 else math.nan
    return Spread(mean, deviation, mean - half, mean + half)


def mean_and_deviation(values: Sequence[float]) -> str:
    """Mean and standard deviation in words: `0.91 ± 0.02`; the value where it is alone."""
    if not values:
        return ""
    if not all(map(math.isfinite, values)):
        return "not finite"
    if len(values) == 1:
        return number(values[0])
    return f"{number(statistics.fmean(values))} ± {statistics.stdev(values):.2g}"


def interval(values: Sequence[float]) -> str:
    """The confidence interval of a mean in words: `0.86 to 0.96`; empty without one."""
    found = spread_of(values)
    return "" if math.isnan(found.low) else f"{number(found.low)} to {number(found.high)}"
