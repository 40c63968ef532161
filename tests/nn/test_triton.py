"""The Triton loops against the step loop, on a GPU.

`test_triton_without_gpu.py` runs the same tests in Triton's interpreter, on tensors of the CPU.
"""

import os
from functools import partial

import pytest
import torch
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from seqpipe.errors import ConfigError
from seqpipe.nn.cells import GRU, LSTM, PeepholeLSTM, SimplifiedGRU
from seqpipe.nn.kernels.step_loop import StepLoop
from seqpipe.nn.kernels.triton_loop import TritonLoop
from seqpipe.nn.recurrent import RecurrentLayer

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = torch.device("cpu" if INTERPRETED else "cuda")
pytestmark = [] if INTERPRETED else [pytest.mark.gpu]

CELLS = {
    "gru simplified": SimplifiedGRU,
    "gru": GRU,
    "lstm": LSTM,
    "lstm without tanh": partial(LSTM, output_tanh=False),
    "peephole previous": PeepholeLSTM,
    "peephole current": partial(PeepholeLSTM, output_peephole="current"),
    "peephole without tanh": partial(PeepholeLSTM, output_tanh=False),
}
D, H, B, T = 3, 5, 3, 3
LENGTHS = torch.tensor([3, 1, 2])
PADDING = torch.arange(T) >= LENGTHS.unsqueeze(1)
exactly = {"rtol": 0, "atol": 1e-12}


@pytest.fixture(autouse=True)
def _nothing_unwritten_is_read():
    """Memory that nobody has written holds NaN. (A GPU's products want a setting for it.)"""
    torch.use_deterministic_algorithms(INTERPRETED)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(params=CELLS)
def make_cell(request):
    return CELLS[request.param]


def triton_layer(cell, **options):
    """A layer on the device whose cell runs in its Triton loop."""
    layer = RecurrentLayer(cell, **options).to(DEVICE)
    (layer.kernel,) = [k for k in cell.kernels()["fast"].kernels if isinstance(k, TritonLoop)]
    return layer


def random(*shape, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype).to(DEVICE).requires_grad_()


def results(layer, x, lengths=None, state=None, inputs=()):
    """Outputs, final state, and gradients of a fixed random mixture of them."""
    lengths = None if lengths is None else lengths.to(DEVICE)
    outputs, final = layer.kernel(
        layer.cell, x, lengths, state or layer.initial_state(len(x)), reverse=layer.reverse
    )
    generator, total = torch.Generator().manual_seed(1), 0.0
    for value in (outputs, *final):
        weight = torch.randn(value.shape, generator=generator, dtype=torch.float64).to(DEVICE)
        total = total + (value * weight).sum()
    return [outputs, *final, *torch.autograd.grad(total, [*inputs, *layer.parameters()])]


def looped(layer, *args, **options):
    """The same of the step loop."""
    layer.kernel, kernel = StepLoop(), layer.kernel
    found = results(layer, *args, **options)
    layer.kernel = kernel
    return found


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("lengths", [LENGTHS, None], ids=["ragged", "full"])
def test_it_equals_the_step_loop_in_values_and_gradients(make_cell, randomise, lengths, reverse):
    layer = triton_layer(randomise(make_cell(D, H)), reverse=reverse)
    x, state = random(B, T, D), tuple(random(B, H) for _ in layer.cell.state_names)
    given = {"lengths": lengths, "state": state, "inputs": [x, *state]}
    assert_close(results(layer, x, **given), looped(layer, x, **given), **exactly)


SIZES = {  # B, T, D, H
    "one sequence": (1, 5, 3, 4),
    "one step": (3, 1, 3, 4),
    "one of each": (1, 1, 1, 1),
    "several blocks": (3, 2, 7, 131),
    "a power of 2": (2, 3, 16, 64),
}


