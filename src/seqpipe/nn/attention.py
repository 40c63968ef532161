"""Attention of a decoder over an encoder's outputs.

Shapes: B sequences, T_y queries of Q numbers, T_x keys of K numbers.
"""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from seqpipe.bounds import checked
from seqpipe.errors import ConfigError
from seqpipe.nn.additive_scores import additive_scores
from seqpipe.rules import refusal


class Keys(NamedTuple):
    """Keys that are prepared once and then looked up by any number of queries.

    Args:
        values: (B, T_x, K), 0 at padding.
        scored: what a query is compared with, (B, T_x, Q) for `additive`, else `values`.
        mask: (B, T_x), True at real steps.
    """

    values: Float[Tensor, "B T_x K"]
    scored: Float[Tensor, "B T_x S"]
    mask: Bool[Tensor, "B T_x"]

    def of_rows(self, rows: Int[Tensor, " N"]) -> "Keys":
        """The keys of some sequences. rows: (N,) places in the batch."""
        return Keys(*(part.index_select(0, rows) for part in self))


class Attention(nn.Module):
    """A mean of the keys for each query, weighted by how well each key fits it.

    `dot`: score = query . key. `general`: score = query . (W key).
    `additive`: score = v . tanh(W query + U key), Q wide; with coverage, v . tanh(W query + U key +
    w c), where c is the weight that the key has got from all queries of the steps before.

    Args:
        query_size: Q.
        key_size: K.
        kind: how a key is scored.
        coverage: `additive` also reads what is covered, which `forward` is then given.

    Raises:
        ConfigError: an unknown kind; `dot` with Q different from K.

    Source: Luong et al. (2015), equation 8 (dot, general); Bahdanau et al. (2015), appendix
    A.1.2 (additive) and equations 5 and 6 (context and weights); See et al. (2017), equations 10
    and 11 (coverage).
    """

    @checked()
    def __init__(
        self,
        query_size: int,
        key_size: int,
        *,
        kind: Literal["dot", "general", "additive"],
        coverage: bool = False,
    ) -> None:
        super().__init__()
        self.kind, self.coverage = kind, coverage
        if kind == "dot" and query_size != key_size:
            wrong = f"the decoder's outputs are {query_size} wide and the encoder's {key_size}"
            allowed = f"general, additive, or architecture.decoder.hidden_size={key_size}"
            raise ConfigError(refusal("architecture.attention", kind, wrong, allowed))
        if kind == "general":
            self.map_query = nn.Linear(query_size, key_size, bias=False)
        if kind == "additive":
            self.map_query = nn.Linear(query_size, query_size, bias=False)
            self.map_key = nn.Linear(key_size, query_size)
            self.score = nn.Linear(query_size, 1, bias=False)
        if coverage:
            assert kind == "additive", "refused where the option is given"
            self.map_coverage = nn.Linear(1, query_size, bias=False)

    @property
    def connects_steps(self) -> tuple[str, ...]:
        """See `RecurrentLayer`: with one key, every query finds it alone."""
        return tuple(name for name, _ in self.named_children())

    def prepare(self, keys: Float[Tensor, "B T_x K"], key_mask: Bool[Tensor, "B T_x"]) -> Keys:
        """The part of a look-up that does not depend on the query.

        Args:
            keys: (B, T_x, K); padding may hold anything.
            key_mask: (B, T_x), True at real steps; at least one a sequence.
        """
        values = keys.masked_fill(~key_mask.unsqueeze(-1), 0.0)
        scored = self.map_key(values) if self.kind == "additive" else values
        return Keys(values, scored, key_mask)

    def forward(
        self,
        queries: Float[Tensor, "B T_y Q"],
        keys: Keys,
        covered: Float[Tensor, "B T_y T_x"] | None = None,
    ) -> tuple[Float[Tensor, "B T_y K"], Float[Tensor, "B T_y T_x"]]:
        """Looks up every query.

        Args:
            queries: (B, T_y, Q).
            keys: from `prepare`.
            covered: c of each query, (B, T_y, T_x); None without coverage.

        Returns:
            context (B, T_y, K); weights (B, T_y, T_x), 0 at padding, sum 1 over real steps.
        """
        assert (covered is not None) == self.coverage, "covered is read with coverage only"
        if covered is None:
            scores = self._scores(queries, keys.scored)
        else:
            scores = self._covered_scores(queries, keys.scored, covered)
        weights = scores.masked_fill(~keys.mask.unsqueeze(1), -torch.inf).softmax(dim=-1)
        return weights.to(keys.values.dtype) @ keys.values, weights

    def _scores(self, queries: Tensor, scored: Tensor) -> Tensor:
        """scored: of `Keys`. Returns (B, T_y, T_x)."""
        if self.kind == "dot":
            return queries @ scored.mT
        if self.kind == "general":
            mapped: Tensor = self.map_query(queries)
            return mapped @ scored.mT
        assert self.kind == "additive", self.kind
        return additive_scores(self.map_query(queries), scored, self.score.weight[0])

    def _covered_scores(self, queries: Tensor, scored: Tensor, covered: Tensor) -> Tensor:
        """As `_scores`; each query has keys of its own, for they hold what it finds covered."""
        own = scored.unsqueeze(1) + self.map_coverage(covered.unsqueeze(-1))  # (B, T_y, T_x, Q)
        mapped = self.map_query(queries).flatten(0, 1).unsqueeze(1)
        scores = additive_scores(mapped, own.flatten(0, 1), self.score.weight[0])
        return scores.view_as(covered)
