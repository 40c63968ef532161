"""A trained model, ready to be asked: the class behind `seqpipe.load`."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seqpipe.data.base import Field, FieldSpec, Found, PlacedRecord, Record, SequenceSpec
from seqpipe.errors import ConfigError, DataError
from seqpipe.inference import saved
from seqpipe.inference.answers import Answer, answer_of
from seqpipe.inference.encoding import MOST_ROWS, MOST_STEPS, Encoder, Piece, batched
from seqpipe.inference.making import Maker, sized
from seqpipe.models.encoder_decoder import EncoderDecoder
from seqpipe.models.one_to_many import OneToMany
from seqpipe.tasks.base import Task

CHUNK = 4_096  # records that are sorted by length together


@dataclass(frozen=True)
class Asked:
    """What was asked, and what came of it.

    Args:
        record: as it was given; None where nothing could be read.
        place: `reviews.csv:17`, or `inputs[16]`.
        answer: of the model; None where there is an error.
        error: why there is no answer.
    """

    record: Record | None
    place: str
    answer: Answer | None
    error: str | None = None


class Model:
    """A trained model with all that it needs to read raw input and to write raw answers.

    Made by `seqpipe.load`. No answer depends on the batch size, on the order, or on what else is
    asked at the same time.

    Args:
        config: what it was trained with, resolved.
        x: the fitted field of x; None for a language model.
        y: the fitted field of y.
        spec: what both say of the data.
        task: what it was trained for.
        network: the torch model, with its trained weights.
        facts: more that is known of the training.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        x: Field | None,
        y: Field,
        spec: SequenceSpec,
        task: Task,
        network: nn.Module,
        facts: Mapping[str, Any],
    ) -> None:
        self.config, self.facts = dict(config), dict(facts)
        self.x, self.y, self.spec, self.task = x, y, spec, task
        self.network = network.eval()
        self.encoder = Encoder(spec, x, y, self.config["data"])

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.network.parameters()).device

    def to(self, device: torch.device | str) -> "Model":
        """Moves the weights to a device. Returns the model itself."""
        self.network.to(device)
        return self

    def predict(
        self, inputs: Iterable[Any], *, batch_size: int = MOST_ROWS, **decoding: Any
    ) -> list[Answer]:
        """An answer for each input, in their order.

        Args:
            inputs: records, `{"text": ..., ...}` with the columns of the training data; or what
                stands in the column of x alone: a text, an array (T, D), ...
            batch_size: examples that are computed at once, at most.
            decoding: see `answers`.

        Returns:
            plain values by name, `prediction` among them; see `seqpipe.inference.answers`.

        Raises:
            DataError: inputs that cannot be read; the first ten.
            ConfigError: this kind of model has nothing to predict.
        """
        asked = [*self.answers(self.records(inputs), batch_size=batch_size, **decoding)]
        problems = [f"{one.place}: {one.error}" for one in asked if one.error is not None]
        if problems:
            raise DataError(problems[:10])
        return [one.answer for one in asked if one.answer is not None]

    def records(self, inputs: Iterable[Any]) -> Iterator[Record]:
        """Inputs as records, with their places.

        Raises:
            DataError: text in place of a list of texts.
        """
        if isinstance(inputs, (str, bytes, Mapping)):
            kind = type(inputs).__name__
            raise DataError(f"inputs: is one {kind}; allowed: a list of inputs, [...]")
        column = (self.y if self.x is None else self.x).column
        for number, value in enumerate(inputs):
            columns = value if isinstance(value, Mapping) else {column: value}
            yield PlacedRecord(columns, f"inputs[{number}]")

    @torch.inference_mode()
    def answers(
        self,
        found: Iterable[Found],
        *,
        batch_size: int = MOST_ROWS,
        batch_steps: int = MOST_STEPS,
        chunk: int = CHUNK,
    ) -> Iterator[Asked]:
        """An answer for each record, in their order, however many there are.

        Args:
            found: records, and errors where one could not be read.
            batch_size: examples that are computed at once, at most.
            batch_steps: their steps, padding included, at most (one example may have more).
            chunk: records that are read before the first is answered, and sorted by length.

        Raises:
            ConfigError: this kind of model has nothing to predict.
        """
        self.check_predicts()
        rest = iter(found)
        while records := list(islice(rest, chunk)):
            yield from self._chunk(records, batch_size, batch_steps)

    @property
    def samples(self) -> bool:
        """Whether it makes up its y, and predicts none."""
        return isinstance(self.network, OneToMany)

    def check_predicts(self) -> None:
        """Refuses a model that makes up its y.

        Raises:
            ConfigError: it is a language model, or another of one_to_many.
        """
        if self.samples:
            text = "writes sequences and answers none"
            raise ConfigError(f"architecture=one_to_many: {text}; allowed: sample or score")

    def _chunk(self, found: list[Found], rows: int, steps: int) -> Iterator[Asked]:
        pieces: list[Piece] = []
        asked: list[Asked] = []
        for row, one in enumerate(found):
            place = getattr(one, "place", "")
            if isinstance(one, DataError):
                asked.append(Asked(None, place, None, "; ".join(one.problems)))
                continue
            try:
                pieces += self.encoder.pieces(row, one, labelled=False)
                asked.append(Asked(one, place, None))
            except DataError as error:
                asked.append(Asked(one, place, None, "; ".join(error.problems)))
        parts: dict[int, dict[int, tuple[Any, Tensor | None]]] = {}
        for chosen in batched(pieces, rows, steps):
            written = self._written([pieces[place] for place in chosen])
            for place, one_part in zip(chosen, written, strict=True):
                parts.setdefault(pieces[place].row, {})[place] = one_part
        for row, of_row in parts.items():
            joined = _joined([of_row[place] for place in sorted(of_row)])
            answer = answer_of(self.y, self.spec.y, *joined)
            asked[row] = replace(asked[row], answer=answer)
        yield from asked

    def _written(self, pieces: Sequence[Piece]) -> list[tuple[Any, Tensor | None]]:
        """(prediction, probabilities) of each piece, without padding."""
        batch = self.encoder.batch(pieces).to(self.device)
        outputs = None
        if not isinstance(self.network, EncoderDecoder):  # which would read a y, to no use
            outputs = self.network(batch.x, batch.x_lengths, batch.y, batch.y_lengths)
        predictions = self.task.predict(self.network, outputs, batch)
        decoded = [predicted for predicted, _ in self.task.decoded(predictions, batch)]
        if outputs is None or (chances := self.task.probabilities(outputs, batch)) is None:
            return [(predicted, None) for predicted in decoded]
        cut = [None] * len(decoded) if batch.y_lengths is None else batch.y_lengths.tolist()
        return [
            (predicted, rows[:steps] if steps is not None else rows)
            for predicted, rows, steps in zip(decoded, chances.cpu(), cut, strict=True)
        ]

    def __repr__(self) -> str:
        """What it reads, what it answers, and how large it is."""
        numbers = sum(weight.numel() for weight in self.network.parameters())
        stack = getattr(self.network, "encoder", getattr(self.network, "decoder", None))
        kernel = f", {stack.kernel_name}" if hasattr(stack, "kernel_name") else ""
        reads = "nothing" if self.x is None else self.x.describe({})
        return (
            f"<seqpipe model: {type(self.network).__name__}{kernel}, {numbers:,} weights,"
            f" {self.task.name}; reads {reads}; writes {self.y.describe({})}>"
        )


