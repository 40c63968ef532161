"""Checks that need built objects; they run before a run writes anything.

A device that is not there, a metric that nobody measures, a validation that would never happen.
"""

import contextlib
import copy
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import torch
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import (
    BackboneFinetuning,
    BaseFinetuning,
    BasePredictionWriter,
    BatchSizeFinder,
    DeviceStatsMonitor,
    LearningRateFinder,
    LearningRateMonitor,
    ModelPruning,
    ThroughputMonitor,
)
from torch import nn
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from seqpipe.build import build_tracker, build_trainer, without_run_keys
from seqpipe.config.signatures import packaged_keys
from seqpipe.data.dataset import SequenceData
from seqpipe.diagnostics.preflight import batch_of
from seqpipe.errors import ConfigError, first_line
from seqpipe.nn.cell import Cell
from seqpipe.nn.kernels.choice import cannot_run
from seqpipe.nn.recurrent import recurrent_layers
from seqpipe.rules import shown
from seqpipe.targets import (
    TOGETHER,
    callback_key,
    check_kinds,
    describe_error,
    foreign_in,
    instantiate,
    refusing,
)
from seqpipe.tasks.base import Task
from seqpipe.tracking.base import NoTracker, Tracker
from seqpipe.training.carried_state import Carried, answer
from seqpipe.training.module import SequenceModule

SOME_STEPS = 100  # of a schedule that is made to be checked


def build_checked_trainer(cfg: DictConfig, root: Path, folder: Path) -> tuple[Trainer, Tracker]:
    """The run's Trainer with its callbacks, and its tracker; nothing is written.

    Args:
        cfg: the whole configuration.
        root: the folder the user works in.
        folder: the run's, which is not made.

    Raises:
        ConfigError: Lightning refuses the Trainer, or a callback is none, does not fit the others,
            or could do nothing here.
    """
    check_kinds(cfg, "logger")
    tracker = build_tracker(cfg, root, folder)
    try:
        trainer = build_trainer(cfg, folder, tracker)
    except InstantiationException as error:
        raise _refused_trainer(cfg, error) from None
    problems = []
    for callback in vars(trainer)["callbacks"]:
        if (why := _why_unusable(callback, trainer)) and (key := callback_key(cfg, callback)):
            text = f"{why}, or without it: ~{key}"
            problems.append(f"{key}._target_={OmegaConf.select(cfg, key)['_target_']}: {text}")
    if problems:
        raise ConfigError(problems)
    if not trainer.is_global_zero:
        tracker, trainer.logger = NoTracker(root, folder), None
    return trainer, tracker


def _refused_trainer(cfg: DictConfig, error: InstantiationException) -> ConfigError:
    """Lightning's refusal as a message: of the Trainer's own arguments, or of the callbacks."""
    try:
        instantiate(without_run_keys(cfg, "trainer"), logger=False, enable_checkpointing=False)
    except InstantiationException as alone:
        usual = {"accelerator": "auto", "devices": 1, "strategy": "auto", "precision": 32}
        given = {key: cfg.trainer.get(key, value) for key, value in usual.items()}
        asked = [f"trainer.{k}={shown(v)}" for k, v in given.items() if v != usual[k]]
        why = first_line(alone.__cause__ or alone)
        text = f"is not available here ({why}); allowed: trainer.accelerator=auto trainer.devices=1"
        return ConfigError(f"{' '.join(asked) or 'trainer'}: {text}")
    return ConfigError(
        f"callbacks: {describe_error(error.__cause__ or error)}; allowed: {TOGETHER}"
    )


_UNUSABLE_CALLBACKS: dict[type[Callback], str] = {
    BatchSizeFinder: (
        "a run batches its data itself; allowed: data.batch_size=N or data.batch_tokens=N"
    ),
    LearningRateFinder: (
        "would train at another rate than the run records; allowed: -m optim.lr=0.001,0.01"
    ),
    ModelPruning: (
        "masks weights in a hook that the kernels of cells do not call; allowed: training without"
        " pruning"
    ),
    BackboneFinetuning: (
        "freezes model.backbone, which no architecture here has; allowed: a class of your own below"
        " BaseFinetuning"
    ),
    BasePredictionWriter: (
        "writes predictions, but training makes none; allowed: python -m seqpipe predict"
        " run=latest input=FILE"
    ),
}
"""Callbacks of Lightning that cannot work here: why, and what is allowed."""


