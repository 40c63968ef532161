"""Arguments: those that a class does not take, values it does not allow, and what it lacks."""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from seqpipe.bounds import MADE, problems_together, together_of
from seqpipe.config.compatibility import HEAD, declared, kinds_of
from seqpipe.config.config_view import Tree
from seqpipe.config.key_names import SET_BY_THE_RUN, SPECIAL, X, unknown_problem, without_x
from seqpipe.config.paths import conf_dir
from seqpipe.config.schema import (
    CAN_BE_NONE,
    COMPLETED_BY_THE_RUN,
    DATA_TARGET,
    GIVEN_BY_THE_RUN,
    GROUPS,
    PASSED_BY_THE_RUN,
    TAKEN_BY_THE_RUN,
)
from seqpipe.config.signatures import (
    Signature,
    TargetError,
    found_target,
    is_ours,
    packaged_keys,
    packaged_nodes,
    signature_of,
)
from seqpipe.rules import Problem, flag

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
            yield from found or _problems_together(tree, group, found_target(DATA_TARGET))
        elif group == "callbacks":
            for name in node or {}:
                yield from _node_problems(tree, f"callbacks.{name}")
        else:
            yield from _node_problems(tree, group)


class _Unbuilt:
    """An argument that is built later: has its options, and what its class declares.

    Args:
        target: its class.
        options: those that are given; the others have the defaults of the class.
    """

    def __init__(self, target: Any, options: Mapping[str, Any]) -> None:
        self._target, self._options = target, options

    def __getattr__(self, name: str) -> Any:
        if name in self._options:
            return self._options[name]
        if hasattr(self._target, name):
            return getattr(self._target, name)
        if name in (parameters := inspect.signature(self._target).parameters):
            return parameters[name].default
        raise AttributeError(name)


def _problems_together(tree: Tree, key: str, target: Any) -> Iterator[Problem]:
    """Yield arguments that a class refuses together; see `seqpipe.bounds.checked`."""
    together = together_of(target)
    if together is None:
        return
    parameters = inspect.signature(target).parameters.items()
    given = {name: one.default for name, one in parameters if one.default is not one.empty}
    given |= _known_to_the_run(tree)
    for name in inspect.signature(together).parameters:
        if tree.has(f"{key}.{name}"):
            value = tree.get(f"{key}.{name}")
            is_part = isinstance(value, dict) and "_target_" in value
            given[name] = _Unbuilt(found_target(value["_target_"]), value) if is_part else value
    if given.keys() >= inspect.signature(together).parameters.keys():
        for name, value, text in problems_together(together, given):
            yield Problem(tree.origin(f"{key}.{name}"), value, text)


def _known_to_the_run(tree: Tree) -> dict[str, Any]:
    """Arguments that the run will give to a class, as far as the configuration tells them."""
    known: dict[str, Any] = {}
    if (kinds := kinds_of(tree)) is not None:
        known["x_kind"], known["y_kind"] = kinds
    known |= {f"{role}_vectors": tree.get(f"data.{role}.vectors") for role in ("x", "y")}
    known["longest_x"] = tree.get("data.max_length")
    return known | {"crf": bool(declared(tree, HEAD, "whole_sequences"))}


def _node_problems(tree: Tree, key: str) -> Iterator[Problem]:
    """Problems of a mapping that is built into an object: of each argument, or of several."""
    found = list(_argument_problems(tree, key))
    yield from found
    target = tree.get(f"{key}._target_")
    if not found and isinstance(target, str) and not _is_known(key, target, tree.raw(key)):
        yield from _problems_together(tree, key, found_target(target))


def _argument_problems(tree: Tree, key: str) -> Iterator[Problem]:
    node, target = tree.raw(key), tree.get(f"{key}._target_")
    if not isinstance(node, dict):
        text = f"wrong type; allowed: a mapping with _target_{_as_an_option(key, node)}"
        yield Problem(key, node, text)
        return
    if key in CAN_BE_NONE and target is None and "_target_" in node:  # cell=none
        yield from (unknown_problem(tree, key, name) for name in node if name not in SPECIAL)
        return
    if not isinstance(target, str):
        wrong = "is missing" if "_target_" not in node else "wrong type"
        yield Problem(f"{key}._target_", target, f"{wrong}; allowed: a class, as module.Class")
        return
    given = GIVEN_BY_THE_RUN.get(key.split(".")[0], ())
    taken = TAKEN_BY_THE_RUN.get(key, ())
    try:
        signature = _signature(key, target, node)
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
            text = f"{SET_BY_THE_RUN}; allowed: {_left_to_the_run(key, node, signature, name)}"
            yield Problem(f"{key}.{name}", node[name], text)
        elif name not in signature.rules and not signature.takes_any:
            yield unknown_problem(tree, key, name)
        else:
            yield from _value_problems(tree, f"{key}.{name}", signature)
    if key in COMPLETED_BY_THE_RUN and tree.get(f"{key}._partial_") is not True:
        text = "the run adds the missing arguments; allowed: true"
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
    if below and group != "callbacks" and not is_ours(signature.name):
        return frozenset()  # completed by a class of the user's own
    return signature.required - set(GIVEN_BY_THE_RUN.get(group, ()))


def _value_problems(tree: Tree, key: str, signature: Signature) -> Iterator[Problem]:
    """Problems of one argument: below it if it is built into an object, else of its type."""
    raw = tree.raw(key)
    if isinstance(raw, dict) and "_target_" in raw:
        yield from _node_problems(tree, key)
        return
    origin, name = tree.origin(key), key.rpartition(".")[2]
    rule, value = signature.rules.get(name), tree.get(key)
    if origin != key and isinstance(written := tree.raw(origin), dict):
        if rule in (None, MADE):  # ${cell}: judged where it is written
            return
        if "_target_" in written and (fault := rule.fault(value)):  # right there, wrong here
            yield Problem(key, raw, fault)
            return
    if rule in (None, MADE) and name in signature.rules and is_ours(signature.name):
        if key == X and isinstance(raw, dict) and raw:  # typed below a null
            for leaf, given in tree.leaves(X):
                yield Problem(leaf, given, without_x(tree, leaf.removeprefix(f"{X}."), given))
            return
        # What has no rule in our own classes is an object, made by a _target_ of its own.
        if value is not None or not key.startswith("data."):
            allowed = f"a mapping with _target_{_as_an_option(key, value)}"
            yield Problem(key, value, f"wrong type; allowed: {allowed}")
        return
    if rule is not None and raw != "???" and (fault := rule.fault(value)):
        if value is not None or tree.raw(origin) is None:  # else an interpolation leads nowhere
            yield Problem(origin, value, fault)


def _signature(key: str, target: str, node: Mapping[str, Any]) -> Signature:
    """The arguments of a target, without an import if packaged options name them all."""
    if _is_known(key, target, node):
        return Signature(target, dict.fromkeys(packaged_keys(key.split(".")[0], target)))
    return signature_of(target)


def _is_known(key: str, target: str, node: Mapping[str, Any]) -> bool:
    """True for a class that is not ours, if packaged options give it all keys that are given."""
    group = key.split(".")[0]
    names = set(node) - {*SPECIAL, *GIVEN_BY_THE_RUN.get(group, ()), *TAKEN_BY_THE_RUN.get(key, ())}
    return not is_ours(target) and bool(names) and names <= packaged_keys(group, target)
