"""Locked dropout of whole models: what is decoded step by step has one mask a sequence."""

import pytest
import torch
from torch.testing import assert_close

LOCKED = {"dropout": 0.5, "input_dropout": 0.3, "locked_dropout": True, "depth": 2}


@pytest.mark.parametrize(
    ("attention", "feeding"), [("none", False), ("additive", False), ("additive", True)]
)
def test_a_decoder_that_reads_the_truth_step_by_step_drops_as_over_the_whole(
    attention, feeding, build, ragged, randomise
):
    options = {**LOCKED, "architecture.input_feeding": feeding}
    built = build(f"encoder_decoder {attention}", **options)
    model, batch = randomise(built.model).train(), ragged(built.spec)
    keys, state = model._encode(batch.x, batch.x_lengths)

    def whole():
        torch.manual_seed(1)
        return model.head(model._forced(keys, state, batch.y, batch.y_lengths)[0])

    dropped = whole()
    torch.manual_seed(1)
    stepped = model._forced_in_part(keys, state, batch.y, share=1 - 1e-12)
    real = torch.arange(batch.y.shape[1]) < batch.y_lengths[:, None]
    assert_close(stepped[real], dropped[real], rtol=0, atol=1e-12)
    model.eval()
    assert not whole().eq(dropped).all()


def test_the_last_state_is_dropped_at_the_rate_of_the_outputs(build, ragged, randomise):
    built = build("many_to_one last", hidden_size=200, dropout=0.0, output_dropout=0.4, depth=2)
    model, batch = randomise(built.model).train(), ragged(built.spec, torch.float64)
    seen = []
    model.head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model(batch.x, batch.x_lengths)
    assert 0.35 < seen[0].eq(0).double().mean() < 0.45
