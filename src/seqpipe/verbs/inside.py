"""What is seen inside a model while it is trained: measured, drawn, kept, and put in words."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from omegaconf import DictConfig
from pyarrow import parquet

from seqpipe.build import instantiate
from seqpipe.data.dataset import SequenceData
from seqpipe.diagnostics.cells import InsideCell
from seqpipe.diagnostics.decay import overall
from seqpipe.diagnostics.gradients import ThroughTime
from seqpipe.diagnostics.probe import Look, Probe, probe_examples
from seqpipe.diagnostics.settings import Settings
from seqpipe.report.cells import Spread, draw_cells
from seqpipe.report.gradients import ThroughTimePicture, draw_over_training, draw_profiles
from seqpipe.tasks.base import Task
from seqpipe.tracking.base import Tracker

log = logging.getLogger(__name__)


def make_probe(cfg: DictConfig, task: Task, data: SequenceData, tracker: Tracker) -> Probe | None:
    """What looks into the model, on some training examples; None where nothing is to be seen.

    Of texts in lanes, the examples are pieces of `data.bptt` steps, each from a fresh state.
    """
    settings: Settings = instantiate(cfg.diagnostics)
    chosen = probe_examples(settings.examples, len(data.columns("train")))
    if not chosen:
        return None
    pictures: dict[str, ThroughTimePicture] = {}

    def show(look: Look) -> None:
        tracker.log_image("gradient_through_time", lambda: _picture(pictures, look), look.step)

    return Probe(task, data.batch("train", chosen), settings, record=tracker.log_metrics, show=show)


def _picture(pictures: dict[str, ThroughTimePicture], look: Look) -> "np.ndarray[Any, Any]":
    profiles = look.profiles()
    if "" not in pictures:
        longest = max(len(norms) for norms in profiles.values())
        pictures[""] = ThroughTimePicture([*profiles], longest)
    told = overall([*look.decays().values()]).words()
    return pictures[""].draw(profiles, f"step {look.step:,}: {told}")


def write(folder: Path, probe: Probe, title: str) -> None:
    """Draws and keeps what was seen, in the run's folder."""
    if not probe.looks:
        return
    first, last = probe.looks[0], probe.looks[-1]
    write_parquet(folder / "gradients.parquet", gradient_columns(probe.looks, probe.batch.index))
    write_parquet(folder / "cells.parquet", cell_columns(probe.looks))
    draw_profiles(folder, first.profiles(), last.profiles(), title)
    if len(probe.looks) > 1:
        looks = [(look.step, look.profiles()) for look in probe.looks]
        draw_over_training(folder, looks, title)
    draw_cells(folder, _spreads(first.cells), _spreads(last.cells), title)


def final_scalars(probe: Probe | None) -> dict[str, float]:
    """Those of the last look: of the weights that the training ended with."""
    return probe.looks[-1].scalars() if probe is not None and probe.looks else {}


def write_parquet(path: Path, columns: Mapping[str, Any]) -> Path:
    """Columns of one length as a file that any table reader opens."""
    parquet.write_table(pa.table(dict(columns)), path, compression="zstd")
    return path


def gradient_columns(looks: list[Look], index: Any) -> dict[str, Any]:
    """A row for each norm: step, stack, layer, direction, loss, example, time_step, distance, norm.

    Args:
        looks: what was found.
        index: (B,) which examples of the training split were looked at.
    """
    parts = [_rows(look.step, one, np.asarray(index)) for look in looks for one in look.gradients]
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
