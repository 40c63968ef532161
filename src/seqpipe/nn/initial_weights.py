"""The values that weights start from."""

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn

from seqpipe.nn.weight_decay import NORMS

RecurrentInit = Literal["orthogonal", "identity", "uniform"]


def start_recurrent(gate: Tensor, way: RecurrentInit) -> None:
    """Fills the (H, H) weights of one gate on h_{t-1}, see `Cell`."""
    match way:
        case "orthogonal":
            nn.init.orthogonal_(gate)
        case "identity":
            nn.init.eye_(gate)
        case "uniform":
            nn.init.uniform_(gate, -(len(gate) ** -0.5), len(gate) ** -0.5)


@torch.no_grad()
def start_uniform(model: nn.Module, bound: float) -> None:
    """Draws all weights of a model from [-bound, bound]: recurrent, embeddings, output, biases.

    Left as they are: gains and biases of normalisations; frozen parameters; and what a module names
    in its attribute `keeps_start`, a tuple of names of parameters or parts: initial states, scores
    of a CRF, an embedding that starts from given vectors. A cell adds its constants afterwards, see
    `Cell.add_constants`: the forget gate's bias is drawn around `forget_bias`.

    Args:
        model: to draw. A parameter of several modules is drawn once.
        bound: of the absolute value.

    Source: Zaremba et al. (2014), section 4.1, with 0.1, 0.05 and 0.04.
    """
    kept = {id(parameter) for module in model.modules() for parameter in _kept(module)}
    for parameter in model.parameters():
        if id(parameter) not in kept and parameter.requires_grad:
            parameter.uniform_(-bound, bound)
    for module in model.modules():
        if add := getattr(module, "add_constants", None):
            add()


def _kept(module: nn.Module) -> Iterator[nn.Parameter]:
    """Those parameters of a module that it keeps as they start, of its parts only named ones."""
    if isinstance(module, NORMS):
        yield from module.parameters(recurse=False)
    for name in getattr(module, "keeps_start", ()):
        held = getattr(module, name)
        if isinstance(held, nn.Module):
            yield from held.parameters()
        elif held is not None:
            yield held
