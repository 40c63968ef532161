"""Searches with an objective in place of trainings."""

import json
import math
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from seqpipe.config.parameters import Choice, Numbers
from seqpipe.report.sweep_jobs import FINISHED, Job, note_job
from seqpipe.search.optuna_study import OptunaStudy, Settings
from seqpipe.search.pruners import PrunerSettings
from seqpipe.search.running import Search
from seqpipe.search.storage import resolve_storage
from seqpipe.search.studies import Plan, Study


@pytest.fixture(autouse=True, scope="session")
def unsafe_files() -> Iterator[None]:
    """No test pulls the plug: sqlite does not wait for the disk."""

    def unsafe(connection: Any, record: Any) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.execute("PRAGMA synchronous=OFF")

    sqlalchemy.event.listen(sqlalchemy.Engine, "connect", unsafe)
    yield
    sqlalchemy.event.remove(sqlalchemy.Engine, "connect", unsafe)


SPACE = (
    Numbers("optim.lr", 1e-4, 1e-1, log=True),
    Numbers("hidden_size", 4, 64, step=4, is_whole=True),
    Choice("cell", ("gru", "lstm")),
)


@pytest.fixture
def plan(tmp_path) -> Callable[..., Plan]:
    """plan(12, folder="a"): a search of twelve trials, with a folder of its own."""

    def make(n_trials: int, folder: str = "sweep", **other: Any) -> Plan:
        place = tmp_path / folder
        place.mkdir(exist_ok=True)
        facts = {"space": SPACE, "monitor": "val/loss", "mode": "min", "seed": 0, **other}
        return Plan(**facts, n_trials=n_trials, folder=place)

    return make


@pytest.fixture
def optuna_study(tmp_path) -> Iterator[Callable[..., OptunaStudy]]:
    """optuna_study(plan): a study in a file that the studies of a test share."""
    opened = []

    def make(
        plan: Plan,
        *,
        storage: str = "sqlite:///studies.db",
        name: str = "one",
        sampler: str = "tpe",
        pruner: str = "median",
    ) -> OptunaStudy:
        pruning = PrunerSettings(pruner, after=1, startup=2)
        settings = Settings(resolve_storage(storage, tmp_path), name, sampler, 3, pruning)
        opened.append(OptunaStudy(plan, settings))
        return opened[-1]

    yield make
    for study in opened:
        study.close()


def learning_rate_counts(values: dict[str, Any]) -> float:
    """Smallest at a learning rate of 0.01; the cell makes a small difference."""
    return (math.log10(values["optim.lr"]) + 2) ** 2 + 0.01 * (values["cell"] == "gru")


@pytest.fixture
def run() -> Callable[..., list[dict[str, Any]]]:
    """run(study, objective): runs the trials one by one, and returns the values of each.

    The objective returns a number, or the status of a job without one; KeyboardInterrupt ends the
    search as a signal would.
    """

    def running(
        study: Study, objective: Callable[[dict[str, Any]], float | str] = learning_rate_counts
    ) -> list[dict[str, Any]]:
        search, tried = Search(study, ["data=adding"], "python -m seqpipe"), []
        for number, overrides in enumerate(search.jobs()):
            pairs = dict(one.split("=") for one in overrides)
            assert pairs.pop("data") == "adding"
            tried.append({key: float(v) if v[0] in "0123456789" else v for key, v in pairs.items()})
            try:
                _note(study.plan.folder, number, objective(tried[-1]))
            except KeyboardInterrupt:
                search.interrupted()
                break
            search.ended(number)
        search.write()
        return tried

    return running


def _note(sweep: Path, number: int, result: float | str) -> None:
    status = result if isinstance(result, str) else FINISHED
    note_job(sweep, Job(number, {}, status=status, monitor="val/loss", folder=str(number)))
    if not isinstance(result, str):
        (sweep / str(number)).mkdir()
        value = result if math.isfinite(result) else None
        (sweep / str(number) / "metrics.json").write_text(json.dumps({"val/loss": value}))
