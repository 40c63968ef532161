"""Calls of the store as plain data: sent at once, or kept in a journal and sent later.

Each kind of call knows how it is sent. Sending one twice leaves the same record as sending it once.
"""

import io
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from mlflow import MlflowClient, entities
from PIL import Image

from seqpipe.errors import counted
from seqpipe.records import BadRecordError, inside
from seqpipe.tracking.base import Dataset, Row
from seqpipe.tracking.journal import Journal
from seqpipe.tracking.metric_names import encoded_together
from seqpipe.tracking.mlflow_internals import IMAGES, SPLIT, TABLES, image_prefix
from seqpipe.tracking.recorded_points import Point, recorded_points

_DIGEST_LENGTH = 36
_PAIRS_A_CALL = 100  # params or tags that MLflow takes at once
_SLOWEST = 1e6  # bytes a second that a store takes of a large file
_Pair = TypeVar("_Pair", entities.Param, entities.RunTag)


@dataclass
class Target:
    """A run of a store, which calls are sent to.

    Args:
        client: of the store.
        run_id: of the run.
        folder: of the run, which the paths of files start from.
        again: calls may have been sent before: what the store has is not sent again.
    """

    client: MlflowClient
    run_id: str
    folder: Path
    again: bool = False
    _known: dict[str, set[tuple[float | None, int, int]]] = field(default_factory=dict)

    def new_points(self, points: Sequence[Point]) -> list[Point]:
        """Those points that the store does not have."""
        missing = {point.key for point in points} - self._known.keys()
        self._known |= {key: set() for key in missing}
        for point in recorded_points(self.client, self.run_id, missing):
            self._known[point.key].add(_identity(point))
        return [point for point in points if _identity(point) not in self._known[point.key]]


def _identity(point: Point) -> tuple[float | None, int, int]:
    return None if math.isnan(point.value) else point.value, point.timestamp, point.step


@dataclass(frozen=True)
class Call:
    """A call of the store; its fields are plain values.

    Attributes:
        kind: its name in a journal.
        noun: the things it sends, for a count of them.
    """

    kind: ClassVar[str]
    noun: ClassVar[str]

    @property
    def name(self) -> str:
        """Its name in messages."""
        return f"the {self.noun}s"

    @property
    def count(self) -> int:
        """The number of things it sends."""
        return 1

    def seconds(self, target: Target) -> float:
        """Time it may take beyond that of any call."""
        return 0.0

    def send(self, target: Target) -> None:
        """Sends it; raises whatever the store does."""
        raise NotImplementedError

    def kept(self, journal: Journal) -> "Call":
        """The same call for the journal; what JSON cannot hold is kept in files beside it.

        Raises:
            OSError: they cannot be written.
        """
        return self

    def as_json(self) -> dict[str, Any]:
        """The line of the journal."""
        return {"kind": self.kind, **{one.name: getattr(self, one.name) for one in fields(self)}}


@dataclass(frozen=True)
class Params(Call):
    """The params of a run, in MLflow's form."""

    params: Mapping[str, str]
    kind, noun = "params", "param"

    @property
    def count(self) -> int:
        """The number of params."""
        return len(self.params)

    def send(self, target: Target) -> None:
        """Logs them; MLflow accepts the same value for a param again."""
        for chunk in _chunks([entities.Param(key, text) for key, text in self.params.items()]):
            target.client.log_batch(target.run_id, (), chunk)


@dataclass(frozen=True)
class Tags(Call):
    """Tags of a run, in MLflow's form; `about` says what they hold."""

    tags: Mapping[str, str]
    about: str = "the tags"
    kind, noun = "tags", "tag"

    @property
    def name(self) -> str:
        """The name that was given."""
        return self.about

    @property
    def count(self) -> int:
        """The number of tags."""
        return len(self.tags)

    def send(self, target: Target) -> None:
        """Sets them; a tag that exists gets the new value."""
        for chunk in _chunks([entities.RunTag(key, text) for key, text in self.tags.items()]):
            target.client.log_batch(target.run_id, (), (), chunk)


