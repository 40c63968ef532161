"""Identity of a run: its name, its command, what the tracker records at its start."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from seqpipe.config.compose import Launch
from seqpipe.config.config_view import flat_params
from seqpipe.data.dataset import SequenceData
from seqpipe.tracking.base import Dataset
from seqpipe.tracking.provenance import environment_tags

STAGES = {"train": "train", "valid": "val", "test": "test"}
"""The name of each split in metrics."""
_IN_THE_NAME = ("data", "cell", "hidden_size", "depth", "bidirectional", "experiment", "sweep")


def run_name(cfg: DictConfig, launch: Launch) -> str:
    """A short description: `digits lstm 3x128 bidirectional optim.lr=0.01`."""
    cell = launch.choices.get("cell", "custom")
    words = [launch.choices.get("data", "data"), "feedforward" if cell == "none" else cell]
    words.append(f"{cfg.depth}x{cfg.hidden_size}")
    if cfg.bidirectional:
        words.append("bidirectional")
    words += [o for o in launch.overrides if o.lstrip("+~").split("=")[0] not in _IN_THE_NAME]
    return " ".join(words)


def hardware_tags(accelerator: str) -> dict[str, str]:
    """Tags of the hardware, which may change the last digits of a sum.

    Args:
        accelerator: `trainer.accelerator`, which decides whether a GPU is used.

    Returns:
        `device` (`cpu`, or the name of the GPU), `threads` of torch, `cpu.capability` (the vector
        instructions that torch uses).
    """
    device = accelerator.replace("auto", "cpu")
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        device = torch.cuda.get_device_name()
    elif accelerator in ("auto", "gpu") and torch.backends.mps.is_available():
        device = "mps"
    return {
        "device": device,
        "threads": str(torch.get_num_threads()),
        "cpu.capability": torch.backends.cpu.get_cpu_capability(),
    }


def start_facts(
    cfg: DictConfig, launch: Launch, data: SequenceData, folder: Path
) -> dict[str, Any]:
    """The arguments of `Tracker.start`: name, experiment, params, tags, datasets."""
    name = launch.choices.get("data", "data")
    tags = {
        "data": name,
        "command": launch.command_line,
        "trains": "yes" if launch.command == "train" else "no",
        "folder": str(folder),
        **environment_tags(launch.root),
        **hardware_tags(cfg.trainer.accelerator),
        **dict(launch.tags),
    }
    if launch.command == "train":
        tags["partial"] = partial_setting(cfg, data) or "no"
    if launch.sweep is not None:
        tags["sweep"] = launch.sweep
    if cfg.resume is not None:
        tags["resumed_from"] = str(cfg.resume)
    return {
        "run_name": launch.name or run_name(cfg, launch),
        "experiment": name,
        "params": flat_params(cfg, launch.choices),
        "tags": tags,
        "datasets": {
            stage: Dataset(name, data.digests[split], data.sizes[split], data.description)
            for split, stage in STAGES.items()
        },
    }


def partial_setting(cfg: DictConfig, data: SequenceData) -> str | None:
    """The setting that leaves out a part of a split in training, validation or test.

    Returns:
        as typed, `trainer.limit_val_batches=3`; None where the splits are used whole.
    """
    for key in ("overfit_batches", "fast_dev_run"):
        if cfg.trainer.get(key):
            return f"trainer.{key}={cfg.trainer[key]}"
    for stage, split in (("train", "train"), ("val", "valid"), ("test", "test")):
        limit = cfg.trainer.get(f"limit_{stage}_batches")
        # No split has more batches than examples.
        whole = limit == 1.0 if isinstance(limit, float) else (limit or 0) >= data.sizes[split]
        if limit is not None and not whole:
            return f"trainer.limit_{stage}_batches={limit}"
    return None


def judged_on(cfg: DictConfig, data: SequenceData) -> str:
    """A hash of validation and test data: runs that share it can be compared.

    It covers the records of both splits and the reading of y: its field, classes, unit and steps.
    The reading of x and the batches belong to the model.
    """
    y, splits = data.spec.y, ("valid", "test")
    compared = {
        "records": [data.digests[split] for split in splits],
        "steps": [data.columns(split).y.steps for split in splits],
        "read": OmegaConf.to_container(cfg.data.y, resolve=True),
        "unit": [y.kind, y.size, y.names, y.mean, y.scale],
    }
    text = json.dumps(compared, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
