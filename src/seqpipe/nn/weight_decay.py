"""The parameters that weight decay shrinks: weights that a layer multiplies its input by."""

from typing import Any

from torch import nn

LOOKED_UP = (nn.Embedding, nn.EmbeddingBag)
NORMS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.modules.batchnorm._NormBase)


def decayed(model: nn.Module) -> dict[str, bool]:
    """True for each parameter that weight decay shrinks, by name.

    It shrinks weights of two and more dimensions. Not biases, gains of norms, embeddings and other
    vectors; nor what a module names in its attribute `undecayed`, a tuple of names of parameters or
    parts: initial states, transitions of a CRF, the diagonals of peepholes. A parameter of several
    modules decays if it does in each of them.

    Source: Goodfellow et al. (2016), section 7.1, which leaves biases out: they need little data,
    and without them a model underfits.
    """
    kept = {id(parameter) for module in model.modules() for parameter in _undecayed(module)}
    return {name: id(p) not in kept for name, p in model.named_parameters()}


def decay_groups(model: nn.Module) -> list[dict[str, Any]]:
    """Groups of trained parameters for an optimizer: those that it decays, and the others."""
    groups: list[dict[str, Any]] = [{"params": []}, {"params": [], "weight_decay": 0.0}]
    decays = decayed(model)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups[0 if decays[name] else 1]["params"].append(parameter)
    return [group for group in groups if group["params"]]


def _undecayed(module: nn.Module) -> list[nn.Parameter]:
    """Those parameters of a module that it keeps from decay, of its parts only named ones."""
    found = []
    for own, parameter in module.named_parameters(recurse=False):
        is_bias = own.startswith("bias")  # of several dimensions in nn.MultiheadAttention
        if parameter.ndim < 2 or is_bias or isinstance(module, (*LOOKED_UP, *NORMS)):
            found.append(parameter)
    for part in getattr(module, "undecayed", ()):
        held = getattr(module, part)
        found += held.parameters() if isinstance(held, nn.Module) else [held]
    return found
