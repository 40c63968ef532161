"""Sources that read files: which files, which split, and text line by line."""

from __future__ import annotations

import gzip
import io
import zlib
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from glob import glob
from pathlib import Path
from typing import IO, Any, ClassVar, Literal

import numpy as np

from seqpipe.data.base import SPLITS, Found, PlacedRecord, Source, Splits, place
from seqpipe.data.sources import given_splits
from seqpipe.data.sources.splitting import check_shares, each_once, part
from seqpipe.data.sources.text_encoding import advice, check_encoding, check_start, is_wide
from seqpipe.errors import DataError, did_you_mean

Names = str | list[str]
UNREADABLE = (gzip.BadGzipFile, zlib.error, EOFError, UnicodeError)
"""What comes of a packed file that is none, or broken, or of another encoding throughout."""


class MissingFiles(DataError):
    """Files that were asked for are not there."""


class FileSource(Source):
    """Records of files: some for each split, or shares of those of `train`.

    A source of a format says how to read one file, in `parse`; the rest is here.

    A folder or file named by train that holds splits (see `given`) is read split by split where
    valid or test are shares, and `warnings` says so.

    Args:
        train: a file, several, a pattern (`*.csv`) or a folder (every file in it, sorted).
        valid: the same, or the share of what `train` holds to validate on.
        test: the same, or the share of what `train` holds to test on.
        path: folder that the names are relative to; None: the current folder.
        encoding: of text, any name that Python knows.
        group: columns; records alike in all of them stay in one split. None: those of x.
        stratify: a column; each split gets the same share of each of its values. None: of none.
        order: `random`, drawn with the seed; `file`: the first records are trained on, the next
            validated, the last tested, so that neighbours do not leak (within each value of
            `stratify`).
        seed: of the random order.

    Raises:
        ConfigError: shares that leave a split empty, an encoding that does not exist.
    """

    suffixes: tuple[str, ...] = ()
    """Of the files taken from a folder; empty: all."""
    class_depth = 0
    """Parts of a path from the folder of a class on; 0: no folder is one."""
    companions: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Arguments that name files besides these, and endings of such files, see `companions`."""

    def __init__(
        self,
        train: Names,
        valid: Names | float = 0.1,
        test: Names | float = 0.1,
        *,
        path: str | None = None,
        encoding: str = "utf-8",
        group: Names | None = None,
        stratify: str | None = None,
        order: Literal["random", "file"] = "random",
        seed: int = 0,
    ) -> None:
        check_shares(valid, test)
        check_encoding(encoding)
        self.typed: dict[str, Names | float] = {"train": train, "valid": valid, "test": test}
        self._remarks, self._column_remarks = list[str](), list[str]()
        self.path = Path(path) if path is not None else Path()
        self.encoding = encoding
        self.group = (group,) if isinstance(group, str) else tuple(group or ())
        self.stratify, self.order, self.seed = stratify, order, seed
        self._passed_over: dict[str, str] = {}  # key as typed -> how many files, of which types
        self._repeated: dict[str, str] = {}  # split -> files that are named more than once

    def passed_over(self) -> list[str]:
        """Files that were passed over in the folders of all splits."""
        return [f"{key}: {text}" for key, text in self._passed_over.items()]

    @cached_property
    def names(self) -> dict[str, Names | float]:
        """Of each split, its files or its share: as typed, or as they are called in one folder."""
        return {**self.typed, **self._splits_of_train()}

    def as_one(self) -> None:
        """Everything that `train` names is read, whatever its folders or files are called."""
        self.names = dict(self.typed)

    def without_y(self, column: str, known: Sequence[str]) -> str:
        """Read on without the column of y, which what is to be predicted need not have.

        Args:
            column: of the record; whether the files still hold it makes no difference.
            known: the classes of y, by which a file shows that it holds it.

        Returns:
            what is read in another way than in training, for people; or nothing.
        """
        return ""

    def holds(self, file: Path, labelled: bool = False) -> bool:
        """True where a text file can only be read by this source, not as a text a line.

        Args:
            file: that a model is asked about.
            labelled: its answers are to be compared with y, which the file holds.
        """
        return False

    def only(self, column: str) -> None:
        """Require no column but this one: what a model is asked about may lack all others."""

    def examples(self) -> Iterator[Found]:
        """Records of the first file that has some: nothing is split for them."""
        for split in reversed(SPLITS):
            for file in self.files_of(split):
                yield from self.parse(file)

    def splits_inside(self, file: Path) -> dict[str, Names]:
        """What `train` would be called to read one split of a file that holds several.

        Args:
            file: it is there.
        """
        return {}

    def unread(self, file: Path) -> list[str]:
        """What to say of other splits that `train` is not, beside the one file that it names.

        Args:
            file: it is there, and none of its splits is read as such.
        """
        return given_splits.unread_beside(file, self._shares)

    @property
    def _shares(self) -> list[str]:
        return [split for split in SPLITS if isinstance(self.typed[split], float)]

    def warnings(self) -> list[str]:
        """Splits found in a folder or file, or not used; files that are named more than once."""
        remarks = (*self._remarks, *self._column_remarks) if self.names else ()
        return [*remarks, *self._repeated.values()]

    def _splits_of_train(self) -> dict[str, Names]:
        """The splits that what was typed for train holds, in place of those that were not typed."""
        train, shares = self.typed["train"], self._shares
        if isinstance(train, list):
            taken = [
                file
                for name in train
                for file in given_splits.named(self.path / name, self._inside)
            ]
            self._remarks = given_splits.of_several(train, taken, shares)
        if not isinstance(train, str):
            return {}
        place = self.path / train
        if place.is_file():
            inside = self.splits_inside(place)
            self._remarks = (
                given_splits.told(place, inside, shares) if inside else self.unread(place)
            )
            return {split: inside[split] for split in inside if split in ("train", *shares)}
        if place.parent.is_file():
            self._remarks = given_splits.unread_inside(
                place, self.splits_inside(place.parent), shares
            )
            return {}
        if not place.is_dir():
            self._remarks = given_splits.of_several(
                train, given_splits.named(place, self._inside), shares
            )
            return {}
        taken, others = self._inside(place)
        left = sorted(set(taken) - given_splits.typed_files(self.path, self.typed))
        names, self._remarks = given_splits.of_folder(place, train, left, shares, self.class_depth)
        if names:
            self._pass_over(f"data.source.train={train}", others, len(taken) + len(others))
        return {**names}

    @abstractmethod
    def parse(self, file: Path) -> Iterator[Found]:
        """The records of one file, in their order; a DataError in the place of a bad one.

        Args:
            file: as it is to be shown in messages.

        Raises:
            DataError: the file as a whole cannot be read.
        """

    def read(self) -> Splits:
        """Each split reads its files anew whenever it is gone through.

        Raises:
            DataError: a file that is not there, a column to part by that is not there.
        """
        found = {split: self.files_of(split) for split in SPLITS}
        shares = {s: n for s, n in self.names.items() if isinstance(n, float)}
        views: dict[str, Iterable[Found]] = {
            split: Files(self, files) for split, files in found.items() if split not in shares
        }
        if shares:
            watched = given_splits.SplitColumn(views["train"])
            of = part(
                watched,
                shares,
                group=self.group,
                stratify=self.stratify,
                order=self.order,
                seed=self.seed,
            )
            self._column_remarks = watched.remarks(shares)
            whole = views["train"]
            views |= {split: Part(whole, of, split) for split in ("train", *shares)}
        return Splits(**views)

    def whole(self, split: str) -> Iterable[Found]:
        """See `Source`."""
        self.as_one()
        name = "train" if isinstance(self.names[split], float) else split
        return Files(self, self.files_of(name))

    def keep_together(self, columns: Sequence[str]) -> None:
        """Takes the columns of x where no `group` was given."""
        self.group = self.group or tuple(columns)

    def inputs(self) -> list[Path]:
        """All files of all splits."""
        return [file for split in SPLITS for file in self.files_of(split)]

    def files_of(self, split: str) -> list[Path]:
        """The files of one split, each once; none where it is a share of train.

        Raises:
            DataError: one is not there, or a folder or pattern holds none.
        """
        names = self.names[split]
        if names == []:
            raise MissingFiles(f"data.source.{split}=[]: names no file; allowed: one or more")
        listed = [names] if isinstance(names, str) else [] if isinstance(names, float) else names
        matching = [file for name in listed for file in self._matching(split, name)]
        return each_once(matching, split, self._repeated)

    def _matching(self, split: str, name: str) -> list[Path]:
        file = self.path / name
        if file.is_file():
            return [file]
        if self.path != Path() and not self.path.exists():
            raise MissingFiles(_no_folder(self.path))
        key = f"data.source.{split}={name}"
        if file.is_dir():
            files, others = self._inside(file)
            self._pass_over(key, others, len(files) + len(others))
            if not files:
                wanted = f"*{', *'.join(self.suffixes)}" if self.suffixes else "any"
                raise MissingFiles(f"{key}: {file} holds no files; allowed: {wanted}")
            return files
        if any(mark in name for mark in "*?["):
            files = sorted(f for f in map(Path, glob(str(file), recursive=True)) if f.is_file())
            if not files:
                raise MissingFiles(f"{key}: no file in {self.path.resolve()} is called so")
            return files
        if self.path.is_file():
            text = f"data.path={self.path} is a file, and names are relative to a folder"
            raise MissingFiles(f"{key}: {text}; allowed: data.path=FOLDER, or leave it out")
        folder = file.parent
        beside = sorted(f.name for f in folder.iterdir()) if folder.is_dir() else []
        where = f"no such file in {folder.resolve()}"
        shown = f"; it holds {', '.join(beside[:8])}" if beside else ""
        shown += ", ..." if len(beside) > 8 else ""
        raise MissingFiles(f"{key}: {where}{shown}{did_you_mean(file.name, beside)}")

    def _pass_over(self, key: str, others: Iterable[Path], count: int) -> None:
        """Remember which of `count` files of a folder are not read, for a warning."""
        if text := given_splits.other_types(others, count, self.suffixes):
            self._passed_over[key] = text

    def _inside(self, folder: Path) -> tuple[list[Path], list[Path]]:
        """The files of a folder that are read, and those of other types, each sorted.

        Hidden files, and what lies in hidden folders (.git, .ipynb_checkpoints), are neither.
        """
        seen = (f for f in sorted(folder.rglob("*")) if f.is_file() and not _is_hidden(f, folder))
        taken: dict[bool, list[Path]] = {True: [], False: []}
        for file in seen:
            taken[self._takes(file)].append(file)
        return taken[True], taken[False]

    def _takes(self, file: Path) -> bool:
        """Whether a file that is not hidden is of a type that is read."""
        return not self.suffixes or file.name.lower().endswith(self.suffixes)


def _no_folder(path: Path) -> str:
    """What is wrong where nothing is at data.source.path; folders beside it with such a name."""
    above = path.parent
    beside = sorted(f.name for f in above.iterdir() if f.is_dir()) if above.is_dir() else []
    hint = did_you_mean(path.name, beside)
    return f"data.source.path={path}: no such folder in {above.resolve()}; allowed: a folder{hint}"


def _is_hidden(file: Path, folder: Path) -> bool:
    """Whether a file, or a folder that it lies in, has a name that starts with a dot."""
    return any(part.startswith(".") for part in file.relative_to(folder).parts)


class Files:
    """The records of some files; reads them each time it is gone through."""

    def __init__(self, source: FileSource, files: Sequence[Path]) -> None:
        self.source, self.files = source, files

    def __iter__(self) -> Iterator[Found]:
        for file in self.files:
            try:
                yield from self.source.parse(file)
            except DataError as error:
                if len(self.files) == 1:
                    raise
                yield error  # one of several files that cannot be read is one that may be skipped


class Part:
    """The records that were given to one split; what cannot be read belongs to train."""

    def __init__(self, whole: Iterable[Found], of: np.ndarray[Any, Any], split: str) -> None:
        self.whole, self.of, self.split = whole, of, split

    def __iter__(self) -> Iterator[Found]:
        code, places = SPLITS.index(self.split), iter(self.of)
        for found in self.whole:
            if isinstance(found, DataError):
                if self.split == "train":
                    yield found
                continue
            place = next(places, None)
            if place is None:
                where = getattr(found, "file", None) or "data.source"
                raise DataError(f"{where}: changed while it was read; allowed: once it is finished")
            if place == code:
                yield found


def open_bytes(file: Path) -> gzip.GzipFile | IO[bytes]:
    """A file for reading, unpacked where its name ends in .gz."""
    return gzip.open(file) if file.suffix.lower() == ".gz" else file.open("rb")


def lines(file: Path, encoding: str = "utf-8") -> Iterator[tuple[int, str | DataError]]:
    r"""Each line without its line end, with its number, from 1; a DataError for other bytes.

    Only \n and \r\n end a line: str.splitlines would also break at U+0085 and others. A byte
    order mark is left out. A last line without a line end counts.

    Raises:
        DataError: a .gz file that is none, or broken.
    """
    with open_bytes(file) as opened:
        yield from lines_in(file, opened, encoding)


def lines_in(
    file: Path, opened: Any, encoding: str, start: bytes | None = None
) -> Iterator[tuple[int, str | DataError]]:
    """The lines of what was opened for reading bytes; see `lines`.

    Args:
        file: what it is called.
        opened: with `peek`; it is closed.
        encoding: of its text.
        start: its first bytes, where it cannot be opened again; None: it can.
    """
    try:
        check_start(file, opened, encoding)
        wide = is_wide(encoding)
        with io.TextIOWrapper(opened, encoding, newline="\n") if wide else opened as found:
            for number, raw in enumerate(found, 1):
                yield number, decoded(file, number, raw, encoding, start)
    except UNREADABLE as error:
        raise DataError(f"{file}: cannot be read to its end ({error})") from None


def rows(file: Path, encoding: str = "utf-8") -> Iterator[PlacedRecord | DataError]:
    """Each line as a record {"line": text}, with its place."""
    for number, line in lines(file, encoding):
        yield line if isinstance(line, DataError) else PlacedRecord({"line": line}, file, number)


def decoded(
    file: Path, number: int, raw: bytes | str, encoding: str, start: bytes | None = None
) -> str | DataError:
    """A line without its line end; a DataError that names the byte that is not of the encoding."""
    if isinstance(raw, bytes):
        try:
            raw = raw.decode(encoding)
        except UnicodeDecodeError as error:
            byte = raw[error.start]
            text = f"byte 0x{byte:02x} at column {error.start + 1} is not {encoding}"
            allowed = advice(file, encoding, open_bytes, start)
            return DataError(f"{place(file, number)}: {text}; allowed: {allowed}")
    text = raw.removesuffix("\n").removesuffix("\r")
    return text.removeprefix("\ufeff") if number == 1 else text
