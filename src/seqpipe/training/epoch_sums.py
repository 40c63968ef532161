"""The loss and the metrics of one stage (train, val or test), summed over an epoch."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from seqpipe.tasks.base import Pairs
from seqpipe.tasks.metrics import WeightedMean
from seqpipe.tasks.ranking import takes_scores
from seqpipe.tasks.torchmetrics_internals import set_state

States = dict[str, dict[str, Tensor]]
"""metric -> state -> value."""


class Counted(NamedTuple):
    """The contribution of one batch.

    Args:
        loss: mean over the units, a scalar.
        units: the number of steps or examples of that mean.
        pairs: predictions and targets; None where the stage has no metrics.
        scores: probabilities of the answers; None where no metric of the stage takes them.
        penalty: what the training adds to the loss, see `penalty_of`; None where it adds nothing.
    """

    loss: Tensor
    units: Tensor
    pairs: Pairs | None
    scores: Tensor | None = None
    penalty: Tensor | None = None


class EpochSums(nn.Module):
    """The mean loss and the metrics of a stage, weighted by what each batch counts.

    Args:
        metrics: of the task for this stage; may be empty.
    """

    loss: WeightedMean
    penalty: WeightedMean
    metrics: MetricCollection

    def __init__(self, metrics: MetricCollection) -> None:
        super().__init__()
        self.loss, self.penalty, self.metrics = WeightedMean(), WeightedMean(), metrics
        self.takes_scores = any(takes_scores(metric) for metric in self._by_name().values())

    def add(self, counted: Counted) -> None:
        """Adds a batch."""
        self.loss.update(counted.loss, counted.units)
        if counted.penalty is not None:
            self.penalty.update(counted.penalty, counted.units)
        if counted.pairs is not None:
            scores = {} if counted.scores is None else {"scores": counted.scores}
            self.metrics.update(*counted.pairs, **scores)

    def take(self) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean loss and the computed metrics; the next epoch starts from nothing."""
        computed = self.loss.compute(), self.metrics.compute() if len(self.metrics) else {}
        self.reset()
        return computed

    def reset(self) -> None:
        """Starts from nothing."""
        # Tensors of the inference mode, in which Lightning validates, cannot be added to elsewhere.
        with torch.inference_mode(False):
            self.loss.reset()
            self.penalty.reset()
            self.metrics.reset()

    def states(self) -> States:
        """The sums of this process on the CPU, of metrics that have seen a batch.

        Only of metrics that are sums, as all of the training are.
        """
        return {
            name: {part: torch.as_tensor(v).cpu() for part, v in metric.metric_state.items()}
            for name, metric in self._by_name().items()
            if metric.update_called
        }

    def load_states(self, states: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Restores saved sums; metrics and states that only one side has are skipped."""
        metrics = self._by_name()
        for name in metrics.keys() & states.keys():
            set_state(metrics[name], states[name])

    def _by_name(self) -> dict[str, Metric]:
        of_task = {str(name): metric for name, metric in self.metrics.items()}
        return {**of_task, "loss": self.loss, "penalty": self.penalty}
