"""Metrics of the machine go to the record of a run, in whichever tracker, and hang nothing."""

import csv
import sys
import threading
import time
from types import SimpleNamespace

import pytest
import torch
from mlflow import MlflowClient

from seqpipe.errors import ConfigError
from seqpipe.tracking.csv import CsvTracker
from seqpipe.tracking.system_metrics import SystemMonitor

NAMES = {
    *("system/cpu_utilization_percentage", "system/system_memory_usage_megabytes"),
    *("system/disk_usage_percentage", "system/network_receive_megabytes"),
}


def trained(tracker, a_run, seconds: float = 0.45) -> None:
    tracker.start(**a_run)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        tracker.log_metrics({"train/loss": 0.5}, 7)
        time.sleep(0.02)
    tracker.end("FINISHED")


def test_they_are_in_mlflow_as_its_pages_show_them(make_tracker, a_run, client):
    tracker = make_tracker(system_metrics=0.1)
    trained(tracker, a_run)
    metrics = client.get_run(tracker.run_id).data.metrics
    assert set(metrics) >= NAMES
    points = client.get_metric_history(tracker.run_id, "system/system_memory_usage_percentage")
    assert [point.step for point in points] == list(range(len(points)))
    assert 2 <= len(points) <= 8
    assert all(0 < point.value <= 100 for point in points)
    assert [point.timestamp for point in points] == sorted(point.timestamp for point in points)
    assert "system metrics" not in [thread.name for thread in threading.enumerate()]


def test_they_are_rows_of_the_csv_file(tmp_path, a_run):
    trained(CsvTracker(tmp_path, tmp_path, system_metrics=0.1), a_run)
    with (tmp_path / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["metric"] for row in rows} >= {*NAMES, "train/loss"}


def test_a_short_run_has_one_measurement_and_the_run_of_a_sweep_has_none(
    make_tracker, client, a_run
):
    short, sweep = make_tracker(system_metrics=3600), make_tracker(system_metrics=0.1)
    trained(short, a_run, seconds=0.1)
    trained(sweep, {**a_run, "datasets": {}})
    counts = [
        len(client.get_metric_history(one.run_id, "system/cpu_utilization_percentage"))
        for one in (short, sweep)
    ]
    assert counts == [1, 0]


def test_a_store_that_hangs_keeps_no_measurement_waiting(
    make_tracker, a_run, monkeypatch, tmp_path
):
    tracker = make_tracker(system_metrics=0.1, flush_seconds=0)
    tracker.start(**a_run)
    for name, seconds in {"_CALL": 0.1, "_NEXT": 0.1, "_TRAINING": 0.1, "_END": 0.1}.items():
        monkeypatch.setattr(f"seqpipe.tracking.timeouts.{name}", seconds)
    monkeypatch.setattr(MlflowClient, "log_batch", lambda *a, **b: time.sleep(20))
    monkeypatch.setattr(MlflowClient, "get_run", lambda *a, **b: time.sleep(20))
    started = time.monotonic()
    for _ in range(20):
        tracker.log_metrics({"train/loss": 0.5}, 7)
        time.sleep(0.03)
    tracker.end("FINISHED")
    assert time.monotonic() - started < 10
    journal = (tmp_path / "unsent" / "journal.jsonl").read_text()
    assert journal.count("system/cpu_utilization_percentage") >= 3


def test_gpus_are_measured_or_the_reason_is_given(monkeypatch, caplog):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setitem(sys.modules, "pynvml", None)
    del sys.modules["pynvml"]
    SystemMonitor(1.0)
    assert "`pip install nvidia-ml-py` to install it" in caplog.text
    nvml = SimpleNamespace(
        NVMLError=RuntimeError,
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: 1,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetMemoryInfo=lambda handle: SimpleNamespace(used=2e9, total=8e9),
        nvmlDeviceGetUtilizationRates=lambda handle: SimpleNamespace(gpu=55),
        nvmlDeviceGetPowerUsage=lambda handle: 100_000,
        nvmlDeviceGetEnforcedPowerLimit=lambda handle: 400_000,
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.setattr("mlflow.system_metrics.metrics.gpu_monitor.pynvml", nvml, raising=False)
    monitor = SystemMonitor(3600.0)
    monitor.start()
    monitor.stop()
    (sample,) = monitor.take()
    assert sample.metrics["system/gpu_0_utilization_percentage"] == 55.0
    assert sample.metrics["system/gpu_0_memory_usage_percentage"] == 25.0


def test_without_psutil_the_option_is_refused_with_what_installs_it(make_tracker, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("mlflow.system_metrics")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "psutil", None)
    with pytest.raises(ConfigError) as caught:
        make_tracker(system_metrics=5)
    assert str(caught.value) == (
        "logger.system_metrics=5: needs psutil, which is not installed; allowed: pip install "
        "psutil (and nvidia-ml-py for GPUs), or null"
    )
