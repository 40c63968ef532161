"""Checks of a checkpoint to resume from: one of seqpipe's, of the same model and data."""

import contextlib
import inspect
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, read_write
from torch import Tensor

from seqpipe.bounds import AUTO, THREADS
from seqpipe.config.adjustments import settle_monitor
from seqpipe.config.config_view import is_kernel, leaves
from seqpipe.config.schema import ADDED
from seqpipe.config.signatures import found_target
from seqpipe.errors import ConfigError, first_line, resource_message
from seqpipe.rules import refusal, shown
from seqpipe.training.archives import UNREADABLE, read_archive
from seqpipe.training.checkpoints import BestAndLast
from seqpipe.training.history import History, Validation
from seqpipe.training.lightning_internals import progress_of, seconds_trained

log = logging.getLogger(__name__)

MUST_AGREE = (
    *("architecture", "cell", "data", "task", "optim", "scheduler"),
    *("averaging", "weight_noise", "init_range", "match_parameters"),
    *("match_parameters_count", "seed"),
)

ALLOWED = "outputs/runs/.../checkpoints/last.ckpt"
_REASON = 160  # characters of a message of Lightning or torch
# What files hold is compared.
MAY_DIFFER = ("data.num_workers", "data.path", "data.source.default_folder", "data.cache")


@dataclass(frozen=True)
class Resumed:
    """The checkpoint that a run continues from.

    Args:
        path: the file.
        saved: all of it, until `resume_states.check_states` has compared it.
        digests: sha256 of the records of each split it was trained on; empty in older ones.
        batches: of the unfinished epoch that are done; 0 where an epoch ended. Lightning would
            restore the loader's position too late: a schedule that asks for the number of steps
            makes it set up the loader before it reads the checkpoint.
        threads: of each process that wrote it; empty in older ones.
    """

    path: Path
    saved: dict[str, Any]
    digests: Mapping[str, str]
    batches: int
    threads: tuple[int, ...] = ()


def check(cfg: DictConfig) -> Resumed | None:
    """Refuses a checkpoint that this configuration cannot continue.

    Returns:
        the checkpoint; None where none is resumed from.

    Raises:
        ConfigError: no checkpoint of seqpipe, another model, other data, or nothing left to do.
    """
    if cfg.resume is None:
        return None
    path = Path(cfg.resume)
    saved = _read(path)
    try:
        return _compare(cfg, saved, path)
    except (TypeError, LookupError, AttributeError, ValueError) as error:
        text = f"not a checkpoint of seqpipe ({type(error).__name__}: {error})"
        raise ConfigError(f"resume={path}: {text}; allowed: {ALLOWED}") from None


def _compare(cfg: DictConfig, saved: dict[str, Any], path: Path) -> Resumed:
    _check_states(saved)
    adopt_choices(cfg, saved["seqpipe"]["config"])
    written: Any = OmegaConf.to_container(cfg, resolve=True)
    before, now = dict(leaves(ADDED | saved["seqpipe"]["config"])), dict(leaves(written))
    _align_decay(before, now)
    add_new_options(before, now)
    problems = [
        refusal(
            key,
            now.get(key),
            f"{path} was trained with another value",
            f"{key}={shown(before.get(key))}",
        )
        for key in sorted({*before, *now})
        if key.split(".")[0] in MUST_AGREE
        and key not in MAY_DIFFER
        and not is_kernel(key)
        and before.get(key) != now.get(key)
    ]
    problems += [*_nothing_left(cfg, saved, path), *_between_updates(cfg, saved, path)]
    if problems:
        raise ConfigError(problems)
    _warn_about_new_cosine(now, before)
    digests, batches = dict(saved["seqpipe"].get("digests", {})), progress_of(saved).batches
    return Resumed(path, saved, digests, batches, _threads(saved["seqpipe"]["processes"]))


