"""What comes with every Python: the text of its help, and its own source."""

import hashlib
import io
import keyword
import os
import random
import re
import sysconfig
import token
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, NoReturn

from seqpipe.data.base import Record, Source, Splits
from seqpipe.data.sources.argument_checks import Share, check_arguments, share_faults
from seqpipe.errors import ConfigError
from seqpipe.rules import refusal, whole

_SHARED_FROM = 40  # characters; shorter paragraphs ("Example:") may be in several splits
_MOST_OF_A_SPLIT = 4  # quarter: valid and test then differ less (0.1 bits in an n-gram model)
_NEARLY = (0.75, 1.25)  # of a share that was asked for
_BLOCK = 5  # topics of similar size that the seed may put in another order


@dataclass(kw_only=True)
class LibrarySource(Source):
    """A part of every Python, split by shares.

    Args:
        valid: share to validate on.
        test: share to test on.
        seed: of the split.
    """

    bundled = True

    together = staticmethod(share_faults)

    valid: Share = 0.1
    test: Share = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        check_arguments(self)

    def refuse_shares(self, problem: str) -> NoReturn:
        """Refuse shares for which there is too little.

        Raises:
            ConfigError: with the problem.
        """
        given = f"data.source.valid={self.valid} data.source.test={self.test}"
        raise ConfigError(f"{given}: {problem}; allowed: 0.1 and 0.1, for example")


@dataclass(kw_only=True)
class PythonDocs(LibrarySource):
    """The English of Python's help: 79 topics of `pydoc_data.topics`, 465,000 characters.

    Topics repeat each other's paragraphs, so a split by topic alone would leak. Whole topics go
    to a split; then every paragraph (40 characters or more, white space aside) of
    test is dropped from valid and train, those of valid from train, and repetitions within a
    split are kept once. The text differs between versions of Python.

    Records: `topic` str; `text` str, paragraphs separated by blank lines.

    Args:
        valid: share of the characters to validate on, before paragraphs are dropped.
        test: share of the characters to test on, before paragraphs are dropped.
    """

    def read(self) -> Splits:
        """Split by topic, then drop the paragraphs that splits share."""
        from pydoc_data.topics import topics

        seen: set[str] = set()
        splits: dict[str, list[Record]] = {}
        names = self._split_topics({name: len(text) for name, text in topics.items()})
        for split in ("test", "valid", "train"):
            records: list[Record] = []
            for name in sorted(names[split]):
                text = "\n\n".join(_unseen(paragraphs(topics[name]), seen))
                if text:
                    records.append({"topic": name, "text": text})
            splits[split] = records
        return Splits(**splits)

    def _split_topics(self, sizes: dict[str, int]) -> dict[str, list[str]]:
        """Give topics out from the largest to the smallest, each to the split that lacks most.

        So every split gets large and small topics. One larger than a quarter of what valid or
        test wants would set its tone (one is nearly all grammar), and is trained on.
        """
        rng = random.Random(self.seed)
        wanted = {"valid": self.valid, "test": self.test}
        limit = min(wanted.values()) * sum(sizes.values()) / _MOST_OF_A_SPLIT
        by_size = sorted(sizes, key=lambda name: (-sizes[name], name))
        split: dict[str, list[str]] = {"train": [], "valid": [], "test": []}
        split["train"] = [name for name in by_size if sizes[name] > limit]
        small = [name for name in by_size if sizes[name] <= limit]
        if not small:
            self.refuse_shares("a topic has more than a quarter of that")
        # The shares of the topics that are left, so that the wanted shares of all come out.
        scale = sum(sizes.values()) / sum(sizes[name] for name in small)
        shares = {name: min(share * scale, 0.45) for name, share in wanted.items()}
        shares["train"] = 1 - sum(shares.values())
        lack = dict.fromkeys(shares, 0.0)
        for start in range(0, len(small), _BLOCK):
            block = small[start : start + _BLOCK]
            for name in rng.sample(block, len(block)):
                for part, share in shares.items():
                    lack[part] += share * sizes[name]
                neediest = max(lack, key=lambda part: (lack[part], rng.random()))
                split[neediest].append(name)
                lack[neediest] -= sizes[name]
        for name, share in wanted.items():
            got = sum(sizes[topic] for topic in split[name]) / sum(sizes.values())
            if not _NEARLY[0] < got / share < _NEARLY[1]:
                self.refuse_shares(f"{name} would get {got:.3f}, topics are split whole")
        return split


def paragraphs(text: str) -> list[str]:
    """Paragraphs of a text, without the blank lines between them; indents are kept."""
    return [part.rstrip() for part in re.split(r"\n(?:[^\S\n]*\n)+", text.strip("\n"))]


def _unseen(parts: list[str], seen: set[str]) -> Iterator[str]:
    """The paragraphs that were not seen before, by words; remembers them."""
    for part in parts:
        words = " ".join(part.split())
        if len(words) >= _SHARED_FROM:
            if words in seen:
                continue
            seen.add(words)
        yield part


_SKIPPED = frozenset(
    "__pycache__ config dist-packages encodings idlelib lib2to3 pydoc_data site-packages "
    "test tests turtledemo".split()
)  # tests, generated tables, and what is not of the standard library
_SIZES = range(1_000, 40_000)  # characters of a file: neither a stub nor most of a split


