"""The gradient at each distance from the loss, as a run's probe left it in gradients.parquet."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple


class Profile(NamedTuple):
    """The norm of the gradient at each distance from the loss, over its peak."""

    distances: list[int]
    norms: list[float]


def profiles(path: Path) -> dict[str, Profile]:
    """The gradients at the `start` and the `end` of a training.

    Args:
        path: gradients.parquet of a run.

    Returns:
        mean over the probe's examples, for the lowest layer of the first stack, read forwards;
        empty where the file is missing or holds nothing.
    """
    if not path.is_file():
        return {}
    import pyarrow.parquet as parquet  # read at the end of a sweep, not at the start of a command

    columns = parquet.read_table(path).to_pydict()
    rows = [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]
    for key in ("stack", "direction", "loss", "layer"):  # one of each: the first as they come
        wanted = _chosen(key, [row[key] for row in rows])
        rows = [row for row in rows if row[key] == wanted]
    steps = sorted({row["step"] for row in rows})
    named = dict(zip(("start", "end"), (steps[0], steps[-1]), strict=True)) if steps else {}
    return {name: _mean_profile(rows, step) for name, step in named.items()}


def _chosen(key: str, values: Sequence[object]) -> object:
    """The lowest layer; the forward direction and the last step's loss where there are any."""
    preferred: Mapping[str, str] = {"direction": "forwards", "loss": "last", "stack": "encoder"}
    if key == "layer" or not values:
        return min(values, default=None)  # type: ignore[type-var]
    return preferred[key] if preferred[key] in values else values[0]


def _mean_profile(rows: Sequence[Mapping[str, float]], step: float) -> Profile:
    at: dict[int, list[float]] = {}
    for row in rows:
        if row["step"] == step:
            at.setdefault(int(row["distance"]), []).append(row["norm"])
    means = {distance: sum(norms) / len(norms) for distance, norms in sorted(at.items())}
    peak = max((value for value in means.values() if math.isfinite(value)), default=0.0)
    return Profile(
        list(means), [value / peak if peak > 0 else math.nan for value in means.values()]
    )
