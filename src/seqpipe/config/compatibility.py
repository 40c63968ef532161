"""Rules that span two options: the reason, and the value that would work."""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from seqpipe.config.config_view import Tree
from seqpipe.config.paths import conf_dir
from seqpipe.config.signatures import TargetError, class_attribute
from seqpipe.rules import Problem

HEAD = "architecture.head"
CRF = "seqpipe.nn.crf.CRFHead"


def crf_problems(tree: Tree, architecture: str | None, task: str | None) -> Iterator[Problem]:
    """Yield options that a model of whole sequences of tags (a CRF) cannot have.

    Args:
        tree: of the configuration.
        architecture: the packaged one that was chosen; None for the user's own.
        task: node of the task.
    """
    if tree.get(f"{HEAD}._target_") != CRF:
        return
    linear = f"allowed: {HEAD}=linear"
    for group, name, wanted in (
        ("architecture", architecture, "many_to_many"),
        ("task", task, "tagging"),
    ):
        if name is not None and name != wanted:
            text = f"scores sequences of tags, but {group}={name} predicts none"
            yield Problem(HEAD, "crf", f"{text}; {linear}, or data of task=tagging")
            return
    if tree.get("data.bptt") is not None:
        text = "architecture.head=crf needs the previous tag, which the carried state does not hold"
        allowed = f"null, data.window in its place, or {HEAD}=linear"
        yield Problem("data.bptt", tree.get("data.bptt"), f"{text}; allowed: {allowed}")
    smoothing = tree.get("task.label_smoothing")
    if smoothing:
        text = f"smooths the tags of one step, but {HEAD}=crf predicts whole sequences"
        yield Problem("task.label_smoothing", smoothing, f"{text}; allowed: 0")


def lane_problems(tree: Tree, architecture: str | None) -> Iterator[Problem]:
    """Architectures that cannot carry a state from batch to batch.

    Args:
        tree: of the configuration.
        architecture: the packaged one that was chosen; None for the user's own.
    """
    bptt = tree.get("data.bptt")
    if bptt is None:
        return
    if architecture == "many_to_many" and tree.get("architecture.encoder.bidirectional"):
        origin = tree.origin("architecture.encoder.bidirectional")
        text = "the state can only be carried forwards (data.bptt); allowed"
        yield Problem(origin, True, f"{text}: {origin}=false, or data.window for data.bptt")
    if tree.raw("data.x") is not None and architecture == "one_to_many":
        text = "a condition belongs to the start of an example, but data.bptt joins the examples"
        yield Problem("data.bptt", bptt, f"{text}; allowed: null")


DECAY = "architecture.teacher_forcing_decay"


def forcing_problems(tree: Tree) -> Iterator[Problem]:
    """A decay from where there is nothing to decay to.

    Args:
        tree: of the configuration.
    """
    start, target = tree.get("architecture.teacher_forcing"), tree.get(f"{DECAY}._target_")
    if not isinstance(start, (int, float)) or not isinstance(target, str):
        return
    if start == 0 and target != "seqpipe.models.forcing.Constant":
        text = (
            f"is 0 from the start, so {DECAY} would do nothing; allowed: above 0, or {DECAY}=none"
        )
        yield Problem("architecture.teacher_forcing", start, text)
        return
    end = tree.get(f"{DECAY}.end")
    if isinstance(end, (int, float)) and end >= start:
        text = f"starts at architecture.teacher_forcing={start} and decays; allowed: less than that"
        yield Problem(f"{DECAY}.end", end, text)


class Fit(NamedTuple):
    """The architecture and the task that data needs."""

    architecture: str
    task: str


