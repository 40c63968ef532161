"""Every optimizer of the options shrinks matrices only, or all parameters where asked to."""

import pytest
import torch

from seqpipe.build import build_model, build_module
from seqpipe.config.compose import compose
from seqpipe.data.base import FieldSpec, SequenceSpec
from seqpipe.tasks.tagging import Tagging

SPEC = SequenceSpec(FieldSpec("symbols", 9, unit="characters"), FieldSpec("tags", 3, tuple("abc")))
OPTIMIZERS = ("adam", "adamw", "rmsprop", "sgd")


def made(*overrides):
    crf = ["data=copy_memory", "architecture/head=crf", "cell=lstm_peephole", "hidden_size=4"]
    learned = "architecture.encoder.learn_initial_state=true"
    cfg, _ = compose([*crf, learned, *overrides])
    torch.manual_seed(0)
    task = Tagging(y=SPEC.y, crf=True)
    module = build_module(cfg, build_model(cfg, SPEC, task.output_size), task)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(1.0)
    return module


def shrunk(module):
    """Names of the parameters that a step with a gradient of 0 makes smaller."""
    optimizer = module.optimizer()
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    return {name for name, p in module.named_parameters() if not torch.equal(p, torch.ones_like(p))}


@pytest.mark.parametrize("optim", OPTIMIZERS)
def test_by_default_only_matrices_shrink(optim):
    assert shrunk(made(f"optim={optim}", "optim.weight_decay=0.1")) == {
        "model.encoder.layers.0.forwards.cell.weight_input",
        "model.encoder.layers.0.forwards.cell.weight_hidden",
        "model.head.output.weight",
    }


@pytest.mark.parametrize("optim", OPTIMIZERS)
def test_an_option_shrinks_all(optim):
    module = made(f"optim={optim}", "optim.weight_decay=0.1", "optim.weight_decay_on=all")
    assert shrunk(module) == {name for name, _ in module.named_parameters()}
    assert len(module.optimizer().param_groups) == 1


@pytest.mark.parametrize("optim", OPTIMIZERS)
def test_without_decay_nothing_shrinks_and_there_is_one_group(optim):
    module = made(f"optim={optim}", "optim.weight_decay=0")
    assert shrunk(module) == set()
    assert len(module.optimizer().param_groups) == 1


def test_an_optimizer_without_decay_is_made_as_it_is():
    module = made("optim=adam")
    module.make_optimizer = lambda parameters: torch.optim.Rprop(parameters, lr=0.1)
    assert len(module.optimizer().param_groups) == 1


def test_a_decay_that_the_options_do_not_name_is_that_of_matrices_too():
    module = made("optim=adamw", "~optim.weight_decay", "~optim.weight_decay_on")
    groups = module.optimizer().param_groups
    assert [group["weight_decay"] for group in groups] == [0.01, 0.0]
    assert sum(len(group["params"]) for group in groups) == len(list(module.parameters()))


def test_a_forget_bias_of_one_stays_one_under_decay():
    module = made("optim=adamw", "optim.lr=0.1", "optim.weight_decay=0.1")
    optimizer = module.optimizer()
    bias = module.model.encoder.layers[0].forwards.cell.bias
    for _ in range(100):
        for parameter in module.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
    assert torch.equal(bias, torch.ones_like(bias))
    assert module.model.head.output.weight.max() < 0.4
