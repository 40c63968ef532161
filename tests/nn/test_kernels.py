"""Every kernel against the stepped cell, and what it does in padding."""

import copy
from functools import partial

import pytest
import torch
from torch.testing import assert_close

from seqpipe.errors import ConfigError
from seqpipe.nn.cells import GRU, LSTM, RNN, PeepholeLSTM, SimplifiedGRU
from seqpipe.nn.kernels import triton_loop
from seqpipe.nn.kernels.choice import kernel_on, select_kernel
from seqpipe.nn.kernels.step_loop import StepLoop
from seqpipe.nn.masks import reverse_within_length
from seqpipe.nn.recurrent import RecurrentLayer, RecurrentStack

D, H, B, T = 3, 4, 4, 6
LENGTHS = torch.tensor([6, 2, 1, 5])
exactly = {"rtol": 0, "atol": 1e-12}


def step_by_step(cell, x, lengths, state):
    """The definition: each sequence alone, one cell call a step, zeros after its end."""
    outputs, finals = [], []
    for b, length in enumerate(lengths.tolist()):
        current = tuple(part[b : b + 1] for part in state)
        steps = []
        for t in range(length):
            current = cell(x[b : b + 1, t], current)
            steps.append(current[0])
        steps += [torch.zeros(1, H)] * (T - length)
        outputs.append(torch.stack(steps, dim=1))
        finals.append(current)
    final = tuple(torch.cat(part) for part in zip(*finals, strict=True))
    return torch.cat(outputs), final


KERNELS = ("fused", "fast", "loop")


def kernels_of(cell):
    """Every kernel of a cell, by name."""
    return {**cell.kernels(), "loop": StepLoop()}


def use(layer, name):
    """Makes a layer run in one kernel; skips the test where its cell has no such kernel."""
    found = kernels_of(layer.cell)
    if name not in found:
        pytest.skip(f"{type(layer.cell).__name__} has no kernel {name}")
    layer.kernel = found[name]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("ragged", [True, False])
def test_a_kernel_equals_the_stepped_cell_in_values_and_gradients(
    make_cell, randomise, gradients, kernel, ragged, reverse
):
    layer = RecurrentLayer(randomise(make_cell(D, H)), reverse=reverse)
    use(layer, kernel)
    cell = layer.cell
    x = torch.randn(B, T, D, requires_grad=True)
    state = tuple(torch.randn(B, H, requires_grad=True) for _ in cell.state_names)
    outputs, final = layer(x, LENGTHS if ragged else None, state)
    lengths = LENGTHS if ragged else torch.full((B,), T)
    seen = reverse_within_length(x, lengths) if reverse else x
    wanted_outputs, wanted_final = step_by_step(cell, seen, lengths, state)
    if reverse:
        wanted_outputs = reverse_within_length(wanted_outputs, lengths)

    assert_close(outputs, wanted_outputs, **exactly)
    assert_close(final, wanted_final, **exactly)
    inputs = [x, *state, *cell.parameters()]
    assert_close(
        gradients([outputs, *final], inputs),
        gradients([wanted_outputs, *wanted_final], inputs),
        **exactly,
    )


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("lengths", [LENGTHS, None])
def test_a_final_state_that_nobody_reads_is_left_out_and_changes_nothing_else(
    make_cell, randomise, gradients, kernel, reverse, lengths
):
    layer = RecurrentLayer(randomise(make_cell(D, H)), reverse=reverse)
    use(layer, kernel)
    x = torch.randn(B, T, D)
    if lengths is not None:
        x[torch.arange(T) >= lengths.unsqueeze(1)] = torch.nan
    x.requires_grad_()
    inputs = [x, *layer.parameters()]
    outputs, final = layer(x, lengths, final=False)
    whole, _ = layer(x, lengths)
    assert final == ()
    assert_close(outputs, whole, **exactly)
    assert_close(gradients([outputs], inputs), gradients([whole], inputs), **exactly)