@functools.cache
def _packaged_fits() -> dict[tuple[str | None, str], tuple[Fit, ...]]:
    """(kind of x, kind of y) -> what fits, the usual first: as the packaged classes declare."""
    fits: dict[tuple[str | None, str], tuple[Fit, ...]] = {}
    for architecture, model in _targets("architecture").items():
        answers = class_attribute(model, "answers")
        for task, target in _targets("task").items():
            if answers not in class_attribute(target, "answers"):
                continue
            for y in class_attribute(target, "y_kinds"):
                if y in class_attribute(model, "y_kinds"):
                    for x in class_attribute(model, "x_kinds"):
                        fits[x, y] = (*fits.get((x, y), ()), Fit(architecture, task))
    return fits


def _targets(group: str) -> dict[str, str]:
    """Option of a group -> its class."""
    files = sorted((conf_dir() / group).glob("*.yaml"))
    return {file.stem: yaml.safe_load(file.read_text())["_target_"] for file in files}


KINDS = {
    None: "nothing",
    "values": "a series",
    "symbols": "a text",
    "spelled": "spelled words",
    "vector": "one vector",
    "category": "one category",
    "number": "one number",
    "ordinal": "one ordered class",
    "tags": "a tag for each step",
    "multi_label": "any of several labels",
    "roll": "a piano roll",
}


def exclusions(tree: Tree, choices: dict[str, str]) -> Iterator[Problem]:
    """Pairs of options that cannot work together."""
    if not all(isinstance(tree.raw(group), dict) for group in ("data", "architecture", "task")):
        return
    architecture = _packaged_name(tree, "architecture", "models")
    misfits = list(_data_and_architecture(tree, choices, architecture))
    yield from misfits
    yield from _cell_and_architecture(tree, choices, architecture)
    if all(problem.key != "architecture" for problem in misfits):
        yield from _decoder(tree, choices, architecture)
    yield from crf_problems(tree, architecture, _packaged_name(tree, "task", "tasks"))
    yield from forcing_problems(tree)
    yield from lane_problems(tree, architecture)
    yield from _end_of_training(tree, choices)
    yield from _unused_values(tree, architecture)
    yield from _splits(tree)


def _packaged_name(tree: Tree, group: str, package: str) -> str | None:
    """`many_to_one` for seqpipe.models.many_to_one.ManyToOne; None for the user's own."""
    target = tree.get(f"{group}._target_")
    parts = target.split(".") if isinstance(target, str) else []
    return parts[2] if parts[:2] == ["seqpipe", package] and len(parts) == 4 else None


def _kind(target: Any) -> str | None:
    """Return the kind of a field; None if only the built object knows it."""
    try:
        kind = class_attribute(target, "kind") if isinstance(target, str) else None
    except TargetError:  # reported where it is written
        return None
    return kind if isinstance(kind, str) else None


def _kind_of(node: Any) -> str | None:
    return _kind(node.get("_target_")) if isinstance(node, dict) else None


def _fits(x: Any, y: Any) -> tuple[Fit, ...]:
    """Return what fits the nodes of x and y, the usual choice first; empty if unknown."""
    x_target = x.get("_target_") if isinstance(x, dict) else None
    y_kind = _kind(y.get("_target_")) if isinstance(y, dict) else None
    x_kind = _kind(x_target)
    if y_kind is None or (x is not None and x_kind is None):
        return ()
    return _packaged_fits().get((x_kind, y_kind), ())


@functools.cache
def _packaged_data(architecture: str) -> tuple[str, ...]:
    """The packaged data that bring a packaged architecture."""
    files = sorted((conf_dir() / "data").glob("*.yaml"))
    brought = {file.stem: _overrides_of(file).get("override /architecture") for file in files}
    return tuple(f"data={name}" for name, brings in brought.items() if brings == architecture)


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


