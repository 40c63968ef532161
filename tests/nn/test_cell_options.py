"""Options of the cells against their formulas, written out here with plain tensors."""

import copy
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import sigmoid, tanh
from torch.testing import assert_close

from seqpipe.errors import ConfigError
from seqpipe.nn.cells import GRU, LSTM, RNN, PeepholeLSTM, SimplifiedGRU
from seqpipe.nn.kernels import triton_loop
from seqpipe.nn.kernels.choice import cannot_run
from seqpipe.nn.kernels.step_loop import StepLoop
from seqpipe.nn.recurrent import RecurrentLayer, RecurrentStack
from seqpipe.nn.stepper import Stepper
from seqpipe.nn.weight_decay import decayed

D, H, B, T = 3, 4, 4, 6
LENGTHS = torch.tensor([6, 2, 1, 5])
exactly = {"rtol": 0, "atol": 1e-12}


def norm(a, gain, bias=0.0):
    """Ba et al. (2016), equation 4."""
    a = a - a.mean(-1, keepdim=True)
    return a / (a.square().mean(-1, keepdim=True) + 1e-5).sqrt() * gain + bias


def products(cell, x, h, blocks):
    """W_x x and W_h h, normalised over groups of gates with `layer_norm`; the bias is apart."""
    wx, wh = x @ cell.weight_input.t(), h @ cell.weight_hidden.t()
    if not cell.layer_norm:
        return wx, wh
    found = []
    for product, gain in ((wx, cell.gain_input), (wh, cell.gain_hidden)):
        groups = zip(product.split(blocks, -1), gain.split(blocks), strict=True)
        found.append(torch.cat([norm(part, own) for part, own in groups], -1))
    return found


def rnn(cell, x, state, mask):
    a = x @ cell.weight_input.t() + (state[0] * mask) @ cell.weight_hidden.t()
    if cell.layer_norm:
        a = norm(a, cell.gain_hidden)
    return ({"tanh": tanh, "relu": torch.relu}[cell.nonlinearity](a + cell.bias),)


def simplified(cell, x, state, mask):
    (h,) = state
    wx, wh = products(cell, x, h * mask, [H, H])
    u, c = (wx + wh + cell.bias).chunk(2, -1)
    return ((1 - sigmoid(u)) * h + sigmoid(u) * tanh(c),)


def gru(cell, x, state, mask):
    (h,) = state
    seen = h * mask
    wx, wh = products(cell, x, seen, [2 * H, H])
    r, u = sigmoid((wx + wh + cell.bias)[:, : 2 * H]).chunk(2, -1)
    if cell.reset_after:
        inner = r * (wh[:, 2 * H :] + cell.bias_hidden)
    else:
        inner = (r * seen) @ cell.weight_hidden[2 * H :].t()
        if cell.layer_norm:
            inner = norm(inner, cell.gain_hidden[2 * H :])
    c = tanh((wx + cell.bias)[:, 2 * H :] + inner)
    return ((1 - u) * h + u * c,)


def lstm(cell, x, state, mask):
    h, c = state
    wx, wh = products(cell, x, h * mask, [4 * H])
    i, f, g, o = (wx + wh + cell.bias).chunk(4, -1)
    peephole = getattr(cell, "peephole", None)
    if peephole is not None:
        i, f = i + peephole[0] * c, f + peephole[1] * c
    c_t = sigmoid(f) * c + sigmoid(i) * tanh(g)
    if peephole is not None:
        o = o + peephole[2] * (c if cell.output_peephole == "previous" else c_t)
    shown = norm(c_t, cell.gain_memory, cell.bias_memory) if cell.layer_norm else c_t
    return sigmoid(o) * (tanh(shown) if cell.output_tanh else shown), c_t


FORMULAS = {RNN: rnn, SimplifiedGRU: simplified, GRU: gru, LSTM: lstm, PeepholeLSTM: lstm}


def by_formula(cell, x, state, mask=1.0):
    """One step of a cell."""
    return FORMULAS[type(cell)](cell, x, state, mask)


def random_state(cell, rows=B):
    return tuple(torch.randn(rows, H, requires_grad=True) for _ in cell.state_names)


def drawn_mask(shape, rate, seed):
    """The mask that dropout draws for a tensor of this shape."""
    torch.manual_seed(seed)
    return F.dropout(torch.ones(shape), rate)


