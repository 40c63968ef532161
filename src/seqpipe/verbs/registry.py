"""The verbs of the command line: `python -m seqpipe rerun run=latest`.

To add one:

1. A frozen dataclass of its options below, and a line in `VERBS`. Its docstring is what `--help`
   prints, the first line what the list of verbs shows. See `seqpipe.config.options` for the types.
   Those of a verb about one run inherit `run`, `tracking_uri`, `experiment` and `metric`.
2. A module `seqpipe.verbs.<name>` with `run(options, root) -> Answer`; root: the folder the user
   works in. It is imported once the options are accepted, so torch and MLflow may stand at its top;
   they may not be imported here. `seqpipe.verbs.finding.find_run(options, root)` finds the run.

A verb raises ConfigError or DataError for a mistake of the user's (exit code 2), another
SeqpipeError where it cannot go on (1). SIGTERM and Ctrl-C reach it as exceptions. What it streams
goes to `sys.stdout`; a reader that leaves ends it quietly. Progress and warnings go to stderr.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from seqpipe.config.options import option


class Answer(NamedTuple):
    """What a verb came to.

    Args:
        text: printed at the end; empty: nothing is.
        code: the exit code of the process.
    """

    text: str = ""
    code: int = 0


class Verb(NamedTuple):
    """A verb: the module below `seqpipe.verbs` that does it, and the dataclass of its options."""

    module: str
    options: type[Any]


@dataclass(frozen=True, kw_only=True)
class OfARun:
    """The options that name a run; inherited."""

    run: str = option(
        "which run: latest, best, an MLflow run id or its beginning, models:/name@alias, "
        "models:/name/3, or a run folder"
    )
    tracking_uri: str | None = option(
        "the MLflow store of the runs; without it the one that training writes to", None
    )
    experiment: str | None = option("the experiment in which run=latest or run=best looks", None)
    metric: str | None = option(
        "the metric that run=best goes by; without it the one that the runs monitored", None
    )

    def problems(self) -> Iterator[str]:
        """What does not fit together."""
        if self.experiment is not None and self.run not in ("latest", "best"):
            text = f"is not read with run={self.run}; allowed: with run=latest or run=best"
            yield f"experiment={self.experiment}: {text}"
        if self.metric is not None and self.run != "best":
            text = f"is not read with run={self.run}; allowed: with run=best"
            yield f"metric={self.metric}: {text}"


VERBS: dict[str, Verb] = {}
