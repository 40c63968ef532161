"""The journal of a run: what its store has not taken yet, in files of the run's folder.

`unsent/journal.jsonl` has a line of JSON each for

- the head: which run it is, and where it belongs;
- every call of the store that waits, numbered from 0 in their order;
- `{"sent": [0, 1]}`, numbers of calls that the store has taken since;
- `{"run_id": "..."}`, the id of a run that was recorded without its store, once it has one.

Lines are only appended, each whole or not at all, so that a process may be killed at any moment. A
call that was sent, and whose line `sent` is missing, is sent again: every call may be.
"""

import contextlib
import json
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from seqpipe.errors import TrackingError
from seqpipe.files import append_whole
from seqpipe.records import BadRecordError, inside, note_seal
from seqpipe.records import is_own as is_own_record

UNSENT = "unsent"
"""The folder of the journal in a run's folder."""
OFFLINE_RUN = "offline-"
"""Begins the name of a run without an id, before the `key` of its journal."""
_JOURNAL, _LOCK = "journal.jsonl", "lock"
_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Head:
    """The identity of a run.

    Args:
        key: a unique name, 32 hex digits; a tag of the run in the store, if that has not made it.
        tracking_uri: the store, as `resolve_uri` returns it.
        experiment: the group of runs.
        run_name: shown in lists of runs.
        run_id: the id in the store; None for a run that is recorded without it.
        start_time: milliseconds since 1970.
        tags: those that the store is given when it makes the run.
    """

    key: str
    tracking_uri: str
    experiment: str
    run_name: str
    run_id: str | None
    start_time: int
    tags: Mapping[str, str]

    @classmethod
    def read(cls, line: Mapping[str, Any]) -> "Head":
        """The head in the first line of a journal.

        Raises:
            BadRecordError: it is none.
        """
        kinds: dict[str, type] = {
            "key": str,
            "tracking_uri": str,
            "experiment": str,
            "run_name": str,
        }
        kinds |= {"start_time": int, "tags": dict}
        right = all(type(line.get(name)) is kind for name, kind in kinds.items())
        ids = [line.get("key"), *([] if line.get("run_id") is None else [line["run_id"]])]
        if not right or not all(isinstance(one, str) and _ID.fullmatch(one) for one in ids):
            raise BadRecordError("has no head")
        tags = {str(name): str(value) for name, value in line["tags"].items()}
        return cls(**{name: line[name] for name in (*kinds, "run_id") if name != "tags"}, tags=tags)


