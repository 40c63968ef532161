"""A sweep as the process that starts it knows it, in whichever processes its jobs run."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Optional

from hydra.core.override_parser.types import Quote, QuotedString
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from seqpipe.rules import Problem, Rule, choice, either, mapping_of, null, real, text

WITH_LEVELS = ("gradients", "clipping")  # figures that show `guessing` and `solved`
MEANS = "means"  # a figure that shows `units`
FIGURES = (*WITH_LEVELS, MEANS)  # those of seqpipe.report.comparison
_SHOWN_BY = {"guessing": WITH_LEVELS, "solved": WITH_LEVELS, "units": (MEANS,)}
_KEY = "hydra.callbacks.comparison"
_RULES: dict[str, Rule] = {
    "figure": either(choice(*FIGURES), null()),
    "guessing": either(real(), null()),
    "solved": either(real(), null()),
    "units": either(mapping_of(text()), null()),
}


class Comparison(Callback):
    """Hydra's callback: notes where a sweep lies, and what its comparison shows.

    Args:
        figure: what an experiment ends in; null: a table alone, with a plain figure.
        guessing: what the test would say of a model that knows nothing.
        solved: where the test's value is better than this, the task is solved.
        units: what the test's value counts, by the name of a panel of the figure `means`.

    Attributes:
        started: that of the sweep this process has started.
        opening: called with the folder of a sweep before its first job; returns the folder that is
            free. None: nothing is called.
        folder: of the sweep, absolute.
    """

    started: ClassVar[Optional["Comparison"]] = None
    opening: ClassVar[Callable[[Path], Path] | None] = None

    def __init__(
        self,
        figure: str | None = None,
        guessing: float | None = None,
        solved: float | None = None,
        units: Mapping[str, str] | None = None,
    ) -> None:
        self.figure = figure
        levels = {"guessing": guessing, "solved": solved}
        of_means = {"units": dict(units or {})} if figure == MEANS else {}
        self.options: dict[str, Any] = levels if figure in WITH_LEVELS else of_means
        self.folder = Path()

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Before the first job."""
        Comparison.started = self
        wanted = self.folder = Path(config.hydra.sweep.dir).absolute()
        if Comparison.opening is not None:
            self.folder = Comparison.opening(wanted)
        if self.folder != wanted:  # also for the jobs, each of which Hydra composes again
            text = QuotedString(text=str(self.folder), quote=Quote.single).with_quotes()
            with read_write(config), open_dict(config):
                config.hydra.sweep.dir = str(self.folder)
                config.hydra.overrides.hydra.append(f"hydra.sweep.dir={text}")


def comparison_problems(hydra: DictConfig) -> Iterator[Problem]:
    """Yield the problems of the comparison's options, which are in Hydra's own node."""
    written: Any = OmegaConf.to_container(hydra, resolve=False)
    node = (written.get("callbacks") or {}).get("comparison") or {}
    for name, value in node.items():
        if name in _RULES and (fault := _RULES[name].fault(value)):
            yield Problem(f"{_KEY}.{name}", value, fault)
        elif name not in _RULES and name != "_target_":
            allowed = ", ".join(_RULES)
            yield Problem(f"{_KEY}.{name}", value, f"unknown key; allowed: {allowed}")
    for name, figures in _SHOWN_BY.items():
        if node.get(name) is not None and node.get("figure") not in figures:
            wrong = f"no figure shows it; allowed: null, or also {_KEY}.figure={figures[0]}"
            yield Problem(f"{_KEY}.{name}", node[name], wrong)
