"""Monitored metrics: their direction, and their checks."""

from collections.abc import Collection, Sequence

from seqpipe.rules import is_of_one_class, refusal

HIGH_IS_BETTER = frozenset(
    {
        *("accuracy", "macro_f1", "micro_f1", "exact_match", "kappa"),
        *("macro_precision", "macro_recall", "balanced_accuracy", "matthews"),
        *("roc_auc", "average_precision", "sensitivity", "specificity"),
        *("bleu", "chrf"),
        *("entity_precision", "entity_recall", "entity_f1"),
    }
)


def better(metric: str, high: Collection[str] = HIGH_IS_BETTER) -> str:
    """Return the direction in which a metric is better, `min` or `max`.

    Args:
        metric: its name, with a stage or without: `val/loss`, `test/f1/<class>`.
        high: metrics that are better high; those of seqpipe's own tasks by default.
    """
    score = is_of_one_class(metric)  # a class may be called loss
    return "max" if score or metric.rpartition("/")[2] in high else "min"


def monitor_problems(
    names: Sequence[str],
    better: str,
    further: Sequence[tuple[str, str]] = (),
    *,
    key: str,
    monitor: str,
    mode: str,
) -> list[str]:
    """Messages about a metric that a task does not have, or about the wrong direction.

    Args:
        names: of the task's metrics in the validation.
        better: the direction in which the metric is better, `min` or `max`.
        further: see `Task.further_metrics`.
        key: of the part that monitors it, as `callbacks.early_stopping`.
        monitor: the metric, with its stage.
        mode: the direction that the part was given.
    """
    known = [f"val/{name}" for name in names]
    needs = {f"val/{name}": override for name, override in further}
    if monitor not in known:
        needed = needs.pop(monitor, None)
        more = [
            one if override == f"{key}.monitor={one}" else f"{one} with {override}"
            for one, override in needs.items()
        ]
        listed, words = ", ".join([*known, *more]), [*known, *needs]
        if needed is None:
            return [refusal(f"{key}.monitor", monitor, "no such metric", listed, words)]
        wrong = f"no such metric without {needed}"
        return [refusal(f"{key}.monitor", monitor, wrong, f"also {needed}, or {listed}")]
    if mode != better:
        wrong = f"would treat a worse {monitor} as better"
        return [refusal(f"{key}.mode", mode, wrong, f"{key}.mode={better}")]
    return []
