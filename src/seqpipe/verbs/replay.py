"""Run a batch that was not finite once more, and look: `replay=.../bad_steps/step_12_rank0.pt`."""

from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from pytorch_lightning import Trainer

from seqpipe.build import bare_trainer, build_model, build_module, build_task
from seqpipe.data.dataset import SequenceData
from seqpipe.errors import ConfigError, SeqpipeError
from seqpipe.training.bad_steps import read, replayed
from seqpipe.training.module import SequenceModule

ALLOWED = "outputs/runs/.../bad_steps/step_12_rank0.pt, with the overrides of its run"


def run(cfg: DictConfig, data: SequenceData) -> str:
    """Loads the weights of that moment, runs the batch, and trains nothing.

    Returns:
        the lines a person reads.

    Raises:
        ConfigError: the file is none of ours, or is of another model or other data.
    """
    path = Path(cfg.replay)
    try:
        saved = read(path)
    except ValueError as error:
        raise ConfigError(f"replay={path}: {error}; allowed: {ALLOWED}") from None
    task = build_task(cfg, data)
    module = build_module(cfg, build_model(cfg, data.spec, task.output_size), task)
    trainer = bare_trainer(cfg)
    try:
        found = _look(module, trainer, saved)
    except (
        RuntimeError,
        LookupError,
        TypeError,
        ValueError,
        AssertionError,
        AttributeError,
        OverflowError,
        SeqpipeError,
    ) as error:
        reason = " ".join(" ".join(str(error).splitlines()[:2]).split()).rstrip(".")
        text = f"does not fit the model or the data ({reason}); allowed: {ALLOWED}"
        raise ConfigError(f"replay={path}: {text}") from None
    rows = {
        "file": f"{path}, update {saved['update']}",
        "then": saved["text"],
        "now": found or "the answer, the loss and its gradient are finite",
    }
    return "\n".join(f"{key + ':':<12}{value}" for key, value in rows.items())


def _look(module: SequenceModule, trainer: Trainer, saved: dict[str, Any]) -> str:
    precision, device = trainer.precision_plugin, trainer.strategy.root_device
    precision.convert_module(module)
    module.model.load_state_dict(saved["model"])
    module.to(device).train()
    with precision.train_step_context(), torch.enable_grad():
        found = replayed(module.model, module.task, saved, device)
    return "" if found is None else str(found)