@pytest.mark.parametrize("kernel", ["fused", "fast", "loop"])
@pytest.mark.parametrize("reverse", [False, True])
def test_weight_drop_is_one_mask_of_the_recurrent_matrix_for_a_batch_in_every_kernel(
    make_cell, randomise, gradients, kernel, reverse
):
    cell = randomise(make_cell(D, H, weight_drop=0.4))
    kernels = {**cell.kernels(), "loop": StepLoop()}
    if kernel not in kernels:
        pytest.skip("the cell has no such kernel")
    layer = RecurrentLayer(cell, reverse=reverse)
    layer.kernel = kernels[kernel]
    x, state = torch.randn(B, T, D, requires_grad=True), random_state(cell)
    torch.manual_seed(5)
    outputs, final = layer(x, LENGTHS, state)
    mask = drawn_mask(cell.weight_hidden.shape, 0.4, 5)
    assert set(mask.unique().tolist()) == {0.0, 1 / 0.6}

    whole = copy.deepcopy(layer)
    whole.cell.weight_drop = 0.0
    whole.cell.weight_hidden.data.mul_(mask)
    wanted, wanted_final = whole(x, LENGTHS, state)
    assert_close([outputs, *final], [wanted, *wanted_final], **exactly)
    slopes = gradients([outputs, *final], [x, *state, *cell.parameters()])
    wanted = gradients([wanted, *wanted_final], [x, *state, *whole.cell.parameters()])
    place = 1 + len(state) + [name for name, _ in cell.named_parameters()].index("weight_hidden")
    wanted[place] = wanted[place] * mask
    assert_close(slopes, wanted, **exactly)


def test_weight_drop_leaves_the_weights_and_eval_mode_as_they_are(make_cell, randomise):
    layer = RecurrentLayer(randomise(make_cell(D, H, weight_drop=0.5)))
    before = copy.deepcopy(layer.state_dict())
    x = torch.randn(B, T, D)
    first, second = layer(x)[0], layer(x)[0]
    assert not torch.equal(first, second)  # drawn for each batch
    assert_close(layer.state_dict(), before, rtol=0, atol=0)
    assert list(before) == list(RecurrentLayer(make_cell(D, H)).state_dict())
    plain = RecurrentLayer(make_cell(D, H))
    plain.load_state_dict(before)
    assert_close(layer.eval()(x), plain(x), rtol=0, atol=0)


@pytest.mark.parametrize("kernel", ["fast", "loop"])
def test_hidden_dropout_is_one_mask_for_all_steps_where_the_products_read_h(
    make_cell, randomise, gradients, kernel
):
    cell = randomise(make_cell(D, H, hidden_dropout=0.4, kernel=kernel))
    layer = RecurrentLayer(cell)
    x, state = torch.randn(B, T, D, requires_grad=True), random_state(cell)
    torch.manual_seed(5)
    outputs, final = layer(x, None, state)
    mask, now, wanted = drawn_mask((B, H), 0.4, 5), state, []
    for x_t in x.unbind(1):
        now = by_formula(cell, x_t, now, mask)
        wanted.append(now[0])
    wanted = torch.stack(wanted, 1)
    assert_close([outputs, *final], [wanted, *now], **exactly)
    inputs = [x, *state, *cell.parameters()]
    slopes = gradients([outputs, *final], inputs)
    assert_close(slopes, gradients([wanted, *now], inputs), **exactly)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(
    ("size", "dtype"),
    [((B, T, D, H), "float64"), ((6, 3, 5, 370), "float32"), ((20, 15, 8, 9), "float32")],
)
def test_hidden_dropout_of_the_fast_loop_is_that_of_the_step_loop_in_ragged_batches(
    make_cell, randomise, gradients, reverse, size, dtype
):
    rows, steps, wide, units = size
    layer = RecurrentLayer(make_cell(wide, units, hidden_dropout=0.3), reverse=reverse)
    layer = (randomise(layer) if units < 100 else layer).to(getattr(torch, dtype))
    assert layer.kernel_name() == "fast loop"
    x = torch.randn(rows, steps, wide, dtype=getattr(torch, dtype))
    lengths = torch.randint(1, steps + 1, (rows,))
    x[torch.arange(steps) >= lengths.unsqueeze(1)] = torch.nan
    x.requires_grad_()
    found = []
    for kernel in (layer.kernel, StepLoop()):
        layer.kernel = kernel
        torch.manual_seed(6)
        outputs, final = layer(x, lengths)
        found.append([outputs, *final, *gradients([outputs, *final], [x, *layer.parameters()])])
    close = exactly if dtype == "float64" else {"rtol": 1e-4, "atol": 3e-5}
    assert_close(found[0], found[1], **close)


