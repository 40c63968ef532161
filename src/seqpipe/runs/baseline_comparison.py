"""The metrics of a model beside those of the baselines of its task: sentences, table, advice."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from seqpipe.report.findings import Finding, Observer
from seqpipe.report.markdown import number
from seqpipe.report.sweep_jobs import BASELINE
from seqpipe.tasks.base import Task

GROUP = "Baselines"


@dataclass
class Comparison(Observer):
    """The test of a model beside that of the baselines of its task.

    Args:
        task: of the model.
        remedies: what usually helps, asked only where the model is no better.
        tested: the model's metrics, by name.
        metrics: those of each baseline, by its name.
        phrases: what each baseline does.
        skipped: why a baseline was not measured.
        answers: how many were tested; by a single one no model is better than another.
    """

    task: Task
    remedies: Callable[[], Sequence[str]]
    tested: Mapping[str, float] = field(default_factory=dict)
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    phrases: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    answers: int = 2

    def scalars(self) -> dict[str, float]:
        """`baseline/<name>/<metric>` of each."""
        return {
            f"{BASELINE}/{name}/{metric}": value
            for name, metrics in self.metrics.items()
            for metric, value in metrics.items()
        }

    @property
    def line(self) -> str:
        """`accuracy 0.81 linear, 0.5 majority`: the metrics that are compared, the best first."""
        parts = []
        for metric in self.task.compared:
            values = ", ".join(f"{value:.4g} {name}" for name, value in self._ranked(metric))
            parts += [f"{metric} {values}"] if values else []
        return "; ".join(parts)

    def advice(self) -> list[str]:
        """A sentence about each metric in which the model is no better than a baseline."""
        return [
            f"{metric} {value:.4g} is no better than {best:.4g} of the baseline {name}"
            f" ({self.phrases[name]}); what usually helps: {', '.join(self.remedies())}"
            for metric, value, name, best in self._lost()
        ]

    def findings(self, folder: Path, title: str) -> tuple[Finding, ...]:
        """A table of the model and its baselines, and advice where the model is no better."""
        if not self.metrics and not self.skipped:
            return ()
        names = [n for n in self.task.metric_names() if any(n in m for m in self.metrics.values())]
        rows = [self._row("this model", "", self.tested, names)]
        rows += [self._row(n, self.phrases[n], m, names) for n, m in self.metrics.items()]
        lost = list(self._lost())
        sentences = [
            f"In `{metric}`, {number(value)}, the model is **no better** than the baseline"
            f" `{name}`, {number(best)}."
            for metric, value, name, best in lost
        ]
        if self.answers == 1:
            sentences = ["One answer was tested, by which no model is better than another."]
        elif self.metrics and not lost:
            known = (metric for metric in self.task.compared if self._ranked(metric))
            compared = " and ".join(f"`{metric}`" for metric in known)
            sentences = [f"None of them is better than the model in {compared}."]
        sentences += [f"`{name}` was left out: {why}." for name, why in self.skipped.items()]
        text = "Simple models, fitted on the same training split and measured on the same test."
        found = [Finding(GROUP, " ".join([text, *sentences]), rows=rows, group=GROUP)]
        if lost:
            help = f"What usually helps: {', '.join(f'`{one}`' for one in self.remedies())}."
            text = "The model is no better than a baseline on the test. "
            found.append(Finding("No better than a baseline", text + help, group="Advice"))
        return tuple(found)

    def _row(
        self, name: str, phrase: str, metrics: Mapping[str, float], names: Sequence[str]
    ) -> dict[str, str]:
        values = {n: number(metrics[n]) if n in metrics else "" for n in names}
        return {"": name, **values, "how": phrase}

    def _ranked(self, metric: str) -> list[tuple[str, float]]:
        """(baseline, value), the best first."""
        found = [(name, m.get(metric, math.nan)) for name, m in self.metrics.items()]
        found = [(name, value) for name, value in found if not math.isnan(value)]
        return sorted(found, key=lambda one: one[1], reverse=self.task.better(metric) == "max")

    def _lost(self) -> Iterator[tuple[str, float, str, float]]:
        """(metric, the model's value, the best baseline, its value) where it is no better.

        Not where both make no mistake: nothing is better than that.
        """
        for metric in self.task.compared if self.answers > 1 else ():
            ranked, value = self._ranked(metric), self.tested.get(metric, math.nan)
            if not ranked:
                continue
            name, best = ranked[0]
            high = self.task.better(metric) == "max"
            better = value > best if high else value < best
            if not better and not value == best == float(high):
                yield metric, value, name, best
