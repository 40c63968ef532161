"""Every option we ship composes and is accepted, and nothing in it goes unchecked."""

import inspect
import re
import shlex
from typing import get_type_hints

import pytest
import yaml
from omegaconf import OmegaConf

from refusals import values
from seqpipe.build import instantiate
from seqpipe.config.commandline import check, read_flags
from seqpipe.config.compose import compose
from seqpipe.config.config_view import Tree
from seqpipe.config.paths import conf_dir
from seqpipe.config.schema import ADDED, DATA_TARGET, GROUPS, MAY_BE_NULL, OF_SWEEPS, PANEL
from seqpipe.config.signatures import found_target, signature_of
from seqpipe.config.validate import rule_at, rule_for
from seqpipe.errors import ConfigError

CONF = conf_dir()
FILES = sorted(CONF.rglob("*/*.yaml"))
# stack is chosen inside an architecture; cell=none comes with one_to_one only
OPTIONS = [
    f"{file.parent.relative_to(CONF).as_posix()}={file.stem}"
    for file in FILES
    if file.parent.name not in ("stack", "_base")
    and file.relative_to(CONF).parts[0] not in ("hydra", "launcher")  # of sweeps, not of a run
]
READ_ANY_FILE = (
    *("table", "pairs", "lines", "labelled_lines", "class_folders"),
    *("series_csv", "long_csv", "npz", "forecast"),
    *("stream", "documents", "dictionary"),
    *("piano_rolls", "midi", "midi_rolls", "abc", "genbank"),
)
RECIPES = ("data", "experiment")
SEARCHES = ("optuna", "random")
NEEDS = {
    "cell=none": ["data=digits_flat"],
    **{f"{group}=hub": ["data.source.name=stanfordnlp/imdb"] for group in RECIPES},
    "architecture=one_to_one": ["data=digits_flat"],
    "architecture=many_to_many": ["data=python_tokens"],
    "architecture=one_to_many": ["data=python_docs"],
    "architecture=encoder_decoder": ["data=dates"],
    "sweep=cells": ["cell=rnn", "depth=1"],
    **{f"sweep={name}": ["optim.lr=0.1", "hidden_size=8", "dropout=0"] for name in SEARCHES},
    **{
        f"experiment/cells={name}": ["experiment=cells"] for name in ("memory", "music", "language")
    },
    "architecture/head=crf": ["data=copy_memory"],
    **{
        f"architecture/teacher_forcing_decay={file.stem}": ["data=dates"]
        for file in FILES
        if file.parent.name == "teacher_forcing_decay"
    },
    "task=tagging": ["data=copy_memory"],
    "task=language_modeling": ["data=python_docs"],
    "task=transduction": ["data=dates"],
    "task=transcription": ["data=dates", "architecture=many_to_many"],
    "task=ordinal": ["data.y._target_=seqpipe.data.fields.labels.Ordinal"],
    "task=regression": ["data=adding"],
    # what reads any file of the user's has to be told which
    **{f"{group}={name}": ["data.path=file"] for name in READ_ANY_FILE for group in RECIPES},
    "data=gff": ["data.path=file", "data.source.annotation=file"],
    "task=multi_label": ["data=jsb_chorales"],
}


def _nodes(node):
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from _nodes(value)


TARGETS = sorted(
    {
        node["_target_"]
        for file in FILES
        for node in _nodes(yaml.safe_load(file.read_text()))
        if str(node.get("_target_")).startswith("seqpipe.")
    }
    | {DATA_TARGET}
)


def test_the_lists_below_are_not_empty():
    assert len(OPTIONS) >= 40
    assert len(TARGETS) >= 30


def composed(option):
    return compose([*NEEDS.get(option, []), option])


OF_RECURRENT_STACKS = {
    *("bidirectional", "input_dropout", "output_dropout", "locked_dropout"),
    *("activation_penalty", "temporal_activation_penalty"),
}


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_composes_and_validates_and_each_of_its_values_has_a_rule(option):
    cfg, choices = composed(option)
    group, _, name = option.partition("=")
    assert choices[group] == name
    if group == "experiment":
        assert problems_of_first_line(name) == []
    tree = Tree(cfg)
    references = tree.references()
    if group == "data":
        assert not faults_of_allowed_values(cfg, tree)
    for key, _ in tree.leaves():
        parent, _, name = key.rpartition(".")
        if name.startswith("_") or (key in PANEL and rule_at(tree, key)):
            continue
        if key in OF_RECURRENT_STACKS and choices["architecture"] == "one_to_one":  # refused
            continue
        target = DATA_TARGET if parent == "data" else tree.get(f"{parent}._target_")
        own = str(target).startswith("seqpipe.")
        if target is None:  # in a mapping: what takes it has a rule for all its values
            parent, _, name = parent.rpartition(".")
            target = tree.get(f"{parent}._target_")
            own = str(target).startswith("seqpipe.")
        rule = rule_for(key) or (signature_of(target).rules.get(name) if own else None)
        read_elsewhere = key in references or isinstance(tree.get(key), dict)
        nothing = tree.raw(key) is None and key.startswith("data.")  # else a mapping, or refused
        assert rule or read_elsewhere or nothing, f"{key} may be anything"


