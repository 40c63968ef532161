"""Intermediate results: what a job reports, and when its search stops it."""

import json
import math
from itertools import count

import pytest

from seqpipe.report.sweep_jobs import FINISHED, PRUNED
from seqpipe.search.reporting import TrialReport


@pytest.fixture
def reports(plan, optuna_study, tmp_path):
    """reports("median"): of one trial after another, after three that reached 0.5, 0.6 and 0.7."""

    def make(pruner="median", mode="min"):
        study = optuna_study(plan(20, mode=mode), pruner=pruner)
        for job in count():
            trial, path = study.ask(job), tmp_path / f"{job}.json"
            study.write_task(trial, path)
            report = TrialReport(path)
            if job > 2:
                yield report
            else:
                for step in range(1, 5):
                    report.is_poor(0.5 + job / 10, step)
                study.tell(trial, FINISHED, 0.5 + job / 10)
            report.close()

    return make


def test_a_trial_is_poor_if_its_best_result_is_worse_than_the_median(reports):
    cases = [
        ([0.4, 0.4], [False, False]),
        ([0.9], [True]),
        ([0.55, 0.9], [False, False]),  # its best so far counts
        ([0.61], [True]),
        ([math.nan], [True]),
        ([math.inf], [True]),
    ]
    for (values, poor), report in zip(cases, reports(), strict=False):
        assert [report.is_poor(value, step) for step, value in enumerate(values, 1)] == poor


def test_where_high_is_better_a_low_result_is_poor(reports):
    assert next(reports(mode="max")).is_poor(0.4, 1)


@pytest.mark.parametrize("pruner", ["hyperband", "successive_halving"])
def test_other_pruners_stop_the_worst_trials_too(reports, pruner):
    one = next(reports(pruner))
    assert any([one.is_poor(5.0, step) for step in range(1, 5)])


def test_a_storage_that_is_gone_ends_no_training(reports, tmp_path, caplog):
    one = next(reports())
    one._task["storage"] = f"sqlite:///{tmp_path}"
    assert not one.is_poor(9.0, 1)
    assert not one.is_poor(9.0, 2)
    assert caplog.text.count("reports no more") == 1


def test_a_pruned_trial_keeps_its_last_result(plan, optuna_study, tmp_path):
    study = optuna_study(plan(2))
    trial = study.ask(0)
    study.write_task(trial, tmp_path / "task.json")
    one = TrialReport(tmp_path / "task.json")
    one.is_poor(0.9, 1)
    one.is_poor(0.8, 2)
    one.close()
    study.tell(trial, PRUNED)
    (found,) = study.trials()
    assert (found.status, found.value) == (PRUNED, 0.8)
    assert "storage" in json.loads((tmp_path / "task.json").read_text())


def test_without_a_pruner_nothing_is_reported(plan, optuna_study, tmp_path):
    study = optuna_study(plan(2), pruner="none")
    study.write_task(study.ask(0), tmp_path / "task.json")
    assert not (tmp_path / "task.json").exists()
