"""Architectures as graphs: from padded x and the lengths to what a network answers.

Shapes: B sequences, T steps, D numbers a step, H numbers of a state, K outputs.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from seqpipe.data.base import FieldSpec
from seqpipe.models.inputs import InputLayer
from seqpipe.models.many_to_many import ManyToMany
from seqpipe.models.many_to_one import ManyToOne
from seqpipe.models.one_to_many import OneToMany
from seqpipe.models.one_to_one import OneToOne
from seqpipe.nn.characters import CharacterCNN, CharacterEncoder, CharacterLSTM
from seqpipe.nn.head import FeedForward, Head
from seqpipe.onnx.cells import GraphState, initial_state, stack_of
from seqpipe.onnx.graph import BOOLEAN, FLOAT, INTEGER, Graph, Value

INT32 = 6
SEQUENCE = ("batch", "steps")


@dataclass(frozen=True)
class Steps:
    """Where the real steps of the inputs are.

    Args:
        lengths: (B,) integers.
        short: the same in 32 bits, as operators take it.
        real: (T, B, 1), true at real steps.
    """

    lengths: Value
    short: Value
    real: Value


def one_to_one(graph: Graph, network: OneToOne, x: FieldSpec) -> Value:
    """Reads x (B, D). Returns what the network answers, (B, K)."""
    value = graph.input("x", FLOAT, ("batch", x.size))
    return head_of(graph, network.head, _feed_forward(graph, network.encoder, value))


def many_to_one(graph: Graph, network: ManyToOne, x: FieldSpec) -> Value:
    """Reads x and lengths. Returns what the network answers, (B, K)."""
    value, steps = sequences(graph, "x", x)
    vectors = _vectors(graph, network.input, value, steps)
    outputs, state = stack_of(graph, network.encoder, vectors, steps.short)
    if network.pooling == "last":
        summary = _side_by_side(graph, [parts[0] for parts in state[-1]])
    elif network.pooling == "mean":
        kept = graph.op("Where", steps.real, outputs, graph.constant(0.0))
        total = graph.op("ReduceSum", kept, graph.integers(0), keepdims=0)
        count = graph.op("Cast", steps.lengths, to=FLOAT)
        summary = graph.op("Div", total, graph.op("Unsqueeze", count, graph.integers(1)))
    else:
        assert network.pooling == "max", network.pooling
        kept = graph.op("Where", steps.real, outputs, graph.constant(-np.inf))
        summary = graph.op("ReduceMax", kept, graph.integers(0), keepdims=0)
    return head_of(graph, network.head, summary)


def many_to_many(graph: Graph, network: ManyToMany, x: FieldSpec) -> tuple[Value, Steps]:
    """Reads x and lengths. Returns what the head says of each step, (T, B, K), and the steps."""
    value, steps = sequences(graph, "x", x)
    vectors = _vectors(graph, network.input, value, steps)
    outputs, _ = stack_of(graph, network.encoder, vectors, steps.short)
    # ONNX does not say what its operators leave at padding; NaN there would be no answer.
    outputs = graph.op("Where", steps.real, outputs, graph.constant(0.0))
    return head_of(graph, network.head, outputs), steps


def one_to_many(graph: Graph, network: OneToMany, x: FieldSpec | None, y: FieldSpec) -> Value:
    """Reads y<t-1> and a state, answers with the next state and what comes at each step.

    Inputs: `y_before`, what each step reads, first of all <BOS> or silence; `lengths`; `fresh`,
    whether a sequence starts here: its state is then the initial one, whatever was fed; the parts
    of the state, (depth, B, H); the condition x, where there is one, which `fresh` rows read.

    Returns what the network says of y<t>, (T, B, K).
    """
    kind = FieldSpec("values", y.size) if y.is_roll else y
    value, steps = sequences(graph, "y_before", kind)
    fresh = graph.op("Unsqueeze", graph.input("fresh", BOOLEAN, ("batch",)), graph.integers(1))
    start = _first_state(graph, network, x, graph.size(steps.lengths, 0))
    stack = network.decoder
    axes = (stack.depth, "batch", stack.hidden_size)
    fed = [graph.input(name, FLOAT, axes) for name in stack.cell_state_names]
    state: GraphState = []
    for level, layers in enumerate(start):
        given = [graph.op("Gather", part, graph.constant(level, np.int64), axis=0) for part in fed]
        parts = zip(layers[0], given, strict=True)
        state.append([[graph.op("Where", fresh, first, other) for first, other in parts]])
    vectors = _vectors(graph, network.input, value, steps)
    outputs, final = stack_of(graph, stack, vectors, steps.short, state)
    for place, name in enumerate(stack.cell_state_names):
        levels = [layers[0][place] for layers in final]
        first = graph.integers(0)
        rows = [graph.op("Unsqueeze", part, first) for part in levels]
        graph.output(f"{name}_next", graph.op("Concat", *rows, axis=0), FLOAT, axes)
    outputs = graph.op("Where", steps.real, outputs, graph.constant(0.0))
    return head_of(graph, network.head, outputs)


def sequences(graph: Graph, name: str, kind: FieldSpec) -> tuple[Value, Steps]:
    """Inputs: sequences, as (T, B, ...) with 0 at padding whatever was fed there; their lengths."""
    axes: tuple[str | int, ...] = SEQUENCE
    if kind.holds_floats:
        axes = (*SEQUENCE, kind.size)
    elif kind.is_spelled:
        axes = (*SEQUENCE, "word_and_characters")
    numbers = FLOAT if kind.holds_floats else INTEGER
    value = graph.input(name, numbers, axes)
    lengths = graph.input("lengths", INTEGER, ("batch",))
    value = graph.op("Transpose", value, perm=[1, 0, 2][: len(axes)])
    real = graph.op("Less", places(graph, value, 0, (1,)), at(graph, lengths, 0))  # (T, B)
    steps = Steps(lengths, graph.op("Cast", lengths, to=INT32), at(graph, real, 2))
    if numbers == INTEGER:
        zero = graph.constant(0, np.int64)
        return graph.op("Where", steps.real if len(axes) == 3 else real, value, zero), steps
    return graph.op("Where", steps.real, value, graph.constant(0.0)), steps


def head_of(graph: Graph, head: Head, value: Value) -> Value:
    """The layers of a head on the last axis."""
    activation = {torch.relu: "Relu", torch.tanh: "Tanh"}[head.activation]
    for layer in head.layers:
        assert isinstance(layer, nn.Linear)
        value = graph.op(activation, graph.linear(value, layer))
    return graph.linear(value, head.output)


def _first_state(graph: Graph, network: OneToMany, x: FieldSpec | None, rows: Value) -> GraphState:
    """Of every layer: what the condition says, or the initial state."""
    if network.condition is None:
        return initial_state(graph, network.decoder, rows)
    assert x is not None
    if isinstance(network.condition, nn.Embedding):
        ids = graph.input("x", INTEGER, ("batch",))
        source = graph.op("Gather", graph.constant(network.condition.weight), ids, axis=0)
    else:
        source = graph.input("x", FLOAT, ("batch", x.size))
    state: GraphState = []
    for maps in network.bridge.maps:
        assert isinstance(maps, nn.ModuleDict)
        linear = [layer for layer in maps.values() if isinstance(layer, nn.Linear)]
        state.append([[graph.op("Tanh", graph.linear(source, layer)) for layer in linear]])
    return state


def _feed_forward(graph: Graph, network: FeedForward, value: Value) -> Value:
    for layer in network.layers:
        assert isinstance(layer, nn.Linear)
        value = graph.op("Tanh", graph.linear(value, layer))
    return value


def _vectors(graph: Graph, layer: InputLayer, value: Value, steps: Steps) -> Value:
    """What a stack reads, (T, B, D)."""
    if layer.embedding is None:
        return value
    table = graph.constant(layer.embedding.weight)
    if layer.characters is None:
        return graph.op("Gather", table, value, axis=0)
    words = graph.op("Gather", value, graph.constant(0, np.int64), axis=2)
    end = graph.integers(np.iinfo(np.int64).max)
    spelled = graph.op("Slice", value, graph.integers(1), end, graph.integers(2))
    known = graph.op("Gather", table, words, axis=0)
    return graph.op("Concat", known, _characters(graph, layer.characters, spelled), axis=2)


def _characters(graph: Graph, encoder: CharacterEncoder, spelled: Value) -> Value:
    """spelled: (T, B, C) ids, 0 after the last of a word. Returns (T, B, W)."""
    shape = graph.op("Concat", graph.integers(-1), graph.size(spelled, 2), axis=0)
    words = graph.op("Reshape", spelled, shape)  # (N, C)
    there = graph.op("Cast", graph.op("Greater", words, graph.constant(0, np.int64)), to=INTEGER)
    lengths = graph.op("ReduceSum", there, graph.integers(1), keepdims=0)
    at_least_one = graph.op("Max", lengths, graph.integers(1))
    vectors = graph.op("Gather", graph.constant(encoder.embedding.weight), words, axis=0)
    if isinstance(encoder, CharacterCNN):
        answers = _filtered(graph, encoder, vectors, lengths, at_least_one)
    else:
        assert isinstance(encoder, CharacterLSTM)
        vectors = graph.op("Transpose", vectors, perm=[1, 0, 2])
        short = graph.op("Cast", at_least_one, to=INT32)
        _, state = stack_of(graph, encoder.stack, vectors, short)
        answers = _side_by_side(graph, [parts[0] for parts in state[-1]])
    sizes = [graph.size(spelled, 0), graph.size(spelled, 1), graph.integers(encoder.output_size)]
    return graph.op("Reshape", answers, graph.op("Concat", *sizes, axis=0))


def _filtered(
    graph: Graph, encoder: CharacterCNN, vectors: Value, lengths: Value, at_least_one: Value
) -> Value:
    """vectors: (N, C, 30); lengths: (N,). Returns (N, W)."""
    place = places(graph, vectors, 1, (0,))  # (1, C)
    inside = graph.op("Less", place, at(graph, lengths, 1))
    vectors = graph.op("Where", at(graph, inside, 2), vectors, graph.constant(0.0))
    found = graph.op(
        "Conv",
        graph.op("Transpose", vectors, perm=[0, 2, 1]),
        graph.constant(encoder.filters.weight),
        graph.constant(encoder.filters.bias),
        kernel_shape=[3],
        pads=[1, 1],
    )
    inside = graph.op("Less", place, at(graph, at_least_one, 1))
    found = graph.op("Where", at(graph, inside, 1), found, graph.constant(-np.inf))
    return graph.op("Tanh", graph.op("ReduceMax", found, graph.integers(2), keepdims=0))


def places(graph: Graph, value: Value, axis: int, unsqueezed: tuple[int, ...]) -> Value:
    """0, 1, 2, ... along an axis of a value, with further axes of length 1."""
    size = graph.op("Squeeze", graph.size(value, axis), graph.integers(0))
    one = graph.constant(1, np.int64)
    counted = graph.op("Range", graph.constant(0, np.int64), size, one)
    return graph.op("Unsqueeze", counted, graph.integers(*unsqueezed))


def at(graph: Graph, value: Value, axis: int) -> Value:
    """The value with one more axis, of length 1."""
    return graph.op("Unsqueeze", value, graph.integers(axis))


def _side_by_side(graph: Graph, values: list[Value]) -> Value:
    return values[0] if len(values) == 1 else graph.op("Concat", *values, axis=1)