def _data_and_architecture(
    tree: Tree, choices: dict[str, str], architecture: str | None
) -> Iterator[Problem]:
    x, y = tree.raw("data.x"), tree.raw("data.y")
    fits, task = _fits(x, y), _packaged_name(tree, "task", "tasks")
    data = f"data={choices.get('data', '...')}"
    if not fits and isinstance(y, dict) and (y_kind := _kind(y.get("_target_"))):
        x_kind = _kind(x.get("_target_")) if isinstance(x, dict) else None
        if x is None or x_kind is not None:
            answers = (
                " or ".join(sorted({KINDS[b] for a, b in _packaged_fits() if a == x_kind}))
                or "nothing"
            )
            text = f"no architecture maps {KINDS[x_kind]} to {KINDS.get(y_kind, y_kind)}"
            yield Problem("data.y", y.get("_target_"), f"{text}; allowed: {answers}")
        return
    fitting = [fit for fit in fits if fit.architecture == architecture]
    if fits and architecture and not fitting:
        x_kind = _kind(x["_target_"]) if isinstance(x, dict) else None
        text = f"{data} maps {KINDS[x_kind]} to {KINDS[_kind(y['_target_']) or '']}"
        works = [_change(f, architecture, task if len(fits) > 1 else f.task) for f in fits]
        others = _packaged_data(architecture)
        works += [", ".join(others[:3]) + (", ..." if len(others) > 3 else "")]
        allowed = ", or ".join(filter(None, works))
        yield Problem("architecture", choices.get("architecture"), f"{text}; allowed: {allowed}")
    known = [fit for several in _packaged_fits().values() for fit in several]
    taken = fitting or fits or [fit for fit in known if fit.architecture == architecture]
    if task and taken and task not in [fit.task for fit in taken]:
        why = "does not fit " + (data if fits else f"architecture={architecture}")
        names = [f"task={fit.task}" for fit in dict.fromkeys(taken)]
        if fitting:
            names = [_change(fit, architecture, task) for fit in fits]
        allowed = " or ".join(dict.fromkeys(names))
        yield Problem("task", choices.get("task"), f"{why}; allowed: {allowed}")


def _change(fit: Fit, architecture: str | None, task: str | None) -> str:
    """Return the overrides that change an architecture and a task to those that fit."""
    changes = {"architecture": architecture, "task": task}
    return " ".join(f"{k}={v}" for k, v in fit._asdict().items() if v != changes[k])


def _cell_and_architecture(
    tree: Tree, choices: dict[str, str], architecture: str | None
) -> Iterator[Problem]:
    no_cell = tree.get("cell._target_") is None
    if architecture == "one_to_one":
        if not no_cell:
            text = "architecture=one_to_one has no recurrence; allowed: cell=none"
            yield Problem("cell", choices.get("cell"), text)
        if tree.get("bidirectional") is True:
            text = "architecture=one_to_one has no time axis to read backwards"
            yield Problem("bidirectional", True, f"{text}; allowed: bidirectional=false")
    elif no_cell and architecture is not None:
        cells = [file.stem for file in sorted((conf_dir() / "cell").glob("*.yaml"))]
        names = ", ".join(name for name in cells if name != "none")
        text = f"architecture={architecture} is recurrent; allowed: {names}"
        yield Problem("cell", choices.get("cell"), text)


def _decoder(tree: Tree, choices: dict[str, str], architecture: str | None) -> Iterator[Problem]:
    key = "architecture.decoder"
    if architecture in ("one_to_many", "encoder_decoder") and tree.get(f"{key}.bidirectional"):
        origin = tree.origin(f"{key}.bidirectional")
        name = f"architecture={architecture}"
        text = f"the decoder of {name} would read the answer, y_{{t+1}}; allowed: {origin}=false"
        yield Problem(origin, tree.get(origin), text)
    given = {"encoder_decoder": "the encoder's final state"}
    if tree.raw("data.x") is not None:
        given["one_to_many"] = "a state made from the condition"
    if architecture in given and tree.get(f"{key}.learn_initial_state"):
        origin = tree.origin(f"{key}.learn_initial_state")
        text = f"the decoder starts in {given[architecture]}; allowed: {origin}=false"
        yield Problem(origin, True, text)


