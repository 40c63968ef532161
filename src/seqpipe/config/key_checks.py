"""Unknown keys, and values that the argument they are given to does not allow."""

import inspect
from collections.abc import Iterable, Iterator
from typing import Any

from omegaconf import DictConfig

from seqpipe.bounds import MADE
from seqpipe.config.config_view import Tree
from seqpipe.config.paths import PACKAGE, conf_dir
from seqpipe.config.schema import (
    COMPLETED_BY_THE_RUN,
    DATA_TARGET,
    FORMER_KEYS,
    GIVEN_BY_THE_RUN,
    GROUPS,
    PANEL,
    PASSED_BY_THE_RUN,
    READ_BY_THE_RUN,
    TAKEN_BY_THE_RUN,
)
from seqpipe.config.signatures import (
    Signature,
    TargetError,
    found_target,
    packaged_keys,
    packaged_nodes,
    signature_of,
)
from seqpipe.errors import did_you_mean
from seqpipe.rules import Problem, flag, shown

_SET = "is set by the run"
SPECIAL = ("_target_", "_partial_", "_recursive_", "_convert_", "_args_")


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
        return f"{_SET}; allowed: leave it out"
    if target is None:
        return _unknown(tree, parent, parts[depth], key)
    return _unknown_argument(tree, key, parent, parts[depth], value)


def _unknown_argument(tree: Tree, key: str, parent: str, name: str, value: object) -> str:
    """Yield unknown keys of a node with a class; a key that its option does not list needs a plus.

    The keys of the packaged options answer at once; a class is imported only if none is close.
    """
    group, target = parent.split(".")[0], str(tree.get(f"{parent}._target_"))
    packaged = packaged_keys(group, target)
    listed = [*tree.raw(parent), *sorted(packaged)]
    known = [one for one in dict.fromkeys(listed) if one not in SPECIAL]
    text = f"unknown key; allowed: {', '.join(known)}"
    if name in known:
        return f"is not in the configuration yet; allowed: with a plus: +{key}={shown(value)}"
    if hint := _hint(tree, key, name, known):
        return f"{text}{hint}"
    text += f", or with a plus another argument of {target}"
    if packaged and not _is_ours(target):  # Lightning takes seconds to import
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
    return f"{text}: {', '.join(others) or 'none'}{closest}"


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
            yield _unknown_problem(tree, "", str(name))
    for name in PANEL:
        if name not in tree.written:
            yield Problem(name, "", "is missing; allowed: leave it in")
    for group in GROUPS:
        node = tree.raw(group)
        if node is None and (group not in tree.written or group != "callbacks"):
            options = sorted(file.stem for file in (conf_dir() / group).glob("*.yaml"))
            yield Problem(group, None, f"an option must be chosen; allowed: {', '.join(options)}")
        elif isinstance(node, dict):
            for name in READ_BY_THE_RUN.get(group, ()):
                if name not in node:
                    text = "is missing, and the run reads it; allowed: a value"
                    yield Problem(f"{group}.{name}", "", text)
    if isinstance(tree.raw("data"), dict):
        yield from _data_name_problems(tree)
    for name, callback in (tree.raw("callbacks") or {}).items():
        if not isinstance(callback, dict):
            allowed = f"a mapping with _target_; without it: ~callbacks.{name}"
            yield Problem(f"callbacks.{name}", callback, f"no callback; allowed: {allowed}")
        elif "_target_" not in callback:
            yield _unknown_problem(tree, "callbacks", name)


_SLOW = ("callbacks", "logger")  # Lightning and MLflow: what a packaged option says is right


