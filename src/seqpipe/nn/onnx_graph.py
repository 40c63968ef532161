"""An ONNX graph while it is written: nodes, weights, inputs and outputs, each with its own name.

Each part of a model writes itself into a graph, in a method `onnx` beside its `forward`. A value is
the name of what a node computes. Shapes: B sequences, T steps; inside a graph time comes first,
(T, B, ...), as ONNX's recurrent operators and `Scan` want it.

The library `onnx` is an extra: it is imported where a graph is made.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

OPSET = 18
IR_VERSION = 9  # onnxruntime reads it from 1.17 on
FLOAT, INT32, INTEGER, BOOLEAN, DOUBLE = 1, 6, 7, 9, 11  # of onnx.TensorProto
STEPS = ("batch", "steps")
"""The first axes of sequences, outside the graph."""

Value = str
Axes = tuple[str | int, ...]
Body = Callable[[list[Value], list[Value]], tuple[list[Value], list[Value]]]
"""One step of a `scan`: from states and slices to the next states and the step's outputs."""


@dataclass(frozen=True)
class Steps:
    """The real steps of padded sequences.

    Args:
        lengths: (B,) integers.
        short: the same in 32 bits, as operators take it.
        real: (T, B, 1), true at real steps.
    """

    lengths: Value
    short: Value
    real: Value


