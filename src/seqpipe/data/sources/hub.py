"""Hugging Face data sets: from the hub, from a folder, or from files of a common format."""

import os
import socket
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from glob import glob
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from seqpipe.data.base import Found, PlacedRecord, Source, Splits, place
from seqpipe.data.folds import Fold
from seqpipe.data.optional_deps import need
from seqpipe.data.sources.argument_checks import (
    NamesOrShare,
    check_arguments,
    refuse_folds,
    share_faults,
)
from seqpipe.data.sources.files import Names
from seqpipe.data.sources.given_splits import FolderSplits, shares_of, warn_merged, warn_unused
from seqpipe.data.sources.hub_values import Convert, all_columns, column_of, converter
from seqpipe.data.sources.split_names import split_of, splits_of
from seqpipe.data.sources.splitting import count_folds, split_shares
from seqpipe.errors import ConfigError, DataError, did_you_mean
from seqpipe.files import is_folder

FORMATS = ("csv", "json", "parquet", "arrow", "text")
_WORDS_STAY = {"keep_default_na": False, "na_values": [""]}  # of pandas, which reads csv
_DATA = {".csv", ".tsv", ".json", ".jsonl", ".parquet", ".arrow", ".txt"}
_AT_ONCE = 1000  # rows turned into Python's objects together
_SAVED = ("dataset_dict.json", "state.json")  # either is in a folder of save_to_disk


