"""The command line of a search: its space, its options, and what is refused before any job."""

import pytest

from seqpipe.config.commandline import check
from seqpipe.config.loader import Loader, parse
from seqpipe.config.parameters import Choice, Numbers, draw
from seqpipe.config.search_space import searched
from seqpipe.errors import ConfigError

OPTUNA = ("hydra/sweeper=optuna",)


def space(*typed, sweeper=OPTUNA):
    loader = Loader((), sweeper)
    composed = loader.compose([])
    return searched(composed.hydra, parse(typed)[0], loader.hydra_loader, loader.user_dirs())


@pytest.mark.parametrize(
    ("typed", "parameter"),
    [
        ("cell=choice(gru,lstm)", Choice("cell", ("gru", "lstm"))),
        ("cell=gru,lstm", Choice("cell", ("gru", "lstm"))),
        ("cell=glob(lstm*)", Choice("cell", ("lstm", "lstm_peephole"))),
        ("depth=1,2", Choice("depth", ("1", "2"))),
        ("architecture.head.hidden=[64],[64,32]", None),
        ("hidden_size=range(32,257,32)", Numbers("hidden_size", 32, 256, 32, is_whole=True)),
        ("hidden_size=range(3,0,-1)", Numbers("hidden_size", 1, 3, 1, is_whole=True)),
        ("dropout=range(0.1,0.5,0.1)", Numbers("dropout", 0.1, 0.4, 0.1)),
        ("dropout=interval(0,0.5)", Numbers("dropout", 0.0, 0.5)),
        ("optim.lr=tag(log,interval(1e-4,1e-1))", Numbers("optim.lr", 1e-4, 1e-1, log=True)),
        ("depth=int(interval(1,3))", Numbers("depth", 1, 3, 1, is_whole=True)),
        ("depth=tag(log,int(interval(1,8)))", Numbers("depth", 1, 8, 1, log=True, is_whole=True)),
    ],
)
def test_a_key_with_several_values_is_a_parameter(typed, parameter):
    found = space(typed).space
    if parameter is None:
        parameter = Choice("architecture.head.hidden", ("[64]", "[64,32]"))
    if isinstance(parameter, Numbers) and isinstance(parameter.step, float):
        assert (found[0].low, found[0].high) == pytest.approx((parameter.low, parameter.high))
        assert found[0].steps == 3
    else:
        assert found == [parameter]


def test_all_values_of_a_parameter_are_drawn_and_no_other():
    parameters = space(
        *("depth=range(1,4)", "hidden_size=tag(log,int(interval(1,3)))", "cell=gru,lstm"),
        *("dropout=range(0.1,0.35,0.1)", "optim.lr=tag(log,interval(1e-4,1e-1))"),
    ).space
    drawn = [draw(parameters, 0, place) for place in range(200)]
    assert {one["depth"] for one in drawn} == {1, 2, 3}
    assert {one["hidden_size"] for one in drawn} == {1, 2, 3}
    assert {one["cell"] for one in drawn} == {"gru", "lstm"}
    assert {one["dropout"] for one in drawn} == {0.1, 0.2, 0.3}
    rates = sorted(one["optim.lr"] for one in drawn)
    assert 1e-4 <= rates[0] < 2e-4
    assert 1e-3 < rates[100] < 1e-2
    assert 5e-2 < rates[-1] <= 1e-1


@pytest.mark.parametrize(
    ("parameter", "value", "override"),
    [
        (Numbers("a", 1e-4, 1e-1, log=True), 0.0123456, "a=0.01235"),
        (Numbers("a", 0.0, 0.5), 0.123456, "a=0.1235"),
        (Numbers("a", 0.0, 0.49999), 0.499989, "a=0.499989"),  # rounded it would be too large
        (Numbers("a", 10000.0, 10001.0), 10000.1234, "a=10000.123"),
        (Numbers("a", 1e-6, 1e-5, log=True), 1.23456e-6, "a=1.235e-06"),
        (Numbers("a", 1, 9, 1, is_whole=True), 3, "a=3"),
        (Choice("cell", ("gru",)), "gru", "cell=gru"),
    ],
)
def test_a_value_is_typed_without_digits_that_make_no_difference(parameter, value, override):
    assert parameter.override(value) == override


