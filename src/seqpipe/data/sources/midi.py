"""MIDI files, read with symusic: as piano rolls or as events."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal

import numpy as np

from seqpipe.bounds import Count, Positive
from seqpipe.data.base import Found, PlacedRecord
from seqpipe.data.music import MIDI, VELOCITY, Music, Notes, disjoint, notes_of_roll
from seqpipe.data.optional_deps import need
from seqpipe.data.piano_roll import ALL_NOTES, HIGHEST, KEYS, LOWEST, Roll, no_key
from seqpipe.data.sources.files import FileSource, Names
from seqpipe.errors import DataError
from seqpipe.rules import or_null, whole


@dataclass(kw_only=True)
class _Midi(FileSource, Music):
    """Notes of all tracks but drums, on a grid that starts at the first note."""

    suffixes = MIDI

    steps: Positive = 4
    per: Literal["beat", "second"] = "beat"
    encoding: str = field(init=False, default="utf-8")
    stratify: str | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._symusic()

    def _symusic(self) -> ModuleType:
        return need("symusic", extra="midi", what=f"data.source={type(self).__name__}")

    def holds(self, file: Path, labelled: bool = False) -> bool:
        """True: a file is not text."""
        return True

    def notes(self, file: Path) -> Notes:
        """The notes of a file, each at least one step long; a key that is struck again ends.

        Raises:
            DataError: not a MIDI file, or no notes in it.
        """
        score = _score(self._symusic(), file).to("quarter" if self.per == "beat" else "second")
        tracks = [track.notes.numpy() for track in score.tracks if not track.is_drum]
        columns = {
            name: np.concatenate([track[name] for track in tracks] or [np.zeros(0)])
            for name in ("time", "duration", "pitch", "velocity")
        }
        if len(columns["time"]) == 0:
            raise DataError(f"{file}: holds no notes; allowed: some, drums do not count")
        return _on_grid(columns, self.steps)


def _on_grid(columns: dict[str, np.ndarray[Any, Any]], steps: float) -> Notes:
    start = columns["time"].astype(np.float64) - columns["time"].min()
    first = np.rint(start * steps).astype(np.int64)
    end = np.rint((start + columns["duration"]) * steps).astype(np.int64)
    notes: Notes = np.stack(
        [first, np.maximum(end, first + 1), columns["pitch"], columns["velocity"]], axis=1
    ).astype(np.int64)
    return disjoint(notes)


def _score(symusic: ModuleType, file: Path) -> Any:
    try:
        return symusic.Score(str(file))
    except (RuntimeError, ValueError) as error:
        reason = str(error).partition(":")[2].strip() or str(error)
        raise DataError(f"{file}: not a MIDI file ({reason})") from None


def tempo_of(file: Path) -> float | None:
    """Return the first tempo of a MIDI file in beats (quarter notes) per minute.

    None without one, and where it is 0 microseconds a beat.

    Raises:
        ConfigError: symusic is not installed.
        DataError: not a MIDI file.
    """
    tempos = _score(need("symusic", extra="midi", what="tempo"), file).tempos
    found = float(tempos[0].qpm) if len(tempos) else None
    return None if found == math.inf else found


@dataclass(kw_only=True)
class MidiRolls(_Midi):
    """A record a file, {"roll": (T, 88) uint8 of 0 and 1}; column k is MIDI note 21 + k.

    Silence before the first note is left out, and so are drums and the pedal. A key struck again
    at once looks as if it were held.

    Args:
        steps: rows of the roll in a beat or a second.
        per: `beat`, a quarter note as the file counts it; `second`, by its tempo.

    Raises:
        ConfigError: symusic is not installed.
    """

    group: Names | None = field(init=False, default="roll")

    def parse(self, file: Path) -> Iterator[Found]:
        """The roll of a file.

        Raises:
            DataError: not a MIDI file, no notes, or one that is no key of a piano.
        """
        notes = self.notes(file)
        outside = notes[(notes[:, 2] < LOWEST) | (notes[:, 2] > HIGHEST), 2]
        if len(outside):
            raise DataError(f"{file}: {no_key(outside[0])}")
        roll = np.zeros((int(notes[:, 1].max()), KEYS), dtype=np.uint8)
        for first, end, pitch, _ in notes.tolist():
            roll[first:end, pitch - LOWEST] = 1
        yield PlacedRecord({"roll": roll}, file)

    def notes_of(self, entry: Roll) -> Notes:
        """See `Music`. entry: (T, 88)."""
        return notes_of_roll(entry)


@dataclass(kw_only=True)
class MidiEvents(_Midi):
    """A record a file, {"events": ["NOTE_ON_60", "TIME_10", "NOTE_OFF_60", ...]}.

    For a field `Text` by tokens. TIME_n waits n steps, a longer wait takes several. Notes that
    end come before those that start, low before high. VELOCITY_v comes before the note that is
    the first in bin v. Drums and the pedal are left out, and silence before the first note.

    Args:
        steps: of time in a second or a beat.
        per: `second`, by the file's tempo; `beat`, a quarter note as the file counts it.
        longest_wait: n of the longest TIME_n.
        velocity_bins: number of loudness classes; None: no loudness.

    Raises:
        ConfigError: symusic is not installed, or there are less than 1 of something.

    Source: Oore et al. (2018), "This time with feeling", section 3.2: waits of 10 ms to 1 s, and
        32 velocities. There the pedal holds notes; here it does not.
    """

    steps: Positive = 100
    per: Literal["beat", "second"] = "second"
    longest_wait: Count = 100
    velocity_bins: Annotated[int | None, or_null(whole(1, ALL_NOTES))] = None
    group: Names | None = field(init=False, default="events")

    def parse(self, file: Path) -> Iterator[Found]:
        """The events of a file.

        Raises:
            DataError: not a MIDI file, or no notes.
        """
        yield PlacedRecord({"events": list(self._events(self.notes(file)))}, file)

    def _events(self, notes: Notes) -> Iterator[str]:
        starts = [(first, 1, pitch, velocity) for first, _, pitch, velocity in notes.tolist()]
        ends = [(end, 0, pitch, 0) for _, end, pitch, _ in notes.tolist()]
        now, loudness = 0, -1
        for step, is_start, pitch, velocity in sorted(starts + ends):
            while now < step:
                wait = min(step - now, self.longest_wait)
                yield f"TIME_{wait}"
                now += wait
            if is_start and self.velocity_bins is not None:
                bin_ = velocity * self.velocity_bins // ALL_NOTES
                if bin_ != loudness:
                    yield f"VELOCITY_{bin_}"
                loudness = bin_
            yield f"NOTE_{'ON' if is_start else 'OFF'}_{pitch}"

    def notes_of(self, entry: Iterable[str]) -> Notes:
        """Return the notes of events; an event that ends no note has no effect.

        A note ends at NOTE_OFF, where its key is struck again, or with the last event, and has the
        middle of its bin as loudness.
        """
        now, loudness = 0, VELOCITY
        sounding: dict[int, tuple[int, int]] = {}  # pitch -> first step, velocity
        notes: list[tuple[int, int, int, int]] = []

        def end(pitch: int) -> None:
            if pitch in sounding:
                first, velocity = sounding.pop(pitch)
                notes.append((first, max(now, first + 1), pitch, velocity))

        for event in entry:
            name, _, typed = event.rpartition("_")
            number = int(typed) if typed.isdecimal() else 0
            if name == "TIME":
                now += number
            elif name == "VELOCITY" and self.velocity_bins is not None:
                middle = (2 * number + 1) * ALL_NOTES // (2 * self.velocity_bins)
                loudness = min(max(1, middle), ALL_NOTES - 1)
            elif name in ("NOTE_ON", "NOTE_OFF"):
                end(number)
                if name == "NOTE_ON":
                    sounding[number] = now, loudness
        for pitch in list(sounding):
            end(pitch)
        return disjoint(np.array(notes, dtype=np.int64).reshape(-1, 4))
