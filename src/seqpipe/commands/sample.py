"""Generate sequences: `python -m seqpipe sample run=latest n=5 prompt="def " temperature=0.8`."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seqpipe.commands.dispatch import Answer
from seqpipe.commands.options import Sample
from seqpipe.errors import ConfigError
from seqpipe.files import check_new, write_text, writing_output
from seqpipe.inference.generate import typed_condition
from seqpipe.inference.model import Model
from seqpipe.inference.unknown_symbols import counts_unknown, shown, unknown_at, unknown_symbols
from seqpipe.inference.writers import write_midi
from seqpipe.report.examples import draw_roll
from seqpipe.runs.open_model import open_model
from seqpipe.runs.sample_novelty import check_comparable, compare_with_training, record_novelty
from seqpipe.tracking.run_record import RunRecord

log = logging.getLogger(__name__)


def run(options: Sample, root: Path) -> Answer:
    """Sample; text is printed or written to a file, music is written as MIDI and drawn.

    Raises:
        ConfigError: the model samples nothing, or an option does not fit it.
        DataError: a prompt or a condition cannot be read.
    """
    model, found = open_model(options, root)
    music = model.spec.y.is_roll
    if options.novelty:
        check_comparable(model)
    if not music:
        _refuse_music_options(options)
        _check_file(options, root)
    drawn = model.sample(
        options.n,
        prompt=options.prompt,
        condition=typed_condition(model.x, options.condition),
        temperature=options.temperature,
        top_k=options.top_k,
        top_p=options.top_p,
        max_length=options.max_length,
        seed=options.seed,
        allow_unknown=options.allow_unknown,
    )
    if music:
        return Answer("\n".join(_write_music(drawn, model, options, root)))
    _warn_of_unknown(options.prompt, model)
    samples = [str(text) for text in drawn]
    between = [model.y.between(options.prompt, text) for text in samples]
    both = zip(between, samples, strict=True)
    texts = [f"{options.prompt}{blank}{text}" for blank, text in both]
    note = _note_novelty(options, root, model, found, samples, texts) if options.novelty else ""
    if options.output is None:
        return Answer("\n".join(texts), note=note)
    return Answer(_write_texts(texts, options.output, root), note=note)


def _note_novelty(
    options: Sample,
    root: Path,
    model: Model,
    found: RunRecord,
    samples: Sequence[str],
    texts: Sequence[str],
) -> str:
    """Compare the samples with the training split; the result for people, and where it is kept."""
    how: dict[str, Any] = {"own_data": options.own_data, "trust": options.trust}
    novelty, note = compare_with_training(model, found, root, options.prompt, samples, **how)
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


def _warn_of_unknown(prompt: str, model: Model) -> None:
    """Name unknown symbols of the prompt, which only `allow_unknown` accepts."""
    if prompt and counts_unknown(model.spec.y):
        ids = model.y.encode({model.y.column: prompt})
        count = int(unknown_at(model.spec.y, ids).sum())
        if count:
            found = shown(unknown_symbols(model.y, prompt, ids), count)
            log.warning("prompt=%s: holds %s, read as <UNK>", prompt, found)


def _refuse_music_options(options: Sample) -> None:
    if options.tempo != 120.0:
        text = "is an option for music, but the model writes text; allowed: leave it out"
        raise ConfigError(f"tempo={options.tempo}: {text}")


def _write_music(drawn: list[Any], model: Model, options: Sample, root: Path) -> list[str]:
    """Write a .mid and a .png for each sample, numbered after the files that exist."""
    folder = root if options.output is None else root / options.output
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"output={options.output}: is a file; allowed: a folder")
    lines = []
    names = model.spec.y.names or ()
    lowest = int(getattr(model.y, "lowest", 21))
    name = f"sample_{options.seed}"
    taken = [_number(path.stem, name) for path in folder.glob(f"{name}_*.*")]
    stems = [folder / f"{name}_{max(taken, default=0) + n}" for n in range(1, len(drawn) + 1)]
    paths = [(stem.with_suffix(".mid"), stem.with_suffix(".png")) for stem in stems]
    for number, (roll, (midi, picture)) in enumerate(zip(drawn, paths, strict=True), 1):
        folder.mkdir(parents=True, exist_ok=True)
        write_midi(midi, roll, lowest=lowest, steps_per_minute=options.tempo)
        draw_roll(picture, roll.tolist(), names, title=f"sample {number}, seed {options.seed}")
        lines.append(f"{midi}  {picture}  {len(roll)} steps, {int(roll.sum())} notes")
    return lines


def _number(stem: str, name: str) -> int:
    number = stem.removeprefix(f"{name}_")
    return int(number) if number.isdecimal() else 0
