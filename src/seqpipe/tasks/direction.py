"""The direction in which a metric is better."""

import re
from collections.abc import Collection

HIGH_IS_BETTER = frozenset(
    {
        *("accuracy", "macro_f1", "micro_f1", "exact_match", "kappa"),
        *("entity_precision", "entity_recall", "entity_f1"),
    }
)


def better(metric: str, high: Collection[str] = HIGH_IS_BETTER) -> str:
    """Return the direction in which a metric is better, `min` or `max`.

    Args:
        metric: its name, with a stage or without: `val/loss`, `test/f1/<class>`.
        high: metrics that are better high; those of seqpipe's own tasks by default.
    """
    score = re.search(r"(?:^|/)(?:entity_)?f1/", metric)  # a class may be called loss
    return "max" if score or metric.rpartition("/")[2] in high else "min"
