"""Sends what waits in the folders of runs to their stores."""

import contextlib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from mlflow import MlflowClient

from seqpipe.errors import ConfigError, TrackingError, counted
from seqpipe.files import write_json
from seqpipe.records import BadRecordError
from seqpipe.tracking.base import PARENT
from seqpipe.tracking.calls import End, Target, names_of, read_call
from seqpipe.tracking.journal import OFFLINE_RUN, Head, Journal
from seqpipe.tracking.metric_names import LONGEST
from seqpipe.tracking.mlflow_internals import PARENT_RUN
from seqpipe.tracking.run_record import PROVENANCE, read_json
from seqpipe.tracking.store import open_store, reason_of, resolve_uri, short_timeouts, store_access
from seqpipe.tracking.timeouts import TimeBudget

KEY = "tracking_uri"
OFFLINE_ID = "offline_id"
"""The tag of a run that was recorded without its store: the `key` of its journal."""
_NAMED = 8  # parts named in a message
_MOST_JOBS = 50_000  # of a sweep: as many as MLflow returns
_FAILURES = 3  # in a row: the store is not tried any more


@dataclass
class Synced:
    """The result of sending the journal of a run.

    Attributes:
        run_id: of the run; empty if its store could not be reached.
        store: where it is.
        sent: number of things by their noun.
        gone: files that waited and are not there any more; they are given up.
        remains: what still waits.
        reason: why.
    """

    run_id: str = ""
    store: str = ""
    sent: Counter[str] = field(default_factory=Counter)
    gone: list[str] = field(default_factory=list)
    remains: list[str] = field(default_factory=list)
    reason: str = ""

    def lines(self) -> Iterator[str]:
        """The report, in lines."""
        if self.sent:
            sent = ", ".join(counted(count, noun) for noun, count in self.sent.items())
            yield f"sent to mlflow run {self.run_id} in {self.store}: {sent}"
        if self.gone:
            yield f"gone, and given up: {', '.join(_first(self.gone))}"
        if self.remains:
            yield f"remains: {', '.join(self.remains)} ({self.reason})"


class Stores:
    """The stores of the runs, each opened once; one that cannot be is not tried again.

    Args:
        root: the folder the user works in.
        tracking_uri: sends all runs there; None: each to its own store.
    """

    def __init__(self, root: Path, tracking_uri: str | None) -> None:
        self.root = root
        self._uri = None if tracking_uri is None else resolve_uri(tracking_uri, root, KEY)
        self._clients: dict[str, MlflowClient | ConfigError] = {}

    def address(self, journal: Journal, head: Head) -> str:
        """The store of a run.

        Raises:
            TrackingError: it is named by a journal that was not written from this folder.
        """
        if self._uri is not None:
            return self._uri
        if not journal.is_own(self.root):
            text = "the run was not started from this folder, and its store is not connected to"
            raise TrackingError(f"{text}; allowed: tracking_uri={head.tracking_uri}")
        return head.tracking_uri

    def client(self, uri: str) -> MlflowClient:
        """A client of a store, which is made if it is a file that does not exist.

        Raises:
            ConfigError: it cannot be opened.
        """
        if uri not in self._clients:
            try:
                with store_access(uri, KEY):
                    client = MlflowClient(uri)
                    client.search_experiments(max_results=1)
                    self._clients[uri] = client
            except ConfigError as error:
                self._clients[uri] = error
        found = self._clients[uri]
        if isinstance(found, ConfigError):
            raise found
        return found


def sync_run(folder: Path, stores: Stores) -> Synced:
    """Sends what waits in a run's folder.

    Args:
        folder: the run's.
        stores: where it goes.
    """
    journal, done = Journal(folder), Synced()
    try:
        journal.open()
    except (TrackingError, OSError) as error:
        return replace(done, remains=["all of it"], reason=str(error))
    try:
        _send_all(folder, journal, stores, done)
    except (ConfigError, TrackingError, BadRecordError, OSError) as error:
        done.reason = reason_of(error)
    finally:
        with contextlib.suppress(BadRecordError, OSError):
            done.remains = names_of([read_call(line) for _, line in journal.calls()], _NAMED)
        journal.close()
    return done


