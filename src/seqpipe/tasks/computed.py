"""Computed metrics as they are logged: scalars, and scores of single classes by name."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from seqpipe.rules import CLASS_SCORES

log = logging.getLogger(__name__)

MAY_BE_UNDEFINED = frozenset({"sensitivity", "specificity", "roc_auc", "average_precision"})
"""Metrics that are left out where they are NaN: the truths are of one class only."""


def scalars_of(
    computed: Mapping[str, Tensor], names: Sequence[str], *, kept: str = ""
) -> dict[str, Tensor]:
    """The numbers to log: all scalars, and `f1_per_class` (K,) as one `f1/<class>` each.

    What is not defined is left out.

    Args:
        computed: by name; scores of each class are (K,), or () of a single class.
        names: of the classes.
        kept: the scalar that stays even if it is not defined, because it is monitored.
    """
    scalars = {name: value for name, value in computed.items() if _is_scalar(name, value)}
    for name in undefined_in(computed):
        if name != kept:
            del scalars[name]
    for score in CLASS_SCORES:
        scalars |= named(computed.get(f"{score}_per_class"), names, score)
    return scalars


def _is_scalar(name: str, value: Tensor) -> bool:
    return value.ndim == 0 and not name.endswith(("_per_class", "_per_type"))


def named(scores: Tensor | None, names: Sequence[str], score: str) -> dict[str, Tensor]:
    """Scores (K,) of classes, or of a single one, (), as `<score>/<class>`; NaN is left out."""
    if scores is None:
        return {}
    each = zip(names, scores.reshape(-1), (~scores.reshape(-1).isnan()).tolist(), strict=False)
    return {f"{score}/{name}": value for name, value, defined in each if defined}


def undefined_in(computed: Mapping[str, Tensor]) -> list[str]:
    """Names of the scalars that are not defined, since the truths are of one class only."""
    found = sorted(MAY_BE_UNDEFINED & computed.keys())
    return [name for name in found if bool(computed[name].isnan())]


def warn_of_undefined(stage: str, computed: Mapping[str, Tensor]) -> None:
    """Logs which metrics of a split of several examples are left out, if any.

    stage: `train`, `val` or `test`; computed: its metrics.
    """
    support = computed.get("support_per_class")
    if support is not None and int(support.sum()) == 1:
        return
    if names := ", ".join(f"{stage}/{name}" for name in undefined_in(computed)):
        text = "%s: not defined, and left out, because no class has both positive and negative"
        log.warning(f"{text} examples in this split", names)


def classes_of(
    computed: Mapping[str, Tensor], names: Sequence[str] | None, positive: int
) -> dict[str, Any]:
    """Results of a test about its classes: `names`, `confusion`, `rows`, `positive`.

    Args:
        computed: the metrics of the test; without classes all is empty.
        names: of the classes; None: their numbers.
        positive: the id of the positive class, where there are two.
    """
    counts = computed["confusion"].int() if "confusion" in computed else torch.zeros(0, 0)
    confusion = counts.reshape(1, 1) if counts.ndim == 0 else counts  # of a single class
    names = names or tuple(map(str, range(len(confusion))))
    return {
        "names": names,
        "confusion": confusion.tolist(),
        "rows": list(class_rows(computed, names)),
        "positive": positive if "sensitivity" in computed else None,
    }


def class_rows(computed: Mapping[str, Tensor], names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """A row for each class of a test: its precision, recall, F1 and support; None: not defined.

    Args:
        computed: with the scores of each class; without them there are no rows.
        names: of the classes.
    """
    if "support_per_class" not in computed:
        return
    scores = {score: computed[f"{score}_per_class"].reshape(-1).tolist() for score in CLASS_SCORES}
    support = computed["support_per_class"].reshape(-1).tolist()
    for place, (name, count) in enumerate(zip(names, support, strict=True)):
        values = {score: scores[score][place] for score in CLASS_SCORES}
        shown = {score: value if value == value else None for score, value in values.items()}
        yield {"class": name, **shown, "support": int(count)}
