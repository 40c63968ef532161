"""Every cell x direction x depth x architecture trains, or is refused with a reason."""

import pytest
import torch
from omegaconf import OmegaConf

from seqpipe.build import build_model
from seqpipe.config.compose import compose
from seqpipe.data.base import FieldSpec, SequenceSpec
from seqpipe.errors import ConfigError
from seqpipe.tasks.classification import Classification


def unused_parameters(model):
    return [
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is None or not parameter.grad.ne(0).any()
    ]


def trained(model, task, batch, answer):
    """A few updates on one batch: the losses, and what the first gradient did not touch."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses, unused = [], []
    for step in range(5):
        loss = task.loss(answer(model, batch), batch, training=True)
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            unused = unused_parameters(model)
        optimizer.step()
        losses.append(loss.item())
    return losses, unused


def test_a_model_learns_and_every_parameter_gets_a_gradient_or_it_is_refused(
    build, ragged, answer, crossed
):
    cell, shape, bidirectional, depth = crossed
    changes = {"depth": depth, "bidirectional": bidirectional}
    if shape.startswith("encoder_decoder"):
        changes["architecture.decoder.bidirectional"] = False  # as the option file has it
    if shape.startswith("one_to_many") and bidirectional:
        with pytest.raises(ConfigError, match=r"bidirectional=true: .* y_{t\+1}"):
            build(shape, cell, **changes)
        return
    model, task, spec, _ = build(shape, cell, **changes)
    losses, unused = trained(model, task, ragged(spec), answer)
    assert losses[-1] < losses[0]
    assert unused == []


@pytest.mark.parametrize("depth", [1, 2])
def test_a_standard_network_learns_and_every_parameter_gets_a_gradient(answer, ragged, depth):
    spec = SequenceSpec(FieldSpec("vector", 3), FieldSpec("category", 4))
    cfg, _ = compose(["data=digits_flat", f"depth={depth}", "hidden_size=4"])
    model, task = build_model(cfg, spec), Classification(y=spec.y)
    assert len(model.encoder.layers) == depth
    losses, unused = trained(model, task, ragged(spec), answer)
    assert losses[-1] < losses[0]
    assert unused == []


def test_an_embedding_of_numbers_is_refused_before_data_is_read():
    with pytest.raises(ConfigError, match=r"architecture\.embedding_size=8: each step is"):
        compose(["data=digits", "architecture.embedding_size=8"])


def test_dot_attention_between_unequal_widths_is_refused_with_what_would_work(build):
    changes = {"architecture.encoder.bidirectional": True, "architecture.attention": "dot"}
    with pytest.raises(ConfigError, match=r"architecture\.attention=dot: .*hidden_size=16"):
        build("encoder_decoder additive", "gru", **changes)


@pytest.mark.parametrize("kind", ["none", "additive"])
@pytest.mark.parametrize(("encoder", "decoder"), [(3, 1), (1, 3), (2, 3), (3, 2)])
def test_encoder_and_decoder_of_unequal_depth_use_every_parameter(
    build, ragged, answer, kind, encoder, decoder
):
    changes = {"architecture.encoder.depth": encoder, "architecture.decoder.depth": decoder}
    model, task, spec, _ = build(f"encoder_decoder {kind}", **changes)
    losses, unused = trained(model, task, ragged(spec), answer)
    assert losses[-1] < losses[0]
    assert unused == []


@pytest.mark.parametrize("shape", ["many_to_one last", "many_to_many", "one_to_many"])
def test_a_learned_initial_state_changes_the_answer_and_gets_a_gradient(
    build, ragged, answer, shape
):
    stack = "decoder" if shape == "one_to_many" else "encoder"
    plain, _, spec, cfg = build(shape, depth=2)
    OmegaConf.update(cfg, f"architecture.{stack}.learn_initial_state", True)
    torch.manual_seed(0)
    model = build_model(cfg, spec)
    added = sum(p.numel() for p in model.parameters()) - sum(p.numel() for p in plain.parameters())
    assert added == 2 * 2 * cfg.hidden_size  # two layers, h and c
    losses, unused = trained(model, build(shape).task, ragged(spec), answer)
    assert losses[-1] < losses[0]
    assert unused == []


@pytest.mark.parametrize("shape", ["one_to_many vector", "encoder_decoder none"])
def test_a_decoder_that_is_given_its_first_state_refuses_to_learn_one(build, shape):
    with pytest.raises(ConfigError, match=r"architecture\.decoder\.learn_initial_state=true: "):
        build(shape, **{"architecture.decoder.learn_initial_state": True})
