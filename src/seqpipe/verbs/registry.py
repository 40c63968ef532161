"""The verbs of the command line: `python -m seqpipe rerun run=latest`.

To add one:

1. A frozen dataclass of its options below, and a line in `VERBS`. Its docstring is what `--help`
   prints, the first line what the list of verbs shows. See `seqpipe.config.options` for the types.
   Those of a verb about one run inherit `run`, `tracking_uri`, `experiment` and `metric`.
2. A module `seqpipe.verbs.<name>` with `run(options, root) -> Answer`; root: the folder the user
   works in. It is imported once the options are accepted, so torch and MLflow may stand at its top;
   they may not be imported here. `seqpipe.runs.find_run.find_run(options, root)` finds the run.

A verb raises ConfigError or DataError for a mistake of the user's (exit code 2), another
SeqpipeError where it cannot go on (1). SIGTERM and Ctrl-C reach it as exceptions. What it streams
goes to `sys.stdout`; a reader that leaves ends it quietly. Progress and warnings go to stderr.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from seqpipe.config.options import option
from seqpipe.rules import real, whole
from seqpipe.runs.options import RunOptions
from seqpipe.verbs.asking import Evaluate, Export, Predict, Sample, Score, Translate

__all__ = ["VERBS", "Answer", "Rerun", "Verb"]


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
class Rerun(RunOptions):
    """Train a run again and compare the metrics, bit for bit.

    Rebuilds configuration, seed and number of threads from the record, and says what differs of
    code, machine and data before it trains. The new run has the tag rerun_of. The exit code is 0
    where all metrics are the same, 1 where one differs.
    """

    tolerance: float = option(
        "how far a metric may be off, as a share of what it was; 0: not at all",
        0.0,
        rule=real("[0, inf)"),
    )
    strict: bool = option("stop before training where code, machine or data differ", False)
    own_code: bool = option("import what the run names beside seqpipe and its options", False)
    own_data: bool = option(
        "read the files and data sets that the record of somebody else's run names",
        False,
    )


@dataclass(frozen=True, kw_only=True)
class Serve(RunOptions):
    """Answer requests over HTTP with a run's model, by MLflow's own scoring server.

    Starts `mlflow models serve` in this environment, asks it once, and prints the curl command
    that does so. Ctrl-C ends it.
    """

    host: str = option("where it listens; 0.0.0.0: to be reached from other machines", "127.0.0.1")
    port: int = option("likewise; 0: one that is free", 5001, rule=whole(0, 65535))
    workers: int = option("processes that answer", 1, rule=whole(1, 256))
    register: str | None = option("a name in MLflow's registry for the model", None)
    alias: str | None = option("of the version registered, such as champion", None)

    def problems(self) -> Iterator[str]:
        """An alias of nothing."""
        yield from super().problems()
        if self.alias is not None and self.register is None:
            text = "is not read where nothing is registered; allowed: with register=..."
            yield f"alias={self.alias}: {text}"


@dataclass(frozen=True, kw_only=True)
class Register(RunOptions):
    """Give a run's model a name in MLflow's registry.

    From then on run=models:/name@alias finds it, here and with MLflow itself. A run that is
    registered under the name already keeps its version.
    """

    name: str = option("of the registered model; it is made where it is new")
    alias: str | None = option("of the version, such as champion; another version loses it", None)


VERBS: dict[str, Verb] = {
    "evaluate": Verb("evaluate", Evaluate),
    "predict": Verb("predict", Predict),
    "translate": Verb("translate", Translate),
    "sample": Verb("sample", Sample),
    "score": Verb("score", Score),
    "rerun": Verb("rerun", Rerun),
    "serve": Verb("serve", Serve),
    "register": Verb("register", Register),
    "export": Verb("export", Export),
}
