"""Optimizers are fused where torch has that, and a choice of the user stands."""

from functools import partial

import pytest
import torch
from torch.testing import assert_close

from seqpipe.training.optimizers import keep_speed, make_for


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD])
def test_an_optimizer_is_fused_where_torch_has_that(kind):
    made = make_for(torch.nn.Linear(2, 3), partial(kind, lr=0.1))
    assert [group["fused"] for group in made.param_groups] == [True] * len(made.param_groups)


@pytest.mark.parametrize("chosen", [{"fused": False}, {"foreach": True}, {"foreach": False}])
def test_a_choice_of_the_user_stands(chosen):
    made = make_for(torch.nn.Linear(2, 3), partial(torch.optim.Adam, lr=0.1, **chosen))
    assert not made.defaults["fused"]
    assert made.defaults.items() >= chosen.items()


@pytest.mark.parametrize(
    "make",
    [
        partial(torch.optim.RMSprop, lr=0.1),
        partial(torch.optim.Adam, lr=0.1, differentiable=True),
        lambda parameters: torch.optim.Adam(parameters, lr=0.1),
    ],
)
def test_others_are_made_as_they_are(make):
    made = make_for(torch.nn.Linear(2, 3), make)
    assert not made.defaults.get("fused")
    assert len(made.param_groups[0]["params"]) == 2


def test_both_groups_of_decay_are_fused():
    made = make_for(torch.nn.Linear(2, 3), partial(torch.optim.AdamW, lr=0.1, weight_decay=0.1))
    assert [(g["fused"], g["weight_decay"]) for g in made.param_groups] == [(True, 0.1), (True, 0)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["Adam", "AdamW", "SGD"])
def test_fused_steps_are_those_of_torchs_loop(kind, dtype):
    weights = []
    for options in ({}, {"fused": False}):
        torch.manual_seed(0)
        module = torch.nn.Linear(5, 3, dtype=dtype)
        made = make_for(module, partial(getattr(torch.optim, kind), lr=0.1, **options))
        for _ in range(20):
            made.zero_grad()
            module(torch.randn(4, 5, dtype=dtype)).square().mean().backward()
            made.step()
        weights.append(module.weight.detach())
    assert_close(weights[0], weights[1])


@pytest.mark.parametrize(("saved", "here"), [(False, None), (None, False)])
def test_a_saved_state_takes_the_speed_of_the_optimizer_that_loads_it(saved, here):
    """Of an older version, not fused; and a fused one of ours where that is not wanted."""

    def made(fused):
        torch.manual_seed(0)
        module = torch.nn.Linear(5, 3)
        options = {} if fused is None else {"fused": fused}
        return module, make_for(module, partial(torch.optim.Adam, lr=0.1, **options))

    def step(module, optimizer):
        optimizer.zero_grad()
        module(torch.ones(4, 5)).square().mean().backward()
        optimizer.step()

    old, new, whole = made(saved), made(here), made(here)
    step(*old)
    state = old[1].state_dict()
    keep_speed(state, new[1])
    new[1].load_state_dict(state)
    new[0].load_state_dict(old[0].state_dict())
    assert [g["fused"] for g in new[1].param_groups] == [here is None]
    step(*new)
    step(*whole)
    step(*whole)
    assert_close(new[0].weight, whole[0].weight)
