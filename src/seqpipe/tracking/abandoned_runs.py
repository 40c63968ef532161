"""Ends runs whose process was killed before it could (`kill -9`, out of memory, no power)."""

import logging
from collections.abc import Iterator
from pathlib import Path

from mlflow import MlflowClient, entities

log = logging.getLogger(__name__)

PROCESS = "process"
"""The tag of a run that names its process."""
_PROC = Path("/proc")
_START_TIME = 18  # of the fields after the state, see proc_pid_stat(5): the 22nd in all


def process_mark(pid: str = "self") -> str | None:
    """A unique name of a process, on any machine.

    Args:
        pid: its number; this process without one.

    Returns:
        boot, namespace of process numbers, number and start time; None if it has ended, or
        if the system has no /proc (macOS, Windows).
    """
    try:
        number, _, rest = (_PROC / pid / "stat").read_text().partition(" ")
        state, *fields = rest.rpartition(")")[2].split()  # a name may hold blanks and brackets
        dead = state in ("Z", "X")
        return None if dead else f"{_machine()} {number} {fields[_START_TIME]}"
    except (OSError, IndexError):
        return None


def _machine() -> str:
    boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    return f"{boot} {(_PROC / 'self/ns/pid').readlink()}"


def end_abandoned(client: MlflowClient) -> None:
    """Sets KILLED where a run is RUNNING though its process has ended.

    Only processes of this machine since its last start can be checked. Runs of another machine, or
    from before a restart, keep their status.

    Args:
        client: the client of the store.
    """
    mine = (process_mark() or "").split()
    for run in _running(client):
        mark = run.data.tags.get(PROCESS, "").split()
        here = len(mark) == 4 and mark[:2] == mine[:2]
        if here and process_mark(mark[2]) != " ".join(mark):
            client.set_terminated(run.info.run_id, "KILLED")
            text = (
                "run %s (%s) is set to KILLED, because its process ended without setting a status"
            )
            log.warning(text, run.info.run_id[:8], run.info.run_name)


def _running(client: MlflowClient) -> Iterator[entities.Run]:
    experiments = [one.experiment_id for one in client.search_experiments()]
    yield from client.search_runs(experiments, "attributes.status = 'RUNNING'")
