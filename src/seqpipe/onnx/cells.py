"""Recurrent layers as ONNX operators, which take the length of each sequence.

The operator `LSTM` packs gates i, o, f, c where we pack i, f, g, o; `GRU` packs z, r, h where we
pack r, u, c, and its z keeps the old state where our u lets the new one in: z = 1 - u, so the rows
of u change sign. Given `sequence_lens` an operator reads a sequence backwards from its last real
step, and its final state is the one after the last step read: padding has no say.

Source: the operators LSTM, GRU and RNN of ONNX, version 14.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from seqpipe.errors import ConfigError
from seqpipe.nn.cells import GRU, LSTM, RNN, Cell, PeepholeLSTM, SimplifiedGRU
from seqpipe.nn.recurrent import RecurrentLayer, RecurrentStack
from seqpipe.onnx.graph import INTEGER, Graph, Value, torch_rows

KNOWN = (RNN, SimplifiedGRU, GRU, LSTM, PeepholeLSTM)
OPEN = 1e4
"""A pre-activation at which a sigmoid is exactly 1."""

GraphState = list[list[list[Value]]]
"""Parts of the state, (B, H) each, by [layer][direction]."""


@dataclass(frozen=True)
class _Operator:
    """What a cell is to ONNX.

    Args:
        kind: `LSTM`, `GRU` or `RNN`.
        weights: W (G*H, D), R (G*H, H), the bias of both (2*G*H,).
        peephole: P (3*H,), rows i, o, f; None without.
        attributes: `activations` and the like.
    """

    kind: str
    weights: tuple[Tensor, Tensor, Tensor]
    attributes: dict[str, object]
    peephole: Tensor | None = None


def levels_of(stack: RecurrentStack) -> list[list[RecurrentLayer]]:
    """The directions of each layer, the lowest layer first."""
    levels = [cast(nn.ModuleDict, level).values() for level in stack.layers]
    return [[cast(RecurrentLayer, layer) for layer in layers] for layers in levels]


def check_cell(cell: Cell) -> None:
    """Refuses a cell whose step is not written down here.

    Raises:
        ConfigError: with those that can be exported.
    """
    if type(cell) not in KNOWN:
        names = ", ".join(kind.__name__ for kind in KNOWN)
        text = "cannot be written as ONNX, its step is not known there"
        raise ConfigError(
            f"cell={type(cell).__name__}: {text}; allowed: {names}, or format=safetensors"
        )


def stack_of(
    graph: Graph,
    stack: RecurrentStack,
    x: Value,
    lengths: Value,
    state: GraphState | None = None,
) -> tuple[Value, GraphState]:
    """A recurrent stack over padded sequences.

    Args:
        graph: that it is written into.
        stack: with its weights.
        x: (T, B, D).
        lengths: (B,) integers of 32 bits.
        state: before the first step; None: the initial one.

    Returns:
        the outputs of the top layer (T, B, N*H), anything at padding; the final state.
    """
    final = []
    for level, layers in enumerate(levels_of(stack)):
        run = [
            _layer(graph, layer, x, lengths, None if state is None else state[level][direction])
            for direction, layer in enumerate(layers)
        ]
        x = run[0][0] if len(run) == 1 else graph.op("Concat", *[y for y, _ in run], axis=2)
        final.append([after for _, after in run])
    return x, final


def initial_state(graph: Graph, stack: RecurrentStack, rows: Value) -> GraphState:
    """The state before the first step; rows: how many sequences, (1,) integers."""
    return [[_initial(graph, layer, rows) for layer in layers] for layers in levels_of(stack)]


def _initial(graph: Graph, layer: RecurrentLayer, rows: Value) -> list[Value]:
    parts = layer.initial_state(1)
    shape = graph.op("Concat", rows, graph.integers(layer.cell.hidden_size), axis=0)
    return [graph.op("Expand", graph.constant(part), shape) for part in parts]


def _layer(
    graph: Graph, layer: RecurrentLayer, x: Value, lengths: Value, state: Sequence[Value] | None
) -> tuple[Value, list[Value]]:
    """Outputs (T, B, H) and the final parts of the state, (B, H) each, of one direction."""
    cell = layer.cell
    before = _initial(graph, layer, graph.size(x, 1)) if state is None else list(state)
    if isinstance(cell, PeepholeLSTM) and cell.output_peephole == "previous":
        return _stepped(graph, cell, x, lengths, before, reverse=layer.reverse)
    found = _operator(cell)
    first = graph.integers(0)
    # One direction of the operator's two.
    weights = [graph.constant(weight.unsqueeze(0)) for weight in found.weights]
    inputs = [x, *weights, lengths, *[graph.op("Unsqueeze", part, first) for part in before]]
    if found.peephole is not None:
        inputs.append(graph.constant(found.peephole.unsqueeze(0)))
    direction = "reverse" if layer.reverse else "forward"
    outputs, *after = graph.ops(
        found.kind,
        1 + len(before),
        *inputs,
        hidden_size=cell.hidden_size,
        direction=direction,
        **found.attributes,
    )
    outputs = graph.op("Squeeze", outputs, graph.integers(1))
    return outputs, [graph.op("Squeeze", part, first) for part in after]


def _operator(cell: Cell) -> _Operator:
    check_cell(cell)
    if isinstance(cell, LSTM):
        return _lstm(cell)
    if isinstance(cell, GRU):
        return _gru(cell)
    if isinstance(cell, SimplifiedGRU):
        return _simplified_gru(cell)
    assert isinstance(cell, RNN)
    weights = (cell.weight_input, cell.weight_hidden, _with_no_second(cell.bias))
    return _Operator("RNN", weights, {"activations": [cell.nonlinearity.capitalize()]})


def _lstm(cell: LSTM) -> _Operator:
    order = (0, 3, 1, 2)  # of i, f, g, o
    w, r, b = (torch_rows(p, order) for p in (cell.weight_input, cell.weight_hidden, cell.bias))
    attributes: dict[str, object] = {}
    if not cell.output_tanh:  # x -> 1 x + 0
        attributes = {"activations": ["Sigmoid", "Tanh", "Affine"]}
        attributes |= {"activation_alpha": [1.0], "activation_beta": [0.0]}
    peephole = None
    if isinstance(cell, PeepholeLSTM):
        peephole = torch_rows(cell.peephole.flatten(), (0, 2, 1))  # of i, f, o
    return _Operator("LSTM", (w, r, _with_no_second(b)), attributes, peephole)


def _gru(cell: GRU) -> _Operator:
    w, r, b = (torch_rows(p, (1, 0, 2)) for p in (cell.weight_input, cell.weight_hidden, cell.bias))
    H = cell.hidden_size
    second = torch.zeros_like(b)
    if cell.bias_hidden is not None:
        second[2 * H :] = cell.bias_hidden.detach()
    for part in (w, r, b):
        part[:H] *= -1.0
    after = int(cell.reset_after)
    return _Operator("GRU", (w, r, torch.cat([b, second])), {"linear_before_reset": after})


def _simplified_gru(cell: SimplifiedGRU) -> _Operator:
    """A GRU whose reset gate is always open: no weights, and a bias that opens it."""
    rows = []
    for weight, shut in ((cell.weight_input, 0.0), (cell.weight_hidden, 0.0), (cell.bias, OPEN)):
        u, c = weight.detach().chunk(2)
        rows.append(torch.cat([-u, torch.full_like(u, shut), c]))
    w, r, b = rows
    return _Operator("GRU", (w, r, _with_no_second(b)), {"linear_before_reset": 0})


def _with_no_second(bias: Tensor) -> Tensor:
    """Operators add two biases; ours is the first."""
    return torch.cat([bias.detach(), torch.zeros_like(bias)])


def _stepped(
    graph: Graph,
    cell: PeepholeLSTM,
    x: Value,
    lengths: Value,
    before: list[Value],
    *,
    reverse: bool,
) -> tuple[Value, list[Value]]:
    """The equations of the cell, step by step: no operator lets Γ_o see c<t-1>.

    Padding is stepped through; the final state is looked up after the last real step.
    """
    lengths = graph.op("Cast", lengths, to=INTEGER)
    if reverse:
        x = graph.op("ReverseSequence", x, lengths, time_axis=0, batch_axis=1)
    projected = graph.op("MatMul", x, graph.constant(cell.weight_input.t()))
    projected = graph.op("Add", projected, graph.constant(cell.bias))
    weight_hidden = graph.constant(cell.weight_hidden.t())
    see_i, see_f, see_o = (graph.constant(row) for row in cell.peephole)

    def gate(a: Value, see: Value, c: Value) -> Value:
        return graph.op("Sigmoid", graph.op("Add", a, graph.op("Mul", see, c)))

    def step(state: list[Value], slices: list[Value]) -> tuple[list[Value], list[Value]]:
        h, c = state
        a = graph.op("Add", slices[0], graph.op("MatMul", h, weight_hidden))
        i, f, g, o = graph.ops("Split", 4, a, axis=1, num_outputs=4)
        i, f, o = gate(i, see_i, c), gate(f, see_f, c), gate(o, see_o, c)
        new = graph.op("Mul", i, graph.op("Tanh", g))
        c = graph.op("Add", graph.op("Mul", f, c), new)
        h = graph.op("Mul", o, graph.op("Tanh", c) if cell.output_tanh else c)
        return [h, c], [h, c]

    _, (h, c) = graph.scan(step, before, [projected])
    final = [_last(graph, part, lengths) for part in (h, c)]
    if reverse:
        h = graph.op("ReverseSequence", h, lengths, time_axis=0, batch_axis=1)
    return h, final


def _last(graph: Graph, values: Value, lengths: Value) -> Value:
    """Of each sequence the step number `length`. values: (T, B, H). Returns (B, H)."""
    place = graph.op("Sub", lengths, graph.integers(1))
    rows = graph.op("Transpose", values, perm=[1, 0, 2])
    return graph.op("GatherND", rows, graph.op("Unsqueeze", place, graph.integers(1)), batch_dims=1)
