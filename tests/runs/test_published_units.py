"""Published recipes whose loss is a sum over time steps, in the units of seqpipe."""

import pytest
import torch
from pytorch_lightning import seed_everything
from torch.nn.functional import cross_entropy

from seqpipe.build import build_data, build_model, build_task
from seqpipe.commands.train import run
from seqpipe.config.compose import Launch, compose
from seqpipe.training.carried_state import Carried, answer

T = 20


@pytest.mark.parametrize("clip", [50.0, 5.0])
def test_t_times_the_rate_and_a_threshold_of_one_t_th_make_the_same_update(tmp_path, clip):
    """Theirs: the loss summed over T steps, divided by the rows; rate 1, norm clipped to 5."""
    typed = [
        *("data=python_docs", "data.window=null", f"data.bptt={T}", "data.batch_size=4"),
        *("data.eval_window=100", "hidden_size=8", "dropout=0.0", "scheduler=none", "logger=none"),
        *("optim=sgd", "optim.momentum=0", f"optim.lr={T}", "diagnostics=none", "preflight=none"),
        *("task.sample_length=0", "trainer.max_steps=1", "trainer.limit_val_batches=1"),
        *("trainer.limit_test_batches=1", "trainer.threads=1", "trainer.accelerator=cpu"),
        *(f"trainer.gradient_clip_val={clip / T}", "trainer.enable_progress_bar=false"),
    ]
    cfg, choices = compose(typed)
    made = run(cfg, Launch(tmp_path / "run", tmp_path, choices, tuple(typed))).output_dir
    trained = torch.load(made / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]

    data = build_data(cfg)
    task = build_task(cfg, data)
    seed_everything(cfg.seed, verbose=False)
    model = build_model(cfg, data.spec, task.output_size)
    batch = next(iter(data.loader("train", shuffle=True)))
    assert batch.y_lengths.tolist() == [T] * 4
    logits = answer(model, batch, Carried())
    loss = cross_entropy(logits.flatten(0, 1), batch.y.flatten(), reduction="sum") / 4
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
    assert (norm > clip) == (clip == 5.0)  # one of the two is clipped
    for name, weights in model.named_parameters():
        torch.testing.assert_close(trained[f"model.{name}"], weights - 1.0 * weights.grad)