SIZES = {  # B, T, D, H
    "one sequence": (1, 5, 3, 4),
    "one step": (3, 1, 3, 4),
    "one of each": (1, 1, 1, 1),
    "odd sizes": (5, 7, 19, 17),
    "weights in oneDNN's layout": (6, 3, 5, 370),
    "many rows": (20, 15, 8, 9),
}


@pytest.mark.parametrize("kernel", ["fused", "fast"])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_a_kernel_equals_the_loop_in_float32_where_torch_takes_another_path(
    make_cell, randomise, gradients, kernel, reverse, size
):
    B, T, D, H = SIZES[size]
    layer = RecurrentLayer(make_cell(D, H), reverse=reverse).float()
    if H < 100:  # of larger ones the random numbers must stay small, and so does the first draw
        randomise(layer)
    use(layer, kernel)
    whole = torch.randn(T, B, 2 * D, dtype=torch.float32, requires_grad=True)
    x = whole.transpose(0, 1)[:, :, ::2]  # not contiguous
    lengths = torch.randint(1, T + 1, (B,))
    inputs = [whole, *layer.parameters()]
    outputs, final = layer(x, lengths)
    layer.kernel = StepLoop()
    looped, looped_final = layer(x, lengths)
    close = {"rtol": 1e-4, "atol": 3e-5}
    assert_close([outputs, *final], [looped, *looped_final], **close)
    slopes = gradients([outputs, *final], inputs)
    assert_close(slopes, gradients([looped, *looped_final], inputs), **close)


@pytest.mark.parametrize("ragged", [True, False])
@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.full)])
def test_the_fast_loop_passes_gradcheck(make_cell, randomise, ragged, whole):
    layer = RecurrentLayer(randomise(make_cell(D, H)), reverse=True)
    use(layer, "fast")
    names = [name for name, _ in layer.cell.named_parameters()]
    lengths = LENGTHS if ragged else None

    def run(x, *tensors):
        parameters = dict(zip(names, tensors[: len(names)], strict=True))
        state = tensors[len(names) :]
        with torch.nn.utils.stateless._reparametrize_module(layer.cell, parameters):
            outputs, final = layer(x, lengths, state)
        return outputs, *final

    weights = [part.detach().clone().requires_grad_() for part in layer.cell.parameters()]
    state = [torch.randn(B, H, requires_grad=True) for _ in layer.cell.state_names]
    x = torch.randn(B, T, D, requires_grad=True)
    # Every number of the Jacobian; or a random product of it, so exactly that one number shows.
    bounds = {} if whole else {"fast_mode": True, "rtol": 1e-6, "atol": 1e-8}
    assert torch.autograd.gradcheck(run, (x, *weights, *state), **bounds)


@pytest.mark.parametrize("lengths", [LENGTHS, None])
def test_the_fast_loop_under_bf16_autocast_is_as_near_to_float32_as_the_step_loop(
    make_cell, gradients, lengths
):
    layer = RecurrentLayer(make_cell(D, 40)).float()
    use(layer, "fast")
    x = torch.randn(B, T, D, dtype=torch.float32, requires_grad=True)
    inputs = [x, *layer.parameters()]

    def run(kernel, half):
        layer.kernel = kernel
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            outputs, final = layer(x, lengths)
        values = [outputs.float(), *final]
        return [*values, *gradients(values, inputs)]

    def distance(given, wanted):
        pairs = zip(given, wanted, strict=True)
        return sum(((a - b).norm() / b.norm()).item() for a, b in pairs)

    fast, exact = layer.kernel, run(StepLoop(), half=False)
    near, looped = (distance(run(kernel, half=True), exact) for kernel in (fast, StepLoop()))
    assert 1e-5 < near < 1.5 * looped


