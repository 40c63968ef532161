"""A padded batch with time first, in the order in which a loop over time reads it."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from seqpipe.nn.masks import reversed_steps


@dataclass(frozen=True)
class PaddedSteps:
    """Steps of a batch, one time step after another, padding included.

    No number of the batch's device is looked at, so a GPU never waits.

    Args:
        lengths: (B,) real steps.
        turned: (T, B), the step of the sequence that is read at each step of the loop.
        padding: (T, B), True at padding; None: there is none.
    """

    lengths: Int[Tensor, " B"]
    turned: Int[Tensor, "T B"]
    padding: Bool[Tensor, "T B"] | None

    @classmethod
    def of(
        cls, x: Float[Tensor, "B T D"], lengths: Int[Tensor, " B"] | None, *, reverse: bool
    ) -> "PaddedSteps":
        """The steps of x.

        Args:
            x: (B, T, D).
            lengths: (B,) real steps, 1..T; None: all T.
            reverse: each sequence is read from its last real step to its first.
        """
        B, T = x.shape[:2]
        t = torch.arange(T, device=x.device).unsqueeze(1).expand(T, B)
        ends = torch.full((B,), T, device=x.device) if lengths is None else lengths.contiguous()
        turned = reversed_steps(ends, T).t() if reverse else t
        return cls(ends, turned, None if lengths is None else t >= ends)

    def by_time(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "T B D"]:
        """A padded batch with time first, 0 at padding, in memory of its own."""
        T, B = self.turned.shape
        first = torch.arange(B, device=x.device) * T
        rows = (first + self.turned).flatten()
        return self._cleared(self._chosen(x, rows), self.padding)

    def by_sequence(self, steps: Float[Tensor, "T B D"]) -> Float[Tensor, "B T D"]:
        """The padded batch of what is in the loop's order, 0 at padding, in memory of its own."""
        B = self.turned.shape[1]
        rows = (self.turned * B + torch.arange(B, device=steps.device)).t().flatten()
        padding = None if self.padding is None else self.padding.t()
        return self._cleared(self._chosen(steps, rows), padding)

    @staticmethod
    def _chosen(x: Tensor, rows: Tensor) -> Tensor:
        """Rows of the first two axes, which are exchanged. x: (m, n, D). Returns (n, m, D)."""
        m, n, D = x.shape
        chosen = x.new_empty(n, m, D)  # no view: the outputs of a kernel may be changed in place
        torch.index_select(x.reshape(m * n, D), 0, rows, out=chosen.view(n * m, D))
        return chosen

    @staticmethod
    def _cleared(x: Tensor, padding: Tensor | None) -> Tensor:
        return x if padding is None else x.masked_fill_(padding.unsqueeze(-1), 0.0)
