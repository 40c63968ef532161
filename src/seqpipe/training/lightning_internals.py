"""Parts of Lightning that its documentation does not promise, and the only module that uses them.

tests/config/test_private_apis.py fails where a new version of Lightning changes one of them.
"""

import datetime
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from pytorch_lightning import Trainer
from pytorch_lightning.strategies import DDPStrategy
from pytorch_lightning.strategies.launchers.subprocess_script import _SubprocessScriptLauncher


class Progress(NamedTuple):
    """How far a checkpoint is.

    Args:
        epochs: that are finished.
        batches: of the unfinished epoch that are done; 0 where an epoch ended.
        is_last_batch: False for a training that ended inside an epoch.
    """

    epochs: int
    batches: int
    is_last_batch: bool


def progress_of(checkpoint: Mapping[str, Any]) -> Progress:
    """Reads the progress of a checkpoint.

    Raises:
        KeyError, TypeError: it is none of Lightning's.
    """
    loop = checkpoint["loops"]["fit_loop"]
    epochs, batches = loop["epoch_progress"]["current"], loop["epoch_loop.batch_progress"]
    unfinished = epochs["started"] != epochs["processed"]
    done = int(batches["current"]["processed"]) if unfinished else 0
    return Progress(int(epochs["processed"]), done, bool(batches["is_last_batch"]))


def seconds_trained(checkpoint: Mapping[str, Any]) -> float:
    """The time that a training with max_time has taken so far; 0 where it was not measured."""
    return float(checkpoint["callbacks"].get("Timer", {}).get("time_elapsed", {}).get("train", 0))


def loop_states(checkpoint: Mapping[str, Any], trainer: Trainer) -> tuple[Any, Any]:
    """The state of the training loop in a checkpoint, and that of a fresh trainer."""
    saved = {"fit_loop": checkpoint["loops"]["fit_loop"]}
    return saved, {"fit_loop": trainer.fit_loop.state_dict()}


def batch_index(trainer: Trainer) -> int:
    """The number of the present training batch in its epoch, from 0; also during a validation."""
    return trainer.fit_loop.batch_idx


def validates_next(trainer: Trainer) -> bool:
    """True if a validation follows the present training batch."""
    loop = trainer.fit_loop
    fetcher = loop._data_fetcher
    return fetcher is not None and loop.epoch_loop._should_check_val_fx(fetcher)


def training_ends(trainer: Trainer) -> bool:
    """True if Lightning leaves the training after this batch, or this epoch at its end."""
    loop: Any = trainer.fit_loop
    epochs = loop.epoch_progress.current.processed  # also the present one, at its end
    limits = [(trainer.max_steps, trainer.global_step), (trainer.max_epochs, epochs)]
    if any(most not in (None, -1) and most <= count for most, count in limits):
        return True
    return bool(trainer.should_stop and loop._can_stop_early)


def metrics_to_be_logged(trainer: Trainer) -> dict[str, float]:
    """Metrics that Lightning logs once the callbacks of the present batch or epoch have ended."""
    connector = trainer._logger_connector
    within_epoch = connector._first_loop_iter is not None
    if not trainer.training or (
        within_epoch and (trainer.fit_loop._should_accumulate() or not connector.should_update_logs)
    ):
        return {}
    found = {name: float(value) for name, value in connector.metrics["log"].items()}
    return {"epoch": float(trainer.current_epoch), **found} if found else {}


def begin_with_the_next_epoch(trainer: Trainer) -> None:
    """Makes a resumed training begin with the next epoch where its checkpoint ends one.

    With max_steps, Lightning 2.6 would enter the finished epoch once more.
    """
    trainer.fit_loop._iteration_based_training = lambda: False  # type: ignore[method-assign]


def is_launched_outside(trainer: Trainer) -> bool:
    """True if the processes of a training are started from outside: by torchrun, srun, or hand."""
    environment = getattr(trainer.strategy, "cluster_environment", None)
    return environment is not None and bool(environment.creates_processes_externally)


def wait_for_exchange(trainer: Trainer, seconds: int) -> None:
    """Sets the time that a process waits for the others in an exchange; torch's is 30 minutes."""
    if isinstance(trainer.strategy, DDPStrategy):
        trainer.strategy._timeout = datetime.timedelta(seconds=seconds)


def when_children_start(
    trainer: Trainer, started: Callable[[Sequence[subprocess.Popen[bytes]]], None]
) -> None:
    """Calls `started` with the processes that a training has started, before it meets them.

    Lightning then watches none of them. Its own thread would kill the main process (SIGKILL) up to
    five seconds after another one failed, while it still writes its record.
    """
    launcher = trainer.strategy.launcher
    if not isinstance(launcher, _SubprocessScriptLauncher):
        return
    start = launcher._call_children_scripts

    def start_them() -> None:
        start()
        children, launcher.procs = launcher.procs, []
        started(children)

    launcher._call_children_scripts = start_them  # type: ignore[method-assign]
