"""The base of all cells: one time step, the definition and the reference of a recurrent layer.

Shapes: B sequences, D = input_size, H = hidden_size, G gates. A state is a tuple of (B, H).
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, Literal, Protocol, TypeVar, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from seqpipe.bounds import Count, Share, checked
from seqpipe.errors import ConfigError
from seqpipe.nn.initial_weights import RecurrentInit, start_recurrent
from seqpipe.nn.onnx_graph import Graph, Operator, Value

State = tuple[Tensor, ...]
Step = Callable[[Tensor, State], State]
Gates = dict[str, Tensor]
"""Values of gates at one step, (B, H) each, by name."""

C = TypeVar("C", bound="Cell")

KernelChoice = Literal["auto", "fused", "fast", "loop"]


@runtime_checkable
class Kernel(Protocol):
    """Runs one cell over whole sequences, with the answer of stepping the cell.

    Attributes:
        name: what to call it in a report.
        masks: it multiplies h_{t-1} by `Cell.mask` where the products of a step read it.
    """

    name: str
    masks: bool

    def __call__(
        self,
        cell: "Cell",
        x: Float[Tensor, "B T D"],
        lengths: Int[Tensor, " B"] | None,
        state: State,
        *,
        reverse: bool = False,
        final: bool = True,
    ) -> tuple[Float[Tensor, "B T H"], State]:
        """Reads each sequence from its first real step on.

        Args:
            cell: the weights.
            x: (B, T, D); padding may hold anything, and gets gradient 0.
            lengths: (B,) real steps, 1..T; None: all T.
            state: before the first step read, (B, H) for each part.
            reverse: read each sequence from its last real step to its first.
            final: False: nobody reads the final state, which may cost something.

        Returns:
            h_1..h_T (B, T, H), 0 at padding; the state after each sequence's last step read, in
            the precision of `state`, or () unless `final`.
        """
        ...

    def fits(self, device: torch.device, dtype: torch.dtype) -> bool:
        """True where it can run weights of this dtype on this device."""
        ...


class Cell(nn.Module, ABC):
    """One step of a recurrent layer.

    A subclass names its gates and its state, and computes the next state in `recur`.
    Gate by gate, the weights on x start uniform (Glorot & Bengio 2010, equation 16), those on
    h_{t-1} as `recurrent_init` says; biases start at 0. (torch.nn draws all of them from
    +-1/sqrt(H).)

    Args:
        input_size: D.
        hidden_size: H.
        kernel: how a whole sequence is run: `fused` (torch's own layer), `fast` (a loop with its
            gradient written by hand; on a GPU in Triton, where cuDNN lacks the cell), `loop`
            (`recur` step by step), or `auto`: the fastest of them that the cell has where the
            weights are. The answer is the same.
        recurrent_init: the first weights on h_{t-1} of each gate: `orthogonal` (Saxe et al. 2014),
            so that neither the signal nor its gradient shrinks at the first step back; `identity`
            (Le et al. 2015, for a ReLU RNN); `uniform` in +-1/sqrt(H).
        weight_drop: probability that a weight on h_{t-1} is 0 for a whole batch in training; the
            others are divided by 1 - weight_drop. Merity et al. (2018), section 2.
        zoneout: probability that a unit of the state keeps its old value at a step of training;
            elsewhere the next state is the expected one. Krueger et al. (2017), section 3.

    Attributes:
        weight_input: (G*H, D), rows packed in the order of `gate_names`.
        weight_hidden: (G*H, H), rows packed alike.
        bias: (G*H,), packed alike.
        undecayed: names of parameters of two dimensions that weight decay does not shrink.
        zoneouts: the `zoneout` of each part of the state.
        mask: (B, H) that multiplies h_{t-1} in the products; None, see `RegularizedCell`.
    """

    gate_names: ClassVar[tuple[str, ...]]
    state_names: ClassVar[tuple[str, ...]] = ("h",)
    gate_titles: ClassVar[Mapping[str, str]] = {}
    """The titles of gates in figures, by name; a gate without one is shown by its name."""
    undecayed: ClassVar[tuple[str, ...]] = ()
    mask: Tensor | None = None
    needs_mask = False
    """True where training needs a kernel that `masks`."""
    candidate: ClassVar[str | None] = None
    """The block of `gate_names` that is no gate but the new content; None: the last one."""

    @checked()
    def __init__(
        self,
        input_size: Count,
        hidden_size: Count,
        *,
        weight_drop: Share = 0.0,
        zoneout: Share = 0.0,
        recurrent_init: RecurrentInit = "orthogonal",
        kernel: KernelChoice = "auto",
    ) -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.kernel = input_size, hidden_size, kernel
        rows = len(self.gate_names) * hidden_size
        self.weight_input = nn.Parameter(torch.empty(rows, input_size))
        self.weight_hidden = nn.Parameter(torch.empty(rows, hidden_size))
        for gate in self.weight_input.data.split(hidden_size):
            nn.init.xavier_uniform_(gate)
        for gate in self.weight_hidden.data.split(hidden_size):
            start_recurrent(gate, recurrent_init)
        self.bias = nn.Parameter(torch.zeros(rows))
        self.weight_drop = weight_drop
        self.zoneouts = (float(zoneout),) * len(self.state_names)

    def add_constants(self) -> None:
        """Adds to parameters that were drawn what they start from besides, as a forget bias."""

    def project(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch GH"]:
        """The input's half of all pre-activations, bias included; for all time steps at once.

        x: (..., D). Returns (..., G*H).
        """
        return F.linear(x, self.weight_input, self.bias)

    def weights(self) -> tuple[Tensor, Tensor, Tensor]:
        """Weights on x (G*H, D), on h_{t-1} (G*H, H), and the bias (G*H,)."""
        return self.weight_input, self.weight_hidden, self.bias

    @abstractmethod
    def recur(self, projected_t: Float[Tensor, "B GH"], state: State) -> State:
        """The rest of the step. projected_t: (B, G*H); state: (B, H) each. Returns the next."""

    def prepare(self) -> Step:
        """`recur` with all done that need not be repeated at each step of a sequence."""
        return self.recur

    def steps(self) -> Step:
        """The whole step for a loop over time: `prepare`, then zoneout."""
        step = self.prepare()
        return partial(self._zoned_step, step) if any(self.zoneouts) else step

    def drawn(self: C, rows: int) -> C:
        """The cell for one pass over a batch: with what training draws once for all its steps.

        Args:
            rows: B.

        Returns:
            the cell itself where nothing is drawn, as in eval mode. Else a twin with the same
            parameters, through which gradients reach them; the cell is not changed.
        """
        if not (self.training and self.weight_drop):
            return self
        return self.twin(weight_hidden=F.dropout(self.weight_hidden, self.weight_drop))

    def twin(self: C, **weights: Tensor) -> C:
        """A copy that shares all with the cell but these weights, given by name."""
        twin = copy.copy(self)
        parameters: dict[str, Any] = {**self._parameters, **weights}
        twin._parameters = parameters
        return twin

    @property
    def is_plain(self) -> bool:
        """True where a step is no more than the equations, in eval mode; else it is looped."""
        return not any(self.zoneouts)

    def kernels(self) -> Mapping[str, Kernel]:
        """Kernels besides the loop, by their names in `kernel`; the first that fits is `auto`.

        They count only where the cell's own class defines them: a subclass may step otherwise.
        """
        return {}

    def onnx_operator(self) -> Operator | None:
        """The plain cell as one operator of ONNX; None: there is none, `onnx_step` is written."""
        return None

    def onnx_project(self, graph: Graph, x: Value) -> Value:
        """Writes `project` into a graph. x: (T, B, D). Returns (T, B, G*H)."""
        product = graph.op("MatMul", x, graph.constant(self.weight_input.t()))
        return graph.op("Add", product, graph.constant(self.bias))

    def onnx_step(self, graph: Graph, projected_t: Value, state: list[Value]) -> list[Value]:
        """Writes `recur` into a graph, with the same arguments. Returns the next state.

        Raises:
            ConfigError: the cell cannot be written as ONNX.
        """
        wrong = "cannot be written as ONNX, because it has neither onnx_operator nor onnx_step"
        raise ConfigError(f"cell={type(self).__name__}: {wrong}; allowed: format=safetensors")

    def onnx_zoned(self, graph: Graph, before: list[Value], after: list[Value]) -> list[Value]:
        """Writes `zoned` of eval mode into a graph."""

        def mixed(old: Value, new: Value, rate: float) -> Value:
            kept = graph.op("Mul", old, graph.constant(rate))
            return graph.op("Add", kept, graph.op("Mul", new, graph.constant(1.0 - rate)))

        parts = zip(before, after, self.zoneouts, strict=True)
        return [mixed(old, new, rate) if rate else new for old, new, rate in parts]

    def gates(
        self, projected_t: Float[Tensor, "B GH"], state: State
    ) -> dict[str, Float[Tensor, "B H"]]:
        """Values of the gates at one step, 0..1, by name; empty for a cell without gates.

        Args:
            projected_t: (B, G*H), as for `recur`.
            state: before the step, (B, H) each.
        """
        return {}

    def kept(self, gates: dict[str, Float[Tensor, "B H"]]) -> Float[Tensor, "B H"] | None:
        """The share of the old memory that a step keeps, from its `gates`; None: not defined."""
        return None

    def held(self, share: Float[Tensor, "B H"], part: str) -> Float[Tensor, "B H"]:
        """A share that a gate keeps of a part of the state, with what zoneout keeps besides."""
        rate = self.zoneouts[self.state_names.index(part)]
        return rate + (1.0 - rate) * share if rate else share

    def forward(self, x_t: Float[Tensor, "B D"], state: State) -> State:
        """One step. x_t: (B, D); state: the last one, (B, H) each. Returns the next state."""
        return self.zoned(state, self.recur(self.project(x_t), state))

    def zoned(self, before: State, after: State) -> State:
        """The next state with zoneout.

        Each unit keeps its old value with probability `zoneout` in training; in eval mode it gets
        the expected one, zoneout * before + (1 - zoneout) * after.

        Args:
            before: the state before the step, (B, H) each.
            after: the state that the step computes.

        Source: Krueger et al. (2017), section 3 and equations 3 and 4; the output gate of an LSTM
        reads the memory cell before zoneout.
        """
        parts = zip(before, after, self.zoneouts, strict=True)
        return tuple(_zoned(old, new, rate, self.training) for old, new, rate in parts)

    def _zoned_step(self, step: Step, projected_t: Tensor, state: State) -> State:
        return self.zoned(state, step(projected_t, state))

    def initial_state(self, batch_size: int) -> State:
        """Zeros, (batch_size, H) for each part of the state."""
        zeros = self.weight_hidden.new_zeros(batch_size, self.hidden_size)
        return (zeros,) * len(self.state_names)

    def extra_repr(self) -> str:
        """The sizes, for print(model)."""
        return f"{self.input_size}, {self.hidden_size}"


def _zoned(old: Tensor, new: Tensor, rate: float, training: bool) -> Tensor:
    """One part of the state, (B, H), in the precision of the old one."""
    if rate == 0:
        return new
    new = new.to(old.dtype)
    if not training:
        return torch.lerp(new, old, rate)
    return torch.where(torch.rand_like(old) < rate, old, new)
