"""Keys that were typed and that nothing would read, as the rest of the configuration stands.

Only what was typed is judged: an option may write a key that its other keys make idle.
"""

import re
from collections.abc import Collection, Iterator
from typing import Any

from seqpipe.config.compatibility import clipping_problem
from seqpipe.config.config_view import Tree
from seqpipe.processes import processes_of
from seqpipe.rules import Problem

OF_SHARES = ("group", "stratify", "order", "seed")
"""Options of a source by which shares are drawn."""

_PACKED = (".jsonl", ".ndjson", ".json", ".jsonl.gz", ".ndjson.gz", ".json.gz", ".parquet")
_LISTS = (".csv", ".tsv", ".txt")
_OF_STEPS = ("label", "tags", "targets")
_OF_CELLS = ("quote", "delimiter", "header")
_OF_STACKS = (
    *("hidden_size", "depth", "bidirectional", "dropout"),
    *("input_dropout", "output_dropout", "locked_dropout"),
    *("activation_penalty", "temporal_activation_penalty"),
)
_OF_STALLING = ("patience", "monitor", "mode")
_LIMITS = ("limit_train_batches", "limit_val_batches", "limit_test_batches")
_KEEPS = "seqpipe.training.checkpoints.BestAndLast"
_NEVER_STOPS = (_KEEPS,)
_NEVER_KEEP = ("seqpipe.", "pytorch_lightning.", "None")  # a last.ckpt without `save_last`
_STARTS = ("recurrent_init", "recurrent_gain", "input_std")
_LEAVE_OUT = "allowed: leave it out"


def unread_problems(tree: Tree, typed: Collection[str]) -> Iterator[Problem]:
    """Typed keys without an effect, each with what would give it one.

    Args:
        tree: of the configuration.
        typed: keys as they were typed.
    """
    rules = (
        _of_sources,
        _of_texts,
        _of_models,
        _of_tasks,
        _of_trainer,
        _of_schedule,
        _of_averaging,
    )
    for key, text in (found for rule in rules for found in rule(tree)):
        if key in typed and tree.has(key):
            yield Problem(key, tree.get(key), text)


def _of_sources(tree: Tree) -> Iterator[tuple[str, str]]:
    fields = [tree.get("data.x.column"), tree.get("data.y.column")]
    for key, node in tree.mappings("data.source"):
        splits = [tree.get(f"{key}.{split}") for split in ("valid", "test")]
        if {"train", "valid", "test"} <= node.keys() and all(map(_is_names, splits)):
            text = f"every split is named, so nothing is drawn; {_LEAVE_OUT}"
            yield from ((f"{key}.{name}", f"{text}, or {key}.valid=0.1") for name in OF_SHARES)
        elif node.get("order") == "file":
            text = f"in the order of the file nothing is drawn; {_LEAVE_OUT}, or {key}.order=random"
            yield f"{key}.seed", text
        if node.get("labels", key) is None:
            text = f"no table of labels is read; {_LEAVE_OUT}, or also {key}.labels=FILE"
            yield from ((f"{key}.{name}", text) for name in ("id_column", "label_column"))
        if "convert_to" in node and tree.get(f"{key}.scheme") is None:
            text = f"no spans are read; {_LEAVE_OUT}, or {key}.scheme=auto"
            yield from ((f"{key}.{name}", text) for name in ("spans", "convert_to", "invalid"))
        written = _format(tree, key) if "format" in node else None
        if written is not None:
            for name in (*_OF_CELLS, *(["encoding"] if written == "parquet" else [])):
                yield f"{key}.{name}", f"{written} has none; {_LEAVE_OUT}"
        if "pattern" in node and not any(name.endswith(_LISTS) for name in _names(tree, key)):
            text = f"no list of files is read; {_LEAVE_OUT}, or also {key}.train=LIST.csv"
            yield f"{key}.encoding", text
        groups = re.findall(r"\(\?P<(\w+)>", str(node.get("pattern") or ""))
        readers = str([*fields, node.get("group"), node.get("stratify")])
        if groups and not any(name in readers for name in groups):
            text = f"nothing reads {' or '.join(groups)}; {_LEAVE_OUT}"
            yield f"{key}.pattern", f"{text}, or also data.y.column={groups[0]}"
        for name in _OF_STEPS if node.keys() >= {"id", *_OF_STEPS} else ():
            text = f"neither x nor y reads it; {_LEAVE_OUT}, or also data.y.column={name}"
            if name not in readers:
                yield f"{key}.{name}", text
        if tree.get(f"{key}.path") not in (None, tree.get(f"{key}.default_folder")):
            text = f"the data is read from data.path; {_LEAVE_OUT}, or leave out data.path"
            yield f"{key}.default_folder", text
        if isinstance(node.get("local"), dict) and isinstance(node.get("hub"), dict):
            from_hub = tree.get(f"{key}.path") is None
            where = "the hub" if from_hub else "files"
            is_default = tree.get(f"{key}.path") == tree.get(f"{key}.default_folder")
            other = f"{key}.default_folder=null" if is_default else "data.path=null"
            other = "data.path=FOLDER" if from_hub else other
            text = f"the data is read from {where}; {_LEAVE_OUT}, or {other}"
            unused = tree.leaves(f"{key}.{'local' if from_hub else 'hub'}")
            yield from ((name, text) for name, _ in unused)