def _why_unusable(callback: Callback, trainer: Trainer) -> str | None:
    """The reason why one of Lightning's callbacks cannot work here, and what is allowed."""
    for kind, text in _UNUSABLE_CALLBACKS.items():
        if isinstance(callback, kind):
            return text
    abstract = BaseFinetuning.freeze_before_training
    if isinstance(callback, BaseFinetuning) and type(callback).freeze_before_training is abstract:
        text = "does not define what it freezes"
        return f"{text}; allowed: a subclass with freeze_before_training"
    if isinstance(callback, (DeviceStatsMonitor, LearningRateMonitor, ThroughputMonitor)):
        if trainer.logger is None:
            return "needs a logger, but there is none; allowed: logger=csv or logger=mlflow"
    on_cpu = trainer.strategy.root_device.type == "cpu"
    if isinstance(callback, DeviceStatsMonitor) and on_cpu and find_spec("psutil") is None:
        return "needs psutil for a CPU; allowed: after pip install psutil"
    return None


def check_kernels(model: nn.Module, trainer: Trainer) -> None:
    """Refuses a kernel that cannot run on the device that trains.

    Raises:
        ConfigError: with the kernel.
    """
    device = trainer.strategy.root_device
    for layer in recurrent_layers(model).values():
        cell = layer.cell
        if not layer.kernel.fits(device, cell.weight_hidden.dtype):
            raise ConfigError(cannot_run(cell, device))


def check_monitors(cfg: DictConfig, task: Task) -> None:
    """Refuses callbacks that monitor an unknown metric, or wait for it to get worse.

    Raises:
        ConfigError: with each of them.
    """
    problems = []
    nodes = {f"callbacks.{name}": node for name, node in cfg.callbacks.items()}
    for key, node in {**nodes, "averaging": cfg.averaging}.items():
        if "monitor" in node:
            mode = node.get("mode", "min")
            problems += task.monitor_problems(key, node.monitor, mode)
    if problems:
        raise ConfigError(problems)


def check_optimizer(cfg: DictConfig, module: SequenceModule) -> None:
    """Makes the optimizer of the run; tries one of the user's on a copy of the module.

    Raises:
        ConfigError: it accepts its arguments one by one, but not together; or it computes the loss
            several times in a step, which could not be counted, clipped or skipped.
    """
    check_kinds(cfg, "optim")
    target = cfg.optim._target_
    try:
        module.optimizer()
    except (RuntimeError, TypeError, ValueError) as error:
        given = ", ".join(f"optim.{k}={shown(v)}" for k, v in cfg.optim.items() if k[0] != "_")
        text = f"{target} refuses them ({error}); allowed: arguments that it accepts together"
        raise ConfigError(f"{given}: {text}") from None
    if set(cfg.optim) - {"_target_", "_partial_"} <= packaged_keys("optim", target):
        return
    if _evaluations(module) > 1:
        text = "computes the loss more than once in a step; allowed: an optimizer that does so once"
        raise ConfigError(f"optim._target_={target}: {text}, as optim=adamw")
    with refusing(cfg, "optim"):
        step_of_zero(copy.deepcopy(module))


def step_of_zero(module: SequenceModule) -> None:
    """Makes an update with a gradient of 0, after which an optimizer holds all of its state."""
    for parameter in module.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.zeros_like(parameter)
    module.optimizer().step()


def check_schedule(cfg: DictConfig, module: SequenceModule) -> None:
    """Tries a schedule of the user's on a copy: the run's own needs the number of its updates.

    Raises:
        ConfigError: it refuses its arguments, or makes no schedule.
    """
    for key, target in foreign_in(cfg, "scheduler").items():
        with refusing(cfg, "scheduler"):
            made = module.schedule(copy.deepcopy(module).optimizer(), SOME_STEPS)
        whole = made.get("scheduler") if isinstance(made, dict) else made
        # Nothing would pass the metric to it.
        watches = isinstance(whole, ReduceLROnPlateau) and whole is made
        if made is not None and (watches or not isinstance(whole, LRScheduler)):
            allowed = (
                "a schedule of torch.optim.lr_scheduler, or a mapping with scheduler, interval"
            )
            text = f"returns no learning rate schedule that Lightning can step; allowed: {allowed}"
            raise ConfigError(f"{key}._target_={target}: {text}; or scheduler=plateau")


