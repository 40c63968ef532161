"""A sweep as the process that starts it knows it, in whichever processes its jobs run."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Optional

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from seqpipe.rules import Problem, Rule, choice, either, null, real

WITH_LEVELS = ("gradients", "clipping")  # figures that show `guessing` and `solved`
FIGURES = (*WITH_LEVELS, "means")  # those of seqpipe.report.comparison
_KEY = "hydra.callbacks.comparison"
_RULES: dict[str, Rule] = {
    "figure": either(choice(*FIGURES), null()),
    "guessing": either(real(), null()),
    "solved": either(real(), null()),
}


class Comparison(Callback):
    """Hydra's callback: notes where a sweep lies, and what its comparison shows.

    Args:
        figure: what an experiment ends in; null: a table alone, with a plain figure.
        guessing: what the test would say of a model that knows nothing.
        solved: where the test's value is better than this, the task is solved.

    Attributes:
        started: that of the sweep this process has started.
        folder: of the sweep, absolute.
    """

    started: ClassVar[Optional["Comparison"]] = None

    def __init__(
        self,
        figure: str | None = None,
        guessing: float | None = None,
        solved: float | None = None,
    ) -> None:
        self.figure = figure
        levels = {"guessing": guessing, "solved": solved}
        self.options = levels if figure in WITH_LEVELS else {}
        self.folder = Path()

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Before the first job."""
        self.folder = Path(config.hydra.sweep.dir).absolute()
        Comparison.started = self


def comparison_problems(hydra: DictConfig) -> Iterator[Problem]:
    """Yield the problems of the comparison's options, which are in Hydra's own node."""
    node = (hydra.get("callbacks") or {}).get("comparison") or {}
    for name, value in node.items():
        if name in _RULES and (fault := _RULES[name].fault(value)):
            yield Problem(f"{_KEY}.{name}", value, fault)
        elif name not in _RULES and name != "_target_":
            allowed = ", ".join(_RULES)
            yield Problem(f"{_KEY}.{name}", value, f"unknown key; allowed: {allowed}")
    if node.get("figure") not in WITH_LEVELS:
        for name in ("guessing", "solved"):
            if node.get(name) is not None:
                text = f"no figure shows it; allowed: null, or also {_KEY}.figure=gradients"
                yield Problem(f"{_KEY}.{name}", node[name], text)
