"""Rules that span two options: the reason, and the value that would work.

What a part can do is declared by its class, so that a part of the user's own gets the same checks.
"""

import functools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from seqpipe.config.config_view import Tree
from seqpipe.config.paths import conf_dir
from seqpipe.config.schema import DATA_TARGET
from seqpipe.config.signatures import TargetError, class_attribute
from seqpipe.errors import did_you_mean, first_of
from seqpipe.rules import Problem

HEAD, DECODER = "architecture.head", "architecture.decoder"


def exclusions(tree: Tree, choices: dict[str, str]) -> Iterator[Problem]:
    """Yield pairs of options that cannot work together.

    Args:
        tree: of the configuration.
        choices: the option chosen in each group.
    """
    if not all(isinstance(tree.raw(group), dict) for group in ("data", "architecture", "task")):
        return
    misfits = list(_misfits(tree, choices))
    yield from misfits
    yield from _cell(tree, choices)
    if all(problem.key != "architecture" for problem in misfits):
        yield from _decoder(tree)
    yield from _whole_sequences(tree, choices)
    yield from _lanes(tree, choices)
    yield from _end_of_training(tree, choices)
    yield from _strategy(tree, choices)
    yield from _averages(tree, choices)
    yield from _without_effect(tree)


def declared(tree: Tree, key: str, name: str) -> Any:
    """An attribute of the class at a key; None where it, or the class, is not there."""
    target = tree.get(f"{key}._target_")
    try:
        return class_attribute(target, name) if isinstance(target, str) else None
    except TargetError:  # reported where it is written
        return None


class Fit(NamedTuple):
    """The architecture and the task that data needs."""

    architecture: str
    task: str


Kinds = tuple[str | None, str]
"""The kinds of x, None without one, and of y."""


@functools.cache
def packaged_fits() -> dict[Kinds, tuple[Fit, ...]]:
    """Return what fits each kind of x and y, the usual first: as the packaged classes declare."""
    fits: dict[Kinds, tuple[Fit, ...]] = {}
    for architecture, model in _packaged_classes("architecture").items():
        for task, target in _packaged_classes("task").items():
            if class_attribute(model, "answers") in class_attribute(target, "answers"):
                for y in class_attribute(target, "y_kinds"):
                    for x in class_attribute(model, "x_kinds"):
                        if y in class_attribute(model, "y_kinds"):
                            fits[x, y] = (*fits.get((x, y), ()), Fit(architecture, task))
    return fits


def _packaged_classes(group: str) -> dict[str, str]:
    files = sorted((conf_dir() / group).glob("*.yaml"))
    return {file.stem: yaml.safe_load(file.read_text())["_target_"] for file in files}


def kinds_of(tree: Tree) -> Kinds | None:
    """The kinds of x and y; None where only the built fields know them."""
    x, y = (declared(tree, f"data.{role}", "kind") for role in ("x", "y"))
    if not isinstance(y, str) or (tree.raw("data.x") is not None and not isinstance(x, str)):
        return None
    return x, y


def _phrase(kind: str | None) -> str:
    """A kind in words: `a series`."""
    kinds = class_attribute(DATA_TARGET, "kinds")
    return "nothing" if kind is None else kinds[kind].phrase if kind in kinds else kind


def _accepts(tree: Tree, kinds: Kinds | None) -> bool | None:
    """True if the architecture reads x and answers y; None where that is not declared."""
    x_kinds, y_kinds = (declared(tree, "architecture", f"{role}_kinds") for role in ("x", "y"))
    if kinds is None or x_kinds is None or y_kinds is None:
        return None
    return kinds[0] in x_kinds and kinds[1] in y_kinds


