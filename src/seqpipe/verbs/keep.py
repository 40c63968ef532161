"""What a run keeps of its model, for every use after the training: `<run folder>/model`."""

import copy
import logging
import shutil
import tempfile
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from seqpipe.data.dataset import SequenceData
from seqpipe.errors import DataError
from seqpipe.inference import saved
from seqpipe.inference.examples import first_records, needed
from seqpipe.inference.model import Model
from seqpipe.inference.opening import kept
from seqpipe.inference.pyfunc import Served
from seqpipe.tracking.base import Tracker
from seqpipe.training.module import SequenceModule

FOLDER, DATA = "model", "seqpipe"
EXAMPLES, TRIED = 2, 100
Rows = list[dict[str, Any]]

log = logging.getLogger(__name__)


def write(
    cfg: DictConfig,
    data: SequenceData,
    module: SequenceModule,
    folder: Path,
    tracker: Tracker,
    metrics: dict[str, float],
) -> None:
    """Writes the trained model, with an example of what it reads and answers.

    Args:
        cfg: the whole configuration.
        data: it was trained on.
        module: with the weights that count.
        folder: the run's.
        tracker: makes of it what its record can load.
        metrics: of those weights, kept beside them.
    """
    written: Any = OmegaConf.to_container(cfg, resolve=True)
    fields = {"y": data.y} if data.x is None else {"x": data.x, "y": data.y}
    facts: dict[str, Any] = {
        "longest_y": data.longest_y("train"),
        "digests": data.digests,
        "metrics": {name: value for name, value in metrics.items() if "/" in name},
    }
    network = copy.deepcopy(module.model).float()  # of training in another precision, too
    with tempfile.TemporaryDirectory(dir=folder, prefix=".model") as made:
        plain = Path(made) / DATA
        saved.write(plain, kept(written, fields, data.spec, network, facts))
        model = Model(written, data.x, data.y, data.spec, module.task, network, facts)
        inputs, answers = examples(model, data)
        if not inputs:
            log.warning("none of the first %d records can be answered: MLflow gets no model", TRIED)
        if not (inputs and tracker.write_model(folder / FOLDER, plain, inputs, answers)):
            (folder / FOLDER / "data").mkdir(parents=True)
            shutil.move(plain, folder / FOLDER / "data" / DATA)


def examples(model: Model, data: SequenceData) -> tuple[Rows, Rows]:
    """A few records that the model reads, and what it answers; of a language model, a prompt.

    Records may be bad ones that training has left out: those are left out here, too.
    """
    asked: Rows = []
    if model.x is None:
        asked = [{"prompt": ""}]
    else:
        for record in first_records(data.source, TRIED):
            if len(asked) == EXAMPLES:
                break
            try:
                columns = needed(model.x, record)
                one = {"prompt": "", **columns} if model.samples else columns
                Served(model).predict([one])
            except DataError:
                continue
            asked.append(one)
    return asked, Served(model).predict(asked) if asked else []
