"""One of K tags for each step."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torchmetrics import MetricCollection

from seqpipe.baselines.base import Baseline
from seqpipe.baselines.frequencies import Frequencies
from seqpipe.baselines.steps import TagOfSymbol
from seqpipe.bounds import MonitorOrAuto, Share, checked
from seqpipe.data.base import FieldSpec, SequenceBatch
from seqpipe.data.dataset import SequenceData
from seqpipe.data.fields.classes import class_name
from seqpipe.data.prepare import ExampleCheck
from seqpipe.data.tags import rules, runs
from seqpipe.errors import ConfigError
from seqpipe.nn import crf_onnx
from seqpipe.nn.crf import (
    Allowed,
    conditional_logits,
    constrained,
    first_logits,
    marginals,
    step_nats,
    viterbi,
)
from seqpipe.nn.onnx_graph import FLOAT, INTEGER, STEPS, Graph, Steps, Value
from seqpipe.nn.precision import precise
from seqpipe.rules import refusal
from seqpipe.tasks.averages import AverageOfClasses
from seqpipe.tasks.base import Pairs
from seqpipe.tasks.class_counts import positive_class
from seqpipe.tasks.class_weights import ClassWeights, chosen_monitor, of_classes, weights_of
from seqpipe.tasks.entity_metrics import IGNORED, EntityScores
from seqpipe.tasks.metrics import DETAILS, RANKING_METRICS, class_metric_names, class_metrics
from seqpipe.tasks.real_steps import mean_over_real, real_steps
from seqpipe.tasks.step_task import StepTask

SPAN_METRICS = ("entity_precision", "entity_recall", "entity_f1")


def tagging_faults(
    label_smoothing: int | float, crf: bool, spans: str | None, background: object
) -> Iterator[tuple[str, str]]:
    """Yield label smoothing of a CRF, and a background of no spans: (argument, text)."""
    if background is not None and spans is None:
        yield "background", "no runs of tags are measured; allowed: null, or also task.spans=runs"
    if crf and label_smoothing > 0:
        text = "smooths the tags of one step, but a CRF predicts whole sequences"
        yield "label_smoothing", f"{text}; allowed: 0"


class Tagging(AverageOfClasses, StepTask):
    """Cross entropy in nats per real step; accuracy, macro-F1 and F1 of each tag, over real steps.

    Outputs are logits of each step, (B, T_y, K), or the potentials of a CRF, (B, T_y, K, K). Then
    the loss is -log p(y | x) in nats per real step, and the prediction is the most likely sequence
    of tags. By the chain rule each step has its part in that loss, -log p(y_t | y_{t-1}, x).
    Tags that mark spans then keep the rules of their scheme: what breaks them has probability 0.

    Where the tags mark spans (`y.scheme`, or spans=runs), also precision, recall and F1 of spans:
    see `EntityScores`. Class weights change the training loss only: losses of validation and test
    count every step alike.

    Args:
        y: kind `tags`.
        label_smoothing: mass spread over all tags in the training loss, in [0, 1).
        class_weights: `balanced` or `sqrt`, see `weights_of`; None: every step weighs the same.
            Of a CRF, they weigh each step's part of the loss.
        positive: the positive tag, of two; None: the second in the order of `y`.
        crf: the outputs are potentials.
        spans: `runs`: runs of equal tags are spans too, and measured as such; None: only tags of
            a scheme mark spans.
        background: the tag outside of all spans, if these are runs; None: every run is a span.
        monitor: see `Task`; `auto`: see `chosen_monitor`.
        mode: see `Task`.

    Raises:
        ConfigError: see `Task`; or label smoothing of a CRF.
    """

    name = "tagging"
    y_kinds = ("tags",)
    answers = ("each_step",)
    whole_sequences = True
    details = DETAILS
    remedies = ("bidirectional=true", "architecture.head=crf", "dropout=0.5")

    @checked("task.", tagging_faults)
    def __init__(
        self,
        *,
        y: FieldSpec,
        label_smoothing: Share = 0.0,
        class_weights: ClassWeights | None = None,
        positive: str | int | float | None = None,
        crf: bool = False,
        spans: Literal["runs"] | None = None,
        background: str | int | float | None = None,
        monitor: MonitorOrAuto = "auto",
        mode: Literal["min", "max"] = "max",
    ) -> None:
        monitor, self.why_monitored = chosen_monitor(monitor, y, spans=y.scheme is not None)
        self.ranked = monitor.removeprefix("val/") in RANKING_METRICS
        self.entities = _span_finder(y, spans, background)
        ranking = () if self.ranked else RANKING_METRICS
        found = () if y.scheme is not None or spans is not None else SPAN_METRICS
        self.further_metrics = (
            *((name, f"task.monitor=val/{name}") for name in ranking),
            *((name, "task.spans=runs") for name in found),
        )
        super().__init__(y=y, monitor=monitor, mode=mode)
        self.label_smoothing, self.crf = label_smoothing, crf
        if crf:
            self.why_no_average = "a CRF judges whole sequences of tags, of which there is no mean"
        self.weights = weights_of(class_weights, y)
        self.positive = positive_class(positive, y)
        self.allowed = _allowed(y.names or (), y.scheme) if y.scheme is not None else None

    def metric_names(self) -> list[str]:
        """Loss, accuracy, macro-F1 and the other scores of tags; those of spans.

        Those of `Ranking` only if one is monitored: they take long for many steps.
        """
        names = ["loss", *class_metric_names(self.output_size, ranked=self.ranked)]
        return names if self.entities is None else [*names, *SPAN_METRICS]

    @classmethod
    def example_check(cls, *, crf: bool = False) -> ExampleCheck | None:
        """Refuses a sequence that was cut in mid-span: to a CRF it would be impossible."""
        return ExampleCheck("spans of a crf", _whole_spans) if crf else None

    @property
    def own_check(self) -> ExampleCheck | None:
        """`example_check` of a CRF or of none."""
        return self.example_check(crf=self.crf)

    def loss(self, outputs: Tensor, batch: SequenceBatch, *, training: bool) -> Tensor:
        """Nats per real step. outputs: (B, T_y, K), or potentials (B, T_y, K, K)."""
        if outputs.ndim != 4:
            return super().loss(outputs, batch, training=training)
        mask = self.mask(batch)
        nats, y = real_steps(mask, self._nats(outputs, batch), batch.y)
        if training and self.weights is not None:
            nats = nats * of_classes(self.weights, y)
        return mean_over_real(nats, mask)

    def losses(self, outputs: Tensor, batch: SequenceBatch) -> tuple[Tensor, Tensor]:
        """See `Task`; outputs as of `loss`."""
        if outputs.ndim != 4:
            return super().losses(outputs, batch)
        return self._nats(outputs, batch).sum(dim=1), self.unit_counts(batch)

    def _nats(self, potentials: Tensor, batch: SequenceBatch) -> Tensor:
        """Nats of each step given the true tags before it, (B, T_y); 0 in the padding."""
        assert batch.y_lengths is not None
        return step_nats(self._possible(potentials, batch), batch.y_lengths, batch.y)

    def _possible(self, potentials: Tensor, batch: SequenceBatch) -> Tensor:
        assert batch.y_lengths is not None
        if self.allowed is None:
            return potentials
        return constrained(potentials, batch.y_lengths, self.allowed)

    def one_step(
        self, outputs: Tensor, batch: SequenceBatch, *, first: bool
    ) -> tuple[Tensor, SequenceBatch]:
        """Return (logits, y) of real steps; of a CRF, logits given the true neighbouring tags."""
        if outputs.ndim == 4:
            assert batch.y_lengths is not None
            given = first_logits if first else conditional_logits
            outputs = given(self._possible(outputs, batch), batch.y_lengths, batch.y)
        return super().one_step(outputs, batch, first=first)

    def untrained_loss(self, batch: SequenceBatch) -> tuple[float, str]:
        """Ln K, or where a CRF keeps the rules of a scheme, ln of how many sequences do, a step."""
        if not self.crf or self.allowed is None:
            return super().untrained_loss(batch)
        nothing = torch.zeros(*batch.y.shape, self.output_size, self.output_size)
        on_cpu = batch.to("cpu")
        value = float(self.loss(nothing, on_cpu, training=False))
        return value, f"ln of all sequences of {self.y.scheme} a step"

    def marginal_loss(self, batch: SequenceBatch) -> tuple[float, str] | None:
        """See `StepTask`; None of a CRF, which knows the tag before without looking at x."""
        return None if self.crf else super().marginal_loss(batch)

    def predict(self, model: Any, outputs: Tensor, batch: SequenceBatch) -> Tensor:
        """(B, T_y) ids: the most likely tag of each step, of a CRF the most likely sequence."""
        if outputs.ndim == 4:
            assert batch.y_lengths is not None
            return viterbi(self._possible(outputs, batch), batch.y_lengths)
        return outputs.argmax(dim=-1)

    def probabilities(self, outputs: Tensor, batch: SequenceBatch) -> Tensor:
        """p(y_t = k | x), (B, T_y, K); of a CRF over all sequences. Only `y_lengths` is read."""
        if outputs.ndim == 4:
            assert batch.y_lengths is not None
            return marginals(self._possible(outputs, batch), batch.y_lengths)
        return precise(outputs).softmax(dim=-1)

    def baselines(self, data: SequenceData) -> Sequence[Baseline]:
        """The most frequent tag, and that of each symbol where x has symbols."""
        baselines: list[Baseline] = [Frequencies(self)]
        x = data.spec.x
        if x is not None and x.form.holds == "ids":
            baselines.append(TagOfSymbol(self, spelled=x.is_spelled))
        return baselines

    @property
    def compared(self) -> tuple[str, ...]:
        """The monitored metric, and F1 of spans where tags mark them."""
        spans = () if self.entities is None else ("entity_f1",)
        return tuple(dict.fromkeys((*super().compared, *spans)))

    def pairs(self, predictions: Any, batch: SequenceBatch) -> Pairs:
        """Predictions and truth, (B, T_y) ids each, IGNORED in the truth where a step is none."""
        return predictions, torch.where(self.mask(batch), batch.y, IGNORED)

    def metrics(self, stage: str) -> MetricCollection:
        """Accuracy while training; all of them, and the confusion matrix, in the test."""
        ranked = stage == "test" or self.ranked
        metrics = class_metrics(
            self.output_size, stage, IGNORED, positive=self.positive, ranked=ranked
        )
        if self.entities is not None and stage != "train":
            metrics.add_metrics({"entities": self.entities()})
        return metrics

    def scalars(self, computed: dict[str, Tensor]) -> dict[str, Tensor]:
        """Accuracy, macro-F1, `f1/<tag>`; scores of spans, and `entity_f1/<type>` of the test."""
        scalars = super().scalars(computed)
        if "f1_per_class" in computed and "entity_f1_per_type" in computed:  # in the test only
            f1 = computed["entity_f1_per_type"].reshape(-1)  # torchmetrics makes a scalar of one
            assert self.entities is not None
            per_type = zip(self.entities().types, f1, strict=True)
            scalars |= {f"entity_f1/{type_}": value for type_, value in per_type if type_}
        return scalars

    def onnx(self, graph: Graph, outputs: Value, steps: Steps | None) -> None:
        """As `Task`; of a CRF, (T, B, K, K), `tags` and `probabilities` of whole sequences."""
        if not self.crf or steps is None:
            super().onnx(graph, outputs, steps)
            return
        if self.allowed is not None:
            outputs = crf_onnx.constrained(graph, outputs, steps, self.allowed)
        tags = graph.op("Transpose", crf_onnx.viterbi(graph, outputs), perm=[1, 0])
        graph.output("tags", tags, INTEGER, STEPS)
        chances = graph.op("Transpose", crf_onnx.marginals(graph, outputs), perm=[1, 0, 2])
        graph.output("probabilities", chances, FLOAT, self.onnx_axes(steps))

    def onnx_answers(self, model: Any, outputs: Tensor, batch: SequenceBatch) -> dict[str, Tensor]:
        """As `Task`; of a CRF also the `potentials`, by which its `tags` are compared."""
        if outputs.ndim != 4:
            return super().onnx_answers(model, outputs, batch)
        return {
            "tags": self.predict(model, outputs, batch),
            "potentials": outputs,
            "probabilities": self.probabilities(outputs, batch),
        }

    def onnx_comparable(
        self, outputs: dict[str, Any], answers: dict[str, Tensor], real: Tensor | None
    ) -> dict[str, Any]:
        """As `Task`; tags of a CRF by their score, since two sequences may be equally likely."""
        if not self.crf:
            return outputs
        assert real is not None
        tags = torch.as_tensor(outputs["tags"])
        return {**outputs, "tags": _scores(tags, answers["potentials"], real)}

    @property
    def numbers_per_step(self) -> int:
        """K, or K^2 potentials of a CRF."""
        return self.output_size ** (2 if self.crf else 1)


def _span_finder(
    y: FieldSpec, spans: str | None, background: object
) -> Callable[[], EntityScores] | None:
    """Makes the metric of the spans that tags mark; None: they mark none.

    Raises:
        ConfigError: runs of tags that mark spans already, or a background that is no tag.
    """
    names = y.names or ()
    if y.scheme is not None and spans is not None:
        wrong = f"the tags mark spans already, in the scheme {y.scheme}"
        raise ConfigError(refusal("task.spans", spans, wrong, "null"))
    if y.scheme is not None:
        return partial(EntityScores, names) if names else None
    if spans is None:
        return None
    outside = None if background is None else class_name(background)
    if outside is not None and outside not in names:
        allowed = ", ".join(names)
        raise ConfigError(refusal("task.background", outside, "no such tag", allowed, names))
    kinds = [name for name in names if name != outside]
    return partial(EntityScores, names, find=partial(runs, background=outside), kinds=kinds)


def _scores(tags: Tensor, potentials: Tensor, real: Tensor) -> Tensor:
    """Scores of sequences of tags, (B, 1). tags: (B, T); potentials: (B, T, K, K); real: (B, T)."""
    tags = tags.where(real, 0)
    before = nn.functional.pad(tags, (1, 0))[:, :-1]
    rows = torch.arange(len(tags)).unsqueeze(1), torch.arange(tags.shape[1])
    return potentials[*rows, before, tags].where(real, 0.0).sum(dim=1, keepdim=True)


def _whole_spans(y: FieldSpec) -> Callable[[Any, Any], str | None]:
    """The rule that no sequence starts or ends inside a span."""
    if y.scheme is None or y.names is None:
        return lambda x, tags: None
    names, allowed = y.names, _allowed(y.names, y.scheme)
    start, end = allowed.start.tolist(), allowed.end.tolist()

    def rule(x: Any, tags: Any) -> str | None:
        for may, tag, wrong in ((start, tags[0], "starts"), (end, tags[-1], "ends")):
            if not may[tag]:
                text = f"{wrong} inside a span, with {names[tag]}, so a CRF cannot answer it"
                cut = "data.window=null data.max_length=null, or architecture.head=linear"
                return f"{text}; allowed: {cut}"
        return None

    return rule


def _allowed(names: tuple[str, ...], scheme: str) -> Allowed:
    start, follow, end = rules(names, scheme)
    return Allowed(torch.tensor(start), torch.tensor(follow), torch.tensor(end))
