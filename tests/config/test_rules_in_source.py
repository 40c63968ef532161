"""Rules that are read from the source of our classes, against those of the classes themselves."""

from collections.abc import Iterator

import pytest
import yaml

from seqpipe.bounds import MADE
from seqpipe.config import source_rules
from seqpipe.config.paths import conf_dir
from seqpipe.config.schema import DATA_TARGET
from seqpipe.config.signatures import signature_of
from seqpipe.config.source_rules import rules_in_source


def _targets(node: object) -> Iterator[str]:
    below: list[object] = []
    if isinstance(node, dict):
        target, below = node.get("_target_"), [*node.values()]
        if isinstance(target, str) and target.startswith("seqpipe."):
            yield target
    elif isinstance(node, list):
        below = node
    for one in below:
        yield from _targets(one)


NODES = [yaml.safe_load(file.read_text()) for file in conf_dir().rglob("*.yaml")]
TARGETS = sorted({DATA_TARGET, *_targets(NODES)})


@pytest.mark.parametrize("target", TARGETS)
def test_a_rule_in_the_source_is_that_of_the_class(target):
    read, known = rules_in_source(target), signature_of(target).rules
    assert read.keys() <= known.keys()
    assert {name: rule.allowed for name, rule in read.items()} == {
        name: known[name] and known[name].allowed for name in read
    }


def test_most_rules_of_the_packaged_options_are_read():
    known = [
        (target, name)
        for target in TARGETS
        for name, rule in signature_of(target).rules.items()
        if rule not in (None, MADE)
    ]
    read = [name in rules_in_source(target) for target, name in known]
    assert len(read) > 400
    assert sum(read) > 0.85 * len(read)


BOUNDS = """
from typing import Annotated
from seqpipe.rules import whole

Even = Annotated[int, whole(2)]
"""
PARTS = """
from dataclasses import dataclass, field
from typing import Literal

import torch

from seqpipe.bounds import Count
from toys.limits import Even as Double

Way = Literal["up", "down"]

class Base:
    def __init__(self, width: Double, way: Way = "up", limit: Count = None, *, net: torch.Tensor):
        pass

class Inherited(Base):
    pass

class Refused(Base):
    def __init__(self, other):
        pass

def function(flag: bool, name):
    pass

@dataclass
class Fields:
    size: Count
    seed: int = 0
    found: Count = field(init=False)

@dataclass
class MoreFields(Fields):
    seed: Double = 2
    size: Count = field(init=False, default=3)
"""


@pytest.fixture
def toys(tmp_path, monkeypatch):
    folder = tmp_path / "toys"
    folder.mkdir()
    (folder / "limits.py").write_text(BOUNDS)
    (folder / "parts.py").write_text(PARTS)
    monkeypatch.setattr(source_rules, "PACKAGE", folder)
    caches = (source_rules.rules_in_source, source_rules._scope)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


OF_BASE = {
    "width": "an integer >= 2",
    "way": "up, down",
    "limit": "an integer >= 1 or null",
}


@pytest.mark.usefixtures("toys")
@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("parts.Base", OF_BASE),
        ("parts.Inherited", OF_BASE),
        ("parts.Refused", {}),
        ("parts.function", {"flag": "true or false"}),
        ("parts.Fields", {"size": "an integer >= 1", "seed": "an integer"}),
        ("parts.MoreFields", {"seed": "an integer >= 2"}),
        ("parts.Nothing", {}),
        ("nowhere.Base", {}),
    ],
)
def test_what_is_not_written_with_rules_is_left_to_the_class(name, allowed):
    read = rules_in_source(f"toys.{name}")
    assert {argument: rule.allowed for argument, rule in read.items()} == allowed