def test_padding_of_nan_changes_no_answer_of_a_kernel_and_gets_no_gradient(make_cell, randomise):
    layer = randomise(RecurrentLayer(make_cell(D, H)))
    x = torch.randn(B, T, D)
    for kernel in kernels_of(layer.cell).values():
        layer.kernel = kernel
        padded = x.clone()
        padded[torch.arange(T) >= LENGTHS.unsqueeze(1)] = float("nan")
        padded.requires_grad_()
        outputs, final = layer(padded, LENGTHS)
        clean, clean_final = layer(x, LENGTHS)
        assert_close([outputs, *final], [clean, *clean_final], rtol=0, atol=0)
        (outputs.sum() + sum(part.sum() for part in final)).backward()
        assert padded.grad[torch.arange(T) >= LENGTHS.unsqueeze(1)].eq(0).all()


def test_the_fast_loop_gives_the_same_gradient_again_when_asked_twice(make_cell, randomise):
    layer = randomise(RecurrentLayer(make_cell(D, H)))
    use(layer, "fast")
    outputs, _ = layer(torch.randn(B, T, D), LENGTHS)
    twice = [
        torch.autograd.grad(outputs.square().sum(), layer.cell.weight_hidden, retain_graph=True)[0]
        for _ in range(2)
    ]
    assert_close(*twice, rtol=0, atol=0)


def test_a_second_derivative_of_the_fast_loop_is_refused_with_what_has_one():
    layer = RecurrentLayer(GRU(D, H))
    outputs, _ = layer(torch.randn(B, T, D))
    with pytest.raises(ConfigError, match=r"no second derivative, .*; allowed: cell.kernel=loop"):
        torch.autograd.grad(outputs.sum(), layer.cell.weight_hidden, create_graph=True)
    layer = RecurrentLayer(GRU(D, H, kernel="loop"))
    outputs, _ = layer(torch.randn(B, T, D))
    (slope,) = torch.autograd.grad(outputs.sum(), layer.cell.weight_hidden, create_graph=True)
    slope.square().sum().backward()
    assert layer.cell.weight_hidden.grad.abs().sum() > 0


@pytest.mark.parametrize("kernel", ["fast", "loop"])
def test_an_input_of_another_precision_is_refused(kernel):
    layer = RecurrentLayer(GRU(D, H, kernel=kernel)).float()
    with pytest.raises(RuntimeError, match="dtype"):
        layer(torch.randn(B, T, D, dtype=torch.float64), LENGTHS)


@pytest.mark.parametrize("ragged", [True, False])
def test_a_batch_of_no_sequences_has_no_outputs(make_cell, ragged):
    layer = RecurrentLayer(make_cell(D, H), reverse=True)
    for kernel in kernels_of(layer.cell).values():
        layer.kernel = kernel
        x = torch.randn(0, T, D, requires_grad=True)
        outputs, final = layer(x, LENGTHS[:0] if ragged else None)
        assert outputs.shape == (0, T, H)
        assert all(part.shape == (0, H) for part in final)


@pytest.mark.parametrize("lengths", [LENGTHS, None], ids=["ragged", "full"])
def test_outputs_may_be_changed_in_place(make_cell, randomise, lengths):
    layer, x = randomise(RecurrentLayer(make_cell(D, H))), torch.randn(B, T, D)
    for kernel in kernels_of(layer.cell).values():
        layer.kernel = kernel
        slopes = []
        for factor in (1.0, 3.0):
            layer.zero_grad()
            outputs, final = layer(x, lengths)
            outputs.mul_(factor)
            (outputs.sum() + factor * sum(part.sum() for part in final)).backward()
            slopes.append(layer.cell.weight_hidden.grad.clone())
        assert_close(slopes[1], 3.0 * slopes[0])


class Other(LSTM):
    """A user's cell that derives from one of ours."""

    def recur(self, projected_t, state):
        h, c = super().recur(projected_t, state)
        return 2 * h, c


