"""Where a translation looked: the attention of each of its steps, with the symbols."""

from typing import Any

import torch

from seqpipe.data.base import Field, Record
from seqpipe.data.vocabulary import EOS
from seqpipe.inference.model import Model
from seqpipe.models.architecture import Attends


@torch.inference_mode()
def attended(model: Model, record: Record, prediction: str) -> tuple[Any, list[str], list[str]]:
    """The attention of one answer.

    Args:
        model: one with attention.
        record: that was asked.
        prediction: what it answered.

    Returns:
        weights (T_y, T_x), each row of sum 1; the symbols of x; those of y, <EOS> included.
    """
    network = model.network
    assert isinstance(network, Attends) and model.x is not None
    x = model.x.encode(record).to(model.x.spec.dtype)
    y = model.y.encode_target({model.y.column: prediction}).long()
    lengths = torch.tensor([len(x)]), torch.tensor([len(y)])
    device = model.device
    weights = network.attention_of(
        x.unsqueeze(0).to(device),
        lengths[0].to(device),
        y.unsqueeze(0).to(device),
        lengths[1].to(device),
    )
    return weights[0].cpu().numpy(), _names(model.x, x), _names(model.y, y)


def _names(field: Field, values: torch.Tensor) -> list[str]:
    """A word for each step; its number, from 1, where steps have none."""
    names = field.spec.names
    if names is None:
        return [str(step) for step in range(1, len(values) + 1)]
    ids = values[:, 0] if values.ndim == 2 else values
    return ["<EOS>" if int(id_) == EOS else names[int(id_)] for id_ in ids]
