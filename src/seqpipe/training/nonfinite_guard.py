"""Skips, logs and saves updates that hold NaN or Inf, and stops the training after too many.

A loss or a gradient that is not finite never reaches the weights. Its origin is searched for with
the unchanged weights and the random state of that step.
"""

import logging
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seqpipe.data.base import SequenceBatch
from seqpipe.data.sampling import rank_and_world
from seqpipe.errors import TrainingError
from seqpipe.models.architecture import set_update
from seqpipe.nn.nested_state import Tree
from seqpipe.tasks.base import Task
from seqpipe.training.archives import UNREADABLE, read_archive, write_archive
from seqpipe.training.carried_state import Carried
from seqpipe.training.nonfinite_trace import (
    KeptBatch,
    Nonfinite,
    find_in_weights,
    find_nonfinite,
    restored_random_state,
)
from seqpipe.training.process_state import gather, random_state

log = logging.getLogger(__name__)

FILES = 20  # kept per run and process: each holds the weights
HELP = "a lower optim.lr, trainer.gradient_clip_val (1.0 is usual) or trainer.precision=32 may help"
MORE = f"{HELP}; trainer.detect_anomaly=true names the operation"
KIND = "bad step"
PARTS = {"update", "text", "batch", "random", "lanes", "model"}
Context = Callable[[], AbstractContextManager[Any]]


class BadSteps:
    """Checks the updates of a training and skips those that are not finite.

    Args:
        model: the model in training.
        task: its task.
        limit: number of skipped updates after which the next one ends the training.

    Attributes:
        count: number of skipped updates so far.
        with_weights: makes a context in which the model has the weights of the present update.
    """

    def __init__(self, model: nn.Module, task: Task, limit: int) -> None:
        self.model, self.task, self.limit = model, task, limit
        self.count = self._files = 0
        self.with_weights: Context = nullcontext
        self._parts: tuple[nn.Module, ...] = ()
        self._kept: list[KeptBatch] = []  # the batches of the present update
        self._losses: list[Tensor] = []
        self._buffers: list[tuple[Tensor, Tensor]] = []

    def parts(self) -> tuple[nn.Module, ...]:
        """Return all modules of the model, found once for the updates between two checks."""
        self._parts = self._parts or tuple(self.model.modules())
        return self._parts

    def keep_batch(self, batch: SequenceBatch, carried: Carried, device: torch.device) -> None:
        """Keep what a step starts from. Call it before anything draws random numbers."""
        if not self._kept:
            held = [buffer for part in self.parts() for buffer in part._buffers.values()]
            self._buffers = [(one, one.clone()) for one in held if one is not None]
        self._kept.append(KeptBatch(batch, random_state(device), carried.lanes))

    def mark_loss(self, loss: Tensor) -> Tensor:
        """Return the loss, with a gradient that is not finite if the loss is not.

        All processes then see it after they have summed their gradients. With `detect_anomaly` the
        loss is returned unchanged, so that torch names the operation of the user.
        """
        self._losses.append(loss.detach())
        if torch.is_anomaly_enabled():
            return loss
        return loss * torch.where(torch.isfinite(loss), 1.0, torch.nan)

    def forget_update(self) -> None:
        """Forget what the update started from: it was finite."""
        self._kept, self._losses, self._buffers = [], [], []

    def has_bad_loss(self) -> bool:
        """Return True if a loss of this update is not finite, in any process.

        With a gradient scaler the loss decides, because scaled gradients overflow by design.
        """
        bad = any(not bool(loss.isfinite()) for loss in self._losses)
        return any(gather(bad))

    def check_weights(self, update: int) -> None:
        """Check the weights after the last update.

        Raises:
            TrainingError: the weights are not finite.
        """
        self._parts = ()
        found = find_in_weights(self.model)
        if found is not None:
            raise TrainingError(f"after update {update} {found}; {MORE}")

    def skip(self, update: int, carried: Carried, folder: Path, context: Context) -> None:
        """Restore the state before the update, log why, keep the batch. All processes call it.

        Args:
            update: its number, from 1.
            carried: gets the state from before the update.
            folder: of the run.
            context: precision of the training.

        Raises:
            TrainingError: more updates than the limit were skipped, or the weights are not finite.
        """
        self.count += 1
        with torch.no_grad():
            for held, before in self._buffers:
                held.copy_(before)
        carried.lanes = self._kept[0].lanes
        mine = self._find(context)
        found = gather(None if mine is None else str(mine))
        if all(text is None for text in found):
            ids = [int(i) for kept in self._kept for i in kept.batch.index]
            mine = Nonfinite("it is finite if the batch is run again", ids, again=False)
            found = gather(str(mine))
        here, _ = rank_and_world()
        where = next(text for text in found if text is not None)
        if mine is not None and (mine.again or here == 0):
            kept = self._save(folder, update, here, mine)
            log.warning("update %d is skipped, %d so far: %s%s", update, self.count, mine, kept)
        fatal = any(gather(mine is not None and mine.fatal))
        self.forget_update()
        if fatal:
            raise TrainingError(f"update {update} is not possible: {where}; {MORE}")
        if self.count > self.limit:
            text = f"update {update} is not finite and trainer.max_bad_steps={self.limit}"
            raise TrainingError(f"{text}: {where}; {MORE}")

    def _find(self, context: Context) -> Nonfinite | None:
        self._found_in = self._kept[0]
        for kept in self._kept:
            random = restored_random_state(kept, kept.batch.index.device)
            with random, context(), self.with_weights():
                found = find_nonfinite(self.model, self.task, kept)
            if found is not None:
                self._found_in = kept
                return found
        return None

    def _save(self, folder: Path, update: int, rank: int, found: Nonfinite) -> str:
        """Write what a replay needs. Returns the end of the message."""
        if self._files == FILES:
            return f"; not kept, as {FILES} are"
        self._files += 1
        kept = self._found_in
        batch = {f.name: getattr(kept.batch, f.name) for f in fields(kept.batch)}
        with self.with_weights():
            weights = _plain(dict(self.model.state_dict()))
        saved = {
            "seqpipe": KIND,
            "update": update,
            "text": str(found),
            "batch": _plain(batch),
            "random": _plain(kept.random),
            "lanes": _plain(kept.lanes),
            "model": weights,
        }
        name = f"bad_steps/step_{update}_rank{rank}.pt"
        try:
            write_archive(folder / name, saved)
        except OSError as error:  # a full disk must not end a training that survives the step
            return f"; not kept ({error.strerror})"
        return f"; kept in {name}"