@pytest.mark.parametrize(
    ("cell", "name"),
    [
        (LSTM(D, H), {"cpu": "fused torch.lstm", "cuda": "fused torch.lstm"}),
        (LSTM(D, H, output_tanh=False), {"cpu": "fast loop", "cuda": "Triton loop"}),
        (PeepholeLSTM(D, H), {"cpu": "fast loop", "cuda": "Triton loop"}),
        (GRU(D, H, reset_after=True), {"cpu": "fast loop", "cuda": "fused torch.gru"}),
        (GRU(D, H), {"cpu": "fast loop", "cuda": "Triton loop"}),
        (SimplifiedGRU(D, H), {"cpu": "fast loop", "cuda": "Triton loop"}),
        (RNN(D, H), {"cpu": "fast loop", "cuda": "fused torch.rnn_tanh"}),
        (RNN(D, H, nonlinearity="relu"), {"cpu": "fast loop", "cuda": "fused torch.rnn_relu"}),
        (Other(D, H), {"cpu": "step loop", "cuda": "step loop"}),
    ],
)
def test_a_cell_gets_a_faster_kernel_only_where_that_has_its_answer(cell, name, monkeypatch):
    monkeypatch.setattr(triton_loop, "runs_triton", lambda device: True)
    kernel = select_kernel(cell)
    for device, wanted in name.items():
        assert kernel_on(kernel, torch.device(device), torch.float32).name == wanted


def test_under_bf16_autocast_an_lstm_of_the_cpu_keeps_its_memory_cell_in_float32():
    kernel = select_kernel(LSTM(D, H))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert kernel_on(kernel, torch.device("cpu"), torch.float32).name == "fast loop"
        assert kernel_on(kernel, torch.device("cuda"), torch.float32).name == "fused torch.lstm"


def test_a_precision_that_the_fast_loop_does_not_have_is_left_to_another_kernel(randomise):
    layer = randomise(RecurrentLayer(GRU(D, H))).bfloat16()
    assert layer.kernel_name() == "step loop"
    assert layer(torch.randn(B, T, D, dtype=torch.bfloat16), LENGTHS)[0].isfinite().all()


@pytest.mark.parametrize(
    ("make", "allowed"),
    [
        (partial(LSTM, kernel="fast"), "fast loop"),
        (partial(LSTM, kernel="fused"), "fused torch.lstm"),
        (partial(LSTM, kernel="loop"), "step loop"),
        (partial(GRU, reset_after=True, kernel="fused"), "fused torch.gru"),
        (partial(GRU, kernel="fused"), "auto, fast, loop"),
        (partial(LSTM, output_tanh=False, kernel="fused"), "auto, fast, loop"),
        (partial(PeepholeLSTM, kernel="fused"), "auto, fast, loop"),
        (partial(SimplifiedGRU, kernel="fused"), "auto, fast, loop"),
        (partial(Other, kernel="fast"), "auto, loop"),
        (partial(LSTM, kernel="quick"), "auto, fused, fast, loop"),
    ],
)
def test_a_kernel_is_forced_where_the_cell_has_it_and_refused_elsewhere(make, allowed):
    if ", " not in allowed:
        assert RecurrentLayer(make(D, H)).kernel_name() == allowed
        return
    with pytest.raises(ConfigError, match=rf"cell.kernel=\w+: .*{allowed.replace(', ', '.*')}"):
        RecurrentLayer(make(D, H))


def test_a_relu_that_overflows_in_padding_leaves_finite_gradients():
    layer = RecurrentLayer(RNN(1, 1, nonlinearity="relu")).float()
    with torch.no_grad():
        layer.cell.weight_hidden.fill_(3.0)
        layer.cell.weight_input.fill_(1.0)
    x = torch.ones(2, 200, 1, dtype=torch.float32)
    lengths = torch.tensor([3, 2])
    assert 3.0**200 > torch.finfo(torch.float32).max
    layer(x, lengths)[0].sum().backward()
    padded = layer.cell.weight_hidden.grad.clone()
    layer.zero_grad()
    layer(x[:, :3], lengths)[0].sum().backward()
    assert_close(padded, layer.cell.weight_hidden.grad)


