"""Rules of the source that can be counted: sizes of files and functions, words, first lines."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

import seqpipe

SRC = Path(seqpipe.__file__).parent
FILES = sorted(SRC.rglob("*.py"))
MOST_LINES, MOST_OF_A_FUNCTION, FEW_LINES = 400, 60, 60
SMALL_FILES = {
    "api.py": "`seqpipe.load`, the public function",
    "pyfunc.py": "every MLmodel of a saved model names this module",
    "commands/export.py": "one file a command",
    "commands/register.py": "one file a command",
    "commands/serve.py": "one file a command",
    "launchers/loky_internals.py": "private parts of loky, in one module",
    "nn/kernels/onednn_internals.py": "private operators of torch, in one module",
}
"""Files of few lines with a single importer, and why each is a file of its own."""

BANNED = re.compile(
    r"\b(told|anew|likewise|parted|goes on|come upon|comes upon|stands in|none that|likeliest"
    r"|somebody else|whoever|cannot be had|to be had|held against|no say|of today|is called so"
    r"|to speak of|nobody asked|comes to no|a text a line)\b"
)
FRAGMENT = re.compile(r"(Of|What|Whether|Whose|Whoever|Likewise)\b")


def _names(file: Path) -> str:
    return ".".join(("seqpipe", *file.relative_to(SRC).with_suffix("").parts))


def _importers() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {_names(file): set() for file in FILES}
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [str(node.module), *(f"{node.module}.{a.name}" for a in node.names)]
            for name in names:
                if name in found:
                    found[name].add(_names(file))
    return found


def _texts(source: str) -> Iterator[tuple[int, str]]:
    """(line, text) of every comment and every string of several words."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in (tokenize.COMMENT, tokenize.STRING) and " " in token.string:
            yield token.start[0], token.string


def _defined(source: str) -> Iterator[ast.FunctionDef | ast.ClassDef]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node


def test_no_file_and_no_function_is_too_long():
    for file in FILES:
        source = file.read_text(encoding="utf-8")
        assert source.count("\n") <= MOST_LINES, file
        for node in _defined(source):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno is not None
                assert node.end_lineno - node.lineno < MOST_OF_A_FUNCTION, f"{file}:{node.lineno}"


def test_a_small_file_with_one_importer_has_a_reason():
    importers = _importers()
    small = {
        str(file.relative_to(SRC))
        for file in FILES
        if file.name not in ("__init__.py", "__main__.py")
        and file.read_text(encoding="utf-8").count("\n") < FEW_LINES
        and len(importers[_names(file)]) <= 1
    }
    assert small == SMALL_FILES.keys()
    assert len(small) <= 10


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SRC)))
def test_texts_use_the_words_of_the_field(file):
    source = file.read_text(encoding="utf-8")
    banned = [(line, BANNED.search(text)) for line, text in _texts(source)]
    assert not [(line, found[0]) for line, found in banned if found]
    fragments = [
        (node.lineno, text.splitlines()[0])
        for node in _defined(source)
        if (text := ast.get_docstring(node)) and FRAGMENT.match(text)
    ]
    assert not fragments


def test_the_rules_can_fail():
    assert BANNED.search("it is told in the closing lines")
    assert FRAGMENT.match("Whether it is finite.")
    assert not BANNED.search("a retold story")