def _end_of_training(tree: Tree, choices: dict[str, str]) -> Iterator[Problem]:
    names = ("max_epochs", "max_steps", "max_time", "min_epochs")
    epochs, steps, time, least = (tree.get(f"trainer.{name}") for name in names)
    if isinstance(least, int) and isinstance(epochs, int) and 0 < epochs < least:
        text = f"training ends after {epochs}; allowed: at most trainer.max_epochs={epochs}"
        yield Problem("trainer.min_epochs", least, text)
    if epochs == -1 and steps == -1:
        if time is None:
            text = "training would not end; allowed: also trainer.max_steps or trainer.max_time"
            yield Problem("trainer.max_epochs", epochs, text)
        elif tree.get("scheduler._target_") in _NEED_AN_END:
            name = choices.get("scheduler")
            text = "needs to know the number of steps; allowed: trainer.max_epochs or max_steps"
            yield Problem("scheduler", name, text)


_NEED_AN_END = tuple(f"seqpipe.training.schedules.{name}" for name in ("cosine", "warmup_cosine"))


def _splits(tree: Tree) -> Iterator[Problem]:
    shares = [tree.get(f"data.source.{split}") for split in ("valid", "test")]
    if all(isinstance(share, float) for share in shares) and sum(shares) >= 1:
        text = "leaves nothing to train on; allowed: data.source.valid + data.source.test < 1"
        yield Problem(tree.origin("data.source.test"), shares[1], text)


def _unused_values(tree: Tree, architecture: str | None) -> Iterator[Problem]:
    """Values that would be accepted and do nothing."""
    width, x_kind = tree.get("architecture.embedding_size"), _kind_of(tree.raw("data.x"))
    if width is not None and architecture in ("many_to_one", "many_to_many"):
        if x_kind == "values":
            text = "x is a series of numbers, which is not embedded; allowed: null"
            yield Problem(tree.origin("architecture.embedding_size"), width, text)
    is_roll = _kind_of(tree.raw("data.y")) == "roll"
    if width is not None and architecture == "one_to_many" and is_roll:
        text = "y is a piano roll, which is not embedded; allowed: null"
        yield Problem(tree.origin("architecture.embedding_size"), width, text)
    for name in ("characters", "characters_size"):
        value = tree.get(f"architecture.{name}")
        if value is not None and x_kind not in (None, "spelled"):
            text = "x does not hold the characters of words; allowed: null, or a Spelled x"
            yield Problem(tree.origin(f"architecture.{name}"), value, text)
    frozen = tree.get("architecture.freeze_vectors") is True
    if frozen and all(tree.get(f"data.{role}.vectors") is None for role in ("x", "y")):
        role = "y" if tree.raw("data.x") is None else "x"
        text = f"random vectors would never be trained; allowed: false, or data.{role}.vectors=FILE"
        yield Problem(tree.origin("architecture.freeze_vectors"), True, text)
    if tree.get("architecture.head.dropout") and tree.get("architecture.head.hidden") == []:
        text = "acts between the layers of the head, which has only one; allowed: 0, or also"
        value = tree.get("architecture.head.dropout")
        yield Problem("architecture.head.dropout", value, f"{text} architecture.head.hidden=[64]")
    trainer = tree.raw("trainer") if isinstance(tree.raw("trainer"), dict) else {}
    if trainer.get("gradient_clip_algorithm") == "value" and (
        trainer.get("gradient_clip_val") is None
    ):
        text = "nothing is clipped; allowed: leave it out, or also trainer.gradient_clip_val=1.0"
        yield Problem("trainer.gradient_clip_algorithm", "value", text)
    if tree.get("optim.nesterov") is True and tree.get("optim.momentum") == 0:
        text = "needs a momentum; allowed: optim.momentum=0.9, or false"
        yield Problem("optim.nesterov", True, text)
    if tree.get("optim.weight_decay_on") == "all" and tree.get("optim.weight_decay") == 0:
        text = "has no effect with optim.weight_decay=0; allowed: matrices, or a decay above 0"
        yield Problem("optim.weight_decay_on", "all", text)
