"""Rules: what one value may be, and how to say so."""

import math
import numbers
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from seqpipe.errors import ConfigError, did_you_mean


def shown(value: object) -> str:
    """A value as it is typed on the command line: true, null, [64,32]."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(shown, value))}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{shown(entry)}" for key, entry in value.items()) + "}"
    return str(value)


class Problem(NamedTuple):
    """One thing wrong with the configuration: at `key`, holding `value`."""

    key: str
    value: object
    text: str

    def __str__(self) -> str:
        return f"{self.key}={shown(self.value)}: {self.text}"


def refusal(key: str, value: object, wrong: str, allowed: str, words: Iterable[str] = ()) -> str:
    """The message that refuses a value: `key=value: what is wrong; allowed: what is allowed`.

    Args:
        key: as typed on the command line.
        value: that it was given.
        wrong: what is wrong with it.
        allowed: what could be typed in its place.
        words: the closest one is added, as `did you mean`.
    """
    hint = did_you_mean(shown(value), words)
    return str(Problem(key, value, f"{wrong}; allowed: {allowed}{hint}"))


@dataclass(frozen=True)
class Rule:
    """The type and the bounds of one value.

    Args:
        allowed: in words, for the message.
        has_type: whether the value is of the right kind at all.
        in_range: whether a value of the right kind is allowed.
        words: the allowed words, for "did you mean".
    """

    allowed: str
    has_type: Callable[[Any], bool]
    in_range: Callable[[Any], bool] = lambda value: True
    words: tuple[str, ...] = ()

    def accepts(self, value: object) -> bool:
        """Return True if the value obeys the rule."""
        return self.has_type(value) and self.in_range(value)

    def because(self, reason: str) -> "Rule":
        """The same rule with its reason in the message: `an integer >= 2 (for each mark)`."""
        return replace(self, allowed=f"{self.allowed} ({reason})")

    def fault(self, value: object) -> str | None:
        """Return what is wrong with the value and what is allowed, or None."""
        if self.accepts(value):
            return None
        wrong = "out of range" if self.has_type(value) else "wrong type"
        if isinstance(value, str) and (self.words or self.has_type(value)):
            wrong = "unknown choice" if self.words else "wrong form"
        return f"{wrong}; allowed: {self.allowed}{did_you_mean(shown(value), self.words)}"


def _is_whole(value: object) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _is_real(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def whole(low: int | None = None, high: int | None = None) -> Rule:
    """An integer with low <= value <= high."""
    bounds = "" if low is None else f" >= {low}"
    bounds = bounds if high is None else f" from {low} to {high}"
    return Rule(
        f"an integer{bounds}",
        _is_whole,
        lambda value: (low is None or value >= low) and (high is None or value <= high),
    )


def real(interval: str = "(-inf, inf)") -> Rule:
    """A finite number in an interval written as in mathematics, `[0, 1)`."""
    low, high = (float(bound) for bound in interval[1:-1].split(","))
    with_low, with_high = interval[0] == "[", interval[-1] == "]"

    def inside(value: float) -> bool:
        above = value >= low if with_low else value > low
        below = value <= high if with_high else value < high
        return abs(value) < math.inf and above and below

    allowed = "a number" if interval == "(-inf, inf)" else f"a number in {interval}"
    if high == math.inf and low > -math.inf:
        allowed = f"a number {'>=' if with_low else '>'} {interval[1:-1].split(',')[0]}"
    return Rule(allowed, _is_real, inside)


def faults(rules: Mapping[str, Rule], values: Mapping[str, object], below: str = "") -> list[str]:
    """`name=value: what is wrong; allowed: what is allowed`, for each value that breaks its rule.

    Args:
        rules: by name; a value without one may be anything.
        values: by name.
        below: the key that the names stand under, with a dot at its end, as `data.x.`.
    """
    found = {name: rules[name].fault(value) for name, value in values.items() if name in rules}
    return [str(Problem(below + name, values[name], text)) for name, text in found.items() if text]


def require(key: str, value: object, rule: Rule) -> None:
    """Refuse a value that breaks its rule.

    Args:
        key: as typed on the command line.
        value: that it was given.
        rule: what it may be.

    Raises:
        ConfigError: the value breaks the rule.
    """
    if problems := faults({key: rule}, {key: value}):
        raise ConfigError(problems)


def or_null(rule: Rule) -> Rule:
    """Allow what the rule allows, and None."""
    return Rule(
        f"{rule.allowed} or null",
        lambda value: value is None or rule.has_type(value),
        lambda value: value is None or rule.in_range(value),
        rule.words,
    )


def flag() -> Rule:
    """True or false; 0 and 1 are not taken for them."""
    return Rule("true or false", lambda value: isinstance(value, bool))


def text(pattern: str = "", allowed: str = "text") -> Rule:
    """A string that matches a regular expression from its start to its end."""
    return Rule(
        allowed,
        lambda value: isinstance(value, str),
        lambda value: not pattern or re.fullmatch(pattern, value) is not None,
    )


def choice(*values: str | int) -> Rule:
    """One of a few words or numbers."""
    kinds = tuple({type(value) for value in values})
    return Rule(
        ", ".join(dict.fromkeys(map(shown, values))),
        lambda value: isinstance(value, kinds) and not isinstance(value, bool),
        lambda value: value in values,
        tuple(value for value in values if isinstance(value, str)),
    )


def list_of(rule: Rule | None, length: int | None = None) -> Rule:
    """A list whose entries obey a rule."""
    entries = "a list" if length is None else f"a list of {length}"
    return Rule(
        entries if rule is None else f"{entries}, each {rule.allowed}",
        lambda value: isinstance(value, (list, tuple)),
        lambda value: (
            (length is None or len(value) == length)
            and (rule is None or all(map(rule.accepts, value)))
        ),
    )


def mapping_of(rule: Rule | None) -> Rule:
    """Names, each with a value that obeys a rule."""
    return Rule(
        "a mapping" if rule is None else f"a mapping, each value {rule.allowed}",
        lambda value: isinstance(value, dict),
        lambda value: rule is None or all(map(rule.accepts, value.values())),
    )


def null() -> Rule:
    """Nothing."""
    return Rule("null", lambda value: value is None)


def either(*rules: Rule) -> Rule:
    """Allow what one of the rules allows."""
    words: Sequence[str] = [word for rule in rules for word in rule.words]
    return Rule(
        " or ".join(dict.fromkeys(rule.allowed for rule in rules)),
        lambda value: any(rule.has_type(value) for rule in rules),
        lambda value: any(rule.accepts(value) for rule in rules),
        tuple(words),
    )


def best_of(metric: str) -> str:
    """The name of a validation metric for the weights that were kept: `best/val/accuracy`.

    Under its own name, `val/accuracy`, it is that of the last epoch.
    """
    return f"best/{metric}"


CLASS_SCORES = ("precision", "recall", "f1")
"""Scores of a single class, `f1/<class>`, or of one type of span, `entity_f1/<type>`."""
_OF_ONE_CLASS = re.compile(rf"(?:^|/)(?:entity_)?(?:{'|'.join(CLASS_SCORES)})/")


def is_of_one_class(metric: str) -> bool:
    """True for the score of a single class or type of span, with a stage or without."""
    return _OF_ONE_CLASS.search(metric) is not None
