"""Bounds of arguments, written in their annotations, and the check of arguments against them.

    @checked()
    def __init__(self, *, depth: Count = 1, dropout: Share = 0.0) -> None:

Python callers, the check of a configuration and the options of the commands read the same
annotation.
"""

import datetime
import functools
import inspect
import operator
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, ParamSpec, TypeVar, Union

from seqpipe.errors import ConfigError
from seqpipe.rules import (
    Problem,
    Rule,
    choice,
    either,
    faults,
    flag,
    list_of,
    mapping_of,
    null,
    real,
    text,
    whole,
)

P = ParamSpec("P")
T = TypeVar("T")

Count = Annotated[int, whole(1)]
WholeNumber = Annotated[int, whole(0)]
Positive = Annotated[float, real("(0, inf)")]
NotNegative = Annotated[float, real("[0, inf)")]
Share = Annotated[float, real("[0, 1)")]
"""Such as a dropout: all of it would leave nothing."""
Probability = Annotated[float, real("[0, 1]")]
MONITOR = text(r"val/.+", "a metric of the validation split, val/...")
Monitor = Annotated[str, MONITOR]
AUTO = "auto"
MONITOR_OR_AUTO = text(r"val/.+|auto", "auto, or a metric of the validation split, val/...")
MonitorOrAuto = Annotated[str, MONITOR_OR_AUTO]
"""The metric that is monitored; `auto`: the task chooses it by the training split."""
SEED = whole(0, 2**32 - 1)  # numpy takes no more
Seed = Annotated[int, SEED]
THREADS = whole(1, 1024)  # OpenMP aborts the program where it cannot start as many
Threads = Annotated[int, THREADS]
TIME_UNITS = {"s": 1, "min": 60, "h": 3600}
"""Seconds of each unit of a time such as `5min`."""
CHECKPOINT_EVERY = either(
    text(rf"[1-9]\d{{0,6}}({'|'.join(TIME_UNITS)})", "a time such as 30s, 5min, 2h"),
    whole(1).because("updates"),
    null(),
)
CheckpointEvery = Annotated[int | str | None, CHECKPOINT_EVERY]
"""The time or the number of updates from one checkpoint to the next within an epoch."""

SamplingSeconds = Annotated[float, real("[0.1, 3600]")]
"""Between two measurements of the machine."""

LEAVE_ONE_OUT = "leave_one_out"
Folds = Annotated[int | Literal["leave_one_out"], either(whole(2), choice("leave_one_out"))]
"""A number of folds, or one for each item."""

# Options of decoding, in training, in Python and on the command line.
BeamSize = Annotated[int, whole(1, 10_000)]  # 1 is greedy
NBest = Annotated[int, whole(1, 10_000)]
LMWeight = Annotated[float, real("(0, 100]")]
LMBonus = Annotated[float, real("[-100, 100]")]
LengthPenalty = Annotated[float, real("[0, 10]")]
Temperature = Annotated[float, real("[1e-09, 10000]")]  # at 0 only the most likely: top_k=1
TopP = Annotated[float, real("[1e-06, 1]")]
ManyRows = Annotated[int, whole(1, 1_000_000)]
GeneratorSeed = Annotated[int, whole(0, 2**63 - 1)]


def within_beam(beam_size: int) -> Rule:
    """The number of answers that a beam search of this width can give."""
    return whole(1, beam_size).because(f"which beam_size={beam_size} finds")


MADE = Rule(  # YAML has no word for these
    "a mapping with _target_",
    lambda value: isinstance(value, dict) and "_target_" in value,
)


def rule_of(annotation: Any) -> Rule | None:
    """The rule a type annotation stands for; None where it stands for none."""
    simple: dict[Any, Callable[[], Rule]] = {
        int: whole,
        float: real,
        bool: flag,
        str: text,
        None: null,
        type(None): null,
    }
    if isinstance(annotation, (type, types.NoneType)) and annotation in simple:
        return simple[annotation]()
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation in (datetime.timedelta, Callable, typing.Callable) or origin is Callable:
        return MADE
    if origin is Annotated:
        return next((rule for rule in inner if isinstance(rule, Rule)), rule_of(inner[0]))
    if origin is Literal:
        return choice(*inner)
    if origin in (Union, types.UnionType):
        rules = [rule_of(option) for option in inner]
        known = [rule for rule in rules if rule is not None]
        return either(*known) if len(known) == len(rules) else None
    if origin in (list, Sequence) or (origin is tuple and inner[1:] == (...,)):
        return list_of(rule_of(inner[0]))
    if origin is tuple:
        return list_of(rule_of(inner[0]), length=len(inner))
    if origin in (dict, Mapping):
        return mapping_of(rule_of(inner[1]))
    return None