def _misfits(tree: Tree, choices: dict[str, str]) -> Iterator[Problem]:
    """Yield an architecture that does not fit x and y, and a task that does not fit both."""
    kinds, name = kinds_of(tree), choices.get("architecture", "...")
    fits, accepts = packaged_fits().get(kinds, ()) if kinds else (), _accepts(tree, kinds)
    data, task = f"data={choices.get('data', '...')}", choices.get("task", "...")
    if kinds and accepts is False:
        x, y = map(_phrase, kinds)
        if not fits:
            answers = sorted({_phrase(b) for a, b in packaged_fits() if a == kinds[0]})
            text = f"no architecture maps {x} to {y}; allowed: {' or '.join(answers)}"
            yield Problem("data.y", tree.get("data.y._target_"), text)
            return
        works = [_change(fit, name, task if len(fits) > 1 else fit.task) for fit in fits]
        allowed = ", or ".join(filter(None, [*works, _packaged_data(name)]))
        text = f"{data} maps {x} to {y}; allowed: {allowed}"
        yield Problem("architecture", choices.get("architecture"), text)
    way = declared(tree, "architecture", "answers")
    own = _tasks_that_judge(way, kinds)
    if kinds is not None and not accepts:
        tasks = {f"task={fit.task}": _packaged_classes("task")[fit.task] for fit in fits}
        changes = list(tasks)
    else:
        tasks = own
        changes = [*own, *(_change(fit, name, task) for fit in fits)]
    if tasks and not _judges(tree, tasks.values(), kinds):
        why = f"does not fit {data if fits else f'architecture={name}'}"
        allowed = " or ".join(dict.fromkeys(changes))
        yield Problem("task", choices.get("task"), f"{why}; allowed: {allowed}")


def _tasks_that_judge(way: str | None, kinds: Kinds | None) -> dict[str, str]:
    """The packaged tasks for a way of answering and a kind of y: `task=NAME` -> class."""
    return {
        f"task={name}": target
        for name, target in _packaged_classes("task").items()
        if way in class_attribute(target, "answers")
        and (kinds is None or kinds[1] in class_attribute(target, "y_kinds"))
    }


def _judges(tree: Tree, tasks: Iterable[str], kinds: Kinds | None) -> bool:
    """True where the task judges y and the answers that one of these packaged tasks judges."""
    y_kinds, answers = (declared(tree, "task", name) for name in ("y_kinds", "answers"))
    if y_kinds is None or answers is None:  # the user's own, which declares nothing
        return True
    ways = {way for task in tasks for way in class_attribute(task, "answers")}
    return bool(ways & {*answers}) and (kinds is None or kinds[1] in y_kinds)


def _change(fit: Fit, architecture: str, task: str) -> str:
    """The overrides that change an architecture and a task to those that fit."""
    changes = {"architecture": architecture, "task": task}
    return " ".join(f"{k}={v}" for k, v in fit._asdict().items() if v != changes[k])


@functools.cache
def _packaged_data(architecture: str) -> str:
    """The packaged data that bring an architecture, three at most: `data=abc, data=dates, ...`."""
    files = sorted((conf_dir() / "data").glob("*.yaml"))
    brought = {file.stem: _overrides_of(file).get("override /architecture") for file in files}
    names = [f"data={name}" for name, brings in brought.items() if brings == architecture]
    return first_of(names, 3)


@functools.cache
def _overrides_of(file: Path) -> dict[str, str]:
    """The overrides in the defaults list of an option; those of its base files come first."""
    found: dict[str, str] = {}
    for entry in yaml.safe_load(file.read_text(encoding="utf-8")).get("defaults", []):
        if isinstance(entry, dict):
            found |= entry
        else:
            base = (file.parent / entry.partition("@")[0]).with_suffix(".yaml")
            found = {**_overrides_of(base), **found}
    return found


