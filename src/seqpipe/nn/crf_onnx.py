"""A conditional random field in an ONNX graph: the most likely tags, and how likely each one is.

The recursions of `seqpipe.nn.crf`, step by step in `Scan`, time first. Steps after the length have
potentials 0, the same for every tag.
"""

import numpy as np

from seqpipe.nn.crf import FORBIDDEN, Allowed, ends_of
from seqpipe.nn.onnx_graph import Graph, Steps, Value


def constrained(graph: Graph, scores: Value, steps: Steps, allowed: Allowed) -> Value:
    """Potentials of sequences that keep the rules, 0 at padding; scores: (T, B, K, K).

    As `seqpipe.nn.crf.constrained`.
    """
    start, follow, end = (graph.constant(part, np.bool_) for part in allowed)
    first, last = ends_of(graph, scores, steps)
    first = graph.unsqueezed(first, 2, 3)
    here = graph.op("Or", end, graph.unsqueezed(graph.op("Not", last), 2))
    # onnxruntime has no Where of truths.
    starts = graph.op("And", first, start)
    follows = graph.op("And", graph.op("Not", first), follow)
    may = graph.op("And", graph.op("Or", starts, follows), graph.unsqueezed(here, 2))
    scores = graph.op("Where", may, scores, graph.constant(FORBIDDEN))
    real = graph.unsqueezed(steps.real, 3)
    return graph.op("Where", real, scores, graph.constant(0.0))


def viterbi(graph: Graph, scores: Value) -> Value:
    """The most likely sequence, (T, B) ids, anything at padding; scores: (T, B, K, K).

    Source: Viterbi, as in `seqpipe.nn.crf.viterbi`.
    """

    def forwards(state: list[Value], slices: list[Value]) -> tuple[list[Value], list[Value]]:
        reached = graph.op("Add", graph.unsqueezed(state[0], 2), slices[0])  # (B, K, K)
        best = graph.op("ReduceMax", reached, graph.integers(1), keepdims=0)
        came_from = graph.op("ArgMax", reached, axis=1, keepdims=0)
        return [_less_its_largest(graph, best)], [came_from]

    def backwards(state: list[Value], slices: list[Value]) -> tuple[list[Value], list[Value]]:
        return [graph.op("GatherElements", slices[0], state[0], axis=1)], [state[0]]

    # All rows of the first step are alike: from zeros, that is from any tag.
    (best,), (came_from,) = graph.scan(forwards, [_zeros(graph, scores)], [scores])
    last = graph.op("ArgMax", best, axis=1, keepdims=1)
    _, (tags,) = graph.scan(backwards, [last], [came_from], backwards=True)
    return graph.op("Squeeze", tags, graph.integers(2))


def marginals(graph: Graph, scores: Value) -> Value:
    """p(y_t = k | x), (T, B, K), anything at padding; scores: (T, B, K, K).

    Source: forward-backward, as in `seqpipe.nn.crf.marginals`.
    """

    def backwards(state: list[Value], slices: list[Value]) -> tuple[list[Value], list[Value]]:
        scores_t = graph.op("Add", slices[0], graph.unsqueezed(state[0], 1))
        summed = _log_of_sum(graph, scores_t)
        return [_less_its_largest(graph, summed)], [state[0]]

    def forwards(state: list[Value], slices: list[Value]) -> tuple[list[Value], list[Value]]:
        p = graph.op("MatMul", graph.unsqueezed(state[0], 1), slices[0])  # (B, 1, K)
        p = graph.op("Squeeze", p, graph.integers(1))
        p = graph.op("Div", p, graph.op("ReduceSum", p, graph.integers(1)))  # 1, but for rounding
        return [p], [p]

    zeros = _zeros(graph, scores)
    _, (ahead,) = graph.scan(backwards, [zeros], [scores], backwards=True)
    step = graph.op("Softmax", graph.op("Add", scores, graph.unsqueezed(ahead, 2)), axis=3)
    alike = graph.op("Softmax", zeros, axis=1)
    _, (chances,) = graph.scan(forwards, [alike], [step])
    return chances


def _zeros(graph: Graph, scores: Value) -> Value:
    """(B, K)."""
    shape = graph.op("Shape", scores, start=1, end=3)
    return graph.op("Expand", graph.constant(0.0), shape)


def _less_its_largest(graph: Graph, values: Value) -> Value:
    """(B, K) less the largest of each row: long sequences lose no digits."""
    return graph.op("Sub", values, graph.op("ReduceMax", values, graph.integers(1)))


def _log_of_sum(graph: Graph, values: Value) -> Value:
    """Log of the sum of exp over the last axis, which is dropped; values: (B, K, K)."""
    axis = graph.integers(2)
    most = graph.op("ReduceMax", values, axis)
    summed = graph.op("ReduceSum", graph.op("Exp", graph.op("Sub", values, most)), axis)
    return graph.op("Squeeze", graph.op("Add", graph.op("Log", summed), most), axis)
