"""The jobs of a sweep: the overrides of each, its status and its metrics.

Each job writes a note of its own, so neither the process that ran it nor the order in which jobs
end matters.
"""

import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from seqpipe.files import write_json
from seqpipe.report.decay import VERDICTS
from seqpipe.report.findings import Row
from seqpipe.report.markdown import number
from seqpipe.rules import best_of

BASELINE = "baseline"
"""Metrics of the baselines of a run are named `baseline/<name>/<metric>`."""
SEED = "seed"  # jobs that differ in nothing else are repeats
FOLD = "fold"  # jobs that differ in nothing else are folds
NOTES = "jobs"  # folder of the notes, below that of the sweep
RUNNING, FINISHED, REFUSED, FAILED = "not finished", "finished", "refused", "failed"
PRUNED, NOT_STARTED = "pruned", "not started"
_VERDICTS = {number: verdict for verdict, number in VERDICTS.items()}


@dataclass(frozen=True)
class Job:
    """One job of a sweep.

    Args:
        number: its place in the sweep, from 0.
        overrides: those of its command line, key by key.
        status: `not finished` (still running, or ended from outside), `finished`, `refused` (the
            configuration or the data cannot be used), `failed`, `pruned` (ended by a search, as not
            promising), `not started`.
        message: the reason, in one line; empty for a finished job.
        seconds: from its start to its end.
        folder: its run folder, relative to that of the sweep; empty where there is none.
        monitor: the metric by which its best weights were chosen.
        mode: `min` or `max`, what is better.
        judged_on: a hash of the validation and test data; jobs that share it can be compared.
        run_id: of its run in the store; empty where it has none.
        command: repeats it alone when typed in a shell.
        line: its result in one line; empty where there is none.
        metrics: the numbers of metrics.json.
    """

    number: int
    overrides: Mapping[str, str]
    status: str = RUNNING
    message: str = ""
    seconds: float = math.nan
    folder: str = ""
    monitor: str = ""
    mode: str = "min"
    judged_on: str = ""
    run_id: str = ""
    command: str = ""
    line: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)

    def title(self, keys: Collection[str]) -> str:
        """Return `#2 (cell=gru optim.lr=0.1)`: its number, and its values of these keys."""
        pairs = (f"{key}={value}" for key, value in self.overrides.items() if key in keys)
        return f"#{self.number} ({' '.join(pairs)})"

    @property
    def failed(self) -> bool:
        """True if it has no result though it was started: it failed, or its process died."""
        return self.status in (RUNNING, REFUSED, FAILED)

    @property
    def monitored(self) -> float:
        """The monitored metric of the weights that were kept; NaN where there is none."""
        return self.metrics.get(self.kept, math.nan)

    @property
    def kept(self) -> str:
        """The monitored metric's name for the weights that were kept: the best or the last."""
        best = best_of(self.monitor)
        return best if best in self.metrics else self.monitor

    @property
    def judged(self) -> str:
        """The test's metric of the same name as the monitored one, or the monitored one."""
        tested = f"test/{self.monitor.removeprefix('val/')}"
        return tested if tested in self.metrics else self.kept

    @property
    def result(self) -> float:
        """The value that the job is judged by; NaN where there is none."""
        return self.metrics.get(self.judged, math.nan)

    @property
    def baselines(self) -> dict[str, float]:
        """The value of each baseline in the metric that the job is judged by."""
        metric = self.judged.removeprefix("test/")
        found = {}
        for name, value in self.metrics.items():
            kind, _, rest = name.partition("/")
            baseline, _, of = rest.partition("/")
            if kind == BASELINE and of == metric and math.isfinite(value):
                found[baseline] = value
        return found

    @property
    def best_baseline(self) -> str:
        """`0.81 (linear)`: the best of them; empty without one."""
        return best_of_baselines(self.baselines, self.mode)

    @property
    def size(self) -> str:
        """The number of parameters as it is shown; empty where it is not known."""
        count = self.metrics.get("parameters")
        return "" if count is None else f"{count:,.0f}"

    @property
    def verdict(self) -> str:
        """The verdict of the last gradient probe; empty without a probe."""
        verdict = self.metrics.get("gradient/verdict", math.nan)
        return _VERDICTS.get(int(verdict), "") if math.isfinite(verdict) else ""

    def solves(self, threshold: float) -> bool:
        """True if the test result is better than a threshold; never if it is not finite."""
        return self.result > threshold if self.mode == "max" else self.result < threshold


def best_of_baselines(values: Mapping[str, float], mode: str) -> str:
    """`0.81 (linear)`; empty if there are none.

    Args:
        values: by the name of the baseline.
        mode: `max` if the largest is the best, else `min`.
    """
    if not values:
        return ""
    name = (max if mode == "max" else min)(values, key=values.__getitem__)
    return f"{number(values[name])} ({name})"


