"""Checks of fields and cuts that do not fit together, before anything is read."""

from typing import Literal

from seqpipe.data.base import Field
from seqpipe.data.kinds import KINDS, kinds_of
from seqpipe.errors import ConfigError
from seqpipe.rules import refusal


def item_role(x: Field | None, y: Field) -> Literal["x", "y"]:
    """The field whose entries are the items: none of them may be in two splits.

    That is x, or y where there is no x or only a condition, which many examples share.
    """
    if x is None or (x.form.is_condition and y.form.has_time):
        return "y"
    return "x"


def check_fields(x: Field | None, y: Field) -> None:
    """Refuse a field that cannot be used as x, or as y."""
    problems = []
    if x is not None and (x.kind not in KINDS or "x" not in x.form.roles):
        allowed = f"an x of kind {kinds_of('x')}"
        problems.append(refusal("data.x", type(x).__name__, f"{x.kind} cannot be read", allowed))
    if y.kind not in KINDS or "y" not in y.form.roles:
        allowed = f"a y of kind {kinds_of('y')}"
        problems.append(
            refusal("data.y", type(y).__name__, f"{y.kind} cannot be answered", allowed)
        )
    elif y.form.needs_steps and (x is None or not x.form.has_time):
        wrong = "needs an x with steps to tag"
        problems.append(refusal("data.y", "Tags", wrong, "Series, Text or Symbols as data.x"))
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
    timed_x = x is not None and x.form.has_time
    aligned = y.form.has_time if x is None else timed_x and y.form.per_step
    problems = []
    for name, value in (("window", window), ("bptt", bptt)):
        if value is not None and not aligned:
            wrong = "x and y cannot be cut together"
            allowed = "null, or a y for each step (Tags), or text without an x"
            problems.append(refusal(f"data.{name}", value, wrong, allowed))
    if window is not None and bptt is not None:
        allowed = "data.window=null, or data.bptt=null"
        both = f"data.window={window} data.bptt"
        problems.append(refusal(both, bptt, "one of the two cuts", allowed))
    if tokens is not None and not timed_x and not y.form.has_time:
        wrong = "neither x nor y has steps to count"
        problems.append(refusal("data.batch_tokens", tokens, wrong, "null"))
    if tokens is not None and bptt is not None:
        wrong = "lanes are as many as data.batch_size"
        problems.append(refusal("data.batch_tokens", tokens, wrong, "null"))
    if eval_window is not None and window is None and bptt is None:
        wrong = "there is nothing to cut in training either"
        allowed = "null, or also data.window"
        problems.append(refusal("data.eval_window", eval_window, wrong, allowed))
    if problems:
        raise ConfigError(problems)


def check_longer(max_length: int | None, *, longer: str, keep: str) -> None:
    """Refuse a policy on long examples where none is too long, and one that nothing reads."""
    problems = []
    if max_length is None and longer != "truncate":
        allowed = "truncate, or also data.max_length"
        problems.append(refusal("data.longer", longer, "nothing is too long", allowed))
    if (max_length is None or longer != "truncate") and keep != "first":
        allowed = "first, or also data.max_length with data.longer=truncate"
        problems.append(refusal("data.keep", keep, "nothing is truncated", allowed))
    if problems:
        raise ConfigError(problems)
