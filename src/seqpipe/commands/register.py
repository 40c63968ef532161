"""Register the model of a run: `python -m seqpipe register run=best name=digits`."""

from pathlib import Path

from seqpipe.commands.dispatch import Answer
from seqpipe.commands.options import Register
from seqpipe.runs.find_run import find_run
from seqpipe.runs.saved_model import FOLDER
from seqpipe.tracking.registry import register_model
from seqpipe.tracking.run_record import RunRecord
from seqpipe.tracking.serving import MLMODEL, check_model


def run(options: Register, root: Path) -> Answer:
    """Register the model, and print its names.

    Raises:
        ConfigError: there is no such run, it is in no store, or the name is taken.
    """
    found = find_run(options, root, needs=FOLDER)
    return Answer(registered(found, options.name, options.alias, "name"))


def registered(found: RunRecord, name: str, alias: str | None, key: str) -> str:
    """Register the model of a run. Returns a line with its names; see `tracking.registry`."""
    if found.has(f"{FOLDER}/{MLMODEL}"):
        check_model(found.local(f"{FOLDER}/{MLMODEL}").parent)
    version = register_model(found, FOLDER, name, alias, key)
    names = [f"models:/{name}/{version}", *([] if alias is None else [f"models:/{name}@{alias}"])]
    return f"registered: {', '.join(names)} is {found.typed}"
