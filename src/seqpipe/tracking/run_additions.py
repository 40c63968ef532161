"""Adds metrics and tables to the record of a finished run."""

import hashlib
import json
import logging
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from mlflow import MlflowClient

from seqpipe.errors import TrackingError
from seqpipe.tracking.base import Row
from seqpipe.tracking.buffer import CHUNK
from seqpipe.tracking.calls import Points, Target, points_of
from seqpipe.tracking.metric_names import encoded_together, tags_of_long
from seqpipe.tracking.run_record import RunRecord
from seqpipe.tracking.store import reason_of, remove_stray, require_store, short_timeouts

FOLDER = "evaluations"
_LONGEST = 60  # characters of a file's name: 255 bytes at most, four a character

log = logging.getLogger(__name__)


def add_to_run(run: RunRecord, metrics: Mapping[str, float], name: str, rows: Sequence[Row]) -> str:
    """Adds metrics and a table to a run: to its record in MLflow, and to its folder.

    Args:
        run: the run.
        metrics: by name, as they are logged.
        name: the name of the table, a file in `evaluations`; it replaces an older one.
        rows: the table.

    Returns:
        the places where they are, for people.

    Raises:
        TrackingError: neither can be written to.
    """
    stem = _file_name(name)
    text = json.dumps([dict(row) for row in rows], indent=1, ensure_ascii=False)
    where = []
    if run.folder is not None:
        path = run.inside(f"{FOLDER}/{stem}.json")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text + "\n", encoding="utf-8")
        where.append(str(path))
    if run.run_id is not None and run.tracking_uri is not None:
        try:
            _send(run.run_id, run.tracking_uri, metrics, stem, text)
            where.append(f"mlflow run {run.run_id}")
        except TrackingError as error:
            if not where:
                raise
            log.warning("%s", error)  # the store of an old run folder may be gone
    if not where:
        raise TrackingError(
            f"{run.typed}: the run has no folder and no store to write to; allowed: log=false"
        )
    return " and ".join(where)


def _file_name(name: str) -> str:
    """A file name for a table: short, without odd characters, and different for each name."""
    stem = re.sub(r"[^\w.-]+", "_", name)
    if len(stem) <= _LONGEST and re.fullmatch(r"\w+ [A-Za-z0-9./-]+", name):
        return stem
    return f"{stem[:_LONGEST]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _send(run_id: str, uri: str, metrics: Mapping[str, float], stem: str, text: str) -> None:
    long = tags_of_long(encoded_together(metrics))
    try:
        require_store(uri, "tracking_uri")
        client = MlflowClient(uri)
        remove_stray(uri)
        with short_timeouts(), tempfile.TemporaryDirectory() as folder:
            values, target = points_of(metrics, step=0), Target(client, run_id, Path(folder))
            for start in range(0, len(values), CHUNK):
                Points(values[start : start + CHUNK]).send(target)
            for key, name in long.items():
                client.set_tag(run_id, key, name)
            file = Path(folder) / f"{stem}.json"
            file.write_text(text + "\n", encoding="utf-8")
            client.log_artifact(run_id, str(file), FOLDER)
    except Exception as error:  # each kind of store has its own
        text = f"mlflow run {run_id}: could not be changed ({reason_of(error)})"
        raise TrackingError(text) from None