def adopt_choices(cfg: DictConfig, recorded: Mapping[str, Any]) -> None:
    """Set what a recorded run chose from its data, before it is compared.

    That is the width of `match_parameters`, and the metric of `task.monitor=auto`.

    Args:
        cfg: composed; changed in place.
        recorded: the configuration of the run.
    """
    if cfg.task.get("monitor") == AUTO:
        settle_monitor(cfg, str(recorded["task"]["monitor"]))
    if cfg.match_parameters is not None and isinstance(recorded.get("hidden_size"), int):
        with read_write(cfg):
            cfg.hidden_size = recorded["hidden_size"]


def _threads(processes: list[dict[str, Any]]) -> tuple[int, ...]:
    counts = tuple(process["threads"] for process in processes if "threads" in process)
    for count in counts:
        if fault := THREADS.fault(count):
            raise ValueError(f"threads={count}: {fault}")
    return counts


def _check_states(saved: dict[str, Any]) -> None:
    """Raises at malformed states; Lightning would, but only after the run has its folder."""
    version = saved["pytorch-lightning_version"]
    if not re.fullmatch(r"\d+(\.\w+)*([+.-]\w+)*", version):
        raise ValueError(f"no version of Lightning, {version[:_REASON]!r}")
    for kind in ("optimizer_states", "lr_schedulers"):
        if not isinstance(saved[kind], list) or not all(isinstance(s, dict) for s in saved[kind]):
            raise TypeError(f"{kind} holds no states")
    for name, state in saved["callbacks"].items():
        if not isinstance(state, dict):
            raise TypeError(f"callbacks: {name} holds no state")
    if not all(isinstance(value, Tensor) for value in saved["state_dict"].values()):
        raise TypeError("state_dict holds no weights")
    history = saved["callbacks"].get(History.__qualname__)
    if history is not None:
        History().load_state_dict(history)
    best = saved["callbacks"].get(BestAndLast.__qualname__, {}).get("best")
    if best is not None:
        Validation(**best).metrics.items()


@contextlib.contextmanager
def restoring(resume: str | None, started: Callable[[], bool]) -> Iterator[None]:
    """Turns the errors of loading a damaged checkpoint into a message.

    Lightning and torch load most of it themselves: optimizers, schedules, callbacks, loops. Each
    raises errors of its own for a state that it did not write.

    Args:
        resume: the checkpoint; None: every error passes unchanged.
        started: returns True once the training began: later errors are no fault of the file.

    Raises:
        ConfigError: the file cannot be loaded.
    """
    try:
        yield
    except (TypeError, LookupError, AttributeError, ValueError, RuntimeError) as error:
        if resume is None or started() or resource_message(error) is not None:
            raise
        reason = " ".join(str(error).split()) or "no reason given"
        reason = reason if len(reason) <= _REASON else f"{reason[:_REASON]}..."
        text = f"cannot be loaded ({type(error).__name__}: {reason})"
        raise ConfigError(f"resume={resume}: {text}; allowed: {ALLOWED}, unchanged") from error


def _align_decay(before: dict[str, Any], now: dict[str, Any]) -> None:
    """Adds a key that older versions lack: there, weight decay applied to all parameters."""
    key = "optim.weight_decay_on"
    before.setdefault(key, "all")
    now.setdefault(key, "matrices")
    if before.get("optim.weight_decay") == now.get("optim.weight_decay") == 0:
        before[key] = now[key]


def add_new_options(before: dict[str, Any], now: Mapping[str, Any]) -> None:
    """Adds arguments that an older version lacked, with the defaults of their classes.

    Args:
        before: the recorded configuration, key by key; changed in place.
        now: the same of this version.
    """
    for key in now.keys() - before.keys():
        parent, _, name = key.rpartition(".")
        target = now.get(f"{parent}._target_")
        if (
            key.split(".")[0] in MUST_AGREE
            and target
            and target == before.get(f"{parent}._target_")
        ):
            argument = inspect.signature(found_target(target)).parameters.get(name)
            if argument is not None and argument.default is not argument.empty:
                before[key] = argument.default


