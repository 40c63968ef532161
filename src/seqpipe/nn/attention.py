"""Attention of a decoder over an encoder's outputs.

Shapes: B sequences, T_y queries of Q numbers, T_x keys of K numbers.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from seqpipe.errors import ConfigError
from seqpipe.nn.checks import one_of

KINDS = ("dot", "general", "additive")


class Attention(nn.Module):
    """A mean of the keys for each query, weighted by how well each key fits it.

    `dot`: score = query . key. `general`: score = query . (W key).
    `additive`: score = v . tanh(W query + U key), Q wide.

    Args:
        query_size: Q.
        key_size: K.
        kind: how a key is scored.

    Raises:
        ConfigError: an unknown kind; `dot` with Q different from K.

    Source: Luong et al. (2015), equation 8 (dot, general); Bahdanau et al. (2015), appendix
    A.1.2 (additive) and equations 5 and 6 (context and weights).
    """

    def __init__(
        self, query_size: int, key_size: int, *, kind: Literal["dot", "general", "additive"]
    ) -> None:
        super().__init__()
        one_of("architecture.attention", kind, KINDS)
        self.kind = kind
        if kind == "dot" and query_size != key_size:
            raise ConfigError(
                f"architecture.attention=dot: the decoder's outputs are {query_size} wide and the"
                f" encoder's {key_size}, dot needs them equal; general, additive, or"
                f" architecture.decoder.hidden_size={key_size}"
            )
        if kind == "general":
            self.map_query = nn.Linear(query_size, key_size, bias=False)
        if kind == "additive":
            self.map_query = nn.Linear(query_size, query_size, bias=False)
            self.map_key = nn.Linear(key_size, query_size)
            self.score = nn.Linear(query_size, 1, bias=False)

    def forward(
        self,
        queries: Float[Tensor, "B T_y Q"],
        keys: Float[Tensor, "B T_x K"],
        key_mask: Bool[Tensor, "B T_x"],
    ) -> tuple[Float[Tensor, "B T_y K"], Float[Tensor, "B T_y T_x"]]:
        """Looks every query up.

        Args:
            queries: (B, T_y, Q).
            keys: (B, T_x, K); padding may hold anything.
            key_mask: (B, T_x), True at real steps; at least one a sequence.

        Returns:
            context (B, T_y, K); weights (B, T_y, T_x), 0 at padding, sum 1 over real steps.
        """
        keys = keys.masked_fill(~key_mask.unsqueeze(-1), 0.0)
        scores = self._scores(queries, keys).masked_fill(~key_mask.unsqueeze(1), -torch.inf)
        weights = scores.softmax(dim=-1)
        return weights.to(keys.dtype) @ keys, weights

    def _scores(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Returns (B, T_y, T_x)."""
        if self.kind == "dot":
            return queries @ keys.mT
        if self.kind == "general":
            mapped: Tensor = self.map_query(queries)
            return mapped @ keys.mT
        assert self.kind == "additive", self.kind
        summed = self.map_query(queries).unsqueeze(2) + self.map_key(keys).unsqueeze(1)
        scores: Tensor = self.score(torch.tanh(summed)).squeeze(-1)  # of (B, T_y, T_x, Q)
        return scores
