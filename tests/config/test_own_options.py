"""A user's own options and classes, from --config-dir and the current folder."""

from pathlib import Path

import pytest

from seqpipe.config.compose import compose
from seqpipe.config.paths import conf_dir
from seqpipe.errors import ConfigError

CELL = """
_target_: my_cells_for_tests.Leaky
_partial_: true
leak: 0.1
"""
MODULE = """
class Leaky:
    def __init__(self, input_size: int, hidden_size: int, *, leak: float = 0.5) -> None: ...

class Field:
    kind = "tags"
    def __init__(self, column: str) -> None: ...

broken = 3
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A folder with a cell of the user's, and its module beside the user."""
    (tmp_path / "conf" / "cell").mkdir(parents=True)
    (tmp_path / "conf" / "cell" / "leaky.yaml").write_text(CELL)
    (tmp_path / "my_cells_for_tests.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / "conf"


def problems(overrides, folder):
    with pytest.raises(ConfigError) as caught:
        compose(overrides, [folder])
    return caught.value.problems


def test_a_cell_of_the_users_own_is_taken_like_ours(mine):
    cfg, choices = compose(["cell=leaky", "cell.leak=0.2", "depth=2"], [mine])
    assert (choices["cell"], cfg.cell.leak) == ("leaky", 0.2)


def test_its_options_are_checked_against_its_constructor(mine):
    assert problems(["cell=leaky", "+cell.laek=0.2"], mine) == [
        "+cell.laek=0.2: unknown key; allowed: leak; did you mean 'leak'?"
    ]
    assert problems(["cell=leaky", "cell.leak=much"], mine) == [
        "cell.leak=much: wrong type; allowed: a number"
    ]
    assert problems(["cell=leaky", "+cell.hidden_size=3"], mine) == [
        "+cell.hidden_size=3: is set by the run; allowed: leave it out"
    ]


def test_it_is_listed_with_the_packaged_ones(mine):
    assert problems(["cell=leakyy"], mine) == [
        "cell=leakyy: no such option; allowed: gru, gru_simplified, irnn, leaky, lstm, "
        "lstm_peephole, none, rnn; did you mean 'leaky'?"
    ]


def test_a_class_that_is_not_there_is_named_with_the_reason(mine):
    allowed = "allowed: a class, as module.Class"
    assert problems(["cell=leaky", "cell._target_=my_cells_for_tests.Leeky"], mine) == [
        f"cell._target_=my_cells_for_tests.Leeky: my_cells_for_tests has no Leeky; {allowed}"
    ]
    assert problems(["cell=leaky", "cell._target_=my_cells_for_tests.broken"], mine) == [
        f"cell._target_=my_cells_for_tests.broken: broken cannot be called; {allowed}"
    ]


def test_an_unknown_key_in_a_users_file_is_found_like_one_that_is_typed(mine):
    (mine / "experiment").mkdir()
    text = "# @package _global_\ntrainer: {max_epoch: 3}\n"
    (mine / "experiment" / "mine.yaml").write_text(text)
    keys = [problem.partition(":")[0] for problem in problems(["experiment=mine"], mine)]
    assert keys == ["trainer.max_epoch=3"]


def test_a_wrong_option_in_a_users_defaults_list_is_named_with_those_there_are(mine):
    (mine / "experiment").mkdir()
    text = "# @package _global_\ndefaults: [{override /cell: lsmt}]\n"
    (mine / "experiment" / "mine.yaml").write_text(text)
    (problem,) = problems(["experiment=mine"], mine)
    assert problem.startswith("cell/lsmt: ")
    assert "Could not find 'cell/lsmt'; allowed: gru, " in problem
    assert problem.endswith("; did you mean 'lstm'?")


def test_a_file_that_is_no_yaml_is_named(mine):
    (mine / "cell" / "leaky.yaml").write_text("a: [1\n")
    (problem,) = problems(["cell=leaky"], mine)
    file = mine / "cell" / "leaky.yaml"
    assert problem.startswith(f"{file}:2: expected ',' or ']', but got ")


def test_a_packaged_name_is_refused_because_hydra_would_read_only_one_of_the_two(mine):
    (mine / "cell" / "lstm.yaml").write_text(CELL)
    theirs, ours = mine / "cell" / "lstm.yaml", conf_dir() / "cell" / "lstm.yaml"
    message = (
        f"{theirs}: has the name of the packaged {ours}; allowed: another name, cell/my_lstm.yaml"
    )
    assert problems([], mine) == [message]
    with pytest.raises(ConfigError) as caught:
        compose([f"hydra.searchpath=[file://{mine}]"])
    assert caught.value.problems == [message]


def test_a_folder_that_does_not_exist_is_refused(tmp_path):
    assert problems([], tmp_path / "no") == [
        f"--config-dir={tmp_path / 'no'}: no such folder; allowed: a folder"
    ]


def test_data_of_the_users_own_may_have_knobs_that_it_reads(mine):
    (mine / "data").mkdir()
    text = (conf_dir() / "data" / "adding.yaml").read_text()
    text = text.replace("  length: 50", "  delay: 50").replace("${data.length}", "${..delay}")
    (mine / "data" / "mine.yaml").write_text(text)
    cfg, _ = compose(["data=mine", "data.delay=7"], [mine])
    assert cfg.data.source.length == 7
    assert problems(["data=mine", "+data.dealy=7"], mine) == [
        "+data.dealy=7: no part of the configuration uses it; allowed: source, y, x, batch_size, "
        "batch_tokens, num_workers, seed, window, eval_window, bptt, max_length, "
        "longer, keep, folds, fold, on_error, cache, delay; "
        "did you mean 'delay'?"
    ]


def test_the_kind_of_a_users_own_field_is_believed(mine):
    overrides = ["data.y._target_=my_cells_for_tests.Field"]
    architecture, task = problems(overrides, mine)
    assert architecture.startswith(
        "architecture=many_to_one: data=digits maps a series to a tag for each step; "
        "allowed: architecture=many_to_many, or data="
    )
    assert task == ("task=classification: does not fit data=digits; allowed: task=tagging")


def test_the_command_line_finds_modules_in_the_current_folder(mine, command):
    done = command("--config-dir", "conf", "cell=leaky", "depth=2")
    assert (done.code, done.out) == (0, "ran leaky 2\n")


def test_the_command_line_finds_modules_beside_the_options(mine, command):
    (mine.parent / "my_cells_for_tests.py").rename(mine / "my_cells_for_tests.py")
    done = command("-cd", "conf", "-m", "cell=leaky", "depth=1,2")
    assert done.code == 0
    assert done.out.startswith("ran leaky 1\nran leaky 2\n")


TOYS = Path(__file__).parents[1] / "extensions" / "toys"
OWN_ARCHITECTURE = {
    "data=python_docs task=classification": (
        "architecture=attentive: data=python_docs maps nothing to a text; "
        "allowed: architecture=one_to_many"
    ),
    "task=tagging": "task=tagging: does not fit data=digits; allowed: task=classification",
    "cell=none": "cell=none: architecture=attentive is recurrent; allowed: gru, ",
    "architecture.head=crf": "architecture.head=crf: scores sequences of tags, but "
    "architecture=attentive predicts none; ",
}


@pytest.mark.parametrize("typed", OWN_ARCHITECTURE)
def test_an_architecture_of_the_users_own_gets_the_checks_that_it_declares(typed, monkeypatch):
    monkeypatch.syspath_prepend(TOYS)
    with pytest.raises(ConfigError) as caught:
        compose(["architecture=attentive", *typed.split()], [TOYS / "conf"])
    assert any(one.startswith(OWN_ARCHITECTURE[typed]) for one in caught.value.problems)
