"""Findings of the gradient probe: figures, tables and sentences about its snapshots."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from seqpipe.diagnostics.cell_stats import CellStats
from seqpipe.diagnostics.gradients import ThroughTime
from seqpipe.diagnostics.snapshot import Snapshot
from seqpipe.report.cells import draw_cells
from seqpipe.report.findings import Finding
from seqpipe.report.gradients import draw_over_training, draw_profiles

INSIDE = "Inside the cell"


def probe_findings(folder: Path, snapshots: Sequence[Snapshot], title: str) -> tuple[Finding, ...]:
    """Writes gradients.parquet, cells.parquet and the figures, and describes them.

    Args:
        folder: the run's folder.
        snapshots: one or more, in the order of the training.
        title: of the figures.
    """
    first, last = snapshots[0], snapshots[-1]
    write_parquet(folder / "gradients.parquet", gradient_columns(snapshots))
    write_parquet(folder / "cells.parquet", cell_columns(snapshots))
    profiles = draw_profiles(folder, first.profiles(), last.profiles(), title)
    over_training = None
    if len(snapshots) > 1:
        drawn = [(one.step, one.profiles()) for one in snapshots]
        over_training = draw_over_training(folder, drawn, title).name
    before, after = ({str(cell.layer): cell.spread for cell in one.cells} for one in (first, last))
    cells = draw_cells(folder, after if first is last else before, after, title)
    through_time = (
        f"**{last.overall().words()}** (after {last.step:,} updates). The line"
        " is the norm of the derivative of the loss with respect to h_t, averaged over the measured"
        " sequences: it shows how much a step at that distance from the loss still contributes."
    )
    change = f"After {first.step:,} updates: {first.overall().words()}."
    if first is last:
        change = f"One measurement was made, after {last.step:,} updates: {last.overall().words()}."
    else:
        change += f" After {last.step:,}: {last.overall().words()}."
    inside, rows = _about_cells(last.cells), cell_rows(last.cells)
    return (
        Finding("Through time", through_time, profiles.name, decay_rows(last), "Gradients"),
        Finding("Over the training", change, over_training, (), "Gradients"),
        Finding("Gates and states", inside, cells.name, rows, INSIDE),
    )


def decay_rows(snapshot: Snapshot) -> list[dict[str, object]]:
    """A row for each layer: verdict, half-life, memory horizon, factor a step, peak."""
    return [
        {
            "layer": str(layer),
            "verdict": decay.verdict,
            "half-life, steps": f"{'over ' * decay.without_end}{decay.half_life:.3g}",
            "memory horizon, steps": f"{decay.horizon} of {decay.distances}",
            "factor per step": f"{decay.decay:.3g}",
            "peak": f"{decay.peak:.3g}",
        }
        for layer, decay in snapshot.decays().items()
    ]


def cell_rows(cells: Sequence[CellStats]) -> list[dict[str, object]]:
    """A row for each layer: share of saturated gates, memory time, spectral radius."""
    rows = []
    for cell in cells:
        row: dict[str, object] = {"layer": str(cell.layer)}
        row |= {f"{gate} saturated": f"{share:.1%}" for gate, share in cell.saturated.items()}
        if cell.memory is not None:
            row["memory, steps"] = cell.memory
        if cell.radius is not None:
            row["spectral radius"] = cell.radius
        rows.append(row)
    return rows


def _about_cells(cells: Sequence[CellStats]) -> str:
    saturated = {
        f"{gate} of {cell.layer}": share for cell in cells for gate, share in cell.saturated.items()
    }
    sentences = []
    if saturated:
        gate = max(saturated, key=lambda name: saturated[name])
        sentences.append(f"The most saturated gate is {gate}: {saturated[gate]:.1%} of its values.")
    if radii := [cell.radius for cell in cells if cell.radius is not None]:
        text = f"The largest spectral radius of a recurrent matrix is {max(radii):.3g}."
        sentences.append(text)
    if memory := [cell.memory for cell in cells if cell.memory is not None]:
        steps = "a million or more" if max(memory) >= 1e5 else f"{max(memory):.3g}"
        sentences.append(
            f"In the layer with the longest memory, the median unit keeps its content for {steps}"
            " steps."
        )
    return " ".join(sentences)


def write_parquet(path: Path, columns: Mapping[str, Any]) -> Path:
    """Writes columns of one length as a parquet file."""
    parquet.write_table(pa.table(dict(columns)), path, compression="zstd")
    return path


def gradient_columns(snapshots: Sequence[Snapshot]) -> dict[str, Any]:
    """A row for each norm: step, stack, layer, direction, loss, example, time_step, distance, norm.

    `example` counts those of the training split.
    """
    parts = [_rows(each.step, one, each.examples) for each in snapshots for one in each.gradients]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _rows(step: int, one: ThroughTime, index: "np.ndarray[Any, Any]") -> dict[str, Any]:
    rows, distances = np.nonzero(one.real())
    backwards = one.layer.direction == "backwards"
    count = len(rows)
    return {
        "step": np.full(count, step),
        "stack": np.full(count, one.layer.stack, dtype=object),
        "layer": np.full(count, one.layer.layer),
        "direction": np.full(count, one.layer.direction, dtype=object),
        "loss": np.full(count, one.loss, dtype=object),
        "example": index[rows],
        "time_step": distances + 1 if backwards else one.lengths[rows] - distances,
        "distance": distances,
        "norm": one.norms[rows, distances],
    }


def cell_columns(snapshots: Sequence[Snapshot]) -> dict[str, Any]:
    """A row for each bin: step, stack, layer, direction, part, low, high, count."""
    rows = [
        (each.step, *cell.layer, part, float(low), float(high), int(count))
        for each in snapshots
        for cell in each.cells
        for part, spread in cell.spread.items()
        for low, high, count in zip(spread.edges[:-1], spread.edges[1:], spread.counts, strict=True)
    ]
    names = ("step", "stack", "layer", "direction", "part", "low", "high", "count")
    return {name: list(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}
