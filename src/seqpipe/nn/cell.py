"""What a cell is: one time step, the definition and the reference of a recurrent layer.

Shapes: B sequences, D = input_size, H = hidden_size, G gates. A state is a tuple of (B, H).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from seqpipe.nn.checks import at_least_one

State = tuple[Tensor, ...]
Step = Callable[[Tensor, State], State]


class Cell(nn.Module, ABC):
    """One step of a recurrent layer.

    A subclass names its gates and its state, and says in `recur` how the state goes on.
    Gate by gate, the weights on x start uniform (Glorot & Bengio 2010, equation 16), those on
    h_{t-1} orthogonal (Saxe et al. 2014), so that neither the signal nor its gradient shrinks at
    the first step back; biases start at 0. (torch.nn draws all of them from +-1/sqrt(H).)

    Args:
        input_size: D.
        hidden_size: H.

    Attributes:
        weight_input: (G*H, D), rows packed in the order of `gate_names`.
        weight_hidden: (G*H, H), likewise.
        bias: (G*H,), likewise.
        undecayed: names of parameters of two dimensions that weight decay does not shrink.
    """

    gate_names: ClassVar[tuple[str, ...]]
    state_names: ClassVar[tuple[str, ...]] = ("h",)
    undecayed: ClassVar[tuple[str, ...]] = ()

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.input_size = at_least_one("input_size", input_size)
        self.hidden_size = at_least_one("hidden_size", hidden_size)
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

    @abstractmethod
    def recur(self, projected_t: Float[Tensor, "B GH"], state: State) -> State:
        """The rest of the step. projected_t: (B, G*H); state: (B, H) each. Returns the next."""

    def prepare(self) -> Step:
        """`recur` with all done that need not be repeated at each step of a sequence."""
        return self.recur

    def gates(
        self, projected_t: Float[Tensor, "B GH"], state: State
    ) -> dict[str, Float[Tensor, "B H"]]:
        """What the gates of one step let through, 0..1, by name; empty where a cell has none.

        Args:
            projected_t: (B, G*H), as for `recur`.
            state: before the step, (B, H) each.
        """
        return {}

    def kept(self, gates: dict[str, Float[Tensor, "B H"]]) -> Float[Tensor, "B H"] | None:
        """The share of the old memory that a step keeps, of its `gates`; None: nothing says it."""
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
