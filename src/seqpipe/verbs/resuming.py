"""Going on from a checkpoint: is it one of ours, and of the same model and data?"""

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from seqpipe.errors import ConfigError

MUST_AGREE = ("architecture", "cell", "data", "task", "optim", "seed")
MAY_DIFFER = ("data.num_workers", "data.path")


def check(cfg: DictConfig) -> None:
    """Refuses a checkpoint that the configuration could not go on from.

    Raises:
        ConfigError: no checkpoint of seqpipe, another model, other data, or nothing left to do.
    """
    if cfg.resume is None:
        return
    path = Path(cfg.resume)
    saved = _read(path)
    written: Any = OmegaConf.to_container(cfg, resolve=True)
    before, now = dict(_flat(saved["seqpipe"]["config"])), dict(_flat(written))
    problems = [
        f"{key}={now.get(key)}: {path} was trained with {key}={before.get(key)}; they must agree"
        for key in sorted({*before, *now})
        if key.split(".")[0] in MUST_AGREE
        and key not in MAY_DIFFER
        and before.get(key) != now.get(key)
    ]
    done, wanted = saved["epoch"], cfg.trainer.max_epochs
    if saved.get("epoch_finished", True) and wanted is not None and 0 <= wanted <= done:
        problems.append(f"trainer.max_epochs={wanted}: {path} has {done} epochs behind it; more")
    if problems:
        raise ConfigError(problems)


def _read(path: Path) -> dict[str, Any]:
    """Only plain values and tensors are read: a checkpoint cannot run code."""
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        reason = str(error).strip().split("\n")[0]
        raise ConfigError(f"resume={path}: no checkpoint that can be read ({reason})") from None
    if not isinstance(saved, dict) or "seqpipe" not in saved:
        raise ConfigError(f"resume={path}: not a checkpoint of seqpipe; checkpoints/last.ckpt is")
    return saved


def _flat(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _flat(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, node
