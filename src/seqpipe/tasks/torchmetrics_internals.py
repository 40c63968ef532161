"""Parts of torchmetrics that its documentation does not promise; the only module that uses them.

tests/config/test_private_apis.py fails where a new version of torchmetrics changes one of them.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torchmetrics import Metric


def set_state(metric: Metric, state: Mapping[str, Tensor]) -> None:
    """Replaces states of a metric, on its device and in its precision.

    Args:
        metric: its other states stay.
        state: name -> value; names that the metric lacks are passed over.
    """
    for name, held in metric.metric_state.items():
        if name in state:
            like = torch.as_tensor(held)
            setattr(metric, name, state[name].to(like.device, like.dtype))
    metric._update_count = 1  # otherwise `compute` warns that nothing was added
