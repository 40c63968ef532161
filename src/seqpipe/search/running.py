"""A search while it runs: trials are asked for, run as jobs of a sweep, and their results noted."""

import importlib.util
import logging
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from seqpipe.config.compose import task_of_job
from seqpipe.config.nested_groups import with_dots
from seqpipe.config.sweep_keys import of_job
from seqpipe.data.optional_deps import need
from seqpipe.errors import counted
from seqpipe.report.markdown import number as shown
from seqpipe.report.search_trials import Study as Record
from seqpipe.report.search_trials import Trial, best_trial, write_study
from seqpipe.report.sweep_jobs import FAILED, FINISHED, PRUNED, RUNNING, Job, read_job
from seqpipe.search.studies import Plan, Study, overrides_of, rounded

log = logging.getLogger(__name__)


def open_study(
    plan: Plan,
    *,
    storage: str | None,
    name: str | None,
    sampler: str,
    startup: int | None,
    pruner: str,
    prune_after: int,
) -> Study:
    """Opens a study of Optuna; it is made if there is none. The arguments are those of the sweeper.

    Raises:
        ConfigError: Optuna is not installed, or the storage cannot be used.
    """
    need("optuna", extra="sweeps", what="hydra/sweeper=optuna")
    from seqpipe.search.optuna_study import OptunaStudy, Settings
    from seqpipe.search.pruners import PrunerSettings
    from seqpipe.search.storage import resolve_storage

    uri = resolve_storage(storage or f"sqlite:///{plan.folder / 'study.db'}", Path.cwd())
    known = {one: startup for one in ("tpe", "median") if startup is not None}
    first = {"tpe": 10, "median": 5, **known}  # as Optuna has them
    pruning = PrunerSettings(pruner, prune_after, first["median"])
    return OptunaStudy(
        plan, Settings(uri, name or plan.folder.name, sampler, first["tpe"], pruning)
    )


class Search:
    """The trials of a search that this process runs.

    Args:
        study: chooses the values.
        fixed: overrides that all trials share.
        command: of a training, before the overrides.

    Attributes:
        space: the parameters.
    """

    def __init__(self, study: Study, fixed: Sequence[str], command: str) -> None:
        self._study, self._fixed, self._command = study, list(fixed), command
        self._plan = study.plan
        self._running: dict[int, Trial] = {}
        self.space = study.plan.space
        self._judged_on = ""
        self._monitor = study.plan.monitor

    def jobs(self) -> Iterator[list[str]]:
        """The overrides of each job, chosen as it is asked for."""
        job = 0
        while (trial := self._study.ask(job)) is not None:
            self._running[job] = trial
            self._study.write_task(trial, task_of_job(self._plan.folder, job))
            yield [*self._fixed, *overrides_of(self._plan.space, trial.values)]
            job += 1

    def ended(self, number: int) -> None:
        """Notes how a job ended, by the note that it left.

        Args:
            number: of the job.
        """
        trial = self._running.pop(number, None)
        if trial is not None:
            job = self._job(number)
            value = job.monitored if job.status == FINISHED else float("nan")
            self._study.tell(trial, job.status if self._is_comparable(job) else FAILED, value)
            self._monitor = job.monitor or self._monitor
            self.write(last=False)

    def _job(self, number: int) -> Job:
        return read_job(self._plan.folder, number) or Job(number, {})

    def _is_comparable(self, job: Job) -> bool:
        """True unless the job was validated on other data than those before it."""
        self._judged_on = self._judged_on or job.judged_on
        same = job.judged_on in ("", self._judged_on)
        if not same:
            text = "was validated on other data than the first one: it counts as failed"
            log.warning("trial %d %s", job.number, text)
        return same

    def interrupted(self) -> None:
        """Notes the trials that were running as the search was ended; those are repeated."""
        for number in list(self._running):
            if self._job(number).status != RUNNING:
                self.ended(number)
            else:
                self._study.abandon(self._running.pop(number))

    def write(self, *, last: bool = True) -> Record:
        """Writes study.json.

        Args:
            last: see `record`.
        """
        record = self.record(last=last)
        write_study(self._plan.folder, record)
        return record

    def record(self, *, last: bool = True) -> Record:
        """All trials of the study so far.

        Args:
            last: whether the search has ended: then the importance of each key is computed.
        """
        plan, trials = self._plan, self._study.trials()
        trials = [replace(one, values=rounded(plan.space, one.values)) for one in trials]
        best = best_trial(trials, plan.mode)
        record = Record(self._study.name, self._study.storage, self._monitor, plan.mode, trials)
        if best is not None:
            words = [*of_job(self._fixed), *overrides_of(plan.space, best.values)]
            record = replace(record, command=f"{self._command} {shlex.join(map(with_dots, words))}")
        if last and importlib.util.find_spec("optuna") is not None:
            from seqpipe.search.optuna_space import importance_of

            importance = importance_of(plan.space, trials, plan.mode)
            record = replace(record, importance=importance)
        return record

    def in_words(self, record: Record) -> str:
        """The closing lines: the trials, the best of them, the study."""
        counts = [one.status for one in record.trials]
        parts = [f"{counts.count(FINISHED)} finished"]
        parts += [f"{counts.count(one)} {one}" for one in (PRUNED, FAILED) if one in counts]
        lines = [f"search:     {counted(len(counts), 'trial')}, {', '.join(parts)}"]
        best = record.best
        if best is not None and best.folder != str(self._plan.folder):  # else the sweep names it
            result = f"{record.monitor} {shown(best.value)}, trial {best.number}"
            lines += [f"best:       {result}", f"again:      {record.command}"]
        if record.storage:
            lines.append(f"study:      {record.name} in {record.storage}")
        return "\n".join(lines)
