"""Sources that read files: which files, and which split each belongs to."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

from seqpipe.data.base import SPLITS, Found, Source, Splits
from seqpipe.data.folds import Fold
from seqpipe.data.sources.argument_checks import (
    MissingFiles,
    NamesOrShare,
    check_arguments,
    check_use,
    not_there,
    refuse_folds,
    share_faults,
)
from seqpipe.data.sources.argument_checks import Names as Names
from seqpipe.data.sources.file_search import describe_other_types, find_companion, find_files
from seqpipe.data.sources.given_splits import (
    GivenSplits,
    find_in_folder,
    warn_unread_beside,
    warn_unread_inside,
    warn_unused,
    warn_used,
)
from seqpipe.data.sources.splitting import Reread, count_folds, split_shares
from seqpipe.data.sources.text_lines import check_encoding
from seqpipe.errors import DataError
from seqpipe.files import exists, is_file, is_folder


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
        split_by: what decides the split of a record, where no folds can be made; else empty.
        bare: whether records are read without it, see `without_y`.
    """

    suffixes: ClassVar[tuple[str, ...]] = ()
    class_depth: ClassVar[int] = 0
    companions: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    y_column: ClassVar[str] = "label"
    split_by: ClassVar[str] = ""
    bare = False
    together = staticmethod(share_faults)

    train: Names
    valid: NamesOrShare = 0.1
    test: NamesOrShare = 0.1
    path: str | None = None
    encoding: str = "utf-8"
    group: Names | None = None
    stratify: str | None = None
    order: Literal["random", "file"] = "random"
    seed: int = 0

    def __post_init__(self) -> None:
        check_arguments(self)
        check_encoding(self.encoding)
        self._remarks: list[str] = []  # warnings about what was read, of a format
        self._column_warnings: list[str] = []
        self._columns_of_x: tuple[str, ...] = ()  # once they are known
        self._fold: Fold | None = None
        self._passed_over: dict[str, str] = {}  # key as typed -> how many files, of which types
        self._repeated: dict[str, str] = {}  # split -> files that are named more than once

    @property
    def folder(self) -> Path:
        """The folder that names are relative to."""
        return Path() if self.path is None else Path(self.path)

    @property
    def item_columns(self) -> tuple[str, ...]:
        """Records alike in all of these columns stay in one split; none: alike in every column."""
        return tuple(_listed(self.group)) or self._columns_of_x

    @property
    def endings(self) -> tuple[str, ...]:
        """The `suffixes` of the files taken from a folder; empty: all."""
        return self.suffixes

    @abstractmethod
    def parse(self, file: Path) -> Iterator[Found]:
        """The records of one file, in their order; a DataError in the place of a bad one.

        Args:
            file: as it is to be shown in messages.

        Raises:
            DataError: the file as a whole cannot be read.
        """

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
        """True where a text file can only be read by this source, not as one text per line.

        Args:
            file: that a model is asked about.
            labelled: its answers are to be compared with y, which the file holds.
        """
        return False

    def unread_options(self) -> dict[str, str]:
        """The options that no file of this source makes use of, each with the reason."""
        takes_it = any(option.name == "encoding" and option.init for option in fields(self))
        return {} if takes_it else {"encoding": f"{type(self).__name__} reads no text"}

    def only(self, column: str) -> None:
        """Require no column but this one: what a model is asked about may lack all others."""

    def splits_inside(self, file: Path) -> dict[str, Names]:
        """The names for `train` that read one split each of a file that holds several.

        Args:
            file: it is there.
        """
        return {}

    def unread(self, file: Path) -> list[str]:
        """Warnings about given splits that are not read with the one file that `train` names.

        Args:
            file: it is there, and none of its splits is read as such.
        """
        return warn_unread_beside(file, self._not_typed)

    @property
    def typed(self) -> dict[str, Names | float]:
        """The files or the share of each split, as they were given."""
        return {"train": self.train, "valid": self.valid, "test": self.test}

    @property
    def _not_typed(self) -> list[str]:
        return [split for split in SPLITS if isinstance(self.typed[split], float)]

    @cached_property
    def given(self) -> GivenSplits:
        """The given splits of what was typed for train."""
        train = self.typed["train"]
        if not isinstance(train, str):
            return self._given_by_several()
        place = self.folder / train
        if is_folder(place):
            return self._given_in_folder(place)
        if is_file(place):
            inside = self.splits_inside(place)
            if not inside:
                return GivenSplits(warnings=self.unread(place))
            wanted = ("train", *self._not_typed)
            read = {split: names for split, names in inside.items() if split in wanted}
            return GivenSplits(read, [warn_used(place, inside, self._not_typed)])
        if is_file(place.parent):  # an array in a file
            inside = self.splits_inside(place.parent)
            return GivenSplits(warnings=warn_unread_inside(place, inside, self._not_typed))
        return self._given_by_several()

    def _given_by_several(self) -> GivenSplits:
        """Return warnings about the given splits of a list of names, or of a pattern."""
        named = [find_files(self.folder / name, self.endings)[0] for name in _listed(self.train)]
        files = [file for found in named for file in found]
        return GivenSplits(warnings=warn_unused(self.train, files, self._not_typed))

    def _given_in_folder(self, folder: Path) -> GivenSplits:
        train = str(self.train)
        files, others = find_files(folder, self.endings)
        names = [name for split in ("valid", "test") for name in _files_in(self.typed[split])]
        left = set(files) - {self.folder / name for name in names}
        given = find_in_folder(folder, train, left, self._not_typed, self.class_depth)
        if given.names:
            self._pass_over(f"data.source.train={train}", others, len(files) + len(others))
        return given

    @property
    def split_names(self) -> dict[str, Names | float]:
        """The files or the share of each split, as typed or as given."""
        return {**self.typed, **self.given.names}

    @property
    def shares(self) -> dict[str, float]:
        """The splits that are shares of train."""
        return {s: share for s, share in self.split_names.items() if isinstance(share, float)}

    def names_of(self, split: str) -> list[str]:
        """The names of the files of a split; none where it is a share of train."""
        return _files_in(self.split_names[split])

    def as_one(self) -> None:
        """Read everything that `train` names, whatever its folders or files are called."""
        self.given = GivenSplits()

    def warnings(self) -> list[str]:
        """Given splits, used or not; what a format says; files that are named more than once."""
        read = (*self._remarks, *self._column_warnings, *self._repeated.values())
        return [*self.given.warnings, *read]

    def passed_over(self) -> list[str]:
        """Files that were passed over in the folders of all splits."""
        return [f"{key}: {text}" for key, text in self._passed_over.items()]

    def read(self) -> Splits:
        """Each split reads its files whenever it is iterated.

        Raises:
            DataError: a file that is not there, a column to split by that is not there.
            ConfigError: an option that was set, and that no file makes use of.
        """
        check_use(self)
        read = [split for split in SPLITS if split not in self.shares]
        splits, self._column_warnings = split_shares(
            {split: self.records_of(self.files_of(split)) for split in read},
            self.shares,
            group=self.item_columns,
            stratify=self.stratify,
            order=self.order,
            seed=self.seed,
            fold=self._fold,
            grouped=bool(self.group),
        )
        return splits

    def choose_fold(self, fold: Fold) -> None:
        """See `Source`; folds are of all that `train` holds."""
        refuse_folds(fold, self.split_by, self.split_names["test"])
        self._fold = fold

    def count_folds(self) -> int:
        """See `Source`."""
        assert self._fold is not None, "chosen before"
        records, how = self.records_of(self.files_of("train")), (self.shares, self.item_columns)
        return count_folds(records, self._fold, *how, bool(self.group))

    def whole(self, split: str) -> Iterable[Found]:
        """See `Source`."""
        self.as_one()
        return self.records_of(self.files_of("train" if split in self.shares else split))

    def examples(self) -> Iterator[Found]:
        """Records of the first file that has some: nothing is split for them."""
        for split in reversed(SPLITS):
            for file in self.files_of(split):
                yield from self.parse(file)

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

    def keep_together(self, columns: Sequence[str]) -> None:
        """See `Source`; a `group` that was given comes first."""
        self._columns_of_x = self._columns_of_x or tuple(columns)

    def inputs(self) -> list[Path]:
        """All files of all splits, and the `companions`."""
        files = [file for split in SPLITS for file in self.files_of(split)]
        return [*files, *self.companion_files()]

    def files_of(self, split: str) -> list[Path]:
        """The files of one split, each once; none where it is a share of train.

        Raises:
            DataError: one is not there, or a folder or pattern holds none.
        """
        if self.split_names[split] == []:
            raise MissingFiles(f"data.source.{split}=[]: names no file; allowed: one or more")
        found = [file for name in self.names_of(split) for file in self._matching(split, name)]
        return self._each_once(found, split)

    def _matching(self, split: str, name: str) -> list[Path]:
        """The files that one name means; at least one."""
        key, place = f"data.source.{split}={name}", self.folder / name
        files, others = find_files(place, self.endings)
        self._pass_over(key, others, len(files) + len(others))
        if files:
            return files
        if self.folder != Path() and not exists(self.folder):
            raise MissingFiles(not_there(f"data.source.path={self.path}", self.folder, "a folder"))
        if is_folder(place):
            wanted = f"*{', *'.join(self.endings)}" if self.endings else "any"
            raise MissingFiles(f"{key}: {place} holds no files; allowed: {wanted}")
        if any(mark in name for mark in "*?["):
            raise MissingFiles(f"{key}: no file in {self.folder.resolve()} has this name")
        if is_file(self.folder):
            text = f"data.path={self.folder} is a file, and names are relative to a folder"
            raise MissingFiles(f"{key}: {text}; allowed: data.path=FOLDER, or leave it out")
        raise MissingFiles(not_there(key, place, "a file, a folder or a pattern"))

    def _pass_over(self, key: str, others: Iterable[Path], count: int) -> None:
        """Remember which of `count` files of a folder are not read, for a warning."""
        if text := describe_other_types(others, count, self.endings):
            self._passed_over[key] = text

    def _each_once(self, files: Sequence[Path], split: str) -> list[Path]:
        """Each file of a split once, however often it is named; its examples would weigh more."""
        once: dict[Path, Path] = {}
        again: dict[Path, Path] = {}
        for file in files:
            whole = file.resolve()
            (again if whole in once else once).setdefault(whole, file)
        if again:
            shown = ", ".join(map(str, again.values()))
            self._repeated[split] = f"{shown}: named more than once for {split}, and read once"
        return list(once.values())

    def companion_files(self) -> list[Path]:
        """The files that the arguments of `companions` name."""
        folder = self.folder if is_folder(self.folder) else self.folder.parent
        named = (_listed(getattr(self, key)) for key in self.companions)
        return [folder / name for names in named for name in names]

    @classmethod
    def companions_of(
        cls, node: Mapping[str, Any], input: Names, before: Path | None
    ) -> dict[str, Names | None]:
        """The arguments that name `companions`, with the files that lie beside an input.

        Annotations, tables of labels and names of classes belong to the files that they were made
        for. An input that holds them itself, GFF with its sequences, needs none.

        Args:
            node: the arguments of the source.
            input: a file, a folder or a pattern, or several.
            before: see `find_companion`.
        """
        first = Path(_listed(input)[0])
        found: dict[str, Names | None] = {}
        for key, endings in cls.companions.items():
            if node.get(key) is None:
                continue
            if endings and first.name.lower().removesuffix(".gz").endswith(endings):
                found[key] = None
                continue
            files = find_companion(first, _listed(node[key]), endings, before)
            found[key] = files[0] if len(files) == 1 else files
        return found


def _listed(names: Names | None) -> list[str]:
    return [] if names is None else [names] if isinstance(names, str) else list(names)


def _files_in(typed: Names | float) -> list[str]:
    return [] if isinstance(typed, float) else _listed(typed)
