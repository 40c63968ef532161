"""Each rule of the configuration is written once: its message, and the bound of its key."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

import seqpipe
from seqpipe.config.compose import compose
from seqpipe.config.config_view import Tree
from seqpipe.config.validate import rule_for

SRC = Path(seqpipe.__file__).parent
ROOMS = ("config", "data", "nn", "models", "tasks", "training", "diagnostics", "rules.py")
MESSAGES_OF_FILES = ("no such file in ", "no such folder in ", "cannot be ", "data.cache=")
RULES = {"whole", "real", "choice", "flag", "text", "list_of", "either", "or_null", "null"}


def _texts(source: str) -> Iterator[tuple[int, str]]:
    """(line, what is wrong) of every refusal, with {} for what is filled in."""
    for node in ast.walk(ast.parse(source)):
        texts: list[ast.expr] = []
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            place = {"refusal": 2, "Problem": 2, "ConfigError": 0, "because": 0}.get(name)
            texts = [] if place is None else node.args[place : place + 1]
        elif isinstance(node, ast.Assign):
            named = {getattr(target, "id", "") for target in node.targets} & {"text", "wrong"}
            texts = [node.value] if named else []
        elif isinstance(node, ast.Yield) and isinstance(node.value, ast.Tuple):
            texts = node.value.elts[1:]
        for text in texts:
            parts = text.values if isinstance(text, ast.JoinedStr) else [text]
            shown = "".join(
                str(part.value) if isinstance(part, ast.Constant) else "{}" for part in parts
            ).partition("; allowed")[0]
            if len(shown.replace("{}", "").strip()) > 12:
                yield node.lineno, shown.strip()


def _repeated(sources: dict[str, str]) -> dict[str, list[str]]:
    places = defaultdict(list)
    for name, source in sources.items():
        for line, text in _texts(source):
            places[text].append(f"{name}:{line}")
    return {
        text: found
        for text, found in places.items()
        if len(found) > 1 and not text.startswith(MESSAGES_OF_FILES)
    }


def _sources() -> dict[str, str]:
    files = [f for room in ROOMS for f in ((SRC / room).rglob("*.py") or [SRC / room])]
    return {f.relative_to(SRC).as_posix(): f.read_text(encoding="utf-8") for f in files}


def test_every_message_of_the_configuration_is_written_once():
    sources = _sources()
    assert sum(len(list(_texts(source))) for source in sources.values()) > 200
    assert _repeated(sources) == {}


def test_a_message_that_is_copied_is_found():
    copied = {"tasks/copy.py": "def again(x):\n    wrong = 'x and y cannot be cut together'\n"}
    (places,) = _repeated({**_sources(), **copied}).values()
    assert "tasks/copy.py:2" in places


def _fixed_bounds(source: str) -> Iterator[str]:
    """Rules made of constants alone that stand in a call of `require`, not in an annotation."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "require":
            rule = node.args[2]
            names = {one.id for one in ast.walk(rule) if isinstance(one, ast.Name)}
            if names and names <= RULES:
                yield ast.unparse(node.args[0])


# Not of an argument: of each of several arguments, or of one part of one.
OF_SEVERAL = {
    "data/fields/frames.py": ["'data.x.channel_deviation'"],
}


def test_a_bound_of_constants_is_in_an_annotation():
    found = {name: [*_fixed_bounds(source)] for name, source in _sources().items()}
    assert {name: sorted(keys) for name, keys in found.items() if keys} == OF_SEVERAL
    assert [*_fixed_bounds("require('depth', depth, whole(1))")] == ["'depth'"]


@pytest.mark.parametrize(
    "typed", [["data=digits"], ["data=dates"], ["data=python_docs"], ["data=table", "data.path=x"]]
)
def test_no_key_that_a_class_of_ours_takes_has_a_rule_in_the_schema(typed):
    tree = Tree(compose(typed)[0])
    twice = []
    for key, _ in tree.leaves():
        parent = key.rpartition(".")[0]
        target = "seqpipe." if parent == "data" else str(tree.get(f"{parent}._target_"))
        if target.startswith("seqpipe.") and not key.startswith("callbacks.") and rule_for(key):
            twice.append(key)
    assert [key for key in twice if key != "data.path"] == []
