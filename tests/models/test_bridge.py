"""The first state of a decoder, each way against its formula."""

import pytest
import torch
from torch.testing import assert_close

from seqpipe.errors import ConfigError


def first_state(model, x, x_lengths):
    with torch.no_grad():
        return [layer[0] for layer in model._encode(x, x_lengths)[1].stack]


def made(build, randomise, bridge, depth=1, both=False, cell="lstm", decoder=None, **changes):
    options = {"architecture.bridge": bridge, "architecture.encoder.depth": depth}
    options |= {"architecture.decoder.depth": decoder or depth, "bidirectional": both}
    options |= {"architecture.decoder.bidirectional": False, **changes}
    return randomise(build("encoder_decoder additive", cell, **options).model).eval()


X, LENGTHS = torch.tensor([[4, 5, 6, 7, 8], [8, 4, 0, 0, 0]]), torch.tensor([5, 2])


@pytest.mark.parametrize("both", [False, True])
def test_mean_is_tanh_of_a_map_of_the_mean_of_the_real_outputs(build, randomise, both):
    model = made(build, randomise, "mean", depth=2, both=both)
    states = first_state(model, X, LENGTHS)
    for b, n in enumerate(LENGTHS):
        outputs, _ = model.encoder(model.input(X[b : b + 1, :n]))
        for level, maps in enumerate(model.bridge.maps):
            for part, state in zip(("h", "c"), states[level], strict=True):
                expected = torch.tanh(maps[part](outputs[0].mean(dim=0)))
                assert_close(state[b], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("depth", "decoder"), [(2, 2), (3, 2), (1, 2)])
def test_copy_is_the_state_itself_and_has_no_weights(build, randomise, depth, decoder):
    model = made(build, randomise, "copy", depth, decoder=decoder)
    assert not list(model.bridge.parameters())
    states = first_state(model, X, LENGTHS)
    _, final = model.encoder(model.input(X), LENGTHS)
    for level, state in enumerate(states):
        source = final[min(max(0, depth - decoder) + level, depth - 1)][0]
        for part, expected in zip(state, source, strict=True):
            assert_close(part, expected, rtol=0, atol=1e-15)


def test_copy_puts_both_directions_side_by_side(build, randomise):
    wide = {"architecture.decoder.hidden_size": 16}
    model = made(build, randomise, "copy", both=True, **wide)
    ((h, c),) = first_state(model, X, LENGTHS)
    _, (((h_1, c_1), (h_2, c_2)),) = model.encoder(model.input(X), LENGTHS)
    assert_close(h, torch.cat([h_1, h_2], dim=1), rtol=0, atol=1e-15)
    assert_close(c, torch.cat([c_1, c_2], dim=1), rtol=0, atol=1e-15)


def test_zero_leaves_x_to_attention(build, randomise):
    model = made(build, randomise, "zero", depth=2)
    assert model.bridge is None
    assert not any(part.any() for state in first_state(model, X, LENGTHS) for part in state)
    y, ends = torch.tensor([[5, 3], [5, 3]]), torch.tensor([2, 2])
    logits = model(X, LENGTHS, y, ends)
    assert not torch.allclose(logits[0], logits[1])


@pytest.mark.parametrize("bridge", ["mean", "copy", "zero"])
def test_each_way_answers_otherwise_than_the_last_state_and_trains(
    build, ragged, answer, randomise, bridge
):
    built = build("encoder_decoder additive", "gru", **{"architecture.bridge": bridge})
    usual = build("encoder_decoder additive", "gru").model
    batch = ragged(built.spec)
    shared = built.model.load_state_dict(usual.state_dict(), strict=False)
    assert set(shared.missing_keys) == set()
    assert not torch.allclose(answer(built.model.eval(), batch), answer(usual.eval(), batch))
    built.task.loss(answer(built.model.train(), batch), batch, training=True).backward()
    assert all(weight.grad is not None for weight in built.model.parameters())
    ids, _ = built.model.eval().greedy(batch.x, batch.x_lengths, 4)
    assert torch.equal(ids, built.model.beam(batch.x, batch.x_lengths, 4, beam_size=1).ids[:, 0])


def test_a_state_that_does_not_fit_is_not_copied(build, randomise):
    with pytest.raises(ConfigError) as refused:
        made(build, randomise, "copy", both=True)
    wanted = "the encoder's state is 16 wide and the decoder's 8; allowed: last, or"
    assert f"architecture.bridge=copy: {wanted} architecture.decoder.hidden_size=16" in str(
        refused.value
    )


def test_zero_without_attention_is_refused(build):
    with pytest.raises(ConfigError) as refused:
        build("encoder_decoder none", **{"architecture.bridge": "zero"})
    assert "architecture.bridge=zero: without attention y would not depend on x" in str(
        refused.value
    )
