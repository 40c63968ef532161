"""Music that a model writes: notes and MIDI files of its answers, and prompts read from files."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from seqpipe.data.base import Source
from seqpipe.data.music import MIDI, Continuable, Music, Notes, Tunes
from seqpipe.data.optional_deps import need
from seqpipe.data.piano_roll import KEYS, LOWEST
from seqpipe.data.sources.music import PianoRolls
from seqpipe.errors import DataError
from seqpipe.inference.instantiate import Maker
from seqpipe.inference.model import Model
from seqpipe.inference.readers import Reader, no_such_file

TEMPO = 120.0  # beats a minute, where nothing says another
_TICKS = 480  # of MIDI, in a beat
_MOST_FAULTS = 5  # kinds that are listed
_SHARES = {"valid": 0.1, "test": 0.1}
_OF_FILES = ("_partial_", "path", "group", "stratify", *_SHARES)


def writing_source(model: Model, trust: Sequence[str]) -> Source | None:
    """Return the source that turns answers into music or reads prompts, without any files.

    Args:
        model: whose training read a source.
        trust: modules outside of seqpipe that may be used.

    Returns:
        a `Music` or `Continuable`; for piano rolls of any other source, one with a step per beat;
        None for other models.

    Raises:
        ConfigError: symusic is not installed.
    """
    maker, node = Maker(trust), model.config["data"].get("source")
    if isinstance(node, Mapping) and (inner := maker.inner_key(node)) is not None:
        node = node[inner]
    made = maker.source_class(node) if isinstance(node, Mapping) else None
    if made is not None and issubclass(made, Continuable):
        options = {key: value for key, value in node.items() if key not in _OF_FILES}
        source: Source = maker.make({**options, "train": "", **_SHARES}, "data.source")
        return source
    return PianoRolls(train="") if model.spec.y.is_roll else None


def read_prompt(model: Model, source: Source | None, typed: str, trust: Sequence[str]) -> Any:
    """Read the prompt that was typed: the entry of y in a file, or the text itself.

    Args:
        model: the model.
        source: see `writing_source`.
        typed: a file with an ending that the source can continue, or text.
        trust: modules outside of seqpipe that may be used.

    Raises:
        DataError: the file is not there or cannot be read, or the model cannot read it.
    """
    file, suffix = Path(typed), Path(typed).suffix.lower()
    known = source.prompt_files if isinstance(source, Continuable) else ()
    if typed and suffix not in known:
        if model.spec.y.is_roll:
            text = "is no file of music"
            raise DataError(f"prompt={typed}: {text}; allowed: one that ends in {', '.join(known)}")
        if suffix in MIDI and file.is_file():
            text = "is a MIDI file, but the model writes text"
            raise DataError(f"prompt={typed}: {text}; allowed: text that the samples continue")
    if not typed or suffix not in known:
        return typed
    if not file.is_file():
        raise no_such_file("prompt", typed, f"a file that ends in {', '.join(known)}")
    column = model.y.column
    reader = Reader(model.config["data"], column, model.y.form, Maker(trust), "source")
    try:
        records = list(islice(reader.records(typed), 2))
    except DataError as error:
        raise DataError([f"prompt={problem}" for problem in error.problems]) from None
    if len(records) > 1:
        raise DataError(f"prompt={typed}: holds several pieces; allowed: a file with one")
    return records[0][column]


def joined(model: Model, prompt: Any, drawn: Any) -> Any:
    """Join a prompt and its continuation to one entry of a source of music.

    Args:
        model: that drew it.
        prompt: an entry, or a text; it may be empty.
        drawn: see `Model.sample`.
    """
    if not model.spec.y.is_roll:
        before = prompt.split() if isinstance(prompt, str) else list(prompt)
        return [*before, *str(drawn).split()]
    first = int(getattr(model.y, "lowest", LOWEST)) - LOWEST
    roll = np.zeros((len(drawn), KEYS), dtype=np.uint8)
    roll[:, first : first + drawn.shape[1]] = drawn
    return np.concatenate([prompt, roll]) if len(prompt) else roll


def describe_tunes(tunes: Sequence[str], source: Tunes) -> str:
    """Return how many tunes can be parsed, and what is wrong with the others, for people."""
    faults = Counter(fault for tune in tunes if (fault := source.fault_of(tune)) is not None)
    good = f"{len(tunes) - faults.total():,} of {len(tunes):,} tunes can be parsed"
    listed = [f"{fault} ({count:,})" for fault, count in faults.most_common(_MOST_FAULTS)]
    listed += [] if len(faults) <= _MOST_FAULTS else ["..."]
    return f"{good}; wrong in others: {', '.join(listed)}" if faults else good


def write_midi(path: Path, notes: Notes, music: Music, tempo: float) -> Path:
    """Write notes as a MIDI file of one piano.

    Args:
        path: of the file.
        notes: each at least one step long.
        music: how many steps a beat or a second has.
        tempo: beats (quarter notes) per minute.

    Raises:
        ConfigError: symusic is not installed.
    """
    symusic = need("symusic", extra="midi", what="sample (music)")
    in_step = ticks_in_step(music, tempo)
    score = symusic.Score(_TICKS)
    score.tempos.append(symusic.Tempo(time=0, qpm=tempo))
    track = symusic.Track(name="seqpipe", program=0, is_drum=False)
    for first, end, pitch, velocity in notes.tolist():
        start, stop = round(first * in_step), round(end * in_step)
        track.notes.append(
            symusic.Note(time=start, duration=max(1, stop - start), pitch=pitch, velocity=velocity)
        )
    score.tracks.append(track)
    score.dump_midi(str(path))
    return path


def ticks_in_step(music: Music, tempo: float) -> float:
    """Return the ticks of MIDI in one step."""
    beats = 1.0 if music.per == "beat" else tempo / 60
    return _TICKS * beats / music.steps


def seconds_of(notes: Notes, music: Music, tempo: float) -> float:
    """Return the time at which the last of some notes ends, in seconds."""
    beats = ticks_in_step(music, tempo) / _TICKS
    return float(notes[:, 1].max(initial=0)) * beats * 60 / tempo