def test_hidden_dropout_draws_a_mask_for_each_sequence_and_none_in_eval_mode(make_cell, randomise):
    layer = RecurrentLayer(randomise(make_cell(D, H, hidden_dropout=0.5)))
    plain = RecurrentLayer(make_cell(D, H))
    plain.load_state_dict(layer.state_dict())
    rows = layer(torch.randn(1, T, D).expand(B, T, D), LENGTHS[:1].expand(B))[0]
    assert len({tuple(row.flatten().tolist()) for row in rows}) > 1
    x = torch.randn(B, T, D)
    assert_close(layer.eval()(x, LENGTHS), plain(x, LENGTHS), **exactly)


@pytest.mark.parametrize("reverse", [False, True])
def test_zoneout_keeps_old_values_in_training_and_the_expected_ones_in_eval_mode(
    make_cell, randomise, reverse
):
    cell = randomise(make_cell(D, H, zoneout=0.3))
    x, state = torch.randn(2000, D), random_state(cell, 2000)
    after, new = cell(x, state), by_formula(cell, x, state)
    shares = []
    for found, old, other in zip(after, state, new, strict=True):
        kept = found == old
        assert_close(torch.where(kept, found, other), found, **exactly)
        shares.append(kept.double())
        assert abs(kept.double().mean() - 0.3) < 0.02
    if len(shares) == 2:  # c_t and h_t are drawn apart
        assert abs((shares[0] * shares[1]).mean() - 0.09) < 0.02

    layer = RecurrentLayer(cell, reverse=reverse).eval()
    batch, now = torch.randn(B, T, D), tuple(part[:B] for part in state)
    outputs, final = layer(batch, LENGTHS, now)
    for b, length in enumerate(LENGTHS.tolist()):
        alone, seen = tuple(part[b : b + 1] for part in now), batch[b : b + 1, :length]
        for t in range(length):
            other = by_formula(cell, seen[:, length - 1 - t if reverse else t], alone)
            pairs = zip(alone, other, strict=True)
            alone = tuple(0.3 * old + 0.7 * new for old, new in pairs)
            at = length - 1 - t if reverse else t
            assert_close(outputs[b, at], alone[0][0], **exactly)
        assert_close([part[b : b + 1] for part in final], list(alone), **exactly)
        assert outputs[b, length:].eq(0).all()


@pytest.mark.parametrize("reverse", [False, True])
def test_a_zoned_final_state_is_that_of_the_last_real_step(make_cell, randomise, reverse):
    layer = RecurrentLayer(randomise(make_cell(D, H, zoneout=0.5)), reverse=reverse)
    x = torch.randn(B, T, D)
    x[torch.arange(T) >= LENGTHS.unsqueeze(1)] = torch.nan
    outputs, final = layer(x, LENGTHS)
    last = torch.zeros(B, dtype=torch.int64) if reverse else LENGTHS - 1
    assert_close(outputs[torch.arange(B), last], final[0], **exactly)
    assert all(part.isfinite().all() for part in final)


def test_a_zoned_unit_gives_its_gradient_to_the_step_before(randomise):
    cell = randomise(RNN(D, H, zoneout=0.5))
    x, (h,) = torch.randn(B, D, requires_grad=True), random_state(cell)
    (after,) = cell(x, (h,))
    kept = after == h
    (slope,) = torch.autograd.grad(after[kept].sum(), h, retain_graph=True)
    assert_close(slope, kept.double())
    (slope,) = torch.autograd.grad(after[kept].sum(), x)
    assert slope.eq(0).all()


@pytest.mark.parametrize("make", [LSTM, PeepholeLSTM])
def test_zoneout_of_the_memory_cell_may_differ_from_that_of_h(make):
    for options, rates in (
        ({"zoneout": 0.1}, (0.1, 0.1)),
        ({"zoneout": 0.1, "zoneout_memory": 0.5}, (0.1, 0.5)),
        ({"zoneout_memory": 0.5}, (0.0, 0.5)),
        ({"zoneout": 0.5, "zoneout_memory": 0.0}, (0.5, 0.0)),
    ):
        cell = make(D, H, **options).eval()
        x, state = torch.randn(B, D), random_state(cell)
        new = by_formula(cell, x, state)
        pairs = zip(state, new, rates, strict=True)
        wanted = [rate * old + (1 - rate) * other for old, other, rate in pairs]
        assert_close(list(cell(x, state)), wanted, **exactly)
        kept = cell.kept(cell.gates(cell.project(x), state))
        gate = cell.gates(cell.project(x), state)["f"]
        assert_close(kept, rates[1] + (1 - rates[1]) * gate, **exactly)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("ragged", [True, False])
