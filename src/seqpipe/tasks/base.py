"""The base of all tasks: loss, predictions, metrics, and how an answer is written."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor
from torchmetrics import MetricCollection

from seqpipe.baselines.base import Baseline
from seqpipe.data.base import Field, FieldSpec, SequenceBatch
from seqpipe.data.dataset import SequenceData
from seqpipe.data.kinds import Answer, Columns, Floats
from seqpipe.data.prepare import ExampleCheck
from seqpipe.errors import ConfigError, DataError
from seqpipe.nn.masks import length_mask
from seqpipe.nn.onnx_graph import FLOAT, STEPS, Axes, Graph, Steps, Value
from seqpipe.rules import refusal
from seqpipe.tasks.computed import scalars_of
from seqpipe.tasks.direction import HIGH_IS_BETTER, better, monitor_problems
from seqpipe.tasks.sequence_metrics import is_same_text

Pairs = tuple[Any, Any]
_MADE_FOR = {"training_loss": ("loss",), "baselines": ("loss", "predict", "pairs", "output_size")}


class Task(ABC):
    """One kind of y: how a model is trained and judged on it, and how its answers are written.

    Every number is weighted by what it counts (examples, or real steps), so that it does not
    depend on the batch size or on padding.

    Args:
        y: the properties of y in the data.
        monitor: the metric that picks the best checkpoint, stops early and is swept over.
        mode: `min` or `max`, which way the monitored metric is better.

    Raises:
        ConfigError: y is of a kind the task cannot take, `monitor` is no metric of the task, or
            `mode` is the wrong way round for it.
    """

    name: ClassVar[str]
    y_kinds: ClassVar[tuple[str, ...]]
    """Kinds of y that the task takes, see `FieldSpec`."""
    answers: ClassVar[tuple[str, ...]]
    """The ways of answering that the task judges, see `seqpipe.models.architecture`."""
    whole_sequences: ClassVar[bool] = False
    """True where it judges potentials of whole sequences, as `CRFHead` gives them."""
    high_is_better: ClassVar[frozenset[str]] = HIGH_IS_BETTER
    """Names of metrics that are better high; all others are better low."""
    search_options: ClassVar[tuple[str, ...]] = ()
    """Options of `search` that the task reads; none: its answers are not searched for."""
    why_monitored = ""
    """The reason why the task chose its `monitor` itself; "" if it was given one."""
    positive = 1
    """Id of the positive class, where there are two."""
    details: frozenset[str] = frozenset()
    """Names of metrics that the closing lines leave out, unless they are monitored."""
    further_metrics: tuple[tuple[str, str], ...] = ()
    """Metrics besides `metric_names`, each with the override that adds it to them."""
    drawing_options: ClassVar[tuple[str, ...]] = ()
    """Options of drawing that only some samples have: `prompt`, `top_k`, `top_p`, ..."""
    remedies: tuple[str, ...] = ()
    """Overrides that usually help a model that is no better than its baselines."""

    def __init__(self, *, y: FieldSpec, monitor: str, mode: str) -> None:
        if y.kind not in self.y_kinds:
            wrong, wanted = f"y is of kind {y.kind}", f"a y of kind {' or '.join(self.y_kinds)}"
            raise ConfigError(refusal("task", self.name, wrong, wanted))
        self.y, self.monitor, self.mode = y, monitor, mode
        if problems := self.monitor_problems("task", monitor, mode):
            raise ConfigError(problems)

    def monitor_problems(self, key: str, monitor: str, mode: str) -> list[str]:
        """See `seqpipe.tasks.direction.monitor_problems`."""
        how = self.better(monitor), self.further_metrics
        return monitor_problems(self.metric_names(), *how, key=key, monitor=monitor, mode=mode)

    @classmethod
    def better(cls, metric: str) -> str:
        """Return the direction in which a metric of this task is better, `min` or `max`."""
        return better(metric, cls.high_is_better)

    @property
    def output_size(self) -> int:
        """K, width of one prediction."""
        return self.y.size

    @property
    def signatures(self) -> dict[str, str]:
        """How metrics are computed that have a signature, by name, for the report."""
        return {}

    @abstractmethod
    def metric_names(self) -> list[str]:
        """Names of the scalars of a validation, `loss` first."""

    @classmethod
    def example_check(cls, *, crf: bool = False) -> ExampleCheck | None:
        """The check of single examples that this task cannot take; None: it takes all.

        Args:
            crf: the model answers with the potentials of a CRF.
        """
        return None

    @property
    def own_check(self) -> ExampleCheck | None:
        """`example_check` with the options of this task."""
        return self.example_check()

    def check_pieces(self, pieces: Iterable[tuple[Any, Any]]) -> None:
        """Refuse single examples that this task cannot take.

        Args:
            pieces: x and y, encoded.

        Raises:
            DataError: one of them.
        """
        check = self.own_check
        rule = None if check is None else check.of(self.y)
        for x, y in pieces:
            problem = None if rule is None else rule(x, y)
            if problem is not None:
                raise DataError(problem)

    def check(self, data: SequenceData) -> None:
        """Refuse data that only this task cannot take, unless it was checked while it was read.

        Raises:
            DataError: with the first ten examples of it.
        """
        check = self.own_check
        if check is None or (data.check is not None and data.check.name == check.name):
            return
        data.refuse_by(check.of(self.y))

    def learn_references(self, batches: Iterable[SequenceBatch]) -> None:  # noqa: B027
        """Read a split before it is measured; `check` does so for validation and test."""

    @abstractmethod
    def loss(self, outputs: Tensor, batch: SequenceBatch, *, training: bool) -> Tensor:
        """Mean loss over what `units` counts, a scalar."""

    def training_loss(self, outputs: Tensor, batch: SequenceBatch) -> Tensor:
        """`loss(..., training=True)` of outputs that nobody reads later: it may overwrite them.

        A subclass with a `loss` of its own and no `training_loss` has this one, which calls it.
        """
        return self.loss(outputs, batch, training=True)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Take what was made for a form that a subclass changes back to the general one."""
        super().__init_subclass__(**kwargs)
        for name, parts in _MADE_FOR.items():
            owners = [next(c for c in cls.__mro__ if part in vars(c)) for part in (name, *parts)]
            if not set(owners) <= set(owners[0].__mro__):  # issubclass needs what ABC adds later
                setattr(cls, name, getattr(Task, name))

    def baselines(self, data: SequenceData) -> Sequence[Baseline]:
        """Simple models to compare with, not fitted yet; none where a subclass names none."""
        return ()

    @property
    def compared(self) -> tuple[str, ...]:
        """Names of the metrics in which a model should be better than every baseline."""
        return (self.monitor.removeprefix("val/"),)

    def units(self, batch: SequenceBatch) -> Tensor:
        """The number of things the mean loss of this batch goes over: real steps, or examples.

        An update of several batches weights each by it, so that its gradient is that of the mean
        over all of them. A term that a loss adds for a whole batch is weighted with the rest.
        """
        return self.unit_counts(batch).sum()

    def unit_counts(self, batch: SequenceBatch) -> Tensor:
        """The number of `units` in each example, (B,)."""
        if batch.y_lengths is None:
            return torch.ones(len(batch), dtype=torch.int64, device=batch.y.device)
        return batch.y_lengths

    @staticmethod
    def mask(batch: SequenceBatch) -> Tensor:
        """True where a step is real, (B, T_y); where y has no time, True for each example, (B,)."""
        if batch.y_lengths is None:
            return torch.ones(len(batch), dtype=torch.bool, device=batch.y.device)
        return length_mask(batch.y_lengths, batch.y.shape[1])

    def losses(self, outputs: Tensor, batch: SequenceBatch) -> tuple[Tensor, Tensor]:
        """The loss that each example adds outside training, and how many units it counts.

        The sum of the one over the sum of the other is `loss(..., training=False)`. Computed one
        by one here, which is slow.

        Returns:
            (B,) and (B,).
        """
        rows = [(batch.row(number), outputs[number : number + 1]) for number in range(len(batch))]
        units = torch.stack([self.units(one) for one, _ in rows])  # which a task may override
        means = [self.loss(own, one, training=False) for one, own in rows]
        return torch.stack(means) * units, units

    def by_step(self, batch: SequenceBatch) -> bool:
        """True where each step of y has an answer and a loss of its own."""
        return batch.y_lengths is not None

    def one_step(
        self, outputs: Tensor, batch: SequenceBatch, *, first: bool
    ) -> tuple[Tensor, SequenceBatch]:
        """The answers and the truth of one step of each sequence: the last real one, or the first.

        outputs: (B, T_y, ...). Returns (B, 1, ...), and a batch whose y has one step. Only where
        the loss is `by_step`.
        """
        assert batch.y_lengths is not None
        rows = torch.arange(len(batch), device=outputs.device)
        place = torch.zeros_like(batch.y_lengths) if first else batch.y_lengths - 1
        y = batch.y[rows, place].unsqueeze(1)
        ones = torch.ones_like(batch.y_lengths)
        return outputs[rows, place].unsqueeze(1), replace(batch, y=y, y_lengths=ones)

    def untrained_loss(self, batch: SequenceBatch) -> tuple[float, str] | None:
        """The loss of a model whose outputs are all 0, and its formula (`ln 10`).

        An untrained model should start near it. None where that is not known.
        """
        return None

    def marginal_loss(self, batch: SequenceBatch) -> tuple[float, str] | None:
        """The lowest loss of a model that ignores x, and what it is; None: not known."""
        return None

    def predict(self, model: Any, outputs: Tensor, batch: SequenceBatch) -> Any:
        """The answers themselves, from the outputs or from the model run freely."""
        return outputs.argmax(dim=-1)

    def probabilities(self, outputs: Tensor, batch: SequenceBatch) -> Tensor | None:
        """Probability of each class or label, (B, K) or (B, T, K) float32; None: there is none."""
        return None

    @abstractmethod
    def pairs(self, predictions: Any, batch: SequenceBatch) -> Pairs:
        """Predictions and truth as the metrics take them, padding removed."""

    def scores(self, outputs: Tensor, batch: SequenceBatch) -> Tensor | None:
        """Probabilities as a metric takes them whose `update` has an argument `scores`.

        Of the answers that `pairs` gives, in their order, (N, K) or (B, T, K).
        """
        return self.probabilities(outputs, batch)

    @abstractmethod
    def metrics(self, stage: str) -> MetricCollection:
        """Fresh metrics of a stage (`train`, `val`, `test`); may be empty."""

    def scalars(self, computed: dict[str, Tensor]) -> dict[str, Tensor]:
        """The numbers to log: all scalars that are defined, and scores of classes by name."""
        kept = self.monitor.removeprefix("val/")
        return scalars_of(computed, self.y.names or (), kept=kept)

    def derived(self, loss: Tensor) -> dict[str, Tensor]:
        """Metrics that follow from the mean loss of a whole split."""
        return {}

    def decoded(self, predictions: Any, batch: SequenceBatch) -> list[tuple[Any, Any]]:
        """(prediction, truth) of each example without padding, for a table a person reads."""
        pairs = zip(predictions.cpu(), batch.y.cpu(), strict=True)
        if batch.y_lengths is None:
            return list(pairs)
        lengths = batch.y_lengths.tolist()
        return [(p[:n], t[:n]) for (p, t), n in zip(pairs, lengths, strict=True)]

    def correct(self, y: Field, predicted: Any, truth: Any, text: str) -> bool | None:
        """True where one decoded answer is right; None where answers are not right or wrong.

        Args:
            y: the field, fitted.
            predicted: as `decoded` gives it.
            truth: as `decoded` gives it.
            text: the raw y, see `SequenceBatch.texts`; "" where it is not known.
        """
        if self.y.is_text:
            return is_same_text(self.y, predicted, truth, text)
        return None if self.y.holds_floats else y.decode(predicted) == y.decode(truth)

    def answer(self, y: Field, predicted: Any, probabilities: Floats | None) -> Answer:
        """One example's answer as plain values by name, see `FieldSpec.answer`.

        Args:
            y: the field, fitted.
            predicted: as `decoded` gives it, of one example.
            probabilities: of the classes or labels, (K,), or (T, K) where there is one a step;
                None where the task gives none.
        """
        return self.y.answer(predicted, probabilities, y.decode)

    def columns(self, n_best: int = 1) -> Columns:
        """Names and types of what `answer` gives, see `FieldSpec.answer_columns`."""
        return self.y.answer_columns(n_best)

    def search(
        self,
        model: Any,
        batch: SequenceBatch,
        *,
        beam_size: int,
        n_best: int,
        length_penalty: float | None,
        banned: tuple[int, ...] | None = None,
    ) -> list[list[tuple[Tensor, float]]]:
        """The best answers to each x of a batch, the best first: symbols, and log p(y | x) in nats.

        Only of a task with `search_options`, with a model in eval mode; beam_size: hypotheses at
        each step; n_best: answers of each x; length_penalty: see `beam.length_norm`; None: its
        own; banned: ids never written, where `search_options` has `unknown`; None: the task's.
        """
        raise NotImplementedError

    def onnx(self, graph: Graph, outputs: Value, steps: Steps | None) -> None:
        """Writes the outputs of a graph: `logits`, and their softmax as `probabilities`.

        Args:
            graph: to add them to.
            outputs: of the model, (B, ...) or, with steps, (T, B, ...).
            steps: the real ones; None where answers have none.

        Raises:
            ConfigError: the answer cannot be written as ONNX.
        """
        if self.y.form.holds != "ids":
            wrong = "its outputs cannot be written as ONNX, because it has no method onnx"
            raise ConfigError(f"task={self.name}: {wrong}; allowed: format=safetensors")
        logits = self.onnx_logits(graph, outputs, steps)
        chances = graph.op("Softmax", logits, axis=-1)
        graph.output("probabilities", chances, FLOAT, self.onnx_axes(steps))

    def onnx_logits(self, graph: Graph, outputs: Value, steps: Steps | None) -> Value:
        """Writes the output `logits`. Returns them, batch first."""
        outputs = self.onnx_batch_first(graph, outputs, steps)
        graph.output("logits", outputs, FLOAT, self.onnx_axes(steps))
        return outputs

    @staticmethod
    def onnx_batch_first(graph: Graph, outputs: Value, steps: Steps | None) -> Value:
        """The outputs of a model, (T, B, K), as (B, T, K); (B, K) as they are."""
        return outputs if steps is None else graph.op("Transpose", outputs, perm=[1, 0, 2])

    def onnx_axes(self, steps: Steps | None) -> Axes:
        """The axes of one of the model's outputs, batch first."""
        return (*(("batch",) if steps is None else STEPS), self.output_size)

    def onnx_answers(self, model: Any, outputs: Tensor, batch: SequenceBatch) -> dict[str, Tensor]:
        """The outputs that `onnx` writes, computed here, by name. outputs: of the model."""
        found = self.probabilities(outputs, batch)
        found = outputs.softmax(dim=-1) if found is None else found
        return {"logits": outputs, "probabilities": found}

    def onnx_comparable(
        self, outputs: dict[str, Any], answers: dict[str, Tensor], real: Tensor | None
    ) -> dict[str, Any]:
        """Outputs in the form in which those of a graph and of a model are compared.

        Args:
            outputs: by name, of one of them.
            answers: of the model in float64, as `onnx_answers` gives them.
            real: (B, T), True at real steps; None where answers have none.
        """
        return outputs

    @property
    def numbers_per_step(self) -> int:
        """Numbers that a model computes for one step of its answer."""
        return self.output_size

    @property
    def special_ids(self) -> dict[str, int]:
        """Ids that mean something to another program: `bos`, `eos`, `pad`, `blank`."""
        return {}

    def run_sample(self, steps: int, *, in_pieces: bool) -> dict[str, Any] | None:
        """Options of `sample` for the samples that a training run shows; None: it shows none.

        Args:
            steps: of the first test example.
            in_pieces: training cut its sequences in pieces, which seldom end.
        """
        return None

    def ending(self, *, in_pieces: bool) -> dict[str, Any]:
        """Options of `sample`: where a sample ends, and which symbols are never drawn."""
        return {}

    def drawn(self, y: Field, sample: Tensor) -> Any:
        """A sample in the form that the user gets. sample: as drawn, without padding."""
        return y.decode(sample)
