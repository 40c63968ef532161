"""What is seen inside a model while it is trained: measured, drawn, kept, and put in words."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from omegaconf import DictConfig
from pyarrow import parquet
from torch import nn

from seqpipe.data.dataset import SequenceData
from seqpipe.data.sampling import evenly_spread
from seqpipe.diagnostics.cell_stats import InsideCell
from seqpipe.diagnostics.decay import overall
from seqpipe.diagnostics.free_running import RunsFree
from seqpipe.diagnostics.gradients import ThroughTime
from seqpipe.diagnostics.probe import Look, Probe
from seqpipe.diagnostics.settings import Settings
from seqpipe.errors import ConfigError
from seqpipe.nn.recurrent import RecurrentLayer
from seqpipe.report.cells import Spread, draw_cells
from seqpipe.report.findings import Finding
from seqpipe.report.gradients import ThroughTimePicture, draw_over_training, draw_profiles
from seqpipe.targets import instantiate
from seqpipe.tasks.base import Task
from seqpipe.tracking.base import Tracker

INSIDE = "Inside the cell"


def make_probe(cfg: DictConfig, task: Task, data: SequenceData, tracker: Tracker) -> Probe | None:
    """What looks into the model, on some training examples; None where nothing is to be seen.

    Of texts in lanes, the examples are pieces of `data.bptt` steps, each from a fresh state.
    """
    settings: Settings = instantiate(cfg.diagnostics)
    chosen = evenly_spread(settings.examples, len(data.columns("train")))
    if not chosen:
        return None
    slides = _Slides()

    def show(look: Look) -> None:
        tracker.log_image("gradient_through_time", lambda: slides.draw(look), look.step)

    return Probe(task, data.batch("train", chosen), settings, record=tracker.log_metrics, show=show)


def check(overrides: Sequence[str], model: nn.Module) -> None:
    """Refuses what was typed of `diagnostics` and finds nothing in this model to look at.

    Raises:
        ConfigError: with each of them.
    """
    recurrent = any(isinstance(part, RecurrentLayer) for part in model.modules())
    needs = dict.fromkeys(("diagnostics.every", "diagnostics.examples"), recurrent)
    needs["diagnostics.free_running"] = isinstance(model, RunsFree)
    problems = []
    for override in overrides:
        key, _, value = override.lstrip("+").partition("=")
        if needs.get(key, True) or value in ("0", "null"):
            continue
        lacks = "writes no y" if key.endswith("free_running") else "has no recurrent layer"
        text = f"{type(model).__name__} {lacks}, so there is nothing to look at"
        problems.append(f"{override}: {text}; allowed: leave it out")
    if problems:
        raise ConfigError(problems)


class _Slides:
    """A picture of each look; what all have alike is drawn at the first."""

    def __init__(self) -> None:
        self._picture: ThroughTimePicture | None = None

    def draw(self, look: Look) -> "np.ndarray[Any, Any]":
        profiles = look.profiles()
        if self._picture is None:
            longest = max(len(norms) for norms in profiles.values())
            self._picture = ThroughTimePicture([*profiles], longest)
        told = overall([*look.decays().values()]).words()
        return self._picture.draw(profiles, f"step {look.step:,}: {told}")


def write(folder: Path, probe: Probe | None, title: str) -> tuple[Finding, ...]:
    """Draws and keeps what was seen, in the run's folder. Returns what to tell of it."""
    if probe is None or not probe.looks:
        return ()
    first, last = probe.looks[0], probe.looks[-1]
    write_parquet(folder / "gradients.parquet", gradient_columns(probe.looks))
    write_parquet(folder / "cells.parquet", cell_columns(probe.looks))
    profiles = draw_profiles(folder, first.profiles(), last.profiles(), title)
    over_training = None
    if len(probe.looks) > 1:
        looks = [(look.step, look.profiles()) for look in probe.looks]
        over_training = draw_over_training(folder, looks, title).name
    cells = draw_cells(folder, _spreads(first.cells), _spreads(last.cells), title)
    return (
        Finding("Through time", _told(last), profiles.name, decay_rows(last), "Gradients"),
        Finding("Over the training", _told_of_change(first, last), over_training, (), "Gradients"),
        Finding("Gates and states", _told_of_cells(last), cells.name, cell_rows(last), INSIDE),
    )


