"""Every option we ship composes and is accepted, and nothing in it goes unchecked."""

import functools
import importlib
import inspect
import re

import pytest
import yaml
from omegaconf import OmegaConf

from refusals import values
from seqpipe.build import instantiate
from seqpipe.config.compose import compose
from seqpipe.config.config_view import Tree
from seqpipe.config.paths import conf_dir
from seqpipe.config.schema import DATA_TARGET, GROUPS, PANEL
from seqpipe.config.signatures import signature_of
from seqpipe.config.validate import rule_at, rule_for, validate
from seqpipe.errors import ConfigError

CONF = conf_dir()
FILES = sorted(CONF.rglob("*/*.yaml"))
# stack is chosen inside an architecture; cell=none comes with one_to_one only
OPTIONS = [
    f"{file.parent.relative_to(CONF).as_posix()}={file.stem}"
    for file in FILES
    if file.parent.name not in ("stack", "hydra")
]
READ_ANY_FILE = (
    *("table", "pairs", "lines", "labelled_lines", "class_folders"),
    *("series_csv", "long_csv", "npz", "forecast"),
    *("stream", "documents", "dictionary"),
    *("piano_rolls", "midi", "midi_rolls", "abc"),
)
NEEDS = {
    "cell=none": ["data=digits_flat"],
    "data=hub": ["data.source.name=stanfordnlp/imdb"],
    "architecture=one_to_one": ["data=digits_flat"],
    "architecture=many_to_many": ["data=python_tokens"],
    "architecture=one_to_many": ["data=python_docs"],
    "architecture=encoder_decoder": ["data=dates"],
    "sweep=cells": ["cell=rnn", "depth=1"],
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
    **{f"data={name}": ["data.path=file"] for name in READ_ANY_FILE},
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


@functools.cache
def composed(option):
    return compose([*NEEDS.get(option, []), option])


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_composes_and_validates(option):
    cfg, choices = composed(option)
    validate(cfg, choices)
    group, _, name = option.partition("=")
    assert choices[group] == name


@pytest.mark.parametrize("option", OPTIONS)
def test_every_value_of_every_option_has_a_rule(option):
    cfg, _ = composed(option)
    tree = Tree(cfg)
    for key, _ in tree.leaves():
        parent, _, name = key.rpartition(".")
        if name.startswith("_"):
            continue
        target = DATA_TARGET if parent == "data" else tree.get(f"{parent}._target_")
        own = str(target).startswith("seqpipe.")
        if target is None:  # in a mapping: what takes it has a rule for all its values
            parent, _, name = parent.rpartition(".")
            target = tree.get(f"{parent}._target_")
            own = str(target).startswith("seqpipe.")
        rule = rule_for(key) or (signature_of(target).rules.get(name) if own else None)
        read_elsewhere = key in tree.references() or isinstance(tree.get(key), dict)
        nothing = tree.raw(key) is None and key.startswith("data.")  # else a mapping, or refused
        assert rule or read_elsewhere or nothing, f"{key} may be anything"


REFUSED = (0, -1, 1.5, "no such word", None, True, [])
AS_A_VALUE = re.compile(r": (out of range|wrong (type|form)|unknown choice);")


@pytest.mark.parametrize("option", [one for one in OPTIONS if one.startswith("data=")])
def test_values_that_a_refusal_allows_are_those_that_the_class_takes(option):
    cfg, _ = composed(option)
    written = OmegaConf.to_container(cfg.data, resolve=True)
    faults = []
    for part in ("source", "x", "y"):
        node = written[part] or {}
        for name in [name for name in node if not name.startswith("_")]:
            key = f"data.{part}.{name}"
            rule = rule_at(Tree(cfg), key)
            refused = map(rule.fault, REFUSED) if rule else ()
            for value in {v for text in refused if text for v in values(f"{key}: {text}")}:
                try:
                    instantiate(OmegaConf.create({**node, name: yaml.safe_load(value)}))
                except ConfigError as error:
                    again = [p for p in error.problems if f"{name}={value}: " in p]
                    faults += [f"{key}={value}: {p}" for p in again if AS_A_VALUE.search(p)]
    assert not faults


@pytest.mark.parametrize("target", TARGETS)
def test_a_signature_read_from_the_source_is_the_real_one(target):
    module, _, name = target.rpartition(".")
    real = inspect.signature(getattr(importlib.import_module(module), name)).parameters
    read = signature_of(target)
    assert set(read.rules) == {p for p in real if real[p].kind is not inspect.Parameter.VAR_KEYWORD}
    assert read.required == {p for p in read.rules if real[p].default is inspect.Parameter.empty}


def test_the_panel_and_the_groups_are_those_of_the_primary_config():
    primary = yaml.safe_load((CONF / "config.yaml").read_text())
    groups = {key for entry in primary["defaults"] if entry != "_self_" for key in entry}
    assert groups - {"hydra", "optional tuned", "experiment", "sweep"} == set(GROUPS)
    assert set(primary) - {"defaults", *GROUPS} == set(PANEL)


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


@pytest.mark.parametrize(
    ("overrides", "lr"),
    [
        ([], 0.01),
        (["optim.lr=0.5"], 0.5),
        (["optim=sgd"], 0.1),
        (["data=adding"], 0.003),
        (["tuned=none"], 0.003),
    ],
)
def test_what_is_tuned_for_a_pair_of_data_and_optimizer_is_for_that_pair_only(overrides, lr):
    assert compose(overrides)[0].optim.lr == lr


def test_interpolations_stay_as_written_until_they_are_read():
    cfg, _ = compose(["depth=3", "architecture.encoder.dropout=0.5"])
    assert OmegaConf.to_container(cfg)["architecture"]["encoder"]["depth"] == "${depth}"
    assert cfg.architecture.encoder.depth == 3
    assert cfg.dropout == 0.2