class Journal:
    """The journal of one run.

    Args:
        folder: the run's.

    Attributes:
        path: of the file.
        count: number of calls in it, sent or not.
        waiting: number of calls that were not sent.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / UNSENT
        self.path = self.folder / _JOURNAL
        self.count = self.waiting = 0
        self._lock: FileLock | None = None

    def open(self, head: Head | None = None) -> None:
        """Takes the journal for this process, until `close`; makes it if there is none.

        Args:
            head: written to a new journal.

        Raises:
            TrackingError: another process has it, it is damaged, or (without a head) there is none.
            OSError: it cannot be written.
        """
        if head is None and not self.path.is_file():
            raise TrackingError("nothing waits")
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / _LOCK, timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise TrackingError("another process writes it or sends it now") from None
        try:
            if self.path.is_file() and self._drop_torn_line() > 0:
                self.head()
                self.count = sum("kind" in line for line in self._lines())
                self.waiting = sum(1 for _ in self.calls())
            elif head is not None:
                self._append(vars(head))
            else:
                raise BadRecordError("is empty")
        except BaseException as error:
            nothing = not self.path.is_file() or self.path.stat().st_size == 0
            if nothing and head is not None:  # its head has no room
                shutil.rmtree(self.folder, ignore_errors=True)
            lock.release()
            if isinstance(error, BadRecordError):
                raise TrackingError(f"{self.path}: {error}") from None
            raise
        self._lock = lock

    def close(self, *, discard: bool = False) -> None:
        """Gives the journal back; its files are removed if nothing waits, or nothing should."""
        if self._lock is None:
            return
        if self.waiting == 0 or discard:
            shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.release()
        self._lock = None

    def head(self) -> Head:
        """The identity of the run, with the id that it was given since.

        Raises:
            BadRecordError: the journal is damaged.
        """
        lines = self._lines()
        head = Head.read(next(lines, {}))
        ids = [line["run_id"] for line in lines if "kind" not in line and "run_id" in line]
        if not ids:
            return head
        if not isinstance(ids[-1], str) or not _ID.fullmatch(ids[-1]):
            raise BadRecordError("names no run")
        return Head(**{**vars(head), "run_id": ids[-1]})

    def calls(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """The calls that wait, with their numbers, the oldest first.

        Raises:
            BadRecordError: the journal is damaged.
        """
        sent: set[int] = set()
        for line in self._lines():
            if "kind" not in line:
                numbers = line.get("sent", [])
                sent.update(numbers if isinstance(numbers, list) else [])
        number = 0
        for line in self._lines():
            if "kind" in line:
                if number not in sent:
                    yield number, line
                number += 1

    def has(self, kind: str) -> bool:
        """True if there is a call of a kind, sent or not."""
        return any(line.get("kind") == kind for line in self._lines())

    def add(self, call: Mapping[str, Any]) -> int:
        """Adds a call, with the key `kind`; returns its number.

        Raises:
            OSError: it cannot be written.
        """
        assert "kind" in call
        self._append(call)
        self.count += 1
        self.waiting += 1
        return self.count - 1

    def note_sent(self, numbers: Iterable[int]) -> None:
        """Notes that calls need not be sent again; a disk that is full does not matter."""
        noted = list(numbers)
        self.waiting -= len(noted)
        with contextlib.suppress(OSError):
            self._append({"sent": noted})

    def note_run(self, run_id: str) -> None:
        """Notes the id that the store has given to the run.

        Raises:
            OSError: it cannot be written.
        """
        self._append({"run_id": run_id})

    def keep(self, name: str, data: bytes) -> str:
        """Keeps a file beside the journal; returns its path below the run's folder.

        Raises:
            OSError: it cannot be written.
        """
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        append_whole(path, data, sync=True)
        return f"{UNSENT}/{name}"

    def is_own(self, root: Path) -> bool:
        """True if it was written by a run that was started in a folder, and names what it named."""
        return is_own_record(root, vars(Head.read(next(self._lines(), {}))))

    def _append(self, line: Mapping[str, Any]) -> None:
        append_whole(self.path, json.dumps(dict(line), default=str).encode() + b"\n", sync=True)

    def _lines(self) -> Iterator[dict[str, Any]]:
        """The whole lines; the last one may be cut short by the end of its process."""
        try:
            path = inside(self.folder.parent, f"{UNSENT}/{_JOURNAL}")
            with path.open("rb") as file:
                for number, line in enumerate(file, 1):
                    if not line.endswith(b"\n"):
                        return
                    read = json.loads(line)
                    if not isinstance(read, dict):
                        raise BadRecordError(f"line {number} is no JSON object")
                    yield read
        except BadRecordError:
            raise
        except (ValueError, RecursionError) as error:
            raise BadRecordError(f"has a line that is no JSON ({error})") from None

    def _drop_torn_line(self) -> int:
        """Cuts off a last line that was not completed; returns the size of the rest in bytes."""
        with self.path.open("rb+") as file:
            size = sum(len(line) for line in file if line.endswith(b"\n"))
            file.truncate(size)
        return size


def seal_head(root: Path, head: Head) -> None:
    """Records that a run was started in a folder: `sync` there may open the store it names.

    Raises:
        OSError: the file of seals cannot be written.
    """
    note_seal(root, vars(head))
