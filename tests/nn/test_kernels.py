"""Every kernel against the stepped cell, and what it does in padding."""

import copy

import pytest
import torch
from torch.testing import assert_close

from seqpipe.nn.cells import GRU, LSTM, RNN, PeepholeLSTM, SimplifiedGRU
from seqpipe.nn.kernels.step_loop import StepLoop, select_kernel
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


@pytest.mark.parametrize("kernel", ["chosen", "loop"])
@pytest.mark.parametrize("ragged", [True, False])
def test_a_kernel_equals_the_stepped_cell_in_values_and_gradients(
    make_cell, randomise, gradients, kernel, ragged
):
    cell = randomise(make_cell(D, H))
    layer = RecurrentLayer(cell)
    if kernel == "loop":
        layer.kernel = StepLoop()
    x = torch.randn(B, T, D, requires_grad=True)
    state = tuple(torch.randn(B, H, requires_grad=True) for _ in cell.state_names)
    outputs, final = layer(x, LENGTHS if ragged else None, state)
    lengths = LENGTHS if ragged else torch.full((B,), T)
    wanted_outputs, wanted_final = step_by_step(cell, x, lengths, state)

    assert_close(outputs, wanted_outputs, **exactly)
    assert_close(final, wanted_final, **exactly)
    inputs = [x, *state, *cell.parameters()]
    assert_close(
        gradients([outputs, *final], inputs),
        gradients([wanted_outputs, *wanted_final], inputs),
        **exactly,
    )


@pytest.mark.parametrize("reverse", [False, True])
def test_a_kernel_equals_the_loop_in_float32_where_torch_takes_another_path(
    make_cell, randomise, gradients, reverse
):
    layer = randomise(RecurrentLayer(make_cell(D, H), reverse=reverse)).float()
    x = torch.randn(B, T, D, dtype=torch.float32, requires_grad=True)
    inputs = [x, *layer.parameters()]
    outputs, final = layer(x, LENGTHS)
    layer.kernel = StepLoop()
    looped, looped_final = layer(x, LENGTHS)
    close = {"rtol": 1e-4, "atol": 1e-5}
    assert_close([outputs, *final], [looped, *looped_final], **close)
    slopes = gradients([outputs, *final], inputs)
    assert_close(slopes, gradients([looped, *looped_final], inputs), **close)


class Other(LSTM):
    """A user's cell that derives from one of ours."""

    def recur(self, projected_t, state):
        h, c = super().recur(projected_t, state)
        return 2 * h, c


@pytest.mark.parametrize(
    ("cell", "name"),
    [
        (LSTM(D, H), "fused torch.lstm"),
        (LSTM(D, H, output_tanh=False), "step loop"),
        (PeepholeLSTM(D, H), "step loop"),
        (GRU(D, H, reset_after=True), "fused torch.gru"),
        (GRU(D, H), "step loop"),
        (SimplifiedGRU(D, H), "step loop"),
        (RNN(D, H), "fused torch.rnn_tanh"),
        (RNN(D, H, nonlinearity="relu"), "fused torch.rnn_relu"),
        (Other(D, H), "step loop"),
    ],
)
def test_a_cell_gets_the_fused_kernel_only_where_that_has_its_answer(cell, name):
    assert select_kernel(cell).name == name


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
    outputs, final = RecurrentLayer(cell)(torch.randn(B, T, D), LENGTHS, state)
    assert outputs.isfinite().all()
    assert bool(contiguous_only) == select_kernel(cell).name.startswith("fused")
    assert len(final) == len(state)


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
