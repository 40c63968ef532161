"""Pre-flight: what can be known of a model from one batch, before its first update.

Everything is done to a copy of the model on the CPU: weights, buffers, gradients, metrics, the
loader and the random numbers of the training are as if it had not been.
"""

import copy
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from torch import nn

from seqpipe.data.base import SequenceBatch, SequenceSpec
from seqpipe.data.dataset import SequenceData
from seqpipe.data.sampling import evenly_spread
from seqpipe.diagnostics import learning_checks, output_checks
from seqpipe.diagnostics.preflight_context import Check, Subject
from seqpipe.diagnostics.tracing import chance_kept, shapes_of
from seqpipe.tasks.base import Task

log = logging.getLogger(__name__)

MOST_EXAMPLES, MOST_STEPS = 32, 2048  # of the batch; steps with padding
FEW = 4  # examples to memorise


@dataclass(frozen=True)
class Preflight:
    """What a pre-flight found.

    Args:
        checks: in the order in which they were made.
        shapes: of what each part answered, by its name: (B, T, H).
        seconds: it took.
        loss: the first one; None where the model did not run.
        expected: what the loss of an untrained model is, and how that comes about.
    """

    checks: tuple[Check, ...]
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    seconds: float = 0.0
    loss: float | None = None
    expected: tuple[float, str] | None = None

    def of(self, result: str) -> list[Check]:
        """The checks that came to this result."""
        return [check for check in self.checks if check.result == result]

    @property
    def metrics(self) -> dict[str, float]:
        """Numbers to record, `preflight/...`."""
        numbers = {"preflight/seconds": self.seconds}
        numbers["preflight/warnings"] = float(len(self.of("warning")))
        numbers["preflight/passed"] = float(len(self.of("passed")))
        if self.loss is not None:
            numbers["preflight/initial_loss"] = self.loss
        return numbers

    @property
    def line(self) -> str:
        """What came of it, in one line."""
        counts = [f"{len(self.of('passed'))} checks passed"]
        for result, words in (("warning", "warned"), ("not checked", "not checked")):
            if found := self.of(result):
                names = ", ".join(check.name for check in found)
                counts.append(f"{len(found)} {words} ({names})")
        told = f"preflight: {', '.join(counts)} in {self.seconds:.1f} s"
        if self.loss is None:
            return told
        beside = ""
        if self.expected is not None:
            beside = f", {self.expected[1]} = {_three(self.expected[0])}"
        return f"{told} (loss {_three(self.loss)}{beside})"


def preflight(
    model: nn.Module,
    task: Task,
    spec: SequenceSpec,
    batch: SequenceBatch,
    few: SequenceBatch | None = None,
    *,
    bar: bool = False,
) -> Preflight:
    """Makes every check on a copy of the model. Nothing given is changed.

    Args:
        model: before its first update.
        task: what it is for.
        spec: what its data is like.
        batch: of the training split, see `batch_of`.
        few: examples to memorise; None: that is not tried.
        bar: show a bar while it is.
    """
    started = time.perf_counter()
    with chance_kept():
        try:
            subject = Subject(copy.deepcopy(model).cpu(), task, spec, batch)
            outputs, trace = subject.traced(batch)
            loss = subject.loss(outputs, batch)
        except Exception as error:  # a model of the user's own: training will show where
            log.debug("preflight", exc_info=True)
            return Preflight((Check("shapes", "not checked", _words(error)),), {}, _since(started))
        shapes = shapes_of(subject.model, trace)
        told = f"{len(shapes)} parts, the answer is {tuple(outputs.shape)}"
        checks = [Check("shapes", "passed", told), output_checks.finite(subject, loss)]
        if checks[-1].result == "passed":
            rest: dict[str, Callable[[], Check]] = {
                "loss at initialisation": lambda: output_checks.first_loss(subject, loss),
                "gradients": lambda: learning_checks.gradients(subject),
                "padding": lambda: output_checks.padding(subject, outputs),
                "causality": lambda: output_checks.causality(subject, outputs),
            }
            if few is not None:
                rest["memorising"] = lambda: learning_checks.memorising(subject, few, bar=bar)
            checks += [_guarded(name, check) for name, check in rest.items()]
        expected = task.untrained_loss(batch)
    return Preflight(tuple(checks), shapes, _since(started), loss, expected)


def _guarded(name: str, check: Callable[[], Check]) -> Check:
    """A model that a check does not understand is none that cannot be trained."""
    try:
        return check()
    except Exception as error:
        log.debug("preflight: %s", name, exc_info=True)
        return Check(name, "not checked", _words(error))


def _words(error: Exception) -> str:
    first = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {first}"


def _three(number: float) -> str:
    """Three digits, those at the end too where they are 0."""
    return f"{number:#.3g}".rstrip(".")


def _since(started: float) -> float:
    return time.perf_counter() - started


def batch_of(data: SequenceData) -> SequenceBatch:
    """Training examples, evenly spread, as many as a batch of the run or fewer.

    At most `MOST_EXAMPLES`, and of long ones the shorter, so that they have at most `MOST_STEPS`
    steps together. The loader is not asked: it would start its processes.
    """
    chosen = _spread(data, min(MOST_EXAMPLES, data.batch_size))
    steps = data.columns("train").longer[chosen]
    chosen = chosen[np.argsort(steps, kind="stable")]
    most = min(MOST_STEPS, data.batch_tokens or MOST_STEPS)
    cost = np.sort(steps) * np.arange(1, len(steps) + 1)
    return data.batch("train", chosen[: max(1, int((cost <= most).sum()))].tolist())


def few_of(data: SequenceData) -> SequenceBatch:
    """Examples to memorise: `FEW`, or one where nothing but y itself tells examples apart."""
    x = data.spec.x
    alone = data.spec.y.has_time and not (x is not None and x.has_time)
    return data.batch("train", _spread(data, 1 if alone else FEW).tolist())


def _spread(data: SequenceData, most: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.asarray(evenly_spread(most, len(data.columns("train"))), dtype=np.int64)
