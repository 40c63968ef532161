"""Checks of fields and cuts that do not fit together, before anything is read."""

from collections.abc import Iterator
from typing import Any, Literal

from seqpipe.data.base import Field
from seqpipe.data.kinds import KINDS, kinds_of
from seqpipe.errors import ConfigError
from seqpipe.rules import Problem, refusal


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


def cut_faults(
    x: Any,
    y: Any,
    window: int | None,
    eval_window: int | None,
    bptt: int | None,
    batch_tokens: int | None,
) -> Iterator[tuple[str, str]]:
    """Cuts of what cannot be cut, and two ways of cutting at once: (argument, text).

    Args:
        x: a field or its class; None: there is none.
        y: a field or its class.
        window: see `SequenceData`, as the others.
        eval_window: see `SequenceData`.
        bptt: see `SequenceData`.
        batch_tokens: see `SequenceData`.
    """
    x_form, y_form = (KINDS.get(getattr(field, "kind", "")) for field in (x, y))
    if y_form is None or (x is not None and x_form is None):
        return
    timed_x = x_form is not None and x_form.has_time
    aligned = y_form.has_time if x_form is None else timed_x and y_form.per_step
    for name, value in (("window", window), ("bptt", bptt)):
        if value is not None and not aligned:
            wrong = "x and y cannot be cut together"
            yield name, f"{wrong}; allowed: null, or a y for each step (Tags), or text without an x"
    if window is not None and bptt is not None:
        yield (
            "bptt",
            f"data.window={window} cuts the sequences already; allowed: null, or data.window=null",
        )
    if batch_tokens is not None and not timed_x and not y_form.has_time:
        yield "batch_tokens", "neither x nor y has steps to count; allowed: null"
    if batch_tokens is not None and bptt is not None:
        yield "batch_tokens", "data.bptt has batches of data.batch_size sequences; allowed: null"
    if eval_window is not None and window is None and bptt is None:
        wrong = "the training sequences are not cut"
        yield "eval_window", f"{wrong}; allowed: null, or also data.window"


def check_cuts(x: Field | None, y: Field, **cuts: int | None) -> None:
    """Refuse what `cut_faults` finds."""
    given = {"eval_window": None, "batch_tokens": None, **cuts}
    found = cut_faults(x, y, **given)
    if problems := [str(Problem(f"data.{name}", given[name], text)) for name, text in found]:
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