def run_backward(backward: Callable[[], None], loss: Tensor, update: int) -> None:
    """Run the backward pass with `trainer.detect_anomaly`.

    Raises:
        TrainingError: an operation made a NaN (the message names it and its line), or the loss is
            not finite.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            backward()
        except RuntimeError as error:
            if "returned nan values" not in str(error):
                raise
            reason = f"{str(error).rstrip('.')}{_line_of(caught)}"
            raise TrainingError(f"update {update}: {reason}; {HELP}") from None
    for one in caught:
        warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
    if not bool(loss.isfinite()):
        text = f"update {update}: the loss is {loss.item()}, but no operation made a nan"
        raise TrainingError(f"{text}; {HELP}")


def _line_of(caught: list[warnings.WarningMessage]) -> str:
    """Return the line of the forward pass in a warning of torch: the last outside torch itself."""
    lines = [line.strip() for one in caught for line in str(one.message).splitlines()]
    torchs = f'File "{Path(torch.__file__).parent}'
    places = [
        n
        for n, line in enumerate(lines)
        if line.startswith("File ") and not line.startswith(torchs)
    ]
    if not places:
        return ""
    return ", in " + ": ".join(lines[places[-1] : places[-1] + 2]).removeprefix("File ")


def _plain(tree: Tree) -> Any:
    """Copy tensors to the CPU, in plain containers, each with memory of its own."""
    if isinstance(tree, dict):
        return {name: _plain(part) for name, part in tree.items()}
    if isinstance(tree, (list, tuple)):
        return tuple(_plain(part) for part in tree)
    return tree.detach().cpu().clone() if isinstance(tree, Tensor) else tree


def read_kept_batch(path: Path) -> dict[str, Any]:
    """Read a kept batch: plain values and tensors only; the file cannot run code.

    Raises:
        ValueError: seqpipe did not write it.
    """
    try:
        saved: Any = read_archive(path)
    except UNREADABLE:
        raise ValueError("not a readable file of torch") from None
    if not isinstance(saved, dict) or saved.get("seqpipe") != KIND or not saved.keys() >= PARTS:
        raise ValueError("not a batch that seqpipe kept")
    if type(saved["update"]) is not int or not isinstance(saved["text"], str):
        raise ValueError("not a batch that seqpipe kept")
    return saved


def repeat_kept_batch(
    model: nn.Module, task: Task, saved: dict[str, Any], device: torch.device
) -> Nonfinite | None:
    """Run a kept batch again; return the first non-finite tensor, None if all are finite.

    Args:
        model: on `device`, with the weights of that step.
        task: of the training.
        saved: as `read` returns it.
        device: to run it on.
    """
    lanes = Carried()
    lanes.load_state_dict(saved["lanes"], device)
    kept = KeptBatch(SequenceBatch(**saved["batch"]).to(device), saved["random"], lanes.lanes)
    set_update(model, saved["update"] - 1)
    with restored_random_state(kept, device):
        return find_nonfinite(model, task, kept)
