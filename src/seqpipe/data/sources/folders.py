"""A folder a class, a file a document."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from seqpipe.data.base import Found, PlacedRecord
from seqpipe.data.sources.argument_checks import MissingFiles, not_there
from seqpipe.data.sources.file_search import files_in_folder
from seqpipe.data.sources.files import FileSource
from seqpipe.data.sources.text_lines import lines
from seqpipe.errors import DataError
from seqpipe.files import is_folder


@dataclass(kw_only=True)
class ClassFolders(FileSource):
    """A record a file: `text`, all of it, and `label`, the folder that it lies in.

    Files may lie deeper in a class folder; what lies beside the class folders is not read.

    Args:
        train: the folder that holds a folder for each class.
        classes: the folders to read (`[neg, pos]` of aclImdb, which has a third); None: all.
    """

    class_depth = 2

    classes: list[str] | None = None
    stratify: str | None = "label"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._labels: dict[Path, str] = {}

    def files_of(self, split: str) -> list[Path]:
        """The files of the classes, sorted by class and name; none where it is a share of train.

        Raises:
            DataError: no such folder, one without classes, a class without files.
        """
        if self.bare:
            return super().files_of(split)
        return [file for name in self.names_of(split) for file in self._of_classes(split, name)]

    def _of_classes(self, split: str, name: str) -> list[Path]:
        key, folder = f"data.source.{split}={name}", self.folder / name
        if not is_folder(folder):
            raise MissingFiles(not_there(key, folder, "a folder with a folder for each class"))
        visible = [f for f in folder.iterdir() if f.name[0] != "."]
        found = sorted(f.name for f in visible if f.is_dir())
        files = []
        for label in found if self.classes is None else self.classes:
            if label not in found:
                text = f"{folder} has no folder {label}; it has {', '.join(found)}"
                raise DataError(f"data.source.classes={label}: {text}")
            inside, _ = files_in_folder(folder / label, self.endings)
            if not inside:
                text = f"{folder / label} holds no files; allowed: one for each text"
                raise DataError(f"{key}: {text}")
            self._labels |= dict.fromkeys(inside, label)
            files += inside
        if not files:
            raise DataError(f"{key}: {folder} holds no folders; allowed: one for each class")
        beside = [f for f in visible if f.is_file()]
        if beside:
            count = f"{len(beside):,} of {len(files) + len(beside):,} files"
            text = f"{count} lie beside the folders of the classes and are not read"
            self._passed_over[key] = f"{text} ({beside[0].name}, ...)"
        return files

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
            label = {} if self.bare else {"label": self._labels[file]}
            yield PlacedRecord({"text": whole, **label}, file)
        else:
            yield DataError(f"{file}: is empty; allowed: a text")
