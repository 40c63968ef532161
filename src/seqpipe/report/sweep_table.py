"""Tables about a sweep as numbers: a row for each job, and for each setting over its seeds."""

import math
from collections.abc import Sequence

from seqpipe.report.findings import Row
from seqpipe.report.spread import spread_of
from seqpipe.report.sweep_jobs import FINISHED, SEED, Job, by_setting, differing
from seqpipe.rules import is_of_one_class


def tested_metrics(jobs: Sequence[Job]) -> list[str]:
    """The names of the test's metrics, without those of each class."""
    names = {name for job in jobs for name in job.metrics}
    return sorted(n for n in names if n.startswith("test/") and not is_of_one_class(n))


def job_table(jobs: Sequence[Job], best: frozenset[int]) -> list[Row]:
    """A row for each job: what differs, what came of it, and where it is.

    Args:
        jobs: of a sweep.
        best: the numbers of the best.
    """
    keys = differing(jobs)
    kept = list(dict.fromkeys(job.kept for job in jobs if job.metrics))
    rows: list[Row] = []
    for job in jobs:
        row: dict[str, object] = {"job": job.number}
        row |= {key: job.overrides.get(key, "") for key in keys}
        row |= {"status": job.status, "best": job.number in best}
        size = job.metrics.get("parameters")
        row["parameters"] = None if size is None else int(size)
        names = (*kept, *tested_metrics(jobs))
        row |= {name: _finite(job.metrics.get(name, math.nan)) for name in names}
        row |= {"seconds": _finite(job.seconds), "folder": job.folder, "run_id": job.run_id}
        rows.append(row | {"reason": job.message, "command": job.command})
    return rows


def repeated(jobs: Sequence[Job]) -> dict[tuple[str, ...], list[Job]]:
    """The finished jobs by their setting; empty where no setting was run with several seeds."""
    keys = [key for key in differing(jobs) if key != SEED]
    seeded = [job for job in jobs if job.status == FINISHED and SEED in job.overrides]
    groups = by_setting(seeded, keys)
    return groups if any(len(group) > 1 for group in groups.values()) else {}


def seed_table(jobs: Sequence[Job]) -> list[Row]:
    """A row for each setting and metric: mean, standard deviation and interval over the seeds.

    Args:
        jobs: of a sweep; without repeated seeds there are no rows.
    """
    keys = [key for key in differing(jobs) if key != SEED]
    names = dict.fromkeys([job.kept for job in jobs if job.metrics] + tested_metrics(jobs))
    rows: list[Row] = []
    for values, group in repeated(jobs).items():
        for name in names:
            measured = [job.metrics[name] for job in group if name in job.metrics]
            if measured:
                spread = {k: _finite(v) for k, v in spread_of(measured)._asdict().items()}
                row = {**dict(zip(keys, values, strict=True)), "metric": name}
                rows.append({**row, "seeds": len(measured), **spread})
    return rows


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
