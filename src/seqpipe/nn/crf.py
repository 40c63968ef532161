"""Linear-chain conditional random field: how likely a whole sequence of tags is, not each alone.

A network computes potentials, (B, T, K, K): `[t, i, j]` is the score of tag j at step t after tag
i at step t - 1. At the first step nothing comes before, so there all rows are alike. The
probability of a sequence of tags is exp(sum of its scores) over that of all K^T sequences.

Everything here rests on one recursion from the last step to the first, which turns potentials into
p(y_t | y_{t-1}, x): by the chain rule their product is p(y | x). For training it is in
`seqpipe.nn.crf_nats`, with a gradient written by hand.

Shapes: B sequences, T steps, K tags. Steps after the length are never read.
Source: Lafferty, McCallum & Pereira (2001); Sutton & McCallum (2012), section 4.1, for the
recursions; Lample et al. (2016) for the potentials of a recurrent network.
"""

from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from seqpipe.bounds import Count, Share
from seqpipe.nn.crf_nats import conditional_nats, log_ahead
from seqpipe.nn.head import Head
from seqpipe.nn.masks import length_mask
from seqpipe.nn.onnx_graph import Graph, Steps, Value
from seqpipe.nn.precision import precise

FORBIDDEN = -1e30
"""Score of what cannot be: its probability is exactly 0, and no gradient of it is NaN."""


class Allowed(NamedTuple):
    """The transitions between tags; True where one is allowed.

    Args:
        start: (K,) of the first step.
        follow: (K, K), `[i, j]`: j right after i.
        end: (K,) of the last real step.
    """

    start: Bool[Tensor, " K"]
    follow: Bool[Tensor, "K K"]
    end: Bool[Tensor, " K"]


class CRFHead(Head):
    """Potentials of a sequence of tags from the output of a recurrent layer.

    The score of tag j at step t after tag i is the output of a `Head` for j at t plus a learned
    score of the transition i -> j. At the first step it is a score of starting with j, and at the
    last real step a score of ending with j is added.

    Args:
        input_size: D, of one step.
        output_size: K.
        hidden: widths of the layers in between, none by default.
        dropout: probability that one output of a layer in between is set to 0 in training.
        activation: of the layers in between.

    Raises:
        ConfigError: see `Head`.

    Source: Lample et al. (2016), section 2.2, with scores of the ends in place of two more tags.
    """

    whole_sequences = True
    undecayed = keeps_start = ("transitions", "start", "end")  # scores, which multiply nothing
    connects_steps = ("transitions",)

    def __init__(
        self,
        input_size: int,
        output_size: int,
        *,
        hidden: list[Count] | tuple[Count, ...] = (),
        dropout: Share = 0.0,
        activation: Literal["relu", "tanh"] = "relu",
    ) -> None:
        super().__init__(
            input_size, output_size, hidden=hidden, dropout=dropout, activation=activation
        )
        # Zeros: an untrained model prefers no order of tags.
        self.transitions = nn.Parameter(torch.zeros(output_size, output_size))
        self.start = nn.Parameter(torch.zeros(output_size))
        self.end = nn.Parameter(torch.zeros(output_size))

    def forward(  # type: ignore[override]
        self, x: Float[Tensor, "B T D"], lengths: Int[Tensor, " B"]
    ) -> Float[Tensor, "B T K K"]:
        """x: (B, T, D); lengths: (B,) real steps. Returns the potentials, (B, T, K, K)."""
        return self.potentials(super().forward(x), lengths)

    def potentials(
        self, emissions: Float[Tensor, "B T K"], lengths: Int[Tensor, " B"]
    ) -> Float[Tensor, "B T K K"]:
        """Return the potentials (B, T, K, K) from the scores of tags at each step, (B, T, K)."""
        T = emissions.shape[1]
        t = torch.arange(T, device=emissions.device)
        last = (t == lengths.to(emissions.device).unsqueeze(1) - 1).unsqueeze(-1)
        ends = torch.where(last, emissions + self.end, emissions)
        before = torch.where((t == 0).view(T, 1, 1), self.start, self.transitions)
        return before + ends.unsqueeze(2)

    def onnx(self, graph: Graph, value: Value, steps: Steps | None = None) -> Value:
        """Writes the head into a graph. value: (T, B, D). Returns (T, B, K, K), 0 at padding."""
        assert steps is not None
        emissions = super().onnx(graph, value)
        first, last = ends_of(graph, emissions, steps)
        ending = graph.op("Add", emissions, graph.constant(self.end))
        ends = graph.op("Where", graph.unsqueezed(last, 2), ending, emissions)
        learned = graph.constant(self.start), graph.constant(self.transitions)
        before = graph.op("Where", graph.unsqueezed(first, 2, 3), *learned)
        scores = graph.op("Add", before, graph.unsqueezed(ends, 2))
        real = graph.unsqueezed(steps.real, 3)
        return graph.op("Where", real, scores, graph.constant(0.0))


def ends_of(graph: Graph, values: Value, steps: Steps) -> tuple[Value, Value]:
    """In a graph, true at the first step, (T, 1), and at the last real ones, (T, B).

    values: (T, ...).
    """
    t = graph.places(values, 0, 1)
    last = graph.op("Sub", steps.lengths, graph.integers(1))
    return graph.op("Equal", t, graph.constant(0, np.int64)), graph.op("Equal", t, last)


