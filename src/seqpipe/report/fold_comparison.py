"""The folds of a sweep: the answers of all of them pooled, and their mean and spread."""

import math
import shlex
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from seqpipe.files import write_json
from seqpipe.report.findings import Row
from seqpipe.report.markdown import escaped, heading, in_code, number, table
from seqpipe.report.spread import CONFIDENCE, mean_and_deviation
from seqpipe.report.sweep_jobs import (
    FINISHED,
    FOLD,
    SEED,
    Job,
    best_of_baselines,
    differing,
    setting,
)

_EXPLAINED = (
    "Pooled: all records that were tested, each in the fold that was not trained on it, with a "
    "bootstrap interval over the records. Over folds: mean and standard deviation of the test. The "
    "best baseline is the one with the best mean over the folds."
)


@dataclass(frozen=True)
class Pooled:
    """Metrics of the records that were tested in all folds, each of them once.

    Args:
        examples: how many there are.
        metrics: name -> value.
        low: name -> lower end of the interval.
        high: name -> upper end.
        errors: wrong decisions; None where none are right or wrong.
        decisions: all of them: an example is one, or each of its steps.
    """

    examples: int
    metrics: Mapping[str, float]
    low: Mapping[str, float] = field(default_factory=dict)
    high: Mapping[str, float] = field(default_factory=dict)
    errors: int | None = None
    decisions: int | None = None


@dataclass(frozen=True)
class FoldGroup:
    """The runs that differ in their fold alone.

    Args:
        jobs: one for each fold.
        pooled: of those that finished; None where they cannot be pooled.
        why: the reason for that.
    """

    jobs: Sequence[Job]
    pooled: Pooled | None = None
    why: str = ""

    @property
    def finished(self) -> list[Job]:
        """The runs that finished."""
        return [job for job in self.jobs if job.status == FINISHED]

    @property
    def monitored(self) -> float:
        """The mean over folds of the monitored metric; NaN where one is not finite."""
        values = [job.monitored for job in self.finished]
        return statistics.fmean(values) if values else math.nan

    def values(self, metric: str) -> list[float]:
        """The test's value of a metric in each fold that finished."""
        named = (job.metrics.get(f"test/{metric}") for job in self.finished)
        return [value for value in named if value is not None]

    @property
    def metrics(self) -> list[str]:
        """The names of the test's metrics, without those of each class."""
        names = {name for job in self.finished for name in job.metrics if name.startswith("test/")}
        return sorted(name.removeprefix("test/") for name in names if name.count("/") == 1)

    @property
    def tests_single_records(self) -> bool:
        """True if each fold has one record: of those only the pooled metrics say something."""
        return self.pooled is not None and self.pooled.examples == len(self.finished)

    @property
    def judged(self) -> str:
        """The name of the metric that the folds are judged by."""
        return self.jobs[0].judged.removeprefix("test/")

    @property
    def best_baseline(self) -> str:
        """`0.81 (linear)`: the best mean over the folds; empty if no baseline has one.

        None has where the folds are judged by several metrics, nor where the mean over single
        records is not the metric of all of them, as of macro-F1.
        """
        done, metric = self.finished, self.judged
        if len({job.judged for job in done}) > 1:
            return ""
        if self.tests_single_records and self.pooled is not None:
            mean = statistics.fmean(self.values(metric) or [math.nan])
            if not math.isclose(self.pooled.metrics.get(metric, math.nan), mean, rel_tol=1e-4):
                return ""
        names = set.intersection(*({*job.baselines} for job in done)) if done else set[str]()
        means = {name: statistics.fmean(job.baselines[name] for job in done) for name in names}
        return best_of_baselines(means, self.jobs[0].mode)

    def title(self, keys: Sequence[str]) -> str:
        """Return the name of the group, and how much of it there is.

        Args:
            keys: that differ between groups.
        """
        done, total = len(self.finished), len(self.jobs)
        words = [f"{done} of {total} folds finished"]
        if self.pooled is not None:
            words.append(f"{self.pooled.examples:,} records, each tested once")
        if self.pooled is not None and self.pooled.errors is not None:
            words.append(f"{self.pooled.errors:,} errors of {self.pooled.decisions:,}")
        name = setting(self.jobs[0], keys)
        return f"{name}: {', '.join(words)}" if name else ", ".join(words).capitalize()

    def rows(self) -> Iterator[Row]:
        """A row for each metric: pooled with its interval, over the folds, the best baseline."""
        best_baseline = self.best_baseline
        for name in self.metrics:
            row: dict[str, object] = {"metric": name}
            if self.pooled is not None and name in self.pooled.metrics:
                row["pooled"] = number(self.pooled.metrics[name])
                if name in self.pooled.low:
                    ends = (number(of[name]) for of in (self.pooled.low, self.pooled.high))
                    row[f"{CONFIDENCE:.0%} interval"] = " to ".join(ends)
            if not self.tests_single_records:
                row["over folds"] = mean_and_deviation(self.values(name))
            if best_baseline:
                row["best baseline"] = best_baseline if name == self.judged else ""
            yield row


