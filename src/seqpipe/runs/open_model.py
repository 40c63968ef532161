"""The model of a run and the reader of its input, from the options of a command."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from seqpipe.errors import ConfigError
from seqpipe.inference import model_format
from seqpipe.inference.fusion import check_beam_of
from seqpipe.inference.generate import Decoding
from seqpipe.inference.instantiate import Maker
from seqpipe.inference.load import load_model, usable_device
from seqpipe.inference.model import Model
from seqpipe.inference.readers import Format, Reader
from seqpipe.records import BadRecordError, inside, is_own
from seqpipe.runs.find_run import exported_folder, find_run
from seqpipe.runs.options import ModelOptions, RunOptions
from seqpipe.runs.trust import check_companions
from seqpipe.tracking.run_record import RunRecord


def open_model(options: ModelOptions, root: Path) -> tuple[Model, RunRecord]:
    """Open the model that the options name, on the chosen device.

    Raises:
        ConfigError: there is no such run or device, or the run has no model that can be opened.
    """
    device = usable_device(options.device)
    place, found = find_model(options, root)
    return load_model(place, options.trust).to(device), found


def read_language_model(model: Model, options: Any, root: Path) -> None:
    """Open the language model that the option `lm` names, if it does; the model then reads it.

    Args:
        model: that writes transcripts.
        options: of the command, with `lm`, `lm_weight` and `lm_bonus`.
        root: the folder the user works in.

    Raises:
        ConfigError: there is no such run, or it does not fit the model.
    """
    if options.lm is None:
        return
    lm, _ = open_model(replace(options, run=options.lm), root)
    try:
        model.read_language_model(lm, weight=options.lm_weight, bonus=options.lm_bonus)
        check_beam_of(model.task, Decoding(options.beam_size).size(model.task))
    except ConfigError as error:
        named = f"lm={options.lm}:"
        raise ConfigError([text.replace("lm:", named, 1) for text in error.problems]) from None


def find_model(options: RunOptions, root: Path) -> tuple[Path, RunRecord]:
    """Find the folder of the model that the options name, and its run.

    An exported folder is its own run.

    Raises:
        ConfigError: there is no such run, or it has no model.
    """
    exported = exported_folder(options, root)
    if exported is not None:
        return exported, find_run(options, root, needs=None)
    found = find_run(options, root)
    kept = found.local("model")
    try:
        return inside(kept, model_format.LOGGED), found
    except BadRecordError as error:
        text = f"{error}; allowed: a run folder without links to other places"
        raise ConfigError(f"{kept / model_format.LOGGED}: {text}") from None


def open_reader(
    model: Model, options: Any, root: Path, input: str = "", *, labelled: bool = False
) -> Reader:
    """Make the reader of a command's raw input; if the input exists, print how it is read.

    Args:
        model: the model.
        options: of the command: `own_data`, `trust`, `format`, perhaps `encoding`.
        root: the folder the user works in.
        input: the file; empty: nothing is printed.
        labelled: the records have y as well.

    Raises:
        ConfigError: the record of another person's model names other files to read.
    """
    check_companions(model.config, root, own_data=options.own_data)
    reader = make_reader(
        model,
        options.trust,
        options.format,
        getattr(options, "encoding", None),
        labelled=labelled,
        own=labelled and (options.own_data or is_own(root, model.config)),
    )
    if input == "-" or (input and Path(input).exists()):
        print(reader.describe(input), file=sys.stderr)
    return reader


def make_reader(
    model: Model,
    trust: tuple[str, ...],
    format: Format | None,
    encoding: str | None = None,
    *,
    labelled: bool = False,
    own: bool = False,
) -> Reader:
    """Make the reader of raw input for a model: of its x, of its y if it has no x, or of both."""
    field = model.y if model.x is None else model.x
    y = "" if model.x is None else model.y.column
    return Reader(
        model.config["data"],
        field.column,
        field.form,
        Maker(trust),
        format,
        encoding,
        labelled=labelled,
        y=y,
        known=model.spec.y.names or () if y else (),
        own=own,
    )