@dataclass
class Hub(Source):
    """A set of Hugging Face `datasets`. No code that comes with a set is ever run.

    Args:
        name: id of the set on the hub (`stanfordnlp/imdb`), a folder that `save_to_disk` wrote or
            that holds files of one format, or a format: csv, json, parquet, arrow, text.
        train: name of the split; with a format, a file, several or a pattern of them.
        valid: the same, or the share of what `train` holds to validate on.
        test: the same, or the share of what `train` holds to test on.
        config: which of the set's configurations, where it has several.
        revision: branch, tag or commit of the set on the hub. None: its main branch.
            `refs/convert/parquet` is the hub's own copy of a set that comes as code.
        path: folder that a folder or files are relative to; None: the current folder.
        columns: column of the set -> column of the record; `translation.de` is one inside
            another. Only these are read. None: all, as they are called, without empty entries.
        names: classes by their names, where the set has them, in place of numbers.
        streaming: read over the network, or from the files, without keeping a copy.
        group: columns; records alike in all of them stay in one split. None: those of x.
        stratify: a column; each split gets the same share of each of its values. None: of none.
        order: `random` or `file`, as in `FileSource`.
        seed: of the random order.

    Raises:
        ConfigError: `datasets` is not installed; shares that leave a split empty; options that do
            not go with what is read.
    """

    together = staticmethod(share_faults)

    name: str
    train: Names = "train"
    valid: NamesOrShare = "validation"
    test: NamesOrShare = "test"
    config: str | None = None
    revision: str | None = None
    path: str | None = None
    columns: dict[str, str] | None = None
    names: bool = True
    streaming: bool = False
    group: Names | None = None
    stratify: str | None = None
    order: Literal["random", "file"] = "random"
    seed: int = 0

    def __post_init__(self) -> None:
        check_arguments(self)
        self.base = Path(self.path or "")
        self.place = self.base / self.name
        splits = {"train": self.train, "valid": self.valid, "test": self.test}
        self.shares = {split: n for split, n in splits.items() if isinstance(n, float)}
        self.names_of = {split: n for split, n in splits.items() if not isinstance(n, float)}
        self._together = (self.group,) if isinstance(self.group, str) else tuple(self.group or ())
        self._unread: list[str] = []
        self._column_warnings: list[str] = []
        self._fold: Fold | None = None
        self.is_format = self.name in FORMATS
        self.is_folder = not self.is_format and is_folder(self.place)
        self.is_saved = self.is_folder and any((self.place / f).is_file() for f in _SAVED)
        self._check()
        if not (self.is_format or self.is_folder):
            _set_offline_without_network()
        self.datasets = need("datasets", extra="hub", what="data.source=Hub")

    def read(self) -> Splits:
        """The rows of the set, converted as they are iterated.

        Raises:
            DataError: the set, a split or a column is not available.
        """
        splits, self._column_warnings = split_shares(
            *(self._rows, self.shares),
            group=self._together,
            stratify=self.stratify,
            order=self.order,
            seed=self.seed,
            fold=self._fold,
            grouped=bool(self.group),
        )
        return splits

    def choose_fold(self, fold: Fold) -> None:
        """See `Source`; folds are of the rows of `train`."""
        refuse_folds(fold, "", self.test)
        self._fold = fold

    def count_folds(self) -> int:
        """See `Source`."""
        assert self._fold is not None, "chosen before"
        how = self.shares, self._together, bool(self.group)
        return count_folds(self._rows["train"], self._fold, *how)

    def whole(self, split: str) -> Iterable[Found]:
        """See `Source`."""
        return self.rows("train" if split in self.shares else split)

    def rows(self, split: str) -> Iterable[Found]:
        """The records of `train`, `valid` or `test`, where that is no share.

        Raises:
            DataError: as `read`.
        """
        return self._rows[split]

    def keep_together(self, columns: Sequence[str]) -> None:
        """Takes the columns of x where no `group` was given."""
        self._together = self._together or tuple(columns)

    def inputs(self) -> list[Path]:
        """The Arrow files that the set was brought into; none where it is streamed.

        Raises:
            DataError: as `read`.
        """
        if self.streaming:
            return []
        files = [f["filename"] for rows in self._rows.values() for f in rows.rows.cache_files]
        return [Path(file) for file in dict.fromkeys(files)]

    @cached_property
    def _rows(self) -> dict[str, "_Rows"]:
        """The splits that are no shares, by our names."""
        found = self._loaded()
        rows: dict[str, _Rows] = {}
        read: list[str] = []
        for split, names in self.names_of.items():
            name = split if self.is_format else _name_in(found, names)
            if not isinstance(name, str) or name not in found:
                key, has = f"data.source.{split}={name}", ", ".join(map(str, found))
                hint = did_you_mean(str(name), map(str, found))
                share = "" if split == "train" else ", or a share of train, as 0.1"
                raise DataError(f"{key}: not a split of {self.name}; it has {has}{share}{hint}")
            rows[split] = _Rows(self, found[name], f"{self.name}/{name}")
            read.append(name)
        self._unread = self._warn_unread(found, read)
        return rows

    def _warn_unread(self, found: Iterable[Any], read: Sequence[str]) -> list[str]:
        """Warnings about given splits that are not read."""
        shares = list(self.shares)
        if self.is_format:
            names = [self.train] if isinstance(self.train, str) else self.train
            files = [Path(file) for name in names for file in glob(str(self.base / name))]
            return warn_unused(self.train, files, shares)
        known = list(map(str, found))
        unread = [n for n in known if n not in read and split_of(n) is not None]
        if unread and shares:
            text = f"{self.name} holds {', '.join(unread)} too, which is not read"
            return [f"{text}; {shares_of('train', shares)}"]
        if not self.is_folder or self.is_saved:
            return []
        folder = self.place
        data = [f for f in folder.rglob("*") if f.suffix in _DATA and f.is_file()]
        inside = FolderSplits(folder, data).found
        missed = inside.keys() - {split_of(name) for name in known}
        return warn_merged(self.train, inside, shares) if missed else []

    def warnings(self) -> list[str]:
        """Splits of the set that are not used."""
        return [*self._unread, *self._column_warnings]

    def _loaded(self) -> Mapping[str, Any]:
        where = str(self.place) if self.is_folder else self.name
        files: dict[str, list[str]] | None = None
        if self.is_format:
            listed = {s: [n] if isinstance(n, str) else n for s, n in self.names_of.items()}
            files = {s: [str(self.base / name) for name in names] for s, names in listed.items()}
        read = _WORDS_STAY if self._reads_csv() else {}
        with self._own_errors(), _quiet(self.datasets):
            if self.is_saved:
                found = self.datasets.load_from_disk(where)
            else:
                found = self.datasets.load_dataset(
                    where,
                    self.config,
                    data_files=files,
                    revision=self.revision,
                    streaming=self.streaming,
                    **read,
                )
        return found if isinstance(found, dict) else {"train": found}

    def _reads_csv(self) -> bool:
        """True where the library reads csv files, in which it would take NA for a missing value."""
        if not self.is_folder or self.is_saved:
            return self.name == "csv"
        files = [f for f in self.place.rglob("*") if f.is_file()]
        return {f.suffix for f in files if f.suffix in _DATA} == {".csv"}

    @contextmanager
    def _own_errors(self) -> Iterator[None]:
        """Raise errors of the library as one of ours, with what can be done.

        Raises:
            DataError: in place of them.
        """
        own = self.datasets.exceptions.DatasetsError
        try:
            yield
        except (OSError, ValueError, RuntimeError, EOFError, zlib.error, own) as error:
            reason = str(error.__cause__ or error).partition("\n")[0].rstrip(".")
            key = f"data.source.name={self.name}"
            if self.is_format or self.is_folder:
                raise DataError(f"{key}: cannot be read ({reason})") from None
            allowed = f"an id on the hub, where the machine can reach it, {_folder_or_format()}"
            if os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "ON", "YES", "TRUE"):
                reason += "; the hub is not asked, or is out of reach"
            raise DataError(f"{key}: cannot be loaded ({reason}); allowed: {allowed}") from None

    def _check(self) -> None:
        local = self.is_format or self.is_folder
        problems = []
        if not local and (self.name.count("/") > 1 or self.name.startswith((".", "/"))):
            text = f"no such folder in {self.base.resolve()}"
            allowed = f"an id on the hub, {_folder_or_format()}"
            problems.append(f"data.source.name={self.name}: {text}; allowed: {allowed}")
        if local and self.revision is not None:
            text = "only a set on the hub has revisions; allowed: null"
            problems.append(f"data.source.revision={self.revision}: {text}")
        if self.is_saved and self.streaming:
            text = "a saved set is read from where it lies; allowed: false"
            problems.append(f"data.source.streaming=true: {text}")
        if (self.is_saved or self.is_format) and self.config is not None:
            text = "only a set on the hub or a folder of files has some; allowed: null"
            problems.append(f"data.source.config={self.config}: {text}")
        if problems:
            raise ConfigError(problems)


