"""Processes of one training, and those of a sweep: ranks, cores, variables of launchers.

Lightning reads RANK, LOCAL_RANK and WORLD_SIZE wherever they come from: a single process that
inherits LOCAL_RANK=1 would train silently as the second one, and write nothing.
"""

import atexit
import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from seqpipe.errors import ConfigError

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
WORKERS = "SEQPIPE_WORKERS"
"""The variable with the number of workers of a sweep that share the cores of this machine."""
RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID")
PEERS = "SEQPIPE_PEERS"
"""The variable with the address at which a training waits for the processes it has started."""
_STARTED_BY = "SEQPIPE_STARTED_BY"  # id of the process of ours that started this one
_TASKS_PER_NODE = "SLURM_NTASKS_PER_NODE"
_PLACES = ("MASTER_ADDR", "MASTER_PORT")
_SET_BY_LIGHTNING = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", *_PLACES)
_OF_A_PROCESS = (
    *("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "NODE_RANK", "GROUP_RANK"),
    *("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NTASKS", "JSM_NAMESPACE_RANK"),
)


@contextlib.contextmanager
def starting_children(
    arguments: Callable[[list[str]], list[str]] | None, variables: Mapping[str, str] | None = None
) -> Iterator[None]:
    """Marks the processes that a training starts in the block, and ends their group after it.

    The group of processes that a launcher has started serves all jobs of a sweep.

    Args:
        arguments: changes the arguments in `sys.argv`, with which Lightning starts the processes;
            None: they stay.
        variables: more of the environment of these processes.
    """
    started, variables = started_outside(), variables or {}
    names = (*_SET_BY_LIGHTNING, *variables)
    argv, environment = sys.argv, {name: os.environ.get(name) for name in names}
    if not started:
        os.environ |= {_STARTED_BY: str(os.getpid()), **variables}
        if arguments is not None:
            sys.argv = [argv[0], *arguments(argv[1:])]
    try:
        yield
    finally:  # the next job starts its own processes, or meets the same others
        if not started:
            leave_process_group()
            os.environ.pop(_STARTED_BY)
            sys.argv = argv
        for name, value in environment.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def leave_process_group() -> None:
    """Ends the exchange with other processes; else its threads may abort this one as it exits."""
    distributed = sys.modules.get("torch.distributed")
    if distributed and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def started_outside() -> bool:
    """True if this process did not start the others that it trains with, if there are any."""
    return any(name in os.environ for name in RANKS)


def is_child() -> bool:
    """True if a training of seqpipe started this process."""
    return os.environ.get(_STARTED_BY) == str(os.getppid())


def is_launched() -> bool:
    """True if a launcher started this process: a training of seqpipe, torchrun or srun."""
    return is_child() or "TORCHELASTIC_RUN_ID" in os.environ or "SLURM_STEP_ID" in os.environ


def rank() -> int:
    """The number of this process among those of one run; only the first prints."""
    values = [os.environ[name] for name in RANKS if name in os.environ]
    return int(values[0]) if values and values[0].isdecimal() else 0


def is_follower(trainer: Mapping[str, Any]) -> bool:
    """True in a process that a launcher has started beside the first one of a training.

    Its files, if any, are no record: the first one makes the folder of the run or the sweep.
    """
    several = is_launched() or _is_complete()
    return several and rank() > 0 and not is_child() and processes_of(trainer) != 1


def scratch_folder() -> str:
    """Makes a folder that is removed when this process ends."""
    folder = tempfile.mkdtemp(prefix="seqpipe_")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _is_complete() -> bool:
    """True if the environment says all that a process needs to meet the others."""
    given = {name for name in (*_OF_A_PROCESS, *_PLACES) if name in os.environ}
    return {"WORLD_SIZE", *_PLACES} <= given and bool({"RANK", "LOCAL_RANK"} & given)


def ignore_stale_ranks(trainer: Mapping[str, Any]) -> str | None:
    """Removes variables that wrongly make this process one of several.

    If the trainer asks for one process, all are removed. If it asks for several, they are kept
    where they are complete, which is how processes are started by hand.

    Args:
        trainer: `devices`, `num_nodes`, `accelerator`; empty for a command that does not train.

    Returns:
        The ignored variables, for the terminal; None where there were none.

    Raises:
        ConfigError: torchrun or srun started several processes and the trainer asks for one, or
            it asks for another number.
    """
    asked = processes_of(trainer)
    if is_child():
        return None
    words = f"trainer.devices={trainer['devices']}" if "devices" in trainer else "this command"
    if is_launched():
        if asked == 1 and rank() > 0:
            raise ConfigError(
                f"{words}: asks for one process, and a launcher started more, of which this is "
                f"number {rank()}; allowed: as many trainer.devices as the launcher starts "
                "processes, with trainer.strategy=ddp; or without the launcher"
            )
        _check_launched(trainer, asked, words)
        return None
    if asked == 1:
        found = [name for name in _OF_A_PROCESS if name in os.environ and not _is_first(name)]
        return _ignored(found, f"{words} asks for one process")
    if int(trainer.get("num_nodes", 1)) > 1:
        return None
    ranks = [name for name in (*_OF_A_PROCESS, *_PLACES) if name in os.environ]
    if not _is_complete():
        found = [name for name in ranks if not name.startswith("SLURM") or not _is_first(name)]
        return _ignored(
            found, "not all of WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT are set"
        )
    world = os.environ["WORLD_SIZE"]
    if asked is not None and world != str(asked):
        raise ConfigError(
            f"{words}: asks for {asked} processes, and the environment has WORLD_SIZE={world}; "
            f"allowed: trainer.devices={world}, or without the variables {', '.join(ranks)}"
        )
    return None


def _check_launched(trainer: Mapping[str, Any], asked: int | None, words: str) -> None:
    """Refuses what Lightning would refuse only when the training starts."""
    started = os.environ.get("WORLD_SIZE") or os.environ.get("SLURM_NTASKS", "")
    if not started.isdecimal() or asked is None or "devices" not in trainer:
        return
    devices = asked // int(trainer.get("num_nodes", 1))
    if os.environ.get("SLURM_NTASKS", "1") != "1" and _TASKS_PER_NODE not in os.environ:
        text = f"srun --ntasks={started} does not say how many processes a machine gets"
        raise ConfigError(f"{words}: {text}; allowed: srun --ntasks-per-node={devices}")
    if asked != int(started):
        text = f"asks for {asked}, and the launcher started {started} processes"
        allowed = "as many on each machine as trainer.devices, on trainer.num_nodes machines"
        raise ConfigError(f"{words}: {text}; allowed: {allowed}")


def processes_of(trainer: Mapping[str, Any]) -> int | None:
    """The number of processes a trainer asks for; None where it depends on the machine."""
    devices, nodes = trainer.get("devices", 1), int(trainer.get("num_nodes", 1))
    if isinstance(devices, str) and "," in devices:
        devices = [part for part in devices.split(",") if part]
    if isinstance(devices, str) and devices.isdecimal():
        devices = int(devices)
    if isinstance(devices, int) and devices > 0:
        return devices * nodes
    if not isinstance(devices, (str, int)) and devices is not None:
        return len(devices) * nodes
    on_cpu = trainer.get("accelerator") == "cpu" and devices == "auto"
    return nodes if on_cpu else None  # as many as there are GPUs


def _is_first(name: str) -> bool:
    """True if a variable only says that this is the only process, or the first task."""
    return os.environ[name] == ("1" if name.endswith(("WORLD_SIZE", "NTASKS")) else "0")


def _ignored(names: list[str], why: str) -> str | None:
    shown = ", ".join(f"{name}={os.environ.pop(name)}" for name in names)
    return f"{shown} in the environment: ignored, since {why}" if shown else None


def usable_cores() -> int:
    """The number of cores that this process may use; in a job of SLURM those that it was given."""
    affinity = getattr(os, "sched_getaffinity", None)  # of Linux
    cores = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    given = os.environ.get("SLURM_CPUS_ON_NODE", "")  # where SLURM does not bind processes
    return min(cores, int(given)) if given.isdecimal() and int(given) else cores


def workers_of_machine() -> int:
    """The number of workers of a sweep among which the cores are divided; 1 without a sweep."""
    value = os.environ.get(WORKERS, "")
    return max(1, int(value)) if value.isdecimal() else 1


def leave_terminal() -> None:
    """Makes this process a session of its own: Ctrl-C does not reach it, and it reads nothing."""
    with contextlib.suppress(AttributeError, OSError):  # Windows; it has one already
        os.setsid()
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
