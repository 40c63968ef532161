"""Keys that were typed and that nothing would read, as the rest of the configuration stands.

Only what was typed is judged: an option may write a key that its other keys make idle.
"""

from collections.abc import Collection, Iterator
from typing import Any

from seqpipe.config.tree import Tree
from seqpipe.rules import Problem

_OF_SHARES = ("group", "stratify", "order", "seed")
_PACKED = (".jsonl", ".ndjson", ".json", ".jsonl.gz", ".ndjson.gz", ".json.gz", ".parquet")
_OF_CELLS = ("quote", "delimiter", "header")
_LEAVE_OUT = "allowed: leave it out"


def unread_problems(tree: Tree, typed: Collection[str]) -> Iterator[Problem]:
    """Typed keys without an effect, each with what would give it one.

    Args:
        tree: of the configuration.
        typed: keys as they were typed.
    """
    for key, text in (*_of_sources(tree), *_of_texts(tree), *_of_models(tree), *_of_tasks(tree)):
        if key in typed and tree.has(key):
            yield Problem(key, tree.get(key), text)


def _of_sources(tree: Tree) -> Iterator[tuple[str, str]]:
    for key, node in tree.mappings("data.source"):
        splits = [tree.get(f"{key}.{split}") for split in ("valid", "test")]
        if {"train", "valid", "test"} <= node.keys() and all(map(_is_names, splits)):
            text = f"every split is named, so nothing is drawn; {_LEAVE_OUT}"
            yield from ((f"{key}.{name}", f"{text}, or {key}.valid=0.1") for name in _OF_SHARES)
        if node.get("labels", key) is None:
            text = f"no table of labels is read; {_LEAVE_OUT}, or also {key}.labels=FILE"
            yield from ((f"{key}.{name}", text) for name in ("id_column", "label_column"))
        written = _format(tree, key) if "format" in node else None
        if written is not None:
            for name in (*_OF_CELLS, *(["encoding"] if written == "parquet" else [])):
                yield f"{key}.{name}", f"{written} has none; {_LEAVE_OUT}"


def _is_names(value: Any) -> bool:
    return isinstance(value, (str, list))


def _format(tree: Tree, key: str) -> str | None:
    """`jsonl` or `parquet`, where all files are known to be of it."""
    given = tree.get(f"{key}.format")
    if given is not None:
        return str(given) if given in ("jsonl", "parquet") else None
    values = [tree.get(f"{key}.{split}") for split in ("train", "valid", "test")]
    listed = [name for value in values for name in (value if isinstance(value, list) else [value])]
    names = [name.lower() for name in listed if isinstance(name, str)]
    if not names or not all(name.endswith(_PACKED) for name in names):
        return None
    return "parquet" if all(name.endswith(".parquet") for name in names) else "jsonl"


def _of_texts(tree: Tree) -> Iterator[tuple[str, str]]:
    for role in ("x", "y"):
        key = f"data.{role}"
        if tree.get(f"{key}.by") == "bytes":
            text = f"by bytes there are always 260 symbols; {_LEAVE_OUT}, or {key}.by=words"
            yield f"{key}.max_vocabulary", text


def _of_models(tree: Tree) -> Iterator[tuple[str, str]]:
    head = "architecture.head"
    if tree.get(f"{head}.hidden") == []:
        text = f"acts between layers of the head, which has one; {_LEAVE_OUT}, or also"
        yield f"{head}.activation", f"{text} {head}.hidden=[64]"


def _of_tasks(tree: Tree) -> Iterator[tuple[str, str]]:
    if tree.get("task.beam_size") == 1:
        text = f"with one hypothesis there is nothing to compare; {_LEAVE_OUT}"
        yield "task.length_penalty", f"{text}, or task.beam_size=5"
    if tree.get("task.sample_length") == 0:
        text = f"no sample is drawn; {_LEAVE_OUT}, or task.sample_length=400"
        yield "task.sample_temperature", text
