"""A folder a class, a file a document."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from seqpipe.data.base import Found, PlacedRecord
from seqpipe.data.sources.files import FileSource, lines
from seqpipe.errors import DataError, did_you_mean


class ClassFolders(FileSource):
    """A record a file: `text`, all of it, and `label`, the folder that it lies in.

    Files may lie deeper in a class folder; what lies beside the class folders is not read.

    Args:
        train: the folder that holds a folder for each class.
        valid: the same, or a share of the distinct texts of train.
        test: as `valid`.
        path: folder that the names are relative to; with train `.` it is the one itself.
        classes: the folders to read (`[neg, pos]` of aclImdb, which has a third); None: all.
        encoding: of the text.
        group: see `FileSource`, as what follows.
        stratify: a column; each split gets the same share of each of its values.
        order: random or file.
        seed: of the random order.
    """

    class_depth = 2

    def __init__(
        self,
        train: str,
        valid: str | float = 0.1,
        test: str | float = 0.1,
        *,
        path: str | None = None,
        classes: list[str] | None = None,
        encoding: str = "utf-8",
        group: str | list[str] | None = None,
        stratify: str | None = "label",
        order: Literal["random", "file"] = "random",
        seed: int = 0,
    ) -> None:
        super().__init__(
            train,
            valid,
            test,
            path=path,
            encoding=encoding,
            group=group,
            stratify=stratify,
            order=order,
            seed=seed,
        )
        self.classes = classes
        self._bare = False
        self._labels: dict[Path, str] = {}

    def without_y(self, column: str, known: Sequence[str]) -> str:
        """Texts may lie in any folder, or in none."""
        self._bare = column == "label"
        return ""

    def files_of(self, split: str) -> list[Path]:
        """The files of the classes, sorted by class and name; none where it is a share of train.

        Raises:
            DataError: no such folder, one without classes, a class without files.
        """
        name = self.names[split]
        if isinstance(name, float):
            return []
        if self._bare:
            return super().files_of(split)
        listed = [name] if isinstance(name, str) else name
        return [file for one in listed for file in self._of_classes(split, one)]

    def _of_classes(self, split: str, name: str) -> list[Path]:
        """The files in the class folders of one folder."""
        key, folder = f"data.source.{split}={name}", self.path / name
        if not folder.is_dir():
            beside = [f.name for f in folder.parent.iterdir()] if folder.parent.is_dir() else []
            text = f"no such folder in {folder.parent.resolve()}"
            raise DataError(f"{key}: {text}{did_you_mean(folder.name, beside)}")
        visible = [f for f in folder.iterdir() if f.name[0] != "."]
        found = sorted(f.name for f in visible if f.is_dir())
        files = []
        for label in found if self.classes is None else self.classes:
            if label not in found:
                text = f"{folder} has no folder {label}; it has {', '.join(found)}"
                raise DataError(f"data.source.classes={label}: {text}")
            inside, _ = self._inside(folder / label)
            if not inside:
                text = f"{folder / label} holds no files; allowed: one for each text"
                raise DataError(f"{key}: {text}")
            self._labels |= dict.fromkeys(inside, label)
            files += inside
        if not files:
            raise DataError(f"{key}: {folder} holds no folders; allowed: one for each class")
        others = [f for f in visible if f.is_file()]
        self._pass_over(key, others, len(files) + len(others))
        return files

    def _pass_over(self, key: str, others: Iterable[Path], count: int) -> None:
        """Files beside the class folders."""
        beside = [*others]
        if beside:
            text = f"{len(beside):,} of {count:,} files lie beside the folders of the classes"
            self._passed_over[key] = f"{text} and are not read ({beside[0].name}, ...)"

    def parse(self, file: Path) -> Iterator[Found]:
        """The one record of a file, or what is wrong with it."""
        text: list[str] = []
        for _, line in lines(file, self.encoding):
            if isinstance(line, DataError):
                yield line
                return
            text.append(line)
        whole = "\n".join(text).strip()
        if whole:
            label = {} if self._bare else {"label": self._labels[file]}
            yield PlacedRecord({"text": whole, **label}, file)
        else:
            yield DataError(f"{file}: is empty; allowed: a text")
