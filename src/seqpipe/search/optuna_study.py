"""Studies of Optuna: kept in a storage, so that they can be continued, and shared by processes."""

import logging
import math
import random
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from seqpipe.config.parameters import Value, draw
from seqpipe.errors import ConfigError
from seqpipe.files import write_json
from seqpipe.report.search_trials import ABANDONED, Trial
from seqpipe.report.sweep_jobs import FAILED, FINISHED, PRUNED, RUNNING
from seqpipe.search.optuna_space import distribution_of, in_words, is_compatible, suggest
from seqpipe.search.pruners import PrunerSettings, make_pruner, quiet
from seqpipe.search.storage import open_storage, reporting
from seqpipe.search.studies import Plan, Study
from seqpipe.tracking.abandoned_runs import process_mark

log = logging.getLogger(__name__)

_NAME = "hydra.sweeper.study_name"
_OURS = "seqpipe"  # the attribute of a trial with all that follows, so that it is written at once
_PLACE, _JOB, _FOLDER, _PROCESS = "place", "job", "sweep", "process"
_ABANDONED, _FACTS = "abandoned", "searched"
_ALIVE = "alive "  # before the mark of a process
_BEAT = 60.0  # seconds between two signs of life
_DEAD = 600.0  # seconds without one, after which a process of another machine has ended
_STATES = {
    TrialState.COMPLETE: FINISHED,
    TrialState.PRUNED: PRUNED,
    TrialState.FAIL: FAILED,
    TrialState.RUNNING: RUNNING,
}


@dataclass(frozen=True)
class Settings:
    """How Optuna searches.

    Args:
        storage: as `resolve_storage` returns it.
        name: of the study.
        sampler: `tpe` or `random`.
        startup: the first trials, drawn at random.
        pruner: what stops poor trials early.
    """

    storage: str
    name: str
    sampler: str
    startup: int
    pruner: PrunerSettings


