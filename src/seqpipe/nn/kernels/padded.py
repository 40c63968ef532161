"""The base of kernels that compute padding too, and keep it from changing an answer."""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seqpipe.nn.cell import Cell, State
from seqpipe.nn.masks import length_mask, reverse_within_length


class PaddedKernel(ABC):
    """A kernel that runs all sequences of a batch for all its steps."""

    name: str
    masks = False

    def __call__(
        self,
        cell: Cell,
        x: Float[Tensor, "B T D"],
        lengths: Int[Tensor, " B"] | None,
        state: State,
        *,
        reverse: bool = False,
        final: bool = True,
    ) -> tuple[Float[Tensor, "B T H"], State]:
        """See `Kernel`."""
        padding = None
        if lengths is not None:
            padding = ~length_mask(lengths, x.shape[1]).unsqueeze(-1)  # (B, T, 1)
            x = x.masked_fill(padding, 0.0)
        if reverse:
            x = reverse_within_length(x, lengths)
        outputs, last = self.run(cell, x, lengths, state)
        if reverse:
            outputs = reverse_within_length(outputs, lengths)
        if padding is not None:
            outputs = outputs.masked_fill(padding, 0.0)
        return outputs, last if final else ()

    def fits(self, device: torch.device, dtype: torch.dtype) -> bool:
        """See `Kernel`: everywhere."""
        return True

    @abstractmethod
    def run(
        self,
        cell: Cell,
        x: Float[Tensor, "B T D"],
        lengths: Int[Tensor, " B"] | None,
        state: State,
    ) -> tuple[Float[Tensor, "B T H"], State]:
        """Runs a batch forwards.

        Args:
            cell: the weights.
            x: (B, T, D), zeros at padding.
            lengths: (B,) real steps; None: all T.
            state: before the first step, (B, H) for each part.

        Returns:
            h_1..h_T (B, T, H), anything at padding; the state after each sequence's last real
            step, in the precision of `state`.
        """
