"""Weights and states of a checkpoint, compared with those of a fresh training.

Lightning and torch load most of them unchecked: an optimizer's settings replace those of the
configuration, and a value of a wrong type shows only when a step needs it.
"""

import copy
import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from omegaconf import DictConfig
from pytorch_lightning import Callback, Trainer
from torch import Tensor

from seqpipe.checks import SOME_STEPS, step_of_zero
from seqpipe.config.signatures import packaged_keys
from seqpipe.errors import ConfigError
from seqpipe.runs.resume import ALLOWED, Resumed
from seqpipe.training.checkpoints import TRAINED
from seqpipe.training.history import History
from seqpipe.training.lightning_internals import loop_states
from seqpipe.training.module import SequenceModule
from seqpipe.training.optimizers import keep_speed

_MOVING = (  # of a schedule; all else is chosen in the configuration
    *("last_epoch", "_step_count", "_last_lr", "_get_lr_called_within_step", "_is_initial"),
    *("best", "num_bad_epochs", "cooldown_counter", "full"),
)
_SHOWN = 60  # characters of a value


def check_states(
    cfg: DictConfig, resumed: Resumed | None, module: SequenceModule, trainer: Trainer
) -> None:
    """Refuses weights of another model, and states that this training could not have written.

    Args:
        cfg: the whole configuration.
        resumed: the checkpoint, if any; its states are released afterwards.
        module: what is trained.
        trainer: with the callbacks of the run.

    Raises:
        ConfigError: names or shapes of weights differ; another type or shape than a fresh training
            has, a number that is not finite, or a setting that is not the configuration's.
    """
    if resumed is None:
        return
    then, now = (_shapes(state) for state in (resumed.saved["state_dict"], module.state_dict()))
    for name in sorted({*then, *now}):
        if then.get(name) != now.get(name):
            found = f"{name}: {then.get(name)}, here {now.get(name)}"
            text = f"its weights are not those of this model ({found}); allowed: {ALLOWED}"
            raise ConfigError(f"resume={cfg.resume}: {text}")
    try:
        faults = [*_faults(cfg, resumed.saved, module, trainer)]
    except (TypeError, LookupError, AttributeError, ValueError) as error:
        faults = [f"{type(error).__name__}: {error}"]
    resumed.saved.clear()  # Lightning reads the file itself
    if faults:
        text = f"holds what no training writes ({faults[0]}); allowed: {ALLOWED}, unchanged"
        raise ConfigError(f"resume={cfg.resume}: {text}")


