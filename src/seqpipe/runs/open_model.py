"""The model of a run, from the options of a command."""

import sys
from pathlib import Path
from typing import Any

from seqpipe.errors import ConfigError
from seqpipe.inference import model_format
from seqpipe.inference.instantiate import Maker
from seqpipe.inference.load import opened, usable_device
from seqpipe.inference.model import Model
from seqpipe.inference.readers import Format, Reader
from seqpipe.records import BadRecordError, inside, is_own
from seqpipe.runs.find_run import exported_folder, find_run
from seqpipe.runs.options import ModelOptions, RunOptions
from seqpipe.runs.trust import check_beside
from seqpipe.tracking.run_record import RunRecord


def open_model(options: ModelOptions, root: Path) -> tuple[Model, RunRecord]:
    """The model that the options name, on their device.

    Raises:
        ConfigError: there is no such run, it has no model, the model cannot be opened, or there is
            no such device.
    """
    device = usable_device(options.device)
    place, found = find_model(options, root)
    return opened(place, options.trust).to(device), found


def find_model(options: RunOptions, root: Path) -> tuple[Path, RunRecord]:
    """The folder of the model that the options name, and its run; or a folder that was exported.

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
    """The reader of a command's raw input; if there is such a file, prints how it is read.

    Args:
        model: the model.
        options: of the command: `own_data`, `trust`, `format`, perhaps `encoding`.
        root: the folder the user works in.
        input: the file; empty: prints nothing.
        labelled: the records also hold y.

    Raises:
        ConfigError: the record of another person's model names other files to read.
    """
    check_beside(model.config, root, own_data=options.own_data)
    own = labelled and (options.own_data or is_own(root, model.config))
    encoding = getattr(options, "encoding", None)
    reader = reader_of(model, options.trust, options.format, encoding, labelled, own)
    if input == "-" or (input and Path(input).exists()):
        print(reader.describe(input), file=sys.stderr)
    return reader


def reader_of(
    model: Model,
    trust: tuple[str, ...],
    format: Any,
    encoding: str | None = None,
    labelled: bool = False,
    own: bool = False,
) -> Reader:
    """The reader of raw input for a model: of its x, or of its y if it has no x; or both."""
    field = model.y if model.x is None else model.x
    asked: Format | None = format
    maker = Maker(trust)
    y = "" if model.x is None else model.y.column
    known = model.spec.y.names or () if y else ()
    how = (maker, asked, encoding, labelled, y, known, own)
    return Reader(model.config["data"], field.column, field.form, *how)