@pytest.mark.parametrize("size", SIZES)
def test_it_has_the_same_answer_at_any_size_and_layout_in_float32(make_cell, size):
    B, T, D, H = SIZES[size]
    layer = triton_layer(make_cell(D, H).float(), reverse=True)
    whole = random(T, B, 2 * D, dtype=torch.float32)
    x = whole.transpose(0, 1)[:, :, ::2]
    state = tuple(random(1, H, dtype=torch.float32).expand(B, H) for _ in layer.cell.state_names)
    lengths = torch.randint(1, T + 1, (B,))
    given = {"lengths": lengths, "state": state, "inputs": [whole]}
    close = {"rtol": 1e-4, "atol": 3e-5}
    assert_close(results(layer, x, **given), looped(layer, x, **given), **close)


@pytest.mark.parametrize("name", ["gru simplified", "gru", "lstm", "peephole current"])
def test_it_passes_gradcheck(name, randomise):
    layer = triton_layer(randomise(CELLS[name](2, 2)), reverse=True)
    names = [name for name, _ in layer.cell.named_parameters()]
    lengths = torch.tensor([2, 1]).to(DEVICE)

    def run(x, *tensors):
        parameters = dict(zip(names, tensors[: len(names)], strict=True))
        with torch.nn.utils.stateless._reparametrize_module(layer.cell, parameters):
            outputs, final = layer.kernel(
                layer.cell, x, lengths, tensors[len(names) :], reverse=True
            )
        return outputs, *final

    weights = [part.detach().clone().requires_grad_() for part in layer.cell.parameters()]
    state = [random(2, 2) for _ in layer.cell.state_names]
    assert torch.autograd.gradcheck(run, (random(2, 2, 2), *weights, *state), fast_mode=True)


def test_padding_of_nan_changes_no_answer_and_gets_no_gradient(make_cell, randomise):
    layer = triton_layer(randomise(make_cell(D, H)))
    clean, padding = random(B, T, D), PADDING.to(DEVICE).unsqueeze(-1)
    padded = clean.detach().masked_fill(padding, torch.nan).requires_grad_()
    found = results(layer, padded, LENGTHS, inputs=[padded])
    assert_close(found, results(layer, clean, LENGTHS, inputs=[clean]), rtol=0, atol=0)
    outputs, by_x = found[0], found[1 + len(layer.cell.state_names)]
    assert outputs[PADDING.to(DEVICE)].eq(0).all()
    assert by_x[PADDING.to(DEVICE)].eq(0).all()


def test_a_gradient_of_nan_at_padding_reaches_no_weight(make_cell, randomise):
    layer, x = triton_layer(randomise(make_cell(D, H))), random(B, T, D)
    outputs, _ = layer.kernel(layer.cell, x, LENGTHS.to(DEVICE), layer.initial_state(B))
    gradient = torch.ones_like(outputs).masked_fill(PADDING.to(DEVICE).unsqueeze(-1), torch.nan)
    assert all(g.isfinite().all() for g in torch.autograd.grad(outputs, [x], gradient))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_autocast_it_is_as_near_to_float32_as_the_step_loop(make_cell, dtype):
    layer = triton_layer(make_cell(D, 40).float())
    x = random(B, T, D, dtype=torch.float32)

    def distance(given, wanted):
        pairs = zip(given, wanted, strict=True)
        return sum(((a.double() - b).norm() / b.norm()).item() for a, b in pairs)

    exact = looped(layer, x, LENGTHS, inputs=[x])
    with torch.autocast(DEVICE.type, dtype=dtype):
        near = distance(results(layer, x, LENGTHS, inputs=[x]), exact)
        step_loop = distance(looped(layer, x, LENGTHS, inputs=[x]), exact)
        outputs, final = layer.kernel(layer.cell, x, None, layer.initial_state(B))
    assert 1e-5 < near < 1.5 * step_loop
    assert {part.dtype for part in (outputs, *final)} == {torch.float32}


def test_large_numbers_do_not_overflow(make_cell, randomise):
    layer = triton_layer(randomise(make_cell(D, H))).float()
    x = (1e4 * torch.randn(B, T, D, dtype=torch.float32)).to(DEVICE).requires_grad_()
    found = results(layer, x, LENGTHS, inputs=[x])
    assert all(value.isfinite().all() for value in found)
    assert_close(found[0], looped(layer, x, LENGTHS, inputs=[x])[0], rtol=1e-4, atol=1e-4)


