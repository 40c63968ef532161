"""Parts of a run, built from the configuration and the properties of the data.

The only place where a name in YAML meets a size that is known from the data.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import ProgressBar
from torch import nn

from seqpipe.config.config_view import Tree
from seqpipe.config.schema import READ_BY_THE_RUN, TAKEN_BY_THE_RUN
from seqpipe.config.signatures import signature_of
from seqpipe.data import dataset
from seqpipe.data.base import SequenceSpec
from seqpipe.data.dataset import SequenceData
from seqpipe.data.prepare import ExampleCheck
from seqpipe.errors import ConfigError, DataError
from seqpipe.inference.instantiate import make_informed_task, make_sized_model
from seqpipe.nn.initial_weights import start_uniform
from seqpipe.targets import BASES, check_kind, check_kinds, instantiate, refusing
from seqpipe.tasks.base import Task
from seqpipe.tracking.base import Tracker
from seqpipe.training.callbacks import (
    CountedUpdates,
    ModelSchedule,
    OneBar,
    Throughput,
)
from seqpipe.training.checkpoints import BestAndLast
from seqpipe.training.freezing import FrozenStatistics
from seqpipe.training.history import History
from seqpipe.training.lean import EmptyHooks
from seqpipe.training.lightning_internals import begin_with_the_next_epoch
from seqpipe.training.module import SequenceModule
from seqpipe.training.reported import Reported
from seqpipe.training.save_requests import SaveRequests
from seqpipe.training.weight_noise import WeightNoise


def build_data(
    cfg: DictConfig,
    fitted: Mapping[str, Mapping[str, Any]] | None = None,
    make: Callable[[Any, str], Any] | None = None,
    only: str | None = None,
    task: Task | None = None,
) -> SequenceData:
    """Reads the source, fits the fields on its training split and encodes all splits.

    Args:
        cfg: the whole configuration.
        fitted: the fitted state of a trained model's fields, see `SequenceData`.
        make: makes a source or field of (node, `data.x`); for the configuration of a saved model,
            which may name any class; None: Hydra does.
        only: the one split to encode, see `SequenceData`.
        task: of a saved model; None: that of the configuration.

    Raises:
        DataError: the data cannot be used as it is.
        ConfigError: a setting does not fit the data.
    """
    try:
        return _build_data(cfg, fitted, make, only, task)
    except (ConfigError, DataError) as error:
        raise type(error)([Tree(cfg).as_written(text) for text in error.problems]) from None


def _build_data(
    cfg: DictConfig,
    fitted: Mapping[str, Mapping[str, Any]] | None,
    make: Callable[[Any, str], Any] | None,
    only: str | None,
    task: Task | None,
) -> SequenceData:
    node = cfg.data
    written: Any = OmegaConf.to_container(node, resolve=True)
    if make is not None:
        parts = {name: make(written[name], f"data.{name}") for name in _parts_of(node)}
    else:
        parts = _data_parts(cfg)
    with refusing(cfg, *([] if make else ["data"])):
        return SequenceData(
            **parts,
            recipe=recipe_of(written),
            show_progress=cfg.trainer.enable_progress_bar,
            fitted=fitted,
            only=only,
            check=_example_check(cfg) if task is None else task.own_check,
            **{name: node.get(name) for name in READ_BY_THE_RUN["data"] if name != "x"},
        )


def _parts_of(node: DictConfig) -> list[str]:
    return [name for name in ("source", "x", "y") if node[name] is not None]


def _data_parts(cfg: DictConfig) -> dict[str, Any]:
    """The source and the fields of a configuration, by name."""
    node = cfg.data
    parts = {name: _data_part(node[name], f"data.{name}") for name in _parts_of(node)}
    for name, part in parts.items():
        check_kind(part, f"data.{name}", node[name]["_target_"])
    return parts


def _data_part(node: DictConfig, key: str) -> Any:
    """Make a source or a field; a field does not know itself whether it is x or y.

    Raises:
        ConfigError: of the part, its arguments named by their keys, `data.x.vectors=`.
    """
    try:
        return instantiate(node, key)
    except ConfigError as error:
        names = "|".join(signature_of(node["_target_"]).rules) or "(?!)"  # matches nothing
        argument = re.compile(rf"(?<![^\s,(])(?=(?:{names})=)")
        problems = [argument.sub(f"{key}.", text) for text in error.problems]
        raise ConfigError(problems, error.hint) from None


def count_folds(cfg: DictConfig) -> int:
    """The number of folds of a configuration, whose records are read once.

    Raises:
        DataError: the data cannot be read, or has too few items.
        ConfigError: it cannot be split into folds.
    """
    try:
        return dataset.count_folds(**_data_parts(cfg), folds=cfg.data.folds)
    except (ConfigError, DataError) as error:
        raise type(error)([Tree(cfg).as_written(text) for text in error.problems]) from None


def _example_check(cfg: DictConfig) -> ExampleCheck | None:
    task = get_object(cfg.task._target_)
    known = isinstance(task, type) and issubclass(task, Task)
    return task.example_check(crf=has_crf(cfg)) if known else None


def recipe_of(written: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of source and fields without the paths of files: a folder may move.

    Args:
        written: the configuration of the data, resolved.
    """
    fields = {name: written[name] for name in ("x", "y")}
    return {"source": _without_paths(written["source"]), **fields}