def _joined(parts: list[tuple[Any, Tensor | None]]) -> tuple[Any, Tensor | None]:
    """The pieces of one example, one after the other."""
    if len(parts) == 1:
        return parts[0]
    chances = [chance for _, chance in parts if chance is not None]
    return torch.cat([part for part, _ in parts]), torch.cat(chances) if chances else None


def kept(
    config: Mapping[str, Any],
    fields: Mapping[str, Field],
    spec: SequenceSpec,
    network: nn.Module,
    facts: Mapping[str, Any],
) -> saved.Saved:
    """What `saved.write` is given of a trained model.

    Args:
        config: what it was trained with, resolved, plain containers.
        fields: by role, fitted.
        spec: what the data is like, with its counts.
        network: with the trained weights.
        facts: more that is known of the training.
    """
    specs = {"x": spec.x, "y": spec.y}
    counts = {role: s.counts for role, s in specs.items() if s is not None and s.counts is not None}
    states = {role: fld.state() for role, fld in fields.items()}
    return saved.Saved(dict(config), network.state_dict(), states, counts, dict(facts))


def opened(folder: Path, trust: Sequence[str] = ()) -> Model:
    """The model in a folder that `saved.write` wrote, on the CPU.

    Args:
        folder: of the model.
        trust: modules outside of seqpipe that its configuration may use, see `Maker`.

    Raises:
        ConfigError: it cannot be read, or not by this version.
    """
    found = saved.read(folder)
    data, maker = found.config["data"], Maker(trust)
    fields: dict[str, Field] = {}
    specs: dict[str, FieldSpec] = {}
    for role, state in found.fields.items():
        fields[role] = maker.make(data[role], f"data.{role}")
        fields[role].restore(state)
        specs[role] = replace(fields[role].spec, counts=found.counts.get(role))
    spec = SequenceSpec(specs.get("x"), specs["y"])
    given: dict[str, Any] = {"y": spec.y}
    if "max_length" in found.config["task"]:  # decodes freely, so it must know when to give up
        given["longest_y"] = found.facts["longest_y"]
    task: Task = maker.make(found.config["task"], "task")(**given)
    made = maker.make(found.config["architecture"], "architecture")
    network = sized(made, spec, task.output_size)
    try:
        network.load_state_dict(found.weights)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip()
        text = f"the weights are not those of its config.yaml ({reason})"
        raise ConfigError(f"{folder}: {text}; allowed: both of one run") from None
    return Model(found.config, fields.get("x"), fields["y"], spec, task, network, found.facts)
