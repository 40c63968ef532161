"""Tracker that records in MLflow: in a sqlite file beside the runs, or on any server.

Only `MlflowClient` with an explicit run id is used. MLflow's global "active run" is not touched,
so that other code may use it.
"""

import contextlib
import getpass
import logging
import shutil
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from seqpipe.bounds import NotNegative, SamplingSeconds, checked
from seqpipe.errors import ConfigError, TrackingError
from seqpipe.rules import shown
from seqpipe.tracking.abandoned_runs import PROCESS, end_abandoned, process_mark
from seqpipe.tracking.base import PARENT, Dataset, ParamValue, Row, Status, Tracker, Usage
from seqpipe.tracking.buffer import Buffer
from seqpipe.tracking.calls import (
    Call,
    Datasets,
    Document,
    End,
    File,
    OtherFile,
    Params,
    Picture,
    Points,
    Tags,
    Target,
    points_of,
    table_of,
)
from seqpipe.tracking.journal import OFFLINE_RUN, UNSENT, Head, Journal
from seqpipe.tracking.lightning_logger import TrackerLogger, writes_here
from seqpipe.tracking.metric_names import LONGEST, decoded, encoded, encoded_together, tags_of_long
from seqpipe.tracking.mlflow_internals import GIT_COMMIT, PARENT_RUN, SOURCE_NAME, SOURCE_TYPE, USER
from seqpipe.tracking.outbox import SYNC, Outbox
from seqpipe.tracking.pyfunc import write_pyfunc
from seqpipe.tracking.recorded_points import Point
from seqpipe.tracking.store import (
    StoreUri,
    open_store,
    reason_of,
    require_store,
    resolve_uri,
    store_access,
)
from seqpipe.tracking.system_metrics import SystemMonitor

if TYPE_CHECKING:
    from seqpipe.tracking.base import Pixels

log = logging.getLogger(__name__)

_VALUE_LENGTH, _TAG_LENGTH = 6000, 5000
_FULL_PARAMS = "params_in_full.json"  # the artifact with params that MLflow would change or cut