def _is_names(value: Any) -> bool:
    return isinstance(value, (str, list))


def _format(tree: Tree, key: str) -> str | None:
    """`jsonl` or `parquet`, where all files are known to be of it."""
    given = tree.get(f"{key}.format")
    if given is not None:
        return str(given) if given in ("jsonl", "parquet") else None
    names = _names(tree, key)
    if not names or not all(name.endswith(_PACKED) for name in names):
        return None
    return "parquet" if all(name.endswith(".parquet") for name in names) else "jsonl"


def _names(tree: Tree, key: str) -> list[str]:
    """The files of all splits of a source, as they are called, in small letters."""
    values = [tree.get(f"{key}.{split}") for split in ("train", "valid", "test")]
    listed = [name for value in values for name in (value if isinstance(value, list) else [value])]
    return [name.lower() for name in listed if isinstance(name, str)]


def _of_texts(tree: Tree) -> Iterator[tuple[str, str]]:
    for role in ("x", "y"):
        key = f"data.{role}"
        if tree.get(f"{key}.by") == "bytes":
            text = f"by bytes there are always 260 symbols; {_LEAVE_OUT}, or {key}.by=words"
            yield f"{key}.max_vocabulary", text


def _of_models(tree: Tree) -> Iterator[tuple[str, str]]:
    read = tree.references()
    stacks = [key for key, node in tree.mappings("architecture") if "hidden_size" in node]
    if (wanted := tree.get("match_parameters")) is None:
        text = f"no number of parameters is given; {_LEAVE_OUT}, or also match_parameters=20000"
        yield "match_parameters_count", text
    elif "hidden_size" not in read:
        yield "match_parameters", f"nothing reads hidden_size, which it would choose; {_LEAVE_OUT}"
    else:
        text = f"match_parameters={wanted} chooses it; {_LEAVE_OUT}, or match_parameters=null"
        yield "hidden_size", text
    for name in _OF_STACKS:
        if name not in read:
            keys = [f"{key}.{name}" for key in stacks if tree.has(f"{key}.{name}")]
            if keys or tree.get(name) not in (False, None):  # bidirectional=false is true of any
                instead = f"read in its place: {', '.join(keys)}" if keys else "nothing reads it"
                yield name, f"{instead}; {_LEAVE_OUT}"
    if stacks and all(_drops_its_output_only(tree, key) for key in stacks):
        text = f"the only layer drops by output_dropout; {_LEAVE_OUT}, or also depth=2"
        yield "dropout", text
    if tree.get("init_range") is not None:
        text = f"init_range draws all weights; {_LEAVE_OUT}, or init_range=null"
        yield from ((f"cell.{name}", text) for name in _STARTS)