def rules_of(**annotations: Any) -> dict[str, Rule]:
    """The rule of each annotation, by name."""
    return {name: rule for name, one in annotations.items() if (rule := rule_of(one)) is not None}


SEARCH = rules_of(beam_size=BeamSize, n_best=NBest, length_penalty=LengthPenalty)
SAMPLING = rules_of(
    n=ManyRows,
    max_length=ManyRows,
    temperature=Temperature,
    top_k=Count,
    top_p=TopP,
    seed=GeneratorSeed,
)


Together = Callable[..., Iterable[tuple[str, str]]]
"""A rule of several arguments: takes them by name, yields (argument, text of the refusal).

The argument may be an attribute of one, `teacher_forcing_decay.end`.
"""


def checked(
    below: str = "", together: Together | None = None
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Decorator: a function refuses arguments outside the bounds in its annotations.

    Types are left to type checkers: an argument without a bound may be anything.

    Args:
        below: the key that the arguments stand under, with a dot at its end, as `data.x.`.
        together: rule of several arguments. The check of a configuration calls it, too, see
            `together_of`.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def checking(*args: P.args, **kwargs: P.kwargs) -> T:
            bound = signature.bind(*args, **kwargs)
            problems = faults(bounds_of(function), bound.arguments, below)
            if together is not None and not problems:
                bound.apply_defaults()
                found = problems_together(together, bound.arguments)
                problems = [str(one._replace(key=below + one.key)) for one in found]
            if problems:
                raise ConfigError(problems)
            return function(*args, **kwargs)

        checking.__dict__["together"] = together
        return checking

    return decorate


def every(*rules: Together) -> Together:
    """One rule of several arguments out of several, which takes the arguments of all of them."""
    taken = [inspect.signature(rule).parameters for rule in rules]

    def together(**given: Any) -> Iterator[tuple[str, str]]:
        for rule, names in zip(rules, taken, strict=True):
            yield from rule(**{name: given[name] for name in names})

    arguments = {name: one for names in taken for name, one in names.items()}
    together.__dict__["__signature__"] = inspect.Signature(list(arguments.values()))
    return together


def problems_together(together: Together, arguments: Mapping[str, Any]) -> list[Problem]:
    """The problems that a rule of several arguments finds, each named by its argument.

    Args:
        together: the rule.
        arguments: by name; at least those that the rule takes.
    """
    given = {name: arguments[name] for name in inspect.signature(together).parameters}
    return [
        Problem(name, operator.attrgetter(name)(types.SimpleNamespace(**given)), text)
        for name, text in together(**given)
    ]


def together_of(made: Any) -> Together | None:
    """The rule of several arguments of a class or function: its own, or that of a base class.

    A constructor has it from `checked`, a dataclass as its attribute `together`.
    """
    for one in getattr(made, "__mro__", (made,)):
        for holder in (one, getattr(one, "__dict__", {}).get("__init__")):
            if found := getattr(holder, "__dict__", {}).get("together"):
                rule: Together = getattr(found, "__func__", found)
                return rule
    return None


@functools.cache
def bounds_of(annotated: Callable[..., Any]) -> dict[str, Rule]:
    """Return the bounds in the annotations of a function or a dataclass, by name."""
    hints = typing.get_type_hints(annotated, include_extras=True)
    rules = {name: rule_of(hint) for name, hint in hints.items() if _is_bounded(hint)}
    return {name: rule for name, rule in rules.items() if rule is not None}


def _is_bounded(annotation: Any) -> bool:
    is_bound = typing.get_origin(annotation) is Literal or hasattr(annotation, "__metadata__")
    return is_bound or any(map(_is_bounded, typing.get_args(annotation)))