def check_data(cfg: DictConfig, resumed: Resumed | None, digests: Mapping[str, str]) -> None:
    """Refuses to continue with other records, whatever their files are called.

    Args:
        cfg: the whole configuration.
        resumed: the checkpoint, if any.
        digests: sha256 of the records of each split.

    Raises:
        ConfigError: the checkpoint was trained on other records.
    """
    before = {} if resumed is None else resumed.digests
    changed = [split for split in before if before[split] != digests[split]]
    if changed:
        text = f"was trained on other data, {', '.join(changed)} changed"
        raise ConfigError(f"resume={cfg.resume}: {text}; allowed: the same records")


def _warn_about_new_cosine(now: dict[str, Any], before: dict[str, Any]) -> None:
    """A cosine over another number of updates has another learning rate at this point."""
    if str(now["scheduler._target_"]).rpartition(".")[2] not in ("cosine", "warmup_cosine"):
        return
    for key in ("trainer.max_epochs", "trainer.max_steps"):
        if now.get(key) != before.get(key):
            text = "%s=%s, was %s: the cosine of the learning rate now ends at the new value"
            log.warning(text, key, now.get(key), before.get(key))


def _nothing_left(cfg: DictConfig, saved: dict[str, Any], path: Path) -> Iterator[str]:
    epochs = progress_of(saved).epochs
    done = {"max_epochs": (epochs, "epochs"), "max_steps": (saved["global_step"], "updates")}
    for key, (count, what) in done.items():
        wanted = cfg.trainer[key]
        if wanted is not None and 0 <= wanted <= count:
            text = f"{path} has {count} {what} already; allowed: more than {count}"
            yield f"trainer.{key}={wanted}: {text}"
    spent = seconds_trained(saved)
    given = cfg.trainer.max_time
    if given is not None and seconds_of(given) <= spent:
        text = f"{path} was trained for {spent:.0f} s; allowed: a longer time, which counts those"
        yield f"trainer.max_time={given}: {text}"


def seconds_of(time: str) -> int:
    """The seconds of a time DD:HH:MM:SS."""
    days, hours, minutes, seconds = map(int, time.split(":"))
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def _between_updates(cfg: DictConfig, saved: dict[str, Any], path: Path) -> Iterator[str]:
    """A checkpoint holds neither an accumulated gradient nor the rest of a closed epoch."""
    progress, every = progress_of(saved), cfg.trainer.accumulate_grad_batches
    if progress.batches == 0 and not progress.is_last_batch:
        text = "was written by a training that ended within an epoch, and cannot continue it"
        yield f"resume={path}: {text}; allowed: last.ckpt, from callbacks.checkpoint.save_last=true"
    if progress.batches % every:
        text = f"was written after {progress.batches % every} of the {every} batches of an update"
        allowed = "its last.ckpt, or trainer.accumulate_grad_batches=1"
        yield f"resume={path}: {text}; allowed: {allowed}"


def _read(path: Path) -> dict[str, Any]:
    """Reads only plain values and tensors: a checkpoint cannot run code."""
    try:
        saved: dict[str, Any] = read_archive(path)
    except UNREADABLE as error:
        reason = first_line(error).partition(". ")[0]
        reason = reason if any(map(str.isalpha, reason)) else "not written by torch, or damaged"
        text = f"no checkpoint that can be read ({reason}); allowed: {ALLOWED}"
        raise ConfigError(f"resume={path}: {text}") from None
    try:
        saved["seqpipe"]["config"], saved["seqpipe"]["processes"], saved["callbacks"]
        saved["loops"], saved["state_dict"], saved["global_step"]
    except (TypeError, KeyError, IndexError):
        raise ConfigError(
            f"resume={path}: not a checkpoint of seqpipe; allowed: {ALLOWED}"
        ) from None
    return saved