def _drops_its_output_only(tree: Tree, stack: str) -> bool:
    return tree.get(f"{stack}.depth") == 1 and tree.get(f"{stack}.output_dropout") is not None


def _of_tasks(tree: Tree) -> Iterator[tuple[str, str]]:
    if tree.get("task.beam_size") == 1:
        text = f"with one hypothesis there is nothing to compare; {_LEAVE_OUT}"
        yield "task.length_penalty", f"{text}, or task.beam_size=5"
    if tree.get("task.sample_length") == 0:
        text = f"no samples are drawn; {_LEAVE_OUT}, or task.sample_length=400"
        yield "task.sample_temperature", text
    if tree.get("diagnostics.examples") == 0:
        text = f"no example is looked at; {_LEAVE_OUT}, or also diagnostics.examples=8"
        yield "diagnostics.every", text


def _of_trainer(tree: Tree) -> Iterator[tuple[str, str]]:
    if tree.get("trainer.overfit_batches"):
        text = f"read in its place: trainer.overfit_batches; {_LEAVE_OUT}"
        yield from ((f"trainer.{name}", text) for name in _LIMITS)
    if processes_of(tree.raw("trainer")) == 1:
        text = f"there is one process, which waits for none; {_LEAVE_OUT}, or trainer.devices=2"
        yield "trainer.process_timeout", text
    if clipping := clipping_problem(tree):
        yield clipping.key, clipping.text
    targets = [node.get("_target_") for _, node in tree.mappings("callbacks")]
    keeps = [key for key, node in tree.mappings("callbacks") if node.get("_target_") == _KEEPS]
    last = [key for key in keeps if tree.get(f"{key}.save_last") is not False]
    if not last and all(str(target).startswith(_NEVER_KEEP) for target in targets):
        instead = f"{keeps[0]}.save_last=true" if keeps else "callbacks=default"
        text = f"no last.ckpt is kept; {_LEAVE_OUT}, or {instead}"
        yield "trainer.checkpoint_every", text
    stops = any(target not in (None, *_NEVER_STOPS) for target in targets)
    if not stops and tree.get("trainer.max_time") is None:
        text = f"nothing stops the training early; {_LEAVE_OUT}, or callbacks=default"
        yield from ((f"trainer.{name}", text) for name in ("min_epochs", "min_steps"))


def _of_schedule(tree: Tree) -> Iterator[tuple[str, str]]:
    """A change that comes after the end; a training on a part of the batches is only a trial."""
    epochs, target = tree.get("trainer.max_epochs"), tree.get("scheduler._target_")
    names = {"step": "step_size", "decay": "start_epoch"}
    first = names.get(str(target).removeprefix("seqpipe.training.schedules."))
    size = tree.get(f"scheduler.{first}")
    whole = tree.get("trainer.limit_train_batches") in (None, 1.0)
    if first and whole and isinstance(size, int) and 0 < epochs <= size:
        text = f"the learning rate would not change within trainer.max_epochs={epochs}"
        below = f"scheduler.{first} below {epochs}" if epochs > 1 else "more trainer.max_epochs"
        allowed = f"{_LEAVE_OUT}, or {below}"
        yield f"scheduler.{first}", f"{text}; {allowed}"
        yield "scheduler.gamma", f"{text}, since scheduler.{first}={size}; {allowed}"


def _of_averaging(tree: Tree) -> Iterator[tuple[str, str]]:
    start, epochs = tree.get("averaging.start_epoch"), tree.get("trainer.max_epochs")
    if start is not None:
        text = f"averaging begins with epoch {start} (averaging.start_epoch)"
        yield from ((f"averaging.{name}", f"{text}; {_LEAVE_OUT}") for name in _OF_STALLING)
    if isinstance(start, int) and 0 < epochs < start:
        text = f"training ends with epoch {epochs}, before averaging begins"
        yield "averaging.start_epoch", f"{text}; {_LEAVE_OUT}, or at most {epochs}"