def group_folds(jobs: Sequence[Job]) -> list[FoldGroup]:
    """The jobs by everything but their fold; none where no job has one."""
    groups: dict[tuple[tuple[str, str], ...], list[Job]] = {}
    for job in jobs:
        if FOLD in job.overrides:
            others = tuple((k, v) for k, v in job.overrides.items() if k != FOLD)
            groups.setdefault(others, []).append(job)
    return [FoldGroup(group) for group in groups.values()]


def best_group(groups: Sequence[FoldGroup]) -> FoldGroup | None:
    """The group with the best mean on the validation splits; None where nothing is compared.

    Only groups whose folds all finished, and by the same metric, can be compared.
    """
    whole = [one for one in groups if len(one.finished) == len(one.jobs)]
    whole = [one for one in whole if math.isfinite(one.monitored)]
    if len(whole) < 2 or len({job.kept for one in whole for job in one.jobs}) > 1:
        return None
    sign = 1 if whole[0].jobs[0].mode == "max" else -1
    return max(whole, key=lambda group: sign * group.monitored)


def best_fold_command(groups: Sequence[FoldGroup]) -> dict[str, str]:
    """The best of several groups, and the command that trains all of its folds; or nothing."""
    best = best_group(groups)
    if best is None:
        return {}
    job = best.jobs[0]
    words = [word for word in shlex.split(job.command) if not word.startswith(f"{FOLD}=")]
    name = f"{setting(job, keys_of(groups))}, mean of {job.kept} {number(best.monitored)}"
    return {name: shlex.join(words)} if words else {}


def fold_sections(groups: Sequence[FoldGroup]) -> list[str]:
    """The parts of a page about folds: a table for each group; empty without groups."""
    if not groups:
        return []
    keys, parts = keys_of(groups), [heading("Folds"), _EXPLAINED]
    for group in groups:
        parts += [heading(group.title(keys), 3), table(list(group.rows()))]
        parts += [f"Not pooled: {escaped(group.why)}."] if group.why else []
    return parts


def best_in_words(groups: Sequence[FoldGroup]) -> list[str]:
    """A sentence about the best of several groups, if they can be compared."""
    best = best_group(groups)
    if best is None:
        return []
    name, kept = in_code(setting(best.jobs[0], keys_of(groups))), in_code(best.jobs[0].kept)
    return [f"By the mean of {kept} over the folds, {number(best.monitored)}, {name} is the best."]


def repeats_of_folds(groups: Sequence[FoldGroup]) -> Iterator[Row]:
    """A row for each setting whose folds were run with several seeds: the pooled metrics."""
    keys = [key for key in keys_of(groups) if key != SEED]
    settings: dict[tuple[str, ...], list[FoldGroup]] = {}
    for group in groups:
        overrides = group.jobs[0].overrides
        if SEED in overrides and group.pooled is not None:
            settings.setdefault(tuple(overrides.get(k, "") for k in keys), []).append(group)
    if all(len(repeated) < 2 for repeated in settings.values()):
        return
    for values, repeated in settings.items():
        row: dict[str, object] = dict(zip(keys, values, strict=True))
        row["seeds"] = len(repeated)
        for name in repeated[0].metrics:
            pooled = [group.pooled.metrics[name] for group in repeated
                      if group.pooled is not None and name in group.pooled.metrics]  # fmt: skip
            row[name] = mean_and_deviation(pooled)
        yield row


def keys_of(groups: Sequence[FoldGroup]) -> list[str]:
    """The keys that differ between the groups."""
    return [key for key in differing([group.jobs[0] for group in groups]) if key != FOLD]


def write_folds(folder: Path, groups: Sequence[FoldGroup]) -> Path:
    """Writes folds.json: of each group its overrides, the pooled metrics, and those of each fold.

    Args:
        folder: of the sweep.
        groups: at least one.
    """
    listed = [
        {
            "overrides": {k: v for k, v in group.jobs[0].overrides.items() if k != FOLD},
            "folds": len(group.jobs),
            "finished": len(group.finished),
            "pooled": None if group.pooled is None else _finite(asdict(group.pooled)),
            "not pooled because": group.why,
            "of each fold": {name: _finite(group.values(name)) for name in group.metrics},
        }
        for group in groups
    ]
    return write_json(folder / "folds.json", listed)


def _finite(value: object) -> object:
    """The value with null for what is not finite, which JSON cannot hold."""
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