def decay_rows(look: Look) -> list[dict[str, object]]:
    """A row for each layer: verdict, half-life, memory horizon, factor a step, peak."""
    return [
        {
            "layer": str(layer),
            "verdict": decay.verdict,
            "half-life, steps": f"{'over ' * decay.without_end}{decay.half_life:.3g}",
            "memory horizon, steps": f"{decay.horizon} of {decay.distances}",
            "factor a step": f"{decay.decay:.3g}",
            "peak": f"{decay.peak:.3g}",
        }
        for layer, decay in look.decays().items()
    ]


def cell_rows(look: Look) -> list[dict[str, object]]:
    """A row for each layer: how many gates are stuck, how long its units remember."""
    rows = []
    for cell in look.cells:
        row: dict[str, object] = {"layer": str(cell.layer)}
        row |= {f"{gate} saturated": f"{share:.1%}" for gate, share in cell.saturated.items()}
        if cell.memory is not None:
            row["memory, steps"] = cell.memory
        if cell.radius is not None:
            row["spectral radius"] = cell.radius
        rows.append(row)
    return rows


def _told(look: Look) -> str:
    """The verdict, and what the picture shows."""
    return (
        f"**{overall([*look.decays().values()]).words()}** (after {look.step:,} updates). The line"
        " is the norm of the total derivative of the loss by h_t, averaged over the sequences"
        " that were looked at: how much a step so far from the loss still has to say."
    )


def _told_of_change(first: Look, last: Look) -> str:
    before, after = (overall([*look.decays().values()]).words() for look in (first, last))
    if first is last:
        return f"One look was taken, after {last.step:,} updates: {after}."
    return f"After {first.step:,} updates: {before}. After {last.step:,}: {after}."


def _told_of_cells(look: Look) -> str:
    """How stuck the gates are, how long units remember, what the recurrent matrix does."""
    stuck = {
        f"{gate} of {cell.layer}": share
        for cell in look.cells
        for gate, share in cell.saturated.items()
    }
    told = []
    if radii := [cell.radius for cell in look.cells if cell.radius is not None]:
        told = [f"The largest spectral radius of a recurrent matrix is {max(radii):.3g}."]
    if stuck:
        gate = max(stuck, key=lambda name: stuck[name])
        told.insert(0, f"The most saturated gate is {gate}: {stuck[gate]:.1%} of its values.")
    kept = [cell.memory for cell in look.cells if cell.memory is not None]
    if kept:
        shown = "a million or more" if max(kept) >= 1e5 else f"{max(kept):.3g}"
        told.append(f"The median unit of the layer that remembers longest keeps for {shown} steps.")
    return " ".join(told)


def final_scalars(probe: Probe | None) -> dict[str, float]:
    """Those of the last look: of the weights that the training ended with."""
    return probe.looks[-1].scalars() if probe is not None and probe.looks else {}


def write_parquet(path: Path, columns: Mapping[str, Any]) -> Path:
    """Columns of one length as a file that any table reader opens."""
    parquet.write_table(pa.table(dict(columns)), path, compression="zstd")
    return path


def gradient_columns(looks: list[Look]) -> dict[str, Any]:
    """A row for each norm: step, stack, layer, direction, loss, example, time_step, distance, norm.

    `example` counts those of the training split.
    """
    parts = [_rows(look.step, one, look.examples) for look in looks for one in look.gradients]
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


def cell_columns(looks: list[Look]) -> dict[str, Any]:
    """A row for each bin: step, stack, layer, direction, part, low, high, count."""
    rows = [
        (look.step, *cell.layer, part, float(low), float(high), int(count))
        for look in looks
        for cell in look.cells
        for part, spread in cell.spread.items()
        for low, high, count in zip(spread.edges[:-1], spread.edges[1:], spread.counts, strict=True)
    ]
    names = ("step", "stack", "layer", "direction", "part", "low", "high", "count")
    return {name: list(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}


def _spreads(cells: list[InsideCell]) -> dict[str, dict[str, Spread]]:
    return {
        str(cell.layer): {
            part: Spread(found.counts, found.edges) for part, found in cell.spread.items()
        }
        for cell in cells
    }
