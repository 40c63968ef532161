"""From a configuration to its data, checked: what training, `describe` and `replay` begin with."""

import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass

from omegaconf import DictConfig, OmegaConf

from seqpipe.build import build_data
from seqpipe.checks import check_callbacks, check_trainer
from seqpipe.config.compose import Launch
from seqpipe.config.data_path import settle_path
from seqpipe.config.validate import check_values, validate
from seqpipe.data.dataset import SequenceData
from seqpipe.data.field_checks import item_role
from seqpipe.errors import ConfigError
from seqpipe.records import BadRecordError, check_plain
from seqpipe.runs import resume

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Loaded:
    """The data of a command.

    Args:
        data: read, split and fitted.
        resumed: the checkpoint to continue from; None without `resume=`.
        processes: how many the trainer will start.
    """

    data: SequenceData
    resumed: resume.Resumed | None
    processes: int


def load_data(
    cfg: DictConfig,
    launch: Launch,
    on_data: Callable[[SequenceData], None] = lambda data: None,
    *,
    resolved: bool = False,
) -> Loaded:
    """Checks the configuration and reads its data; makes the configuration read-only.

    Args:
        cfg: the whole configuration, see conf/config.yaml.
        launch: how the command was started.
        on_data: called with the data before it is compared with the checkpoint.
        resolved: cfg is a run's config.yaml, of which only the values are checked.

    Raises:
        ConfigError: the configuration cannot work.
        DataError: the data cannot be used.
    """
    settle_path(cfg)
    if resolved:
        check_values(cfg)
    else:
        validate(cfg, launch.choices)
    _refuse_unread(cfg, launch)
    _refuse_unrecordable(cfg)
    OmegaConf.set_readonly(cfg, True)
    quiet()
    processes = check_trainer(cfg)
    check_callbacks(cfg, launch.output_dir)
    resumed = resume.check(cfg)
    data = build_data(cfg)
    on_data(data)
    resume.check_data(cfg, resumed, data.digests)
    _warn_of_skipped(data)
    _warn_of_leaks(data)
    for note in data.notes:
        log.warning("%s", note)
    return Loaded(data, resumed, processes)


def quiet() -> None:
    """Silences what Lightning says at every start, which our own summary says better."""
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    # Batches come from memory in this process: workers would only add the cost of sending them.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    # Lightning 2.6 meets torch 2.8 or later; nothing that a user could mend.
    warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\).*")


def _refuse_unread(cfg: DictConfig, launch: Launch) -> None:
    """A batch size that was typed, and that nothing reads where batches go by their steps."""
    typed = [o for o in launch.overrides if o.lstrip("+").startswith("data.batch_size=")]
    if typed and cfg.data.batch_tokens is not None:
        text = "is not read where data.batch_tokens says how large a batch is; allowed: one of them"
        raise ConfigError(f"{typed[-1]}: {text}")


def _refuse_unrecordable(cfg: DictConfig) -> None:
    """Text with `${` left in it: the run's own record could not be read again."""
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
    """Given splits may share examples; a source that parts its own never does."""
    for split in ("valid", "test"):
        facts = data.facts[split]
        if facts.repeated > facts.records / 100:
            share = f"{facts.repeated:,} of {facts.records:,}"
            what = {"x": "an x", "y": "a y"}[item_role(data.x, data.y)]
            log.warning("%s examples of %s have %s that stands in train too", share, split, what)
