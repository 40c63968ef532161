"""The kinds of entries: how each may be used, and which have steps; see `FieldSpec`."""


class OneLabel(str):
    """A label that its file marks as one, whatever signs it holds: `R&B|Soul`."""

    __slots__ = ()


X_KINDS = ("values", "symbols", "spelled", "vector", "category", "number", "ordinal")
Y_KINDS = ("category", "ordinal", "number", "multi_label", "tags", "roll", "values", "symbols")
TIME_KINDS = frozenset({"values", "symbols", "spelled", "tags", "roll"})
"""Kinds with a time axis; the others hold one row an example."""
ALIGNED_KINDS = frozenset({"tags", "roll", "values"})
"""Kinds of y that, where there is an x with time, have one step for each of its steps."""
CONDITION_KINDS = frozenset({"vector", "category", "number", "ordinal"})
"""Kinds of x that, before a y with time, are a condition: y is written, x says of which sort."""
ID_KINDS = frozenset({"symbols", "spelled", "tags", "category", "ordinal"})  # int64, else float32