def test_a_batch_of_no_sequences_has_no_outputs(make_cell):
    layer = triton_layer(make_cell(D, H), reverse=True)
    for lengths in (LENGTHS[:0], None):
        outputs, *final = results(layer, random(0, T, D), lengths)[: -len([*layer.parameters()])]
        assert outputs.shape == (0, T, H)
        assert all(part.shape == (0, H) for part in final)


def test_a_gradient_is_the_same_when_asked_twice_and_outputs_may_be_changed(make_cell, randomise):
    layer, x = triton_layer(randomise(make_cell(D, H))), random(B, 1, D)
    outputs, _ = layer.kernel(layer.cell, x, None, layer.initial_state(B))
    total = outputs.mul_(3.0).sum()
    weights = [*layer.parameters()]
    twice = [torch.autograd.grad(total, weights, retain_graph=True) for _ in range(2)]
    assert_close(*twice, rtol=0, atol=0)


def test_a_second_derivative_is_refused_with_what_has_one(make_cell):
    layer, x = triton_layer(make_cell(D, H)), random(B, T, D)
    outputs, _ = layer.kernel(layer.cell, x, None, layer.initial_state(B))
    with pytest.raises(ConfigError, match=r"no second derivative, .*; allowed: cell.kernel=loop"):
        torch.autograd.grad(outputs.sum(), layer.cell.weight_hidden, create_graph=True)


class Waits(TorchDispatchMode):
    """Counts operations for which a GPU must hand a number to the program."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        aten = torch.ops.aten
        numbers = aten._local_scalar_dense, aten.nonzero, aten.masked_select, aten.is_nonzero
        by_mask = function.overloadpacket in (aten.index, aten.index_put, aten.index_put_) and any(
            index is not None and index.dtype is torch.bool for index in args[1]
        )
        if function.overloadpacket in numbers or by_mask:
            self.found.append(str(function))
        return function(*args, **(kwargs or {}))


def test_it_waits_for_no_number_of_the_gpu(make_cell):
    layer, x = triton_layer(make_cell(D, H)), random(B, T, D)
    lengths, gradient = LENGTHS.to(DEVICE), torch.ones(B, T, H).to(DEVICE)
    state = layer.initial_state(B)

    def update():
        outputs, _ = layer.kernel(layer.cell, x, lengths, state, reverse=True)
        outputs.backward(gradient)

    update()  # compiles
    with Waits() as waits:
        update()
    assert waits.found == []
    if not INTERPRETED:
        torch.cuda.set_sync_debug_mode("error")
        try:
            update()
        finally:
            torch.cuda.set_sync_debug_mode("default")


def test_the_trial_of_triton_is_passed():
    from seqpipe.nn.kernels.triton_elementwise import works_on

    assert works_on(DEVICE)


@pytest.mark.skipif(INTERPRETED, reason="the choice of a GPU")
def test_a_gpu_chooses_it_where_cudnn_has_no_such_cell(make_cell):
    layer = RecurrentLayer(make_cell(D, H)).to(DEVICE)
    cudnn = make_cell is LSTM
    assert layer.kernel_name() == ("fused torch.lstm" if cudnn else "Triton loop")
    forced = RecurrentLayer(make_cell(D, H, kernel="fast")).to(DEVICE)
    assert forced.kernel_name() == "Triton loop"
    assert layer.half().kernel_name() == ("fused torch.lstm" if cudnn else "step loop")
    with pytest.raises(
        ConfigError, match=r"cell.kernel=fast: .* float16 on cuda .*; allowed: auto"
    ):
        forced.half()(random(B, T, D).half())


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_it_runs_on_a_gpu_that_is_not_the_current_one(make_cell, randomise):
    layer = triton_layer(randomise(make_cell(D, H)))
    x = random(B, T, D)
    wanted = results(layer, x, LENGTHS, inputs=[x])
    other = layer.to("cuda:1")
    outputs, _ = other.kernel(
        other.cell, x.to("cuda:1"), LENGTHS.to("cuda:1"), other.initial_state(B)
    )
    assert_close(outputs.to(DEVICE), wanted[0], **exactly)
