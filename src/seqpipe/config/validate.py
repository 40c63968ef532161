"""Everything that is wrong with a configuration: its names first, then its values.

Where to find a check: unknown and missing keys are in `key_names`, values of keys that no
constructor takes in `schema`, arguments of classes in `arguments` (by the rules of their
constructors), options that exclude each other in `compatibility`, keys that nothing would read in
`unused_keys` (called by `commandline`), and what needs data or a model in `seqpipe.checks`.
"""

import contextlib
import fnmatch
import functools
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from seqpipe.config.arguments import argument_problems
from seqpipe.config.compatibility import exclusions
from seqpipe.config.config_view import Tree
from seqpipe.config.key_names import name_problems
from seqpipe.config.paths import PACKAGE
from seqpipe.config.schema import DATA_TARGET, GIVEN_BY_THE_RUN, GROUPS, RULES
from seqpipe.config.signatures import TargetError, signature_of
from seqpipe.config.source_rules import rules_in_source
from seqpipe.errors import ConfigError
from seqpipe.rules import Problem, Rule

_CHECKPOINT = "a checkpoint, as outputs/runs/.../checkpoints/last.ckpt"


def validate(cfg: DictConfig, choices: dict[str, str]) -> None:
    """Refuse a configuration that cannot work.

    Args:
        cfg: the whole configuration, interpolations unresolved.
        choices: the option chosen in each group.

    Raises:
        ConfigError: with every problem found.
    """
    problems = problems_of(cfg, choices)
    if problems:
        raise ConfigError([str(problem) for problem in problems])


def check_values(cfg: DictConfig) -> None:
    """Refuse values that their keys cannot have, in a configuration that comes with a record.

    Args:
        cfg: the whole configuration, resolved.

    Raises:
        ConfigError: with every problem found.
    """
    problems = list(_value_problems(Tree(cfg)))
    if problems:
        raise ConfigError([str(problem) for problem in problems])


def problems_of(
    cfg: DictConfig,
    choices: dict[str, str],
    unknown: frozenset[str] = frozenset(),
    *,
    names_only: bool = False,
) -> list[Problem]:
    """Every problem of a configuration, at most one for each key.

    No class is imported where something is wrong without it, because that takes seconds. If a name
    is wrong, values are judged only by the rules of `schema`; else also by those that the source of
    our classes tells. Only if all of these are right are the classes asked what else is wrong.

    Args:
        cfg: as `validate`.
        choices: as `validate`.
        unknown: groups of which the chosen option does not exist, and keys whose value could not be
            read: they are not judged.
        names_only: import no class in any case.
    """
    tree = Tree(cfg)
    names = list(name_problems(tree))
    problems = [*_value_problems(tree), *names]
    if not (names or names_only):
        problems += _source_problems(tree)
    if not (problems or names_only):
        excluded = [] if unknown else list(exclusions(tree, choices))
        # Keys that other options gave to a part are not judged by the wrong one in its place.
        parts = tuple(f"{one.key}." for one in excluded if isinstance(tree.raw(one.key), dict))
        arguments = argument_problems(tree)
        problems += [one for one in arguments if not one.key.startswith(parts)]
        problems += excluded
    found: dict[str, Problem] = {}
    skipped = [key.replace("/", ".") for key in unknown]
    for problem in problems:
        if not any(f"{problem.key}.".startswith(f"{key}.") for key in skipped):
            found.setdefault(problem.key, problem)
    causes = [problem for problem in found.values() if not _follows(problem, tree, found)]
    return causes or list(found.values())  # those of a circle have no first one


def _follows(problem: Problem, tree: Tree, found: Collection[str]) -> bool:
    """Return True if a value is wrong only because it reads another key that is wrong."""
    if isinstance(tree.raw(problem.key), dict):  # an option is not wrong because of what is in it
        return False
    read = [_parts(key) for key in tree.references(problem.key)]
    return any(key in found for parts in read for key in parts if key != problem.key)


