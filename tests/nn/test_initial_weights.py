"""`init_range`: what it draws, what it leaves, and that null changes nothing."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from seqpipe.build import build_model
from seqpipe.config.compose import compose
from seqpipe.data.base import FieldSpec, SequenceSpec
from seqpipe.models.inputs import InputLayer
from seqpipe.nn.cells import LSTM
from seqpipe.nn.crf import CRFHead
from seqpipe.nn.initial_weights import start_uniform
from seqpipe.nn.recurrent import RecurrentStack

D, H = 3, 40


def test_every_weight_and_bias_of_cells_embeddings_and_heads_is_drawn(make_cell):
    cell = partial(make_cell, layer_norm=True)
    stack = RecurrentStack(D, cell=cell, hidden_size=H, depth=2, learn_initial_state=True)
    model = nn.ModuleList([stack, nn.Embedding(30, D), nn.Linear(H, 20), CRFHead(H, 4)])
    before = {name: p.clone() for name, p in model.named_parameters()}
    start_uniform(model, 0.05)
    for name, parameter in model.named_parameters():
        last = name.split(".")[-1]
        if ".initial." in name or last in ("transitions", "start", "end") or "gain" in last:
            assert parameter.equal(before[name]), name
        elif last == "bias_memory":
            assert parameter.eq(0).all()
        else:
            drawn = parameter.detach().clone()
            if last == "bias" and ".cell." in name and stack.cell_state_names == ("h", "c"):
                drawn[H : 2 * H] -= 1.0
            assert drawn.abs().max() <= 0.05 + 1e-12, name
            assert not parameter.equal(before[name]), name
            if drawn.numel() >= 90:
                assert abs(drawn.std() - 0.05 / 3**0.5) < 0.005, name


def test_a_forget_bias_is_added_to_what_was_drawn():
    cell = LSTM(D, H, forget_bias=3.0)
    start_uniform(cell, 0.1)
    forget = cell.bias[H : 2 * H] - 3.0
    assert 0.05 < forget.abs().max() <= 0.1 + 1e-12
    assert cell.bias[:H].abs().max() <= 0.1


def test_given_vectors_frozen_weights_and_norms_stay():
    vectors = torch.randn(5, D)
    given, frozen, norm = (
        InputLayer("symbols", 5, vectors=vectors),
        nn.Linear(2, 2),
        nn.LayerNorm(3),
    )
    frozen.weight.requires_grad_(False)
    kept = frozen.weight.clone()
    start_uniform(nn.ModuleList([given, frozen, norm]), 0.01)
    assert_close(given.embedding.weight.data, vectors)
    assert frozen.weight.equal(kept)
    assert norm.weight.eq(1).all()
    assert frozen.bias.abs().max() <= 0.01
    free = InputLayer("symbols", 5)
    start_uniform(free, 0.01)
    assert free.embedding.weight.abs().max() <= 0.01


def test_a_weight_of_two_modules_is_drawn_once():
    one, other = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
    other.weight = one.weight
    torch.manual_seed(1)
    start_uniform(nn.ModuleList([one, other]), 1.0)
    torch.manual_seed(1)
    assert_close(one.weight.data, torch.empty(2, 2).uniform_(-1.0, 1.0))


@pytest.mark.parametrize("bound", [None, 0.03])
def test_a_model_is_drawn_after_it_is_built_and_null_changes_nothing(bound):
    words = ("data=adding", "hidden_size=8")
    spec = SequenceSpec(FieldSpec("values", 2), FieldSpec("number", 1))

    def made(*more):
        torch.manual_seed(0)
        return build_model(compose([*words, *more])[0], spec, 1), torch.get_rng_state()

    model, random = made(*([] if bound is None else [f"init_range={bound}"]))
    plain, state = made()
    if bound is None:
        assert_close(model.state_dict(), plain.state_dict(), rtol=0, atol=0)
        assert torch.equal(random, state)
    else:
        assert not torch.equal(random, state)
        for name, weight in model.named_parameters():
            largest = weight.abs().max()
            assert largest <= (1.03 if name.endswith("cell.bias") else 0.03)