def note_job(sweep: Path, job: Job) -> None:
    """Writes the note of a job; a later note replaces an earlier one."""
    path = sweep / NOTES / f"{job.number}.json"
    known: dict[str, Any] = asdict(job)
    del known["metrics"]  # read from the run's folder
    known["seconds"] = job.seconds if math.isfinite(job.seconds) else None
    write_json(path, known)


def read_jobs(sweep: Path) -> list[Job]:
    """The jobs of a sweep in the order of their numbers, each with its metrics."""
    jobs = [_read(sweep, path) for path in (sweep / NOTES).glob("*.json")]
    return sorted(jobs, key=lambda job: job.number)


def read_job(sweep: Path, number: int) -> Job | None:
    """One job of a sweep; None if it has no note."""
    path = sweep / NOTES / f"{number}.json"
    return _read(sweep, path) if path.is_file() else None


def _read(sweep: Path, path: Path) -> Job:
    known = json.loads(path.read_text(encoding="utf-8"))
    seconds = math.nan if known["seconds"] is None else known["seconds"]
    whole = known["folder"] and known["status"] in (FINISHED, PRUNED)
    metrics = _metrics(sweep / known["folder"]) if whole else {}
    return Job(**{**known, "seconds": seconds, "metrics": metrics})


def log_of_job(sweep: Path, number: int) -> Path:
    """The file with all that a job printed, where it ran in a process of its own."""
    return sweep / NOTES / f"{number}.log"


def forget_jobs(sweep: Path) -> None:
    """Removes the notes of a sweep with their logs, and their folder."""
    for path in (sweep / NOTES).glob("*.*"):
        path.unlink()
    if (sweep / NOTES).is_dir():
        (sweep / NOTES).rmdir()


def _metrics(folder: Path) -> dict[str, float]:
    """The numbers in metrics.json; null stands for what is not finite."""
    path = folder / "metrics.json"
    if not path.is_file():
        return {}
    values = json.loads(path.read_text(encoding="utf-8"))
    return {name: math.nan if value is None else value for name, value in values.items()}


def judged_by(jobs: Sequence[Job]) -> str:
    """The metric that the jobs are judged by, that of the first job with metrics."""
    return next((job.judged for job in jobs if job.metrics), "result")


def differing(jobs: Sequence[Job]) -> list[str]:
    """The keys whose values differ between jobs, in the order they were typed."""
    keys = dict.fromkeys(key for job in jobs for key in job.overrides)
    return [key for key in keys if len({job.overrides.get(key) for job in jobs}) > 1]


def by_setting(jobs: Sequence[Job], keys: Sequence[str]) -> dict[tuple[str, ...], list[Job]]:
    """The jobs by their values of these keys, in their order."""
    groups: dict[tuple[str, ...], list[Job]] = {}
    for job in jobs:
        groups.setdefault(tuple(job.overrides.get(key, "") for key in keys), []).append(job)
    return groups


def setting(job: Job, keys: Sequence[str]) -> str:
    """The overrides that distinguish a job: `gru 50`, with keys where a value alone is unclear."""
    words = []
    for key in keys:
        value = job.overrides.get(key, "")
        words.append(value if "." not in key and is_clear(value) else f"{key}={value}")
    return " ".join(words)


def is_clear(value: str) -> bool:
    """True if a value says what it is without its key: a word, and neither yes, no nor nothing."""
    is_number = value.lstrip("-").replace(".", "", 1).isdigit()
    return value not in ("true", "false", "null") and not is_number


def result_rows(
    jobs: Sequence[Job], solved: float | None, measured: Callable[[Job], Mapping[str, object]]
) -> list[Row]:
    """A row for each job: the keys that differ, what was measured, the test result.

    Args:
        jobs: of a sweep.
        solved: the task counts as solved if the test result is better than this; None: no column.
        measured: returns more columns for a job.
    """
    keys, judged = differing(jobs), judged_by(jobs)
    unfinished = any(job.status != FINISHED for job in jobs)
    rows: list[Row] = []
    for job in jobs:
        row: dict[str, object] = {key: job.overrides.get(key, "") for key in keys}
        row |= measured(job)
        result = job.metrics.get(judged, math.nan)
        row[judged] = number(result) if not math.isnan(result) else ""
        if solved is not None:
            finished = job.status == FINISHED
            row["solved"] = ("yes" if job.solves(solved) else "no") if finished else ""
        rows.append(row | ({"status": job.status} if unfinished else {}))
    return rows
