"""Video: clips as files or as folders of pictures, or listed in a table."""

import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from seqpipe.bounds import Count, Positive
from seqpipe.data.base import SPLITS, Found, PlacedRecord, place
from seqpipe.data.optional_deps import need
from seqpipe.data.sources.argument_checks import not_there
from seqpipe.data.sources.named_files import NamedFiles
from seqpipe.data.sources.table_formats import check_columns, table_rows
from seqpipe.errors import ConfigError, DataError
from seqpipe.files import exists

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

    height: Count = 24
    width: Count = 32
    color: Literal["grey", "rgb"] = "grey"
    pieces: Count = 1

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
            if exists(clip):
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

    def unread_options(self) -> dict[str, str]:
        """See `FileSource`; only tables of clips are text."""
        listed = any(file.suffix.lower() in _TABLES for file in self.inputs())
        return {} if listed else {"encoding": "no table of clips is read"}

    def _listed_clips(self, file: Path) -> list[Path]:
        if file.suffix.lower() not in _TABLES:
            return []
        rows = [row for row in listed(file, self.encoding) if not isinstance(row, DataError)]
        return [clip for row in rows if exists(clip := file.parent / row["file"])]

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
        """`frames_of`, kept: preparing reads the records up to four times, and decoding is slow."""
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
        DataError: it is empty, or its header has no `file`, or a column that every record has.
    """
    delimiter = "\t" if file.suffix.lower() == ".tsv" else ","
    for line, row in table_rows(file, encoding, delimiter, check=_check_header):
        yield row if isinstance(row, DataError) else PlacedRecord(row, file, line)


def _check_header(where: str, names: list[str]) -> None:
    check_columns(where, ["file"], names)
    if taken := [name for name in names if name in OWN_COLUMNS and name != "file"]:
        text = "is a column of every record; allowed: another name"
        raise DataError([f"{where}: column {name} {text}" for name in taken])


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


PICTURES = (".png", ".jpg", ".jpeg", ".bmp")
_FORMATS = {"grey": "gray", "rgb": "rgb24"}  # as FFmpeg calls them
_ROUNDING = 1e-3  # seconds: many formats keep times in whole milliseconds
_MODES = {"grey": "L", "rgb": "RGB"}  # as Pillow does


@dataclass(kw_only=True)
class Video(Clips):
    """Video files of any format that FFmpeg reads, through PyAV; sound is passed over.

    Args:
        train: as in `Clips`, as is all that is not listed here.
        frames_per_second: steps of a clip, equally far apart in time: for each, the frame
            nearest to it (of two the later), again if the clip is slower. None: every frame, once.
        frames: at most so many of a clip, spread evenly over it; not with `frames_per_second`.
            None: all.
        max_seconds: read no further into a clip. None: to its end.

    Raises:
        ConfigError: PyAV is not installed; both ways to choose frames; a number that is not
            above 0; and as `Clips`.
    """

    suffixes = (
        *(".mkv", ".mp4", ".avi", ".mpg", ".mpeg", ".mov", ".webm", ".m4v", ".wmv", ".flv"),
        *(".ogv", ".3gp", ".gif"),
    )

    frames_per_second: Positive | None = None
    frames: Count | None = None
    max_seconds: Positive | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.frames_per_second is not None and self.frames is not None:
            rate = f"data.source.frames_per_second={self.frames_per_second}"
            both = f"{rate} data.source.frames={self.frames}"
            raise ConfigError(f"{both}: two ways to choose frames; allowed: one of them null")
        self.av = need("av", extra="video", what="data.source=Video")

    def frames_of(self, clip: Path) -> Frames:
        """The chosen frames of a file.

        Raises:
            DataError: it is no video, is broken, or holds no frames.
        """
        format_, array = _FORMATS[self.color], []
        try:
            with self.av.open(str(clip), metadata_errors="replace") as container:
                for frame in self._chosen(clip, container):
                    small = frame.reformat(
                        self.width, self.height, format=format_, interpolation="AREA"
                    )
                    array.append(small.to_ndarray())
        except self.av.FFmpegError as error:
            reason = f"cannot be read as video ({error.strerror})"
            at = f"after {len(array)} frames " if array else ""
            raise DataError(f"{clip}: {at}{reason}; allowed: a whole video file") from None
        if not array:
            raise DataError(f"{clip}: holds no frames; allowed: at least one")
        whole = np.stack(array)
        return whole if self.frames is None else whole[evenly(len(whole), self.frames)]

    def _chosen(self, clip: Path, container: Any) -> Iterator[Any]:
        """The frames of the first video stream that `frames_per_second` and `max_seconds` leave.

        Raises:
            DataError: there is no such stream, or its frames have no times and need them.
        """
        if not container.streams.video:
            kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "none"
            raise DataError(f"{clip}: no video stream in it, only {kinds}; allowed: a video file")
        decoded = container.decode(container.streams.video[0])
        rate = self.frames_per_second
        if rate is None and self.max_seconds is None:
            yield from decoded
            return
        timed = self._timed(clip, decoded)
        if rate is None:
            yield from (frame for _, frame in timed)
            return
        last, step = None, 0
        for time, frame in timed:
            # What is nearer to the frame before than to this one is shown by that one.
            while last is not None and step / rate < (last[0] + time) / 2 - _ROUNDING:
                yield last[1]
                step += 1
            last = time, frame
        while last is not None and step / rate <= last[0] + _ROUNDING:
            yield last[1]
            step += 1

    def _timed(self, clip: Path, decoded: Iterator[Any]) -> Iterator[tuple[float, Any]]:
        start = None
        for frame in decoded:
            if frame.time is None:
                wanted = "data.source.frames_per_second=null data.source.max_seconds=null"
                raise DataError(f"{clip}: its frames have no times; allowed: {wanted}")
            start = frame.time if start is None else start
            if self.max_seconds is not None and frame.time - start >= self.max_seconds:
                return
            yield frame.time - start, frame


@dataclass(kw_only=True)
class FrameFolders(Clips):
    """Folders of pictures, each folder a clip; frame2 comes before frame10.

    Args:
        train: a folder in which, at any depth, every folder that holds pictures is a clip; or
            several, a pattern for pictures (`*/*.png`), or a table as in `Clips`, which names
            folders. All that is not listed here: as in `Clips`.
        every: take one frame of so many.
        frames: at most so many of these, spread evenly over the clip. None: all.

    Raises:
        ConfigError: as `Clips`; a number below 1.
    """

    suffixes = PICTURES
    class_depth = 3  # class/clip/1.png

    every: Count = 1
    frames: Count | None = None

    def files_of(self, split: str) -> list[Path]:
        """The folders of a split, each once, and its tables."""
        found = super().files_of(split)
        folders = (file.parent if self._is_picture(file) else file for file in found)
        return list(dict.fromkeys(folders))

    def inputs(self) -> list[Path]:
        """The tables and all pictures."""
        return [
            file
            for found in super().inputs()
            for file in (self._pictures(found) if found.is_dir() else [found])
        ]

    def frames_of(self, clip: Path) -> Frames:
        """The chosen pictures of a folder.

        Raises:
            DataError: it is none, holds no pictures, or one that cannot be read.
        """
        pictures = self._pictures(clip)[:: self.every] if clip.is_dir() else []
        if not pictures:
            allowed = f"allowed: a folder with *{', *'.join(self.suffixes)}"
            raise DataError(f"{clip}: holds no pictures; {allowed}")
        if self.frames is not None:
            pictures = [pictures[place] for place in evenly(len(pictures), self.frames)]
        return np.stack([self._picture(file) for file in pictures])

    def _pictures(self, folder: Path) -> list[Path]:
        visible = (file for file in folder.iterdir() if not file.name.startswith("."))
        files = [file for file in visible if self._is_picture(file)]
        return sorted(files, key=lambda file: natural_key(file.name))

    def _is_picture(self, file: Path) -> bool:
        return file.name.lower().endswith(self.suffixes)

    def _picture(self, file: Path) -> Frames:
        from PIL import Image  # comes with matplotlib

        try:
            with Image.open(file) as image:
                if image.mode.startswith(("I", "F")):
                    text = f"has pixels of kind {image.mode}; allowed: 8 bits per color"
                    raise DataError(f"{file}: {text}")
                size = (self.width, self.height)
                small = image.convert(_MODES[self.color]).resize(size, Image.Resampling.BILINEAR)
                return np.asarray(small)
        except (OSError, SyntaxError, ValueError) as error:
            reason = str(error).partition("\n")[0]
            text = f"cannot be read as a picture ({reason})"
            raise DataError(f"{file}: {text}; allowed: a whole picture") from None
