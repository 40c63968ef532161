"""Lightning with fewer calls in each update: what it asks of parts that have no answer is left out.

A small model updates in a few milliseconds, of which Lightning takes a tenth, most of it for hooks
that do nothing.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.profilers import PassThroughProfiler

from seqpipe.data.base import SequenceBatch

UPDATE_HOOKS = (
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
)
"""Hooks that are called in each update."""
PLAIN = frozenset({bool, float, int, list, str, type(None)})
"""Types of values that are no parameters, buffers or modules."""


class LeanModule(LightningModule):
    """A LightningModule that spares searches through its attributes and batches."""

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; torch looks for parameters in it unless it was and is a plain value."""
        if type(value) in PLAIN and name in self.__dict__:
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def transfer_batch_to_device(
        self, batch: SequenceBatch, device: torch.device, dataloader_idx: int
    ) -> SequenceBatch:
        """Return the batch on a device; itself if it is there."""
        if batch.index.device == device:
            return batch
        moved: SequenceBatch = super().transfer_batch_to_device(batch, device, dataloader_idx)
        return moved


class EmptyHooks(Callback):
    """Hides the hooks of an update that do nothing, of the module and of all callbacks.

    Lightning passes over a hook that cannot be called. They are back after the training, also
    where an exception ends it.
    """

    def __init__(self) -> None:
        self._hidden: list[tuple[Any, str]] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Hides the hooks, and spares the calls of a profiler that measures nothing."""
        untyped: Any = trainer
        parts: list[tuple[Any, type]] = [(one, Callback) for one in untyped.callbacks]
        for part, base in (*parts, (pl_module, LightningModule)):
            for hook in UPDATE_HOOKS:
                if hook not in vars(part) and getattr(type(part), hook) is getattr(base, hook):
                    setattr(part, hook, None)
                    self._hidden.append((part, hook))
        if type(untyped.profiler) is PassThroughProfiler:
            untyped.profiler = Unprofiled()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Brings the hooks back."""
        for part, hook in self._hidden:
            if vars(part).get(hook, hook) is None:  # unless somebody has set another one
                delattr(part, hook)
        self._hidden = []

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Brings the hooks back."""
        self.on_train_end(trainer, pl_module)


class Unprofiled(PassThroughProfiler):
    """Measures nothing, without the generator that Lightning makes for each call of a hook."""

    def profile(self, action_name: str) -> AbstractContextManager[None]:  # type: ignore[override]
        """Return a context that does nothing."""
        return nullcontext()
