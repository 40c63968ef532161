"""What only building can find out, found before a run writes anything.

A device that is not there, a metric that nobody measures, a validation that would never come.
"""

import contextlib
from collections.abc import Iterator

import torch
from hydra.errors import InstantiationException
from omegaconf import DictConfig
from torch import nn

from seqpipe.build import bare_trainer
from seqpipe.data.dataset import SequenceData
from seqpipe.errors import ConfigError, did_you_mean
from seqpipe.rules import shown
from seqpipe.tasks.base import Task, better
from seqpipe.training.module import SequenceModule


def check_trainer(cfg: DictConfig) -> int:
    """Makes a Trainer and forgets it. Returns the number of processes it would train with.

    Raises:
        ConfigError: Lightning refuses to make it.
    """
    try:
        trainer = bare_trainer(cfg)
    except InstantiationException as error:
        usual = {"accelerator": "auto", "devices": 1, "strategy": "auto", "precision": 32}
        given = {key: cfg.trainer.get(key, value) for key, value in usual.items()}
        asked = [f"trainer.{k}={shown(v)}" for k, v in given.items() if v != usual[k]]
        reason = str(error.__cause__).strip().partition("\n")[0]
        text = f"cannot be had here ({reason}); allowed: trainer.accelerator=auto trainer.devices=1"
        raise ConfigError(f"{' '.join(asked) or 'trainer'}: {text}") from None
    return trainer.world_size


def check_monitors(cfg: DictConfig, task: Task) -> None:
    """Refuses callbacks that wait for a metric that nobody measures, or for it to get worse.

    Raises:
        ConfigError: with each of them.
    """
    known = [f"val/{name}" for name in task.metric_names()]
    problems = []
    for name, node in cfg.callbacks.items():
        if "monitor" in node and node.monitor not in known:
            text = f"no such metric; allowed: {', '.join(known)}{did_you_mean(node.monitor, known)}"
            problems.append(f"callbacks.{name}.monitor={node.monitor}: {text}")
        elif "monitor" in node and node.get("mode", "min") != better(node.monitor):
            text = f"takes a worse {node.monitor} for a better one; allowed"
            key = f"callbacks.{name}.mode"
            problems.append(f"{key}={node.get('mode')}: {text}: {key}={better(node.monitor)}")
    if problems:
        raise ConfigError(problems)


def check_optimizer(cfg: DictConfig, module: SequenceModule) -> None:
    """Makes the optimizer and forgets it.

    Raises:
        ConfigError: it takes its arguments one by one, but not together; or one of its steps is
            made of several, which nothing here could count, clip or skip.
    """
    try:
        module.optimizer()
    except (RuntimeError, TypeError, ValueError) as error:
        given = ", ".join(f"optim.{k}={shown(v)}" for k, v in cfg.optim.items() if k[0] != "_")
        text = f"{cfg.optim._target_} refuses them ({error}); allowed: what it takes together"
        raise ConfigError(f"{given}: {text}") from None
    if _evaluations(module) > 1:
        text = "computes the loss more than once in a step; allowed: an optimizer that does so once"
        raise ConfigError(f"optim._target_={cfg.optim._target_}: {text}, as optim=adamw")


def _evaluations(module: SequenceModule) -> int:
    """How often the optimizer asks for the loss in one step, tried on a square."""
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


def check_limits(cfg: DictConfig, data: SequenceData, processes: int) -> None:
    """Refuses shares of the batches that come to none, and a validation that would never come.

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
    counts = {split: -(-len(data.loader(split)) // processes) for split in data.sizes}
    keys = {"limit_train_batches": "train", "limit_val_batches": "valid"}
    keys |= {"limit_test_batches": "test", "overfit_batches": "train"}
    for key, split in keys.items():
        limit, count = cfg.trainer.get(key), counts[split]
        if isinstance(limit, float) and limit > 0 and int(limit * count) == 0:
            text = f"comes to no batch of {split}, which has {count}"
            yield f"trainer.{key}={limit}: {text}; allowed: a number of batches, or more"
    interval, limit = cfg.trainer.get("val_check_interval"), cfg.trainer.get("limit_train_batches")
    limit = cfg.trainer.overfit_batches or limit
    count = counts["train"]
    if limit is not None:
        count = min(limit, count) if isinstance(limit, int) else int(limit * count)
    if isinstance(interval, int) and interval > count > 0:
        text = f"an epoch has {count} batches, so none would be validated"
        yield f"trainer.val_check_interval={interval}: {text}; allowed: at most {count}, or a share"