class MLflowTracker(Tracker):
    """Records a run in MLflow.

    Metrics are buffered and sent in batches. A store that stops answering does not stop the
    training: what it does not take waits in <output_dir>/unsent/, is sent when it is back, and
    otherwise by `python -m seqpipe sync`.

    Args:
        root: the folder the user works in; a relative sqlite path starts there.
        output_dir: the run's folder.
        tracking_uri: `sqlite:///path/mlflow.db` (artifacts go to mlartifacts/ beside it) or the
            address of a server.
        experiment_name: the group of runs; None takes the name given at `start`.
        flush_seconds: the longest time that metrics are buffered.
        system_metrics: seconds between measurements of CPU, memory, disk, network and GPUs; None:
            none are made.
        offline: record on disk only, for `python -m seqpipe sync`; `auto`: if the store cannot be
            opened.

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
        system_metrics: SamplingSeconds | None = None,
        offline: bool | Literal["auto"] = False,
    ) -> None:
        self.location = resolve_uri(tracking_uri, root)
        self.logger = TrackerLogger(self, output_dir)
        self.run_id: str | None = None  # None in processes that do not record, and offline
        self._key = ""  # of the journal of a run that is recorded without its store
        self._root, self._output_dir = root, output_dir
        self._experiment_name = experiment_name
        self._offline = offline
        self._monitor = None if system_metrics is None else SystemMonitor(system_metrics)
        self._buffer: Buffer[Point] = Buffer(self._send_points, flush_seconds)
        self._outbox: Outbox | None = None  # until started
        self._ended = False
        self._long_names: dict[str, str] = {}  # tags with the names that are too long
        self._artifacts: dict[tuple[Path, str], tuple[int, int]] = {}  # size and time when sent
        self._missing: list[str] = []  # parts of the record that nothing can send later

    @property
    def record_id(self) -> str | None:
        """The id, or the name of a run that has none yet."""
        return self.run_id or (OFFLINE_RUN + self._key if self._key else None)

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
            OSError: the run is recorded without its store, and the disk is full.
        """
        if not writes_here():
            return
        head = Head(
            key=uuid.uuid4().hex,
            tracking_uri=self.location,
            experiment=self._experiment_name or experiment,
            run_name=run_name[:LONGEST],
            run_id=None,
            start_time=int(time.time() * 1000),
            tags=_run_tags(tags),
        )
        self._outbox = self._opened(head)
        accepted, in_full = _accepted_params(params)
        self._outbox.send(Params(accepted))
        if datasets:
            self._outbox.send(Datasets({k: Dataset(*one)._asdict() for k, one in datasets.items()}))
        if in_full:
            self._outbox.send(Document(_FULL_PARAMS, in_full))
        if self._monitor is not None and datasets:  # that of a sweep computes nothing itself
            self._monitor.start()

    def _opened(self, head: Head) -> Outbox:
        """Makes the run in the store, or its journal."""
        target = None
        if self._offline is not True:
            try:
                target = self._created(head)
            except ConfigError as error:
                if self._offline is False:
                    raise
                log.warning("%s; the run is recorded on disk, for %s", error, SYNC)
        if target is not None:
            self.run_id = target.run_id
            head = Head(**{**vars(head), "run_id": self.run_id, "tags": {}})
        outbox = Outbox(self._root, self._output_dir, head, target)
        if target is None:
            outbox.open()
            self._key = head.key
            self._note_waiting()
        return outbox

    def _created(self, head: Head) -> Target:
        client, experiment_id = open_store(self.location, head.experiment)
        with store_access(self.location):  # it may have gone since
            if self.location.startswith("sqlite:"):
                end_abandoned(client)
            run = client.create_run(
                experiment_id, head.start_time, dict(head.tags), run_name=head.run_name
            )
        return Target(client, str(run.info.run_id), self._output_dir)

    def take_over(self, run_id: str | None) -> None:
        """Opens the run of a lost process; see `Tracker.take_over`.

        One that was recorded without its store stays as it is: `sync` sends it.
        """
        if run_id is None:
            return
        self.run_id, now = run_id, int(time.time() * 1000)
        head = Head(uuid.uuid4().hex, self.location, "", "", run_id, now, {})
        target = Target(MlflowClient(self.location), run_id, self._output_dir)
        self._outbox = Outbox(self._root, self._output_dir, head, target)

    def reopen(self, record_id: str) -> None:
        """Sets the status of a run to RUNNING, as that of this process; see `Tracker.reopen`.

        What waits of it in the run's folder is sent with the rest.

        Raises:
            ConfigError: The store cannot be reached or opened.
            TrackingError: The store has no such run, or its journal is gone or in use.
            OSError: the run is recorded without its store, and the disk is full.
        """
        if not writes_here():
            return
        journal = Journal(self._output_dir)
        is_kept = journal.path.is_file()
        if record_id.startswith(OFFLINE_RUN):
            if not is_kept:
                raise TrackingError(f"{journal.path}: there is no such file")
            head, target = journal.head(), None
            self._key = head.key
        else:
            head = Head(
                uuid.uuid4().hex, self.location, "", "", record_id, int(time.time() * 1000), {}
            )
            target = self._existing(record_id)
            self.run_id = record_id
        self._outbox = Outbox(self._root, self._output_dir, head, target)
        if is_kept:
            self._outbox.open()
        if target is None:
            self._note_waiting()

    def _existing(self, run_id: str) -> Target:
        """The run in the store, which is RUNNING again."""
        require_store(self.location, "tracking_uri")
        with store_access(self.location):
            client = MlflowClient(self.location)
            try:
                client.get_run(run_id)
            except MlflowException as error:
                raise TrackingError(f"run {run_id}: {reason_of(error)}") from None
            if (mark := process_mark()) is not None:
                client.set_tag(run_id, PROCESS, mark)
            client.update_run(run_id, status="RUNNING")
        return Target(client, run_id, self._output_dir, again=True)

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Buffers the metrics; they are written within `flush_seconds`, with the next ones."""
        if self._outbox is None:
            return
        self._take_samples()
        self._buffer.add(points_of(metrics, step))
        long = tags_of_long(encoded_together(metrics))
        new = {key: name for key, name in long.items() if key not in self._long_names}
        if new:
            shortened = {key: name[:_TAG_LENGTH] for key, name in new.items()}
            self._outbox.send(Tags(shortened, "the names of metrics"))
        self._long_names |= long

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Sets tags of the run."""
        if tags:
            self._send(Tags({encoded(key): str(text)[:_TAG_LENGTH] for key, text in tags.items()}))

    def flush(self) -> None:
        """Writes the buffered metrics now."""
        self._buffer.flush()

    def log_artifact(self, path: Path, folder: str = "") -> None:
        """Copies a file to the run's artifacts, unless that was done and it is unchanged."""
        with contextlib.suppress(OSError):  # it is gone: the store's error is reported
            status = path.stat()
            state = (status.st_size, status.st_mtime_ns)
            if self._artifacts.get((path, folder)) == state:
                return
            self._artifacts[path, folder] = state
        inside = path.is_relative_to(self._output_dir)
        self._send(
            File(path.relative_to(self._output_dir).as_posix(), folder)
            if inside
            else OtherFile(str(path.absolute()), folder)
        )

    def log_artifacts(self, folder: Path) -> None:
        """Copies a folder to the run's artifacts, without checkpoints/ and what waits."""
        if self._outbox is None:
            return
        for path in sorted(folder.rglob("*")):
            place = path.relative_to(folder)
            if path.is_file() and place.parts[0] not in ("checkpoints", UNSENT):
                self.log_artifact(path, "" if len(place.parts) == 1 else place.parent.as_posix())

    def log_table(self, name: str, rows: Sequence[Row]) -> None:
        """Keeps rows as <name>.json, which MLflow shows as a table."""
        if rows:
            self._send(Document(f"{name}.json", table_of(rows), table=True))

    def log_image(self, key: str, draw: Callable[[], "Pixels"], step: int) -> None:
        """Keeps a picture; MLflow shows those of a key with a slider over the steps."""
        if self._outbox is not None:
            self._send(Picture(key, step, int(time.time() * 1000), pixels=draw()))

    def write_model(self, folder: Path, data: Path, usage: Usage) -> bool:
        """Writes a pyfunc; `log_artifacts` sends it with the rest of the run's folder."""
        if self._outbox is None:
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
        """Deletes the run, MLflow can restore it; or what waits of one that has no store yet."""
        if self._outbox is not None and not self._ended:
            self._ended = True
            self._outbox.discard()

    def end(self, status: Status) -> None:
        """Writes what is buffered, then the status; then lists what could not be written."""
        if self._outbox is None or self._ended:
            return
        self._ended = True
        if self._monitor is not None:
            self._monitor.stop()
        self._take_samples()
        self._buffer.flush()
        missing = self._outbox.finish(End(status, int(time.time() * 1000)))
        where = f"run {self.run_id or self._output_dir.name} in {self.location}"
        if lost := [*self._missing, *missing.lost]:
            text = "these parts of %s could not be recorded, and nothing can send them later: %s"
            log.error(text, where, "; ".join(lost))
        if missing.waiting and self.run_id is not None:
            self._note_waiting()
            text = "these parts of %s could not be recorded: %s; they wait in %s for %s"
            log.error(text, where, "; ".join(missing.waiting), self._output_dir / UNSENT, SYNC)

    def _take_samples(self) -> None:
        for sample in [] if self._monitor is None else self._monitor.take():
            self._buffer.add(points_of(sample.metrics, sample.number, sample.time))

    def _note_waiting(self) -> None:
        self.waiting = f"{self._output_dir / UNSENT}, sent to {self.location} by: {SYNC}"

    def _send(self, call: Call) -> None:
        if self._outbox is not None:
            self._outbox.send(call)

    def _send_points(self, points: Sequence[Point]) -> None:
        self._send(Points(points))


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