def _parts(key: str) -> list[str]:
    """A dotted key and those above it."""
    names = key.split(".")
    return [".".join(names[:depth]) for depth in range(len(names), 0, -1)]


def _value_problems(tree: Tree) -> Iterator[Problem]:
    """Values out of range, interpolations that lead nowhere, values still to be given."""
    for key, node in tree.mappings():
        rule = rule_for(key)
        if rule is not None and "_target_" not in node and (fault := rule.fault(node)):
            yield Problem(key, node, fault)
    for key, _ in tree.leaves():
        origin = tree.origin(key)
        if tree.raw(origin) == "???":
            rule = rule_at(tree, origin)
            allowed = "a value" if rule is None else rule.allowed.removesuffix(" or null")
            yield Problem(origin, "???", f"must be given; allowed: {allowed}")
            continue
        try:
            value = tree.value(key)
        except OmegaConfBaseException as error:
            text = f"leads nowhere ({str(error).splitlines()[0]}); allowed: a key that exists"
            yield Problem(origin, tree.raw(origin), text)
            continue
        rule = _rule_in_schema(tree, key)
        if rule is not None and (fault := rule.fault(value)):
            yield Problem(origin, value, fault)
    file = tree.get("resume")
    if isinstance(file, str) and not Path(file).is_file():
        yield Problem("resume", file, f"no such file; allowed: {_CHECKPOINT}, or null")


def _source_problems(tree: Tree) -> Iterator[Problem]:
    """Values that our classes do not allow, as far as that can be known without their import."""
    leaves = [leaf for group in GROUPS for leaf in tree.leaves(group)]
    for key, raw in sorted(leaves, key=lambda leaf: tree.origin(leaf[0]) != leaf[0]):  # own first
        target, name, origin = _our_class(tree, key), key.rpartition(".")[2], tree.origin(key)
        given = GIVEN_BY_THE_RUN.get(key.split(".")[0], ())
        rule = rules_in_source(target).get(name) if target and name not in given else None
        if rule is None or raw == "???" or isinstance(tree.raw(origin), dict):
            continue
        value = tree.get(key)
        leads_nowhere = value is None and tree.raw(origin) is not None
        if (fault := rule.fault(value)) and not leads_nowhere:
            yield Problem(origin, value, fault)


def rule_at(tree: Tree, key: str) -> Rule | None:
    """The rule of a value at a dotted key: that of `schema`, or of the argument that reads it.

    Where several do, that of the argument with this key.

    Args:
        tree: of the configuration.
        key: of the value.
    """
    if rule := _rule_in_schema(tree, key):
        return rule
    for leaf in (key, *(leaf for leaf, _ in tree.leaves())):
        if tree.origin(leaf) == key:
            with contextlib.suppress(TargetError):  # reported where the values are checked
                rule = signature_of(_our_class(tree, leaf)).rules.get(leaf.rpartition(".")[2])
        if rule is not None:
            return rule
    return None


def _rule_in_schema(tree: Tree, key: str) -> Rule | None:
    return None if _our_class(tree, key) else rule_for(key)


def _our_class(tree: Tree, key: str) -> str:
    """The class of ours that takes a key as its argument; or nothing."""
    parent = key.rpartition(".")[0]
    target = DATA_TARGET if parent == "data" else tree.get(f"{parent}._target_") if parent else None
    return target if isinstance(target, str) and target.startswith(f"{PACKAGE.name}.") else ""


@functools.cache
def rule_for(key: str) -> Rule | None:
    """The rule that `schema` has for a dotted key, if any."""
    return next((rule for pattern, rule in _patterns() if pattern.fullmatch(key)), None)


@functools.cache
def _patterns() -> tuple[tuple[re.Pattern[str], Rule], ...]:
    return tuple((re.compile(fnmatch.translate(glob)), rule) for glob, rule in RULES.items())
