"""Tracker that records in MLflow: in a sqlite file beside the runs, or on any server.

Only `MlflowClient` with an explicit run id is used. MLflow's global "active run" is not touched,
so that other code may use it.
"""

import contextlib
import functools
import getpass
import json
import logging
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from mlflow import MlflowClient, entities

from seqpipe.bounds import NotNegative, checked
from seqpipe.errors import TrackingError
from seqpipe.files import write_json
from seqpipe.rules import shown
from seqpipe.tracking.abandoned_runs import PROCESS, end_abandoned, process_mark
from seqpipe.tracking.base import PARENT, Dataset, ParamValue, Row, Status, Tracker, Usage
from seqpipe.tracking.buffer import Buffer
from seqpipe.tracking.csv import append_metrics
from seqpipe.tracking.lightning_logger import TrackerLogger, writes_here
from seqpipe.tracking.metric_names import LONGEST, decoded, encoded, encoded_together, tags_of_long
from seqpipe.tracking.mlflow_internals import (
    GIT_COMMIT,
    PARENT_RUN,
    SOURCE_NAME,
    SOURCE_TYPE,
    SPLIT,
    TABLES,
    USER,
)
from seqpipe.tracking.pyfunc import write_pyfunc
from seqpipe.tracking.store import (
    StoreUri,
    open_store,
    reason_of,
    resolve_uri,
    short_timeouts,
    store_access,
)
from seqpipe.tracking.timeouts import TimeBudget

if TYPE_CHECKING:
    from seqpipe.tracking.base import Pixels

log = logging.getLogger(__name__)
_Pair = TypeVar("_Pair", entities.Param, entities.RunTag)

_VALUE_LENGTH, _TAG_LENGTH, _DIGEST_LENGTH = 6000, 5000, 36
_UNSENT = "record_unsent.json"
_SLOWEST = 1e6  # bytes a second that a store takes of a large file
_NAMED = 8  # missing parts named in a message
_PAIRS_A_CALL = 100  # params or tags that MLflow takes at once
_FULL_PARAMS = "params_in_full.json"  # the artifact with params that MLflow would change or cut