def _without_paths(node: Any) -> Any:
    """The node without `path` arguments of sources; a column may also be called `path`."""
    if isinstance(node, dict):
        is_made = "_target_" in node
        return {k: _without_paths(v) for k, v in node.items() if not (is_made and k == "path")}
    return [_without_paths(value) for value in node] if isinstance(node, list) else node


def build_task(cfg: DictConfig, data: SequenceData) -> Task:
    """The task for this y.

    Raises:
        ConfigError: it has no such metric to monitor.
        DataError: it does not accept this data.
    """
    task = unchecked_task(cfg, data)
    task.check(data)
    return task


def unchecked_task(cfg: DictConfig, data: SequenceData) -> Task:
    """The task without its check of the data, for data that is only described."""
    check_kinds(cfg, "task")
    make_task, longest_y = instantiate(cfg.task, "task"), data.longest_y("train")
    with refusing(cfg, "task"):
        task: Task = make_informed_task(
            make_task, data.spec.y, longest_y=longest_y, crf=has_crf(cfg)
        )
    check_kind(task, "task", cfg.task["_target_"])
    return task


def has_crf(cfg: DictConfig) -> bool:
    """True if the head of the model is a CRF."""
    target = OmegaConf.select(cfg, "architecture.head._target_")
    head = None if target is None else get_object(target)
    return bool(getattr(head, "whole_sequences", False))


def build_model(cfg: DictConfig, spec: SequenceSpec, output_size: int | None = None) -> nn.Module:
    """The model for these sizes of x and y.

    Args:
        cfg: the configuration.
        spec: of the data.
        output_size: K, width of one prediction, as the task requires; None: the size of y.

    With `init_range`, all weights are drawn once more.

    Raises:
        ConfigError: the architecture does not fit the data.
    """
    check_kinds(cfg, "architecture", "cell")
    longest_x = cfg.data.get("max_length")
    make_model = instantiate(cfg.architecture, "architecture")
    try:
        with refusing(cfg, "architecture", "cell"):
            model = make_sized_model(make_model, spec, output_size, longest_x)
    except (RuntimeError, TypeError) as error:  # torch has no class for either
        if not re.search("allocate memory|[Oo]verflow", str(error)):
            raise
        wanted = f"hidden_size={cfg.hidden_size}: the model does not fit in memory"
        rest = f"depth={cfg.depth}"
        if longest_x is not None and "flatten" in str(cfg.architecture.get("pooling")):
            rest += f", data.max_length={longest_x}"
        raise ConfigError(f"{wanted} ({rest}); allowed: a smaller one") from None
    check_kind(model, "architecture", cfg.architecture["_target_"])
    if cfg.init_range is not None:
        start_uniform(model, float(cfg.init_range))
    return model


