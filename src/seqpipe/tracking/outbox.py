"""Calls of a run's store in their order: sent at once, or kept on disk until the store answers."""

import contextlib
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from seqpipe.errors import TrackingError, counted, place_message
from seqpipe.records import BadRecordError
from seqpipe.tracking.calls import Call, End, File, Target, names_of, read_call
from seqpipe.tracking.journal import Head, Journal, seal_head
from seqpipe.tracking.store import reason_of, short_timeouts
from seqpipe.tracking.timeouts import TimeBudget, Unreachable

log = logging.getLogger(__name__)

SYNC = "python -m seqpipe sync"
_FIRST_WAIT, _LONGEST_WAIT = 1.0, 60.0  # seconds between attempts at a store that does not answer
_WORK = 5.0  # seconds in a row that a training waits while what waited is sent
_MOST_HELD = 200_000  # things in memory, where the disk takes nothing either: about 100 MB
_REFUSALS = 3  # in a row: the store is treated as one that does not answer
_NAMED = 8  # missing parts named in a message


class Missing(NamedTuple):
    """Parts of a record that its store does not have: those that wait, and those that are lost."""

    waiting: list[str]
    lost: list[str]


class Outbox:
    """Sends the calls of a run; none is lost because the store is.

    A call that the store does not take goes to the journal in the run's folder, and so do all later
    ones while the store is away. They are sent when it is back, at the end of the run, or by
    `python -m seqpipe sync`. Where the journal cannot be written either, calls wait in memory.

    Args:
        root: the folder the user works in, where the journal is noted as the user's own.
        folder: the run's.
        head: the identity of the run, for the journal.
        target: the run in the store; None for a run that is recorded without its store.
    """

    def __init__(self, root: Path, folder: Path, head: Head, target: Target | None) -> None:
        self._root, self._folder, self._head, self._target = root, folder, head, target
        self._journal = Journal(folder)
        self._is_open = False
        self._budget = TimeBudget()
        self._held: list[Call] = []  # in memory, oldest first
        self._dropped = 0  # things for which there was no room in memory
        self._refused: set[int] = set()  # numbers in the journal; not tried again until the end
        self._files: set[tuple[str, str]] = set()  # that wait
        self._wait, self._next = _FIRST_WAIT, 0.0  # the store is tried again at this time
        self._failing = self._away = self._ended = False
        self._refusals = 0  # in a row

    def open(self) -> None:
        """Makes the journal, or takes the one that an earlier process has left.

        Raises:
            OSError: it cannot be written.
            TrackingError: another process has it.
        """
        if not self._is_open:
            self._journal.open(self._head)
            self._is_open = True
            with contextlib.suppress(OSError):  # `sync` then asks for tracking_uri=
                seal_head(self._root, self._head)

    @property
    def waits(self) -> bool:
        """True if something was not sent."""
        return bool(self._journal.waiting or self._held)

    def send(self, call: Call) -> None:
        """Sends a call, or keeps it; never raises because of the store or the disk."""
        if self._target is None or (self._away and time.monotonic() < self._next):
            self._keep(call)
        elif self._failing and not self._send_waiting(_WORK):
            self._keep(call)
        elif not self._try(call):
            self._keep(call)

    def finish(self, end: End) -> Missing:
        """Sends what waits, then the status. Returns what the store does not have.

        Args:
            end: the last call.
        """
        self._ended = True
        if self._target is None:
            self._keep(end)
        else:
            self._budget.extend_for_end()
            self._refused.clear()
            self._send_waiting(float("inf"))
            if not self._try(end):
                self._keep(end)
        for _ in range(len(self._held)):  # where a large one has no room, a small one may have
            held, self._held = self._held[1:], self._held[:1]
            self._write_held(warn=False)
            self._held = [*held, *self._held]
        waiting = names_of([call for _, call in self._kept()], _NAMED)
        lost = names_of(self._held, _NAMED)
        if self._dropped:
            lost.append(counted(self._dropped, "older value"))
        if self._is_open:
            self._journal.close()
        return Missing(waiting, lost)

    def discard(self) -> None:
        """Deletes the run in the store, and what waits."""
        if self._is_open:
            self._journal.close(discard=True)
        if self._target is None:
            return
        client, run_id = self._target.client, self._target.run_id
        try:
            with short_timeouts():
                self._budget.call(client.set_terminated, run_id, "FAILED")
                self._budget.call(client.delete_run, run_id)
        except Exception as error:  # each kind of store has its own
            log.warning("run %s cannot be deleted: %s", run_id, reason_of(error))

    def _try(self, call: Call) -> bool:
        """Sends a call; returns False if the store did not take it."""
        assert self._target is not None
        try:
            seconds = call.seconds(self._target)
            with short_timeouts():
                self._budget.call(call.send, self._target, extra_seconds=seconds)
        except Exception as error:  # each kind of store has its own
            self._note_failure(call, error)
            return False
        self._refusals, self._away = 0, False
        return True

    def _note_failure(self, call: Call, error: Exception) -> None:
        """Warns once per outage; a store that is away is not tried again for a while."""
        if not self._failing and not self._ended:
            reason = reason_of(error)
            log.warning("%s cannot be written, training continues: %s", call.name, reason)
        self._failing = True
        self._refusals += 1
        hangs = isinstance(error, (TimeoutError, Unreachable))
        refuses_all = self._refusals >= _REFUSALS and not self._ended
        self._away = hangs or refuses_all or not self._answers()
        if self._away:
            self._next = time.monotonic() + self._wait
            self._wait = min(2 * self._wait, _LONGEST_WAIT)

    def _answers(self) -> bool:
        """True if the store can be asked, so that it refused only what it was given."""
        assert self._target is not None
        with contextlib.suppress(Exception), short_timeouts():
            self._budget.call(self._target.client.get_run, self._target.run_id)
            return True
        return False

    def _send_waiting(self, seconds: float) -> bool:
        """Sends what waits, for a limited time; returns True if only refused calls are left."""
        until = time.monotonic() + seconds
        if self._journal.waiting > len(self._refused):
            for number, call in self._kept():
                if number in self._refused:
                    continue
                if self._try(call):
                    self._journal.note_sent([number])
                    self._files.discard(_place(call))
                elif self._away:
                    return False
                else:
                    self._refused.add(number)
                if time.monotonic() > until:
                    return False
        while self._held and self._try(self._held[0]):
            self._files.discard(_place(self._held.pop(0)))
        if self._away or self._held:
            return False
        self._wait = _FIRST_WAIT
        if not self._refused:
            if not self._ended:
                log.warning("the store answers again: what waited was sent")
            self._failing = False
        return True

    def _keep(self, call: Call) -> None:
        """Adds a call to the journal; to those in memory where that cannot be written."""
        place = _place(call)
        if place in self._files:  # the file is sent as it is then
            return
        if place is not None:
            self._files.add(place)
        warned = bool(self._held)
        self._held.append(call)
        if not self._write_held(warn=not warned):
            while sum(call.count for call in self._held) > _MOST_HELD:
                self._dropped += self._held.pop(0).count

    def _write_held(self, *, warn: bool) -> bool:
        """Moves the calls in memory to the journal; returns False if it cannot be written."""
        try:
            self.open()
            while self._held:
                self._journal.add(self._held[0].kept(self._journal).as_json())
                self._held.pop(0)
        except (OSError, TrackingError) as error:
            if warn and not self._ended:
                reason = place_message(error) or str(error)
                log.warning("%s: nothing can wait there for the store: %s", self._folder, reason)
            return False
        return True

    def _kept(self) -> Iterator[tuple[int, Call]]:
        """The calls in the journal; a damaged one ends the list."""
        if not self._is_open:
            return
        try:
            for number, line in self._journal.calls():
                yield number, read_call(line)
        except (BadRecordError, OSError) as error:
            log.warning("%s: %s", self._journal.path, error)


def _place(call: Call) -> tuple[str, str] | None:
    return (call.path, call.place) if isinstance(call, File) else None