class OptunaStudy(Study):
    """A study of Optuna.

    Each trial has a *place*, from 0 to n_trials - 1. A trial whose process died loses its place to
    another, so that a search that is continued runs what is missing. Seed and place decide the
    random numbers of a trial: a search that was interrupted tries the same values as one that was
    not, if its trials run one after another.

    Args:
        plan: of the search.
        settings: of Optuna.

    Raises:
        ConfigError: the storage cannot be used, or has another study of this name.
    """

    def __init__(self, plan: Plan, settings: Settings) -> None:
        super().__init__(plan)
        quiet()
        self.name, self.storage = settings.name, settings.storage
        self._settings = settings
        self._mark = process_mark() or f"unknown {random.getrandbits(64)}"
        self._store = open_storage(settings.storage)
        with reporting(settings.storage):
            self._study = optuna.create_study(
                study_name=settings.name,
                storage=self._store,
                direction="maximize" if plan.mode == "max" else "minimize",
                pruner=make_pruner(settings.pruner),
                load_if_exists=True,
            )
            self._check()
            self._study.set_user_attr("monitor", plan.monitor)
        self._closed = threading.Event()
        self._life = threading.Thread(target=self._show_life, daemon=True, name="study")
        self._life.start()

    def _check(self) -> None:
        """Refuses a study whose results cannot be compared with those of this search."""
        plan, known = self.plan, self._study.user_attrs.get("monitor")
        is_max = self._study.direction == optuna.study.StudyDirection.MAXIMIZE
        wrong = []
        if is_max != (plan.mode == "max") or known not in (None, plan.monitor):
            mode = "max" if is_max else "min"
            wrong.append(f"optimises {known or 'another metric'} ({mode}), not {plan.monitor}")
        for parameter in plan.space:
            old = [
                trial.distributions[parameter.key]
                for trial in self._study.get_trials(deepcopy=False)
                if parameter.key in trial.distributions
            ]
            if old and not is_compatible(old[-1], distribution_of(parameter)):
                wrong.append(f"has other values of {parameter.key}: {in_words(old[-1])}")
        if wrong:
            text = f"the study in {self.storage} {'; '.join(wrong)}"
            raise ConfigError(f"{_NAME}={self.name}: {text}; allowed: the same, or another name")

    def note(self, facts: Mapping[str, str]) -> list[str]:
        """Notes what the results depend on. Returns what is different from earlier trials."""
        with reporting(self.storage):
            known: dict[str, str] = self._study.user_attrs.get(_FACTS, {})
            if not known:
                self._study.set_user_attr(_FACTS, dict(facts))
                return []
        keys = dict.fromkeys([*known, *facts])
        return [
            f"{key}={known.get(key, '(not given)')}"
            for key in keys
            if known.get(key) != facts.get(key)
        ]

    @property
    def left(self) -> int:
        """The number of trials that are still to be started, by any process."""
        with reporting(self.storage):
            self.end_abandoned()
            return max(0, self.plan.n_trials - len(self._holding()))

    def ask(self, job: int) -> Trial | None:
        """The next trial, which is running from now on; None if there are enough of them."""
        with reporting(self.storage):
            self.end_abandoned()
            while (place := self._free_place()) is not None:
                values = self._sample(place, job)
                if values is not None:
                    return values
        return None

    def _sample(self, place: int, job: int) -> Trial | None:
        """Starts a trial; None if another process has taken its place at the same moment."""
        drawn = self._settings.sampler == "random" or place < self._settings.startup
        self._study.sampler = self._drawn(place) if drawn else self._tpe(place)
        asked = self._study.ask()
        facts = {_PLACE: place, _JOB: job, _FOLDER: str(self.plan.folder), _PROCESS: self._mark}
        asked.set_user_attr(_OURS, facts)
        taken = [one for one in self._holding() if _facts(one).get(_PLACE) == place]
        if any(one.number < asked.number for one in taken):
            self._give_up(asked.number)
            return None
        values = {one.key: suggest(asked, one) for one in self.plan.space}
        folder = str(self.plan.folder)
        return Trial(asked.number, values, RUNNING, folder=folder, job=job)

    def _drawn(self, place: int) -> BaseSampler:
        return _Drawn(draw(self.plan.space, self.plan.seed, place))

    def _tpe(self, place: int) -> BaseSampler:
        seed = random.Random(f"{self.plan.seed} {place}").getrandbits(32)
        return TPESampler(seed=seed, n_startup_trials=1)

    def _holding(self) -> list[FrozenTrial]:
        """The trials that were not abandoned."""
        trials = self._study.get_trials(deepcopy=False)
        return [one for one in trials if not one.user_attrs.get(_ABANDONED)]

    def _free_place(self) -> int | None:
        """The first place without a trial; None if there are enough trials."""
        held = [_facts(one).get(_PLACE, -1 - one.number) for one in self._holding()]
        if len({*held}) >= self.plan.n_trials:
            return None
        return next(place for place in range(self.plan.n_trials) if place not in held)

    def write_task(self, trial: Trial, path: Path) -> None:
        """Writes what the job of a trial has to know of it."""
        pruner = self._settings.pruner
        if pruner.name != "none":
            facts = {"storage": self.storage, "study": self.name, "trial": trial.number}
            write_json(path, {**facts, "mode": self.plan.mode, "pruner": pruner._asdict()})

    def tell(self, trial: Trial, status: str, value: float = math.nan) -> None:
        """Notes the end of a trial."""
        state = {FINISHED: TrialState.COMPLETE, PRUNED: TrialState.PRUNED}.get(status)
        known = state is not None and (state is TrialState.PRUNED or math.isfinite(value))
        state = state if known else TrialState.FAIL
        values = value if state is TrialState.COMPLETE else None
        with reporting(self.storage):
            told = self._study.tell(trial.number, values, state=state, skip_if_finished=True)
        if told.state is not state:  # by a process that took this one for dead
            log.warning("trial %d was given up by another process", trial.number)

    def abandon(self, trial: Trial) -> None:
        """Notes that the search ends before a trial, which is repeated if it is continued."""
        with reporting(self.storage):
            self._give_up(trial.number)

    def _give_up(self, number: int) -> None:
        trial_id = self._id_of(number)
        try:
            self._store.set_trial_user_attr(trial_id, _ABANDONED, True)
            self._store.set_trial_state_values(trial_id, TrialState.FAIL)
        except optuna.exceptions.UpdateFinishedTrialError:  # it has ended
            pass

    def _id_of(self, number: int) -> int:
        study_id = self._store.get_study_id_from_name(self.name)
        return self._store.get_trial_id_from_study_id_trial_number(study_id, number)

    def end_abandoned(self) -> None:
        """Gives up the running trials of processes that have ended."""
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            mark = _facts(trial).get(_PROCESS)
            if mark is not None and mark != self._mark and self._is_dead(str(mark)):
                log.warning("trial %d of %s did not end; it is repeated", trial.number, self.name)
                self._give_up(trial.number)

    def _is_dead(self, mark: str) -> bool:
        theirs, mine = mark.split(), self._mark.split()
        if len(theirs) == len(mine) == 4 and theirs[:2] == mine[:2]:  # of this machine
            return process_mark(theirs[2]) != mark
        seen = self._study.user_attrs.get(f"{_ALIVE}{mark}", 0.0)
        return bool(time.time() - seen > _DEAD)

    def _show_life(self) -> None:
        """Notes the time again and again, until the study is closed."""
        while True:
            try:
                self._study.set_user_attr(f"{_ALIVE}{self._mark}", time.time())
            except Exception as error:  # each driver raises its own
                log.debug("no sign of life: %s", error)
            if self._closed.wait(_BEAT):
                return

    def trials(self) -> list[Trial]:
        """All trials so far, also those of other processes."""
        with reporting(self.storage):
            return [_trial(one) for one in self._study.get_trials(deepcopy=False)]

    def close(self) -> None:
        """Releases the storage."""
        self._closed.set()
        self._life.join(_BEAT)
        self._store.engine.dispose()


class _Drawn(BaseSampler):
    """A sampler of values that are known already.

    Args:
        values: by their keys.
    """

    def __init__(self, values: Mapping[str, Value]) -> None:
        self._values = values

    def infer_relative_search_space(self, *_: Any) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(self, *_: Any) -> dict[str, Any]:
        return {}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        return self._values[param_name]


def _facts(trial: FrozenTrial) -> dict[str, Any]:
    """The facts that this module noted of a trial; none of those of other programs."""
    return dict(trial.user_attrs.get(_OURS, {}))


def _trial(found: FrozenTrial) -> Trial:
    facts, newest = _facts(found), found.last_step
    values = {key: value for key, value in found.params.items() if isinstance(value, Value)}
    status = ABANDONED if found.user_attrs.get(_ABANDONED) else _STATES.get(found.state, RUNNING)
    value = math.nan
    if found.state is TrialState.COMPLETE and found.value is not None:
        value = found.value
    elif found.state is TrialState.PRUNED and newest is not None:
        value = found.intermediate_values[newest]
    trial = Trial(found.number, values, status, value)
    job = facts.get(_JOB)
    return replace(trial, folder=str(facts.get(_FOLDER, "")), job=job)
