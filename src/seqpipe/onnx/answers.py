"""What a graph answers with: probabilities where the task has them, numbers in the data's units."""

import numpy as np
from torch import nn

from seqpipe.data.base import SequenceSpec
from seqpipe.errors import ConfigError
from seqpipe.models.encoder_decoder import EncoderDecoder
from seqpipe.models.many_to_many import ManyToMany
from seqpipe.models.many_to_one import ManyToOne
from seqpipe.models.one_to_many import OneToMany
from seqpipe.models.one_to_one import OneToOne
from seqpipe.nn.crf import CRFHead
from seqpipe.onnx.crf import marginals_of, potentials_of, tags_of
from seqpipe.onnx.graph import DOUBLE, FLOAT, INTEGER, Graph, Value
from seqpipe.onnx.networks import (
    SEQUENCE,
    many_to_many,
    many_to_one,
    one_to_many,
    one_to_one,
)
from seqpipe.tasks.base import Task
from seqpipe.tasks.multi_label import MultiLabel
from seqpipe.tasks.ordinal import Ordinal
from seqpipe.tasks.regression import Regression
from seqpipe.tasks.tagging import Tagging

Axes = tuple[str | int, ...]


def graph_of(network: nn.Module, task: Task, spec: SequenceSpec) -> Graph:
    """A trained network as a graph, with the inputs and outputs of its architecture.

    Raises:
        ConfigError: a network or a cell that is not written as ONNX.
    """
    graph = Graph()
    if isinstance(network, OneToMany):
        said = one_to_many(graph, network, spec.x, spec.y)
        _answer(graph, task, said, (*SEQUENCE, network.y_size))
        return graph
    assert spec.x is not None
    if isinstance(network, ManyToMany):
        said, steps = many_to_many(graph, network, spec.x)
        if isinstance(network.head, CRFHead):
            assert isinstance(task, Tagging)
            scores = potentials_of(graph, network.head, said, steps, task.allowed)
            _whole_sequences(graph, scores, task.output_size)
            return graph
        _answer(graph, task, said, (*SEQUENCE, task.output_size))
    elif isinstance(network, ManyToOne):
        _answer(graph, task, many_to_one(graph, network, spec.x), ("batch", task.output_size))
    elif isinstance(network, OneToOne):
        _answer(graph, task, one_to_one(graph, network, spec.x), ("batch", task.output_size))
    else:
        assert isinstance(network, EncoderDecoder), type(network)
        raise ConfigError(
            "architecture=encoder_decoder: is not written as ONNX: it answers step by step, each"
            " reading its own last answer; allowed: format=safetensors"
        )
    return graph


def _answer(graph: Graph, task: Task, said: Value, axes: Axes) -> None:
    """The outputs of a graph. said: (B, K), or (T, B, K)."""
    if len(axes) == 3:
        said = graph.op("Transpose", said, perm=[1, 0, 2])
    if isinstance(task, Regression):
        graph.output("prediction", *_in_units(graph, task, said), axes)
        return
    graph.output("logits", said, FLOAT, axes)
    if isinstance(task, Ordinal):
        graph.output("probabilities", _ordinal(graph, said), FLOAT, (axes[0], task.y.size))
    elif isinstance(task, MultiLabel):
        graph.output("probabilities", graph.op("Sigmoid", said), FLOAT, axes)
    else:
        graph.output("probabilities", graph.op("Softmax", said, axis=-1), FLOAT, axes)


def _whole_sequences(graph: Graph, scores: Value, size: int) -> None:
    """The outputs of a CRF. scores: (T, B, K, K)."""
    tags = graph.op("Transpose", tags_of(graph, scores), perm=[1, 0])
    graph.output("tags", tags, INTEGER, SEQUENCE)
    chances = graph.op("Transpose", marginals_of(graph, scores), perm=[1, 0, 2])
    graph.output("probabilities", chances, FLOAT, (*SEQUENCE, size))


def _in_units(graph: Graph, task: Regression, said: Value) -> tuple[Value, int]:
    """Numbers as they were before they were standardised, in float64 if they were; their type."""
    if task.y.mean is None or task.y.scale is None:
        return said, FLOAT
    exact = graph.op("Cast", said, to=DOUBLE)
    scaled = graph.op("Mul", exact, graph.constant(task.y.scale, np.float64))
    return graph.op("Add", scaled, graph.constant(task.y.mean, np.float64)), DOUBLE


def _ordinal(graph: Graph, said: Value) -> Value:
    """As `seqpipe.tasks.ordinal.log_probabilities`, (B, K - 1) -> (B, K) probabilities."""
    one, last = graph.integers(1), graph.integers(1)
    end, start = graph.integers(np.iinfo(np.int64).max), graph.integers(0)
    first = graph.op("Slice", said, start, one, last)
    rest = graph.op("Slice", said, one, end, last)
    gaps = graph.op("CumSum", graph.op("Softplus", rest), graph.constant(1, np.int64))
    above = graph.op("Concat", first, graph.op("Sub", first, gaps), axis=1)
    higher = graph.op("Slice", above, start, graph.integers(-1), last)
    lower = graph.op("Slice", above, one, end, last)
    inner = graph.op("Mul", graph.op("Sigmoid", higher), graph.op("Sigmoid", rest))
    inner = graph.op("Mul", inner, graph.op("Sigmoid", graph.op("Neg", lower)))
    bottom = graph.op("Sigmoid", graph.op("Neg", first))
    top = graph.op("Sigmoid", graph.op("Slice", above, graph.integers(-1), end, last))
    return graph.op("Concat", bottom, inner, top, axis=1)
