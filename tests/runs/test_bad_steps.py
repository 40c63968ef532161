"""A NaN in the data of a whole run: survived, told, counted, kept, and run again."""

import json
import logging

import pytest
import torch

from seqpipe.data.batching import Examples
from seqpipe.errors import ConfigError, TrainingError
from seqpipe.training.nonfinite_guard import read_kept_batch

PLAIN = ["trainer.max_epochs=2", "scheduler=none", "optim.lr=0.01"]


@pytest.fixture(scope="module")
def plant():
    """Puts a NaN at the third step of example 5 of the training split."""
    make = Examples.batch

    def planted(self, indices, spec):
        batch = make(self, indices, spec)
        if len(self) == 60 and batch.x is not None:  # the training split of adding
            batch.x[batch.index == 5, 2, 0] = torch.nan
        return batch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Examples, "batch", planted)
        yield


@pytest.fixture(scope="module")
def survived(launch_in, plant, tmp_path_factory):
    """The result of a run with such batches, and its warnings."""
    told = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: told.append(record.getMessage())
    logging.getLogger("seqpipe").addHandler(handler)
    result = launch_in(tmp_path_factory.mktemp("survived"), "adding", *PLAIN, "logger=csv")
    logging.getLogger("seqpipe").removeHandler(handler)
    return result, told


def test_a_run_survives_a_nan_and_tells_of_it(survived):
    result, told = survived
    assert len(told) == 2
    for count, line in enumerate(told, 1):
        assert (
            f" is skipped, {count} so far: x holds nan at time step 3; example 5 of train" in line
        )
    assert json.loads((result.output_dir / "metrics.json").read_text())["bad_steps"] == 2
    assert result.metrics["bad_steps"] == 2
    assert all(torch.tensor(value).isfinite() for value in result.metrics.values())
    recorded = (result.output_dir / "metrics.csv").read_text()
    assert recorded.count("bad_steps") >= 1
    assert len(list((result.output_dir / "bad_steps").iterdir())) == 2


def test_the_count_goes_on_where_a_run_is_resumed(launch, survived):
    last = survived[0].output_dir / "checkpoints" / "last.ckpt"
    more = [f"resume={last}", "trainer.max_epochs=3", "trainer.max_bad_steps=2"]
    with pytest.raises(TrainingError, match=r"not finite and trainer.max_bad_steps=2: x holds nan"):
        launch("adding", *PLAIN, *more, folder="resumed")


def test_anomaly_detection_ends_a_run(launch, plant):
    with pytest.raises(TrainingError, match=r"update \d+: Function '\w+' returned nan values"):
        launch("adding", *PLAIN, "trainer.detect_anomaly=true")


@pytest.fixture
def kept(survived):
    """The file of a batch that was kept."""
    return min((survived[0].output_dir / "bad_steps").iterdir())


def test_a_batch_is_replayed_and_nothing_is_trained(launch, kept, tmp_path):
    path = kept
    again = launch("adding", *PLAIN, folder="again", command="replay", file=str(path))
    file, then, now = again.summary.splitlines()
    assert file == f"file:       {path}, update {read_kept_batch(path)['update']}"
    assert then == "then:       x holds nan at time step 3; example 5 of train"
    assert now == "now:        x holds nan at time step 3; example 5 of train"
    assert not again.output_dir.exists()
    mended = torch.load(path, weights_only=True)
    mended["batch"]["x"].nan_to_num_()
    torch.save(mended, tmp_path / "mended.pt")
    again = launch(
        "adding", *PLAIN, folder="again", command="replay", file=str(tmp_path / "mended.pt")
    )
    assert again.summary.endswith("now:        the answer, the loss and its gradient are finite")


def test_a_replay_that_does_not_fit_is_refused(launch, kept, tmp_path):
    path = kept
    torch.save({"model": {}}, tmp_path / "foreign.pt")
    for file, override, message in [
        (path, "hidden_size=9", r"does not fit the model or the data \(.*size mismatch"),
        (tmp_path / "foreign.pt", "", "not a batch that seqpipe kept; allowed: outputs/runs/"),
        (tmp_path / "no.pt", "", r"file=\S+/no\.pt: no such file; allowed: outputs/runs/"),
        (path, f"resume={path}", "resume=.*: has no effect, since replay runs one batch"),
    ]:
        about = {"folder": "refused", "command": "replay", "file": str(file)}
        with pytest.raises(ConfigError, match=message):
            launch("adding", *PLAIN, *override.split(), **about)
    assert not (tmp_path / "runs" / "refused").exists()


def test_a_lane_goes_back_to_the_state_before_a_bad_batch(launch, monkeypatch, caplog):
    from seqpipe.training.module import SequenceModule

    lanes = ["data.window=null", "data.bptt=32", "data.eval_window=256", "data.batch_size=64"]
    lanes += ["task.sample_length=0", "trainer.limit_val_batches=1", "trainer.limit_test_batches=1"]
    step, states = SequenceModule.training_step, []

    def watched(self, batch, batch_idx):
        states.append(self.carried["train"].lanes)
        loss = step(self, batch, batch_idx)
        if len(states) == 3:  # a loss that is bad, though nothing in the batch is
            self.carried["train"].lanes[1][0][0][0].fill_(torch.nan)
            return loss * torch.nan
        return loss

    monkeypatch.setattr(SequenceModule, "training_step", watched)
    result = launch("python_docs", *PLAIN, *lanes, "trainer.max_steps=5")
    assert states[3] is states[2]
    assert "update 3 is skipped, 1 so far: it is finite if the batch is run again" in caplog.text
    path = result.output_dir / "bad_steps" / "step_3_rank0.pt"
    saved = read_kept_batch(path)
    assert torch.equal(saved["lanes"][0], states[2][0])
    replay = launch("python_docs", *PLAIN, *lanes, folder="again", command="replay", file=str(path))
    assert replay.summary.endswith("the answer, the loss and its gradient are finite")
