"""The options that name a run, and those of commands that ask its model."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from seqpipe.config.command_options import option

SWEEP = "sweep:"
"""Begins the value of `run=` that names all runs of a sweep."""


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The options that name a run; inherited."""

    run: str = option(
        "latest, best, an MLflow run id or its first characters, "
        "models:/name@alias, models:/name/3, a run folder, or an exported model; for evaluate, "
        "predict and rerun also sweep:latest or sweep:<folder>, all runs of a sweep"
    )
    tracking_uri: str | None = option(
        "the MLflow store that holds the runs; by default the one that training writes to", None
    )
    experiment: str | None = option(
        "search for run=latest or run=best in this MLflow experiment", None
    )
    metric: str | None = option(
        "the metric that ranks runs for run=best; by default the one that they monitored", None
    )

    def problems(self) -> Iterator[str]:
        """Options that do not fit together."""
        if self.experiment is not None and self.run not in ("latest", "best"):
            text = f"has no effect with run={self.run}; allowed: with run=latest or run=best"
            yield f"experiment={self.experiment}: {text}"
        if self.metric is not None and self.run != "best":
            text = f"has no effect with run={self.run}; allowed: with run=best"
            yield f"metric={self.metric}: {text}"


@dataclass(frozen=True, kw_only=True)
class ModelOptions(RunOptions):
    """The options of commands that ask the model of a run; inherited."""

    device: Literal["auto", "cpu", "cuda"] = option(
        "the device to compute on; auto: a GPU if there is one", "auto"
    )
    trust: tuple[str, ...] = option("your own modules that the model may import, as [my_cells]", ())
