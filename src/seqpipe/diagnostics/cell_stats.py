"""Statistics of a cell: saturation of its gates, memory time, values of h_t and c_t."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from seqpipe.diagnostics.stepwise import LayerName, Recorded
from seqpipe.nn.cells import Cell
from seqpipe.nn.masks import length_mask
from seqpipe.nn.precision import widest
from seqpipe.report.cells import Spread

SHUT, OPEN = 0.05, 0.95  # a gate beyond them hardly learns: its slope is under 0.05
BINS = 40
NARROWEST, LARGEST = 1e-9, 1e150  # width of all bins, in values; and a value
MOST_BINNED = 50_000  # values of a histogram; of more, evenly spread ones are counted
LONGEST_MEMORY = 1e6  # steps; a unit that keeps everything has no finite memory time


@dataclass(frozen=True)
class CellStats:
    """Statistics of one layer, over all real steps of some sequences and all units.

    Args:
        layer: its name.
        saturated: share of gate values under 0.05 or over 0.95, by gate; empty without gates.
        memory: steps after which the content of the memory has shrunk to 1/e, if its gate stays as
            open as it is on average: the median over units of -1 / ln(share kept). None without
            gates.
        radius: spectral radius of the recurrent matrix of the new content; None for a cell whose
            `weight_hidden` holds no square matrix for each gate.
        spread: values of each gate and each part of the state.

    Source: for the memory, Tallec & Ollivier (2018), section 2: 1 / (1 - f) is its first order.
    """

    layer: LayerName
    saturated: dict[str, float]
    memory: float | None
    radius: float | None
    spread: dict[str, Spread]

    def scalars(self) -> dict[str, float]:
        """The numbers to record as metrics."""
        numbers = {f"{gate}_saturated": share for gate, share in self.saturated.items()}
        if self.memory is not None:
            numbers["memory"] = self.memory
        if self.radius is not None:
            numbers["spectral_radius"] = self.radius
        return numbers


@torch.no_grad()
def stats_of(recorded: Recorded) -> CellStats:
    """The statistics of a layer after a forward pass."""
    cell, loop = recorded.cell, recorded.loop
    T = len(loop.states)
    mask = length_mask(recorded.lengths(), T)
    states = [torch.stack(part, dim=1) for part in zip(*loop.states, strict=True)]  # (B, T, H)
    before = [
        torch.cat([first.unsqueeze(1), after[:, :-1]], dim=1)[mask]
        for first, after in zip(loop.before, states, strict=True)
    ]
    gates = cell.gates(loop.projected[mask], tuple(before))  # (N, H) over the N real steps
    spread = {
        name: histogram(values, (0.0, 1.0), cell.gate_titles.get(name, name))
        for name, values in gates.items()
    }
    for name, part in zip(cell.state_names, states, strict=True):
        spread[name] = histogram(part[mask], title=f"{name}_t")
    return CellStats(
        recorded.name,
        {name: _saturated(values) for name, values in gates.items()},
        _memory(cell.kept(gates)),
        spectral_radius(cell),
        spread,
    )


def histogram(values: Tensor, bounds: tuple[float, float] | None = None, title: str = "") -> Spread:
    """The histogram of the finite values; of many, about 50,000 evenly spread ones are counted.

    Args:
        values: any shape.
        bounds: of the bins; None: the smallest and the largest value.
        title: see `Spread`.
    """
    stride = max(1, values.numel() // MOST_BINNED) | 1  # odd: the units come in even numbers
    numbers = values.flatten()[::stride].cpu().double().numpy()
    numbers = np.clip(numbers[np.isfinite(numbers)], -LARGEST, LARGEST)
    if bounds is None and len(numbers):
        low, high = float(numbers.min()), float(numbers.max())
        least = NARROWEST * max(1.0, abs(low), abs(high))  # narrower, bins would have no width
        room = max(0.0, least - (high - low)) / 2
        bounds = low - room, high + room
    counts, edges = np.histogram(numbers, bins=BINS, range=bounds)
    return Spread(counts.astype(np.int64), edges, title)


def spectral_radius(cell: Cell) -> float | None:
    """Largest absolute eigenvalue of the rows of `weight_hidden` that make the new content.

    Under 1, the state of a plain RNN shrinks from step to step; over 1 it can grow.

    Source: Pascanu et al. (2013), section 2.1.
    """
    H, names = cell.hidden_size, cell.gate_names
    weights = getattr(cell, "weight_hidden", None)
    if not isinstance(weights, Tensor) or weights.shape != (len(names) * H, H):
        return None  # a cell of the user's
    rows = weights.cpu().double().split(H)
    chosen = names.index(cell.candidate or names[-1])
    if not torch.isfinite(rows[chosen]).all():
        return float("nan")
    return float(torch.linalg.eigvals(rows[chosen]).abs().max())


def _saturated(values: Tensor) -> float:
    return float(((values < SHUT) | (values > OPEN)).to(widest(values.device)).mean())


def _memory(kept: Tensor | None) -> float | None:
    """Memory time in steps, the median over units. kept: (N, H), share kept by each step."""
    if kept is None:
        return None
    share = kept.to(widest(kept.device)).mean(dim=0).clamp(min=1e-12, max=1 - 1 / LONGEST_MEMORY)
    return float((-1.0 / share.log()).median())