def problems_of_first_line(name):
    """What is wrong with the command in the first line of an experiment."""
    package, command, *_ = (CONF / "experiment" / f"{name}.yaml").read_text().splitlines()
    assert package == "# @package _global_"
    words = shlex.split(command.removeprefix("# "))
    assert words[:4] == ["python", "-m", "seqpipe", f"experiment={name}"]
    flags = read_flags(words[3:])
    return check(flags.overrides, sweep=flags.multirun).problems


REFUSED = (0, -1, 1.5, "no such word", None, True, [])
AS_A_VALUE = re.compile(r": (out of range|wrong (type|form)|unknown choice);")


def faults_of_allowed_values(cfg, tree):
    """Values that a refusal allows, and that the class refuses as a value."""
    written = OmegaConf.to_container(cfg.data, resolve=True)
    faults = []
    for part in ("source", "x", "y"):
        node = written[part] or {}
        for name in [name for name in node if not name.startswith("_")]:
            key = f"data.{part}.{name}"
            rule = rule_at(tree, key)
            refused = map(rule.fault, REFUSED) if rule else ()
            for value in {v for text in refused if text for v in values(f"{key}: {text}")}:
                read = OmegaConf.create(f"- {value}")[0]  # to YAML alone, 5e+36 is text
                try:
                    instantiate(OmegaConf.create({**node, name: read}))
                except ConfigError as error:
                    again = [p for p in error.problems if f"{name}={value}: " in p]
                    faults += [f"{key}={value}: {p}" for p in again if AS_A_VALUE.search(p)]
    return faults


@pytest.mark.parametrize("target", TARGETS)
def test_the_annotations_of_a_class_can_be_read(target):
    found = found_target(target)
    hints = get_type_hints(found.__init__ if inspect.isclass(found) else found)
    assert hints.keys() >= signature_of(target).rules.keys()


def test_the_panel_and_the_groups_are_those_of_the_primary_config():
    primary = yaml.safe_load((CONF / "config.yaml").read_text())
    groups = {key for entry in primary["defaults"] if entry != "_self_" for key in entry}
    assert groups - {"hydra", *MAY_BE_NULL} == set(GROUPS)
    assert set(primary) - {"defaults", *GROUPS} == {*PANEL, *OF_SWEEPS}


def test_a_record_from_before_a_key_existed_gets_its_value():
    first = {"seed", "hidden_size", "depth", "bidirectional", "dropout", "resume", "preflight"}
    first |= {"data", "architecture", "task", "cell", "optim", "scheduler"}
    first |= {"trainer", "callbacks", "logger", "diagnostics"}
    assert {*PANEL, *GROUPS} == first | ADDED.keys()


def test_an_explicit_choice_wins_over_the_one_that_the_data_brings():
    cfg, choices = compose(["data=digits_flat", "data.window=null", "task=classification"])
    assert choices["architecture"] == "one_to_one"
    assert choices["cell"] == "none"
    cfg, choices = compose(["data=adding", "cell=gru", "scheduler=cosine"])
    assert (choices["architecture"], choices["task"], choices["cell"]) == (
        "many_to_one",
        "regression",
        "gru",
    )
    assert cfg.data.source.length == cfg.data.length


MODEL_AND_OPTIMIZER = {
    *("hidden_size", "depth", "bidirectional", "dropout"),
    *("input_dropout", "output_dropout", "locked_dropout"),
    *("activation_penalty", "temporal_activation_penalty"),
    *("cell", "architecture", "optim", "scheduler", "callbacks"),
}
OF_THE_DATA = {  # of task: how answers to the data are judged
    *("monitor", "mode", "positive", "spans", "background"),
    *("symbols", "references", "bleu", "bleu_lowercase"),
}
LENGTH = {"max_epochs"}  # of trainer