@dataclass(kw_only=True)
class PythonTokens(LibrarySource):
    """Files of the running Python's standard library, each character with its token's class.

    Classes: keyword, name, number, string (f-strings whole), comment, operator, and whitespace
    for everything between tokens. Files are cut into pieces at line starts, outside of strings
    where `max_length` allows. Which files there are differs between versions of Python.

    Records: `file` str, relative to the library; `text` str; `tags` list of str, one for each
    character.

    Args:
        files: how many files, picked with the seed.
        valid: share of the files to validate on.
        test: share of the files to test on.
        max_length: most characters of a piece.
        seed: of the choice of files and of the split.

    Source: classes from `tokenize`, keywords from `keyword.iskeyword`.
    """

    files: Annotated[int, whole(3).because("one for each split")] = 120
    max_length: Annotated[int, whole(1)] = 256

    def read(self) -> Splits:
        """Pick files, split them, tag and cut each."""
        library = Path(sysconfig.get_path("stdlib"))
        picked: list[list[Record]] = []
        seen: set[bytes] = set()
        candidates = library_files(library)
        random.Random(self.seed).shuffle(candidates)
        for path in candidates:
            if len(picked) == self.files:
                break
            text = read_python(path)
            content = hashlib.sha256(text.encode()).digest()
            tags = token_tags(text) if len(text) in _SIZES and content not in seen else None
            if tags is not None:
                seen.add(content)
                name = path.relative_to(library).as_posix()
                picked.append(_cut(name, text, tags, self.max_length))
        if len(picked) < self.files:
            wrong, most = f"only {len(picked)} can be used", f"an integer from 3 to {len(picked)}"
            raise ConfigError(refusal("data.source.files", self.files, wrong, most))
        n_valid = max(1, round(self.valid * self.files))
        n_test = max(1, round(self.test * self.files))
        parts = picked[:n_valid], picked[n_valid : n_valid + n_test], picked[n_valid + n_test :]
        valid, test, train = ([piece for pieces in part for piece in pieces] for part in parts)
        return Splits(train=train, valid=valid, test=test)


def library_files(library: Path) -> list[Path]:
    """Python files below the standard library's folder, tests and other packages left out."""
    found: list[Path] = []
    for folder, folders, files in os.walk(library):
        folders[:] = sorted(
            name for name in folders if name not in _SKIPPED and not name.startswith("config-")
        )
        # _sysconfigdata describes the machine, not the language.
        names = [n for n in files if n.endswith(".py") and not n.startswith("_sysconfigdata")]
        found += [Path(folder, name) for name in names]
    return sorted(found)


def read_python(path: Path) -> str:
    """The text of a file; nothing where its bytes are not of the encoding that it declares."""
    try:
        with tokenize.open(path) as file:
            return file.read()
    except (SyntaxError, UnicodeDecodeError):
        return ""


def token_tags(text: str) -> list[str] | None:
    """The class of each character's token, one for each character; None if it is not Python."""
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    except (tokenize.TokenError, SyntaxError):
        return None
    line_starts = [0, *(place + 1 for place, c in enumerate(text) if c == "\n"), len(text)]
    tags = ["whitespace"] * len(text)
    depth, opened = 0, 0  # of f-strings, which are one string with everything inside
    for found in tokens:
        if found.type == token.ERRORTOKEN:
            return None
        start = line_starts[found.start[0] - 1] + found.start[1]
        end = start + len(found.string)
        name = token.tok_name[found.type]
        if name.endswith("STRING_START"):
            depth, opened = depth + 1, opened if depth else start
        elif name.endswith("STRING_END"):
            depth -= 1
            start = opened
        tag = "string" if name.endswith("STRING_END") else _tag(found)
        if depth == 0 and tag is not None:
            tags[start:end] = [tag] * (end - start)
    return tags


def _tag(found: tokenize.TokenInfo) -> str | None:
    """The class of a token; None for what is white space."""
    if found.type == token.NAME:
        return "keyword" if keyword.iskeyword(found.string) else "name"
    classes = {"NUMBER": "number", "STRING": "string", "COMMENT": "comment", "OP": "operator"}
    return classes.get(token.tok_name[found.type])


def _cut(name: str, text: str, tags: list[str], max_length: int) -> list[Record]:
    """Pieces of at most max_length characters that make up the file."""
    cuts = [0]
    while len(text) - cuts[-1] > max_length:
        cuts.append(_next_cut(text, tags, cuts[-1], cuts[-1] + max_length))
    return [
        {"file": name, "text": text[a:b], "tags": tags[a:b]}
        for a, b in pairwise([*cuts, len(text)])
    ]


def _next_cut(text: str, tags: list[str], start: int, latest: int) -> int:
    """The last line start outside of strings, else the last line start, else the latest place."""
    line_starts = [i for i in range(latest, start, -1) if text[i - 1] == "\n"]
    outside = (i for i in line_starts if tags[i - 1] != "string" or tags[i] != "string")
    return next(outside, line_starts[0] if line_starts else latest)
