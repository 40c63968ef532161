"""Classes by how often they occur: weights of rare ones, their entropy, and what to monitor."""

import math
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from seqpipe.bounds import AUTO
from seqpipe.data.base import FieldSpec
from seqpipe.errors import ConfigError
from seqpipe.nn.cross_entropy import cross_entropies, is_measured_only
from seqpipe.nn.precision import precise
from seqpipe.tasks.real_steps import mean_over_real, taken_out

ClassWeights = Literal["balanced", "sqrt"]
UNBALANCED = 0.8
"""Classes are unbalanced if their entropy is less than this share of that of equal classes.

Of two classes, if one has more than 76 % of the examples.
"""


def weights_of(how: str | None, y: FieldSpec) -> Tensor | None:
    """The weight of each class, (K,) float32; None for none.

    Weights go with 1 / n_k (`balanced`) or its square root (`sqrt`), n_k being how often class k
    occurs in the training split. Their mean over that split is 1, so that the learning rate and
    the loss keep their size. A class that does not occur weighs nothing.

    Args:
        how: `balanced`, `sqrt`, or None.
        y: with its counts.

    Raises:
        ConfigError: y has no counts.

    Source: `balanced` is scikit-learn's compute_class_weight, after King & Zeng (2001).
    """
    if how is None:
        return None
    if y.counts is None:
        text = "how often each class occurs in the training split is not known"
        raise ConfigError(f"task.class_weights={how}: {text}; allowed: null")
    counts = torch.as_tensor(y.counts, dtype=torch.float64)
    powers = {"balanced": 1.0, "sqrt": 0.5}
    weights = torch.where(counts > 0, counts.clamp(min=1) ** -powers[how], 0.0)
    return (weights * counts.sum() / (weights * counts).sum()).float()


def of_classes(weights: Tensor, classes: Tensor) -> Tensor:
    """The weight of each class, without waiting for a GPU. weights: (K,); classes: any shape."""
    return weights.to(classes.device, non_blocking=True)[classes]


def cross_entropy(
    logits: Tensor,
    classes: Tensor,
    *,
    label_smoothing: float,
    weights: Tensor | None,
    mask: Tensor | None = None,
) -> Tensor:
    """Mean cross entropy in nats, each of N things weighted by its class.

    The sum is divided by N, not by the sum of the weights (as torch's `weight=` would), which
    would reduce the weight of a rare class in a batch that holds nothing else.

    Args:
        logits: (N, K).
        classes: (N,) ids.
        label_smoothing: mass spread over all classes.
        weights: (K,), or None for a plain mean.
        mask: (B, T), of which logits and classes are the `real_steps`; None: all are real.
    """
    loss = partial(
        nn.functional.cross_entropy, precise(logits), classes, label_smoothing=label_smoothing
    )
    if weights is None and (mask is None or taken_out(mask)):
        return loss()
    each = loss(reduction="none")
    if weights is not None:
        each = each * of_classes(weights, classes)
    return each.mean() if mask is None else mean_over_real(each, mask)


def cross_entropy_of_each(logits: Tensor, classes: Tensor) -> Tensor:
    """Cross entropy in nats of each of N things, (N,). logits: (N, K); classes: (N,) ids."""
    if is_measured_only(logits):
        return cross_entropies(logits, classes)
    return nn.functional.cross_entropy(precise(logits), classes, reduction="none")


def entropy_of(y: FieldSpec) -> tuple[float, str] | None:
    """-sum of p ln p over the classes of the training split, in nats; None: not counted."""
    if y.counts is None or y.counts.sum() == 0:
        return None
    shares = torch.as_tensor(y.counts, dtype=torch.float64)
    return float(torch.special.entr(shares / shares.sum()).sum()), "entropy of the training labels"


def evenness(y: FieldSpec) -> float | None:
    """Entropy of the classes of the training split as a share of that of equal ones, 0 to 1.

    None if fewer than two classes occur, or they were not counted.
    """
    entropy = entropy_of(y)
    met = 0 if y.counts is None else int((y.counts > 0).sum())
    return None if entropy is None or met < 2 else entropy[0] / math.log(met)


def chosen_monitor(monitor: str, y: FieldSpec, *, spans: bool = False) -> tuple[str, str]:
    """The metric to monitor, and why; "" where it was given.

    `auto` is `val/entity_f1` of tags that mark spans, `val/macro_f1` of classes that are
    unbalanced in the training split (see `UNBALANCED`), and else `val/accuracy`.

    Args:
        monitor: as given; `auto`: choose one.
        y: with its counts.
        spans: the tags mark spans.
    """
    if monitor != AUTO:
        return monitor, ""
    if spans:
        return "val/entity_f1", "the tags mark spans"
    share = evenness(y)
    if share is None or y.counts is None:
        return "val/accuracy", "there are no two classes in the training split"
    met = int((y.counts > 0).sum())
    measured = f"their entropy in the training split is {share:.2f} of that of {met} equal ones"
    if share < UNBALANCED:
        return "val/macro_f1", f"the classes are unbalanced: {measured}"
    return "val/accuracy", f"the classes are not unbalanced: {measured}"