def _evaluations(module: SequenceModule) -> int:
    """The number of times the optimizer computes the loss in one step, tried on a square."""
    weight = nn.Parameter(torch.ones(2, 2))
    asked = 0

    def closure() -> float:
        nonlocal asked
        asked += 1
        weight.grad = None
        loss = weight.square().sum()
        loss.backward()
        return float(loss.detach())

    with contextlib.suppress(ArithmeticError, LookupError, RuntimeError, TypeError, ValueError):
        module.make_optimizer([weight]).step(closure)  # it may be made for these parameters alone
    return asked


def check_answers(cfg: DictConfig, module: SequenceModule, data: SequenceData) -> None:
    """Runs networks and tasks of the user's on one batch, whatever `preflight` says.

    Raises:
        ConfigError: they raise, or the task cannot judge the answers.
    """
    groups = ("architecture", "cell", "task")
    if not foreign_in(cfg, *groups):
        return
    batch, wanted = batch_of(data), module.task.output_size
    wanted = data.spec.y.size if wanted is None else wanted
    with refusing(cfg, *groups), torch.random.fork_rng(devices=[]), torch.no_grad():
        trial = copy.deepcopy(module)
        for cell in [part for part in trial.modules() if isinstance(part, Cell)]:
            _check_step(cell)
        outputs = answer(trial.model, batch, Carried())
        if outputs.shape[-1] != wanted:
            raise TypeError(f"an answer is {outputs.shape[-1]} numbers wide; expected {wanted}")
        loss = trial.task.loss(outputs, batch, training=False)
        if loss.shape != ():
            raise TypeError(f"the loss is no single number, but of shape {tuple(loss.shape)}")
        trial.task.pairs(trial.task.predict(trial.model, outputs, batch), batch)


def _check_step(cell: Cell) -> None:
    """Raises where a step returns no state that the next one could start from."""
    before = cell.initial_state(1)
    after = cell.recur(cell.project(torch.zeros(1, cell.input_size)), before)
    wanted = [tuple(part.shape) for part in before]
    shapes = [tuple(part.shape) for part in after] if isinstance(after, tuple) else None
    if shapes != wanted:
        found = f"a {type(after).__name__}" if shapes is None else f"a tuple of shapes {shapes}"
        raise TypeError(f"recur returns {found}; expected a tuple of shapes {wanted}")


def check_limits(cfg: DictConfig, data: SequenceData, processes: int) -> None:
    """Refuses shares of the batches that are less than one, and a validation that never happens.

    Raises:
        ConfigError: with each of them.
    """
    problems = list(_limit_problems(cfg, data, processes))
    if problems:
        raise ConfigError(problems)


def _limit_problems(cfg: DictConfig, data: SequenceData, processes: int) -> Iterator[str]:
    for split, size in data.sizes.items():
        if split != "train" and size < processes and data.bptt is None:
            text = f"{split} has {size} examples, each process needs one"
            yield f"trainer.devices={shown(cfg.trainer.devices)}: {text}; allowed: at most {size}"
    batches = {split: -(-len(data.loader(split)) // processes) for split in data.sizes}
    limited = {"limit_train_batches": "train", "limit_val_batches": "valid"}
    limited |= {"limit_test_batches": "test", "overfit_batches": "train"}
    for key, split in limited.items():
        share, count = cfg.trainer.get(key), batches[split]
        if isinstance(share, float) and share > 0 and int(share * count) == 0:
            text = f"is less than one batch of {split}, which has {count}"
            yield f"trainer.{key}={share}: {text}; allowed: a larger share, or a number of batches"
    count = batches["train"]
    limit = cfg.trainer.overfit_batches or cfg.trainer.get("limit_train_batches")
    if limit is not None:
        count = min(limit, count) if isinstance(limit, int) else int(limit * count)
    interval = cfg.trainer.get("val_check_interval")
    if isinstance(interval, int) and interval > count > 0:
        text = f"an epoch has {count} batches, so there would be no validation"
        yield f"trainer.val_check_interval={interval}: {text}; allowed: at most {count}, or a share"