def test_the_command_line_replaces_what_an_option_searches_key_by_key():
    options = ("sweep=optuna",)
    loader = Loader((), ())
    composed = loader.compose(parse(options)[0])

    def found(*typed):
        lines = parse((*options, *typed))[0]
        return searched(composed.hydra, lines, loader.hydra_loader, loader.user_dirs())

    assert {one.key for one in found().space} == {"optim.lr", "hidden_size", "dropout"}
    replaced = found("hidden_size=64", "dropout=0.1,0.2", "depth=1,2")
    assert {one.key for one in replaced.space} == {"optim.lr", "dropout", "depth"}
    assert "hidden_size=64" in [str(one.input_line) for one in replaced.fixed]


def problems(*typed):
    try:
        return check(typed, sweep=True, each_fold=True).problems
    except ConfigError as error:
        return error.problems


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("dropout=interval(0,1)", "dropout=interval(0,1): out of range; allowed: a number in [0"),
        ("hidden_size=interval(8,16)", "hidden_size=interval(8,16): wrong type"),
        ("cell=lstm,gur", "cell=lstm,gur: no such option"),
        ("detph=1,2", "detph=1,2: unknown key"),
        ("optim.lr=tag(log,interval(0,1))", "optim.lr=tag(log,interval(0,1)): magnitudes start"),
        ("cell=tag(lg,choice(gru,lstm))", "unknown tag lg; allowed: log; did you mean 'log'?"),
        ("cell=tag(log,choice(gru,lstm))", "words have no magnitude"),
        ("depth=tag(log,range(1,9,2))", "with steps there is no magnitude"),
        ("depth=shuffle(range(1,9))", "a search has an order of its own"),
        ("dropout=interval(0.5,0.1)", "holds no numbers"),
        ("depth=range(3,1)", "no values"),
        ("depth=1,2,1", "a value is listed twice"),
        ("data=digits,dates", "trials judged by auto and val/exact_match cannot be compared"),
        ("folds=3", "folds=3: a search cannot run all folds of each trial"),
        ("match_parameters=2000", "not to search it: ~hydra.sweeper.params.hidden_size"),
        ("hydra.sweeper.n_trials=0", "hydra.sweeper.n_trials=0: out of range"),
        ("hydra.sweeper.pruner=mdian", "did you mean 'median'?"),
        ("hydra.sweeper.storage=sqlite:///:memory:", "hydra.sweeper.storage=sqlite:///:memory:"),
        ("+hydra.sweeper.n_trial=3", "unknown key; allowed: params, n_trials, seed"),
    ],
)
def test_what_cannot_work_is_refused_before_any_job(typed, message):
    found = problems("sweep=optuna", typed)
    assert any(message in one for one in found), found


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["hydra/sweeper=optuna"], "hydra.sweeper.params: there is nothing to search"),
        (["hydra/sweeper=random", "cell=gru"], "there is nothing to search"),
        (
            ["sweep=random", "+hydra.sweeper.pruner=median"],
            "unknown key; allowed: params, n_trials",
        ),
        (["hidden_size=interval(8,16)"], "or a search: sweep=optuna"),
        (
            [
                *("sweep=optuna", "hydra.sweeper.startup_trials=3"),
                *("hydra.sweeper.sampler=random", "hydra.sweeper.pruner=none"),
            ],
            "hydra.sweeper.startup_trials=3: neither sampler=tpe nor pruner=median",
        ),
    ],
)
def test_a_search_without_anything_to_search_or_with_an_idle_option_is_refused(typed, message):
    found = problems(*typed)
    assert any(message in one for one in found), found


@pytest.mark.parametrize(
    "typed",
    [
        ["sweep=optuna"],
        ["sweep=random", "cell=glob(*,exclude=none)"],
        ["sweep=optuna", "folds=3", "fold=0"],
        ["sweep=optuna", "match_parameters=2000", "~hydra.sweeper.params.hidden_size"],
        ["sweep=optuna", "~hydra.sweeper.params.optim.lr", "hydra.sweeper.n_trials=50"],
        ["hydra/sweeper=optuna", "architecture.head.hidden=[64],[64,32]"],
    ],
)
def test_a_search_that_works_is_accepted(typed):
    assert problems(*typed) == []


def test_one_training_with_the_values_of_a_trial_is_no_sweep():
    values = ["optim.lr=0.01", "hidden_size=64", "dropout=0.1"]
    assert check(["sweep=optuna", *values]).problems == []
    (problem,) = check(["sweep=optuna"]).problems
    assert problem.endswith("allowed: -m sweep=optuna")
