"""A training in several processes: one start, one folder, one record, one end."""

import os
import re
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from omegaconf import DictConfig
from pytorch_lightning import Trainer

from seqpipe.errors import SeqpipeError, first_line, resource_message
from seqpipe.peers import ExchangeError, LostError, Peers
from seqpipe.processes import PEERS, is_child
from seqpipe.signals import ENDING_SIGNALS, Terminated, ignore_ending_signals
from seqpipe.training.lightning_internals import (
    is_launched_outside,
    wait_for_exchange,
    when_children_start,
)

TIMEOUT = 300
"""Seconds, where a trainer of the user's own has no `process_timeout`."""
CHILDREN_END = 30.0
"""Seconds that the processes of a training may take to end after the first one has."""
# What the libraries say of an exchange that another process did not take part in; errors of the
# backward pass come without a trace of where.
_EXCHANGE = re.compile(
    r"gloo|nccl|Connection (closed|reset|refused)|Broken pipe|time(d )?out|ProcessGroup",
    re.IGNORECASE,
)
_EXCHANGING = os.path.join("torch", "distributed", "")


class Together:
    """The processes of a training, from the first check to the last artifact.

    With one process it does nothing. Used as a context, it tells the others at its end how this
    process has ended, and lets none of them outlive the first.
    """

    def __init__(self) -> None:
        self._peers: Peers | None = None
        self._facts: Mapping[str, Any] = {}  # of the first process
        self._seconds = 0

    def join(self, trainer: Trainer, cfg: DictConfig) -> None:
        """Connects the processes, before any of them reads data.

        Args:
            trainer: of this process, for the present folder.
            cfg: the whole configuration.

        Raises:
            ExchangeError: the others are not there.
        """
        if trainer.world_size == 1:
            return
        self._seconds = cfg.trainer.get("process_timeout", TIMEOUT)
        peers = Peers(trainer.global_rank, trainer.world_size, self._seconds)
        if is_child():
            peers.connect(os.environ[PEERS])
        elif is_launched_outside(trainer):
            _meet(trainer, peers, self._seconds)
        else:
            os.environ[PEERS] = peers.listen()
        self._peers = peers

    def folder_of_first(self) -> Path:
        """The folder of the run, in the other processes; returns once all of them are ready.

        Raises:
            LostError: one of them has ended.
        """
        assert self._peers is not None
        self._facts = self._peers.wait_for_start()
        return Path(self._facts["folder"])

    def start(self, trainer: Trainer, folder: Path, run_id: str | None) -> None:
        """Lets all processes start the training with the first one.

        Args:
            trainer: that trains; it may start the others.
            folder: of the run.
            run_id: in the store, if there is one.

        Raises:
            LostError: one of them has ended.
        """
        peers = self._peers
        if peers is None:
            return
        wait_for_exchange(trainer, self._seconds)
        if peers.rank > 0:
            return
        facts = {"folder": str(folder), "run_id": run_id}

        def started(children: Sequence[subprocess.Popen[bytes]]) -> None:
            peers.children = children
            peers.start_together(facts)

        if is_launched_outside(trainer):
            peers.start_together(facts)
        else:
            when_children_start(trainer, started)

    def on_emergency(self, close: Callable[[BaseException], None]) -> None:
        """Sets what closes the record if another process is lost and this one cannot end itself.

        Args:
            close: called with the reason, in another thread; then the process ends.
        """
        if self._peers is None:
            return

        def close_and_print(lost: LostError) -> None:
            self._note_shown(lost)
            try:
                close(lost)
            finally:
                if lost.shown:
                    print(f"seqpipe: {lost}", file=sys.stderr, flush=True)
                _end_stopped_parent(lost)

        self._peers.emergency = close_and_print

    def explained(self, error: BaseException) -> BaseException:
        """The reason to end for: the loss of another process, if that is behind the error."""
        if self._peers is None:
            return error
        exchange = _is_of_exchange(error)
        stopped = isinstance(error, Terminated)
        known = self._peers.explained(error, noticed=exchange, stopped=stopped)
        if isinstance(known, LostError):
            ignore_ending_signals()  # torchrun sends one to all when a process has ended
            self._note_shown(known)
            return known
        if exchange:
            text = f"the others did not answer within trainer.process_timeout={self._seconds} s"
            allowed = "a longer time where one of them has much to do alone"
            return ExchangeError(f"{text} ({first_line(error)}); allowed: {allowed}")
        return error

    def _note_shown(self, lost: LostError) -> None:
        assert self._peers is not None
        lost.shown = self._peers.rank == 0 or self.closes(lost)

    def closes(self, error: BaseException) -> bool:
        """True if this process closes the record in place of the first, which is lost."""
        lost = isinstance(error, LostError) and error.rank == 0
        return lost and self._peers is not None and self._peers.rank == 1

    @property
    def run_id(self) -> str | None:
        """The id of the run that the first process has started in the store, if there is one."""
        return self._facts.get("run_id")

    def leave(self) -> None:
        """Ends the exchange: what follows is for the first process alone."""
        if self._peers is not None:
            self._peers.leave()

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Tells the others how this process ends, and waits for those that it has started."""
        if (peers := self._peers) is None:
            return
        if error is not None:
            interrupted = isinstance(error, (KeyboardInterrupt, SystemExit))
            peers.leave(describe_end(error), interrupted=interrupted)
            if isinstance(error, SeqpipeError) and not isinstance(error, LostError):
                error.shown = peers.rank == 0  # which has the same error, or reports this one
        else:
            peers.leave()
        peers.end_children(CHILDREN_END)
        if not is_child():
            os.environ.pop(PEERS, None)
        elif isinstance(error, LostError):
            _end_stopped_parent(error)


def _is_of_exchange(error: BaseException) -> bool:
    """True if an exchange with the other processes has failed."""
    if not isinstance(error, RuntimeError):
        return False
    frames = traceback.extract_tb(error.__traceback__)
    inside = any(_EXCHANGING in frame.filename for frame in frames)
    return inside or _EXCHANGE.search(str(error)) is not None


def _end_stopped_parent(lost: LostError) -> None:
    """Ends the process that has started this one, where it is stopped and would stay."""
    if lost.rank == 0 and lost.silent and is_child():
        os.kill(os.getppid(), signal.SIGKILL)


def _meet(trainer: Trainer, peers: Peers, seconds: int) -> None:
    """Connects processes that a launcher has started: torchrun, srun, or a person."""
    host = trainer.strategy.cluster_environment.main_address  # type: ignore[attr-defined]
    here = host in ("127.0.0.1", "localhost", "::1")
    wait_for_exchange(trainer, seconds)
    try:
        trainer.strategy.setup_environment()
        address = peers.listen("127.0.0.1" if here else host) if peers.rank == 0 else ""
        address = trainer.strategy.broadcast(address)
    except RuntimeError as error:
        text = f"the {peers.world} processes did not meet at {host} within {seconds} s"
        allowed = "as many processes as trainer.devices times trainer.num_nodes, started together"
        raise ExchangeError(f"{text} ({first_line(error)}); allowed: {allowed}") from None
    if peers.rank > 0:
        peers.connect(address)


def describe_end(error: BaseException) -> str:
    """The cause in one line."""
    if isinstance(error, SeqpipeError):
        return str(error)
    interrupted = isinstance(error.__context__, KeyboardInterrupt)  # Lightning exits on Ctrl-C
    if isinstance(error, KeyboardInterrupt) or (isinstance(error, SystemExit) and interrupted):
        return "Ctrl-C"
    if isinstance(error, SystemExit):
        names: dict[object, str] = {128 + number: number.name for number in ENDING_SIGNALS}
        return names.get(error.code, str(error))
    return resource_message(error) or f"{type(error).__name__}: {first_line(error)}"
