"""Names of keys: unknown and missing ones, mostly found without importing a class."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

from omegaconf import DictConfig

from seqpipe.config.config_view import Tree
from seqpipe.config.paths import conf_dir
from seqpipe.config.schema import (
    FOLDS,
    FORMER_KEYS,
    GIVEN_BY_THE_RUN,
    GROUPS,
    OF_OTHER_OPTIONS,
    OF_SWEEPS,
    PANEL,
    READ_BY_THE_RUN,
)
from seqpipe.config.signatures import (
    TargetError,
    class_attribute,
    is_ours,
    packaged_keys,
    signature_of,
)
from seqpipe.errors import did_you_mean
from seqpipe.rules import Problem, shown

SET_BY_THE_RUN = "is set by the run"
X = "data.x"
SPECIAL = ("_target_", "_partial_", "_recursive_", "_convert_", "_args_")
_DATA_NAMES = ("source", "y", "x", *(name for name in READ_BY_THE_RUN["data"] if name != "x"))


def unknown_key(cfg: DictConfig, key: str, value: object) -> str:
    """Why a key that was typed is refused, what is allowed there, and the closest key."""
    tree = Tree(cfg)
    if isinstance(value, dict) and isinstance(tree.raw(key), dict):
        new = ", ".join(str(name) for name in value if name not in tree.raw(key)) or "below it"
        return f"adds keys ({new}); allowed: with a plus: +{key}={shown(value)}"
    parts = key.split(".")
    depth = next(i for i in range(len(parts)) if not tree.has(".".join(parts[: i + 1])))
    parent = ".".join(parts[:depth])
    target = tree.get(f"{parent}._target_") if parent else None
    if parts[depth] in GIVEN_BY_THE_RUN.get(parent.split(".")[0], ()):
        return f"{SET_BY_THE_RUN}; allowed: leave it out"
    if parent == X and tree.raw(X) is None:
        return without_x(tree, ".".join(parts[depth:]), value)
    if target is None:
        return _unknown(tree, parent, parts[depth], key)
    return _unknown_argument(tree, key, parent, parts[depth], value)


def without_x(tree: Tree, name: str, value: object) -> str:
    """Why a key of x is refused where the data has no x, and the same key of y if that takes it.

    Args:
        tree: of the configuration.
        name: of the key, below `data.x`.
        value: that it was given.
    """
    y, allowed = str(tree.get("data.y._target_")), "leave it out"
    with suppress(TargetError):  # reported where it is written
        if name in signature_of(y).rules and name not in (
            class_attribute(y, "augmentations") or ()
        ):
            key = f"data.y.{name}"
            allowed = f"{tree.origin(key) if tree.has(key) else f'+{key}'}={shown(value)}"
    return f"this data has no x; allowed: {allowed}"


def _unknown_argument(tree: Tree, key: str, parent: str, name: str, value: object) -> str:
    """Yield unknown keys of a node with a class; a key that its option does not list needs a plus.

    The keys of the packaged options answer at once; a class is imported only if none is close.
    """
    group, target = parent.split(".")[0], str(tree.get(f"{parent}._target_"))
    packaged = packaged_keys(group, target)
    listed = [*tree.raw(parent), *sorted(packaged)]
    known = [one for one in dict.fromkeys(listed) if one not in SPECIAL]
    text = f"unknown key; allowed: {', '.join(known) or 'leave it out'}"
    if key in OF_OTHER_OPTIONS and name not in known:
        return OF_OTHER_OPTIONS[key]
    if name in known:
        return f"is not in the configuration yet; allowed: with a plus: +{key}={shown(value)}"
    if hint := _hint(tree, key, name, known):
        return f"{text}{hint}"
    alone, text = text, f"{text}, or with a plus another argument of {target}"
    if packaged and not is_ours(target):  # Lightning takes seconds to import
        return text
    try:
        taken = signature_of(target)
    except TargetError:  # which is a problem of its own
        return f"{text}: +{key}={shown(value)}"
    others = [one for one in taken.rules if one not in (*known, *GIVEN_BY_THE_RUN.get(group, ()))]
    if name in others or taken.takes_any:
        return f"{text}: +{key}={shown(value)}"
    closest = did_you_mean(name, others)
    for other in others:
        closest = closest.replace(f"'{other}'", f"'+{parent}.{other}'")
    return f"{text}: {', '.join(others)}{closest}" if others else alone


def deletable(cfg: DictConfig, key: str) -> str:
    """Return the keys that `~` can remove, if `key` does not exist."""
    tree, parts = Tree(cfg), key.split(".")
    depth = next(i for i in range(len(parts)) if not tree.has(".".join(parts[: i + 1])))
    parent = ".".join(parts[:depth])
    holder = tree.raw(parent)
    names = [n for n in holder if n not in SPECIAL] if isinstance(holder, dict) else []
    listed = [f"~{parent}.{name}" if parent else f"~{name}" for name in names]
    return (", ".join(listed) or "leave it out") + did_you_mean(f"~{key}", listed)


def name_problems(tree: Tree) -> Iterator[Problem]:
    """Unknown and missing keys that are found without importing a class."""
    for name in tree.written:
        if name not in (*PANEL, *GROUPS):
            yield unknown_problem(tree, "", str(name))
    for name in PANEL:
        if name not in tree.written and name not in FOLDS:
            yield Problem(name, "", "is missing; allowed: leave it in")
    for group in GROUPS:
        node = tree.raw(group)
        if node is None and (group not in tree.written or group != "callbacks"):
            options = sorted(file.stem for file in (conf_dir() / group).glob("*.yaml"))
            yield Problem(group, None, f"an option must be chosen; allowed: {', '.join(options)}")
        elif isinstance(node, dict):
            for name in READ_BY_THE_RUN.get(group, ()):
                if name not in node and name not in FOLDS:
                    text = "is missing, and the run reads it; allowed: a value"
                    yield Problem(f"{group}.{name}", "", text)
    if isinstance(tree.raw("data"), dict):
        yield from _data_name_problems(tree)
    for name, callback in (tree.raw("callbacks") or {}).items():
        if not isinstance(callback, dict):
            allowed = f"a mapping with _target_; without it: ~callbacks.{name}"
            yield Problem(f"callbacks.{name}", callback, f"no callback; allowed: {allowed}")
        elif "_target_" not in callback:
            yield unknown_problem(tree, "callbacks", name)


def _data_name_problems(tree: Tree) -> Iterator[Problem]:
    read = tree.references()
    for name in tree.written["data"]:
        key = f"data.{name}"
        if name in GIVEN_BY_THE_RUN["data"]:
            yield Problem(
                key, tree.written["data"][name], f"{SET_BY_THE_RUN}; allowed: leave it out"
            )
        elif name in _DATA_NAMES:
            continue
        elif name == "path" and tree.raw("data.source.train") is None:
            continue  # with nothing to train on, that is the problem
        elif not any(reference == key or reference.startswith(f"{key}.") for reference in read):
            yield _replaced(tree, name) or unknown_problem(tree, "data", name)
    for part in ("source", "y"):
        if tree.raw(f"data.{part}") is None:
            yield Problem(f"data.{part}", None, "is missing; allowed: a mapping with _target_")


def _replaced(tree: Tree, name: str) -> Problem | None:
    """A key of the source that was typed in place of the key of data that it reads; or none."""
    if name == "path":
        return None
    for leaf, _ in tree.leaves():
        if leaf.startswith("data.source.") and leaf.endswith(f".{name}"):
            text = f"its value is that of data.{name}; allowed: data.{name}={shown(tree.get(leaf))}"
            return Problem(leaf, tree.get(leaf), text)
    return None


def unknown_problem(tree: Tree, parent: str, name: str) -> Problem:
    """The problem of a key in the tree; named down to its leaf where there is only one."""
    key = f"{parent}.{name}" if parent else name
    value = tree.raw(key)
    while isinstance(value, dict) and len(value) == 1:
        below = next(iter(value))
        key, value = f"{key}.{below}", value[below]
    return Problem(key, value, _unknown(tree, parent, name, key))


def _unknown(tree: Tree, parent: str, name: str, key: str) -> str:
    target: Any = tree.get(f"{parent}._target_") if parent else None
    knobs = tree.references()
    if not parent and name in FORMER_KEYS:
        return f"is a command now; allowed: {FORMER_KEYS[name]}"
    if not parent:
        allowed: list[str] = [*PANEL, *OF_SWEEPS, *GROUPS]
    elif parent == "data":
        names = dict.fromkeys([*_DATA_NAMES, *tree.written["data"]])
        allowed = [n for n in names if n != name or f"data.{n}" in knobs]
    elif isinstance(target, str):
        given = GIVEN_BY_THE_RUN.get(parent.split(".")[0], ())
        allowed = [n for n in signature_of(target).rules if n not in given]
    else:
        allowed = [n for n in tree.raw(parent) or () if n != name and n != "_target_"]
    hint = _hint(tree, key, name, allowed)
    if parent and tree.raw(parent) is None:
        return f"{parent} holds null; allowed: {parent}=...{hint}"
    wrong = "unknown key"
    train = tree.raw("data.source.train") if key == "data.path" else None
    if isinstance(train, str | list):  # a number is how many examples are generated
        one = "one of them; data.source.path=FOLDER, where the names are relative to a folder"
        return f"data.source.train={shown(train)} names the files to train on; allowed: {one}"
    if parent == "data" and name in tree.written["data"]:
        wrong = "no part of the configuration uses it"
    listed = ", ".join(allowed) or "none"
    if parent == "callbacks":
        listed += f", or a new one with its class: +callbacks.{name}._target_=module.Class"
    return f"{wrong}; allowed: {listed}{hint}"


def _hint(tree: Tree, key: str, name: str, allowed: Iterable[str]) -> str:
    """The closest allowed key; else the same last part somewhere else: lr is optim.lr."""
    last = key.rpartition(".")[2]
    written = [leaf for leaf, _ in tree.leaves() if tree.origin(leaf) == leaf and leaf != key]
    same = [leaf for leaf in written if leaf.rpartition(".")[2] == last]
    close = did_you_mean(name, allowed)
    # What a new callback is given does not belong to another part.
    if close or not same or last in SPECIAL or key.startswith("callbacks."):
        return close
    return f"; did you mean '{min(same, key=len)}'?"
