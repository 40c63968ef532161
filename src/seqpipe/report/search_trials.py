"""The trials of a search, their values and results: `study.json` in the folder of a sweep."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from seqpipe.files import write_json
from seqpipe.report.sweep_jobs import FINISHED

FILE = "study.json"
ABANDONED = "abandoned"
"""The status of a trial whose search ended before it; it is repeated."""


@dataclass(frozen=True)
class Trial:
    """One trial of a search.

    Args:
        number: in its study, from 0.
        values: by the keys of the search.
        status: that of its job, or ABANDONED.
        value: the monitored metric of the weights that were kept; of a pruned trial its newest
            value; NaN where there is none.
        folder: of the sweep that ran it.
        job: its number in that sweep; None where another program ran the trial.
    """

    number: int
    values: Mapping[str, str | int | float]
    status: str
    value: float = math.nan
    folder: str = ""
    job: int | None = None


@dataclass(frozen=True)
class Study:
    """A search and its trials so far.

    Args:
        name: of the study.
        storage: where it can be continued; empty for a search that cannot.
        monitor: the metric that is optimised.
        mode: `min` or `max`, what is better.
        trials: in the order of their numbers.
        command: trains with the values of the best trial; empty before a trial has finished.
        importance: the share of each key in the variance of the results; empty where too few
            trials have finished.
    """

    name: str
    storage: str
    monitor: str
    mode: str
    trials: Sequence[Trial] = ()
    command: str = ""
    importance: Mapping[str, float] = field(default_factory=dict)

    @property
    def best(self) -> Trial | None:
        """The finished trial with the best result, the first of several; None before one."""
        return best_trial(self.trials, self.mode)


def best_trial(trials: Sequence[Trial], mode: str) -> Trial | None:
    """The finished trial with the best result, the first of several; None where none finished."""
    finished = [one for one in trials if one.status == FINISHED and math.isfinite(one.value)]
    better = max if mode == "max" else min
    return better(finished, key=lambda one: one.value, default=None)


def write_study(folder: Path, study: Study) -> Path:
    """Writes study.json; NaN becomes null."""
    known = asdict(study)
    for trial in known["trials"]:
        trial["value"] = trial["value"] if math.isfinite(trial["value"]) else None
    return write_json(folder / FILE, known)


def read_study(folder: Path) -> Study | None:
    """The study in the folder of a sweep; None for a sweep that is no search."""
    path = folder / FILE
    if not path.is_file():
        return None
    known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    trials = [
        Trial(**{**one, "value": math.nan if one["value"] is None else one["value"]})
        for one in known["trials"]
    ]
    return Study(**{**known, "trials": trials})
