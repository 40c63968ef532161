"""The base of all cells: one time step, the definition and the reference of a recurrent layer.

Shapes: B sequences, D = input_size, H = hidden_size, G gates. A state is a tuple of (B, H).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar, Literal, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from seqpipe.bounds import Count, checked
from seqpipe.errors import ConfigError
from seqpipe.nn.onnx_graph import Graph, Operator, Value

State = tuple[Tensor, ...]
Step = Callable[[Tensor, State], State]


KernelChoice = Literal["auto", "fused", "fast", "loop"]


@runtime_checkable
class Kernel(Protocol):
    """Runs one cell over whole sequences, with the answer of stepping the cell.

    Attributes:
        name: what to call it in a report.
    """

    name: str

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
    h_{t-1} orthogonal (Saxe et al. 2014), so that neither the signal nor its gradient shrinks at
    the first step back; biases start at 0. (torch.nn draws all of them from +-1/sqrt(H).)

    Args:
        input_size: D.
        hidden_size: H.
        kernel: how a whole sequence is run: `fused` (torch's own layer), `fast` (a loop with its
            gradient written by hand; on a GPU in Triton, where cuDNN lacks the cell), `loop`
            (`recur` step by step), or `auto`: the fastest of them that the cell has where the
            weights are. The answer is the same.

    Attributes:
        weight_input: (G*H, D), rows packed in the order of `gate_names`.
        weight_hidden: (G*H, H), rows packed alike.
        bias: (G*H,), packed alike.
        undecayed: names of parameters of two dimensions that weight decay does not shrink.
    """

    gate_names: ClassVar[tuple[str, ...]]
    state_names: ClassVar[tuple[str, ...]] = ("h",)
    gate_titles: ClassVar[Mapping[str, str]] = {}
    """The titles of gates in figures, by name; a gate without one is shown by its name."""
    undecayed: ClassVar[tuple[str, ...]] = ()
    candidate: ClassVar[str | None] = None
    """The block of `gate_names` that is no gate but the new content; None: the last one."""

    @checked()
    def __init__(
        self, input_size: Count, hidden_size: Count, *, kernel: KernelChoice = "auto"
    ) -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.kernel = input_size, hidden_size, kernel
        rows = len(self.gate_names) * hidden_size
        self.weight_input = nn.Parameter(torch.empty(rows, input_size))
        self.weight_hidden = nn.Parameter(torch.empty(rows, hidden_size))
        for gate in self.weight_input.data.split(hidden_size):
            nn.init.xavier_uniform_(gate)
        for gate in self.weight_hidden.data.split(hidden_size):
            nn.init.orthogonal_(gate)
        self.bias = nn.Parameter(torch.zeros(rows))

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

    def kernels(self) -> Mapping[str, Kernel]:
        """Kernels besides the loop, by their names in `kernel`; the first that fits is `auto`.

        They count only where the cell's own class defines them: a subclass may step otherwise.
        """
        return {}

    def onnx_operator(self) -> Operator | None:
        """The cell as one operator of ONNX; None: there is none, so `onnx_step` is written."""
        return None

    def onnx_step(self, graph: Graph, projected_t: Value, state: list[Value]) -> list[Value]:
        """Writes `recur` into a graph, with the same arguments. Returns the next state.

        Raises:
            ConfigError: the cell cannot be written as ONNX.
        """
        wrong = "cannot be written as ONNX, because it has neither onnx_operator nor onnx_step"
        raise ConfigError(f"cell={type(self).__name__}: {wrong}; allowed: format=safetensors")

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

    def forward(self, x_t: Float[Tensor, "B D"], state: State) -> State:
        """One step. x_t: (B, D); state: the last one, (B, H) each. Returns the next state."""
        return self.recur(self.project(x_t), state)

    def initial_state(self, batch_size: int) -> State:
        """Zeros, (batch_size, H) for each part of the state."""
        zeros = self.weight_hidden.new_zeros(batch_size, self.hidden_size)
        return (zeros,) * len(self.state_names)

    def extra_repr(self) -> str:
        """The sizes, for print(model)."""
        return f"{self.input_size}, {self.hidden_size}"
