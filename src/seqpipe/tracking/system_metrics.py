"""Metrics of the machine while a run trains: CPU, memory, disk, network, GPUs."""

import logging
import threading
import time
from typing import NamedTuple

from seqpipe.errors import ConfigError
from seqpipe.rules import refusal, shown
from seqpipe.tracking.mlflow_internals import system_monitors

log = logging.getLogger(__name__)

KEY = "logger.system_metrics"
PREFIX = "system/"
"""Begins the names of these metrics, as MLflow names and shows them."""


class Sample(NamedTuple):
    """One measurement.

    Args:
        metrics: name -> value.
        number: of the measurement, from 0: MLflow's step of these metrics.
        time: seconds since 1970.
    """

    metrics: dict[str, float]
    number: int
    time: float


class SystemMonitor:
    """Measures the machine regularly in a thread of its own.

    The thread writes nothing: a tracker takes the samples with the metrics of the training, so that
    a store that hangs keeps neither of them waiting.

    Args:
        seconds: between two measurements.

    Raises:
        ConfigError: psutil is not installed.
    """

    def __init__(self, seconds: float) -> None:
        try:
            self._monitors, missing = system_monitors()
        except ImportError as error:
            wrong = f"needs {error.name or 'psutil'}, which is not installed"
            allowed = "pip install psutil (and nvidia-ml-py for GPUs), or null"
            raise ConfigError(refusal(KEY, shown(seconds), wrong, allowed)) from None
        if missing:
            log.warning("%s: %s", KEY, missing)
        self._seconds = seconds
        self._samples: list[Sample] = []
        self._number, self._stopped = 0, threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="system metrics", daemon=True)

    def start(self, number: int = 0) -> None:
        """Begins to measure.

        Args:
            number: of the first measurement.
        """
        self._number = number
        self._thread.start()

    def take(self) -> list[Sample]:
        """Returns the measurements since the last call."""
        with self._lock:
            taken, self._samples = self._samples, []
        return taken

    def stop(self) -> None:
        """Measures once more and ends the thread; it does not wait for a measurement that hangs."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(timeout=1.0)

    def _work(self) -> None:
        try:
            self._measure()  # the first values are those since the start of the machine, or 0
            stopped = False
            while not stopped:
                stopped = self._stopped.wait(self._seconds)
                measured = self._measure()
                with self._lock:
                    self._samples.append(Sample(measured, self._number, time.time()))
                self._number += 1
        except Exception as error:  # a container may hide what psutil reads
            log.warning("the system metrics end here: %s", error)

    def _measure(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for monitor in self._monitors:
            monitor.collect_metrics()
            found |= monitor.aggregate_metrics()
            monitor.clear_metrics()
        return {PREFIX + name: float(value) for name, value in found.items()}
