"""Generate sequences: `python -m seqpipe sample run=latest n=5 prompt="def " temperature=0.8`."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from seqpipe.commands.dispatch import Answer
from seqpipe.commands.options import Sample
from seqpipe.data.base import Source
from seqpipe.data.music import MIDI, Music, Tunes, roll_of
from seqpipe.data.piano_roll import ALL_NOTES, note_name
from seqpipe.data.sources.midi import tempo_of
from seqpipe.errors import ConfigError, DataError
from seqpipe.files import check_new, write_text, writing_output
from seqpipe.inference.generate import ENTRY, typed_condition
from seqpipe.inference.model import Model
from seqpipe.inference.music import (
    TEMPO,
    describe_tunes,
    joined,
    read_prompt,
    seconds_of,
    write_midi,
    writing_source,
)
from seqpipe.inference.unknown_symbols import counts_unknown, shown, unknown_at, unknown_symbols
from seqpipe.report.examples import draw_roll
from seqpipe.runs.open_model import open_model
from seqpipe.runs.sample_novelty import check_comparable, compare_with_training, record_novelty
from seqpipe.tracking.run_record import RunRecord

log = logging.getLogger(__name__)
PITCHES = tuple(map(note_name, range(ALL_NOTES)))


def run(options: Sample, root: Path) -> Answer:
    """Sample; text is printed or written to a file, music is written as MIDI and drawn.

    Raises:
        ConfigError: the model samples nothing, or an option does not fit it.
        DataError: a prompt or a condition cannot be read.
    """
    model, found = open_model(options, root)
    source = writing_source(model, options.trust) if model.samples else None
    music = source if isinstance(source, Music) else None
    if options.novelty and model.samples:
        check_comparable(model)
    _check_tempo(options, music)
    if music is None:
        _check_file(options, root)
    prompt = _read_prompt(options, model, source)
    drawn = _draw(options, model, prompt)
    _warn_of_unknown(options.prompt, prompt, model)
    note = ""
    if not model.spec.y.is_roll:
        before = prompt if isinstance(prompt, str) else " ".join(prompt)
        texts = [f"{before}{model.y.between(before, text)}{text}" for text in drawn]
        if options.novelty:
            note = _note_novelty(options, root, model, found, before, drawn, texts)
    if music is not None:
        entries = [joined(model, prompt, one) for one in drawn]
        return Answer("\n".join(_write_music(entries, music, options, root)), note=note)
    separator = "\n"
    if isinstance(source, Tunes):
        texts = [source.tune_of(text, number) for number, text in enumerate(texts, 1)]
        note = "\n".join(part for part in (describe_tunes(texts, source), note) if part)
        separator = "\n\n"
    if options.output is None:
        return Answer(separator.join(texts), note=note)
    return Answer(_write_texts(texts, options.output, root), note=note)


def _read_prompt(options: Sample, model: Model, source: Source | None) -> Any:
    """The text or the entry of y that the samples continue; of music, from a file."""
    prompt = read_prompt(model, source, options.prompt, options.trust) if model.samples else ""
    if options.prompt_steps is None:
        return prompt
    if prompt is options.prompt:
        text = "has no effect without a prompt file; allowed: leave it out"
        raise ConfigError(f"prompt_steps={options.prompt_steps}: {text}")
    return prompt[: options.prompt_steps]


def _draw(options: Sample, model: Model, prompt: Any) -> list[Any]:
    try:
        return model.sample(
            options.n,
            prompt=prompt,
            condition=typed_condition(model.x, options.condition),
            temperature=options.temperature,
            top_k=options.top_k,
            top_p=options.top_p,
            max_length=options.max_length,
            seed=options.seed,
            allow_unknown=options.allow_unknown,
        )
    except DataError as error:
        start, typed = f"prompt={ENTRY}:", f"prompt={options.prompt}:"
        raise DataError([text.replace(start, typed, 1) for text in error.problems]) from None


def _note_novelty(
    options: Sample,
    root: Path,
    model: Model,
    found: RunRecord,
    prompt: str,
    samples: Sequence[str],
    texts: Sequence[str],
) -> str:
    """Compare the samples with the training split; the result for people, and where it is kept."""
    how: dict[str, Any] = {"own_data": options.own_data, "trust": options.trust}
    novelty, note = compare_with_training(model, found, root, prompt, samples, **how)
    if not options.log:
        return note
    where = record_novelty(found, novelty, texts, options.temperature, options.seed)
    return f"{note}\nlogged to {where}"


def _check_file(options: Sample, root: Path) -> None:
    """Refuse, before anything is drawn, a file for texts that exists."""
    if options.output is not None:
        check_new(root / options.output, options.output)


def _write_texts(texts: Sequence[str], output: str, root: Path) -> str:
    """Write a sample a line; if one has several lines, an empty line between two samples."""
    separator = "\n\n" if any("\n" in text for text in texts) else "\n"
    with writing_output(output, "a new file"):
        write_text(root / output, separator.join(texts))
    return f"{output}: {len(texts):,} {'sample' if len(texts) == 1 else 'samples'}"


def _warn_of_unknown(typed: str, prompt: Any, model: Model) -> None:
    """Name unknown symbols of the prompt, which only `allow_unknown` accepts."""
    if len(prompt) and counts_unknown(model.spec.y):
        ids = model.y.encode({model.y.column: prompt})
        count = int(unknown_at(model.spec.y, ids).sum())
        if count:
            found = shown(unknown_symbols(model.y, prompt, ids), count)
            log.warning("prompt=%s: holds %s, read as <UNK>", typed, found)


def _check_tempo(options: Sample, music: Music | None) -> None:
    if options.tempo is None or (music is not None and music.per == "beat"):
        return
    if music is None:
        text = "is an option for music, but the model writes text; allowed: leave it out"
    else:
        text = "has no effect, as the model writes time in seconds; allowed: leave it out"
    raise ConfigError(f"tempo={options.tempo}: {text}")


def _tempo(options: Sample, music: Music) -> float:
    """Beats per minute of the MIDI files."""
    if options.tempo is not None:
        return options.tempo
    is_timed = music.per == "beat" and options.prompt.lower().endswith(MIDI)
    return (tempo_of(Path(options.prompt)) if is_timed else None) or TEMPO


def _write_music(
    entries: Sequence[Any], music: Music, options: Sample, root: Path
) -> Iterator[str]:
    """Write a .mid and a .png for each piece, numbered after the files that exist."""
    folder = root if options.output is None else root / options.output
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"output={options.output}: is a file; allowed: a folder")
    name, tempo = f"sample_{options.seed}", _tempo(options, music)
    taken = [_number(path.stem, name) for path in folder.glob(f"{name}_*.*")]
    folder.mkdir(parents=True, exist_ok=True)
    for number, entry in enumerate(entries, 1):
        stem = folder / f"{name}_{max(taken, default=0) + number}"
        midi, picture = stem.with_suffix(".mid"), stem.with_suffix(".png")
        notes = music.notes_of(entry)
        write_midi(midi, notes, music, tempo)
        title = f"sample {number}, seed {options.seed}"
        draw_roll(picture, roll_of(notes).tolist(), PITCHES, title=title)
        yield f"{midi}  {picture}  {seconds_of(notes, music, tempo):.1f} s, {len(notes):,} notes"


def _number(stem: str, name: str) -> int:
    number = stem.removeprefix(f"{name}_")
    return int(number) if number.isdecimal() else 0
