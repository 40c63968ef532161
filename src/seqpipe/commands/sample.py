"""Generate sequences: `python -m seqpipe sample run=latest n=5 prompt="def " temperature=0.8`."""

import logging
from pathlib import Path
from typing import Any

from seqpipe.commands.dispatch import Answer
from seqpipe.commands.options import Sample
from seqpipe.errors import ConfigError
from seqpipe.inference.generate import typed_condition
from seqpipe.inference.model import Model
from seqpipe.inference.unknown_symbols import counts_unknown, shown, unknown_at, unknown_symbols
from seqpipe.inference.writers import write_midi
from seqpipe.report.examples import draw_roll
from seqpipe.runs.open_model import open_model

log = logging.getLogger(__name__)


def run(options: Sample, root: Path) -> Answer:
    """Sample; text is printed, music is written as MIDI and drawn.

    Raises:
        ConfigError: the model samples nothing, or an option does not fit it.
        DataError: a prompt or a condition cannot be read.
    """
    model, _ = open_model(options, root)
    music = model.spec.y.is_roll
    if not music:
        _refuse_music_options(options)
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
    if not music:
        _warn_of_unknown(options.prompt, model)
        texts = [str(text) for text in drawn]
        between = [model.y.between(options.prompt, text) for text in texts]
        both = zip(between, texts, strict=True)
        return Answer("\n".join(f"{options.prompt}{blank}{text}" for blank, text in both))
    return Answer("\n".join(_write_music(drawn, model, options, root)))


def _warn_of_unknown(prompt: str, model: Model) -> None:
    """Name unknown symbols of the prompt, which only `allow_unknown` accepts."""
    if prompt and counts_unknown(model.spec.y):
        ids = model.y.encode({model.y.column: prompt})
        count = int(unknown_at(model.spec.y, ids).sum())
        if count:
            found = shown(unknown_symbols(model.y, prompt, ids), count)
            log.warning("prompt=%s: holds %s, read as <UNK>", prompt, found)


def _refuse_music_options(options: Sample) -> None:
    given = {"output": options.output, "tempo": options.tempo if options.tempo != 120.0 else None}
    problems = [
        f"{name}={value}: is an option for music, but the model writes text; allowed: leave it out"
        for name, value in given.items()
        if value is not None
    ]
    if problems:
        raise ConfigError(problems)


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
