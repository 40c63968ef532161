"""What is found out about a run after it ended, added to its record."""

import json
import logging
import re
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seqpipe.errors import TrackingError
from seqpipe.tracking.base import Row
from seqpipe.tracking.found import FoundRun
from seqpipe.tracking.mlflow import metric_name
from seqpipe.tracking.store import impatient, require_store

# isort: split
from mlflow import MlflowClient, entities  # after the store, which settles what it reads

FOLDER = "evaluations"

log = logging.getLogger(__name__)


def add_to_run(run: FoundRun, metrics: Mapping[str, float], name: str, rows: Sequence[Row]) -> str:
    """Adds metrics and a table to a run: to its record in MLflow, and to its folder.

    Args:
        run: that was found.
        metrics: by name, as they are logged.
        name: of the table, a file in `evaluations`; an older one of that name is replaced.
        rows: of the table.

    Returns:
        where they are, for people.

    Raises:
        TrackingError: neither takes them.
    """
    stem = re.sub(r"[^\w.-]+", "_", name)
    text = json.dumps([dict(row) for row in rows], indent=1, ensure_ascii=False)
    where = []
    if run.folder is not None:
        path = run.folder / FOLDER / f"{stem}.json"
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
            log.warning("%s", error)  # of a folder, whose store may be gone
    if not where:
        raise TrackingError(f"{run.typed}: nothing more can be recorded; allowed: log=false")
    return " and ".join(where)


def _send(run_id: str, uri: str, metrics: Mapping[str, float], stem: str, text: str) -> None:
    values: list[Any] = [
        entities.Metric(metric_name(key), float(value), int(time.time() * 1000), 0)
        for key, value in metrics.items()
    ]
    try:
        require_store(uri, "tracking_uri")
        client = MlflowClient(uri)
        with impatient(), tempfile.TemporaryDirectory() as folder:
            client.log_batch(run_id, metrics=values)
            file = Path(folder) / f"{stem}.json"
            file.write_text(text + "\n", encoding="utf-8")
            client.log_artifact(run_id, str(file), FOLDER)
    except Exception as error:  # each kind of store has its own
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise TrackingError(f"mlflow run {run_id}: cannot be added to ({reason})") from None
