"""Connections among the processes of one training: they start together and end together.

The first process listens, the others connect to it, and each sends a sign of life every second. A
process that is killed closes its connection; one that is stopped, or whose machine is lost, falls
silent. The first process then tells the others which one it was and how it ended. Without this, a
process that ends is noticed by the next exchange of gradients, which names none and may wait for
minutes.
"""

import contextlib
import hmac
import json
import os
import secrets
import selectors
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from seqpipe.errors import TrainingError

GRACE = 10.0
"""Seconds for the main thread to notice by itself that another process was lost."""
CLOSING = 60.0
"""Seconds that a process may take to end after that."""
_BEAT = 1.0  # seconds between two signs of life
_TURN = 0.25  # seconds between two looks at what has changed
_REAPED = 3.0  # seconds until the exit code of a killed process is known
_LONGEST = 1 << 20  # bytes of a message
_SILENT = "gave no sign of life for"
_UNKNOWN = "ended without a message: it was killed, or its machine was lost"
_MEMORY = ", perhaps by the system, which had no memory left"


class ExchangeError(TrainingError):
    """The processes of a training cannot go on together."""


class LostError(ExchangeError):
    """Another process of the training has ended.

    Args:
        rank: the process.
        text: which one it was and how it ended.
        interrupted: a signal or Ctrl-C ended it.

    Attributes:
        silent: it may still be there, stopped.
    """

    def __init__(self, rank: int, text: str, *, interrupted: bool = False) -> None:
        super().__init__(f"{text}; the training has ended in all processes")
        self.rank, self.interrupted = rank, interrupted
        self.silent = _SILENT in text


@dataclass
class _Line:
    """A connection to one process; `rank` is None until it has said who it is."""

    socket: socket.socket
    rank: int | None = None
    name: str = ""
    heard: float = field(default_factory=time.monotonic)
    received: bytes = b""


