"""The width of a model that has a given number of parameters (`match_parameters`)."""

import copy
import functools
from collections.abc import Callable

import torch
from omegaconf import DictConfig, OmegaConf, read_write
from torch import nn

from seqpipe.build import build_model
from seqpipe.data.base import SequenceSpec
from seqpipe.errors import ConfigError
from seqpipe.nn.recurrent import recurrent_layers
from seqpipe.targets import foreign_in


def settle_hidden_size(cfg: DictConfig, spec: SequenceSpec, output_size: int | None = None) -> None:
    """Set `hidden_size` to the width at which the count is nearest to `match_parameters`.

    The rest of the run, its record and its checkpoints read it from there. Of two equally near
    widths the smaller one; nothing changes where `match_parameters` is null.

    Args:
        cfg: the whole configuration, changed in place.
        spec: of the data.
        output_size: K, width of one prediction.

    Raises:
        ConfigError: the smallest model has more parameters, `hidden_size` changes no count, or the
            model is possible with some widths only.
    """
    if cfg.match_parameters is None:
        return
    trial, counted = copy.deepcopy(cfg), cfg.match_parameters_count
    OmegaConf.set_readonly(trial, False)
    # A class of the user's may compute with its weights when it is made.
    device = "cpu" if foreign_in(cfg, "architecture", "cell") else "meta"

    @functools.cache
    def count(width: int) -> int:
        trial.hidden_size = width
        with torch.device(device):
            return parameter_count(build_model(trial, spec, output_size), counted)

    typed = f"match_parameters={cfg.match_parameters}"
    count(cfg.hidden_size)  # a fault that has nothing to do with the width keeps its message
    try:
        count(1), count(2)
    except ConfigError as error:
        text = f"not every hidden_size is possible: {str(error).partition('; allowed')[0]}"
        raise ConfigError(f"{typed}: {text}; allowed: match_parameters=null") from None
    if count(1) == count(2):
        text = f"hidden_size changes none of its parameters (match_parameters_count={counted})"
        raise ConfigError(f"{typed}: {text}; allowed: match_parameters_count=all, or null")
    if count(1) > cfg.match_parameters:
        text = f"the model has {count(1)} with hidden_size=1"
        raise ConfigError(f"{typed}: {text}; allowed: at least {count(1)}")
    with read_write(cfg):
        cfg.hidden_size = nearest_width(cfg.match_parameters, count)


def nearest_width(wanted: int, count: Callable[[int], int]) -> int:
    """Return the width whose count is nearest to a number.

    Args:
        wanted: the number, at least count(1).
        count: grows with the width.
    """
    low, high = 1, 2
    while count(high) < wanted:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) < wanted else (low, middle)
    return min(low, high, key=lambda width: (abs(count(width) - wanted), width))


def parameter_count(model: nn.Module, counted: str = "all") -> int:
    """Return the number of parameters of a model; a shared one counts once.

    Args:
        model: of a run.
        counted: `all`, or `recurrent` for those of the recurrent layers alone: neither embeddings
            nor attention nor the output layer.
    """
    layers = recurrent_layers(model).values() if counted == "recurrent" else (model,)
    unique = {id(part): part.numel() for layer in layers for part in layer.parameters()}
    return sum(unique.values())
