"""The interface of an architecture: what it reads, how it answers, what else it can be asked for.

Ways of answering, `answers`:
    whole       one answer for the whole x
    each_step   one for each step of x
    next_step   one for each step of y, from the steps before it: the model writes its own sequence
    sequence    as next_step, but of an x: the model writes a sequence of another length
"""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Protocol, TypeGuard, runtime_checkable

from torch import Tensor, nn

from seqpipe.errors import ConfigError
from seqpipe.nn.onnx_graph import Graph, Steps, Value
from seqpipe.nn.recurrent import RecurrentStack
from seqpipe.rules import Problem, refusal


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
    recurrent: ClassVar[bool] = True
    """False where nothing recurs, so that there is no cell and no direction."""
    whole_sequences: ClassVar[bool] = False
    """True where the head may answer with potentials of whole sequences, as `CRFHead` does."""
    reads_within_step: bool = False
    """True where the answer to a part of y_t depends on other parts of y_t, in an order."""
    longest_x: int | None = None
    """Most steps of an x that it reads; None: any number."""
    decoder_starts_in: ClassVar[str | None] = None
    """What the first state of the stack `decoder` is where there is an x; None: its own."""

    @classmethod
    def decoder_faults(
        cls, *, bidirectional: bool, learn_initial_state: bool, has_x: bool
    ) -> Iterator[tuple[str, str]]:
        """Yield the options that the stack `decoder`, which writes y, cannot have.

        Args:
            bidirectional: whether it has two directions.
            learn_initial_state: whether its first state is a parameter.
            has_x: whether there is an x.

        Yields:
            (option, text of the refusal).
        """
        if cls.answers not in ("next_step", "sequence"):
            return
        if bidirectional:
            yield "bidirectional", "the decoder would read its own answer, y_{t+1}; allowed: false"
        if learn_initial_state and has_x and cls.decoder_starts_in is not None:
            text = f"the decoder starts in {cls.decoder_starts_in}; allowed: false"
            yield "learn_initial_state", text

    def check_decoder(self, decoder: RecurrentStack, *, has_x: bool) -> None:
        """Refuse a decoder with options that it cannot have, see `decoder_faults`.

        Raises:
            ConfigError: with every such option.
        """
        found = self.decoder_faults(
            bidirectional=decoder.directions == 2,
            learn_initial_state=decoder.learns_initial_state,
            has_x=has_x,
        )
        key = "architecture.decoder"
        if problems := [str(Problem(f"{key}.{name}", True, text)) for name, text in found]:
            raise ConfigError(problems)

    def check_x(self, kind: str | None) -> None:
        """Refuse a kind of x that is not one of `x_kinds`.

        Raises:
            ConfigError: it is another one.
        """
        if kind not in self.x_kinds:
            wrong = f"{type(self).__name__} does not read it"
            raise ConfigError(refusal("data.x", kind, wrong, ", ".join(filter(None, self.x_kinds))))

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
