"""Every test here runs in float64 with a fixed seed, unless it says otherwise."""

from collections.abc import Callable, Iterator
from functools import partial

import jaxtyping
import pytest
import torch
from torch import Tensor, nn

from seqpipe.nn.cells import GRU, LSTM, RNN, Cell, PeepholeLSTM, SimplifiedGRU

CELLS = {
    "rnn tanh": RNN,
    "rnn relu": partial(RNN, nonlinearity="relu"),
    "gru simplified": SimplifiedGRU,
    "gru": GRU,
    "gru reset after": partial(GRU, reset_after=True),
    "lstm": LSTM,
    "lstm without tanh": partial(LSTM, output_tanh=False),
    "peephole previous": PeepholeLSTM,
    "peephole current": partial(PeepholeLSTM, output_peephole="current"),
    "peephole without tanh": partial(PeepholeLSTM, output_tanh=False),
}


@pytest.fixture(autouse=True)
def _double_precision_and_seed() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(before)


@pytest.fixture(params=CELLS)
def make_cell(request: pytest.FixtureRequest) -> Callable[..., Cell]:
    """Each kind of cell in turn, with each of its options."""
    return CELLS[request.param]


@pytest.fixture
def randomise() -> Callable[[nn.Module], nn.Module]:
    """Random numbers in all parameters: with zeros or constants a swap cannot be seen."""

    def fill(module: nn.Module) -> nn.Module:
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.uniform_(-0.7, 0.7)
        return module

    return fill


@pytest.fixture
def gradients() -> Callable[..., list[Tensor]]:
    """The gradients of a fixed random mixture of all outputs, for each of the inputs."""

    def of(outputs: list[Tensor], inputs: list[Tensor]) -> list[Tensor]:
        generator = torch.Generator().manual_seed(1)
        total = sum(
            (output * torch.randn(output.shape, generator=generator)).sum() for output in outputs
        )
        return list(torch.autograd.grad(total, inputs))

    return of


@pytest.fixture
def without_shape_checks() -> Iterator[None]:
    """As users run it: the annotations do not raise, so our own messages must."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