class Graph:
    """Collects the nodes of an ONNX graph."""

    def __init__(self) -> None:
        import onnx

        self._onnx: Any = onnx
        self.scopes: list[list[Any]] = [[]]  # the graph, bodies of loops in it
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        self.initializers: dict[str, Any] = {}
        self._constants: dict[tuple[Any, ...], Value] = {}
        self._count = 0

    @property
    def weights(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.ByteSize() for tensor in self.initializers.values())

    def input(self, name: str, kind: int, axes: Sequence[str | int]) -> Value:
        """An input of this name; an axis of changing length is given by a word."""
        self.inputs.append(self._onnx.helper.make_tensor_value_info(name, kind, axes))
        return name

    def output(self, name: str, value: Value, kind: int, axes: Sequence[str | int]) -> None:
        """Makes a value an output of this name."""
        self._add("Identity", [value], [name], {})
        self.outputs.append(self._onnx.helper.make_tensor_value_info(name, kind, axes))

    def constant(self, array: Any, kind: Any = np.float32) -> Value:
        """Numbers, of this kind: a tensor, a list, or one."""
        if isinstance(array, Tensor):
            array = array.detach().cpu()  # numpy does not know every half precision
            array = (array.float() if array.is_floating_point() else array).numpy()
        values: np.ndarray[Any, Any] = np.asarray(array, dtype=kind, order="C")
        key = (values.shape, values.dtype.str, values.tobytes())
        if key not in self._constants:
            name = self._name("constant")
            self.initializers[name] = self._onnx.numpy_helper.from_array(values, name)
            self._constants[key] = name
        return self._constants[key]

    def integers(self, *values: int) -> Value:
        """A list of integers, as operators take axes and shapes."""
        return self.constant(list(values), np.int64)

    def op(self, kind: str, *inputs: Value, **attributes: Any) -> Value:
        """The one value that an operator computes; an input left out is ''."""
        return self.ops(kind, 1, *inputs, **attributes)[0]

    def ops(self, kind: str, count: int, *inputs: Value, **attributes: Any) -> list[Value]:
        """The first `count` values that an operator computes."""
        names = [self._name(kind) for _ in range(count)]
        self._add(kind, inputs, names, attributes)
        return names

    def size(self, value: Value, axis: int) -> Value:
        """The length of an axis, (1,) integers."""
        return self.op("Shape", value, start=axis, end=axis + 1)

    def linear(self, value: Value, layer: nn.Linear) -> Value:
        """W x + b on the last axis."""
        product = self.op("MatMul", value, self.constant(layer.weight.t()))
        return product if layer.bias is None else self.op("Add", product, self.constant(layer.bias))

    def last(self, values: Value, lengths: Value) -> Value:
        """Step number `length` of each sequence. values: (T, B, H). Returns (B, H)."""
        place = self.op("Sub", lengths, self.integers(1))
        rows = self.op("Transpose", values, perm=[1, 0, 2])
        return self.op("GatherND", rows, self.unsqueezed(place, 1), batch_dims=1)

    def unsqueezed(self, value: Value, *axes: int) -> Value:
        """The value with more axes, of length 1."""
        return self.op("Unsqueeze", value, self.integers(*axes))

    def places(self, value: Value, axis: int, *unsqueezed: int) -> Value:
        """0, 1, 2, ... along an axis of a value, with more axes of length 1."""
        size = self.op("Squeeze", self.size(value, axis), self.integers(0))
        one = self.constant(1, np.int64)
        return self.unsqueezed(self.op("Range", self.constant(0, np.int64), size, one), *unsqueezed)

    def side_by_side(self, values: Sequence[Value], axis: int) -> Value:
        """The values one beside the other."""
        return values[0] if len(values) == 1 else self.op("Concat", *values, axis=axis)

    def sequences(self, name: str, kind: int, *step: str | int) -> tuple[Value, Steps]:
        """Adds the inputs of padded sequences: one of this name, and `lengths`.

        Args:
            name: of the sequences.
            kind: FLOAT or INTEGER.
            step: axes of one step.

        Returns:
            the sequences, (T, B, ...), 0 at padding whatever is fed there; their real steps.
        """
        value = self.input(name, kind, (*STEPS, *step))
        lengths = self.input("lengths", INTEGER, ("batch",))
        value = self.op("Transpose", value, perm=[1, 0, 2][: 2 + len(step)])
        real = self.op("Less", self.places(value, 0, 1), self.unsqueezed(lengths, 0))  # (T, B)
        wide = self.unsqueezed(real, 2)
        zero = self.constant(0.0) if kind == FLOAT else self.constant(0, np.int64)
        value = self.op("Where", wide if step else real, value, zero)
        return value, Steps(lengths, self.op("Cast", lengths, to=INT32), wide)

    def scan(
        self, body: Body, states: Sequence[Value], over: Sequence[Value], *, backwards: bool = False
    ) -> tuple[list[Value], list[Value]]:
        """Writes a loop over the first axis; the outputs keep the order of the steps.

        Args:
            body: writes one step.
            states: before the first step.
            over: values (T, ...); each step reads one slice of them.
            backwards: from the last step to the first.

        Returns:
            the last states; the outputs of each step, (T, ...).
        """
        ins = [self._name("state") for _ in states], [self._name("slice") for _ in over]
        self.scopes.append([])
        after, found = body(*ins)
        # A graph may not answer with a value of the graph around it, or with the same one twice.
        after, found = ([self.op("Identity", value) for value in part] for part in (after, found))
        made = self._onnx.helper.make_graph(
            self.scopes.pop(),
            self._name("body"),
            [self._onnx.helper.make_empty_tensor_value_info(name) for part in ins for name in part],
            [self._onnx.helper.make_empty_tensor_value_info(name) for name in (*after, *found)],
        )
        results = self.ops(
            "Scan",
            len(states) + len(found),
            *states,
            *over,
            body=made,
            num_scan_inputs=len(over),
            scan_input_directions=[int(backwards)] * len(over),
            scan_output_directions=[int(backwards)] * len(found),
        )
        return results[: len(states)], results[len(states) :]

    def model(self, name: str, producer: tuple[str, str]) -> Any:
        """The finished ONNX model. producer: program and version that wrote it."""
        graph = self._onnx.helper.make_graph(
            self.scopes[0], name, self.inputs, self.outputs, [*self.initializers.values()]
        )
        return self._onnx.helper.make_model(
            graph,
            opset_imports=[self._onnx.helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name=producer[0],
            producer_version=producer[1],
        )

    def _add(
        self, kind: str, inputs: Sequence[Value], outputs: Sequence[Value], attributes: Any
    ) -> None:
        name = self._name("node")
        node = self._onnx.helper.make_node(kind, inputs, outputs, name=name, **attributes)
        self.scopes[-1].append(node)

    def _name(self, kind: str) -> str:
        self._count += 1
        return f"{kind}_{self._count}"


def rows_in_order(weight: Tensor, order: Sequence[int]) -> Tensor:
    """The blocks of rows of packed gates in another order. weight: (G*H, ...)."""
    gates = weight.detach().chunk(max(order) + 1)
    return torch.cat([gates[place] for place in order])


@dataclass(frozen=True)
class Operator:
    """A cell as one of ONNX's recurrent operators.

    Args:
        kind: `LSTM`, `GRU` or `RNN`.
        weights: on the input (G*H, D), on h_{t-1} (G*H, H), and the bias (G*H,), of which
            operators add a second one; in the operator's order of gates.
        attributes: `activations` and the like.
        second_bias: (G*H,); None: 0.
        peephole: P (3*H,), rows i, o, f; None without.

    Source: the operators LSTM, GRU and RNN of ONNX, version 14.
    """

    kind: str
    weights: tuple[Tensor, Tensor, Tensor]
    attributes: dict[str, object]
    second_bias: Tensor | None = None
    peephole: Tensor | None = None

    def write(
        self, graph: Graph, x: Value, lengths: Value, before: Sequence[Value], *, reverse: bool
    ) -> tuple[Value, list[Value]]:
        """One direction over padded sequences.

        Given `sequence_lens` an operator reads backwards from the last real step, and its final
        state is the one after the last step read.

        Args:
            graph: to add it to.
            x: (T, B, D).
            lengths: (B,) integers of 32 bits.
            before: the state, (B, H) for each part.
            reverse: read each sequence from its end.

        Returns:
            outputs (T, B, H), anything at padding; the final state.
        """
        w, r, bias = (weight.detach() for weight in self.weights)
        second = torch.zeros_like(bias) if self.second_bias is None else self.second_bias
        weights = (w, r, torch.cat([bias, second.detach()]))
        inputs = [x, *(graph.constant(weight.unsqueeze(0)) for weight in weights), lengths]
        inputs += [graph.unsqueezed(part, 0) for part in before]
        if self.peephole is not None:
            inputs.append(graph.constant(self.peephole.unsqueeze(0)))
        outputs, *after = graph.ops(
            self.kind,
            1 + len(before),
            *inputs,
            hidden_size=r.shape[1],
            direction="reverse" if reverse else "forward",
            **self.attributes,
        )
        first = graph.integers(0)
        after = [graph.op("Squeeze", part, first) for part in after]
        return graph.op("Squeeze", outputs, graph.integers(1)), after
