"""Pre-flight: checks of a model on one batch, before its first update.

Everything runs on a copy of the model on the CPU: weights, buffers, gradients, metrics, the loader
and the random states of the training stay untouched.
"""

import copy
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from torch import nn

from seqpipe.data.base import SequenceBatch, SequenceSpec
from seqpipe.data.dataset import SequenceData
from seqpipe.data.sampling import evenly_spread
from seqpipe.diagnostics import learning_checks, output_checks
from seqpipe.diagnostics.preflight_context import Check, Subject
from seqpipe.diagnostics.tracing import random_state_kept, shapes_of
from seqpipe.errors import ConfigError, first_line
from seqpipe.report.findings import Finding, Observer
from seqpipe.tasks.base import Task

log = logging.getLogger(__name__)

MOST_EXAMPLES, MOST_STEPS = 32, 2048  # of the batch; steps with padding
FEW = 4  # examples to memorise
SHOWN = ("loss at initialisation", "gradients", "padding", "causality", "memorising")
"""The order of the checks in the results."""


@dataclass(frozen=True)
class Preflight(Observer):
    """The results of a pre-flight.

    Args:
        checks: in the order in which they are shown; empty where no pre-flight was asked for.
        shapes: of the output of each part, by its name: (B, T, H).
        seconds: duration.
        loss: the first one; None where the model did not run.
        expected: the loss of an untrained model, and its formula in words.
    """

    checks: tuple[Check, ...] = ()
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    seconds: float = 0.0
    loss: float | None = None
    expected: tuple[float, str] | None = None

    def with_result(self, result: str) -> list[Check]:
        """The checks with this result."""
        return [check for check in self.checks if check.result == result]

    @property
    def metrics(self) -> dict[str, float]:
        """Numbers to record at step 0, `preflight/...`."""
        if not self.checks:
            return {}
        numbers = {
            "preflight/seconds": self.seconds,
            "preflight/warnings": float(len(self.with_result("warning"))),
            "preflight/passed": float(len(self.with_result("passed"))),
        }
        return numbers if self.loss is None else numbers | {"preflight/initial_loss": self.loss}

    @property
    def line(self) -> str:
        """The results in one line; empty where no pre-flight was asked for."""
        if not self.checks:
            return ""
        counts = [f"{len(self.with_result('passed'))} checks passed"]
        for result, words in (("warning", "warned"), ("not checked", "not checked")):
            if found := self.with_result(result):
                names = ", ".join(check.name for check in found)
                counts.append(f"{len(found)} {words} ({names})")
        line = f"preflight: {', '.join(counts)} in {self.seconds:.1f} s"
        if self.loss is None:
            return line
        expected = ""
        if self.expected is not None:
            expected = f", {self.expected[1]} = {_three_digits(self.expected[0])}"
        return f"{line} (loss {_three_digits(self.loss)}{expected})"

    def findings(self, folder: Path, title: str) -> tuple[Finding, ...]:
        """A table of the checks."""
        if not self.checks:
            return ()
        rows = [{"check": c.name, "result": c.result, "found": c.detail} for c in self.checks]
        warned = ", ".join(each.name for each in self.with_result("warning"))
        passed = len(self.with_result("passed"))
        text = f"{passed} checks of one training batch passed before the first step"
        text += f"; please check: **{warned}**." if warned else "."
        return (Finding("Pre-flight", text, rows=rows, group="Pre-flight"),)

    def refuse_failed(self, key: str) -> None:
        """Raises for the checks that failed.

        Args:
            key: `preflight=quick`, for the message.

        Raises:
            ConfigError: answers depend on padding or on later steps, or are not finite.
        """
        allowed = "allowed: a model without that, or preflight=none to train it as it is"
        if failed := self.with_result("failed"):
            raise ConfigError([f"{key}: {c.name}: {c.detail}; {allowed}" for c in failed])


def preflight(
    model: nn.Module,
    task: Task,
    spec: SequenceSpec,
    batch: SequenceBatch,
    few: SequenceBatch | None = None,
    *,
    bar: bool = False,
) -> Preflight:
    """Makes every check on a copy of the model.

    Args:
        model: before its first update.
        task: computes the loss.
        spec: of the data.
        batch: of the training split, see `batch_of`.
        few: examples to memorise; None: that check is left out.
        bar: show a progress bar during that check.
    """
    started = time.perf_counter()
    with random_state_kept():
        try:
            subject = Subject(copy.deepcopy(model).cpu(), task, spec, batch)
            outputs, trace = subject.traced(batch)
            loss = subject.loss(outputs, batch)
        except Exception as error:  # a user's model: training will show where
            log.debug("preflight", exc_info=True)
            checks = [Check("shapes", "not checked", _describe(error))]
            return Preflight(tuple(checks), seconds=time.perf_counter() - started)
        shapes = shapes_of(subject.model, trace)
        del trace  # of a large vocabulary, outputs are the largest tensors of all
        detail = f"{len(shapes)} parts, the answer is {tuple(outputs.shape)}"
        checks = [Check("shapes", "passed", detail), output_checks.finite(subject, loss)]
        if checks[-1].result == "passed":
            on_outputs: dict[str, Callable[[], Check]] = {
                "loss at initialisation": lambda: output_checks.first_loss(subject, loss),
                "padding": lambda: output_checks.padding(subject, outputs),
                "causality": lambda: output_checks.causality(subject, outputs),
            }
            found = {name: _guarded(name, check) for name, check in on_outputs.items()}
            del outputs  # a pass with gradients needs their memory
            learning: dict[str, Callable[[], Check]] = {
                "gradients": lambda: learning_checks.gradients(subject)
            }
            if few is not None:
                learning["memorising"] = lambda: learning_checks.memorising(subject, few, bar=bar)
            found |= {name: _guarded(name, check) for name, check in learning.items()}
            checks += [found[name] for name in SHOWN if name in found]
        expected = task.untrained_loss(batch)
    return Preflight(tuple(checks), shapes, time.perf_counter() - started, loss, expected)


def _guarded(name: str, check: Callable[[], Check]) -> Check:
    """A check that raises is reported as "not checked": the model may still be trainable."""
    try:
        return check()
    except Exception as error:
        log.debug("preflight: %s", name, exc_info=True)
        return Check(name, "not checked", _describe(error))


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {first_line(error)}"


def _three_digits(number: float) -> str:
    return f"{number:#.3g}".rstrip(".")  # with zeros at the end


def batch_of(data: SequenceData) -> SequenceBatch:
    """Training examples, evenly spread, as many as a batch of the run or fewer.

    At most `MOST_EXAMPLES`, and of long ones the shorter, so that they have at most `MOST_STEPS`
    steps together. The loader is not used: it would start its processes.
    """
    chosen = _spread(data, min(MOST_EXAMPLES, data.batch_size))
    steps = data.columns("train").longer[chosen]
    chosen = chosen[np.argsort(steps, kind="stable")]
    most = min(MOST_STEPS, data.batch_tokens or MOST_STEPS)
    cost = np.sort(steps) * np.arange(1, len(steps) + 1)
    return data.batch("train", chosen[: max(1, int((cost <= most).sum()))].tolist())


def few_of(data: SequenceData) -> SequenceBatch:
    """Examples to memorise: `FEW`, or one where only y itself distinguishes them."""
    x = data.spec.x
    alone = data.spec.y.has_time and not (x is not None and x.has_time)
    return data.batch("train", _spread(data, 1 if alone else FEW).tolist())


def _spread(data: SequenceData, most: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.asarray(evenly_spread(most, len(data.columns("train"))), dtype=np.int64)
