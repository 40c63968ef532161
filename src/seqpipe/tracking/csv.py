"""Tracker that writes plain files to the run's folder: metrics.csv, run.json, CSV tables."""

import csv
import io
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from seqpipe.bounds import SamplingSeconds, checked
from seqpipe.errors import counted
from seqpipe.files import append_whole, write_json
from seqpipe.records import read_json
from seqpipe.report.run_files import write_rows
from seqpipe.tracking.base import Dataset, ParamValue, Row, Status, Tracker
from seqpipe.tracking.lightning_logger import TrackerLogger, writes_here

if TYPE_CHECKING:
    from seqpipe.tracking.system_metrics import SystemMonitor

log = logging.getLogger(__name__)

MetricRow = tuple[float, int, str, float]
_HEADER = ("time", "step", "metric", "value")
_MOST_ROWS = 200_000  # that wait for room on the disk


def append_metrics(path: Path, rows: Iterable[MetricRow]) -> None:
    """Adds rows (seconds since 1970, step, name, value) to a CSV file, made if missing.

    Raises:
        OSError: they cannot be written; the file is as before.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    if not path.exists():
        writer.writerow(_HEADER)
    writer.writerows((f"{when:.3f}", step, name, value) for when, step, name, value in rows)
    append_whole(path, text.getvalue().encode())


class CsvTracker(Tracker):
    """Writes metrics.csv (one row per value, added as it comes) and run.json to the run's folder.

    Args:
        root: the folder the user works in (unused).
        output_dir: the run's folder, made if missing.
        system_metrics: seconds between measurements of CPU, memory, disk, network and GPUs; None:
            none are made.
    """

    @checked("logger.")
    def __init__(
        self, root: Path, output_dir: Path, system_metrics: SamplingSeconds | None = None
    ) -> None:
        self.location = str(output_dir / "metrics.csv")
        self.logger = TrackerLogger(self, output_dir)
        self._folder = output_dir
        self._facts: dict[str, object] = {}  # what run.json says; empty until started
        self._rows: list[MetricRow] = []  # of a full disk, which may have room later
        self._monitor: SystemMonitor | None = None
        if system_metrics is not None:
            from seqpipe.tracking import system_metrics as machine  # imports MLflow

            self._monitor = machine.SystemMonitor(system_metrics)
        self._ended = False
        self._warned = self._taken_over = False

    def start(
        self,
        *,
        run_name: str,
        experiment: str,
        params: Mapping[str, ParamValue],
        tags: Mapping[str, str],
        datasets: Mapping[str, Dataset],
    ) -> None:
        """Writes run.json, with status RUNNING."""
        self._facts = {
            "run_name": run_name,
            "experiment": experiment,
            "status": "RUNNING",
            "params": dict(params),
            "tags": dict(tags),
            "datasets": {split: Dataset(*data)._asdict() for split, data in datasets.items()},
        }
        self._write(write_json, self._folder / "run.json", self._facts)
        if self._monitor is not None and writes_here():
            self._monitor.start()

    def take_over(self, run_id: str | None) -> None:
        """Reads the record of a lost process; see `Tracker.take_over`."""
        path = self._folder / "run.json"
        self._facts = read_json(path) if path.is_file() else {}
        self._taken_over = True

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Adds one row for each metric to metrics.csv."""
        self._take_samples()
        self._rows += [(time.time(), step, name, float(value)) for name, value in metrics.items()]
        self._write_rows()

    def log_table(self, name: str, rows: Sequence[Row]) -> None:
        """Writes <name>.csv."""
        self._write(write_rows, self._folder / f"{name}.csv", rows)

    def end(self, status: Status) -> None:
        """Writes the status to run.json."""
        if self._facts and not self._ended:
            self._ended = True
            self._facts["status"] = status
            if self._monitor is not None:
                self._monitor.stop()
            self._take_samples()
            self._write_rows()
            if self._rows:
                lost = counted(len(self._rows), "metric value")
                log.error("%s: %s could not be written", self.location, lost)
            self._write(write_json, self._folder / "run.json", self._facts)

    def _take_samples(self) -> None:
        for metrics, number, when in [] if self._monitor is None else self._monitor.take():
            self._rows += [(when, number, name, value) for name, value in metrics.items()]

    def _write_rows(self) -> None:
        if self._rows and self._write(append_metrics, self._folder / "metrics.csv", self._rows):
            self._rows.clear()
        del self._rows[:-_MOST_ROWS]

    def _write(self, action: Callable[..., object], *arguments: object) -> bool:
        """Writes to the disk; warns once if that fails, and lets the training continue.

        Returns:
            False if it failed.
        """
        if not (writes_here() or self._taken_over):
            return True
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            action(*arguments)
        except OSError as error:
            if not self._warned:
                place, reason = error.filename or self.location, error.strerror
                log.warning("%s cannot be written, training continues: %s", place, reason)
            self._warned = True
            return False
        return True
