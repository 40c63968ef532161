"""Data of a few records, and the metrics of the baselines of a task on them."""

from collections.abc import Callable
from typing import Any

import pytest

from seqpipe.data.base import Source, Splits
from seqpipe.data.dataset import SequenceData
from seqpipe.runs.baselines import fitted_baselines, measured
from seqpipe.tasks.base import Task


class Given(Source):
    def __init__(self, train, valid, test):
        self.splits = Splits(list(train), list(valid), list(test))

    def read(self):
        return self.splits


@pytest.fixture(scope="session")
def data_of() -> Callable[..., SequenceData]:
    """data_of(y, x, train=[...], valid=[...], test=[...], window=4): prepared data."""

    def make(y: Any, x: Any = None, *, train: Any, valid: Any = None, test: Any, **options: Any):
        source = Given(train, train if valid is None else valid, test)
        return SequenceData(source, y, x, **options)

    return make


@pytest.fixture(scope="session")
def metrics_of() -> Callable[[Task, SequenceData], dict[str, dict[str, float]]]:
    """metrics_of(task, data): those of each baseline on the test; `skipped` has the reasons."""

    def measure(task: Task, data: SequenceData) -> dict[str, dict[str, float]]:
        skipped: dict[str, str] = {}
        fitted = list(fitted_baselines(task, data, skipped))
        assert all(baseline.phrase for baseline in fitted)
        found, _ = measured(fitted, task, data.loader("test").here())
        assert "skipped" not in found
        return {**found, "skipped": skipped}

    return measure
