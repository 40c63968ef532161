"""Search for the first tensor that is not finite: in a batch, a module, the loss or a gradient."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from seqpipe.data.base import SequenceBatch
from seqpipe.nn.nested_state import Tree
from seqpipe.tasks.base import Task
from seqpipe.training.carried_state import Carried, answer
from seqpipe.training.gradient_stats import group_of
from seqpipe.training.process_state import restore_random_state

Order = Literal["forwards", "backwards", "turned"]
"""From the first step; from the last; from the last, which is first in the tensor."""


def tensors_in(tree: Any) -> list[Tensor]:
    """Return the floating tensors in nested containers."""
    if isinstance(tree, Tensor):
        return [tree] if tree.is_floating_point() else []
    if isinstance(tree, dict):
        tree = list(tree.values())
    if isinstance(tree, (list, tuple)):
        return [tensor for part in tree for tensor in tensors_in(part)]
    return []


def bad_in(values: Tensor, batch: SequenceBatch, role: str | None = None) -> Tensor:
    """Return True where a number is not finite, outside the padding.

    Args:
        values: (B, ...), or (B, T, ...) where T is that of x or y.
        batch: the batch of the values.
        role: `x` or `y`, whose time axis they have; None: the one that fits.
    """
    bad = ~values.isfinite()
    if values.ndim < 3 or len(values) != len(batch):
        return bad
    real = torch.zeros(bad.shape[:2], dtype=torch.bool, device=bad.device)
    timed = False
    for name in ("x", "y") if role is None else (role,):
        padded, lengths = getattr(batch, name), getattr(batch, f"{name}_lengths")
        if lengths is not None and padded is not None and padded.shape[1] == values.shape[1]:
            steps = torch.arange(values.shape[1], device=bad.device)
            real |= steps < lengths.to(bad.device).unsqueeze(1)
            timed = True
    return bad & real.view(*real.shape, *[1] * (bad.ndim - 2)) if timed else bad


def is_bad(values: Tensor, batch: SequenceBatch) -> bool:
    """Return True if a number outside the padding is not finite."""
    return bool(bad_in(values, batch).any())


def rows_of(bad: Tensor) -> Tensor:
    """Return (B,), True where a row of (B, ...) has any True."""
    return bad.flatten(1).any(dim=1) if bad.ndim > 1 else bad


def first_step(
    bad: Tensor, values: Tensor, batch: SequenceBatch, calls: int = 0, order: Order = "forwards"
) -> int | None:
    """Return the time step that was computed first, from 1; None without a time axis.

    Args:
        bad: True where `values` are not finite.
        values: (B, T, ...), or (B, ...) of one step if the module is called for each step.
        batch: the batch of the values.
        calls: number of earlier calls of the module.
        order: of the steps, in time and in `values`.
    """
    if values.ndim >= 3 and len(values) != len(batch):
        return None
    if values.ndim < 3 or values.shape[1] == 1:
        if order == "forwards" or len(values) != len(batch):
            return calls + 1
        ends = _lengths(batch, None).to(bad.device)[rows_of(bad)]
        return max(1, int(ends.max()) - calls)
    lengths = [v.shape[1] for v in (batch.x, batch.y) if v is not None and v.ndim > 1]
    if values.shape[1] not in lengths:
        return None
    steps = torch.arange(values.shape[1], device=bad.device)
    wrong = bad.flatten(2).any(dim=2)
    ends = _lengths(batch, values.shape[1]).to(bad.device).unsqueeze(1)
    place = steps if order != "backwards" else ends - 1 - steps  # in order of computation
    place = torch.where(wrong, place, values.shape[1])
    row = int(place.min(dim=1).values.argmin())
    first = int(place[row].min())
    return 1 + first if order == "forwards" else int(ends[row]) - first


def _lengths(batch: SequenceBatch, steps: int | None) -> Tensor:
    """Return the lengths (B,) of the x or y with this number of steps; None: of x."""
    for padded, lengths in ((batch.x, batch.x_lengths), (batch.y, batch.y_lengths)):
        if padded is not None and padded.ndim > 1 and steps in (None, padded.shape[1]):
            return torch.full((len(padded),), padded.shape[1]) if lengths is None else lengths
    return torch.ones(len(batch), dtype=torch.long)


def locate(
    values: Tensor, batch: SequenceBatch, calls: int, order: Order = "forwards"
) -> tuple[str, int | None, Tensor]:
    """Return `nan` or `inf`, the first time step, and (B,) True for each example that has one."""
    bad = bad_in(values, batch)
    step, rows = first_step(bad, values, batch, calls, order), rows_of(bad)
    if len(rows) != len(batch):
        rows = torch.ones(len(batch), dtype=torch.bool)
    return nan_or_inf(values[bad]), step, rows.to(batch.index.device)


def nan_or_inf(values: Tensor) -> str:
    """Return `nan` if there is one, otherwise `inf`."""
    return "nan" if bool(values.isnan().any()) else "inf"


def at_step(step: int | None) -> str:
    """Return the end of a sentence; empty without a time step."""
    return "" if step is None else f" at time step {step}"


SHOWN = 8  # examples named in a message


@dataclass
class KeptBatch:
    """A batch, and the state that its step started from.

    Args:
        batch: as the model read it.
        random: random state by device: `cpu`, and `cuda` if it is used.
        lanes: the carried state, if any.
    """

    batch: SequenceBatch
    random: dict[str, Tensor]
    lanes: Tree = None


@dataclass
class Nonfinite:
    """The first tensor that is not finite.

    Args:
        text: a description, without the examples.
        examples: indices in the split; the whole batch if they cannot be distinguished.
        module: name of the module in the model; None if it is not in a module.
        time_step: the first one, from 1; None without a time axis.
        fatal: the weights themselves are not finite, so no batch can be finite.
        again: it was found when the step was repeated.
    """

    text: str
    examples: list[int] = field(default_factory=list)
    module: str | None = None
    time_step: int | None = None
    fatal: bool = False
    again: bool = True

    def __str__(self) -> str:
        if not self.examples:
            return self.text
        named = ", ".join(map(str, self.examples[:SHOWN]))
        more = len(self.examples) - SHOWN
        named += f" and {more} more" if more > 0 else ""
        return f"{self.text}; example{'s' * (len(self.examples) > 1)} {named} of train"


@contextlib.contextmanager
def restored_random_state(kept: KeptBatch, device: torch.device) -> Iterator[None]:
    """Use the random state of a kept batch within the block; afterwards, the present one."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        restore_random_state(kept.random, device)
        yield