@dataclass(frozen=True)
class Datasets(Call):
    """The identity of the data: by split, the fields of a `Dataset`."""

    datasets: Mapping[str, Mapping[str, Any]]
    kind, noun = "datasets", "dataset"

    @property
    def count(self) -> int:
        """The number of splits."""
        return len(self.datasets)

    def send(self, target: Target) -> None:
        """Logs them; MLflow keeps one entry for each dataset of a run."""
        inputs = [_input(split, Dataset(**data)) for split, data in self.datasets.items()]
        target.client.log_inputs(target.run_id, inputs)


@dataclass(frozen=True)
class Points(Call):
    """Values of metrics; each a `Point`."""

    points: Sequence[Sequence[Any]]
    kind, noun = "metrics", "metric value"

    @property
    def name(self) -> str:
        """Metrics."""
        return "metrics"

    @property
    def count(self) -> int:
        """The number of values."""
        return len(self.points)

    def send(self, target: Target) -> None:
        """Logs them; MLflow's databases have a point once."""
        points = [Point(*point) for point in self.points]
        if target.again:
            points = target.new_points(points)
        if points:
            metrics = [entities.Metric(*point) for point in points]
            target.client.log_batch(target.run_id, metrics)


@dataclass(frozen=True)
class File(Call):
    """A file of the run's folder. `path`: below that; `place`: its folder in the store."""

    path: str
    place: str = ""
    kind, noun = "file", "file"

    @property
    def name(self) -> str:
        """The path."""
        return self.path

    def seconds(self, target: Target) -> float:
        """By its size."""
        path = target.folder / self.path
        return path.stat().st_size / _SLOWEST if path.is_file() else 0.0

    def send(self, target: Target) -> None:
        """Copies the file, as it is now; one of the same name is replaced.

        Raises:
            FileNotFoundError: it is gone.
            BadRecordError: the path leads out of the run's folder.
        """
        path = inside(target.folder, self.path)
        if not path.is_file():
            raise FileNotFoundError(f"there is no {path}")
        target.client.log_artifact(target.run_id, str(path), self.place or None)


@dataclass(frozen=True)
class OtherFile(File):
    """A file outside the run's folder, with its absolute path; the journal gets a copy."""

    def send(self, target: Target) -> None:
        """Copies the file."""
        target.client.log_artifact(target.run_id, self.path, self.place or None)

    def kept(self, journal: Journal) -> File:
        """Copies the file into a folder of its own beside the journal."""
        path = Path(self.path)
        return File(journal.keep(f"{journal.count}/{path.name}", path.read_bytes()), self.place)


@dataclass(frozen=True)
class Document(Call):
    """A file of JSON that the run's folder does not have; as a table, MLflow's page lists it."""

    path: str
    content: Any
    table: bool = False
    kind, noun = "document", "table"

    @property
    def name(self) -> str:
        """The path."""
        return self.path

    def send(self, target: Target) -> None:
        """Writes the file; one of the same name is replaced."""
        target.client.log_dict(target.run_id, self.content, self.path)
        if self.table:
            tags = target.client.get_run(target.run_id).data.tags
            listed, entry = json.loads(tags.get(TABLES, "[]")), {"path": self.path, "type": "table"}
            if entry not in listed:
                target.client.set_tag(target.run_id, TABLES, json.dumps([*listed, entry]))


