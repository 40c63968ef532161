"""Comparison of a graph with the network it was written from, on random sequences.

Padding is filled with NaN, or with an id that no symbol has: it must not change an answer. The
network answers in float64; a graph may differ by `TOLERANCE`, absolute and relative, or `STRAYING`
times as much as the network's own float32 does: some networks multiply the rounding of every step.
"""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from seqpipe.data.base import FieldSpec, SequenceBatch, SequenceSpec
from seqpipe.errors import ConfigError
from seqpipe.models.architecture import Architecture
from seqpipe.nn.masks import length_mask
from seqpipe.nn.recurrent import recurrent_stacks
from seqpipe.tasks.base import Task

TOLERANCE = 1e-5
STRAYING = 10.0
"""The allowed multiple of the network's own rounding in float32."""
BATCHES = ((1, 1), (1, 2), (1, 200), (3, 1), (3, 200), (64, 1), (64, 200))
"""(sequences, steps of the longest)."""
MOST_NUMBERS = 32_000_000
"""Numbers that a batch of several sequences may become; a wide network gets fewer steps."""
NO_ID = 2**40

Arrays = dict[str, "np.ndarray[Any, Any]"]


@dataclass(frozen=True)
class Case:
    """One batch.

    Args:
        inputs: by name, 0 at padding.
        real: (B, T), true at real steps; None where nothing has time.
    """

    inputs: dict[str, Tensor]
    real: Tensor | None

    def fed(self) -> Arrays:
        """The inputs of a session, with poisoned padding."""
        fed = {}
        for name, value in self.inputs.items():
            if name in ("x", "y_before") and self.real is not None and value.ndim >= 2:
                poison = torch.nan if value.is_floating_point() else NO_ID
                padding = ~self.real.view(*self.real.shape, *[1] * (value.ndim - 2))
                value = value.masked_fill(padding, poison) if _timed(value, self.real) else value
            fed[name] = value.numpy()
        return fed


class Differs(NamedTuple):
    """Largest distances of numbers from those of the network in float64.

    Each over the largest number of its step, where that is above 1.

    Args:
        graph: those of the graph.
        network: those of the network in float32.
    """

    graph: float
    network: float


def check(session: Any, network: Architecture, task: Task, spec: SequenceSpec) -> Differs:
    """Runs a session of onnxruntime and the network on the same batches.

    Raises:
        ConfigError: an answer differs; names the output and the size of the batch.
    """
    exact = copy.deepcopy(network).cpu().double().eval()
    rough = copy.deepcopy(network).cpu().float().eval()
    names = [output.name for output in session.get_outputs()]
    largest = Differs(0.0, 0.0)
    for case in cases(session, network, task, spec):
        found = dict(zip(names, session.run(names, case.fed()), strict=True))
        with torch.inference_mode():
            want = _answers(exact, task, spec, case, torch.float64)
            near = _answers(rough, task, spec, case, torch.float32)
        found, want, near = (
            task.onnx_comparable(outputs, want, case.real) for outputs in (found, want, near)
        )
        for name in names:
            differs = _compared(name, found[name], want[name], near[name], case)
            largest = Differs(*map(max, zip(largest, differs, strict=True)))
    return largest


def cases(session: Any, network: Architecture, task: Task, spec: SequenceSpec) -> Iterator[Case]:
    """The batches of `BATCHES` for the inputs of a session, ragged, the same each time."""
    generator = torch.Generator().manual_seed(0)
    shapes = {value.name: value.shape for value in session.get_inputs()}
    for rows, longest in BATCHES:
        if "lengths" not in shapes:
            yield Case(_inputs(shapes, spec, rows, None, generator), None)
            continue
        longest = min(longest, network.longest_x or longest)
        most = MOST_NUMBERS // (rows * _numbers_per_step(network, task)) if rows > 1 else longest
        steps = max(1, min(longest, most))
        lengths = torch.randint(1, steps + 1, (rows,), generator=generator)
        lengths[-1] = steps
        real = length_mask(lengths, steps)
        inputs = _inputs(shapes, spec, rows, steps, generator)
        for name in ("x", "y_before"):
            if name in inputs and _timed(inputs[name], real):
                padding = ~real.view(rows, steps, *[1] * (inputs[name].ndim - 2))
                inputs[name] = inputs[name].masked_fill(padding, 0)
        yield Case({**inputs, "lengths": lengths}, real)


