"""The options that name a run, and those of commands that ask its model."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from seqpipe.config.command_options import option


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The options that name a run; inherited."""

    run: str = option(
        "which run: latest, best, an MLflow run id or its beginning, models:/name@alias, "
        "models:/name/3, a run folder, or one that was exported"
    )
    tracking_uri: str | None = option(
        "the MLflow store of the runs; without it the one that training writes to", None
    )
    experiment: str | None = option("the experiment in which run=latest or run=best looks", None)
    metric: str | None = option(
        "the metric that run=best goes by; without it the one that the runs monitored", None
    )

    def problems(self) -> Iterator[str]:
        """Options that do not fit together."""
        if self.experiment is not None and self.run not in ("latest", "best"):
            text = f"is not read with run={self.run}; allowed: with run=latest or run=best"
            yield f"experiment={self.experiment}: {text}"
        if self.metric is not None and self.run != "best":
            text = f"is not read with run={self.run}; allowed: with run=best"
            yield f"metric={self.metric}: {text}"


@dataclass(frozen=True, kw_only=True)
class ModelOptions(RunOptions):
    """The options of commands that ask the model of a run; inherited."""

    device: Literal["auto", "cpu", "cuda"] = option(
        "where it computes; auto: a GPU where there is one", "auto"
    )
    trust: tuple[str, ...] = option(
        "modules of your own that the model's configuration may use, [my_cells]", ()
    )