@dataclass(frozen=True)
class Picture(Call):
    """A picture of a series. `file`: where it is kept, below the run's folder, or `pixels`."""

    key: str
    step: int
    timestamp: int
    file: str = ""
    pixels: Any = None
    kind, noun = "picture", "picture"

    @property
    def name(self) -> str:
        """The series and the step."""
        return f"{self.key} of step {self.step}"

    def send(self, target: Target) -> None:
        """Logs the picture, unless one that was kept is there."""
        where: dict[str, Any] = {
            "key": self.key,
            "step": self.step,
            "timestamp": self.timestamp,
        }
        if not self.file:
            target.client.log_image(target.run_id, self.pixels, **where, synchronous=True)
            return
        there = [entry.path for entry in target.client.list_artifacts(target.run_id, IMAGES)]
        if sum(path.startswith(image_prefix(**where)) for path in there) < 2:  # both sizes
            with Image.open(inside(target.folder, self.file)) as picture:
                picture.load()
                target.client.log_image(target.run_id, picture, **where, synchronous=True)

    def kept(self, journal: Journal) -> "Picture":
        """Keeps the pixels in a file."""
        if self.file:
            return self
        held = io.BytesIO()
        Image.fromarray(self.pixels).save(held, "png")
        file = journal.keep(f"{journal.count}.png", held.getvalue())
        return replace(self, file=file, pixels=None)


@dataclass(frozen=True)
class End(Call):
    """The status of a run and the time of its end (milliseconds since 1970)."""

    status: str
    time: int
    kind, noun = "status", "status"

    @property
    def name(self) -> str:
        """The status."""
        return f"the status {self.status}"

    def send(self, target: Target) -> None:
        """Sets both."""
        target.client.set_terminated(target.run_id, self.status, self.time)


KINDS: dict[str, type[Call]] = {
    one.kind: one for one in (Params, Tags, Datasets, Points, File, Document, Picture, End)
}


def read_call(line: Mapping[str, Any]) -> Call:
    """The call in a line of a journal.

    Raises:
        BadRecordError: it is none.
    """
    values = {name: value for name, value in line.items() if name != "kind"}
    try:
        return KINDS[line["kind"]](**values)
    except (KeyError, TypeError) as error:
        raise BadRecordError(f"has a call that cannot be read ({error})") from None


def points_of(metrics: Mapping[str, float], step: int, seconds: float | None = None) -> list[Point]:
    """Metrics in MLflow's form, see `seqpipe.tracking.metric_names`.

    Args:
        metrics: name -> value.
        step: of all of them.
        seconds: their time, since 1970; None: the present time.
    """
    now = int(1000 * (time.time() if seconds is None else seconds))
    names = encoded_together(metrics)
    return [
        Point(names[name], _finite_or_nan(value), now, int(step)) for name, value in metrics.items()
    ]


def table_of(rows: Sequence[Row]) -> dict[str, Any]:
    """Rows as MLflow shows them; their columns may be unequal."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    return {"columns": columns, "data": [[row.get(key) for key in columns] for row in rows]}


def names_of(calls: Sequence[Call], most: int) -> list[str]:
    """Names for a list of what is missing: values of metrics are counted, all others are named."""
    values = sum(call.count for call in calls if isinstance(call, Points))
    named = list(dict.fromkeys(call.name for call in calls if not isinstance(call, Points)))
    names = [*([counted(values, Points.noun)] if values else []), *named]
    left = len(names) - most
    return [*names[:most], f"and {left} more"] if left > 1 else names


def _finite_or_nan(value: float) -> float:
    """Turns infinity into NaN, a gap: MLflow stores it as 1.8e308, which flattens every chart."""
    value = float(value)
    return math.nan if math.isinf(value) else value


def _chunks(pairs: Sequence[_Pair]) -> Iterator[Sequence[_Pair]]:
    """Parts of a size that MLflow accepts in one call."""
    for start in range(0, len(pairs), _PAIRS_A_CALL):
        yield pairs[start : start + _PAIRS_A_CALL]


def _input(split: str, data: Dataset) -> entities.DatasetInput:
    dataset = entities.Dataset(
        name=data.name,
        digest=data.digest[:_DIGEST_LENGTH],
        source_type="seqpipe",
        source=json.dumps({"description": data.description, "sha256": data.digest}),
        profile=json.dumps({"num_examples": data.n_examples}),
    )
    return entities.DatasetInput(dataset, [entities.InputTag(SPLIT, split)])
