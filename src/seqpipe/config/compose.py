"""Overrides to a checked configuration; `Launch`, how a run was started."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from seqpipe.config.commandline import check
from seqpipe.errors import ConfigError


@dataclass(frozen=True)
class Launch:
    """All that is known below the command line of how a run was started.

    Args:
        output_dir: the run folder, absolute.
        root: the user's working directory, absolute.
        choices: the option chosen in each group, such as {"cell": "lstm"}.
        overrides: what was typed on the command line.
        sweep: name of the sweep's folder, or None for a single run.
        flags: what else was typed and decides what runs, such as --config-dir=mine.
        tags: more to record of the run, (name, value).
        command: train, describe or replay.
        file: of `replay`, the batch that was kept; None for the others.
        name: the name of the run in lists of runs; empty: a description of its model.
        parent: the run in the store that a job of a sweep belongs to, (run id, store), or None.
        task: of a trial of a search, the file with what its training reports to the study.
        checked: the configuration was validated before Hydra composed it.
    """

    output_dir: Path
    root: Path
    choices: dict[str, str]
    overrides: tuple[str, ...]
    sweep: str | None = None
    flags: tuple[str, ...] = ()
    tags: tuple[tuple[str, str], ...] = ()
    command: str = "train"
    file: str | None = None
    name: str = ""
    parent: tuple[str, str] | None = None
    task: Path | None = None
    checked: bool = False

    @property
    def command_line(self) -> str:
        """The command that repeats the run, quoted for a shell."""
        word = () if self.command == "train" else (self.command,)
        return shlex.join(["python", "-m", "seqpipe", *word, *self.flags, *self.overrides])


def task_of_job(sweep: Path, number: int) -> Path:
    """The file with what the job of a trial reports to its study, if it does.

    Args:
        sweep: folder of the sweep.
        number: of the job.
    """
    return sweep / "trials" / f"{number}.json"


def compose(
    overrides: Sequence[str], config_dirs: Sequence[str | Path] = ()
) -> tuple[DictConfig, dict[str, str]]:
    """The checked configuration for some overrides, and the option chosen in each group.

    Args:
        overrides: as typed on the command line, `cell=gru`, `optim.lr=0.01`.
        config_dirs: more folders with options, as in `--config-dir`.

    Raises:
        ConfigError: with every problem found.
    """
    checked = check(overrides, config_dirs)
    if checked.problems:
        raise ConfigError(checked.problems)
    return checked.composed.cfg, checked.composed.choices
