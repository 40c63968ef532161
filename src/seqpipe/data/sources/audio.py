"""Sound files, labelled by their names, by their folders or by a table."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import numpy as np

from seqpipe.data.base import Found, PlacedRecord, Source, Splits
from seqpipe.data.optional_deps import need
from seqpipe.data.sources.argument_checks import check_arguments, not_there
from seqpipe.data.sources.files import Names
from seqpipe.data.sources.named_files import NamedFiles
from seqpipe.data.sources.splitting import Reread
from seqpipe.data.sources.text_lines import lines
from seqpipe.errors import ConfigError, DataError, did_you_mean
from seqpipe.files import is_file
from seqpipe.rules import or_null, whole

Samples = np.ndarray[Any, np.dtype[np.float32]]
Rate = Annotated[int | None, or_null(whole(1)).because("in samples a second")]
Channel = Annotated[int | None, or_null(whole(0))]
ENDINGS = (".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff")


class Recordings:
    """Reads one file as samples of one rate, float32 in [-1, 1].

    Args:
        rate: samples a second to resample to; None: as recorded, alike in all files.
        channel: which one of several, from 0; None: their mean.

    Raises:
        ConfigError: soundfile is not installed.

    Attributes:
        soundfile: the library.
    """

    def __init__(self, rate: int | None = None, channel: int | None = None) -> None:
        self.soundfile: ModuleType = need("soundfile", extra="audio", what="data.source=Audio")
        self.rate, self.channel = rate, channel
        self._first: tuple[int, Path] | None = None  # the rate of the file that was read first

    def read(self, file: Path, where: str) -> tuple[Samples, int]:
        """The samples (N,) and their rate.

        Args:
            file: to read.
            where: starts the message, `clips.csv:7` or the file.

        Raises:
            DataError: missing, broken, without samples, not finite, or of another rate.
        """
        if not is_file(file):
            slashed = Path(str(file).replace("\\", "/"))  # a name as another system writes it
            hint = f"; did you mean '{slashed}'?" if is_file(slashed) else ""
            raise DataError(f"{not_there(f'{where}: {file.name}', file, 'a sound file')}{hint}")
        try:
            sound, rate = self.soundfile.read(file, dtype="float32", always_2d=True)
        except self.soundfile.SoundFileError as error:
            reason = str(getattr(error, "error_string", error)).rstrip(".")
            shown = f"{where}: {_in_file(file, where)}cannot be read ({reason})"
            raise DataError(f"{shown}; allowed: {', '.join(ENDINGS)} as soundfile reads") from None
        if len(sound) == 0:
            raise DataError(f"{where}: {_in_file(file, where)}holds no samples; allowed: 1 or more")
        if not np.isfinite(sound).all():
            text = "holds a NaN or infinite sample; allowed: finite ones"
            raise DataError(f"{where}: {_in_file(file, where)}{text}")
        mono = self._one_channel(sound, f"{where}: {_in_file(file, where)}")
        if self.rate is not None:
            return resampled(mono, rate, self.rate), self.rate
        first, example = self._first = self._first or (rate, file)
        if rate != first:
            text = f"has {rate} samples a second, {example} has {first}"
            allowed = f"data.source.rate={max(rate, first)} to resample all"
            raise DataError(f"{where}: {_in_file(file, where)}{text}; allowed: {allowed}")
        return mono, rate

    def _one_channel(self, sound: Samples, shown: str) -> Samples:
        """sound: (N, channels). Returns (N,)."""
        if self.channel is None:
            mono: Samples = sound.mean(axis=1, dtype=np.float32)
            return mono
        if self.channel >= sound.shape[1]:
            text = f"has {sound.shape[1]} channels, data.source.channel={self.channel}"
            raise DataError(f"{shown}{text}; allowed: 0 to {sound.shape[1] - 1}, or null")
        return np.ascontiguousarray(sound[:, self.channel])


def resampled(sound: Samples, rate: int, wanted: int) -> Samples:
    """A recording (N,) at another rate, (ceil(N * wanted / rate),) float32.

    Source: polyphase filtering with a windowed sinc (Kaiser, beta 5), scipy.signal.resample_poly.
    """
    if rate == wanted:
        return sound
    from scipy.signal import resample_poly  # half a second to import

    shared = math.gcd(rate, wanted)
    changed = resample_poly(sound.astype(np.float64), wanted // shared, rate // shared)
    return np.asarray(changed, dtype=np.float32)


def _in_file(file: Path, where: str) -> str:
    """The file, where the place is not the file itself."""
    return "" if where == str(file) else f"{file} "


@dataclass(kw_only=True)
class Audio(NamedFiles):
    r"""Sound files, a record each: `audio` (N,), `rate`, `file`, `folder`, and columns of the name.

    A file that `valid` or `test` names is left out of `train`, so that `train` may be the folder
    of all. A .txt file in place of a sound file lists some, one a line, relative to its folder.

    Args:
        pattern: see `NamedFiles`.
        replace: column -> what is replaced in it, one after the other: `{words: {_: " "}}`.
        leave_out: files that no split takes: patterns as `noise/*`, of the last parts of a path.
        rate: samples a second to resample to; None: as recorded, alike in all files.
        channel: which one of several, from 0; None: their mean.
        encoding: of the lists.

    Raises:
        ConfigError: as `FileSource`; a bad pattern, or a column to replace in that is none of its
            groups; soundfile is not installed.
    """

    suffixes = ENDINGS
    own_columns = ("audio", "rate", "file", "folder")

    replace: dict[str, dict[str, str]] | None = None
    leave_out: Names | None = None
    rate: Rate = None
    channel: Channel = None

    def __post_init__(self) -> None:
        super().__post_init__()
        columns = [*self.name_columns, "folder", "file"]
        for column in self.replace or ():
            if column not in columns:
                hint = did_you_mean(column, columns)
                text = f"no such column; allowed: {', '.join(columns)}{hint}"
                raise ConfigError(f"data.source.replace.{column}: {text}")
        self.recordings = Recordings(self.rate, self.channel)
        self._listed: dict[Path, str] = {}  # file -> where it is listed

    def files_of(self, split: str) -> list[Path]:
        """The sound files of a split, lists followed.

        Raises:
            DataError: as `FileSource`; nothing is left for `train`; an empty list.
        """
        files = self._sounds(split)
        if split == "valid":
            return files
        others = ("valid",) if split == "test" else ("valid", "test")
        taken = {file for other in others for file in self._sounds(other)}
        if split == "test":
            if twice := [file for file in files if file in taken]:
                text = f"{twice[0]} is in valid too; allowed: a file in one of them"
                raise DataError(f"data.source.test={self.split_names['test']}: {text}")
            return files
        files = [file for file in files if file not in taken]
        if not files:
            text = "valid and test name all of its files; allowed: more than theirs"
            raise DataError(f"data.source.train={self.split_names['train']}: {text}")
        return files

    def inputs(self) -> list[Path]:
        """All sound files of all splits, and the lists."""
        lists = [
            file
            for split in self.split_names
            for file in super(Audio, self).files_of(split)
            if file.suffix == ".txt"
        ]
        return [*lists, *(file for file in super().inputs() if is_file(file))]

    def unread_options(self) -> dict[str, str]:
        """See `FileSource`; only lists of files are text."""
        listed = any(file.suffix == ".txt" for file in self.inputs())
        return {} if listed else {"encoding": "no list of sound files is read"}

    def parse(self, file: Path) -> Iterator[Found]:
        """The one record of a file."""
        where = self._listed.get(file, str(file))
        columns: dict[str, Any] = {"file": file.name, "folder": file.parent.name}
        try:
            columns |= self.columns_of(file.stem, where)
            for column in columns.keys() & (self.replace or {}).keys():
                for old, new in (self.replace or {})[column].items():
                    columns[column] = columns[column].replace(old, new)
            audio, rate = self.recordings.read(file, where)
        except DataError as error:
            yield error
            return
        yield PlacedRecord({"audio": audio, "rate": rate, **columns}, file)

    def _sounds(self, split: str) -> list[Path]:
        sounds: list[Path] = []
        for file in super().files_of(split):
            sounds += self._in_list(file) if file.suffix == ".txt" else [file]
        left_out = self.leave_out or []
        patterns = [left_out] if isinstance(left_out, str) else left_out
        kept = (file for file in sounds if not any(map(file.match, patterns)))
        return list(dict.fromkeys(kept))

    def _in_list(self, listing: Path) -> list[Path]:
        found = []
        for number, line in lines(listing, self.encoding):
            if isinstance(line, DataError):
                raise line
            if line.strip():
                found.append(listing.parent / line.strip())
                self._listed[found[-1]] = f"{listing}:{number}"
        if not found:
            raise DataError(f"{listing}: lists no files; allowed: one per line, from its folder on")
        return found


@dataclass
class WithAudio(Source):
    r"""The records of another source, which name a sound file, with what is recorded in it.

    Adds `audio` (N,) float32 and `rate`. Speech with transcripts comes so: a table of clips
    (Common Voice, LJ Speech), or lists of `name transcript` lines (LibriSpeech).

    Args:
        source: of records that name a file; it makes the splits too, by the names of the files
            unless it has a `group`.
        column: holds the name.
        folder: of the sound files; None: that of the file that holds the record.
        ending: added to each name, `.flac`; empty: names have theirs.
        rate: samples a second to resample to; None: as recorded, alike in all files.
        channel: which one of several, from 0; None: their mean.

    Raises:
        ConfigError: soundfile is not installed, a value out of range.
    """

    inner = "source"

    source: Source
    column: str
    folder: str | None = None
    ending: str = ""
    rate: Rate = None
    channel: Channel = None

    def __post_init__(self) -> None:
        check_arguments(self)
        self.recordings = Recordings(self.rate, self.channel)

    def read(self) -> Splits:
        """Each split reads its files whenever it is iterated.

        Raises:
            DataError: as the other source.
        """
        found = self.source.read().by_name()
        return Splits(**{split: self._heard(records) for split, records in found.items()})

    def _heard(self, records: Iterable[Found]) -> Iterable[Found]:
        """The records with their sound."""
        return Reread(
            lambda: (one if isinstance(one, DataError) else self.add(one) for one in records)
        )

    def whole(self, split: str) -> Iterable[Found]:
        """See `Source`."""
        return self._heard(self.source.whole(split))

    def inputs(self) -> list[Path]:
        """The files of the other source, and every sound file named there that is there."""
        named = [
            self.file_of(record)
            for records in self.source.read().by_name().values()
            for record in records
            if not isinstance(record, DataError) and isinstance(record.get(self.column), str)
        ]
        return [*self.source.inputs(), *(file for file in dict.fromkeys(named) if is_file(file))]

    def keep_together(self, columns: Sequence[str]) -> None:
        """A recording is identified by its name: no sound is read to split."""
        added = {"audio": self.column, "rate": self.column}
        self.source.keep_together(list(dict.fromkeys(added.get(name, name) for name in columns)))

    def file_of(self, record: Any) -> Path:
        """The sound file that a record names."""
        if self.folder is not None:
            folder = Path(self.folder)
        else:
            folder = Path(getattr(record, "file", None) or "").parent
        return folder / f"{record[self.column]}{self.ending}"

    def add(self, record: Any) -> Found:
        """The record with its sound, or why there is none."""
        where = record.place if isinstance(record, PlacedRecord) else f"{dict(record)}"
        name = record.get(self.column)
        if not isinstance(name, str) or not name:
            hint = did_you_mean(self.column, record)
            text = f"names no file in data.source.column={self.column}"
            allowed = f"one in {', '.join(record)}{hint}"
            return DataError(f"{where}: {text}; allowed: {allowed}")
        try:
            audio, rate = self.recordings.read(self.file_of(record), where)
        except DataError as error:
            return error
        columns = {**record, "audio": audio, "rate": rate}
        if isinstance(record, PlacedRecord):
            return PlacedRecord(columns, record.file, record.line)
        return columns
