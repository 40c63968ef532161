"""Cross-validation: the number of folds, and the answers of all folds pooled."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from seqpipe.build import count_folds as folds_of
from seqpipe.errors import ConfigError, SeqpipeError, first_line
from seqpipe.inference.evaluation import Evaluation
from seqpipe.inference.load import load_model
from seqpipe.inference.model_format import LOGGED
from seqpipe.records import read_arrays
from seqpipe.report.fold_comparison import FoldGroup, Pooled
from seqpipe.report.spread import CONFIDENCE
from seqpipe.report.sweep_jobs import Job
from seqpipe.runs.identity import partial_setting
from seqpipe.runs.saved_model import FOLDER
from seqpipe.runs.training_run import TrainingRun
from seqpipe.runs.trust import foreign_targets
from seqpipe.training.carried_state import Carried, answer

TERMS = "test_terms.npz"
_CLASSES, _EXAMPLES = "classes", "examples"  # besides the terms
_RESAMPLES = 1000  # as `evaluate` draws


def count_folds(jobs: Sequence[DictConfig]) -> int:
    """The number of folds of each of these configurations; each set of data is read once.

    Raises:
        ConfigError: no folds can be made, or not equally many of each.
        DataError: the data cannot be read, or has too few items.
    """
    counts: dict[str, int] = {}
    for cfg in jobs:
        written: Any = OmegaConf.to_container(cfg.data, resolve=True)
        read = json.dumps([written[name] for name in ("source", "x", "y")])
        if read not in counts:
            counts[read] = folds_of(cfg)
    if len({*counts.values()}) > 1:
        shown = " and ".join(map(str, sorted({*counts.values()})))
        text = f"the data of the jobs have {shown} items; allowed: a command for each data"
        raise ConfigError(f"folds={jobs[0].data.folds}: {text}")
    return next(iter(counts.values()))


def write_terms(run: TrainingRun) -> None:
    """Writes what each tested example of a fold adds to the loss and the metrics.

    Nothing is written without folds, nor where this process has not tested the whole fold.
    """
    data, task = run.data, run.module.task
    whole = run.trainer.world_size == 1 and partial_setting(run.cfg, data) is None
    if data.fold is None or not whole:
        return
    network, carried = run.module.model.eval(), Carried()
    evaluation = Evaluation(task, [()] * data.sizes["test"])
    with run.trainer.precision_plugin.forward_context(), torch.inference_mode():
        for batch in data.loader("test"):
            moved = batch.to(run.module.device)
            evaluation.add(network, moved, answer(network, moved, carried))
    names = task.y.names if task.y.names_classes else None
    arrays: dict[str, Any] = {_CLASSES: np.array(names or [], dtype=np.str_)}
    arrays |= {_EXAMPLES: np.array(data.sizes["test"]), **evaluation.terms()}
    np.savez(run.folder / TERMS, allow_pickle=False, **arrays)


def pool(sweep: Path, groups: Sequence[FoldGroup]) -> list[FoldGroup]:
    """The groups of folds, each with the answers of its folds pooled.

    Args:
        sweep: folder of the sweep.
        groups: of its jobs.
    """
    pooled = []
    for group in groups:
        try:
            pooled.append(replace(group, pooled=_pooled(sweep, group.finished)))
        except (ValueError, OSError, SeqpipeError) as error:
            pooled.append(replace(group, why=first_line(error)))
    return pooled


def _pooled(sweep: Path, jobs: Sequence[Job]) -> Pooled:
    """The metrics of all records that were tested in these jobs.

    Raises:
        ValueError: they cannot be pooled; with the reason.
    """
    places = [sweep / job.folder for job in jobs]
    if not places:
        raise ValueError("no fold finished")
    if not all((place / TERMS).is_file() for place in places):
        raise ValueError("not every fold was tested whole, in one process")
    read = [dict(read_arrays(place / TERMS)) for place in places]
    if len({tuple(some.pop(_CLASSES).tolist()) for some in read}) > 1:
        raise ValueError("the classes of the training data are not the same in each fold")
    examples = sum(int(some.pop(_EXAMPLES)) for some in read)
    config: Any = OmegaConf.to_container(OmegaConf.load(places[0] / "config.yaml"))
    own = [target.rpartition(".")[0] for target in foreign_targets(config)]  # trained just now
    model = load_model(places[0] / FOLDER / LOGGED, own)
    evaluation = Evaluation.of_terms(model.task, read, examples)
    measured = evaluation.results(_RESAMPLES, CONFIDENCE)[0]
    errors, decisions = _errors(evaluation.terms())
    ends = {"low": measured.low, "high": measured.high}
    return Pooled(examples, measured.metrics, **ends, errors=errors, decisions=decisions)


def _errors(terms: Mapping[str, "np.ndarray[Any, Any]"]) -> tuple[int | None, int | None]:
    """Wrong decisions, and all of them; None where the task has no accuracy."""
    right, wrong = (terms.get(f"accuracy.{state}") for state in ("tp", "fp"))
    if right is None or wrong is None:
        return None, None
    return round(wrong.sum()), round(wrong.sum() + right.sum())
