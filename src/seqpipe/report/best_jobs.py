"""The best job of a sweep: of those that can be compared, chosen on the validation split."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from seqpipe.report.markdown import in_code, number
from seqpipe.report.spread import mean_and_deviation
from seqpipe.report.sweep_jobs import FINISHED, SEED, Job, by_setting, differing, setting


@dataclass(frozen=True)
class Best:
    """The best setting among jobs that can be compared.

    Args:
        job: the one of its jobs with the best monitored value.
        repeats: its jobs that finished, which differ in their seed alone.
        rivals: how many settings it was compared with.
    """

    job: Job
    repeats: Sequence[Job]
    rivals: int

    @property
    def monitored(self) -> float:
        """The mean over the seeds of the monitored metric."""
        return statistics.fmean(job.monitored for job in self.repeats)

    def values(self, metric: str) -> list[float]:
        """The values of a metric over the seeds."""
        return [job.metrics[metric] for job in self.repeats if metric in job.metrics]


def bests_of(jobs: Sequence[Job]) -> list[Best]:
    """The best of each group of jobs that can be compared, in the order of the jobs.

    Values on different validation or test data, or of different metrics, cannot be compared: each
    has its own best. Where seeds are repeated, the mean over them counts. Only the settings of
    which the most seeds finished are candidates, so that a single lucky seed does not win.
    """
    keys = [key for key in differing(jobs) if key != SEED]
    groups: dict[tuple[str, str], list[Job]] = {}
    for job in jobs:
        if job.status == FINISHED and math.isfinite(job.monitored):
            groups.setdefault((job.monitor, job.judged_on), []).append(job)
    found = []
    for group in groups.values():
        sign = 1 if group[0].mode == "max" else -1
        settings = list(by_setting(group, keys).values())
        most = max(map(len, settings))
        bests = [
            Best(max(jobs, key=lambda job: sign * job.monitored), jobs, len(settings) - 1)
            for jobs in settings
            if len(jobs) == most
        ]
        found.append(max(bests, key=lambda best: sign * best.monitored))
    return found


def best_of(jobs: Sequence[Job]) -> frozenset[int]:
    """The numbers of the best jobs, see `bests_of`."""
    return frozenset(best.job.number for best in bests_of(jobs))


def best_in_a_sentence(best: Best, keys: Sequence[str]) -> str:
    """A sentence about the best of all jobs: what it is, by which value, and its test result.

    Args:
        best: the only one of its sweep.
        keys: that differ between the jobs.
    """
    job, seeds = best.job, len(best.repeats)
    if seeds > 1:
        name = in_code(setting(job, [key for key in keys if key != SEED]) or "the one setting")
        text = f"By the mean of {in_code(job.kept)} over {seeds} seeds, {number(best.monitored)}, "
        text += f"{name} is the best" if best.rivals else "all seeds being of one setting"
    else:
        name = in_code(setting(job, keys)) if keys else f"job {job.number}"
        text = f"By {in_code(job.kept)}, {number(job.monitored)}, {name} is the best"
    if not job.judged:
        return f"{text}."
    return f"{text}; its test result is {mean_and_deviation(best.values(job.judged))}."


def best_lines(bests: Sequence[Best], keys: Sequence[str]) -> Mapping[str, str]:
    """The name of each best job, with its numbers, and the command that repeats it.

    Args:
        bests: of a sweep.
        keys: that differ between the jobs.
    """
    found = {}
    for best in bests:
        job = best.job
        shown = ", ".join(f"{name} {number(job.metrics[name])}" for name in _numbers(job))
        found[f"job {job.number} ({setting(job, keys)}), {shown}"] = job.command
    return found


def _numbers(job: Job) -> list[str]:
    return [name for name in dict.fromkeys((job.kept, job.judged)) if name in job.metrics]
