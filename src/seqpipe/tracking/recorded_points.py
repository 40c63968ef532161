"""Points of metrics that the store holds already, so that none is sent twice."""

from collections.abc import Iterable
from typing import NamedTuple

from mlflow import MlflowClient


class Point(NamedTuple):
    """One value of a metric, as MLflow stores it.

    Args:
        key: the name, encoded by `seqpipe.tracking.metric_names`.
        value: finite, or NaN.
        timestamp: milliseconds since 1970.
        step: optimizer updates so far.
    """

    key: str
    value: float
    timestamp: int
    step: int


def recorded_points(client: MlflowClient, run_id: str, keys: Iterable[str]) -> list[Point]:
    """Returns every point that the store has of these metrics of a run.

    Args:
        client: of the store.
        run_id: of the run.
        keys: encoded names.
    """
    return [
        Point(key, float(one.value), int(one.timestamp), int(one.step))
        for key in dict.fromkeys(keys)
        for one in client.get_metric_history(run_id, key)
    ]
