"""Recurrent layers over padded batches, and stacks of them.

Shapes: B sequences, T_x steps, D numbers a step, H = hidden_size, N directions (1 or 2).
No answer depends on what padding holds, how much there is of it, or what else is in the batch.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from seqpipe.bounds import Count, NotNegative, Share, checked
from seqpipe.errors import ShapeError
from seqpipe.nn.cells import Cell, State
from seqpipe.nn.dropout import Dropout, locking_faults
from seqpipe.nn.kernels.choice import kernel_on, select_kernel
from seqpipe.nn.masks import check_lengths
from seqpipe.nn.onnx_graph import INTEGER, Graph, Value
from seqpipe.nn.penalties import ActivationPenalty

StackState = tuple[tuple[State, ...], ...]  # [layer][direction]
GraphState = list[list[list[Value]]]
"""Parts of the state in a graph, (B, H) each, by [layer][direction]."""
StackStep = Callable[[Tensor, StackState], tuple[Tensor, StackState]]
"""One step of all layers: from x_t (B, D) and the state to the output (B, H) and the next state."""


def recurrent_layers(model: nn.Module) -> dict[str, "RecurrentLayer"]:
    """The recurrent layers of a model, by their path in it."""
    found = model.named_modules()
    return {path: layer for path, layer in found if isinstance(layer, RecurrentLayer)}


def recurrent_stacks(model: nn.Module) -> list["RecurrentStack"]:
    """The recurrent stacks of a model."""
    return [stack for stack in model.modules() if isinstance(stack, RecurrentStack)]


class RecurrentLayer(nn.Module):
    """One cell over time, in one direction.

    Args:
        cell: the step.
        reverse: read each sequence from its last real step to its first.
        learn_initial_state: the state before the first step is a parameter, 0 at first,
            the same for all sequences; False: it is 0.

    Attributes:
        kernel: what runs the cell over time.
        initial: the learned (1, H) for each part of the state, or empty.
    """

    undecayed = keeps_start = ("initial",)
    connects_steps = ("cell", "initial")
    """Names of parts and parameters that carry something from step to step.

    Where sequences have one step, they may get no gradient.
    """

    def __init__(
        self, cell: Cell, *, reverse: bool = False, learn_initial_state: bool = False
    ) -> None:
        super().__init__()
        self.cell = cell
        self.reverse = reverse
        self.kernel = select_kernel(cell)
        self.initial = nn.ParameterDict()
        if learn_initial_state:
            for name, zeros in zip(cell.state_names, cell.initial_state(1), strict=True):
                self.initial[name] = nn.Parameter(zeros.clone())

    def forward(
        self,
        x: Float[Tensor, "B T_x D"],
        lengths: Int[Tensor, " B"] | None = None,
        state: State | None = None,
        *,
        final: bool = True,
    ) -> tuple[Float[Tensor, "B T_x H"], State]:
        """Reads a padded batch.

        Args:
            x: (B, T_x, D); padding may hold anything, NaN included, and gets gradient 0.
            lengths: (B,) real steps, 1..T_x; None: all T_x.
            state: before the first step read, (B, H) for each part; None: the initial state.
            final: False: nobody reads the final state, which may cost something.

        Returns:
            h_1..h_Tx (B, T_x, H), 0 at padding; the state after each sequence's last real step
            (its first step, in reverse), or () unless `final`.

        Raises:
            ShapeError: x, lengths or state have another shape; a length outside 1..T_x.
        """
        self._check(x, state)
        if lengths is not None:
            lengths = check_lengths(lengths, x)
        if state is None:
            state = self.initial_state(len(x))
        cell = self.cell.drawn(len(x))
        return self.kernel(cell, x, lengths, state, reverse=self.reverse, final=final)

    def kernel_name(self, device: torch.device | None = None) -> str:
        """The name of the kernel that runs on a device; None: where the weights are."""
        weight: Tensor = self.cell.weight_hidden
        return kernel_on(self.kernel, device or weight.device, weight.dtype).name

    def initial_state(self, batch_size: int) -> State:
        """The state before the first step, (batch_size, H) for each part."""
        if len(self.initial) == 0:
            return self.cell.initial_state(batch_size)
        learned = (self.initial[name] for name in self.cell.state_names)
        return tuple(part.expand(batch_size, -1).contiguous() for part in learned)

    def onnx(
        self, graph: Graph, x: Value, lengths: Value, before: list[Value]
    ) -> tuple[Value, list[Value]]:
        """Writes the layer into a graph; padding is read, and changes no answer.

        Args:
            graph: to add it to.
            x: (T, B, D).
            lengths: (B,) integers of 32 bits.
            before: the state, (B, H) for each part.

        Returns:
            outputs (T, B, H), anything at padding; the final state.

        Raises:
            ConfigError: the cell cannot be written as ONNX.
        """
        operator = self.cell.onnx_operator()
        if operator is not None and self.cell.is_plain:
            return operator.write(graph, x, lengths, before, reverse=self.reverse)
        lengths = graph.op("Cast", lengths, to=INTEGER)
        if self.reverse:
            x = graph.op("ReverseSequence", x, lengths, time_axis=0, batch_axis=1)
        projected = self.cell.onnx_project(graph, x)

        def step(state: list[Value], slices: list[Value]) -> tuple[list[Value], list[Value]]:
            after = self.cell.onnx_step(graph, slices[0], state)
            after = self.cell.onnx_zoned(graph, state, after)
            return after, after

        _, parts = graph.scan(step, before, [projected])
        final, outputs = [graph.last(part, lengths) for part in parts], parts[0]
        if self.reverse:
            outputs = graph.op("ReverseSequence", outputs, lengths, time_axis=0, batch_axis=1)
        return outputs, final

    def onnx_initial(self, graph: Graph, rows: Value) -> list[Value]:
        """`initial_state` in a graph. rows: how many sequences, (1,) integers."""
        shape = graph.op("Concat", rows, graph.integers(self.cell.hidden_size), axis=0)
        return [graph.op("Expand", graph.constant(part), shape) for part in self.initial_state(1)]

    def _check(self, x: Tensor, state: State | None) -> None:
        if x.ndim != 3 or x.shape[1] == 0 or x.shape[2] != self.cell.input_size:
            raise ShapeError(
                f"x has shape {tuple(x.shape)};"
                f" expected (B, T_x, {self.cell.input_size}) with at least one step."
            )
        if state is not None:
            shapes = [tuple(part.shape) for part in state]
            wanted = [(len(x), self.cell.hidden_size)] * len(self.cell.state_names)
            if shapes != wanted:
                raise ShapeError(f"state has shapes {shapes}; expected {wanted}.")


class RecurrentStack(nn.Module):
    """Layers of one kind of cell on top of each other, in one direction or both.

    Each layer reads the outputs of the one below, both directions side by side. Parameters are
    named `layers.<layer>.<forwards|backwards>.cell.<name>`.

    Args:
        input_size: D.
        cell: makes a cell from `input_size` and `hidden_size`.
        hidden_size: H, of each direction of each layer.
        depth: number of layers.
        bidirectional: also read each sequence from its end (never the padding).
        dropout: probability that one number of a layer's output is set to 0 in training, in
            every layer, the last included. Never on the way from h_{t-1} to h_t.
        input_dropout: the same of x.
        output_dropout: the same of the last layer's output; None: `dropout`.
        locked_dropout: of these three, one mask for all steps of a sequence, see `Dropout`.
        activation_penalty: alpha of `ActivationPenalty`, for the last layer in training.
        temporal_activation_penalty: beta of it.
        learn_initial_state: see `RecurrentLayer`.

    Attributes:
        output_size: N*H.
        directions: N.
        cell_state_names: parts of the state, for example ("h", "c").
        learns_initial_state: True where the first state of every layer is a parameter.
        drops: the dropout of x and of the output of each layer, the lowest first. Those who read
            a final state in place of outputs drop numbers of it by the layer's.

    Raises:
        ConfigError: a size or depth below 1, a dropout outside [0, 1), nothing to lock.

    Source: Schuster & Paliwal (1997) for two directions; Graves et al. (2013), equations 8 to 12
    for depth; Zaremba et al. (2014), equation 2 for where dropout goes.
    """

    @checked(together=locking_faults)
    def __init__(
        self,
        input_size: Count,
        *,
        cell: Callable[..., Cell],
        hidden_size: Count,
        depth: Count = 1,
        bidirectional: bool = False,
        dropout: Share = 0.0,
        input_dropout: Share = 0.0,
        output_dropout: Share | None = None,
        locked_dropout: bool = False,
        activation_penalty: NotNegative = 0.0,
        temporal_activation_penalty: NotNegative = 0.0,
        learn_initial_state: bool = False,
    ) -> None:
        super().__init__()
        self.depth, self.hidden_size, self.input_size = depth, hidden_size, input_size
        self.learns_initial_state = learn_initial_state
        last = dropout if output_dropout is None else output_dropout
        self.drops = nn.ModuleList([Dropout(input_dropout, locked=locked_dropout)])
        self.penalty: ActivationPenalty | None = None
        if activation_penalty > 0 or temporal_activation_penalty > 0:
            self.penalty = ActivationPenalty(activation_penalty, temporal_activation_penalty)
        names = ["forwards", "backwards"] if bidirectional else ["forwards"]
        self.directions = len(names)
        self.output_size = self.directions * hidden_size
        self.layers = nn.ModuleList()
        for level in range(depth):
            width = input_size if level == 0 else self.output_size
            share = dropout if level < depth - 1 else last
            self.drops.append(Dropout(share, locked=locked_dropout))
            self.layers.append(
                nn.ModuleDict(
                    {
                        name: RecurrentLayer(
                            cell(input_size=width, hidden_size=hidden_size),
                            reverse=name == "backwards",
                            learn_initial_state=learn_initial_state,
                        )
                        for name in names
                    }
                )
            )
        lowest = next(iter(self._levels()))[0]
        self.cell_state_names = lowest.cell.state_names

    def forward(
        self,
        x: Float[Tensor, "B T_x D"],
        lengths: Int[Tensor, " B"] | None = None,
        state: StackState | None = None,
        *,
        final: bool = True,
    ) -> tuple[Float[Tensor, "B T_x NH"], StackState]:
        """Reads a padded batch.

        Args:
            x: (B, T_x, D); padding may hold anything.
            lengths: (B,) real steps, 1..T_x; None: all T_x.
            state: of every layer and direction, [layer][direction]; None: the initial state.
            final: see `RecurrentLayer`.

        Returns:
            outputs of the top layer (B, T_x, N*H), 0 at padding; the final state of every layer
            and direction, without dropout.

        Raises:
            ShapeError: as in `RecurrentLayer`; a state of another number of layers or directions.
        """
        if state is not None:
            self._check_state(state)
        outputs, final_state = self.drops[0](x), []
        for level, layers in enumerate(self._levels()):
            before = [None] * len(layers) if state is None else state[level]
            results = [
                layer(outputs, lengths, start, final=final)
                for layer, start in zip(layers, before, strict=True)
            ]
            plain = torch.cat([result[0] for result in results], dim=-1)
            outputs = self.drops[level + 1](plain)
            final_state.append(tuple(result[1] for result in results))
        if self.penalty is not None:
            self.penalty.keep(plain, outputs, lengths)
        return outputs, tuple(final_state)

    def step(
        self, x_t: Float[Tensor, "B D"], state: StackState
    ) -> tuple[Float[Tensor, "B H"], StackState]:
        """One time step of every layer, for decoding; several of a sequence: see `steps`.

        Args:
            x_t: (B, D).
            state: of every layer, from `initial_state` or the last step.

        Returns:
            output of the top layer (B, H); the next state.

        Raises:
            ShapeError: the stack has two directions, the backward one would start at the end;
                x_t or state have another shape.
        """
        return self.steps(len(x_t))(x_t, state)

    def steps(self, rows: int) -> StackStep:
        """The `step` for one batch of sequences: locked dropout and the cells keep their masks.

        Args:
            rows: B.
        """
        if self.penalty is not None:
            self.penalty.start()
        cells = [layers[0].cell.drawn(rows) for layers in self._levels()]
        drops = [cast(Dropout, drop).over_steps() for drop in self.drops]
        return partial(self._step, cells, drops)

    def _step(
        self,
        cells: list[Cell],
        drops: list[Callable[[Tensor], Tensor]],
        x_t: Tensor,
        state: StackState,
    ) -> tuple[Tensor, StackState]:
        if self.directions != 1:
            raise ShapeError("RecurrentStack.step: a bidirectional stack has no single step.")
        if x_t.ndim != 2 or x_t.shape[1] != self.input_size:
            raise ShapeError(f"x_t has shape {tuple(x_t.shape)}; expected (B, {self.input_size}).")
        self._check_state(state)
        output, next_state = drops[0](x_t), []
        for cell, before, drop in zip(cells, state, drops[1:], strict=True):
            after = cell(output, before[0])
            output = drop(after[0])
            next_state.append((after,))
        if self.penalty is not None:
            self.penalty.keep_step(after[0], output)
        return output, tuple(next_state)

    def kernel_name(self, device: torch.device | None = None) -> str:
        """The name of the kernel that runs on a device; None: where the weights are."""
        return next(iter(self._levels()))[0].kernel_name(device)

    def initial_state(self, batch_size: int) -> StackState:
        """The state of every layer and direction before the first step."""
        return tuple(
            tuple(layer.initial_state(batch_size) for layer in layers) for layers in self._levels()
        )

    def onnx(
        self, graph: Graph, x: Value, lengths: Value, state: GraphState | None = None
    ) -> tuple[Value, GraphState]:
        """Writes the stack into a graph.

        Args:
            graph: to add it to.
            x: (T, B, D).
            lengths: (B,) integers of 32 bits.
            state: before the first step; None: the initial one.

        Returns:
            outputs of the top layer (T, B, N*H), anything at padding; the final state.

        Raises:
            ConfigError: the cell cannot be written as ONNX.
        """
        if state is None:
            state = self.onnx_initial(graph, graph.size(x, 1))
        final = []
        for layers, before in zip(self._levels(), state, strict=True):
            pairs = zip(layers, before, strict=True)
            results = [layer.onnx(graph, x, lengths, parts) for layer, parts in pairs]
            x = graph.side_by_side([outputs for outputs, _ in results], axis=2)
            final.append([after for _, after in results])
        return x, final

    def onnx_initial(self, graph: Graph, rows: Value) -> GraphState:
        """`initial_state` in a graph. rows: how many sequences, (1,) integers."""
        return [[layer.onnx_initial(graph, rows) for layer in level] for level in self._levels()]

    def _levels(self) -> Iterable[list[RecurrentLayer]]:
        """The directions of each layer, the lowest layer first."""
        for level in self.layers:
            directions = cast(nn.ModuleDict, level).values()
            yield [cast(RecurrentLayer, direction) for direction in directions]

    def _check_state(self, state: StackState) -> None:
        if [len(layer) for layer in state] != [self.directions] * self.depth:
            raise ShapeError(
                f"state has {[len(layer) for layer in state]} directions a layer;"
                f" expected {[self.directions] * self.depth}."
            )