@pytest.mark.parametrize(("autocast", "tolerance"), [(False, 1e-6), (True, 1e-2)])
def test_the_fused_memory_cell_passes_long_padding_unchanged(autocast, tolerance, randomise):
    layer = randomise(RecurrentLayer(LSTM(D, H))).float()
    x = torch.randn(B, 500, D, dtype=torch.float32)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        _, final = layer(x, LENGTHS)
        _, short = layer(x[:, :T], LENGTHS)
    assert short[1].abs().max() > 30 * tolerance
    assert_close(final, short, rtol=0, atol=tolerance)


@pytest.fixture
def contiguous_only(monkeypatch):
    """torch's fused layers refuse what cuDNN refuses: states that are not contiguous."""
    seen = []

    def refusing(run):
        def checked(x, state, *args):
            for part in state if isinstance(state, list) else [state]:
                seen.append(part.is_contiguous())
                assert part.is_contiguous(), part.stride()
            return run(x, state, *args)

        return checked

    for name in ("lstm", "gru", "rnn_tanh", "rnn_relu"):
        monkeypatch.setattr(torch, name, refusing(getattr(torch, name)))
    return seen


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("depth", [1, 3])
def test_a_learned_initial_state_is_contiguous_in_every_layer_and_direction(
    make_cell, contiguous_only, depth, bidirectional
):
    stack = RecurrentStack(
        D,
        cell=make_cell,
        hidden_size=H,
        depth=depth,
        bidirectional=bidirectional,
        learn_initial_state=True,
    )
    for layers in stack.layers:
        for layer in layers.values():
            layer.kernel = kernels_of(layer.cell).get("fused", layer.kernel)
    for layer in stack.initial_state(B):
        assert all(part.is_contiguous() for direction in layer for part in direction)
    stack(torch.randn(B, T, D), LENGTHS)[0].sum().backward()
    rows = {name: p.grad for name, p in stack.named_parameters() if ".initial." in name}
    assert len(rows) == depth * (1 + bidirectional) * len(stack.cell_state_names)
    assert all(grad.abs().sum() > 0 for grad in rows.values())


@pytest.mark.parametrize("shape", ["expanded", "transposed", "every other row"])
def test_a_state_of_any_layout_reaches_the_fused_layers_contiguous(
    make_cell, randomise, contiguous_only, shape
):
    cell = randomise(make_cell(D, H))
    layout = {
        "expanded": lambda: torch.randn(1, H).expand(B, -1),
        "transposed": lambda: torch.randn(H, B).t(),
        "every other row": lambda: torch.randn(2 * B, H)[::2],
    }
    state = tuple(layout[shape]() for _ in cell.state_names)
    assert not any(part.is_contiguous() for part in state)
    layer, x = RecurrentLayer(cell), torch.randn(B, T, D)
    wanted = None
    for name, kernel in kernels_of(cell).items():
        contiguous_only.clear()
        layer.kernel = kernel
        outputs, final = layer(x, LENGTHS, state)
        assert bool(contiguous_only) == (name == "fused")
        wanted = wanted or (outputs, final)
        assert_close((outputs, final), wanted)


@pytest.mark.gpu
@pytest.mark.parametrize("ragged", [True, False])
def test_a_gpu_has_the_answer_and_gradients_of_the_cpu(make_cell, randomise, gradients, ragged):
    on_cpu = randomise(RecurrentLayer(make_cell(D, H), reverse=True))
    on_gpu = copy.deepcopy(on_cpu).cuda()
    x = torch.randn(B, T, D, requires_grad=True)
    lengths = LENGTHS if ragged else None
    outputs, final = on_cpu(x, lengths)
    gpu_lengths = None if lengths is None else lengths.cuda()
    gpu_outputs, gpu_final = on_gpu(x.cuda(), gpu_lengths)
    results = [gpu_outputs.cpu(), *(part.cpu() for part in gpu_final)]
    assert_close(results, [outputs, *final])
    slopes = gradients(results, [x, *on_gpu.parameters()])
    wanted = gradients([outputs, *final], [x, *on_cpu.parameters()])
    assert_close([slope.cpu() for slope in slopes], wanted)
