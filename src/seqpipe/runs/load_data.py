"""Configuration to checked data: the first step of training, `describe` and `replay`."""

import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass

from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Trainer

from seqpipe.bounds import AUTO
from seqpipe.build import build_data, unchecked_task
from seqpipe.checks import build_checked_trainer
from seqpipe.config.adjustments import settle, settle_monitor
from seqpipe.config.compose import Launch
from seqpipe.config.validate import check_values, validate
from seqpipe.console import PlainConsole
from seqpipe.data.dataset import SequenceData
from seqpipe.data.field_checks import item_role
from seqpipe.errors import ConfigError
from seqpipe.records import BadRecordError, check_plain
from seqpipe.runs import resume
from seqpipe.tracking.base import Tracker

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Loaded:
    """The checked inputs of every command of the panel.

    Args:
        data: read, split and fitted.
        trainer: Lightning's, for the folder `launch.output_dir`.
        tracker: for the same folder, not started.
        resumed: the checkpoint to continue from; None without `resume=`.
    """

    data: SequenceData
    trainer: Trainer
    tracker: Tracker
    resumed: resume.Resumed | None


def load_data(
    cfg: DictConfig,
    launch: Launch,
    *,
    resolved: bool = False,
    join: Callable[[Trainer, DictConfig], None] = lambda trainer, cfg: None,
) -> Loaded:
    """Checks the configuration and reads its data; makes the configuration read-only.

    Args:
        cfg: the whole configuration, see conf/config.yaml.
        launch: how the command was started.
        resolved: cfg is a run's config.yaml, of which only the values are checked.
        join: connects several processes, before they read data; called with the trainer and cfg.

    Raises:
        ConfigError: the configuration cannot work.
        DataError: the data cannot be used.
    """
    settle(cfg)
    if resolved:
        check_values(cfg)
    elif not launch.checked:
        validate(cfg, launch.choices)
    _refuse_unread(cfg, launch)
    _refuse_unrecordable(cfg)
    OmegaConf.set_readonly(cfg, True)
    quiet()
    trainer, tracker = build_checked_trainer(cfg, launch.root, launch.output_dir)
    join(trainer, cfg)
    automatic = cfg.task.get("monitor") == AUTO
    resumed = resume.check(cfg)
    data = build_data(cfg)
    resume.check_data(cfg, resumed, data.digests)
    if automatic:
        first = trainer.is_global_zero and not is_later_fold(launch, data)
        _choose_monitor(cfg, data, shown=launch.command == "train" and first)
        # Callbacks read the metric when they are made.
        trainer, tracker = build_checked_trainer(cfg, launch.root, launch.output_dir)
    _warn_of_skipped(data)
    _warn_of_leaks(data)
    for note in data.notes:
        log.warning("%s", note)
    return Loaded(data, trainer, tracker, resumed)


def is_later_fold(launch: Launch, data: SequenceData) -> bool:
    """True if a run of the same sweep has trained this model on other folds."""
    return launch.sweep is not None and bool(data.fold and data.fold.number)


def _choose_monitor(cfg: DictConfig, data: SequenceData, *, shown: bool) -> None:
    """Writes what `task.monitor=auto` means for this data, and prints it and why.

    Nothing if a checkpoint that is resumed from has said it.
    """
    if cfg.task.monitor != AUTO:
        return
    task = unchecked_task(cfg, data)
    settle_monitor(cfg, task.monitor)
    if shown and task.why_monitored:
        line = f"monitor: {task.monitor}, because {task.why_monitored}"
        PlainConsole(stderr=True).print(line)


def quiet() -> None:
    """Silences Lightning's messages at every start, which our own summary replaces."""
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    logging.getLogger("lightning_fabric.utilities.distributed").setLevel(logging.WARNING)
    # Where srun is installed: a job may train in one process, or start its own.
    warnings.filterwarnings("ignore", message=r"The `srun` command is available.*")
    # A line for each checkpoint: "`weights_only` was not set".
    connector = "pytorch_lightning.trainer.connectors.checkpoint_connector"
    logging.getLogger(connector).setLevel(logging.WARNING)
    # Batches come from memory in this process: workers would only add the cost of sending them.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    # Lightning 2.6 meets torch 2.8 or later; nothing that a user could mend.
    warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\).*")


def _refuse_unread(cfg: DictConfig, launch: Launch) -> None:
    """Refuses a typed batch size that nothing reads, since batches are counted in steps."""
    typed = [o for o in launch.overrides if o.lstrip("+").startswith("data.batch_size=")]
    if typed and cfg.data.batch_tokens is not None:
        text = "has no effect with data.batch_tokens, which sets the size of a batch"
        raise ConfigError(f"{typed[-1]}: {text}; allowed: one of them")


def _refuse_unrecordable(cfg: DictConfig) -> None:
    """Refuses text with `${` left in it: the run's own record could not be read again."""
    try:
        check_plain(OmegaConf.to_container(cfg, resolve=True))
    except BadRecordError as error:
        text = "which a record cannot hold; allowed: plain text, numbers, lists and mappings"
        raise ConfigError(f"{error}, {text}") from None


def _warn_of_skipped(data: SequenceData) -> None:
    for split, facts in data.facts.items():
        if facts.skipped:
            shown = "\n".join(f"  {problem}" for problem in facts.problems)
            counted = f"{facts.skipped} records of {split} could not be used and are left out"
            log.warning("data.on_error=skip: %s; the first:\n%s", counted, shown)


def _warn_of_leaks(data: SequenceData) -> None:
    """Given splits may share examples; a source that splits its own records never does."""
    for split in ("valid", "test"):
        facts = data.facts[split]
        if facts.repeated > facts.records / 100:
            share = f"{facts.repeated:,} of {facts.records:,}"
            items = {"x": "inputs", "y": "targets"}[item_role(data.x, data.y)]
            log.warning("%s %s %s also occur in train (data leak)", share, split, items)
