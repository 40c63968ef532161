"""The running sums of torchmetrics' metrics, saved in a checkpoint and restored from it.

The only module that writes the state of a metric, which torchmetrics has no public way to do.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torchmetrics import Metric

Sums = dict[str, dict[str, Tensor]]
"""metric -> state -> value."""


def saved_sums(metrics: Mapping[str, Metric]) -> Sums:
    """The sums of this process, on the CPU, without those of metrics that have seen no batch."""
    return {
        name: {part: torch.as_tensor(v).cpu() for part, v in metric.metric_state.items()}
        for name, metric in metrics.items()
        if metric.update_called
    }


def restore_sums(metrics: Mapping[str, Metric], sums: Sums) -> None:
    """Continues with saved sums; metrics and states that either side lacks are passed over."""
    for name in metrics.keys() & sums.keys():
        held = metrics[name].metric_state
        for part in held.keys() & sums[name].keys():
            value, like = sums[name][part], torch.as_tensor(held[part])
            setattr(metrics[name], part, value.to(like.device, like.dtype))
        metrics[name]._update_count = 1  # else torchmetrics warns: nothing to compute