@pytest.mark.parametrize("file", sorted((CONF / "data").rglob("*.yaml")), ids=lambda f: f.stem)
def test_data_sets_neither_the_model_nor_the_optimizer(file):
    node = yaml.safe_load(file.read_text())
    overrides = [entry for entry in node.pop("defaults", []) if isinstance(entry, dict)]
    assert {key for entry in overrides for key in entry} <= {
        "override /architecture",
        "override /task",
    }
    if file.read_text().startswith("# @package _global_"):  # else it is all about the data
        assert set(node) <= {"data", "task", "trainer", "bidirectional"}
        assert set(node.get("task", {})) <= OF_THE_DATA
        assert set(node.get("trainer", {})) <= LENGTH


RECIPE_NAMES = [name for group, name in (o.split("=") for o in OPTIONS) if group == "experiment"]


@pytest.mark.parametrize(
    "name", [n for n in RECIPE_NAMES if (CONF / "data" / f"{n}.yaml").exists()]
)
def test_the_recipe_of_a_data_set_changes_the_model_and_the_optimizer_only(name):
    (data, of_data), (recipe, of_recipe) = (composed(f"{group}={name}") for group in RECIPES)
    assert of_recipe["data"] == name
    assert (data.data, data.trainer) == (recipe.data, recipe.trainer)
    assert (data.task.monitor, data.task.mode) == (recipe.task.monitor, recipe.task.mode)
    for group in ("architecture", "task", "cell"):
        assert of_data[group] == of_recipe[group]
    assert data != recipe


@pytest.mark.parametrize(
    ("overrides", "lr", "dropout"),
    [
        (["experiment=splice"], 0.01, 0.5),
        (["experiment=splice", "optim.lr=0.5"], 0.5, 0.5),
        (["experiment=python_docs", "data=adding"], 0.01, 0.4),
        (["data=digits"], 0.01, 0.2),
        (["experiment=adding"], 0.003, 0.0),
    ],
)
def test_a_recipe_is_an_experiment_that_overrides_change(overrides, lr, dropout):
    cfg, _ = compose(overrides)
    assert (cfg.optim.lr, cfg.dropout) == (lr, dropout)


@pytest.mark.parametrize(
    ("typed", "problem"),
    [
        ("data=_base/named", "data=_base/named: no such option; allowed: abc, adding, "),
        ("data/_base=named", "data/_base=named: base files are no options, "),
        ("+data/_base=named", "+data/_base=named: base files are no options, "),
    ],
)
def test_what_options_share_is_no_option(typed, problem):
    with pytest.raises(ConfigError) as error:
        compose([typed])
    assert str(error.value).startswith(problem)


def test_interpolations_stay_as_written_until_they_are_read():
    cfg, _ = compose(["depth=3", "architecture.encoder.dropout=0.5"])
    assert OmegaConf.to_container(cfg)["architecture"]["encoder"]["depth"] == "${depth}"
    assert cfg.architecture.encoder.depth == 3
    assert cfg.dropout == 0.2


@pytest.mark.parametrize(
    ("overrides", "wanted"),
    [
        (["data=labelled_lines"], True),
        (["data=labelled_lines", "bidirectional=false"], False),
        (["data=conll"], True),
        (["data=conll", "data.bptt=20"], False),
        (["data=pairs"], True),
        (["data=digits"], False),
        (["data=digits", "bidirectional=auto"], True),
        (["data=digits_flat", "architecture=one_to_one", "cell=none", "bidirectional=auto"], False),
        (["data=python_docs", "bidirectional=auto"], False),
        (["data=identifiers", "bidirectional=auto"], False),
        (["data=copy_memory"], False),
    ],
)
def test_auto_reads_in_both_directions_where_x_may_be_read_to_its_end(overrides, wanted):
    cfg, _ = compose([*overrides, *NEEDS.get(overrides[0], [])])
    assert cfg.bidirectional is wanted


@pytest.mark.parametrize("data", ["forecast", "sunspots", "min_temperatures", "airline_passengers"])
def test_windows_of_a_series_may_have_weights_for_each_step(data):
    for past in ([], ["data.source.past=7"] if data == "forecast" else []):
        cfg, _ = compose([f"data={data}", *NEEDS.get(f"data={data}", []), *past])
        source = cfg.data.source.get("local", cfg.data.source)
        assert cfg.data.max_length == source.past
        compose([f"data={data}", *NEEDS.get(f"data={data}", []), "architecture.pooling=flatten"])