class _Rows:
    """The rows of one split as records, each time it is iterated."""

    def __init__(self, source: Hub, rows: Any, shown: str) -> None:
        self.source, self.rows, self.shown = source, rows, shown
        if rows.column_names is not None:  # else only the rows themselves tell
            self._check(rows.column_names)

    def __iter__(self) -> Iterator[Found]:
        features, number = self.rows.features or {}, 0
        with self.source._own_errors():
            for batch in self.rows.iter(_AT_ONCE):
                self._check(batch)
                chosen = list(self.source.columns or all_columns(batch, features))
                converts = {name: converter(name, features, self.source.names) for name in chosen}
                entries = [column_of(batch, name) for name in chosen]
                for row in zip(*entries, strict=True):
                    number += 1
                    yield self._record(dict(zip(chosen, row, strict=True)), converts, number)

    def _record(self, row: dict[str, Any], converts: dict[str, Convert], number: int) -> Found:
        columns, problems = self.source.columns, []
        record = {}
        for name, value in row.items():
            if columns is None and value is None:  # a column that is not needed
                continue
            try:
                record[name if columns is None else columns[name]] = converts[name](value)
            except DataError as error:
                problems += [f"{place(self.shown, number)}: {name}={p}" for p in error.problems]
        return DataError(problems) if problems else PlacedRecord(record, self.shown, number)

    def _check(self, there: Iterable[str]) -> None:
        """Refuse a column to read that is not there."""
        there = list(there)
        for name in self.source.columns or ():
            outer = name.partition(".")[0]
            if name not in there and outer not in there:
                text = f"not a column of {self.shown}; it has {', '.join(there)}"
                hint = did_you_mean(name, there)
                raise DataError(f"data.source.columns.{name}: {text}{hint}")


def _name_in(found: Mapping[str, Any], names: Names) -> Any:
    """A split as a set calls it: its dev is our validation."""
    if not isinstance(names, str) or names in found:
        return names
    splits = splits_of(map(str, found))
    same = [name for name, split in splits.items() if split == split_of(names)]
    return same[0] if len(same) == 1 else names


@contextmanager
def _quiet(datasets: Any) -> Iterator[None]:
    """Hide the library's progress bars: preparing has one of its own."""
    shown = datasets.are_progress_bars_disabled() is False
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()


def _folder_or_format() -> str:
    return f"a folder of save_to_disk, or {', '.join(FORMATS)} with files in data.source.train"


def _set_offline_without_network() -> None:
    """Set the library offline where the hub's name cannot be looked up: only kept sets are there.

    The library would ask five times, waiting longer each time. It reads the variable once, when
    it is imported.
    """
    behind_proxy = any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy"))
    host = urlsplit(os.environ.get("HF_ENDPOINT", "https://huggingface.co")).hostname
    if behind_proxy or "HF_HUB_OFFLINE" in os.environ or host is None:
        return
    try:
        socket.getaddrinfo(host, 443)
    except OSError:
        os.environ["HF_HUB_OFFLINE"] = "1"
