"""A trained model, ready to be asked: the class behind `seqpipe.load`."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from seqpipe.bounds import ManyRows, rules_of
from seqpipe.data.base import Field, Found, PlacedRecord, Record, SequenceSpec
from seqpipe.data.kinds import Answer
from seqpipe.data.vocabulary import EOS
from seqpipe.errors import ConfigError, DataError
from seqpipe.inference.generate import Decoding, Drawing, Sample, encoded_condition, sample
from seqpipe.inference.outputs import is_relative, placed
from seqpipe.inference.predictor import CHUNK, Answering, Asked
from seqpipe.inference.preprocess import MOST_ROWS, Encoder, is_table, records_of
from seqpipe.inference.scoring import Score, Unknown, score
from seqpipe.models.architecture import Attends, Samples
from seqpipe.rules import faults
from seqpipe.tasks.base import Task


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
        """The device of the weights."""
        return next(self.network.parameters()).device

    def to(self, device: torch.device | str) -> "Model":
        """Moves the weights to a device. Returns the model itself."""
        self.network.to(device)
        return self

    def predict(
        self,
        inputs: Iterable[Any],
        *,
        beam_size: int | None = None,
        n_best: int = 1,
        length_penalty: float | None = None,
        batch_size: int = MOST_ROWS,
    ) -> list[Answer]:
        """An answer for each input, in their order.

        Args:
            inputs: records, `{"text": ..., ...}` with the columns of the training data; or what
                is the column of x alone: a text, an array (T, D), ...
            beam_size: of translations and transcripts, see `Decoding`, as the next two.
            n_best: answers of each input, under that name.
            length_penalty: alpha of the length normalisation.
            batch_size: examples that are computed at once, at most.

        Returns:
            plain values by name, `prediction` among them; see `seqpipe.inference.outputs`.

        Raises:
            DataError: inputs that cannot be read; the first ten.
            ConfigError: this kind of model has nothing to predict, or an option does not fit it.
        """
        how = Decoding(beam_size, n_best, length_penalty)
        asked = [*self.answers(self.records(inputs), decoding=how, batch_size=batch_size)]
        problems = [f"{one.place}: {one.error}" for one in asked if one.error is not None]
        if problems:
            raise DataError(problems[:10])
        return [one.answer for one in asked if one.answer is not None]

    def sample(
        self,
        n: int = 1,
        *,
        prompt: str = "",
        condition: Any = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        max_length: int | None = None,
        seed: int = 0,
        allow_unknown: bool = False,
    ) -> list[Sample]:
        """New sequences, drawn step by step; for models of one_to_many.

        Args:
            n: how many.
            prompt: text that each continues; it is part of none.
            condition: a record or an entry of x, where the model has one.
            temperature: above 0; 1 is the model's own distribution, below it the likely gains.
            top_k: draw among this many most likely symbols only.
            top_p: draw among the most likely symbols that together have this probability.
            max_length: most steps; None: as long as the task's own samples, or the longest y.
            seed: the same one draws the same.
            allow_unknown: <UNK> may be drawn, and occur in the prompt.

        Returns:
            text; or, of a piano roll, (T, K) of 0 and 1.

        Raises:
            ConfigError: the model samples nothing, or an option does not fit it.
            DataError: a prompt or a condition that cannot be read.
        """
        asked = Drawing(
            n=n,
            prompt=prompt,
            condition=condition,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            max_length=self.longest_sample if max_length is None else max_length,
            seed=seed,
            allow_unknown=allow_unknown,
        )
        return sample(self.network, self.task, self.x, self.y, self.config["data"], asked)

    def score(
        self, inputs: Iterable[Any], *, condition: Any = None, unknown: Unknown = "count"
    ) -> list[Score]:
        """Log-probabilities of sequences, in nats: each symbol given those before it, and x if any.

        Args:
            inputs: records, or entries of y alone.
            condition: an entry of x that every input is given; None: x is in the records.
            unknown: symbols that are not in the vocabulary: `count`, `skip` or `refuse`, see
                `seqpipe.inference.scoring.score`.

        Returns:
            a score for each, in their order.

        Raises:
            ConfigError: the model gives sequences no probability.
            DataError: inputs that cannot be read.
        """
        given: Mapping[str, Any] = {}
        if condition is not None:
            if self.x is None:
                text = "the model has no condition; allowed: leave it out"
                raise ConfigError(f"condition={condition}: {text}")
            encoded_condition(self.x, condition)
            given = condition if isinstance(condition, Mapping) else {self.x.column: condition}
        column = self.y.column
        return [
            score(self.network, self.x, self.y, record, unknown)
            for record in self.records(inputs, column, given)
        ]

    @torch.inference_mode()
    def attention(self, record: Record, prediction: str) -> tuple[Any, list[str], list[str]]:
        """The attention of one answer, for models with `attends`.

        Args:
            record: that was asked.
            prediction: what it answered.

        Returns:
            weights (T_y, T_x), each row of sum 1; the symbols of x; those of y, <EOS> included.
        """
        network = self.network
        assert isinstance(network, Attends) and self.x is not None
        x = self.x.encode(record).to(self.x.spec.dtype)
        y = self.y.encode_target({self.y.column: prediction}).long()
        x_lengths, y_lengths = (torch.tensor([len(one)], device=self.device) for one in (x, y))
        steps = (one.unsqueeze(0).to(self.device) for one in (x, y))
        weights = network.attention_of(next(steps), x_lengths, next(steps), y_lengths)
        return weights[0].cpu().numpy(), _names(self.x, x), _names(self.y, y)

    def records(
        self,
        inputs: Iterable[Any],
        column: str | None = None,
        given: Mapping[str, Any] | None = None,
    ) -> Iterator[PlacedRecord]:
        """Inputs as records, with their places.

        Args:
            inputs: records, a table of pandas, or entries of one column.
            column: which; None: that of x, or of y where there is no x.
            given: columns that every record has besides.

        Raises:
            DataError: text in place of a list of texts.
        """
        if is_table(inputs):
            inputs = records_of(inputs)
        single = isinstance(inputs, (str, bytes, Mapping)) or getattr(inputs, "ndim", 1) == 0
        if single or not isinstance(inputs, Iterable):
            kind = type(inputs).__name__
            raise DataError(f"inputs: is one {kind}; allowed: a list of inputs, [...]")
        column = column or (self.y if self.x is None else self.x).column
        for number, value in enumerate(inputs):
            columns = value if isinstance(value, Mapping) else {column: value}
            yield PlacedRecord({**columns, **(given or {})}, f"inputs[{number}]")

    def answers(
        self,
        found: Iterable[Found],
        *,
        decoding: Decoding | None = None,
        batch_size: int = MOST_ROWS,
        chunk: int = CHUNK,
        ahead: bool = False,
    ) -> Iterator[Asked]:
        """An answer for each record, in their order, however many there are.

        Args:
            found: records, and errors where one could not be read.
            decoding: how translations and transcripts are searched for; None: as in the test.
            batch_size: examples that are computed at once, at most.
            chunk: records that are read before the first is answered, and sorted by length.
            ahead: read the next ones meanwhile, and compute several batches at once, in threads.

        Raises:
            ConfigError: this kind of model has nothing to predict, or `decoding` does not fit it.
        """
        self.check_predicts()
        problems = faults(rules_of(batch_size=ManyRows), {"batch_size": batch_size})
        if problems:
            raise ConfigError(problems)
        how = decoding or Decoding()
        how.check(self.task)
        asking = Answering(self.network, self.task, self.encoder, self.y, how)
        answers = asking.answers(found, rows=batch_size, chunk=chunk, ahead=ahead)
        has_spans = self.spec.y.scheme is not None
        return (
            map(self._placed, answers) if has_spans or is_relative(self.config["data"]) else answers
        )

    def _placed(self, one: Asked) -> Asked:
        if one.answer is None or one.record is None:
            return one
        try:
            answer = placed(one.answer, one.record, self.x, self.config["data"])
        except DataError as error:
            return replace(one, answer=None, error=str(error))
        return one if answer is one.answer else replace(one, answer=answer)

    @property
    def longest_sample(self) -> int:
        """Most steps that `sample` writes where nothing is said of it."""
        return min(200, int(self.facts["longest_y"]))

    @property
    def samples(self) -> bool:
        """True where the model writes a y of its own, and predicts none."""
        return isinstance(self.network, Samples)

    def check_predicts(self) -> None:
        """Refuses a model that makes up its y.

        Raises:
            ConfigError: it is a language model, or another of one_to_many.
        """
        if self.samples:
            text = "writes sequences and answers none"
            raise ConfigError(f"architecture=one_to_many: {text}; allowed: sample or score")

    def __repr__(self) -> str:
        """The input, the answers, and the size of the model."""
        numbers = sum(weight.numel() for weight in self.network.parameters())
        stack: Any = getattr(self.network, "encoder", getattr(self.network, "decoder", None))
        kernel = f", {stack.kernel_name}" if hasattr(stack, "kernel_name") else ""
        reads = "nothing" if self.x is None else self.x.describe({})
        return (
            f"<seqpipe model: {type(self.network).__name__}{kernel}, {numbers:,} weights,"
            f" {self.task.name}; reads {reads}; writes {self.y.describe({})}>"
        )


def _names(field: Field, values: Tensor) -> list[str]:
    """A word for each step; its number, from 1, where steps have none."""
    names = field.spec.names
    if names is None:
        return [str(step) for step in range(1, len(values) + 1)]
    ids = values[:, 0] if values.ndim == 2 else values
    return ["<EOS>" if int(id_) == EOS else names[int(id_)] for id_ in ids]
