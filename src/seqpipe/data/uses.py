"""What fields, sizes and cuts can be used together: refused before anything is read."""

from typing import Literal

from seqpipe.data.base import (
    ALIGNED_KINDS,
    CONDITION_KINDS,
    TIME_KINDS,
    X_KINDS,
    Y_KINDS,
    Field,
)
from seqpipe.errors import ConfigError


def item_role(x: Field | None, y: Field) -> Literal["x", "y"]:
    """The field whose entries are the items: what must not be in two splits.

    That is x, or y where there is no x or only a condition, which many examples share.
    """
    if x is None or (x.kind in CONDITION_KINDS and y.kind in TIME_KINDS):
        return "y"
    return "x"


def check_fields(x: Field | None, y: Field) -> None:
    """Refuse fields in a role they cannot play."""
    problems = []
    if x is not None and x.kind not in X_KINDS:
        name = type(x).__name__
        problems.append(f"data.x={name}: {x.kind} cannot be read; {', '.join(X_KINDS)}")
    if y.kind not in Y_KINDS:
        name = type(y).__name__
        problems.append(f"data.y={name}: {y.kind} cannot be answered; {', '.join(Y_KINDS)}")
    if y.kind == "tags" and (x is None or x.kind not in TIME_KINDS):
        problems.append("data.y=Tags: needs an x with steps to tag; Series, Text or Symbols")
    if problems:
        raise ConfigError(problems)


def check_numbers(**least: int) -> None:
    """Refuse sizes that are too small."""
    bounds = {"batch_size": 1, "num_workers": 0}
    problems = [
        f"data.{name}={value}: must be at least {bounds[name]}"
        for name, value in least.items()
        if value < bounds[name]
    ]
    if problems:
        raise ConfigError(problems)


def check_cuts(
    x: Field | None,
    y: Field,
    *,
    window: int | None,
    eval_window: int | None,
    bptt: int | None,
    tokens: int | None,
) -> None:
    """Refuse cuts of what cannot be cut, and two ways of cutting at once."""
    timed_x = x is not None and x.kind in TIME_KINDS
    aligned = y.kind in ALIGNED_KINDS or y.kind == "symbols"
    aligned &= x is None or (timed_x and y.kind in ALIGNED_KINDS)
    problems = []
    for name, value in (("window", window), ("bptt", bptt)):
        if value is not None and value < 1:
            problems.append(f"data.{name}={value}: must be at least 1, or null not to cut")
        elif value is not None and not aligned:
            allowed = "null, or a y for each step (Tags), or text without an x"
            problems.append(f"data.{name}={value}: x and y cannot be cut together; {allowed}")
    if window is not None and bptt is not None:
        text = "one of the two cuts; data.window=null, or data.bptt=null"
        problems.append(f"data.window={window} data.bptt={bptt}: {text}")
    if tokens is not None and not timed_x and y.kind not in TIME_KINDS:
        text = "neither x nor y has steps to count; null"
        problems.append(f"data.batch_tokens={tokens}: {text}")
    if tokens is not None and bptt is not None:
        text = "lanes are as many as data.batch_size; null"
        problems.append(f"data.batch_tokens={tokens}: {text}")
    if eval_window is not None and window is None and bptt is None:
        text = "there is nothing to cut in training either; null, or also data.window"
        problems.append(f"data.eval_window={eval_window}: {text}")
    if problems:
        raise ConfigError(problems)


def check_longer(max_length: int | None, *, longer: str, keep: str) -> None:
    """Refuse a policy on long examples where none is too long, and one that nothing reads."""
    problems = []
    if max_length is None and longer != "truncate":
        problems.append(f"data.longer={longer}: nothing is too long; also data.max_length")
    if (max_length is None or longer != "truncate") and keep != "first":
        problems.append(f"data.keep={keep}: nothing is truncated; also data.max_length")
    if problems:
        raise ConfigError(problems)