def find_nonfinite(model: nn.Module, task: Task, kept: KeptBatch) -> Nonfinite | None:
    """Repeat a step and find the first tensor that is not finite; None if all are finite.

    Weights, their gradients and the metrics do not change. The caller restores the random state
    and enters the precision.
    """
    batch = kept.batch
    found = find_in_weights(model) or _find_in_batch(batch)
    if found is not None:
        return found
    watch, carried = _Watch(batch), Carried()
    carried.lanes = kept.lanes
    with torch.enable_grad(), watch.on(model):
        outputs = answer(model, batch, carried)
        found = watch.first()
        if found is not None:
            return found
        if not bool(outputs.isfinite().all()):
            kind, step, rows = locate(outputs, batch, 0)
            step = step if outputs.ndim > 2 else None
            text = f"{type(model).__name__} puts out {kind}{at_step(step)}"
            return Nonfinite(text, batch.index[rows].tolist(), time_step=step)
        loss = task.loss(outputs, batch, training=True)
        if not bool(loss.isfinite()):
            rows = _rows_of_loss(task, outputs.detach(), batch)
            text = f"the loss is {nan_or_inf(loss)} but the outputs of the model are finite"
            return Nonfinite(text, batch.index[rows].tolist())
        return _find_in_gradient(loss, model, watch, batch)


def find_in_weights(model: nn.Module) -> Nonfinite | None:
    """Name the parts whose weights are not finite; None if all are finite."""
    bad = dict.fromkeys(
        group_of(name) for name, p in model.named_parameters() if not bool(p.isfinite().all())
    )
    if not bad:
        return None
    return Nonfinite(f"the weights of {', '.join(bad)} are not finite", fatal=True)


def _find_in_batch(batch: SequenceBatch) -> Nonfinite | None:
    for role in ("x", "y"):
        values = getattr(batch, role)
        if values is None or not values.is_floating_point():
            continue
        bad = bad_in(values, batch, role)
        if bool(bad.any()):
            kind, rows = nan_or_inf(values[bad]), rows_of(bad)
            step = first_step(bad, values, batch) if values.ndim > 2 else None
            return Nonfinite(
                f"{role} holds {kind}{at_step(step)}", batch.index[rows].tolist(), None, step
            )
    return None


def _rows_of_loss(task: Task, outputs: Tensor, batch: SequenceBatch) -> Tensor:
    """Return (B,), True for each example whose own loss is not finite; all True if none is."""
    alone = []
    for row in range(len(batch)):
        loss = task.loss(outputs[row : row + 1], batch.row(row), training=True)
        alone.append(~loss.isfinite())
    rows = torch.stack(alone)
    return rows if bool(rows.any()) else torch.ones_like(rows)


