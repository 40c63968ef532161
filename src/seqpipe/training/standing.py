"""Where a training stands besides its weights: what a checkpoint adds, to go on exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, distributed
from torchmetrics import Metric

from seqpipe.tasks.metrics import WeightedMean

if TYPE_CHECKING:
    from seqpipe.training.module import SequenceModule


def save(module: SequenceModule) -> list[dict[str, Any]]:
    """Of each process: random numbers, the epoch's sums, carried states, the gradient's numbers."""
    here: dict[str, Any] = {"cpu": torch.get_rng_state(), "sums": _sums(module)}
    here["carried"] = module.carried["train"].lanes
    here["flow"], here["bad_steps"] = module.flow.state(), module.bad_steps.count
    if module.device.type == "cuda":
        here["cuda"] = torch.cuda.get_rng_state(module.device)
    everywhere: list[Any] = [here]
    if distributed.is_available() and distributed.is_initialized():
        everywhere = [None] * module.trainer.world_size
        distributed.all_gather_object(everywhere, here)
    return everywhere


def restore(module: SequenceModule, saved: dict[str, Any]) -> None:
    """Takes up what `save` kept of this process."""
    torch.set_rng_state(saved["cpu"].cpu())
    if "cuda" in saved and module.device.type == "cuda":
        torch.cuda.set_rng_state(saved["cuda"].cpu(), module.device)
    module.carried["train"].restore(saved["carried"], module.device)
    if "flow" in saved:  # not in the checkpoints of older versions
        module.flow.restore(saved["flow"])
        module.bad_steps.count = saved["bad_steps"]
    metrics = _metrics(module)
    for name in metrics.keys() & saved["sums"].keys():
        held = metrics[name].metric_state
        for part in held.keys() & saved["sums"][name].keys():
            value, like = saved["sums"][name][part], torch.as_tensor(held[part])
            setattr(metrics[name], part, value.to(like.device, like.dtype))
        metrics[name]._update_count = 1  # else torchmetrics warns: nothing to compute


def _metrics(module: SequenceModule) -> dict[str, Metric]:
    """The metrics that are summed up over a training epoch, by name."""
    metrics = cast(dict[str, Metric], dict(cast(Any, module.metrics["train_metrics"]).items()))
    return {**metrics, "loss": cast(WeightedMean, module.losses["train_loss"])}


def _sums(module: SequenceModule) -> dict[str, dict[str, Tensor]]:
    """Where they stand, in this process; nothing of those that have seen no batch."""
    return {
        name: {part: torch.as_tensor(v).cpu() for part, v in metric.metric_state.items()}
        for name, metric in _metrics(module).items()
        if metric.update_called
    }