class MLflowTracker(Tracker):
    """Records a run in MLflow.

    Metrics are buffered and sent in batches. A store that stops answering does not stop the
    training: failed writes are repeated at the end, and what is still missing then is listed; its
    metrics are kept in <output_dir>/metrics_unsent.csv.

    Args:
        root: the folder the user works in; a relative sqlite path starts there.
        output_dir: the run's folder.
        tracking_uri: `sqlite:///path/mlflow.db` (artifacts go to mlartifacts/ beside it) or the
            address of a server.
        experiment_name: the group of runs; None takes the name given at `start`.
        flush_seconds: the longest time that metrics are buffered.

    Raises:
        ConfigError: The URI is not one that MLflow can write to.
    """

    has_parents = True

    @checked("logger.")
    def __init__(
        self,
        root: Path,
        output_dir: Path,
        tracking_uri: StoreUri,
        experiment_name: str | None = None,
        flush_seconds: NotNegative = 2.0,
    ) -> None:
        self.location = resolve_uri(tracking_uri, root)
        self.logger = TrackerLogger(self, output_dir)
        self.run_id: str | None = None  # None until started, and in processes that do not record
        self._experiment_name = experiment_name
        self._output_dir = output_dir
        self._buffer: Buffer[entities.Metric] = Buffer(self._send, flush_seconds)
        self._client: MlflowClient
        self._ended = False
        self._budget = TimeBudget()
        self._failing = False  # true after a call that failed
        self._failed_calls: list[_StoreCall] = []  # repeated at the end
        self._tables: list[dict[str, str]] = []  # those that MLflow's page lists
        self._long_names: dict[str, str] = {}  # tags with the names that are too long
        self._missing: list[str] = []  # parts of the record, for the last message

    def start(
        self,
        *,
        run_name: str,
        experiment: str,
        params: Mapping[str, ParamValue],
        tags: Mapping[str, str],
        datasets: Mapping[str, Dataset],
    ) -> None:
        """Opens the store and the run; see `Tracker.start`. In several processes, only the first's.

        Raises:
            ConfigError: The store cannot be reached or opened.
        """
        if not writes_here():
            return
        experiment = self._experiment_name or experiment
        self._client, experiment_id = open_store(self.location, experiment)
        with store_access(self.location):  # it may have gone since
            if self.location.startswith("sqlite:"):
                end_abandoned(self._client)
            run = self._client.create_run(
                experiment_id, tags=_run_tags(tags), run_name=run_name[:LONGEST]
            )
        self.run_id = str(run.info.run_id)
        accepted, in_full = _accepted_params(params)
        pairs = [entities.Param(key, value) for key, value in accepted.items()]
        for chunk in _chunks(pairs):
            self._attempt("the params", self._client.log_batch, self.run_id, (), chunk)
        inputs = [_dataset_input(split, Dataset(*data)) for split, data in datasets.items()]
        if inputs:
            self._attempt("the datasets", self._client.log_inputs, self.run_id, inputs)
        if in_full:
            self._attempt(_FULL_PARAMS, self._client.log_dict, self.run_id, in_full, _FULL_PARAMS)

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Buffers the metrics; they are written within `flush_seconds`, with the next ones."""
        if self.run_id is None:
            return
        self._buffer.add(recorded_metrics(metrics, step))
        long = tags_of_long(encoded_together(metrics))
        new = {key: name for key, name in long.items() if key not in self._long_names}
        self._set_tags(new, "the names of metrics")
        self._long_names |= long

    def log_artifact(self, path: Path, folder: str = "") -> None:
        """Copies a file to the run's artifacts."""
        if self.run_id is None:
            return
        extra_seconds = path.stat().st_size / _SLOWEST if path.is_file() else 0.0
        inside = path.is_relative_to(self._output_dir)
        name = str(path.relative_to(self._output_dir) if inside else path)
        keep = self._client.log_artifact
        self._attempt(
            name, keep, self.run_id, str(path), folder or None, extra_seconds=extra_seconds
        )

    def log_artifacts(self, folder: Path) -> None:
        """Copies a folder to the run's artifacts, without checkpoints/."""
        if self.run_id is None:
            return
        for path in sorted(folder.rglob("*")):
            place = path.relative_to(folder)
            if path.is_file() and place.parts[0] != "checkpoints":
                self.log_artifact(path, "" if len(place.parts) == 1 else place.parent.as_posix())

    def log_table(self, name: str, rows: Sequence[Row]) -> None:
        """Keeps rows as <name>.json, which MLflow shows as a table."""
        if self.run_id is not None and rows:
            self._attempt(f"{name}.json", self._write_table, f"{name}.json", rows)

    def log_image(self, key: str, draw: Callable[[], "Pixels"], step: int) -> None:
        """Keeps a picture; MLflow shows those of a key with a slider over the steps."""
        if self.run_id is None:
            return
        keep = functools.partial(self._client.log_image, key=key, step=step, synchronous=True)
        self._attempt(f"{key} of step {step}", keep, self.run_id, draw())

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Sets tags of the run."""
        if self.run_id is not None:
            self._set_tags({encoded(key): value for key, value in tags.items()}, "tags")

    def write_model(self, folder: Path, data: Path, usage: Usage) -> bool:
        """Writes a pyfunc; `log_artifacts` sends it with the rest of the run's folder."""
        if self.run_id is None:
            return False
        try:
            write_pyfunc(folder, data, usage)
        except Exception as error:  # any of MLflow's; a half-written folder is removed
            shutil.rmtree(folder, ignore_errors=True)
            log.warning("%s: no MLflow model is written: %s", folder, reason_of(error))
            self._missing.append(f"{folder.name}/MLmodel")
            return False
        return True

    def discard(self) -> None:
        """Deletes the run; MLflow can restore it."""
        if self.run_id is not None and not self._ended:
            self._ended = True
            self._attempt("the status", self._client.set_terminated, self.run_id, "FAILED")
            self._attempt("its deletion", self._client.delete_run, self.run_id)

    def end(self, status: Status) -> None:
        """Writes what is buffered, then the status; then lists what could not be written."""
        if self.run_id is None or self._ended:
            return
        self._ended = True
        self._budget.extend_for_end()
        self._buffer.flush()
        failed, self._failed_calls = self._failed_calls, []
        for one in failed:  # the store may be back
            self._call_store(one)
        self._keep_unsent()
        self._attempt(f"the status {status}", self._client.set_terminated, self.run_id, status)
        missing = [*self._missing, *_first_names([one.what for one in self._failed_calls])]
        if missing:
            self._keep_record(status, missing)
            where = f"run {self.run_id} in {self.location}"
            log.error("these parts of %s could not be recorded: %s", where, "; ".join(missing))

    def _set_tags(self, tags: Mapping[str, str], what: str) -> None:
        pairs = [entities.RunTag(key, value[:_TAG_LENGTH]) for key, value in tags.items()]
        for chunk in _chunks(pairs):
            self._attempt(what, self._client.log_batch, self.run_id, (), (), chunk)

    def _send(self, metrics: Sequence[entities.Metric]) -> None:
        assert self.run_id is not None
        try:
            with short_timeouts():
                self._budget.call(self._client.log_batch, self.run_id, metrics)
        except Exception as error:
            raise TrackingError(reason_of(error)) from error

    def _write_table(self, path: str, rows: Sequence[Row]) -> None:
        """MlflowClient.log_table without its warning about pandas 3 and with unequal columns."""
        assert self.run_id is not None
        columns = list(dict.fromkeys(column for row in rows for column in row))
        table = {"columns": columns, "data": [[row.get(key) for key in columns] for row in rows]}
        self._client.log_dict(self.run_id, table, path)
        self._tables.append({"path": path, "type": "table"})
        self._client.set_tag(self.run_id, TABLES, json.dumps(self._tables))

    def _keep_unsent(self) -> None:
        unsent = self._buffer.waiting
        if self._buffer.dropped:
            self._missing.append(f"{self._buffer.dropped} metric values, lost")
        if unsent:
            path = self._output_dir / "metrics_unsent.csv"
            rows = [
                (m.timestamp / 1000, m.step, decoded(m.key, self._long_names), m.value)
                for m in unsent
            ]
            try:
                append_metrics(path, rows)
                self._missing.append(f"{len(unsent)} metric values, kept in {path}")
            except OSError as error:
                self._missing.append(f"{len(unsent)} metric values, lost ({error.strerror})")

    def _keep_record(self, status: Status, missing: Sequence[str]) -> None:
        """Writes a file about the missing parts to the run's folder."""
        facts = {"run_id": self.run_id, "tracking_uri": self.location, "status": status}
        with contextlib.suppress(OSError):
            write_json(self._output_dir / _UNSENT, {**facts, "lacks": list(missing)})

    def _attempt(
        self,
        what: str,
        action: Callable[..., object],
        *arguments: object,
        extra_seconds: float = 0.0,
    ) -> None:
        """Calls the store; a failure does not end the run, and is repeated once at its end."""
        self._call_store(_StoreCall(what, action, arguments, extra_seconds))

    def _call_store(self, one: "_StoreCall") -> None:
        try:
            with short_timeouts():
                self._budget.call(one.action, *one.arguments, extra_seconds=one.extra_seconds)
            self._failing = False
        except Exception as error:  # each kind of store has its own
            if not (self._failing or self._buffer.failing or self._ended):
                reason = reason_of(error)
                log.warning("%s cannot be written, training continues: %s", one.what, reason)
            self._failing = True
            self._failed_calls.append(one)