class Peers:
    """The other processes of a training, seen from this one.

    Args:
        rank: of this process.
        world: the number of processes.
        silence: seconds without a sign of life after which a process counts as lost.

    Attributes:
        lost: the first process that was lost, and how; None while all are there.
        emergency: called with it if the main thread does not end by itself; then the process ends.
    """

    def __init__(self, rank: int, world: int, silence: float) -> None:
        self.rank, self.world, self.silence = rank, world, silence
        self.lost: LostError | None = None
        self.emergency: Callable[[LostError], None] = lambda lost: None
        self.children: Sequence[subprocess.Popen[bytes]] = ()  # ranks 1, 2, ... of this machine
        self._lines: list[_Line] = []
        self._left: set[int] = set()  # processes that have finished
        self._ready: set[int] = set()
        self._go: Mapping[str, Any] | None = None
        self._news = threading.Condition()
        self._sending = threading.Lock()
        self._listener: socket.socket | None = None
        self._token = ""
        self._stopped = threading.Event()
        self._lost_at = self._ending_at = 0.0

    def listen(self, host: str = "127.0.0.1") -> str:
        """Waits for the others, in the first process; returns the address that they connect to."""
        self._listener = socket.create_server(("" if host != "127.0.0.1" else host, 0))
        self._token = secrets.token_hex(16)
        self._start()
        return f"{host} {self._listener.getsockname()[1]} {self._token}"

    def connect(self, address: str) -> None:
        """Connects to the first process.

        Args:
            address: as `listen` returned it there.

        Raises:
            LostError: it cannot be reached.
        """
        host, port, token = address.split()
        try:
            opened = socket.create_connection((host, int(port)), timeout=self.silence)
        except OSError as error:
            text = f"cannot be reached at {host}:{port} ({error.strerror})"
            raise LostError(0, f"{self._name(0)} {text}") from None
        line = _Line(opened, rank=0)
        self._lines.append(line)
        self._send(line, token=token, rank=self.rank, name=_own_name())
        self._start()

    def start_together(self, facts: Mapping[str, Any]) -> None:
        """Waits until all others are ready, then lets them start. Only the first process calls it.

        Args:
            facts: what they need to know, as JSON can write it.

        Raises:
            LostError: one of them has ended.
        """
        self._wait(lambda: len(self._ready) == self.world - 1)
        self._send_all(go=facts)

    def wait_for_start(self) -> Mapping[str, Any]:
        """Says that this process is ready, and waits for all others. Returns the first's facts.

        Raises:
            LostError: one of them has ended.
        """
        self._send_all(ready=True)
        self._wait(lambda: self._go is not None)
        assert self._go is not None
        return self._go

    def explained(
        self, error: BaseException, *, noticed: bool, stopped: bool = False
    ) -> BaseException:
        """The error to end with: the loss of another process, if that is behind this one.

        Args:
            error: it ends this process.
            noticed: it comes from an exchange with another, whose loss may be known in a moment.
            stopped: it is a signal, which launchers send after such a loss.
        """
        self._ending_at = self._ending_at or time.monotonic()
        if noticed and self.lost is None:
            with self._news:
                self._news.wait_for(lambda: self.lost is not None, timeout=2 * _REAPED)
        if noticed and self.lost is not None and self.lost.interrupted:
            time.sleep(1.0)  # a signal for all has come, or comes now
        lost = self.lost if noticed or stopped else None
        return error if lost is None or (stopped and lost.interrupted) else lost

    def leave(self, ended: str | None = None, *, interrupted: bool = False) -> None:
        """Closes the connections: this process needs the others no more.

        Args:
            ended: what ended it, in words; None: it has finished.
            interrupted: it was a signal or Ctrl-C.
        """
        if self._stopped.is_set():
            return
        if ended is None:
            self._send_all(left=True)
        elif self.rank == 0 and self.lost is None:
            text = f"{self._name(0, _own_name())} ended: {ended}"
            self._send_all(lost=0, text=text, interrupted=interrupted)
        else:
            self._send_all(ended=ended, interrupted=interrupted)
        self._stopped.set()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout=2.0)
        for line in self._lines:
            with contextlib.suppress(OSError):
                line.socket.close()
        if self._listener is not None:
            self._listener.close()

    def end_children(self, seconds: float) -> None:
        """Waits for the processes that this one has started, then kills those that are left."""
        deadline = time.monotonic() + seconds
        silent = self.lost.rank if self.lost is not None and self.lost.silent else None
        for rank, child in enumerate(self.children, 1):
            if rank == silent:
                child.kill()
            try:
                child.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, daemon=True, name="peers")
        self._thread.start()

    def _wait(self, condition: Callable[[], bool]) -> None:
        with self._news:
            self._news.wait_for(lambda: condition() or self.lost is not None)
        if self.lost is not None:
            raise self.lost

    def _run(self) -> None:
        """Listens to the others, in a thread of its own, until the connections are closed."""
        with selectors.DefaultSelector() as selector:
            if self._listener is not None:
                selector.register(self._listener, selectors.EVENT_READ)
            for line in self._lines:
                selector.register(line.socket, selectors.EVENT_READ, line)
            beaten = turned = time.monotonic()
            while not self._stopped.is_set():
                for key, _ in selector.select(_TURN):
                    if key.data is None:
                        opened, _ = self._listener.accept()  # type: ignore[union-attr]
                        selector.register(opened, selectors.EVENT_READ, _Line(opened))
                    elif not self._receive(key.data):
                        selector.unregister(key.data.socket)
                        self._forget(key.data)
                now = time.monotonic()
                if now - turned > self.silence / 2:  # this process was stopped itself
                    for line in self._lines:
                        line.heard = now
                turned = now
                if now - beaten > _BEAT:
                    beaten = now
                    self._send_all()
                self._look_around(now)
            for key in [*selector.get_map().values()]:  # also of those that never said who they are
                if key.data is not None:
                    key.data.socket.close()

    def _look_around(self, now: float) -> None:
        """Notes silent and ended processes, and ends this one if it cannot end by itself."""
        for line in self._lines:
            if now - line.heard > self.silence and line.rank is not None:
                name = self._name(line.rank, line.name)
                text = f"{name} {_SILENT} {self.silence:.0f} s: it was stopped, or hangs"
                self._lose(line.rank, text)
        connected = {line.rank for line in self._lines} | self._left
        for rank, child in enumerate(self.children, 1):
            if rank not in connected and child.poll() is not None:
                self._lose(rank, f"{self._name(rank, f'pid {child.pid}')} {_end_of(child)}")
        if self.lost is None:
            return
        overdue = self._ending_at and now - self._ending_at > CLOSING
        if overdue or (not self._ending_at and now - self._lost_at > GRACE):
            try:
                if not overdue:
                    self.emergency(self.lost)
            finally:
                for child in self.children:
                    child.kill()
                os._exit(1)

    def _receive(self, line: _Line) -> bool:
        """Reads what a process has sent; False where the connection is closed."""
        try:
            data = line.socket.recv(65536)
        except OSError:
            data = b""
        line.heard = time.monotonic()
        *messages, line.received = (line.received + data).split(b"\n")
        try:
            for message in messages:
                self._take(line, json.loads(message))
        except (ValueError, TypeError, KeyError):
            return False  # no process of this training
        return bool(data) and len(line.received) < _LONGEST

    def _take(self, line: _Line, message: Mapping[str, Any]) -> None:
        if line.rank is None:
            if not hmac.compare_digest(str(message["token"]), self._token):
                raise ValueError("another training")
            line.rank, line.name = int(message["rank"]), str(message["name"])
            self._lines.append(line)
        elif "ready" in message:
            self._ready.add(line.rank)
        elif "go" in message:
            self._go = message["go"]
        elif "left" in message:
            self._left.add(line.rank)
        elif "ended" in message:
            text = f"{self._name(line.rank, line.name)} ended: {message['ended']}"
            self._lose(line.rank, text, bool(message["interrupted"]))
        elif "lost" in message:
            self._lose(int(message["lost"]), str(message["text"]), bool(message["interrupted"]))
        else:
            return
        with self._news:
            self._news.notify_all()

    def _forget(self, line: _Line) -> None:
        """Notes a closed connection."""
        line.socket.close()
        if line not in self._lines:
            return
        self._lines.remove(line)
        assert line.rank is not None
        if line.rank in self._left or self.lost is not None:
            return
        how = _UNKNOWN
        if self.rank == 0 and line.rank <= len(self.children):
            child = self.children[line.rank - 1]
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(_REAPED)
                how = _end_of(child)
        self._lose(line.rank, f"{self._name(line.rank, line.name)} {how}")

    def _lose(self, rank: int, text: str, interrupted: bool = False) -> None:
        if self.lost is not None:
            return
        self._lost_at = time.monotonic()
        self.lost = LostError(rank, text, interrupted=interrupted)
        if self.rank == 0:
            self._send_all(lost=rank, text=text, interrupted=interrupted)
        with self._news:
            self._news.notify_all()

    def _send_all(self, **message: Any) -> None:
        for line in [*self._lines]:
            self._send(line, **message)

    def _send(self, line: _Line, **message: Any) -> None:
        with self._sending, contextlib.suppress(OSError):
            line.socket.sendall(json.dumps(message).encode() + b"\n")

    def _name(self, rank: int, name: str = "") -> str:
        return f"rank {rank} of {self.world}{name and f' ({name})'}"


def _own_name() -> str:
    return f"pid {os.getpid()} on {socket.gethostname()}"


def _end_of(child: "subprocess.Popen[bytes]") -> str:
    """How a process ended, in words."""
    code = child.returncode
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            name = signal.Signals(-code).name
            return f"was ended by {name}{_MEMORY if name == 'SIGKILL' else ''}"
    return f"ended with exit code {code}, see its message above"
