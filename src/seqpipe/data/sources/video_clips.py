"""What video files and folders of frames share: labels, clips listed in a table, pieces of a clip.

A clip becomes a record {frames, file, name, folder, piece} and what its name or its table tell.
"""

import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from seqpipe.data.base import SPLITS, Found, PlacedRecord, place
from seqpipe.data.sources.argument_checks import not_there
from seqpipe.data.sources.named_files import NamedFiles
from seqpipe.data.sources.numeric_text import cells
from seqpipe.data.sources.text_lines import lines
from seqpipe.errors import DataError, did_you_mean
from seqpipe.rules import whole

Frames = np.ndarray[Any, np.dtype[np.uint8]]
OWN_COLUMNS = ("frames", "file", "name", "folder", "piece")
_MOST_KEPT = 2**28  # bytes of decoded frames
_TABLES = (".csv", ".tsv")


@dataclass(kw_only=True)
class Clips(NamedFiles):
    r"""Clips, their frames small and all of one size.

    Records: `frames` (T, height, width) uint8 in grey, (T, height, width, 3) in rgb; `file`, as
    named from `path`; `name`, without folder and ending; `folder`, the one it lies in; `piece`,
    from 0; and the columns that `pattern` or a table give.

    Args:
        train: a file, several, a pattern (`*.mkv`), a folder, or a table: a .csv or .tsv with a
            header, whose column `file` names clips (from the table's folder) and whose other
            columns are those of their records.
        encoding: of tables, any name that Python knows.
        pattern: see `NamedFiles`, here for the whole `name`.
        height: of a frame, in pixels.
        width: of a frame, in pixels.
        color: of a frame.
        pieces: cut each clip in so many pieces of consecutive frames, each a record.
        group: columns; records alike in all of them stay in one split. None: those of x, and with
            pieces `file`, since a piece much like its neighbour would leak.
        order: `random` or `file`, as in `FileSource`.

    Raises:
        ConfigError: a size below 1, and as `NamedFiles`.
    """

    own_columns = OWN_COLUMNS

    height: Annotated[int, whole(1)] = 24
    width: Annotated[int, whole(1)] = 32
    color: Literal["grey", "rgb"] = "grey"
    pieces: Annotated[int, whole(1)] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        self._kept: dict[Path, Frames] = {}
        self._room = _MOST_KEPT

    @abstractmethod
    def frames_of(self, clip: Path) -> Frames:
        """The chosen frames of one clip, (T, height, width) or (T, height, width, 3).

        Raises:
            DataError: it cannot be read, or holds none.
        """

    def parse(self, file: Path) -> Iterator[Found]:
        """The pieces of one clip, or of each clip of a table."""
        if file.suffix.lower() not in _TABLES:
            yield from self._clip(file, {}, place(file))
            return
        for row in listed(file, self.encoding):
            if isinstance(row, DataError):
                yield row
                continue
            clip = file.parent / row["file"]
            if clip.exists():
                columns = {column: text for column, text in row.items() if column != "file"}
                yield from self._clip(clip, columns, row.place)
            else:
                allowed = "a name as from the folder of the table"
                yield DataError(not_there(f"{row.place}: file={row['file']}", clip, allowed))

    def keep_together(self, columns: Sequence[str]) -> None:
        """The columns of x, and with several pieces the whole clip, where no `group` was given."""
        super().keep_together(["file"] if self.pieces > 1 else columns)

    def inputs(self) -> list[Path]:
        """The tables and all clips."""
        files: list[Path] = []
        for split in SPLITS:
            for file in self.files_of(split):
                files += [file, *self._listed_clips(file)]
        return files

    def _listed_clips(self, file: Path) -> list[Path]:
        if file.suffix.lower() not in _TABLES:
            return []
        rows = [row for row in listed(file, self.encoding) if not isinstance(row, DataError)]
        return [clip for row in rows if (clip := file.parent / row["file"]).exists()]

    def _clip(self, clip: Path, columns: Mapping[str, str], found_at: str) -> Iterator[Found]:
        name = clip.name if clip.is_dir() else clip.stem
        try:
            more = {**columns, **self.columns_of(name, found_at)}
        except DataError as error:
            yield error
            return
        try:
            frames = self._kept_frames(clip)
        except DataError as error:
            at = "" if found_at == place(clip) else f"{found_at}: "
            yield DataError([f"{at}{problem}" for problem in error.problems])
            return
        if len(frames) < self.pieces:
            text = f"has {len(frames)} frames, too few for data.source.pieces={self.pieces}"
            yield DataError(f"{found_at}: {text}; allowed: at most {len(frames)}")
            return
        known = {"file": self._shown(clip), "name": name, "folder": clip.parent.name}
        for piece, part in enumerate(np.array_split(frames, self.pieces)):
            yield PlacedRecord({"frames": part, **known, "piece": piece, **more}, clip)

    def _kept_frames(self, clip: Path) -> Frames:
        """As `frames_of`; preparing goes through the records up to four times, decoding is slow."""
        if clip in self._kept:
            return self._kept[clip]
        frames = self.frames_of(clip)
        if frames.nbytes <= self._room:
            self._room -= frames.nbytes
            self._kept[clip] = frames
        return frames

    def _shown(self, clip: Path) -> str:
        """The clip as named from `path`: the same on any machine."""
        inside = clip.is_relative_to(self.folder)
        return (clip.relative_to(self.folder) if inside else clip).as_posix()


