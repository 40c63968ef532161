"""Output layers of a vocabulary: products by oneDNN on a CPU, and weights of an embedding."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from seqpipe.nn.kernels.products import linear, outer

MANY = 2**20
"""Numbers of an output from which its products repay oneDNN's layout of the weight."""


class WideLinear(nn.Linear):
    """`nn.Linear`, with the same parameters and answers, faster where a vocabulary is large."""

    def forward(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch K"]:
        """x: (..., D). Returns (..., K)."""
        rows = x.flatten(0, -2) if x.ndim > 1 else x.unsqueeze(0)
        plain = x.device.type != "cpu" or torch.is_autocast_enabled("cpu")
        if plain or len(rows) * self.out_features < MANY:
            return super().forward(x)
        product: Any = _Product.apply
        y: Tensor = product(rows, self.weight, self.bias)
        return y.view(*x.shape[:-1], self.out_features)


class TiedLinear(WideLinear):
    """A linear layer whose weights are those of an embedding, (V, D), which keeps them.

    They are no parameter of this layer: it has its bias only, which starts at 0.

    Args:
        embedding: (V, D).
    """

    def __init__(self, embedding: nn.Embedding) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = embedding.embedding_dim, embedding.num_embeddings
        self._embedding = (embedding,)  # in a tuple it is no part of this module
        self.bias = nn.Parameter(torch.zeros(self.out_features))

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """The weights of the embedding, (V, D)."""
        return self._embedding[0].weight

    def reset_parameters(self) -> None:
        """Draw initial weights, see `nn.Linear`; those of the embedding with them."""
        super().reset_parameters()
        nn.init.zeros_(self.bias)


class _Product(torch.autograd.Function):
    """X W^T + b. Like torch's own it keeps x and W, and not the product."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return linear(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        by_x, by_weight, by_bias = ctx.needs_input_grad
        return (
            linear(gradient, weight.t()) if by_x else None,
            outer(gradient, x) if by_weight else None,
            gradient.sum(0) if by_bias else None,
        )
