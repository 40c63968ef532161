"""Repeat a batch whose update was not finite: `python -m seqpipe replay file=...`."""

import math
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from pytorch_lightning import Trainer

from seqpipe.build import build_model, build_module, build_task
from seqpipe.config.compose import Launch
from seqpipe.errors import ConfigError, SeqpipeError
from seqpipe.runs.load_data import load_data
from seqpipe.runs.matched_size import settle_hidden_size
from seqpipe.runs.summary import as_lines
from seqpipe.runs.training_run import RunResult
from seqpipe.training.module import SequenceModule
from seqpipe.training.nonfinite_guard import read_kept_batch, repeat_kept_batch

ALLOWED = "outputs/runs/.../bad_steps/step_12_rank0.pt, with the same overrides as its run"


def run(cfg: DictConfig, launch: Launch) -> RunResult:
    """Loads the weights of that moment, runs the batch, and trains nothing.

    Args:
        cfg: the whole configuration, as of the training that kept the batch.
        launch: how the command was started, with `file`.

    Raises:
        ConfigError: the file is not one of seqpipe's, or belongs to another model or other data.
    """
    if cfg.resume is not None:
        text = "has no effect, since replay runs one batch; allowed: leave it out"
        raise ConfigError(f"resume={cfg.resume}: {text}")
    path = Path(str(launch.file))
    if not path.is_file():
        raise ConfigError(f"file={path}: no such file; allowed: {ALLOWED}")
    try:
        saved = read_kept_batch(path)
    except ValueError as error:
        raise ConfigError(f"file={path}: {error}; allowed: {ALLOWED}") from None
    loaded = load_data(cfg, launch)
    data = loaded.data
    task = build_task(cfg, data)
    settle_hidden_size(cfg, data.spec, task.output_size)
    module = build_module(cfg, build_model(cfg, data.spec, task.output_size), task)
    try:
        found = _replayed(module, loaded.trainer, saved)
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
        raise ConfigError(f"file={path}: {text}") from None
    rows = {
        "file": f"{path}, update {saved['update']}",
        "then": saved["text"],
        "now": found or "the answer, the loss and its gradient are finite",
    }
    return RunResult({}, math.nan, launch.output_dir, None, as_lines(rows))


def _replayed(module: SequenceModule, trainer: Trainer, saved: dict[str, Any]) -> str:
    precision, device = trainer.precision_plugin, trainer.strategy.root_device
    precision.convert_module(module)
    module.model.load_state_dict(saved["model"])
    module.to(device).train()
    with precision.train_step_context(), torch.enable_grad():
        found = repeat_kept_batch(module.model, module.task, saved, device)
    return "" if found is None else str(found)
