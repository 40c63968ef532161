"""The trials of a search: which are run, what is noted of them, and how a search is continued."""

import math
import os

import optuna
import pytest

from seqpipe.config.parameters import Choice
from seqpipe.errors import ConfigError
from seqpipe.report.search_trials import read_study
from seqpipe.report.sweep_jobs import FAILED, PRUNED, RUNNING
from seqpipe.search.studies import Study


def statuses(study):
    return [trial.status for trial in study.trials()]


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_the_same_seed_gives_the_same_trials_and_another_seed_others(
    plan, optuna_study, run, sampler
):
    first, again, other = (
        run(optuna_study(plan(5, str(place), seed=seed), name=str(place), sampler=sampler))
        for place, seed in enumerate((0, 0, 1))
    )
    assert first == again
    assert first[0] != other[0]
    assert len({one["optim.lr"] for one in first}) == 5


def test_a_random_search_needs_no_optuna_and_tries_what_the_random_sampler_does(
    plan, optuna_study, run
):
    own = run(Study(plan(6, "own")))
    assert own == run(optuna_study(plan(6, "theirs"), sampler="random"))
    assert own[:3] == run(optuna_study(plan(6, "tpe"), name="two"))[:3]


def test_tpe_learns_from_the_trials_before(plan, optuna_study, run):
    tried = run(optuna_study(plan(18)))
    near = [0.003 < one["optim.lr"] < 0.03 for one in tried]
    assert sum(near[8:]) > 5  # of 10; a third of random ones


def test_a_search_that_was_interrupted_runs_what_is_missing_and_tries_the_same(
    plan, optuna_study, run
):
    whole = run(optuna_study(plan(9, "whole"), name="whole"))
    left = iter(range(5))

    def interrupted(values):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return (math.log10(values["optim.lr"]) + 2) ** 2 + 0.01 * (values["cell"] == "gru")

    before = run(optuna_study(plan(9, "before")), interrupted)
    study = optuna_study(plan(9, "after"))
    after = run(study)
    assert (len(before), len(after)) == (6, 4)
    assert before[:5] + after == whole
    assert statuses(study).count("abandoned") == 1
    assert run(optuna_study(plan(9, "ended"))) == []
    assert len(run(optuna_study(plan(11, "more")))) == 2


def test_jobs_that_fail_or_have_no_number_are_failed_trials_and_the_search_goes_on(
    plan, optuna_study, run
):
    results = iter([FAILED, math.nan, PRUNED, "refused", RUNNING, 0.5])
    study = optuna_study(plan(6))
    run(study, lambda values: next(results))
    assert statuses(study) == ["failed", "failed", "pruned", "failed", "failed", "finished"]
    record = read_study(study.plan.folder)
    assert record.best.number == 5
    assert record.command.startswith("python -m seqpipe data=adding optim.lr=0.")
    assert f"hidden_size={record.best.values['hidden_size']}" in record.command


def test_two_processes_that_share_a_study_run_its_trials_once(plan, optuna_study):
    one, two = optuna_study(plan(5, "a")), optuna_study(plan(5, "b"))
    trials = [study.ask(0) for study in (one, two, one, two, one)]
    assert [trial.number for trial in trials] == [0, 1, 2, 3, 4]
    assert len({trial.values["optim.lr"] for trial in trials}) == 5
    assert one.ask(9) is None
    assert two.ask(9) is None


def test_the_running_trials_of_a_dead_process_are_repeated(plan, optuna_study, caplog):
    study = optuna_study(plan(3, "a"))
    child = os.fork()
    if child == 0:
        os._exit(0)
    boot, namespace, _, started = study._mark.split()
    study._mark = f"{boot} {namespace} {child} {started}"
    running = study.ask(0)
    os.waitpid(child, 0)
    other = optuna_study(plan(3, "b"))
    assert other.ask(0).values == running.values
    assert statuses(other) == ["abandoned", RUNNING]
    assert "did not end" in caplog.text
    assert optuna_study(plan(3, "c")).ask(0).number == 2  # that of `other` runs, in this process


@pytest.mark.parametrize(("seconds", "status"), [(60.0, RUNNING), (3600.0, "abandoned")])
def test_a_process_of_another_machine_is_dead_when_it_shows_no_life(
    plan, optuna_study, seconds, status, monkeypatch
):
    study = optuna_study(plan(3, "a"))
    study._mark = "another machine 1 1"
    study.ask(0)
    study._study.set_user_attr("alive another machine 1 1", 1000.0)
    other = optuna_study(plan(3, "b"))
    monkeypatch.setattr("time.time", lambda: 1000.0 + seconds)
    other.end_abandoned()
    assert statuses(other) == [status]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mode": "max"}, "optimises val/loss (min), not val/loss"),
        ({"monitor": "val/mse"}, "optimises val/loss (min), not val/mse"),
        (
            {"space": (Choice("cell", ("gru", "rnn")),)},
            "has other values of cell: gru,lstm; allowed: the same, or another name",
        ),
        ({"space": (Choice("optim.lr", ("1", "2")),)}, "optim.lr: tag(log,interval(0.0001,0.1))"),
    ],
)
def test_a_study_that_searched_something_else_is_refused(plan, optuna_study, run, change, message):
    run(optuna_study(plan(2, "a")))
    with pytest.raises(ConfigError) as refused:
        optuna_study(plan(4, "b", **change))
    assert message in str(refused.value)


def test_a_study_goes_on_with_wider_ends_and_with_one_more_key(plan, optuna_study, run):
    run(optuna_study(plan(4, "a")))
    space = (*plan(1).space, Choice("depth", ("1", "2")))
    tried = run(optuna_study(plan(8, "b", space=space)))
    assert {one["depth"] for one in tried} <= {1.0, 2.0}
    assert len(read_study(plan(1, "b").folder).trials) == 8


def test_optuna_says_nothing_by_itself(plan, optuna_study, run, capfd):
    run(optuna_study(plan(5)))
    assert capfd.readouterr() == ("", "")
    assert optuna.logging.get_verbosity() == optuna.logging.WARNING