def build_module(
    cfg: DictConfig, model: nn.Module, task: Task, digests: Mapping[str, str] | None = None
) -> SequenceModule:
    """Model, task, optimizer and schedule as one LightningModule.

    Args:
        cfg: the whole configuration.
        model: to train.
        task: its loss and metrics.
        digests: of the data, kept in checkpoints: no training may be resumed with other data.
    """
    saved: dict[str, Any] = {"config": OmegaConf.to_container(cfg, resolve=True)}
    if digests is not None:
        saved["digests"] = dict(digests)
    return SequenceModule(
        model,
        task,
        instantiate(without_run_keys(cfg, "optim"), "optim"),
        instantiate(cfg.scheduler, "scheduler"),
        saved_config=saved,
        max_bad_steps=cfg.trainer.max_bad_steps,
        decay_all=cfg.optim.get("weight_decay_on") == "all",
    )


def build_callbacks(cfg: DictConfig, folder: Path) -> list[Callback]:
    """The callbacks that every run has, and those of the configuration.

    A progress bar of the user's replaces ours. Checkpoints go to the run's folder.

    Raises:
        ConfigError: one is no callback, or refuses its arguments.
    """
    callbacks: list[Callback] = [
        EmptyHooks(),
        CountedUpdates(),
        Throughput(),
        History(),
        Reported(),
        ModelSchedule(),
    ]
    for name, node in cfg.callbacks.items():
        key = f"callbacks.{name}"
        callback = instantiate(node, key)
        if callable(callback) and node.get("_partial_"):  # a checkpoint waiting for its folder
            with refusing(cfg, key):
                callback = callback(dirpath=folder / "checkpoints")
        check_kind(callback, key, node["_target_"], BASES["callbacks.*"])
        if isinstance(callback, BestAndLast):
            callback.requests = SaveRequests(cfg.trainer.get("checkpoint_every"))
        callbacks.append(callback)
    if cfg.freeze:
        callbacks.append(FrozenStatistics())
    if cfg.weight_noise > 0:
        callbacks.append(WeightNoise(cfg.weight_noise, cfg.seed))
    if cfg.averaging._target_ is not None:
        average = instantiate(cfg.averaging, "averaging")
        check_kind(average, "averaging", cfg.averaging["_target_"])
        callbacks.append(average)
    if cfg.trainer.enable_progress_bar and not any(isinstance(c, ProgressBar) for c in callbacks):
        callbacks.append(OneBar(cfg.task.monitor))
    return callbacks


def without_run_keys(cfg: DictConfig, group: str) -> DictConfig:
    """The node of a group without the keys that the run takes itself."""
    written: Any = OmegaConf.to_container(cfg[group], resolve=True)
    taken = TAKEN_BY_THE_RUN[group]
    return OmegaConf.create({k: v for k, v in written.items() if k not in taken})


def build_trainer(cfg: DictConfig, folder: Path, tracker: Tracker) -> Trainer:
    """Lightning's Trainer, with our sampler, our logger and our summary.

    Args:
        cfg: the whole configuration.
        folder: the run's; not made here.
        tracker: what records it.

    Raises:
        ConfigError: a callback cannot be made.
        InstantiationException: Lightning refuses to make it.
    """
    trainer: Trainer = instantiate(
        without_run_keys(cfg, "trainer"),
        callbacks=build_callbacks(cfg, folder),
        logger=tracker.logger or False,
        default_root_dir=str(folder),
        enable_model_summary=False,
        limit_test_batches=cfg.trainer.overfit_batches or cfg.trainer.limit_test_batches,
        use_distributed_sampler=False,  # ours gives each rank its batches
    )
    check_kind(trainer, "trainer", cfg.trainer["_target_"])
    begin_with_the_next_epoch(trainer)
    return trainer


def build_tracker(cfg: DictConfig, root: Path, folder: Path) -> Tracker:
    """The tracker that records the run."""
    with refusing(cfg, "logger"):
        tracker: Tracker = instantiate(cfg.logger, "logger")(root=root, output_dir=folder)
    check_kind(tracker, "logger", cfg.logger["_target_"])
    return tracker
