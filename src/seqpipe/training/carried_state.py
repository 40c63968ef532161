"""Carried state: what passes from one batch to the next in truncated backpropagation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqpipe.data.base import SequenceBatch
from seqpipe.models.architecture import Carries
from seqpipe.nn.nested_state import Tree, map_state


class Carried:
    """The detached state of each lane after its last batch."""

    def __init__(self) -> None:
        self.lanes: Tree = None

    def enter(self, start: Tree, lane: Tensor, fresh: Tensor) -> Tree:
        """Return the state that each row of a batch starts from.

        Args:
            start: the initial state of each row.
            lane: (B,), the lane whose state a row continues.
            fresh: (B,), True where a row starts from the initial state.
        """
        if self.lanes is None:
            return start
        kept = map_state(lambda held: held[lane], self.lanes)
        return map_state(lambda new, old: torch.where(_wide(fresh, new), new, old), start, kept)

    def leave(self, state: Tree, lane: Tensor) -> None:
        """Keep the state in which the rows of a batch ended."""
        ended = map_state(lambda rows: rows.detach(), state)
        if self.lanes is None:  # the first batch has all lanes
            count = int(lane.max()) + 1
            self.lanes = map_state(lambda rows: rows.new_zeros(count, *rows.shape[1:]), ended)
        self.lanes = map_state(lambda held, rows: held.index_copy(0, lane, rows), self.lanes, ended)

    def state_dict(self) -> Tree:
        """Return the states of all lanes; None before the first batch."""
        return self.lanes

    def load_state_dict(self, lanes: Tree, device: torch.device) -> None:
        """Restore the states of a checkpoint; None if it has none."""
        self.lanes = None if lanes is None else map_state(lambda held: held.to(device), lanes)


def answer(model: nn.Module, batch: SequenceBatch, carried: Carried) -> Tensor:
    """Return the logits of a batch, (B, K) or (B, T, K); lanes continue with their state."""
    if batch.lane is None:
        logits: Tensor = model(batch.x, batch.x_lengths, batch.y, batch.y_lengths)
        return logits
    assert isinstance(model, Carries) and batch.fresh is not None and batch.y_lengths is not None
    state = carried.enter(model.start(len(batch)), batch.lane, batch.fresh)
    logits, state = model.carry(batch.x, batch.x_lengths, batch.y, batch.y_lengths, state)
    carried.leave(state, batch.lane)
    return logits


def _wide(mask: Tensor, like: Tensor) -> Tensor:
    return mask.view(-1, *[1] * (like.ndim - 1))
