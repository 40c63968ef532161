"""Penalties that a loss gets in training: AR and TAR of a stack's outputs, coverage of attention.

Shapes: B sequences, T steps, D numbers a step, T_x keys.
"""

from abc import ABC, abstractmethod
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from seqpipe.nn.masks import length_mask
from seqpipe.nn.precision import precise


class Penalty(nn.Module, ABC):
    """A part of a model that keeps what it penalises until the loss is computed."""

    @abstractmethod
    def take(self, lengths: Int[Tensor, " B"] | None) -> Float[Tensor, " B"] | None:
        """The penalty of each sequence of the last batch, which is then forgotten; None: no batch.

        lengths: real steps of those that were stepped.
        """


class ActivationPenalty(Penalty):
    """Keeps the last outputs of a stack while it trains, and computes their penalty.

    Of a sequence of n real steps, with h_t before and m_t * h_t after dropout:
    alpha mean_t mean (m_t * h_t)^2 + beta mean_t>1 mean (h_t - h_{t-1})^2.

    Args:
        alpha: of activation regularization (AR).
        beta: of temporal activation regularization (TAR). Steps of two batches are never compared,
            also where the second continues the first (`data.bptt`), as in the authors' code.

    Source: Merity, McCann & Socher (2017), "Revisiting activation regularization for language
    RNNs", equations 6 and 7. There the norms are not means; their code takes means over all steps,
    which this is where all sequences of a batch count as many steps.
    """

    def __init__(self, alpha: float, beta: float) -> None:
        super().__init__()
        self.alpha, self.beta = alpha, beta
        self._plain: list[Tensor] = []
        self._dropped: list[Tensor] = []
        self._lengths: Tensor | None = None

    def start(self) -> None:
        """Forget what is kept: a batch begins, step by step."""
        self._plain, self._dropped, self._lengths = [], [], None

    def keep(
        self,
        plain: Float[Tensor, "B T D"],
        dropped: Float[Tensor, "B T D"],
        lengths: Int[Tensor, " B"] | None,
    ) -> None:
        """Keep the outputs of a batch before and after dropout. lengths: None: all T."""
        if self.training:
            every = torch.full((len(plain),), plain.shape[1], device=plain.device)
            self._plain, self._dropped = [plain], [dropped]
            self._lengths = every if lengths is None else lengths.to(plain.device)

    def keep_step(self, plain: Float[Tensor, "B D"], dropped: Float[Tensor, "B D"]) -> None:
        """Keep the outputs of the next step."""
        if self.training:
            self._plain.append(plain.unsqueeze(1))
            self._dropped.append(dropped.unsqueeze(1))

    def take(self, lengths: Int[Tensor, " B"] | None) -> Float[Tensor, " B"] | None:
        """See `Penalty`."""
        if not self._plain:
            return None
        plain, dropped = (precise(torch.cat(kept, 1)) for kept in (self._plain, self._dropped))
        lengths = lengths if self._lengths is None else self._lengths
        assert lengths is not None, "what is written step by step has a length"
        self.start()
        real = length_mask(lengths, plain.shape[1])
        sizes = dropped.square().mean(-1).masked_fill(~real, 0.0)
        steps = (plain[:, 1:] - plain[:, :-1]).square().mean(-1).masked_fill(~real[:, 1:], 0.0)
        by_size = sizes.sum(1) / lengths
        by_step = steps.sum(1) / (lengths - 1).clamp(min=1)
        return self.alpha * by_size + self.beta * by_step

    def __getstate__(self) -> dict[str, Any]:
        """A copy keeps no outputs: they hang on the graph of a backward pass."""
        return {**self.__dict__, "_plain": [], "_dropped": [], "_lengths": None}

    def extra_repr(self) -> str:
        """The factors, for print(model)."""
        return f"alpha={self.alpha}, beta={self.beta}"


class CoveragePenalty(Penalty):
    """Penalises attention to what has been attended to: factor mean_t sum_i min(a_ti, c_ti).

    c_t is the sum of the weights a_1..a_{t-1}; the mean goes over the real steps of y.

    Args:
        factor: lambda.

    Source: See, Liu & Manning (2017), "Get to the point", equations 12 and 13.
    """

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor
        self._weights: Tensor | None = None

    def keep(self, weights: Float[Tensor, "B T T_x"]) -> None:
        """Keep the weights of attention of a batch."""
        if self.training:
            self._weights = weights

    def take(self, lengths: Int[Tensor, " B"] | None) -> Float[Tensor, " B"] | None:
        """See `Penalty`."""
        if self._weights is None:
            return None
        assert lengths is not None, "y has a length"
        weights, self._weights = precise(self._weights), None
        before = weights.cumsum(dim=1) - weights
        overlap = torch.minimum(weights, before).sum(dim=2)
        real = length_mask(lengths, overlap.shape[1])
        return self.factor * overlap.masked_fill(~real, 0.0).sum(dim=1) / lengths

    def __getstate__(self) -> dict[str, Any]:
        """A copy keeps no weights of attention: they hang on the graph of a backward pass."""
        return {**self.__dict__, "_weights": None}

    def extra_repr(self) -> str:
        """The factor, for print(model)."""
        return f"factor={self.factor}"
