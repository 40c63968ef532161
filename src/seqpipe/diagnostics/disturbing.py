"""The same batch with other padding, or with another future: what no answer may depend on."""

from dataclasses import replace

import torch
from torch import Tensor

from seqpipe.data.base import FieldSpec, SequenceBatch, SequenceSpec
from seqpipe.data.vocabulary import EOS
from seqpipe.nn.masks import length_mask

MORE = 3  # padded steps added
POISON = 1e6  # in place of the zeros of floats


def poisoned(batch: SequenceBatch, spec: SequenceSpec) -> SequenceBatch:
    """The same examples in a longer batch, whose padding is as bad as can be.

    Padding of floats becomes `POISON`, of ids the last id there is. T_x and T_y grow by `MORE`;
    where they were different sequences and would be equally long, T_y by one more: then what is
    T_x long is known to have the time of x.
    """
    x, y = batch.x, batch.y
    if x is not None and spec.x is not None and batch.x_lengths is not None:
        x = _longer(x, batch.x_lengths, spec.x, MORE)
    if batch.y_lengths is not None:
        apart = batch.x_lengths is not None and not torch.equal(batch.x_lengths, batch.y_lengths)
        clash = apart and x is not None and x.shape[1] == y.shape[1] + MORE
        y = _longer(y, batch.y_lengths, spec.y, MORE + clash)
    return replace(batch, x=x, y=y)


def _longer(values: Tensor, lengths: Tensor, field: FieldSpec, more: int) -> Tensor:
    B, T = values.shape[:2]
    values = torch.cat([values, values.new_zeros(B, more, *values.shape[2:])], dim=1)
    real = length_mask(lengths, T + more).view(B, T + more, *[1] * (values.ndim - 2))
    return torch.where(real, values, _bad(values, field))


def _bad(values: Tensor, field: FieldSpec) -> Tensor:
    """What stands in the padding; of the shape of values."""
    if values.is_floating_point():
        return torch.full_like(values, POISON)
    bad = torch.full_like(values, field.size - 1)
    if field.kind == "spelled" and field.characters is not None:
        bad[..., 1:] = field.characters - 1
    return bad


def other_from(values: Tensor, step: int, field: FieldSpec) -> Tensor:
    """The same up to `step`, from there on something else: (B, T, ...).

    Notes of a roll are turned over, other floats moved by 1 to 2, ids turned into the next one
    that is ordinary.
    """
    late = values[:, step:]
    if field.kind == "roll":
        late = 1 - late
    elif values.is_floating_point():
        late = late + 1 + torch.rand(late.shape).to(late)
    else:
        late = _next_id(late, field)
    return torch.cat([values[:, :step], late], dim=1)


def _next_id(ids: Tensor, field: FieldSpec) -> Tensor:
    lowest = EOS + 1 if field.kind in ("symbols", "spelled") and field.size > EOS + 2 else 0
    words = ids[..., :1] if field.kind == "spelled" else ids
    words = lowest + (words - lowest + 1).remainder(field.size - lowest)
    return torch.cat([words, ids[..., 1:]], dim=-1) if field.kind == "spelled" else words