def _cell(tree: Tree, choices: dict[str, str]) -> Iterator[Problem]:
    """Yield a cell where nothing recurs, and no cell where one is read."""
    name = f"architecture={choices.get('architecture')}"
    no_cell = tree.get("cell._target_") is None
    if declared(tree, "architecture", "recurrent") is False:
        if not no_cell:
            text = f"{name} has no recurrence; allowed: cell=none"
            yield Problem("cell", choices.get("cell"), text)
        if tree.get("bidirectional") is True:
            text = f"{name} has no time axis to read backwards; allowed: bidirectional=false"
            yield Problem("bidirectional", True, text)
    elif no_cell and "cell" in tree.references("architecture"):
        cells = [file.stem for file in sorted((conf_dir() / "cell").glob("*.yaml"))]
        names = ", ".join(cell for cell in cells if cell != "none")
        yield Problem("cell", choices.get("cell"), f"{name} is recurrent; allowed: {names}")


def _decoder(tree: Tree) -> Iterator[Problem]:
    """Yield what the stack that writes y cannot have, see `Architecture.decoder_faults`."""
    faults = declared(tree, "architecture", "decoder_faults")
    names = ("bidirectional", "learn_initial_state")
    options = {name: tree.get(f"{DECODER}.{name}") is True for name in names}
    has_x = tree.raw("data.x") is not None
    for name, text in () if faults is None else faults(**options, has_x=has_x):
        yield Problem(tree.origin(f"{DECODER}.{name}"), True, text)


def _whole_sequences(tree: Tree, choices: dict[str, str]) -> Iterator[Problem]:
    """Yield what does not go with a head that answers with whole sequences (a CRF)."""
    if not declared(tree, HEAD, "whole_sequences"):
        return
    head = choices.get("architecture/head", "...")
    linear = f"allowed: {HEAD}=linear"
    for group in ("architecture", "task"):
        if declared(tree, group, "whole_sequences") is False:
            text = f"scores sequences of tags, but {group}={choices.get(group)} predicts none"
            yield Problem(HEAD, head, f"{text}; {linear}, or data of task=tagging")
            return
    if tree.get("data.bptt") is not None:
        text = f"{HEAD}={head} needs the previous tag, which the carried state does not hold"
        allowed = f"null, data.window in its place, or {HEAD}=linear"
        yield Problem("data.bptt", tree.get("data.bptt"), f"{text}; allowed: {allowed}")


def _lanes(tree: Tree, choices: dict[str, str]) -> Iterator[Problem]:
    """Yield what cannot carry a state from batch to batch."""
    bptt = tree.get("data.bptt")
    if bptt is None or declared(tree, "architecture", "answers") is None:
        return
    if declared(tree, "architecture", "carry") is None:
        text = f"architecture={choices.get('architecture')} carries no state"
        yield Problem("data.bptt", bptt, f"{text}; allowed: null, or data.window in its place")
    for key, _ in tree.mappings("architecture"):
        if tree.get(f"{key}.bidirectional") is True:
            origin = tree.origin(f"{key}.bidirectional")
            text = f"the state can only be carried forwards (data.bptt); allowed: {origin}=false"
            yield Problem(origin, True, f"{text}, or data.window for data.bptt")


def _end_of_training(tree: Tree, choices: dict[str, str]) -> Iterator[Problem]:
    """Yield a training without an end, and an end that comes before its beginning."""
    names = ("max_epochs", "max_steps", "max_time", "min_epochs")
    epochs, steps, time, least = (tree.get(f"trainer.{name}") for name in names)
    if isinstance(least, int) and isinstance(epochs, int) and 0 < epochs < least:
        text = f"training ends after {epochs}; allowed: at most trainer.max_epochs={epochs}"
        yield Problem("trainer.min_epochs", least, text)
    if epochs == -1 and steps == -1:
        if time is None:
            text = "training would not end; allowed: also trainer.max_steps or trainer.max_time"
            yield Problem("trainer.max_epochs", epochs, text)
        elif declared(tree, "scheduler", "needs_total_steps"):
            text = "needs to know the number of steps; allowed: trainer.max_epochs or max_steps"
            yield Problem("scheduler", choices.get("scheduler"), text)