def argument_problems(tree: Tree) -> Iterator[Problem]:
    """Arguments that the classes of a configuration do not take, and values they do not allow.

    Imports the classes. What `name_problems` finds is not repeated.
    """
    for group in GROUPS:
        node = tree.raw(group)
        if group in _SLOW and node in packaged_nodes(group):
            continue
        if group == "data":
            signature = signature_of(DATA_TARGET)
            names = set(node) & set(signature.rules) - set(GIVEN_BY_THE_RUN["data"])
            found = [one for n in names for one in _value_problems(tree, f"data.{n}", signature)]
            yield from found or _problems_together(tree, group, DATA_TARGET)
        elif group == "callbacks":
            for name in node or {}:
                yield from _node_problems(tree, f"callbacks.{name}")
        else:
            found = list(_node_problems(tree, group))
            yield from found or _problems_together(tree, group, tree.get(f"{group}._target_"))


def _problems_together(tree: Tree, key: str, target: str | None) -> Iterator[Problem]:
    """Yield arguments that a class of ours refuses together; see `seqpipe.bounds.checked`."""
    made = found_target(target) if target is not None and _is_ours(target) else None
    together = getattr(getattr(made, "__init__", None), "together", None)
    if made is None or together is None:
        return
    defaults = inspect.signature(made).parameters
    given = {}
    for name in inspect.signature(together).parameters:
        value = tree.get(f"{key}.{name}")
        if isinstance(value, dict):
            value = found_target(value["_target_"])  # it is built later
        given[name] = value if tree.has(f"{key}.{name}") else defaults[name].default
    for name, text in together(**given):
        yield Problem(tree.origin(f"{key}.{name}"), given[name], text)


_DATA_NAMES = ("source", "y", "x", *(name for name in READ_BY_THE_RUN["data"] if name != "x"))


def _data_name_problems(tree: Tree) -> Iterator[Problem]:
    read = tree.references()
    for name in tree.written["data"]:
        key = f"data.{name}"
        if name in GIVEN_BY_THE_RUN["data"]:
            yield Problem(key, tree.written["data"][name], f"{_SET}; allowed: leave it out")
        elif name in _DATA_NAMES:
            continue
        elif name == "path" and tree.raw("data.source.train") is None:
            continue  # with nothing to train on, that is the problem
        elif not any(reference == key or reference.startswith(f"{key}.") for reference in read):
            yield _replaced(tree, name) or _unknown_problem(tree, "data", name)
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


def _node_problems(tree: Tree, key: str) -> Iterator[Problem]:
    """Problems of a mapping that is built into an object."""
    node, target = tree.raw(key), tree.get(f"{key}._target_")
    if not isinstance(node, dict):
        text = f"wrong type; allowed: a mapping with _target_{_as_an_option(key, node)}"
        yield Problem(key, node, text)
        return
    if key == "cell" and target is None and "_target_" in node:  # cell=none
        yield from (_unknown_problem(tree, key, name) for name in node if name not in SPECIAL)
        return
    if not isinstance(target, str):
        wrong = "is missing" if "_target_" not in node else "wrong type"
        yield Problem(f"{key}._target_", target, f"{wrong}; allowed: a class, as module.Class")
        return
    given = GIVEN_BY_THE_RUN.get(key.split(".")[0], ())
    taken = TAKEN_BY_THE_RUN.get(key, ())
    try:
        names = set(node) - set(SPECIAL) - set(given) - set(taken)
        signature = _signature(key, target, names)
    except TargetError as error:
        yield Problem(f"{key}._target_", target, f"{error}; allowed: a class, as module.Class")
        return
    if untaken := _untaken(key, signature):
        yield Problem(f"{key}._target_", target, untaken)
        return
    for name in node:
        if name in SPECIAL or name in taken:
            continue
        if name in given:
            text = f"{_SET}; allowed: {_left_to_the_run(key, node, signature, name)}"
            yield Problem(f"{key}.{name}", node[name], text)
        elif name not in signature.rules and not signature.takes_any:
            yield _unknown_problem(tree, key, name)
        else:
            yield from _value_problems(tree, f"{key}.{name}", signature)
    if key in COMPLETED_BY_THE_RUN and tree.get(f"{key}._partial_") is not True:
        text = "the run completes what is built; allowed: true"
        yield Problem(f"{key}._partial_", node.get("_partial_"), text)
        return
    if fault := flag().fault(tree.get(f"{key}._partial_") or False):
        yield Problem(f"{key}._partial_", node["_partial_"], fault)
    if "_args_" not in node:
        for name in sorted(_required(key, node, signature) - set(node)):
            if name in given:
                text = f"is missing; allowed: {_left_to_the_run(key, node, signature, name)}"
            else:
                text = f"is missing; allowed: a value, which {target} needs"
            yield Problem(f"{key}.{name}", "", text)


