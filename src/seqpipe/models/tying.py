"""One matrix for the vectors that a decoder reads and for its output layer."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from seqpipe.errors import ConfigError
from seqpipe.models.inputs import InputLayer
from seqpipe.nn.head import Head
from seqpipe.nn.recurrent import RecurrentStack
from seqpipe.rules import refusal

SMALL = 0.1
"""An embedding that is also an output layer starts uniform in +-0.1, not normal."""


def tied_size(
    embedding_size: int | None,
    vectors: Tensor | None,
    decoder: Callable[..., RecurrentStack],
    head: Callable[..., Head],
) -> int | None:
    """The width of an embedding that is to be tied: `embedding_size`, or what the output reads.

    Args:
        embedding_size: as given.
        vectors: that the embedding starts from, whose width it then has.
        decoder: below the head, not made yet.
        head: not made yet.

    Returns:
        the width; None: that of `vectors`, or the usual one.
    """
    if embedding_size is not None or vectors is not None:
        return embedding_size
    given: Any = getattr(head, "keywords", {})
    if hidden := given.get("hidden"):
        return int(hidden[-1])
    width: int | None = getattr(decoder, "keywords", {}).get("hidden_size")
    return width


def tie(layer: InputLayer, head: nn.Module, vectors: Tensor | None) -> None:
    """Make the embedding of an input layer the weights of a head's output layer, too.

    It is one parameter, of the embedding: weight decay, gradient statistics and saved models have
    it there and nowhere else.

    Args:
        layer: of symbols.
        head: with a method `tie`.
        vectors: that the embedding starts from; None: it starts as an output layer may.

    Raises:
        ConfigError: the head has no such method.

    Source: Press & Wolf (2017), "Using the output embedding to improve language models", section 3;
    Inan et al. (2017). Merity et al. (2018), section 5, for the initial weights.
    """
    tie_to: Callable[[nn.Embedding], None] | None = getattr(head, "tie", None)
    if tie_to is None:
        wrong = f"{type(head).__name__} has no method tie"
        allowed = "false, or architecture.head=linear"
        raise ConfigError(refusal("architecture.tie_embeddings", True, wrong, allowed))
    assert layer.embedding is not None, "symbols have an embedding"
    if vectors is None:
        nn.init.uniform_(layer.embedding.weight, -SMALL, SMALL)
    tie_to(layer.embedding)