def test_layer_normalisation_follows_the_paper(make_cell, randomise, gradients, ragged, training):
    cell = randomise(make_cell(D, H, layer_norm=True))
    layer = RecurrentLayer(cell).train(training)
    x, state = torch.randn(B, T, D, requires_grad=True), random_state(cell)
    outputs, final = layer(x, LENGTHS if ragged else None, state)
    now, wanted, last = state, [], []
    for x_t in x.unbind(1):
        now = by_formula(cell, x_t, now)
        last.append(now)
        wanted.append(now[0])
    wanted = torch.stack(wanted, 1)
    if ragged:
        wanted = wanted * (torch.arange(T) < LENGTHS.unsqueeze(1)).unsqueeze(-1)
        rows = range(B)
        now = [torch.stack([last[LENGTHS[b] - 1][k][b] for b in rows]) for k in range(len(state))]
    assert_close([outputs, *final], [wanted, *now], **exactly)
    inputs = [x, *state, *cell.parameters()]
    slopes = gradients([outputs, *final], inputs)
    assert_close(slopes, gradients([wanted, *now], inputs), **exactly)


def test_gains_start_at_1_and_do_not_decay(make_cell):
    cell = make_cell(D, H, layer_norm=True)
    decays = decayed(cell)
    new = set(decays) - {name for name, _ in make_cell(D, H).named_parameters()}
    assert {"gain_hidden"} <= new
    for name in new:
        assert not decays[name]
        start = 0.0 if name == "bias_memory" else 1.0
        assert cell.get_parameter(name).eq(start).all()


def test_all_options_together_follow_the_formulas_step_by_step(make_cell, randomise):
    options = {"weight_drop": 0.3, "hidden_dropout": 0.3, "layer_norm": True}
    cell = randomise(make_cell(D, H, **options))
    x, state = torch.randn(B, T, D), random_state(cell)
    torch.manual_seed(3)
    outputs, _ = RecurrentLayer(cell)(x, None, state)
    torch.manual_seed(3)
    dropped = copy.deepcopy(cell)
    dropped.weight_hidden.data = F.dropout(cell.weight_hidden.data, 0.3)
    mask = F.dropout(torch.ones(B, H), 0.3)
    for t, x_t in enumerate(x.unbind(1)):
        state = by_formula(dropped, x_t, state, mask)
        assert_close(outputs[:, t], state[0], **exactly)


