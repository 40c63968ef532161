"""Send what waits for a store: `python -m seqpipe sync`."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from seqpipe.commands.dispatch import Answer
from seqpipe.commands.options import Sync
from seqpipe.errors import ConfigError, counted
from seqpipe.rules import refusal
from seqpipe.runs.sweep_record import read_sweep, write_sweep
from seqpipe.terminal import FAILED, print_text
from seqpipe.tracking.journal import OFFLINE_RUN, Journal
from seqpipe.tracking.sync import Stores, sync_run

_WHERE = Path("outputs")
_SKIPPED = ("mlartifacts", "checkpoints", "figures", "model", "bad_steps")


def run(options: Sync, root: Path) -> Answer:
    """Sends what waits, and prints for each run what was sent and what remains.

    Raises:
        ConfigError: there is no such folder or store address.
    """
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    stores = Stores(root, options.tracking_uri)
    folders, remaining = list(_folders(options, root)), 0
    for folder in folders:
        done = sync_run(folder, stores)
        shown = folder.relative_to(root) if folder.is_relative_to(root) else folder
        for line in done.lines():
            print_text(f"{shown}: {line}")
        remaining += bool(done.remains)
        if done.run_id:
            _note_parent(folder, done.run_id, done.store)
    if not folders:
        return Answer(f"nothing waits below {options.run or _WHERE}")
    text = f"{counted(remaining, 'run')} of {len(folders)} not sent completely"
    return Answer(code=FAILED, note=text) if remaining else Answer()


def _note_parent(folder: Path, run_id: str, store: str) -> None:
    """Names the run of a sweep in sweep.json, where it was recorded without its store."""
    record = read_sweep(folder)
    if record and record.parent and record.parent.run_id.startswith(OFFLINE_RUN):
        parent = record.parent._replace(run_id=run_id, store=store)
        write_sweep(folder, replace(record, parent=parent))


def _folders(options: Sync, root: Path) -> Iterator[Path]:
    """The folders of runs with something that waits; those above others first."""
    start = root / (_WHERE if options.run is None else Path(options.run).expanduser())
    if options.run is not None and not start.is_dir():
        allowed = "a run folder, or one that holds run folders"
        raise ConfigError(refusal("run", options.run, "no such folder", allowed))
    for place, below, _ in os.walk(start):
        below[:] = sorted(name for name in below if name not in _SKIPPED)
        if Journal(Path(place)).path.is_file():
            yield Path(place)
