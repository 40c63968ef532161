"""Requests for a checkpoint within an epoch: by the clock, by updates, and by a signal."""

import contextlib
import os
import re
import signal
import time
from types import FrameType
from typing import NamedTuple

import torch
from pytorch_lightning import Trainer

from seqpipe.bounds import TIME_UNITS, CheckpointEvery
from seqpipe.processes import rank
from seqpipe.signals import interruptible_signals, raise_signal, signal_handlers

_ONCE = 0.2  # seconds; `timeout` sends each signal twice, to the process and to its group


class Request(NamedTuple):
    """The request of all processes together after an update.

    Args:
        save: write a checkpoint.
        signal: number of the signal that ends the training then; 0: it continues.
    """

    save: bool
    signal: int


class SaveRequests:
    """Says after each update whether to save, and whether to end then because of a signal.

    The clock is that of the first process; a signal may come to any. All processes get the same
    answer, since they ask together.

    A signal ends the training after the update and its checkpoint; the same or another signal
    after it ends the process at once.

    Args:
        every: see `trainer.checkpoint_every`; None: at the ends of epochs only.
    """

    def __init__(self, every: CheckpointEvery = None) -> None:
        found = re.fullmatch(r"(\d+)([a-z]+)", every) if isinstance(every, str) else None
        self.seconds = None if found is None else int(found[1]) * TIME_UNITS[found[2]]
        self.updates = every if isinstance(every, int) else None
        self._saved_at, self._saved_step = 0.0, 0
        self._signal, self._came_at = 0, 0.0
        self._handlers = contextlib.ExitStack()

    def start(self, step: int) -> None:
        """Waits for signals from here on, and counts from this number of updates."""
        self._signal, self._came_at = 0, 0.0
        self.note_saved(step)
        handlers = dict.fromkeys(interruptible_signals(), self._receive)
        self._handlers.enter_context(signal_handlers(handlers))

    def stop(self) -> None:
        """Lets signals end the process at once again."""
        self._handlers.close()

    def end(self) -> None:
        """Ends the training if a signal came, as the signal itself would have.

        Raises:
            KeyboardInterrupt: it was SIGINT.
            Terminated: it was another.
        """
        number, self._signal = self._signal, 0
        if number:
            self.stop()
            raise_signal(number)

    def note_saved(self, step: int) -> None:
        """Counts from the checkpoint that was just written, at this number of updates."""
        self._saved_at, self._saved_step = time.monotonic(), step

    def after_update(self, trainer: Trainer) -> Request:
        """Answer for the update that was just made. All processes must call it."""
        asked = 2 * self._signal + (trainer.is_global_zero and self._is_due(trainer.global_step))
        if trainer.world_size > 1:
            device = trainer.strategy.root_device
            most = trainer.strategy.reduce(torch.tensor(asked, device=device), reduce_op="max")
            asked = int(most)
            self._signal = asked // 2 or self._signal  # one that came meanwhile waits for the next
        return Request(asked > 0, asked // 2)

    def _is_due(self, step: int) -> bool:
        if self.updates is not None:
            return step - self._saved_step >= self.updates
        return self.seconds is not None and time.monotonic() - self._saved_at >= self.seconds

    def _receive(self, number: int, frame: FrameType | None) -> None:
        """Handles a signal: the first one waits for the update, another one does not."""
        now = time.monotonic()
        if not self._signal:
            self._signal, self._came_at = number, now
            if rank() == 0:
                _announce(number)
        elif now - self._came_at >= _ONCE:
            self.end()


def _announce(number: int) -> None:
    name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
    text = f"seqpipe: {name}: ends after this update and its checkpoint; once more ends at once"
    with contextlib.suppress(OSError):  # not print, which may be what the signal interrupts
        os.write(2, f"{text}\n".encode())
