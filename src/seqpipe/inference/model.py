"""A trained model that predicts, samples and scores: the class that `seqpipe.load` returns."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from seqpipe.bounds import ManyRows, rules_of
from seqpipe.data.base import Field, Found, PlacedRecord, Record, SequenceSpec
from seqpipe.data.kinds import Answer
from seqpipe.data.vocabulary import EOS
from seqpipe.errors import ConfigError, DataError
from seqpipe.inference.copying import copying_problem
from seqpipe.inference.fusion import check_beam_of, fuse
from seqpipe.inference.generate import Decoding, Drawing, Sample, encoded_condition, sample
from seqpipe.inference.outputs import is_relative, place_answer
from seqpipe.inference.predictor import CHUNK, Asked, Predictor
from seqpipe.inference.preprocess import MOST_ROWS, Encoder, is_table, records_of
from seqpipe.inference.scoring import Score, Unknown, score
from seqpipe.inference.unknown_symbols import ids_of_answer
from seqpipe.models.architecture import Attends, Samples
from seqpipe.rules import faults
from seqpipe.tasks.base import Task


class Model:
    """A trained model that reads raw input and writes raw answers.

    Made by `seqpipe.load`. No answer depends on the batch size, the order or the other inputs.

    Args:
        config: the configuration of its training, resolved.
        x: the fitted field of x; None for a language model.
        y: the fitted field of y.
        spec: the properties of x and y.
        task: the task it was trained for.
        network: the torch model, with its trained weights.
        facts: more facts about the training: `longest_y`, digests of the data, metrics.
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
        """Move the weights to a device. Returns the model itself."""
        self.network.to(device)
        return self

    def predict(
        self,
        inputs: Iterable[Any],
        *,
        beam_size: int | None = None,
        n_best: int = 1,
        length_penalty: float | None = None,
        unknown: Literal["keep", "ban", "copy"] | None = None,
        batch_size: int = MOST_ROWS,
    ) -> list[Answer]:
        """Answer each input, in their order.

        Args:
            inputs: records, `{"text": ..., ...}` with the columns of the training data; or the
                entries of x alone: texts, arrays (T, D), ...
            beam_size: of translations and transcripts, see `Decoding`, as the next two.
            n_best: number of answers of each input, which are listed as `n_best`.
            length_penalty: alpha of the length normalisation.
            unknown: what becomes of <UNK> in a translation, see `Decoding`.
            batch_size: most examples that are computed at once.

        Returns:
            plain values by name, `prediction` among them; see `seqpipe.inference.outputs`.

        Raises:
            DataError: inputs cannot be read; lists the first ten.
            ConfigError: the model predicts nothing, or an option does not fit it.
        """
        how = Decoding(beam_size, n_best, length_penalty, unknown)
        asked = [*self.answers(self.records(inputs), decoding=how, batch_size=batch_size)]
        problems = [f"{one.place}: {one.error}" for one in asked if one.error is not None]
        if problems:
            raise DataError(problems[:10])
        return [one.answer for one in asked if one.answer is not None]

    def read_language_model(self, lm: "Model", *, weight: float = 0.5, bonus: float = 0.0) -> None:
        """From now on add the probabilities of a language model in the beam search of transcripts.

        Args:
            lm: a model of architecture=one_to_many that knows every symbol of y.
            weight: of its log-probabilities, above 0.
            bonus: of each symbol, in nats.

        Raises:
            ConfigError: this model writes no transcripts by CTC, or `lm` does not fit it.
        """
        fuse(self, lm, weight, bonus)

    def sample(
        self,
        n: int = 1,
        *,
        prompt: Any = "",
        condition: Any = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        max_length: int | None = None,
        seed: int = 0,
        allow_unknown: bool = False,
    ) -> list[Sample]:
        """Draw new sequences, step by step; for models of one_to_many.

        Args:
            n: number of sequences.
            prompt: what each continues and does not repeat: a text, or another entry of y (a roll,
                a list of tokens).
            condition: a record or an entry of x, for a model with one.
            temperature: above 0; 1 is the model's own distribution, a lower one favours likely
                symbols.
            top_k: draw among this many most likely symbols only.
            top_p: draw among the most likely symbols that together have this probability.
            max_length: most steps; None: see `longest_sample`.
            seed: the same seed draws the same sequences.
            allow_unknown: <UNK> may be drawn, and occur in the prompt.

        Returns:
            texts; or piano rolls, (T, K) of 0 and 1.

        Raises:
            ConfigError: the model samples nothing, or an option does not fit it.
            DataError: a prompt or a condition cannot be read.
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
        """Score sequences: log-probability in nats of each symbol given those before it, and x.

        Args:
            inputs: records, or entries of y alone.
            condition: the x of every input; None: x is in the records.
            unknown: how to treat symbols that are not in the vocabulary: `count`, `skip` or
                `refuse`, see `seqpipe.inference.scoring.score`.

        Returns:
            a score for each input, in their order.

        Raises:
            ConfigError: the model gives sequences no probability.
            DataError: an input cannot be read.
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
        """Return the attention of one answer, for models with `attends`.

        Args:
            record: the input.
            prediction: the answer to it.

        Returns:
            weights (T_y, T_x), each row of sum 1; the symbols of x; those of y, <EOS> included.
        """
        network = self.network
        assert isinstance(network, Attends) and self.x is not None
        x = self.x.encode(record).to(self.x.spec.dtype)
        y = ids_of_answer(self.y, prediction)
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
        """Yield the inputs as records that know their places.

        Args:
            inputs: records, a table of pandas, or entries of one column.
            column: that column; None: the one of x, or of y if there is no x.
            given: further columns, the same for every record.

        Raises:
            DataError: one text was given instead of a list of texts.
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
        """Yield an answer for each record, in their order, in bounded memory.

        Args:
            found: records; an error stands for a record that could not be read.
            decoding: the search for translations and transcripts; None: as in the test.
            batch_size: most examples that are computed at once.
            chunk: records that are read and sorted by length before the first is answered.
            ahead: read the next records meanwhile, and compute several batches at once, in threads.

        Raises:
            ConfigError: the model predicts nothing, or `decoding` does not fit it.
        """
        self.check_predicts()
        problems = faults(rules_of(batch_size=ManyRows), {"batch_size": batch_size})
        if problems:
            raise ConfigError(problems)
        how = decoding or Decoding()
        how.check(self.task)
        if how.unknown == "copy":
            problem = copying_problem(self.network, self.spec.x)
            if problem is not None:
                raise ConfigError(f"unknown=copy: {problem}")
        check_beam_of(self.task, how.size(self.task))
        predictor = Predictor(self.network, self.task, self.encoder, self.y, how)
        answers = predictor.answers(found, rows=batch_size, chunk=chunk, ahead=ahead)
        is_placed = self.spec.y.scheme is not None or is_relative(self.config["data"])
        return map(self._place, answers) if is_placed else answers

    def _place(self, one: Asked) -> Asked:
        if one.answer is None or one.record is None:
            return one
        try:
            answer = place_answer(one.answer, one.record, self.x, self.config["data"])
        except DataError as error:
            return replace(one, answer=None, error=str(error))
        return one if answer is one.answer else replace(one, answer=answer)

    @property
    def longest_sample(self) -> int:
        """Most steps of a sample by default: the longest y of the training, at most 200."""
        return min(200, int(self.facts["longest_y"]))

    @property
    def samples(self) -> bool:
        """True if the model generates y and predicts none, as a language model does."""
        return isinstance(self.network, Samples)

    def check_predicts(self) -> None:
        """Refuse a model that generates y and predicts none.

        Raises:
            ConfigError: it is a language model, or another of one_to_many.
        """
        if self.samples:
            text = "writes new sequences and cannot predict"
            raise ConfigError(f"architecture=one_to_many: {text}; allowed: sample or score")

    def __repr__(self) -> str:
        """Show the input, the answers, and the size of the model."""
        numbers = sum(weight.numel() for weight in self.network.parameters())
        stack: Any = getattr(self.network, "encoder", getattr(self.network, "decoder", None))
        kernel = f", {stack.kernel_name()}" if hasattr(stack, "kernel_name") else ""
        reads = "nothing" if self.x is None else self.x.describe({})
        return (
            f"<seqpipe model: {type(self.network).__name__}{kernel}, {numbers:,} weights,"
            f" {self.task.name}; reads {reads}; writes {self.y.describe({})}>"
        )


def _names(field: Field, values: Tensor) -> list[str]:
    """The symbol of each step; its number, from 1, if steps have no names."""
    names = field.spec.names
    if names is None:
        return [str(step) for step in range(1, len(values) + 1)]
    ids = values[:, 0] if values.ndim == 2 else values
    return ["<EOS>" if int(id_) == EOS else names[int(id_)] for id_ in ids]
