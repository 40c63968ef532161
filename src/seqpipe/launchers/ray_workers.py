"""Workers that are tasks of Ray, on a cluster of its own or on this machine.

The folder of the sweep, the data and the store must be reached from every machine under the same
path, as with SLURM.
"""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Mapping
from typing import Any

from seqpipe.data.optional_deps import need
from seqpipe.errors import ConfigError, first_line
from seqpipe.launchers.worker_process import perform
from seqpipe.launchers.workers import JobEnd, QueuedJob, Workers, signals_blocked
from seqpipe.signals import ENDING_SIGNALS

_LOOK = 0.1  # seconds between two looks at the jobs
_QUIET = {"include_dashboard": False, "log_to_driver": False, "logging_level": "error"}


class RayWorkers(Workers):
    """Tasks of Ray.

    Args:
        count: jobs that run at the same time; None: as many as Ray has room for.
        init: arguments of `ray.init`, as `address` of a cluster; null leaves the default.
        options: of `ray.remote`: what a job needs, as `num_gpus`; null leaves the default.
    """

    scheduled = True

    def __init__(
        self, count: int | None, init: Mapping[str, Any], options: Mapping[str, Any]
    ) -> None:
        self._ray: Any = need("ray", extra="ray", what="launcher=ray")
        self.capacity = sys.maxsize if count is None else count
        self._running: dict[Any, QueuedJob] = {}
        self._started = not self._ray.is_initialized()
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else Ray warns of it
        handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            if self._started:
                self._ray.init(**_QUIET, **_given(init))
            cores = int(self._ray.cluster_resources().get("CPU", 1))
            share = {"num_cpus": max(1, cores // count)} if count else {}
            remote = self._ray.remote(max_retries=0)(perform)
            self._task = remote.options(**{**share, **_given(options)})
        except (ValueError, TypeError, ConnectionError) as error:
            text = f"Ray refuses it ({first_line(error)}); allowed: arguments of ray.init"
            raise ConfigError(f"hydra.launcher: {text} and options of ray.remote") from None
        finally:
            for number, handler in handlers.items():  # Ray sets its own
                signal.signal(number, handler)

    def start(self, job: QueuedJob) -> None:
        """Gives a job to Ray."""
        self._running[self._task.remote(job)] = job

    def wait(self, seconds: float) -> list[JobEnd]:
        """Waits until a job ends, at most so long."""
        deadline = time.monotonic() + seconds
        while True:
            with signals_blocked(*ENDING_SIGNALS):  # Ray forgets the code of an exception
                done, _ = self._ray.wait(list(self._running), timeout=0)
                ends = [self._end_of(one) for one in done]
            if ends or time.monotonic() > deadline:
                return ends
            time.sleep(_LOOK)

    def _end_of(self, reference: Any) -> JobEnd:
        job = self._running.pop(reference)
        try:
            end: JobEnd = self._ray.get(reference)
        except self._ray.exceptions.TaskCancelledError:
            return JobEnd(job.number, fault="cancelled")
        except Exception as error:  # its process or its machine died
            return JobEnd(job.number, fault=f"{type(error).__name__}: {first_line(error)}")
        return end

    def end(self, number: signal.Signals) -> None:
        """Interrupts each job as Ctrl-C does, and takes back those that wait."""
        for reference in self._running:
            self._ray.cancel(reference, force=False)

    def close(self) -> None:
        """Ends jobs that still run, and what was started here of Ray."""
        with contextlib.suppress(Exception):  # jobs that have just ended
            for reference in self._running:
                self._ray.cancel(reference, force=True)
        if self._started:
            self._ray.shutdown()


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
