"""Identifiers of Python's standard library, and what each of them names."""

import ast
import functools
import random
import re
import sysconfig
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from seqpipe.data.base import Record, Splits
from seqpipe.data.sources.python import LibrarySource, library_files, read_python

_CONSTANT = re.compile(r"_*[A-Z][A-Z0-9_]+")


@dataclass(kw_only=True)
class Identifiers(LibrarySource):
    """Names that the running Python's standard library defines, each with what it names.

    Classes and functions (methods too) are those of `class` and `def`, constants are names in
    capitals that a module or a class assigns, modules are the names of files and packages. A name
    is kept once for each kind. Names that differ in capitals and underscores only (`parse`,
    `_Parse`) go to one split, whatever they name, so that no split repeats another. Which names
    there are differs between versions of Python.

    Records: `kind` str, `class`, `constant`, `function` or `module`; `name` str.
    """

    def inputs(self) -> list[Path]:
        """The files of the library."""
        return library_files(Path(sysconfig.get_path("stdlib")))

    def read(self) -> Splits:
        """All names, split by how they are spelled.

        Raises:
            ConfigError: a share without a name.
        """
        found = _library_names(Path(sysconfig.get_path("stdlib")))
        alike: dict[str, list[tuple[str, str]]] = {}
        for name, kind in found:
            alike.setdefault(name.replace("_", "").lower(), []).append((name, kind))
        groups = list(alike.values())
        random.Random(self.seed).shuffle(groups)
        wanted = {"valid": self.valid, "test": self.test}
        splits: dict[str, list[Record]] = {"train": [], "valid": [], "test": []}
        for group in groups:
            lacking = [s for s, share in wanted.items() if len(splits[s]) < share * len(found)]
            records = splits[lacking[0] if lacking else "train"]
            records += [{"kind": kind, "name": name} for name, kind in group]
        for split, records in splits.items():
            if not records:
                self.refuse_shares(f"{split} has no names")
        return Splits(**splits)


@functools.cache  # read for the training, and again for the examples that a model is kept with
def _library_names(library: Path) -> tuple[tuple[str, str], ...]:
    """(name, kind) of everything that the files of a library define, sorted."""
    found: set[tuple[str, str]] = set()
    for path in library_files(library):
        found.update(_module_names(path.relative_to(library)))
        found.update(identifiers(read_python(path)))
    return tuple(sorted(found))


def identifiers(text: str) -> Iterator[tuple[str, str]]:
    """(name, kind) of what a Python file defines; nothing where it is not Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of invalid escapes in old files
            tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            yield node.name, "class"
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, "function"
        if isinstance(node, ast.ClassDef | ast.Module):
            yield from ((name, "constant") for name in _constants(node.body))


def _constants(body: list[ast.stmt]) -> Iterator[str]:
    """Names in capitals that statements assign."""
    for statement in body:
        targets: list[ast.expr] = []
        if isinstance(statement, ast.Assign):
            targets = statement.targets
        elif isinstance(statement, ast.AnnAssign):
            targets = [statement.target]
        for target in targets:
            if isinstance(target, ast.Name) and _CONSTANT.fullmatch(target.id):
                yield target.id


def _module_names(path: Path) -> Iterator[tuple[str, str]]:
    """The module that a file is, `json` for `json/__init__.py`; nothing for `__main__.py`."""
    name = path.parent.name if path.stem == "__init__" else path.stem
    if name.isidentifier() and name != "__main__":
        yield name, "module"