def listed(file: Path, encoding: str) -> Iterator[PlacedRecord | DataError]:
    """The rows of a .csv or .tsv with a header and a column `file`; blank lines are left out.

    Raises:
        DataError: it is empty, or its header has no `file`, or a column of our own.
    """
    header: list[str] | None = None
    for number, line in lines(file, encoding):
        if isinstance(line, DataError):
            yield line
            continue
        if not line.strip():
            continue
        try:
            row = cells(line, "\t" if file.suffix.lower() == ".tsv" else ",")
        except ValueError as problem:
            error = DataError(f"{place(file, number)}: {problem}")
            if header is None:
                raise error from None
            yield error
            continue
        if header is None:
            header = [entry.strip() for entry in row]
            _check_header(place(file, number), header)
        elif len(row) != len(header):
            text = f"has {len(row)} entries; the header has {len(header)}: {', '.join(header)}"
            yield DataError(f"{place(file, number)}: {text}")
        else:
            yield PlacedRecord(dict(zip(header, row, strict=True)), file, number)
    if header is None:
        raise DataError(f"{file}: is empty; allowed: a header with a column file, then its rows")


def evenly(count: int, chosen: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Places of at most `chosen` of `count` frames: the middles of as many equal segments.

    Source: Wang et al. (2016), "Temporal Segment Networks", section 3.1, without the random draw.

    >>> evenly(10, 2).tolist()
    [2, 7]
    """
    chosen = min(chosen, count)
    return (2 * np.arange(chosen) + 1) * count // (2 * max(1, chosen))


def natural_key(name: str) -> list[tuple[int, str]]:
    """Sorts as people count: frame2 before frame10.

    >>> sorted(["frame10", "frame2"], key=natural_key)
    ['frame2', 'frame10']
    """
    parts = re.split(r"([0-9]+)", name)
    return [(int(part), part) if part.isdecimal() else (-1, part) for part in parts]


def _check_header(where: str, header: list[str]) -> None:
    if "file" not in header:
        hint = did_you_mean("file", header)
        text = f"the header has no column file; it has {', '.join(header)}{hint}"
        raise DataError(f"{where}: {text}")
    taken = [column for column in header if column in OWN_COLUMNS and column != "file"]
    if taken:
        text = "is what every record of a clip has; allowed: another name"
        raise DataError([f"{where}: column {column}: {text}" for column in taken])
