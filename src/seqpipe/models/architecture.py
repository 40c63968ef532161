"""The interface of an architecture: what it reads, how it answers, what else it can be asked for.

Ways of answering, `answers`:
    whole       one answer for the whole x
    each_step   one for each step of x
    next_step   one for each step of y, from the steps before it: the model writes its own sequence
    sequence    as next_step, but of an x: the model writes a sequence of another length
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, TypeGuard, runtime_checkable

from torch import Tensor, nn

from seqpipe.errors import ConfigError
from seqpipe.nn.onnx_graph import Graph, Steps, Value


class Architecture(nn.Module):
    """A model of x and y. `forward(x, x_lengths, y, y_lengths)` returns logits or numbers.

    A plain `nn.Module` can be trained, too; it declares nothing and is not written as ONNX.
    """

    x_kinds: ClassVar[tuple[str | None, ...]]
    """Kinds of x that it reads, see `FieldSpec`; None: it needs no x."""
    y_kinds: ClassVar[tuple[str, ...]]
    """Kinds of y that it answers with."""
    answers: ClassVar[str]
    """Its way of answering."""

    @property
    def causal(self) -> bool:
        """True where, with `each_step`, the answer to step t depends on x_1..x_t only."""
        return False

    def onnx(self, graph: Graph) -> tuple[Value, Steps | None]:
        """Writes the inputs and `forward` into a graph.

        Returns:
            what `forward` returns, time first; the real steps, None where answers have none.

        Raises:
            ConfigError: it cannot be written as ONNX.
        """
        wrong = "cannot be written as ONNX, because it has no method onnx"
        name = type(self).__name__
        raise ConfigError(f"architecture={name}: {wrong}; allowed: format=safetensors")

    def onnx_answers(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The answers to the inputs of the graph, computed here: `forward`, and other outputs."""
        return self(inputs["x"], inputs.get("lengths")), {}


@runtime_checkable
class Carries(Protocol):
    """A model that can start from the state in which the batch before ended."""

    def start(self, rows: int) -> Any:
        """The state of `rows` sequences before their first step."""

    def carry(
        self, x: Any, x_lengths: Any, y: Tensor, y_lengths: Tensor, carried: Any
    ) -> tuple[Tensor, Any]:
        """Logits as from `forward`, from a state; and the state after the last real step."""


@runtime_checkable
class RunsFree(Protocol):
    """A model that can read its own guesses."""

    def free_running(
        self, x: Tensor | None, x_lengths: Tensor | None, y: Tensor, y_lengths: Tensor
    ) -> Tensor:
        """Logits as from `forward`, each step reading the guess at the step before it."""


@runtime_checkable
class Samples(Protocol):
    """A model that writes sequences of its own; see `OneToMany.sample` for the options."""

    def sample(self, x: Tensor | None = None, **options: Any) -> tuple[Tensor, Tensor]:
        """Sequences (count, T, ...) and their lengths (count,)."""


@runtime_checkable
class Scores(Protocol):
    """A model that gives sequences a probability: `forward` reads y_1..y_{t-1} before y_t."""

    def log_probabilities(self, x: Any, x_lengths: Any, y: Tensor, y_lengths: Tensor) -> Tensor:
        """Log p of each y_t given x and y_1..y_{t-1}, in nats, (B, T_y), 0 at padding."""


@runtime_checkable
class Scheduled(Protocol):
    """A model that changes with the number of updates, as teacher forcing does that falls."""

    def set_update(self, update: int) -> dict[str, float]:
        """Called before each batch of the training.

        Args:
            update: updates made so far.

        Returns:
            numbers to log, by name.
        """


@runtime_checkable
class Attends(Protocol):
    """A model that can have attention.

    Attributes:
        attends: True where it has.
    """

    @property
    def attends(self) -> bool:
        """True where the model has attention."""

    def attention_of(self, x: Tensor, x_lengths: Tensor, y: Tensor, y_lengths: Tensor) -> Tensor:
        """Weight of each step of x at each step of y, (B, T_y, T_x)."""


def attends(model: object) -> TypeGuard[Attends]:
    """True where a model has attention that can be looked at."""
    return isinstance(model, Attends) and model.attends


def set_update(model: object, update: int) -> dict[str, float]:
    """Set the number of updates of a model that changes with it; return the numbers to log."""
    return model.set_update(update) if isinstance(model, Scheduled) else {}
