"""Optimizers: the parameters that each one decays, and its fastest kernel."""

import contextlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer

from seqpipe.nn.weight_decay import decay_groups

SPEED = ("fused", "foreach")
"""Options of torch's optimizers that change their speed and the last digits, nothing else."""


def make_for(
    module: nn.Module, make: Callable[..., Optimizer], *, decay_all: bool = False
) -> Optimizer:
    """Return an optimizer of a module; one that decays weights has two groups of parameters.

    It is `fused` where torch has that, unless `make` chooses: one pass over the weights, not five.
    Frozen parameters are none of its.

    Args:
        module: whose parameters it changes.
        make: called with the parameters, and with `fused`.
        decay_all: weight decay shrinks all parameters; False: those of `seqpipe.nn.weight_decay`.
    """
    known = inspect.signature(make).parameters
    decay = known.get("weight_decay")
    grouped = decay is not None and bool(decay.default) and not decay_all
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    made = _fused(make, known, decay_groups(module) if grouped else trained)
    # One that wraps another optimizer says only then whether it decays.
    if decay is None and made.defaults.get("weight_decay") and not decay_all:
        made = _fused(make, known, decay_groups(module))
    return made


def _fused(make: Callable[..., Optimizer], known: Mapping[str, Any], parameters: Any) -> Optimizer:
    chosen = [name for name in SPEED if name in known and known[name].default is not None]
    if "fused" in known and not chosen:
        with contextlib.suppress(RuntimeError):  # not on this device, or not with these options
            return make(parameters, fused=True)
    return make(parameters)


def unscale_fused(optimizer: Any, scaler: Any) -> None:
    """Unscale the gradient of a fused optimizer, which would do so within its step.

    The gradient that is measured and clipped before would be multiplied by the scale.

    Args:
        optimizer: of a training, perhaps in a wrapper of Lightning.
        scaler: of 16-mixed; None in other precisions.
    """
    plain = getattr(optimizer, "optimizer", optimizer)
    if scaler is not None and getattr(plain, "_step_supports_amp_scaling", False):
        scaler.unscale_(plain)


def keep_speed(saved: Mapping[str, Any], optimizer: Optimizer) -> None:
    """Set the options of speed of a saved optimizer to those of the one that will load it.

    With those of an older version a scaler of 16-mixed would find another optimizer than it was
    made for.
    """
    options = {name: optimizer.defaults[name] for name in SPEED if name in optimizer.defaults}
    for group in saved["param_groups"]:
        group.update(options)