def _numbers_per_step(network: nn.Module, task: Task) -> int:
    """Numbers that a step becomes at its widest: the gates of a layer, or the answer."""
    gates = [4 * stack.output_size for stack in recurrent_stacks(network)]
    return max(task.numbers_per_step, *gates)


def _timed(value: Tensor, real: Tensor) -> bool:
    return value.shape[:2] == real.shape


def _inputs(
    shapes: Mapping[str, Any],
    spec: SequenceSpec,
    rows: int,
    steps: int | None,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """Random inputs; where there is a state, some sequences start and others continue from it."""
    inputs: dict[str, Tensor] = {}
    for name, shape in shapes.items():
        if name in ("x", "y_before"):
            field = spec.x if name == "x" else spec.y
            assert field is not None
            timed = steps is not None and (name == "y_before" or field.has_time)
            inputs[name] = _drawn(field, (rows, steps or 1) if timed else (rows,), generator)
        elif name == "fresh":
            inputs[name] = torch.randint(0, 2, (rows,), generator=generator).bool()
        elif name != "lengths":
            depth, _, width = shape
            inputs[name] = torch.rand(depth, rows, width, generator=generator) - 0.5
    return inputs


def _drawn(field: FieldSpec, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Random numbers or ids of a field, for each row or each step."""
    if field.holds_floats:
        return torch.randn(*shape, field.size, generator=generator)
    if field.is_roll:
        return torch.randint(0, 2, (*shape, field.size), generator=generator).float()
    ids = torch.randint(0, field.size, shape, generator=generator)
    if not field.is_spelled:
        return ids
    assert field.characters is not None
    longest = 12
    letters = torch.randint(1, field.characters, (*shape, longest), generator=generator)
    count = torch.randint(0, longest + 1, (*shape, 1), generator=generator)
    letters = letters.where(torch.arange(longest) < count, 0)
    return torch.cat([ids.unsqueeze(-1), letters], dim=-1)


def _answers(
    network: Architecture, task: Task, spec: SequenceSpec, case: Case, dtype: torch.dtype
) -> dict[str, Tensor]:
    """The same outputs, of the network."""
    inputs = {
        name: value.to(dtype) if value.is_floating_point() else value
        for name, value in case.inputs.items()
    }
    outputs, answers = network.onnx_answers(inputs)
    lengths = inputs.get("lengths") if spec.y.has_time else None
    index = torch.arange(len(outputs))
    batch = SequenceBatch(inputs.get("x"), inputs.get("lengths"), index, lengths, index)
    return {**task.onnx_answers(network, outputs, batch), **answers}


def _compared(name: str, found: Any, want: Tensor, near: Tensor, case: Case) -> Differs:
    """The largest differences of one output."""
    values = torch.from_numpy(np.asarray(found)).double()
    size = want.abs().amax(dim=-1, keepdim=True).clamp(min=1.0)  # of the other numbers beside it
    wrong, stray = (values - want).abs() / size, (near.double() - want).abs() / size
    if case.real is not None and _timed(want, case.real):
        wrong, stray = wrong[case.real], stray[case.real]
    # Where the network itself gives infinity or NaN, there is nothing to compare with.
    known = stray.isfinite()
    wrong, stray = wrong[known], stray[known]
    if wrong.numel() == 0:
        return Differs(0.0, 0.0)
    worst = float(wrong.nan_to_num(nan=torch.inf).max())
    strays = float(stray.max())
    allowed = max(TOLERANCE, STRAYING * strays)
    if worst > allowed:
        rows = len(case.inputs["x" if "x" in case.inputs else "y_before"])
        steps = "" if case.real is None else f" of up to {case.real.shape[1]} steps"
        raise ConfigError(
            f"format=onnx: output {name!r} of {rows} sequence(s){steps} differs from the model by"
            f" {worst:.3g}, more than {allowed:.3g}; nothing was written; allowed:"
            " format=safetensors"
        )
    return Differs(worst, strays)
