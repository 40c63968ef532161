"""Observers of a training: which diagnostics the configuration asks for, on which examples."""

from collections.abc import Sequence

from omegaconf import DictConfig
from torch import nn

from seqpipe.data.dataset import SequenceData
from seqpipe.data.sampling import evenly_spread
from seqpipe.diagnostics.free_running import FreeRunning, examples_of
from seqpipe.diagnostics.probe import Probe
from seqpipe.diagnostics.settings import Settings
from seqpipe.errors import ConfigError
from seqpipe.models.architecture import RunsFree
from seqpipe.nn.recurrent import recurrent_layers
from seqpipe.targets import instantiate
from seqpipe.tasks.base import Task
from seqpipe.tracking.base import Tracker


def build_observers(
    cfg: DictConfig, model: nn.Module, task: Task, data: SequenceData, tracker: Tracker
) -> list[Probe | FreeRunning]:
    """The callbacks of the group `diagnostics`, without those that find nothing to measure.

    Of texts in lanes, the examples of the probe are pieces of `data.bptt` steps, each from a fresh
    state. With `trainer.overfit_batches` validation is of the training split, and so is free
    running.
    """
    settings: Settings = instantiate(cfg.diagnostics)
    observers: list[Probe | FreeRunning] = []
    if examples := evenly_spread(settings.examples, len(data.columns("train"))):
        observers.append(Probe(task, data.batch("train", examples), settings, tracker))
    if settings.free_running > 0 and isinstance(model, RunsFree):
        split = "train" if cfg.trainer.overfit_batches > 0 else "valid"
        observers.append(FreeRunning(examples_of(data, settings.free_running, split=split)))
    return observers


def check_diagnostics(overrides: Sequence[str], model: nn.Module) -> None:
    """Refuses options of `diagnostics` that were typed and find nothing in this model to measure.

    Raises:
        ConfigError: with each of them.
    """
    is_recurrent = bool(recurrent_layers(model))
    needs = dict.fromkeys(("diagnostics.every", "diagnostics.examples"), is_recurrent)
    needs["diagnostics.free_running"] = isinstance(model, RunsFree)
    problems = []
    for override in overrides:
        key, _, value = override.lstrip("+").partition("=")
        if needs.get(key, True) or value in ("0", "null"):
            continue
        lacks = "writes no y" if key.endswith("free_running") else "has no recurrent layer"
        text = f"{type(model).__name__} {lacks}, so there is nothing to measure"
        problems.append(f"{override}: {text}; allowed: leave it out")
    if problems:
        raise ConfigError(problems)
