"""Checks of fields and cuts that do not fit together, before anything is read."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from seqpipe.bounds import problems_together
from seqpipe.data.base import Field
from seqpipe.data.folds import fold_faults
from seqpipe.data.kinds import KINDS, kinds_of
from seqpipe.errors import ConfigError
from seqpipe.rules import refusal


def item_role(x: Field | None, y: Field) -> Literal["x", "y"]:
    """Return the role whose entries identify the items; no item may be in two splits.

    That is x, or y if there is no x or only a condition, which many examples share.
    """
    if x is None or (x.form.is_condition and y.form.has_time):
        return "y"
    return "x"


def check_fields(x: Field | None, y: Field) -> None:
    """Refuse a field that cannot be used as x, or as y, or not with the options it has."""
    problems = []
    if x is not None and (x.kind not in KINDS or "x" not in x.form.roles):
        allowed = f"an x of kind {kinds_of('x')}"
        problems.append(
            refusal("data.x", type(x).__name__, f"a field of kind {x.kind} cannot be x", allowed)
        )
    if y.kind not in KINDS or "y" not in y.form.roles:
        allowed = f"a y of kind {kinds_of('y')}"
        problems.append(
            refusal("data.y", type(y).__name__, f"a field of kind {y.kind} cannot be y", allowed)
        )
    elif y.form.needs_steps and (x is None or not x.form.has_time):
        wrong = "needs an x with steps to tag"
        problems.append(refusal("data.y", "Tags", wrong, "Series, Text or Symbols as data.x"))
    if problems:
        raise ConfigError(problems)
    aligned = x is not None and x.form.has_time and y.form.per_step
    problems = [
        str(one._replace(key=f"data.{role}.{one.key}"))
        for role, field in (("x", x), ("y", y))
        for one in (() if field is None else field.misplaced(role, aligned))
    ]
    if problems:
        raise ConfigError(problems)


def step_faults(
    x: Any,
    y: Any,
    window: int | None,
    eval_window: int | None,
    bptt: int | None,
    batch_tokens: int | None,
    max_length: int | None,
    longer: str,
    keep: str,
    folds: int | str | None,
    fold: int | None,
) -> Iterator[tuple[str, str]]:
    """Yield cuts of x and y and folds that are impossible, or exclude each other: (argument, text).

    Args:
        x: a field or its class; None: there is none.
        y: a field or its class.
        window: see `SequenceData`, as the others.
        eval_window: see `SequenceData`.
        bptt: see `SequenceData`.
        batch_tokens: see `SequenceData`.
        max_length: see `SequenceData`.
        longer: see `SequenceData`.
        keep: see `SequenceData`.
        folds: see `SequenceData`.
        fold: see `SequenceData`.
    """
    yield from fold_faults(folds, fold)
    if max_length is None and longer != "truncate":
        yield "longer", "nothing is too long; allowed: truncate, or also data.max_length"
    if (max_length is None or longer != "truncate") and keep != "first":
        also = "data.max_length with data.longer=truncate"
        yield "keep", f"nothing is truncated; allowed: first, or also {also}"
    if window is not None and bptt is not None:
        wrong = f"data.window={window} cuts the sequences already"
        yield "bptt", f"{wrong}; allowed: null, or data.window=null"
    if batch_tokens is not None and bptt is not None:
        wrong = "data.bptt has batches of data.batch_size sequences"
        yield "batch_tokens", f"{wrong}; allowed: null, or data.bptt=null"
    if eval_window is not None and window is None and bptt is None:
        wrong = "the training sequences are not cut"
        yield "eval_window", f"{wrong}; allowed: null, or also data.window"
    x_kind, y_kind = (KINDS.get(getattr(field, "kind", "")) for field in (x, y))
    if y_kind is None or (x is not None and x_kind is None):
        return
    timed_x = x_kind is not None and x_kind.has_time
    steps = timed_x or y_kind.has_time
    aligned = y_kind.has_time if x_kind is None else timed_x and y_kind.per_step
    for name, value in (("window", window), ("bptt", bptt)):
        if value is not None and not aligned:
            wrong = "x and y cannot be cut together"
            yield name, f"{wrong}; allowed: null, or a y for each step (Tags), or text without an x"
    for name, value in (("max_length", max_length), ("batch_tokens", batch_tokens)):
        if value is not None and not steps:
            yield name, "neither x nor y has steps; allowed: null"
    if max_length is not None and longer == "truncate":
        if timed_x and y_kind.has_time and not aligned:
            yield "longer", "a part of x is not answered by a part of y; allowed: drop or refuse"


def check_steps(x: Field | None, y: Field, settings: Mapping[str, Any]) -> None:
    """Refuse impossible cuts of the data that a trained model reads, see `step_faults`.

    Args:
        x: the field; None: there is none.
        y: the field.
        settings: arguments of `SequenceData` by name, those that are left out have its defaults.

    Raises:
        ConfigError: with each of them.
    """
    cuts: dict[str, Any] = dict.fromkeys(
        ("window", "eval_window", "bptt", "batch_tokens", "max_length")
    )
    cuts |= {"longer": "truncate", "keep": "first", "folds": None, "fold": None}
    given = {**cuts, **settings, "x": x, "y": y}
    problems = [
        str(one._replace(key=f"data.{one.key}")) for one in problems_together(step_faults, given)
    ]
    if problems:
        raise ConfigError(problems)