def _shapes(weights: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {str(name): tuple(value.shape) for name, value in weights.items()}


def _faults(
    cfg: DictConfig, saved: dict[str, Any], module: SequenceModule, trainer: Trainer
) -> Iterator[str]:
    for name in ("state_dict", TRAINED):
        for key, value in saved.get(name, {}).items():
            yield from _differences(value, module.state_dict()[key], f"{name}.{key}")
    yield from _optimizer_faults(cfg, saved["optimizer_states"], copy.deepcopy(module))
    yield from _schedule_faults(cfg, saved["lr_schedulers"], copy.deepcopy(module))
    callbacks: list[Callback] = vars(trainer)["callbacks"]
    for callback in callbacks:
        state = saved["callbacks"].get(callback.state_key)
        if state is not None and not isinstance(callback, History):
            fresh = callback.state_dict()
            yield from _differences(state, fresh, f"callbacks.{callback.state_key}", finite=False)
    yield from _differences(*loop_states(saved, trainer), "loops")
    here = module.progress()
    for place, process in enumerate(saved["seqpipe"]["processes"]):
        known = {name: here[name] for name in ("cpu", "python", "numpy", "bad_steps")}
        fresh = {name: value for name, value in known.items() if name in process}
        yield from _differences(process, fresh, f"seqpipe.processes.{place}")


def _optimizer_faults(cfg: DictConfig, saved: list[Any], trial: SequenceModule) -> Iterator[str]:
    """Differences from the configured optimizer; a scheduled rate may be lower."""
    optimizer = trial.optimizer()
    initial = [group["lr"] for group in optimizer.param_groups]
    step_of_zero(trial)
    (state,), fresh = saved, optimizer.state_dict()
    if len(state["param_groups"]) != len(initial):
        yield f"{len(state['param_groups'])} groups of parameters, here {len(initial)}"
        return
    exact = _is_packaged(cfg, "optim")
    keep_speed(state, optimizer)
    parts = zip(state["param_groups"], fresh["param_groups"], initial, strict=True)
    for place, (group, wanted, lr) in enumerate(parts):
        where = f"optimizer.param_groups.{place}"
        yield from _differences(group, wanted, where)
        for name, value in wanted.items():
            moved = name == "lr" and 0 <= group[name] <= lr * (1 + 1e-9)
            if exact and not moved and not _equal(group.get(name), value):
                yield f"{where}.{name}={str(group.get(name))[:_SHOWN]}, here {value}"
    for number, held in state["state"].items():
        yield from _differences(held, fresh["state"][number], f"optimizer.state.{number}")


def _schedule_faults(cfg: DictConfig, saved: list[Any], trial: SequenceModule) -> Iterator[str]:
    """Differences from the configured schedule, apart from how far it has come."""
    made = trial.schedule(trial.optimizer(), SOME_STEPS)
    parts = [] if made is None else made if isinstance(made, list) else [made]
    if not _is_packaged(cfg):
        return
    if len(saved) != len(parts):
        yield f"{len(saved)} schedules, here {len(parts)}"
    for state, part in zip(saved, parts, strict=False):
        fresh = (part["scheduler"] if isinstance(part, Mapping) else part).state_dict()
        yield from _differences(state, fresh, "schedule", finite=False)
        yield from (f"schedule.{name}: unknown" for name in sorted(state.keys() - fresh.keys()))
        for name in fresh.keys() - set(_MOVING):
            if not _equal(state.get(name), fresh[name]):
                yield f"schedule.{name}={str(state.get(name))[:_SHOWN]}, here {fresh[name]}"


def _is_packaged(cfg: DictConfig, *groups: str) -> bool:
    """True if only packaged parts set the optimizer and the schedule.

    A callback may replace them: StochasticWeightAveraging installs its own schedule.
    """
    named = [(group, cfg[group]["_target_"]) for group in groups]
    named += [("callbacks", node["_target_"]) for node in cfg.callbacks.values()]
    return all(packaged_keys(group, target) for group, target in named)


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return torch.equal(one, other)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        same = len(one) == len(other)
        return same and all(_equal(a, b) for a, b in zip(one, other, strict=True))
    return bool(one == other)


def _differences(saved: Any, fresh: Any, where: str, *, finite: bool = True) -> Iterator[str]:
    """Values of another kind than in a fresh training, or not finite.

    Args:
        saved: the value.
        fresh: that of a fresh training; None may have become anything.
        where: its place in the checkpoint, for the message.
        finite: refuse numbers that are not finite.
    """
    if isinstance(saved, Tensor):
        if finite and not bool(saved.isfinite().all()):
            yield f"{where}: is not finite"
    elif finite and isinstance(saved, float) and not math.isfinite(saved):
        yield f"{where}={saved}: is not finite"
    if fresh is None or saved is None:
        return
    if _type_word(saved) != _type_word(fresh):
        yield f"{where}: a {_type_word(saved)}, here a {_type_word(fresh)}"
    elif isinstance(fresh, Tensor) and fresh.ndim and saved.shape != fresh.shape:
        yield f"{where}: of shape {tuple(saved.shape)}, here {tuple(fresh.shape)}"
    elif isinstance(fresh, Mapping):
        for name, value in fresh.items():
            if name not in saved:
                yield f"{where}.{name}: is missing"
            else:
                yield from _differences(saved[name], value, f"{where}.{name}", finite=finite)
    elif isinstance(fresh, (list, tuple)) and fresh:
        for place, value in enumerate(saved):
            like = fresh[min(place, len(fresh) - 1)]
            yield from _differences(value, like, f"{where}.{place}", finite=finite)


def _type_word(value: Any) -> str:
    """A word for the type of a value; interchangeable types share one."""
    if isinstance(value, Tensor):
        kinds = {torch.is_floating_point(value): "tensor", value.is_complex(): "complex tensor"}
        return kinds.get(True, "number" if value.ndim == 0 else f"tensor of {value.dtype}")
    if isinstance(value, bool):
        return "flag"
    if isinstance(value, (int, float)):
        return "number"
    names: dict[type, str] = {str: "text", list: "list", tuple: "list", dict: "mapping"}
    return next((n for kind, n in names.items() if isinstance(value, kind)), type(value).__name__)
