"""A batch that was kept is run again with the teacher forcing of its update."""

import torch

from seqpipe.build import build_model
from seqpipe.config.compose import compose
from seqpipe.data.base import FieldSpec, SequenceBatch, SequenceSpec
from seqpipe.models.forcing import Linear
from seqpipe.tasks.transduction import Transduction
from seqpipe.training import nonfinite_guard


def test_a_replay_is_forced_as_its_update_was(monkeypatch):
    text = FieldSpec("symbols", 6)
    cfg, _ = compose(["data=dates", "hidden_size=4", "architecture.teacher_forcing_decay=linear"])
    model = build_model(cfg, SequenceSpec(text, text))
    assert isinstance(model.decay, Linear)
    seen = []
    monkeypatch.setattr(
        nonfinite_guard, "find_nonfinite", lambda *given: seen.append(model.forced_share)
    )
    ids, lengths = torch.tensor([[4, 3]]), torch.tensor([2])
    batch = SequenceBatch(ids, lengths, ids, lengths, torch.tensor([0]))
    saved = {
        "update": 501,
        "batch": vars(batch),
        "random": {"cpu": torch.get_rng_state()},
        "lanes": None,
    }
    task = Transduction(y=text, longest_y=2)
    assert nonfinite_guard.repeat_kept_batch(model, task, saved, torch.device("cpu")) is None
    assert seen == [0.75]  # after 500 of 2000 updates
