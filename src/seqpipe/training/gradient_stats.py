"""Gradient statistics: norms by part of the model, clipping, and the size of updates.

They are measured once per update with one synchronization of the device; clipping, logging and the
check for NaN and Inf share them.
"""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seqpipe.report.findings import Finding

WINDOWS = 300
"""Number of windows of a training: MLflow shows about 320 points of a metric."""
FEW = 100  # updates; below that there is no advice
_LAYER = re.compile(r"(.+)\.layers\.(\d+)\.(forwards|backwards)\.")
_BINS = 500  # bins of the histogram of norms per factor of e: the median is exact to 0.1 %
_SMALLEST = 1e-30


def group_of(name: str) -> str:
    """Return the part of the model that a parameter belongs to.

    >>> group_of("encoder.layers.0.forwards.cell.weight_hidden")
    'encoder.0.forwards'
    >>> group_of("head.output.weight")
    'head'
    """
    layer = _LAYER.match(name)
    return ".".join(layer.groups()) if layer else name.partition(".")[0]


def by_name(module: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters by name, without the prefix `model.`."""
    return {name.removeprefix("model."): p for name, p in module.named_parameters()}


def norms_by_group(groups: Iterable[str], norms: Iterable[float]) -> dict[str, float]:
    """Return the norm of each group from those of its parameters."""
    totals: dict[str, float] = {}
    for group, norm in zip(groups, norms, strict=True):
        totals[group] = math.hypot(totals.get(group, 0.0), norm)
    return totals


class GradientFlow:
    """Norms of the gradient, clipping, and the size of updates.

    Args:
        parameters: of the model, by name.

    Attributes:
        total: norm of the whole gradient of the present update, before clipping.
        groups: norm of the gradient of each part.
        window: number of updates whose largest norm is logged.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter]) -> None:
        self._parameters = [(group_of(name), p) for name, p in parameters.items()]
        self._norms: list[float] = []
        self._measured: list[tuple[str, nn.Parameter]] = []
        self.total, self.window = 0.0, 1
        self._overflowed = False  # the squares of the present gradient overflowed
        self._before: list[Tensor] = []  # weights before an update that is logged
        self._waiting: list[float] = []  # norms of the window so far
        self._epoch = {"updates": 0, "acted": 0, "scales": 0.0}
        self._run = {"updates": 0, "acted": 0, "largest": 0.0, "largest_number": 0.0}
        self._histogram: dict[int, int] = {}
        self._limit: float | None = None
        self._by_value = False

    def measure(self) -> float:
        """Return the norm of the whole gradient; synchronizes the device once.

        It is finite unless a number of the gradient is not: if the squares overflow the precision,
        the norm is computed again from shares of the largest number.
        """
        self._measured = [(group, p) for group, p in self._parameters if p.grad is not None]
        self._norms = _norms(self._gradients())
        self.total = math.sqrt(sum(norm * norm for norm in self._norms))
        self._overflowed = False
        if not math.isfinite(self.total):
            self._norms = _large_norms(self._gradients())
            self.total = math.hypot(*self._norms)
            self._overflowed = math.isfinite(self.total)
        return self.total

    @property
    def groups(self) -> dict[str, float]:
        """Return the norm of the gradient of each part, before clipping."""
        return norms_by_group((group for group, _ in self._measured), self._norms)

    def clip(self, limit: float, algorithm: str | None) -> None:
        """Clip the measured gradient in place, and count whether it changed.

        Args:
            limit: maximum of the norm, or of each number.
            algorithm: `norm` (also None) or `value`.
        """
        scale, acted, gradients = 1.0, self.total > limit, self._gradients()
        if algorithm == "value":
            largest = max(_norms(gradients, math.inf), default=0.0)
            acted = largest > limit
            if acted:
                nn.utils.clip_grad_value_([p for _, p in self._measured], limit)
                scale = math.hypot(*_norms(gradients)) / self.total
            self._run["largest_number"] = max(self._run["largest_number"], largest)
        else:
            assert algorithm in (None, "norm"), algorithm
            if acted:
                scale = limit / (self.total + 1e-6)  # as torch does
            if acted and self._overflowed:  # the scale may underflow the precision
                for _ in range(2):
                    torch._foreach_mul_(gradients, math.sqrt(scale))
            elif acted:
                torch._foreach_mul_(gradients, scale)
        self._limit, self._by_value = limit, algorithm == "value"
        self._epoch["updates"] += 1
        self._epoch["acted"] += acted
        self._epoch["scales"] += scale
        self._run["acted"] += acted

    def count_update(self) -> None:
        """Count the update."""
        self._waiting.append(self.total)
        self._run["updates"] += 1
        self._run["largest"] = max(self._run["largest"], self.total)
        place = round(_BINS * math.log(max(self.total, _SMALLEST)))
        self._histogram[place] = self._histogram.get(place, 0) + 1

    def window_metrics(self, *, ended: bool = False) -> dict[str, float]:
        """Return the maximum and the 99th percentile of the norms of a window, as metrics.

        Args:
            ended: the training ended, so the window need not be full.

        Returns:
            the metrics; empty while the window is not full.
        """
        if not self._waiting or (len(self._waiting) < self.window and not ended):
            return {}
        totals, self._waiting = self._waiting, []
        p99 = float(np.quantile(totals, 0.99))
        return {"grad_norm/window_max": max(totals), "grad_norm/window_p99": p99}

    def epoch_metrics(self) -> dict[str, float]:
        """Return how often and how much clipping changed the gradients of the epoch, and reset."""
        updates = max(1, self._epoch["updates"])
        metrics = {
            "grad_norm/clipped_fraction": self._epoch["acted"] / updates,
            "grad_norm/clip_scale": self._epoch["scales"] / updates,
        }
        if self._epoch["updates"] == 0:  # a scaler skipped all of them
            metrics["grad_norm/clip_scale"] = 1.0
        self._epoch = {"updates": 0, "acted": 0, "scales": 0.0}
        return metrics

    def keep_weights(self) -> None:
        """Keep a copy of the weights, to compare with those after an update.

        Call it after the backward pass: the copy then takes the place of what that needed.
        """
        self._before = [parameter.detach().clone() for _, parameter in self._parameters]

    def update_metrics(self) -> dict[str, float]:
        """Return the gradient's norm and the size of the update, for each part.

        Empty unless weights were kept before the update; the copy is given up.
        """
        if not self._before:
            return {}
        norms = {f"grad_norm/{part}": norm for part, norm in self.groups.items()}
        ratios = self._update_ratios(self._before).items()
        self._before = []
        return norms | {f"update_ratio/{part}": ratio for part, ratio in ratios}

    def _update_ratios(self, before: list[Tensor]) -> dict[str, float]:
        """Return ||w_after - w_before|| / ||w_before|| of each trained part that is not zero.

        The weights before are overwritten by their difference from those after.
        """
        learned = [
            (group, p.detach(), old)
            for (group, p), old in zip(self._parameters, before, strict=True)
            if p.requires_grad
        ]
        if not learned:
            return {}
        old, groups = [weights for _, _, weights in learned], [group for group, _, _ in learned]
        sizes = torch._foreach_norm(old)
        torch._foreach_sub_(old, [weights for _, weights, _ in learned])
        both = torch.stack([*torch._foreach_norm(old), *sizes]).tolist()
        moved = norms_by_group(groups, both[: len(groups)])
        held = norms_by_group(groups, both[len(groups) :])
        return {group: moved[group] / size for group, size in held.items() if size > 0}

    def findings(self) -> tuple[Finding, ...]:
        """The gradient's norm, part by part in the last update, and the effect of clipping."""
        rows = [
            {"part": part, "norm in the last update": f"{norm:.3g}"}
            for part, norm in self.groups.items()
        ]
        return (
            Finding("Gradient flow", self.sentence(), rows=rows, group="Gradient flow"),
            *(Finding("Clipping", text, group="Advice") for text in self.advice()),
        )

    def sentence(self) -> str:
        """Describe the norms and what clipping changed, in one or two sentences."""
        updates = int(self._run["updates"])
        if updates == 0:
            return "No update was made."
        said = (
            f"In {updates:,} updates the median gradient norm was {self._median():.3g} and"
            f" the largest {self._run['largest']:.3g}."
        )
        if self._limit is None:
            return f"{said} Nothing was clipped (trainer.gradient_clip_val=null)."
        share = self._run["acted"] / updates
        of = "each number" if self._by_value else "the norm"
        return f"{said} Clipping {of} at {self._limit:g} changed {share:.1%} of the updates."

    def advice(self) -> list[str]:
        """Return advice on clipping, in sentences; after fewer than `FEW` updates there is none."""
        updates, acted, largest = (self._run[name] for name in ("updates", "acted", "largest"))
        if updates == 0:
            return ["no update was made, so the weights are the initial ones"]
        if updates < FEW:
            return []
        median = self._median()
        if self._limit is None:
            if largest <= 100 * median:
                return []
            ratio = f"{largest / median:,.0f} times the median of {median:.3g}"
            return [
                f"nothing was clipped, and the largest norm of the gradient was {largest:.3g},"
                f" {ratio}: trainer.gradient_clip_val would bound such steps"
            ]
        setting = f"trainer.gradient_clip_val={self._limit:g}"
        if acted == 0:
            measured = f"the largest norm of the gradient was {largest:.3g}"
            if self._by_value:
                number = self._run["largest_number"]
                measured = f"the largest entry of the gradient was {number:.3g}"
            return [f"{setting} never acted in {updates:,} updates: {measured}"]
        if acted > 0.9 * updates:
            return [
                f"{setting} acted in {acted / updates:.0%} of {updates:,} updates, so it acts like"
                f" a smaller learning rate: the median norm of the gradient was {median:.3g}"
            ]
        return []

    def _median(self) -> float:
        seen, half = 0, sum(self._histogram.values()) / 2
        for place in sorted(self._histogram):
            seen += self._histogram[place]
            if seen >= half:
                return math.exp(place / _BINS)
        return 0.0

    def state_dict(self) -> dict[str, Any]:
        """Return the counters of epoch, run and window, in plain containers."""
        return {
            "epoch": dict(self._epoch),
            "run": dict(self._run),
            "histogram": dict(self._histogram),
            "window": list(self._waiting),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the counters of a checkpoint."""
        self._epoch, self._run = dict(state["epoch"]), dict(state["run"])
        self._histogram, self._waiting = dict(state["histogram"]), list(state["window"])

    def _gradients(self) -> list[Tensor]:
        return [parameter.grad for _, parameter in self._measured if parameter.grad is not None]


def _norms(tensors: list[Tensor], order: float = 2.0) -> list[float]:
    """Return the norm of each tensor, on the host."""
    if not tensors:
        return []
    numbers: list[float] = torch.stack(torch._foreach_norm(tensors, order)).tolist()
    return numbers


def _large_norms(tensors: list[Tensor]) -> list[float]:
    """Return the norm of each tensor without overflow; not finite where a number is not."""
    largest = _norms(tensors, math.inf)
    if not all(map(math.isfinite, largest)):
        return largest
    shares = torch._foreach_div(tensors, [size or 1.0 for size in largest])
    return [norm * size for norm, size in zip(_norms(list(shares)), largest, strict=True)]
