"""Studies: they choose the values of each trial, and learn how it ended."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from seqpipe.config.parameters import Parameter, Value, draw
from seqpipe.report.search_trials import ABANDONED, Trial
from seqpipe.report.sweep_jobs import RUNNING


@dataclass(frozen=True)
class Plan:
    """The space of a search, and how much of it is tried.

    Args:
        space: the parameters.
        monitor: the metric that is optimised.
        mode: `min` or `max`, what is better.
        n_trials: of the study.
        seed: of the values.
        folder: of the sweep.
    """

    space: Sequence[Parameter]
    monitor: str
    mode: str
    n_trials: int
    seed: int
    folder: Path


class Study:
    """A study in the memory of this process: random values.

    Args:
        plan: of the search.

    Attributes:
        name: of the study.
        storage: where it can be continued; empty where it cannot.
    """

    storage = ""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.name = plan.folder.name
        self._trials: list[Trial] = []

    @property
    def left(self) -> int:
        """The number of trials that are still to be started."""
        return self.plan.n_trials - len(self._trials)

    def ask(self, job: int) -> Trial | None:
        """The next trial, which is running from now on; None if there are enough of them.

        Args:
            job: the number of its job.
        """
        number = len(self._trials)
        if number >= self.plan.n_trials:
            return None
        values = draw(self.plan.space, self.plan.seed, number)
        trial = Trial(number, values, RUNNING, folder=str(self.plan.folder), job=job)
        self._trials.append(trial)
        return trial

    def write_task(self, trial: Trial, path: Path) -> None:
        """Writes what the job of a trial has to know of it; nothing where it reports nothing."""

    def tell(self, trial: Trial, status: str, value: float = math.nan) -> None:
        """Notes the end of a trial.

        Args:
            trial: that was running.
            status: that of its job.
            value: its result, of a finished one.
        """
        self._trials[trial.number] = replace(trial, status=status, value=value)

    def abandon(self, trial: Trial) -> None:
        """Notes that the search ends before a trial, which is repeated if it is continued."""
        self.tell(trial, ABANDONED)

    def trials(self) -> list[Trial]:
        """All trials so far."""
        return list(self._trials)

    def note(self, facts: Mapping[str, str]) -> list[str]:
        """Notes what the results depend on. Returns what is different from earlier trials."""
        return []

    def close(self) -> None:
        """Releases the storage."""


def rounded(space: Sequence[Parameter], values: Mapping[str, Value]) -> dict[str, Value]:
    """The values of a trial as its job gets them; also those of keys that are searched no more."""
    known = {one.key: one for one in space}
    return {k: known[k].rounded(value) if k in known else value for k, value in values.items()}


def overrides_of(space: Sequence[Parameter], values: Mapping[str, Value]) -> list[str]:
    """The overrides of a trial."""
    return [f"{key}={value}" for key, value in rounded(space, values).items()]
