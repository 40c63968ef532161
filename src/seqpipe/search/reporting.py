"""The side of a search in the process of a job: intermediate results, and whether to stop."""

import json
import logging
import math
import warnings
from pathlib import Path

import optuna
from optuna.storages import RDBStorage

from seqpipe.errors import first_line
from seqpipe.search.pruners import PrunerSettings, make_pruner, quiet
from seqpipe.search.storage import open_storage

log = logging.getLogger(__name__)


class TrialReport:
    """Reports the intermediate results of a trial to its study.

    A storage that does not answer ends no training: from then on nothing is reported.

    Args:
        path: of the task of the job, see `Study.write_task`.
    """

    def __init__(self, path: Path) -> None:
        self._task = json.loads(path.read_text(encoding="utf-8"))
        self._number, self._name = int(self._task["trial"]), str(self._task["study"])
        self._store: RDBStorage | None = None
        self._reports = True

    def is_poor(self, value: float, step: int) -> bool:
        """Reports a value; True if the pruner would stop the trial.

        Args:
            value: of the monitored metric.
            step: validations so far.
        """
        if not self._reports:
            return False
        try:
            return self._report(value, step)
        except Exception as error:  # each driver raises its own
            self._reports = False
            log.warning("trial %d reports no more: %s", self._number, first_line(error))
            return False

    def _report(self, value: float, step: int) -> bool:
        quiet()
        self._store = self._store or open_storage(self._task["storage"], made=True)
        study_id = self._store.get_study_id_from_name(self._name)
        trial_id = self._store.get_trial_id_from_study_id_trial_number(study_id, self._number)
        finite = value if math.isfinite(value) else math.nan
        self._store.set_trial_intermediate_value(trial_id, step, finite)
        pruner = make_pruner(PrunerSettings(**self._task["pruner"]))
        study = optuna.load_study(study_name=self._name, storage=self._store, pruner=pruner)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of numpy, where all values are NaN
            return bool(pruner.prune(study, self._store.get_trial(trial_id)))

    def close(self) -> None:
        """Releases the storage."""
        if self._store is not None:
            self._store.engine.dispose()
            self._store = None