def constrained(
    potentials: Float[Tensor, "B T K K"], lengths: Int[Tensor, " B"], allowed: Allowed
) -> Float[Tensor, "B T K K"]:
    """The potentials with `FORBIDDEN` wherever a sequence would break the rules, (B, T, K, K)."""
    T = potentials.shape[1]
    device = potentials.device
    start, follow, end = (_penalty(part).to(device, non_blocking=True) for part in allowed)
    t = torch.arange(T, device=potentials.device)
    # Added, which is five times as fast as a mask: it leaves nothing of any score.
    scores = precise(potentials) + torch.where((t == 0).view(T, 1, 1), start, follow)
    if bool(allowed.end.all()):
        return scores
    last = (t == lengths.to(potentials.device).unsqueeze(1) - 1).unsqueeze(-1)
    return scores + torch.where(last, end, 0.0).unsqueeze(2)


def _penalty(allowed: Tensor) -> Tensor:
    return torch.where(allowed, 0.0, FORBIDDEN)


def conditional_logits(
    potentials: Float[Tensor, "B T K K"], lengths: Int[Tensor, " B"], y: Int[Tensor, "B T"]
) -> Float[Tensor, "B T K"]:
    """Logits of p(y_t | y_1..y_{t-1}, x), (B, T, K): their cross entropy with y is -log p(y | x).

    Args:
        potentials: (B, T, K, K).
        lengths: (B,) real steps.
        y: (B, T) ids; padding may hold anything.

    Source: Sutton & McCallum (2012), equation 4.10. Of the future only the sum over all that may
    come after t is needed, for each tag at t. Computed in float32 at least.
    """
    mask, scores = _real(potentials, lengths)
    y = y.masked_fill(~mask, 0)
    before = nn.functional.pad(y, (1, 0))[:, :-1]  # the first one is any: all rows are alike
    rows = before.view(*y.shape, 1, 1).expand(-1, -1, 1, scores.shape[-1])
    return scores.gather(2, rows).squeeze(2) + log_ahead(scores)


def first_logits(
    potentials: Float[Tensor, "B T K K"], lengths: Int[Tensor, " B"], y: Int[Tensor, "B T"]
) -> Float[Tensor, "B 1 K"]:
    """Logits of p(y_1 | y_2, y_3, ..., x), (B, 1, K); arguments as of `conditional_logits`."""
    mask, scores = _real(potentials, lengths)
    first = scores[:, 0, 0]
    if scores.shape[1] > 1:  # of a sequence of one step the rest is padding, all 0
        after = y.masked_fill(~mask, 0)[:, 1].view(-1, 1, 1).expand_as(first.unsqueeze(2))
        first = first + scores[:, 1].gather(2, after).squeeze(2)
    return first.unsqueeze(1)


def step_nats(
    potentials: Float[Tensor, "B T K K"], lengths: Int[Tensor, " B"], y: Int[Tensor, "B T"]
) -> Float[Tensor, "B T"]:
    """-log p(y_t | y_1..y_{t-1}, x) of each step in nats, (B, T), 0 in the padding.

    The cross entropy of `conditional_logits` with y, faster; arguments as there. A gradient of its
    gradient is refused.
    """
    padding = ~length_mask(lengths.to(potentials.device), potentials.shape[1])
    return conditional_nats(precise(potentials), padding, y.masked_fill(padding, 0))


def log_likelihood(
    potentials: Float[Tensor, "B T K K"], lengths: Int[Tensor, " B"], y: Int[Tensor, "B T"]
) -> Float[Tensor, " B"]:
    """Log p(y | x) in nats of each sequence, (B,); arguments as of `step_nats`."""
    return -step_nats(potentials, lengths, y).sum(dim=1)


def marginals(
    potentials: Float[Tensor, "B T K K"], lengths: Int[Tensor, " B"]
) -> Float[Tensor, "B T K"]:
    """p(y_t = k | x), of every tag at every step, (B, T, K); 0 in the padding.

    Source: forward-backward, Sutton & McCallum (2012), section 4.1. The forward pass is over
    probabilities, p(y_t) = sum over y_{t-1} of p(y_{t-1}) p(y_t | y_{t-1}), so nothing overflows.
    """
    mask, scores = _real(potentials, lengths)
    step = (scores + log_ahead(scores).unsqueeze(2)).softmax(dim=-1)
    found = [step[:, 0, 0]]
    with torch.autocast(step.device.type, enabled=False):  # it would round the products
        for step_t in step.unbind(1)[1:]:
            p = (found[-1].unsqueeze(1) @ step_t).squeeze(1)
            found.append(p / p.sum(dim=-1, keepdim=True))  # it is 1, but for rounding
    return torch.stack(found, dim=1).masked_fill(~mask.unsqueeze(-1), 0.0)


@torch.no_grad()
def viterbi(potentials: Float[Tensor, "B T K K"], lengths: Int[Tensor, " B"]) -> Int[Tensor, "B T"]:
    """The most likely sequence of tags, (B, T) ids; 0 in the padding.

    Source: Viterbi (1967); Sutton & McCallum (2012), section 4.1.
    """
    mask, scores = _real(potentials, lengths)
    best = scores[:, 0, 0]  # of what ends in each tag, less that of the best
    came_from: list[Tensor] = []
    for scores_t in scores.unbind(1)[1:]:  # into the padding, all 0, from the best last tag
        reached, tags = (best.unsqueeze(2) + scores_t).max(dim=1)
        came_from.append(tags)
        best = reached - reached.amax(dim=-1, keepdim=True)
    path = [best.argmax(dim=-1, keepdim=True)]
    for tags in reversed(came_from):
        path.append(tags.gather(1, path[-1]))
    return torch.cat(path[::-1], dim=1).masked_fill(~mask, 0)  # where all tags are as good


def _real(potentials: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """The mask, (B, T), and precise potentials that are 0 in the padding."""
    mask = length_mask(lengths.to(potentials.device), potentials.shape[1])
    # NaN times the zero gradient of a step that is not read would be NaN.
    return mask, precise(potentials).masked_fill(~mask.view(*mask.shape, 1, 1), 0.0)
