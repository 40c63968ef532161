"""Saving of a run's model for use after the training: `<run folder>/model`."""

import copy
import logging
import shutil
import tempfile
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from seqpipe.data.base import Field, Record
from seqpipe.data.dataset import SequenceData
from seqpipe.data.hashing import plain as as_json
from seqpipe.errors import DataError
from seqpipe.inference import model_format
from seqpipe.inference.load import pack_model
from seqpipe.inference.model import Model
from seqpipe.inference.outputs import is_relative
from seqpipe.inference.pyfunc import Served
from seqpipe.runs.training_run import TrainingRun
from seqpipe.tracking.base import Usage

FOLDER = "model"
EXAMPLES, MOST_TRIED = 2, 100
Rows = list[dict[str, Any]]

log = logging.getLogger(__name__)


def write(run: TrainingRun) -> None:
    """Write the trained model, with an example of its input and its answers."""
    data, module, folder = run.data, run.module, run.folder
    config: Any = OmegaConf.to_container(run.cfg, resolve=True)
    facts: dict[str, Any] = {
        "longest_y": data.longest_y("train"),
        "digests": data.digests,
        "metrics": {name: value for name, value in run.metrics.items() if "/" in name},
    }
    network = copy.deepcopy(module.model).float()  # training may have used another precision
    with tempfile.TemporaryDirectory(dir=folder, prefix=".model") as made:
        plain = Path(made) / Path(model_format.LOGGED).name
        model_format.write(plain, pack_model(config, data.fields, data.spec, network, facts))
        model = Model(config, data.x, data.y, data.spec, module.task, network, facts)
        usage = examples(model, data)
        if not usage.inputs:
            log.warning(
                "the model answers none of the first %d records, so no MLflow model is written",
                MOST_TRIED,
            )
        if not (usage.inputs and run.tracker.write_model(folder / FOLDER, plain, usage)):
            place = folder / FOLDER / model_format.LOGGED
            place.parent.mkdir(parents=True)
            shutil.move(plain, place)


def examples(model: Model, data: SequenceData) -> Usage:
    """Return a few input records, or the prompt of a language model, with the model's answers.

    Bad records are left out, as in training.
    """
    asked: Rows = []
    served = Served(model)
    if model.x is None:
        asked = [{"prompt": ""}]
    else:
        usable = (one for one in data.source.examples() if not isinstance(one, DataError))
        for record in islice(usable, MOST_TRIED):
            if len(asked) == EXAMPLES:
                break
            try:
                columns = needed_columns(model.x, record, model.config["data"])
                one = {"prompt": "", **columns} if model.samples else columns
                served.predict([one])
            except DataError:
                continue
            asked.append(one)
    answers = served.predict(asked) if asked else []
    optional = ["prompt"] if model.samples and model.x is not None else []
    return Usage(asked, answers, served.params, optional)


class _WatchedRecord(dict[str, Any]):
    """A record that notes which of its columns are read."""

    def __init__(self, columns: Mapping[str, Any]) -> None:
        super().__init__(columns)
        self.read: dict[str, None] = {}

    def __getitem__(self, column: str) -> Any:
        self.read[column] = None
        return super().__getitem__(column)

    def get(self, column: str, default: Any = None) -> Any:
        """Note the column, if it exists."""
        if column in self:
            self.read[column] = None
        return super().get(column, default)


def needed_columns(x: Field, record: Record, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of a record that a model reads, as JSON can hold them.

    Args:
        x: the field that reads some of the columns.
        record: with all columns.
        data: the configuration of the data: a forecast may need the last step of the past.
    """
    watched = _WatchedRecord(record)
    x.encode(watched)
    if is_relative(data):
        watched.get("last")
    return {column: _plain(watched.get(column)) for column in watched.read}


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value if isinstance(value, (str, int, float, bool)) else as_json(value)
