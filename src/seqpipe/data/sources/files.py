"""Sources that read files: which files, and which split each belongs to."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from glob import glob
from pathlib import Path
from typing import Any, ClassVar, Literal

from seqpipe.data.base import SPLITS, Found, Source, Splits
from seqpipe.data.sources import given_splits
from seqpipe.data.sources.argument_checks import (
    MissingFiles,
    check_arguments,
    check_shares,
    not_there,
)
from seqpipe.data.sources.splitting import Reread, each_once, split_shares
from seqpipe.data.sources.text_lines import check_encoding
from seqpipe.errors import DataError

Names = str | list[str]


@dataclass(kw_only=True)
class FileSource(Source):
    """Records of files: some for each split, or shares of those of `train`.

    A source of a format is a dataclass that adds its own arguments and says in `parse` how one file
    is read; the rest is here. Bounds are in the annotations, as `Annotated[int, whole(1)]`. An
    argument that a format has no use for is declared again with `field(init=False)`.

    A folder or file named by train that holds splits (see `given_splits`) is read split by split
    where valid or test are shares, and `warnings` says so.

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
        ConfigError: shares that leave a split empty, an encoding that does not exist, a value that
            breaks the rule of its annotation.

    Attributes:
        suffixes: of the files taken from a folder; empty: all.
        class_depth: parts of a path from the folder of a class on; 0: no folder is one.
        companions: arguments that name files besides those of the examples, and endings of such
            files, see `companions_of`.
        y_column: the column of a record that may be y.
        bare: whether records are read without it, see `without_y`.
    """

    suffixes: ClassVar[tuple[str, ...]] = ()
    class_depth: ClassVar[int] = 0
    companions: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    y_column: ClassVar[str] = "label"
    bare = False

    train: Names
    valid: Names | float = 0.1
    test: Names | float = 0.1
    path: str | None = None
    encoding: str = "utf-8"
    group: Names | None = None
    stratify: str | None = None
    order: Literal["random", "file"] = "random"
    seed: int = 0

    def __post_init__(self) -> None:
        check_shares(self.valid, self.test)
        check_encoding(self.encoding)
        check_arguments(self)
        self._remarks, self._column_remarks = list[str](), list[str]()
        self._of_x: tuple[str, ...] = ()  # its columns, once they are known
        self._passed_over: dict[str, str] = {}  # key as typed -> how many files, of which types
        self._repeated: dict[str, str] = {}  # split -> files that are named more than once

    @property
    def folder(self) -> Path:
        """The folder that names are relative to."""
        return Path() if self.path is None else Path(self.path)

    @property
    def item_columns(self) -> tuple[str, ...]:
        """Records alike in all of these columns stay in one split; none: alike in every column."""
        return tuple(_listed(self.group)) or self._of_x

    @property
    def typed(self) -> dict[str, Names | float]:
        """The files or the share of each split, as they were given."""
        return {"train": self.train, "valid": self.valid, "test": self.test}

    @cached_property
    def split_names(self) -> dict[str, Names | float]:
        """The files or the share of each split: as given, or as they are called in one folder."""
        return {**self.typed, **self._splits_of_train()}

    @property
    def endings(self) -> tuple[str, ...]:
        """The `suffixes` of the files taken from a folder; empty: all."""
        return self.suffixes

    def passed_over(self) -> list[str]:
        """Files that were passed over in the folders of all splits."""
        return [f"{key}: {text}" for key, text in self._passed_over.items()]

    def as_one(self) -> None:
        """Read everything that `train` names, whatever its folders or files are called."""
        self.split_names = dict(self.typed)

    def without_y(self, column: str, known: Sequence[str]) -> str:
        """Read without the column of y, which what is to be predicted need not have.

        Args:
            column: of the record; files may hold it or not.
            known: the classes of y, by which a file shows that it holds it.

        Returns:
            what is read in another way than in training, for people; or nothing.
        """
        self.bare = column == self.y_column
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

    @classmethod
    def companions_of(
        cls, node: Mapping[str, Any], input: Names, before: Path | None
    ) -> dict[str, Names | None]:
        """The arguments that name `companions`, with the files that lie beside an input.

        Annotations, tables of labels and names of classes belong to the files that they were made
        for. A file called as the input is, with another ending, comes before one that is called as
        that of the training. An input that holds them itself, GFF with its sequences, needs none.

        Args:
            node: the arguments of the source.
            input: a file, a folder or a pattern, or several.
            before: folder of the training's files, for what does not lie beside the input; None:
                those may not be read.
        """
        first = Path(_listed(input)[0])
        folder = first if first.is_dir() else first.parent
        found: dict[str, Names | None] = {}
        for key, endings in cls.companions.items():
            if node.get(key) is None:
                continue
            if endings and first.name.lower().removesuffix(".gz").endswith(endings):
                found[key] = None
                continue
            own = [] if first.is_dir() else _named_alike(first, endings)
            there = own or [str(_beside(folder, name, before)) for name in _listed(node[key])]
            found[key] = there[0] if len(there) == 1 else there
        return found

    def splits_inside(self, file: Path) -> dict[str, Names]:
        """The names for `train` that read one split each of a file that holds several.

        Args:
            file: it is there.
        """
        return {}

    def unread(self, file: Path) -> list[str]:
        """Warnings about files of other splits beside the one file that `train` names.

        Args:
            file: it is there, and none of its splits is read as such.
        """
        return given_splits.unread_beside(file, self._shares)

    @property
    def _shares(self) -> list[str]:
        return [split for split in SPLITS if isinstance(self.typed[split], float)]

    def warnings(self) -> list[str]:
        """Splits found in a folder or file, or not used; files that are named more than once."""
        remarks = (*self._remarks, *self._column_remarks) if self.split_names else ()
        return [*remarks, *self._repeated.values()]

    def _splits_of_train(self) -> dict[str, Names]:
        """The splits that what was typed for train holds, in place of those that were not typed."""
        train, shares = self.typed["train"], self._shares
        if isinstance(train, list):
            taken = [
                file
                for name in train
                for file in given_splits.named(self.folder / name, self._inside)
            ]
            self._remarks = given_splits.of_several(train, taken, shares)
        if not isinstance(train, str):
            return {}
        place = self.folder / train
        if place.is_file():
            inside = self.splits_inside(place)
            self._remarks = (
                given_splits.used(place, inside, shares) if inside else self.unread(place)
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
        left = sorted(set(taken) - given_splits.typed_files(self.folder, self.typed))
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
        """Each split reads its files whenever it is iterated.

        Raises:
            DataError: a file that is not there, a column to split by that is not there.
        """
        found = {split: self.files_of(split) for split in SPLITS}
        shares = {s: n for s, n in self.split_names.items() if isinstance(n, float)}
        views: dict[str, Iterable[Found]] = {
            split: self.records_of(files) for split, files in found.items() if split not in shares
        }
        if shares:
            split, self._column_remarks = split_shares(
                *(views["train"], shares),
                group=self.item_columns,
                stratify=self.stratify,
                order=self.order,
                seed=self.seed,
            )
            views |= split
        return Splits(**views)

    def records_of(self, files: Sequence[Path]) -> Iterable[Found]:
        """The records of some files, which are read each time they are iterated."""

        def read() -> Iterator[Found]:
            for file in files:
                try:
                    yield from self.parse(file)
                except DataError as error:
                    if len(files) == 1:
                        raise
                    yield error  # one of several files may be skipped

        return Reread(read)

    def whole(self, split: str) -> Iterable[Found]:
        """See `Source`."""
        self.as_one()
        name = "train" if isinstance(self.split_names[split], float) else split
        return self.records_of(self.files_of(name))

    def keep_together(self, columns: Sequence[str]) -> None:
        """See `Source`; a `group` that was given comes first."""
        self._of_x = self._of_x or tuple(columns)

    def inputs(self) -> list[Path]:
        """All files of all splits, and the `companions`."""
        files = [file for split in SPLITS for file in self.files_of(split)]
        return [*files, *self.companion_files()]

    def companion_files(self) -> list[Path]:
        """The files that the arguments of `companions` name."""
        folder = self.folder if self.folder.is_dir() else self.folder.parent
        named = (_listed(getattr(self, key)) for key in self.companions)
        return [folder / name for names in named for name in names]

    def files_of(self, split: str) -> list[Path]:
        """The files of one split, each once; none where it is a share of train.

        Raises:
            DataError: one is not there, or a folder or pattern holds none.
        """
        names = self.split_names[split]
        if names == []:
            raise MissingFiles(f"data.source.{split}=[]: names no file; allowed: one or more")
        listed = [] if isinstance(names, float) else _listed(names)
        matching = [file for name in listed for file in self._matching(split, name)]
        return each_once(matching, split, self._repeated)

    def _matching(self, split: str, name: str) -> list[Path]:
        file, key = self.folder / name, f"data.source.{split}={name}"
        if file.is_file():
            return [file]
        if self.folder != Path() and not self.folder.exists():
            raise MissingFiles(not_there(f"data.source.path={self.path}", self.folder, "a folder"))
        if file.is_dir():
            files, others = self._inside(file)
            self._pass_over(key, others, len(files) + len(others))
            if not files:
                wanted = f"*{', *'.join(self.endings)}" if self.endings else "any"
                raise MissingFiles(f"{key}: {file} holds no files; allowed: {wanted}")
            return files
        if any(mark in name for mark in "*?["):
            files = sorted(f for f in map(Path, glob(str(file), recursive=True)) if f.is_file())
            if not files:
                raise MissingFiles(f"{key}: no file in {self.folder.resolve()} is called so")
            return files
        if self.folder.is_file():
            text = f"data.path={self.folder} is a file, and names are relative to a folder"
            raise MissingFiles(f"{key}: {text}; allowed: data.path=FOLDER, or leave it out")
        raise MissingFiles(not_there(key, file, "a file, a folder or a pattern"))

    def _pass_over(self, key: str, others: Iterable[Path], count: int) -> None:
        """Remember which of `count` files of a folder are not read, for a warning."""
        if text := given_splits.other_types(others, count, self.endings):
            self._passed_over[key] = text

    def _inside(self, folder: Path) -> tuple[list[Path], list[Path]]:
        """The files of a folder that are read, and those of other types, each sorted.

        Hidden files, and what lies in hidden folders (.git, .ipynb_checkpoints), are neither.
        """
        taken: list[Path] = []
        others: list[Path] = []
        for file in sorted(folder.rglob("*")):
            hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
            if file.is_file() and not hidden:
                is_read = not self.endings or file.name.lower().endswith(self.endings)
                (taken if is_read else others).append(file)
        return taken, others


def at_least_one(found: Iterable[Found], problem: str) -> Iterator[Found]:
    """The records of a file; a DataError with the problem where that is nothing."""
    empty = True
    for one in found:
        empty = False
        yield one
    if empty:
        raise DataError(problem)


def _listed(names: Names | None) -> list[str]:
    return [] if names is None else [names] if isinstance(names, str) else list(names)


def _named_alike(file: Path, endings: Sequence[str]) -> list[str]:
    """The file with the name of another and one of some endings, plain or packed."""
    stem = Path(file.name.removesuffix(".gz")).stem
    names = [f"{stem}{ending}{packed}" for ending in endings for packed in ("", ".gz")]
    return [str(file.parent / name) for name in names if (file.parent / name).is_file()][:1]


def _beside(folder: Path, name: str, before: Path | None) -> Path:
    """The place of a file that the training names; if there is none, where it is looked for.

    Beside the input it may lie in the same folders or in none.
    """
    places = [folder / Path(name).name]
    if not Path(name).is_absolute():
        places.insert(0, folder / name)
    if before is not None:
        places.append((before if before.is_dir() else before.parent) / name)
    return next((place for place in places if place.is_file()), folder / Path(name).name)