class _StoreCall(NamedTuple):
    """A call of the store, which may have to be repeated; `what` names it for people."""

    what: str
    action: Callable[..., object]
    arguments: tuple[object, ...]
    extra_seconds: float


def _first_names(names: Sequence[str]) -> list[str]:
    """The first of the missing parts, each once."""
    known = list(dict.fromkeys(names))
    left = len(known) - _NAMED
    return [*known[:_NAMED], f"and {left} more"] if left > 1 else known


def _run_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Our tags, and those that MLflow's own pages show as user, source and version."""
    ours = {SOURCE_TYPE: "LOCAL", SOURCE_NAME: "seqpipe"}
    with contextlib.suppress(KeyError, OSError):  # a container without a user database
        ours[USER] = getpass.getuser()
    if tags.get("git.commit", "none") != "none":
        ours[GIT_COMMIT] = tags["git.commit"]
    if PARENT in tags:
        ours[PARENT_RUN] = tags[PARENT]
    if (mark := process_mark()) is not None:
        ours[PROCESS] = mark
    ours.update({encoded(key): str(value)[:_TAG_LENGTH] for key, value in tags.items()})
    return ours


def _accepted_params(
    params: Mapping[str, ParamValue],
) -> tuple[dict[str, str], dict[str, ParamValue]]:
    """Splits params into what MLflow can hold, and those that it would cut."""
    accepted: dict[str, str] = {}
    in_full: dict[str, ParamValue] = {}
    for key, name in encoded_together(params).items():
        text = shown(params[key])
        if decoded(name, {}) != key or len(text) > _VALUE_LENGTH:
            in_full[key] = params[key]
        accepted[name] = text[:_VALUE_LENGTH]
    return accepted, in_full


def _chunks(pairs: Sequence[_Pair]) -> Iterator[Sequence[_Pair]]:
    """Parts of a size that MLflow accepts in one call."""
    for start in range(0, len(pairs), _PAIRS_A_CALL):
        yield pairs[start : start + _PAIRS_A_CALL]


def recorded_metrics(metrics: Mapping[str, float], step: int) -> list[entities.Metric]:
    """Metrics in MLflow's form, with the present time; see `seqpipe.tracking.metric_names`."""
    now, names = int(time.time() * 1000), encoded_together(metrics)
    return [
        entities.Metric(names[name], _finite_or_nan(value), now, step)
        for name, value in metrics.items()
    ]


def _finite_or_nan(value: float) -> float:
    """Turns infinity into NaN, a gap: MLflow stores it as 1.8e308, which flattens every chart."""
    value = float(value)
    return math.nan if math.isinf(value) else value


def _dataset_input(split: str, data: Dataset) -> entities.DatasetInput:
    dataset = entities.Dataset(
        name=data.name,
        digest=data.digest[:_DIGEST_LENGTH],
        source_type="seqpipe",
        source=json.dumps({"description": data.description, "sha256": data.digest}),
        profile=json.dumps({"num_examples": data.n_examples}),
    )
    return entities.DatasetInput(dataset, [entities.InputTag(SPLIT, split)])