OPTIONS = {
    "zoneout": {"zoneout": 0.3},
    "hidden_dropout": {"hidden_dropout": 0.3},
    "weight_drop": {"weight_drop": 0.3},
    "layer_norm": {"layer_norm": True},
    "all": {"zoneout": 0.2, "hidden_dropout": 0.2, "weight_drop": 0.2, "layer_norm": True},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@torch.no_grad()
def test_single_steps_of_eval_mode_are_those_of_the_sequence(make_cell, randomise, options):
    made = partial(make_cell, **options)
    stack = randomise(RecurrentStack(D, cell=made, hidden_size=H, depth=2)).eval()
    x = torch.randn(1, T, D)
    outputs, _ = stack(x)
    state = found = stack.initial_state(1)
    for steps in (1, 50):  # the second one has its weights transposed
        stepper, found = Stepper(stack, None, rows=1, steps=steps), stack.initial_state(1)
        for t in range(T):
            output, found = stepper(x[:, t], found)
            assert_close(output, outputs[:, t], **exactly)
    for t in range(T):
        output, state = stack.step(x[:, t], state)
        assert_close(output, outputs[:, t], **exactly)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_an_option_acts_in_bf16_autocast_and_in_single_precision(make_cell, options):
    layer = RecurrentLayer(make_cell(D, 40, **options)).float()
    x = torch.randn(B, T, D, dtype=torch.float32)
    torch.manual_seed(1)
    exact, _ = layer(x, LENGTHS)
    torch.manual_seed(1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        near, _ = layer(x, LENGTHS)
    assert exact.dtype == torch.float32
    assert 0 < (near.float() - exact).norm() / exact.norm() < 0.05
    (near.float().sum() + exact.sum()).backward()
    for name, weight in layer.named_parameters():
        assert weight.grad.isfinite().all(), name


def test_options_that_are_off_draw_nothing_and_add_nothing(make_cell):
    torch.manual_seed(2)
    one = make_cell(D, H)
    off = {"weight_drop": 0.0, "hidden_dropout": 0.0, "zoneout": 0.0, "layer_norm": False}
    torch.manual_seed(2)
    other = make_cell(D, H, recurrent_init="orthogonal", **off)
    assert_close(one.state_dict(), other.state_dict(), rtol=0, atol=0)
    layer, random = RecurrentLayer(other), torch.get_rng_state()
    layer(torch.randn(B, T, D, generator=torch.Generator().manual_seed(1)), LENGTHS)
    assert torch.equal(torch.get_rng_state(), random)
    assert layer.cell.drawn(B) is layer.cell


@pytest.mark.parametrize("option", [{"zoneout": 0.1}, {"layer_norm": True}])
@pytest.mark.parametrize("kernel", ["fast", "fused"])
def test_a_kernel_without_an_option_is_refused_with_what_is_allowed(make_cell, option, kernel):
    name = next(iter(option))
    with pytest.raises(ConfigError, match=rf"cell.kernel={kernel}: .*cell.{name}.*: auto, loop"):
        RecurrentLayer(make_cell(D, H, kernel=kernel, **option))
    assert RecurrentLayer(make_cell(D, H, **option)).kernel_name() == "step loop"


def test_hidden_dropout_takes_the_fast_loop_of_a_cpu_and_the_step_loop_elsewhere(
    make_cell, monkeypatch
):
    monkeypatch.setattr(triton_loop, "runs_triton", lambda device: True)
    layer = RecurrentLayer(make_cell(D, H, hidden_dropout=0.2))
    assert layer.kernel_name(torch.device("cpu")) == "fast loop"
    assert layer.kernel_name(torch.device("cuda")) == "step loop"
    forced = make_cell(D, H, hidden_dropout=0.2, kernel="fast")
    assert not RecurrentLayer(forced).kernel.fits(torch.device("cuda"), torch.float32)
    assert "allowed: auto, loop" in cannot_run(forced, torch.device("cuda"))
    with pytest.raises(ConfigError, match=r"kernel=fused: .*hidden_dropout; .*: auto, fast, loop"):
        make_cell(D, H, hidden_dropout=0.2, kernel="fused")


def test_weight_drop_keeps_the_kernel(make_cell):
    plain = RecurrentLayer(make_cell(D, H)).kernel_name()
    assert RecurrentLayer(make_cell(D, H, weight_drop=0.5)).kernel_name() == plain


def test_recurrent_weights_start_as_they_are_asked_to(make_cell):
    gates = make_cell(D, H).weight_hidden.split(H)
    for gate in gates:
        assert_close(gate @ gate.t(), torch.eye(H), **exactly)
    for gate in make_cell(D, H, recurrent_init="identity").weight_hidden.split(H):
        assert_close(gate, torch.eye(H), **exactly)
    wide = make_cell(D, 100, recurrent_init="uniform").weight_hidden
    assert 0.099 < wide.abs().max() <= 0.1
    assert abs(wide.std() - 0.1 / 3**0.5) < 0.002


def test_an_identity_rnn_keeps_its_state_times_the_gain():
    cell = RNN(D, 400, nonlinearity="relu", recurrent_init="identity", recurrent_gain=0.5)
    assert_close(cell.weight_hidden, 0.5 * torch.eye(400), **exactly)
    cell = RNN(D, 400, input_std=0.001)
    assert abs(cell.weight_input.std() - 0.001) < 1e-4
    assert_close(cell.weight_hidden @ cell.weight_hidden.t(), torch.eye(400))


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_the_steps_of_a_training_batch_keep_the_masks_of_the_first(make_cell, randomise, options):
    stack = RecurrentStack(D, cell=partial(make_cell, **options), hidden_size=H)
    randomise(stack)
    x = torch.randn(B, T, D)
    torch.manual_seed(4)
    outputs, final = stack(x)
    torch.manual_seed(4)
    step, state = stack.steps(B), stack.initial_state(B)
    for t, x_t in enumerate(x.unbind(1)):
        output, state = step(x_t, state)
        assert_close(output, outputs[:, t], **exactly)
    assert_close(state, final, **exactly)
