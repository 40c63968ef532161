"""A state that is carried makes pieces read like the whole; the gradient stays in its piece."""

import pytest
import torch

from seqpipe.build import build_data, build_model, build_module, build_task
from seqpipe.config.compose import compose
from seqpipe.training.carried_state import Carried


def module_of(*overrides):
    """A language model of little, and what it reads in lanes."""
    torch.manual_seed(0)
    cfg, _ = compose(["data=python_docs", "hidden_size=6", "dropout=0.0", *overrides])
    data = build_data(cfg)
    return build_module(cfg, build_model(cfg, data.spec), build_task(cfg, data)).eval(), data


LANES = ["data.window=null", "data.bptt=7", "data.eval_window=64", "data.batch_size=8"]


@pytest.fixture(scope="module", params=["lstm", "gru", "rnn"])
def trained(request):
    return module_of(f"cell={request.param}", *LANES)


def test_pieces_in_their_state_are_answered_like_the_whole_text(trained):
    module, data = trained
    rows, bounds = data._lanes["test"]
    with torch.no_grad():
        pieces = {}
        carried = Carried()
        for batch in list(data.loader("test"))[:6]:
            state = carried.enter(module.model.start(len(batch)), batch.lane, batch.fresh)
            logits, state = module.model.carry(None, None, batch.y, batch.y_lengths, state)
            carried.leave(state, batch.lane)
            for row, length in enumerate(batch.y_lengths.tolist()):
                pieces.setdefault(int(batch.index[row]), []).append(logits[row, :length])
        assert len(pieces) >= 8
        assert any(len(parts) > 2 for parts in pieces.values())
        for document, parts in pieces.items():
            answered = torch.cat(parts)
            y = torch.from_numpy(
                rows.y.span(int(bounds[document]), int(bounds[document]) + len(answered)).copy()
            ).long()[None]
            whole = module.model(None, None, y, torch.tensor([y.shape[1]]))[0]
            torch.testing.assert_close(answered, whole, rtol=0, atol=1e-5)


def test_no_gradient_leaves_the_batch_it_belongs_to(trained):
    module, data = trained
    batches = iter(data.loader("train"))
    losses = [module.training_step(next(batches), i) for i in range(2)]
    losses[1].backward()  # through the graph of the first it would fail after the next line
    losses[0].backward()
    held = module.carried["train"].lanes
    assert not held[0].requires_grad
    assert not held[1][0][0][0].requires_grad
    module.carried["train"].lanes = None


def test_a_row_that_starts_anew_carries_nothing(trained):
    module, _ = trained
    carried = Carried()
    y = torch.randint(4, 9, (3, 5))
    lengths, lane = torch.tensor([5, 5, 5]), torch.arange(3)
    fresh = torch.tensor([False, True, False])
    start = module.model.start(3)
    _, state = module.model.carry(None, None, y, lengths, start)
    carried.leave(state, lane)
    entered = carried.enter(start, lane, fresh)
    assert torch.equal(entered[0], torch.tensor([y[0, 4], start[0][1], y[2, 4]]))
    part = entered[1][0][0][0]
    assert torch.equal(part[1], start[1][0][0][0][1])
    assert not torch.equal(part[0], start[1][0][0][0][0])


def test_a_lane_that_has_ended_does_not_disturb_the_others():
    carried = Carried()
    carried.leave((torch.arange(3.0),), torch.arange(3))
    carried.leave((torch.tensor([7.0]),), torch.tensor([1]))
    entered = carried.enter((torch.zeros(2),), torch.tensor([1, 2]), torch.zeros(2, dtype=bool))
    assert entered[0].tolist() == [7, 2]