def _send_all(folder: Path, journal: Journal, stores: Stores, done: Synced) -> None:
    head = journal.head()
    uri = stores.address(journal, head)
    client = stores.client(uri)
    with short_timeouts():
        if head.run_id is None:
            run_id = _made(client, uri, head)
            _adopt(client, run_id, head.key)
            journal.note_run(run_id)
        else:
            run_id = head.run_id
        done.run_id, done.store = run_id, uri
        _check_run(client, run_id, uri)
        _note_place(folder, run_id, uri)
        target, failures = Target(client, run_id, folder, again=True), 0
        budget = TimeBudget()
        for number, line in journal.calls():
            call = read_call(line)
            try:
                budget.call(call.send, target, extra_seconds=call.seconds(target))
            except FileNotFoundError:
                done.gone.append(call.name)
            except Exception as error:  # each kind of store has its own
                done.reason, failures = reason_of(error), failures + 1
                if failures == _FAILURES:
                    return
                continue
            else:
                done.sent[call.noun] += call.count
            failures = 0
            journal.note_sent([number])
        if not journal.has(End.kind) and client.get_run(run_id).info.status == "RUNNING":
            client.set_terminated(run_id, "KILLED")  # its process has ended: the journal was free
            done.sent[End.noun] += 1


def _made(client: MlflowClient, uri: str, head: Head) -> str:
    """The id of a run that was recorded without its store: made now, or before an interruption."""
    client, experiment = open_store(uri, head.experiment)
    found = _offline_run(client, experiment, head.key)
    if found is not None:
        return found
    tags = {**head.tags, OFFLINE_ID: head.key}
    parent = tags.get(PARENT, "").removeprefix(OFFLINE_RUN)
    if (sent := _offline_run(client, experiment, parent)) is not None:
        tags |= {PARENT: sent, PARENT_RUN: sent}
    made = client.create_run(experiment, head.start_time, tags, run_name=head.run_name[:LONGEST])
    return str(made.info.run_id)


def _adopt(client: MlflowClient, run_id: str, key: str) -> None:
    """Names a run in those that were sent before it, and belong to it."""
    run = client.get_run(run_id)
    which = f"tags.`{PARENT}` = '{OFFLINE_RUN}{key}'"
    for one in client.search_runs([run.info.experiment_id], which, max_results=_MOST_JOBS):
        for tag in (PARENT, PARENT_RUN):
            client.set_tag(one.info.run_id, tag, run_id)


def _offline_run(client: MlflowClient, experiment: str, key: str) -> str | None:
    """The id of the run with the key of a journal; None where the store has none."""
    if not re.fullmatch("[0-9a-f]{32}", key):
        return None
    found = client.search_runs([experiment], f"tags.{OFFLINE_ID} = '{key}'", max_results=1)
    return str(found[0].info.run_id) if found else None


def _check_run(client: MlflowClient, run_id: str, uri: str) -> None:
    try:
        stage = client.get_run(run_id).info.lifecycle_stage
    except Exception as error:
        raise TrackingError(f"{uri} has no run {run_id} ({reason_of(error)})") from None
    if stage == "deleted":
        raise TrackingError(f"run {run_id} was deleted in {uri}; allowed: after it is restored")


def _note_place(folder: Path, run_id: str, uri: str) -> None:
    """Names the store and the run in provenance.json, where the run was recorded without them."""
    path = folder / PROVENANCE
    written = read_json(path)
    if written and written.get("run_id") != run_id:
        write_json(path, {"run_id": run_id, "tracking_uri": uri, **written})


def _first(names: list[str]) -> list[str]:
    return names[:_NAMED] + [f"and {len(names) - _NAMED} more"] * (len(names) > _NAMED)
