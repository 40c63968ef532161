"""A graph as it is written: nodes, weights, inputs and outputs, each with a name of its own.

A value is the name of what a node computes. Shapes: B sequences, T steps; inside a graph time
comes first, (T, B, ...), as ONNX's recurrent operators and `Scan` want it.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

OPSET = 18
IR_VERSION = 9
"""Of files that onnxruntime reads from 1.17 on."""
FLOAT, INTEGER, BOOLEAN = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
DOUBLE = TensorProto.DOUBLE

Value = str
Body = Callable[[list[Value], list[Value]], tuple[list[Value], list[Value]]]
"""One step of a `scan`: from states and slices to the next states and what is told of the step."""


class Graph:
    """Collects what becomes an ONNX graph."""

    def __init__(self) -> None:
        self.scopes: list[list[onnx.NodeProto]] = [[]]  # the graph, bodies of loops in it
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}
        self._constants: dict[tuple[Any, ...], Value] = {}
        self._count = 0

    @property
    def weights(self) -> int:
        """Bytes that its tensors take."""
        return sum(tensor.ByteSize() for tensor in self.initializers.values())

    def input(self, name: str, kind: int, axes: Sequence[str | int]) -> Value:
        """What is fed under this name; an axis of changing length is given by a word."""
        self.inputs.append(helper.make_tensor_value_info(name, kind, axes))
        return name

    def output(self, name: str, value: Value, kind: int, axes: Sequence[str | int]) -> None:
        """Answers with a value under this name."""
        self._add("Identity", [value], [name], {})
        self.outputs.append(helper.make_tensor_value_info(name, kind, axes))

    def constant(self, array: Any, kind: Any = np.float32) -> Value:
        """Numbers, of this kind: a tensor, a list, or one."""
        if isinstance(array, Tensor):
            array = array.detach().cpu()  # numpy does not know every half precision
            array = (array.float() if array.is_floating_point() else array).numpy()
        values: np.ndarray[Any, Any] = np.asarray(array, dtype=kind, order="C")
        key = (values.shape, values.dtype.str, values.tobytes())
        if key not in self._constants:
            name = self._name("constant")
            self.initializers[name] = numpy_helper.from_array(values, name)
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

    def scan(
        self, body: Body, states: Sequence[Value], over: Sequence[Value], *, backwards: bool = False
    ) -> tuple[list[Value], list[Value]]:
        """Steps along the first axis, or back from its end; what is told of a step stays in place.

        Args:
            body: writes one step down.
            states: before the first step.
            over: values (T, ...) of which each step sees one slice.
            backwards: from the last step to the first.

        Returns:
            the last states; what each step told, (T, ...).
        """
        ins = [self._name("state") for _ in states], [self._name("slice") for _ in over]
        self.scopes.append([])
        after, told = body(*ins)
        # A graph may not answer with a value of the graph around it, or with the same one twice.
        after, told = ([self.op("Identity", value) for value in part] for part in (after, told))
        made = helper.make_graph(
            self.scopes.pop(),
            self._name("body"),
            [helper.make_empty_tensor_value_info(name) for part in ins for name in part],
            [helper.make_empty_tensor_value_info(name) for name in (*after, *told)],
        )
        results = self.ops(
            "Scan",
            len(states) + len(told),
            *states,
            *over,
            body=made,
            num_scan_inputs=len(over),
            scan_input_directions=[int(backwards)] * len(over),
            scan_output_directions=[int(backwards)] * len(told),
        )
        return results[: len(states)], results[len(states) :]

    def model(self, name: str, producer: tuple[str, str]) -> onnx.ModelProto:
        """All of it. producer: program and version that wrote it."""
        graph = helper.make_graph(
            self.scopes[0], name, self.inputs, self.outputs, [*self.initializers.values()]
        )
        return helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name=producer[0],
            producer_version=producer[1],
        )

    def _add(
        self, kind: str, inputs: Sequence[Value], outputs: Sequence[Value], attributes: Any
    ) -> None:
        node = helper.make_node(kind, inputs, outputs, name=self._name("node"), **attributes)
        self.scopes[-1].append(node)

    def _name(self, kind: str) -> str:
        self._count += 1
        return f"{kind}_{self._count}"


def torch_rows(weight: Tensor, order: Sequence[int]) -> Tensor:
    """The blocks of rows of packed gates in another order. weight: (G*H, ...)."""
    gates = weight.detach().chunk(max(order) + 1)
    return torch.cat([gates[place] for place in order])