def _find_in_gradient(
    loss: Tensor, model: nn.Module, watch: "_Watch", batch: SequenceBatch
) -> Nonfinite | None:
    """Check gradients with autograd.grad, which touches neither .grad nor other processes."""
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    gradients = torch.autograd.grad(loss, [p for _, p in named], allow_unused=True)
    bad = {
        name
        for (name, _), gradient in zip(named, gradients, strict=True)
        if gradient is not None and not bool(gradient.isfinite().all())
    }
    if not bad:
        return None
    groups = ", ".join(dict.fromkeys(group_of(name) for name, _ in named if name in bad))
    text = f"the gradient of {groups} is not finite but the loss is"
    module, rows = watch.source(bad)
    if module is not None:
        text += f", it arises in {module}"
    examples = batch.index if rows is None else batch.index[rows]
    return Nonfinite(text, examples.tolist(), module)


@dataclass
class _Call:
    """One call of a module in the backward pass."""

    module: str
    from_above: bool = False  # the gradient of its output is not finite
    passed_on: bool = False  # the gradient of its input is not finite
    rows: Tensor | None = None


@dataclass
class _Fault:
    """The first output that is not finite, from finite input."""

    module: str
    kind: str
    step: int | None  # of a module that is called at each step, or whose output has a time axis
    rows: Tensor
    timed: bool  # the output has a time axis


class _Watch:
    """Hooks on every module, to find the first that turns finite input into NaN or Inf."""

    def __init__(self, batch: SequenceBatch) -> None:
        self.batch = batch
        self._first: _Fault | None = None
        self.calls: list[_Call] = []  # in the order of return: parts before the whole
        self._count: dict[str, int] = {}
        self._reversed: list[str] = []  # layers that read from the end

    def first(self) -> Nonfinite | None:
        """Return the first fault; a module without a time axis, called once, has no time step."""
        fault = self._first
        if fault is None:
            return None
        step = fault.step if fault.timed or self._count[fault.module] > 0 else None
        text = f"{fault.module} puts out {fault.kind}{at_step(step)} from finite input"
        return Nonfinite(text, self.batch.index[fault.rows].tolist(), fault.module, step)

    @contextlib.contextmanager
    def on(self, model: nn.Module) -> Iterator[None]:
        """Attach the hooks within the block."""
        hooks = []
        for name, module in model.named_modules():
            shown = name or type(model).__name__
            if getattr(module, "reverse", False):
                self._reversed.append(shown)

            def after(
                module: nn.Module, args: Any, named: Any, output: Any, name: str = shown
            ) -> None:
                self._see(name, [*tensors_in(args), *tensors_in(named)], tensors_in(output))

            hooks.append(module.register_forward_hook(after, with_kwargs=True))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _see(self, name: str, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
        calls = self._count[name] = self._count.get(name, -1) + 1
        if self._first is None and not any(is_bad(part, self.batch) for part in inputs):
            for part in outputs:
                if is_bad(part, self.batch):
                    timed = part.ndim > 2
                    found = locate(part, self.batch, calls, self._order(name))
                    self._first = _Fault(name, *found, timed)
                    break
        call = _Call(name)
        self.calls.append(call)
        for part in outputs:
            if part.requires_grad:
                part.register_hook(lambda gradient: _note(call, gradient, above=True))
        for part in inputs:
            if part.requires_grad:
                part.register_hook(lambda gradient: _note(call, gradient, above=False))

    def _order(self, name: str) -> Order:
        """The order of the steps; inside a reversed layer tensors are reversed too."""
        if name in self._reversed:
            return "backwards"
        inside = any(name.startswith(f"{layer}.") for layer in self._reversed)
        return "turned" if inside else "forwards"

    def source(self, bad: set[str]) -> tuple[str | None, Tensor | None]:
        """Return the module nearest the loss whose backward pass is not finite, and rows.

        Args:
            bad: parameters with a gradient that is not finite.
        """
        owners = {name.rpartition(".")[0] for name in bad}
        wrong = [
            call
            for call in self.calls
            if not call.from_above and (call.passed_on or call.module in owners)
        ]
        names = {call.module for call in wrong}
        for call in reversed(wrong):
            if not any(name.startswith(f"{call.module}.") for name in names):
                rows = call.rows
                fits = rows is not None and len(rows) == len(self.batch) and bool(rows.any())
                return call.module, rows if fits else None
        return None, None


def _note(call: _Call, gradient: Tensor, *, above: bool) -> None:
    bad = ~gradient.isfinite()
    if not bool(bad.any()):
        return
    if above:
        call.from_above = True
    else:
        call.passed_on = True
        call.rows = rows_of(bad) if bad.ndim > 1 else None
