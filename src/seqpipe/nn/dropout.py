"""Dropout of what layers pass on and of words, with masks that may stay for a whole sequence.

Shapes: B sequences, T steps, D numbers a step.
"""

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn


def locking_faults(
    depth: int,
    dropout: int | float,
    input_dropout: int | float,
    output_dropout: int | float | None,
    locked_dropout: bool,
) -> Iterator[tuple[str, str]]:
    """Yield the locked dropout of a stack that drops nothing: (argument, text)."""
    last = dropout if output_dropout is None else output_dropout
    shares = (input_dropout, last, *([dropout] if depth > 1 else []))
    if locked_dropout and not any(shares):
        yield "locked_dropout", "nothing is dropped; allowed: false, or also dropout=0.2"


class Dropout(nn.Dropout):
    """Dropout of each step by itself, or the same at all steps of a sequence.

    Args:
        p: probability that one number is set to 0 in training; the others are divided by 1 - p.
        locked: draw one mask for each sequence, not for each step: variational dropout. Of a text
            that is read in pieces (`data.bptt`), each piece is a sequence.

    Source: Srivastava et al. (2014); locked: Gal & Ghahramani (2016), "A theoretically grounded
    application of dropout in recurrent neural networks", section 4; Merity et al. (2018), section
    4.2.
    """

    def __init__(self, p: float, *, locked: bool = False) -> None:
        super().__init__(p)
        self.locked = locked

    def forward(self, x: Float[Tensor, "B *T D"]) -> Float[Tensor, "B *T D"]:
        """x: (B, T, D), or (B, D) of one vector a sequence. Returns the same shape."""
        if self.locked and self.training and self.p > 0 and x.ndim == 3:
            return x * super().forward(torch.ones_like(x[:, :1]))
        return super().forward(x)

    def over_steps(self) -> Callable[[Tensor], Tensor]:
        """A function that drops the steps of a sequence, (B, D) each, one after the other.

        Locked, its first call draws the mask of all.
        """
        if not (self.locked and self.training and self.p > 0):
            return self
        mask: Tensor | None = None

        def drop(x_t: Tensor) -> Tensor:
            nonlocal mask
            if mask is None:
                mask = super(Dropout, self).forward(torch.ones_like(x_t))
            return x_t * mask

        return drop

    def extra_repr(self) -> str:
        """The probability, for print(model)."""
        return f"{super().extra_repr()}, locked={self.locked}"


class RowDropout(nn.Module):
    """Dropout of whole rows of an embedding: some symbols are 0 wherever they occur in a batch.

    Args:
        p: probability that a row is set to 0 in training; the others are divided by 1 - p.

    Source: Gal & Ghahramani (2016), section 4.2, word embeddings dropout; Merity et al. (2018),
    section 4.3.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def draw(self, weight: Float[Tensor, "V D"]) -> Float[Tensor, "V 1"] | None:
        """The factor of each row of the embedding in a batch; None: nothing is dropped."""
        if self.p == 0 or not self.training:
            return None
        return nn.functional.dropout(weight.new_ones(len(weight), 1), self.p)

    def extra_repr(self) -> str:
        """The probability, for print(model)."""
        return f"p={self.p}"
