"""The job that Hydra is running: how it was started, and the command line that repeats it alone."""

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any, cast

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from seqpipe.config.compose import Launch, task_of_job
from seqpipe.config.hydra_internals import BASIC_LAUNCHER, flags_parser
from seqpipe.config.loader import Composed, choices_of
from seqpipe.config.nested_groups import with_dots
from seqpipe.config.sweep_keys import OURS, of_job
from seqpipe.config.sweep_plan import TO_BE_REMOVED
from seqpipe.processes import is_child, is_follower, scratch_folder

TASK = "SEQPIPE_TASK"
"""The variable that names the task of a trial, for the processes that its training starts."""
_SWEEP_KEYS = (
    *("hydra.mode=", "hydra/sweeper", "hydra/launcher"),
    *("hydra.sweeper", "hydra.launcher", "hydra.sweep."),
)


def launch_of_job(argv: list[str], command: str, file: str | None) -> Launch:
    """Describes how the job was started.

    Args:
        argv: the command line.
        command: train, describe or replay.
        file: see `Launch`.
    """
    config = HydraConfig.get()
    typed = [o for o in of_job(config.overrides.task) if not o.endswith(f"={TO_BE_REMOVED}")]
    return Launch(
        Path(config.runtime.output_dir),
        Path(config.runtime.cwd),
        choices_of(config),
        tuple(map(with_dots, typed)),
        Path(config.sweep.dir).name if is_sweep() else None,
        flags=flags_of(argv, config),
        command=command,
        file=file,
        task=_task(),
        # Of a sweep not every job was checked, and a sweeper may choose values of its own.
        checked=not is_sweep(),
    )


def _task() -> Path | None:
    """The file with what the training of a trial reports to its study."""
    if is_child():
        return Path(os.environ[TASK]) if TASK in os.environ else None
    config = HydraConfig.get()
    path = task_of_job(Path(config.runtime.cwd) / config.sweep.dir, job_number())
    return path if is_sweep() and path.is_file() else None


def make_follower(composed: Composed) -> list[str]:
    """Keeps a process beside the first of a training from making folders of its own.

    Returns:
        overrides for its jobs; none in any other process.
    """
    if not is_follower(composed.cfg.trainer):
        return []
    place = scratch_folder()
    with open_dict(composed.hydra):
        composed.hydra.run.dir = place
    return [f"hydra.{key}" for key in (f"sweep.dir={place}", "hydra_logging.root.level=ERROR")]


def deletion_for_hydra(word: str, nulls: Collection[str]) -> list[str]:
    """A `~key` as Hydra accepts it: it refuses to delete a key that holds null."""
    key = word.removeprefix("~")
    return [f"{key}={TO_BE_REMOVED}", word] if word != key and key in nulls else [word]


def is_sweep() -> bool:
    """True if the job is one of a sweep."""
    return bool(HydraConfig.get().mode == RunMode.MULTIRUN)


def job_number() -> int:
    """The number of the job in its sweep, from 0; 0 without a sweep."""
    return int(HydraConfig.get().job.num) if is_sweep() else 0


def job_name() -> str:
    """The number of the job and what was typed for it: `#2 (cell=gru optim.lr=0.1)`."""
    config, number = HydraConfig.get(), job_number()
    return f"#{number} ({' '.join(map(with_dots, of_job(config.overrides.task)))})"


def sweep_folder(launch: Launch) -> tuple[Path | None, int]:
    """The folder of the sweep and the job's number in it; (None, 0) without a sweep."""
    if launch.sweep is None:
        return None, 0
    config = HydraConfig.get()
    return launch.root / config.sweep.dir, config.job.num


def has_own_process() -> bool:
    """True if a launcher of others runs each job; it recognises a failure by the exception."""
    target = str(HydraConfig.get().launcher.get("_target_"))
    return target != BASIC_LAUNCHER and not target.startswith(OURS)


def arguments_of_job(argv: list[str]) -> list[str]:
    """The arguments that run this job of a sweep alone, in its folder.

    Lightning starts its child processes with them, and adds `hydra.run.dir`.
    """
    config, whole = HydraConfig.get(), cast(DictConfig, HydraConfig.instance().cfg)
    with read_write(whole.hydra):  # Lightning takes hydra.run.dir from here
        whole.hydra.run.dir = config.runtime.output_dir
    typed = of_job(config.overrides.task)
    return [*_config_flags(argv), *typed, *_hydra_overrides(config), "hydra.mode=RUN"]


def flags_of(argv: list[str], hydra: Any) -> tuple[str, ...]:
    """The flags and options of Hydra that decide what a job runs, besides its overrides.

    Args:
        argv: the command line.
        hydra: Hydra's own node.
    """
    return (*_config_flags(argv), *_hydra_overrides(hydra))


def _config_flags(argv: list[str]) -> list[str]:
    """The flags that change the composed configuration."""
    flags = flags_parser().parse_args(argv)
    return [
        f"--{name.replace('_', '-')}={value}"
        for name in ("config_dir", "config_name")
        if (value := getattr(flags, name)) is not None
    ]


def _hydra_overrides(hydra: Any) -> list[str]:
    """Overrides of Hydra's own keys, without those of sweeps."""
    overrides: Any = OmegaConf.to_container(hydra.overrides.hydra)
    return [o for o in overrides if not o.lstrip("+~").startswith(_SWEEP_KEYS)]