def _untaken(key: str, signature: Signature) -> str:
    """Why a class cannot stand at a key, where it does not take what the run gives it."""
    names, like = PASSED_BY_THE_RUN.get(key, ((), ""))
    missing = [name for name in names if name not in signature.rules]
    if not missing or signature.takes_any:
        return ""
    text = f"takes no {', '.join(missing)}, which the run gives it"
    return f"{text}; allowed: a class or function that does, as {like}"


def _left_to_the_run(key: str, node: dict[Any, Any], signature: Signature, name: str) -> str:
    """Return the advice to leave an argument to the run, which completes partial nodes."""
    if name in signature.required and not node.get("_partial_"):
        return f"+{key}._partial_=true, and the run sets it"
    return "leave it out"


def _as_an_option(key: str, name: Any) -> str:
    """Return how to choose an option in a file that has its name in place of a mapping."""
    group = key.replace(".", "/")
    if not (conf_dir() / group / f"{name}.yaml").is_file():
        return ""
    chosen = f", or in the defaults of a file: override /{group}: {name}"
    return chosen if group == key else f"{chosen}; in hydra.sweeper.params: {group}"


def _required(key: str, node: dict[Any, Any], signature: Signature) -> frozenset[str]:
    """Return the arguments that a node must have; a `_partial_` node gets the others later."""
    if not node.get("_partial_"):
        return signature.required
    group, _, below = key.partition(".")
    if below and group != "callbacks" and not _is_ours(signature.name):
        return frozenset()  # completed by a class of the user's own
    return signature.required - set(GIVEN_BY_THE_RUN.get(group, ()))


def _is_ours(target: str) -> bool:
    return target.split(".")[0] == PACKAGE.name


def _value_problems(tree: Tree, key: str, signature: Signature) -> Iterator[Problem]:
    """Problems of one argument: below it if it is built into an object, else of its type."""
    raw = tree.raw(key)
    if isinstance(raw, dict) and "_target_" in raw:
        yield from _node_problems(tree, key)
        return
    origin = tree.origin(key)
    if origin != key and isinstance(tree.raw(origin), dict):  # ${cell}: judged where it is written
        return
    name = key.rpartition(".")[2]
    rule, value = signature.rules.get(name), tree.get(key)
    if rule in (None, MADE) and name in signature.rules and _is_ours(signature.name):
        # What has no rule in our own classes is an object, made by a _target_ of its own.
        if value is not None or not key.startswith("data."):
            allowed = f"a mapping with _target_{_as_an_option(key, value)}"
            yield Problem(key, value, f"wrong type; allowed: {allowed}")
        return
    if rule is not None and raw != "???" and (fault := rule.fault(value)):
        if value is not None or tree.raw(origin) is None:  # else an interpolation leads nowhere
            yield Problem(origin, value, fault)


def _signature(key: str, target: str, names: set[str]) -> Signature:
    """Return the arguments of a target, without an import if packaged options name them all."""
    known = packaged_keys(key.split(".")[0], target)
    if not _is_ours(target) and names and names <= known:
        return Signature(target, dict.fromkeys(known))
    return signature_of(target)


def _unknown_problem(tree: Tree, parent: str, name: str) -> Problem:
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
        allowed: list[str] = [*PANEL, *GROUPS]
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
    if key == "data.path" and tree.has("data.source.train"):
        train = shown(tree.raw("data.source.train"))
        one = "one of them; data.source.path=FOLDER, where the names are relative to a folder"
        return f"data.source.train={train} names the files to train on; allowed: {one}"
    if parent == "data" and name in tree.written["data"]:
        wrong = "nothing in the configuration reads it"
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