STRATEGIES = ("auto", "ddp", "ddp_find_unused_parameters_true")
_OWN_PROCESSES = "ends its processes with the training, and the metrics and the report with them"
_SHARDS = (
    "splits each weight among the processes, and the norms of the gradient, clipping, the check for"
    " NaN, averages and checkpoints here need whole ones"
)
_LESS_MEMORY = (
    "; for a model that does not fit: trainer.precision=bf16-mixed, or a smaller data.batch_size"
    " with trainer.accumulate_grad_batches"
)
_REFUSED_STRATEGIES = (
    (("ddp_spawn", "ddp_fork", "ddp_notebook"), _OWN_PROCESSES, ""),
    (("fsdp", "deepspeed", "modelparallel", "model_parallel"), _SHARDS, _LESS_MEMORY),
    (("ddp_find_unused_parameters_false",), "is what ddp does", ""),
)


def _strategy(tree: Tree, choices: dict[str, str]) -> Iterator[Problem]:
    """Yield a strategy of Lightning that cannot work here, with the reason."""
    strategy = tree.get("trainer.strategy")
    if not isinstance(strategy, str) or strategy in STRATEGIES:
        return
    allowed = f"allowed: {', '.join(STRATEGIES)}"
    for names, why, instead in _REFUSED_STRATEGIES:
        if strategy.startswith(names):
            yield Problem("trainer.strategy", strategy, f"{why}; {allowed}{instead}")
            return
    text = f"unknown choice; {allowed}{did_you_mean(strategy, STRATEGIES)}"
    yield Problem("trainer.strategy", strategy, text)


_AVERAGING = ("WeightAveraging", "EMAWeightAveraging", "StochasticWeightAveraging")


def _averages(tree: Tree, choices: dict[str, str]) -> Iterator[Problem]:
    """Yield an average beside one of Lightning's callbacks, which would average the average."""
    if tree.get("averaging._target_") is None:
        return
    for key, node in tree.mappings("callbacks"):
        module, _, name = str(node.get("_target_")).rpartition(".")
        if name in _AVERAGING and module.split(".")[0] in ("pytorch_lightning", "lightning"):
            text = f"{key} averages the weights as well; allowed: one of them, none or ~{key}"
            yield Problem("averaging", choices.get("averaging"), text)


def _without_effect(tree: Tree) -> Iterator[Problem]:
    """Yield values that would be accepted and do nothing, or undo another one."""
    clipping = clipping_problem(tree)
    if clipping is not None and clipping.value == "value":  # the other one is the default
        yield clipping
    started = tree.get("resume") is not None  # by an older version, with both
    drawn = tree.get("init_range")
    if drawn is not None and tree.get("cell.recurrent_init") == "identity" and not started:
        text = "draws all weights, also those of cell.recurrent_init=identity"
        allowed = "null, or cell.recurrent_init=orthogonal"
        yield Problem("init_range", drawn, f"{text}; allowed: {allowed}")
    if tree.get("optim.nesterov") is True and tree.get("optim.momentum") == 0:
        text = "needs a momentum; allowed: optim.momentum=0.9, or false"
        yield Problem("optim.nesterov", True, text)
    if tree.get("optim.weight_decay_on") == "all" and tree.get("optim.weight_decay") == 0:
        text = "has no effect with optim.weight_decay=0; allowed: matrices, or a decay above 0"
        yield Problem("optim.weight_decay_on", "all", text)


def clipping_problem(tree: Tree) -> Problem | None:
    """The problem of a way of clipping where nothing is clipped; None where something is."""
    if tree.get("trainer.gradient_clip_val") is not None:
        return None
    key = "trainer.gradient_clip_algorithm"
    text = "nothing is clipped; allowed: leave it out, or also trainer.gradient_clip_val=1.0"
    return Problem(key, tree.get(key), text)
