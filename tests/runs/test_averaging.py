"""Callbacks that average weights: what was validated is what is tested, kept and exported."""

import pytest
import torch
from omegaconf import OmegaConf
from pytorch_lightning import Trainer

from seqpipe import build
from seqpipe.errors import ConfigError
from seqpipe.inference.load import load_model
from seqpipe.inference.model_format import LOGGED
from seqpipe.training.checkpoints import TRAINED, same_weights

PLAIN = ("scheduler=none", "optim.lr=0.03", "trainer.max_epochs=3", "preflight=none")
EMA = (
    "+callbacks.ema._target_=pytorch_lightning.callbacks.EMAWeightAveraging",
    "+callbacks.ema.decay=0.8",
)
# Averages after the validation of each epoch, so the last average is of the very end.
LATE = (*EMA, "+callbacks.ema.update_starting_at_epoch=0", "+callbacks.ema.update_every_n_steps=0")
SWA = (
    "+callbacks.swa._target_=pytorch_lightning.callbacks.StochasticWeightAveraging",
    "+callbacks.swa.swa_lrs=0.03",
    "+callbacks.swa.swa_epoch_start=1",
    "+callbacks.swa.annealing_epochs=1",
)

OURS = ("averaging=ema", "averaging.decay=0.8")
MEAN = ("averaging=asgd", "averaging.start_epoch=2")


def measured(folder, weights):
    """Metrics of some weights in validation and test, by a trainer without callbacks."""
    cfg = OmegaConf.load(folder / "config.yaml")
    data = build.build_data(cfg)
    task = build.build_task(cfg, data)
    module = build.build_module(cfg, build.build_model(cfg, data.spec, task.output_size), task)
    module.load_state_dict(weights)
    found = {}
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    for split, stage in (("valid", "validate"), ("test", "test")):
        trainer = Trainer(accelerator="cpu", enable_checkpointing=False, **quiet)
        getattr(trainer, stage)(module, data.loader(split), verbose=False)
        found |= {k: v.item() for k, v in trainer.callback_metrics.items()}
    return found


def kept(result, name="best"):
    return torch.load(result.output_dir / "checkpoints" / f"{name}.ckpt", weights_only=True)


def told(result, names):
    """What a run says of the weights it tested: `best/val/...` where it kept the best ones."""
    return {name: result.metrics.get(f"best/{name}", result.metrics[name]) for name in names}


@pytest.mark.parametrize(
    "averaging",
    [EMA, LATE, SWA, OURS, MEAN, ()],
    ids=["lightning", "lightning after epochs", "swa", "ema", "asgd", "none"],
)
def test_the_weights_that_were_validated_are_tested_kept_and_exported(launch, averaging):
    result = launch("adding", *PLAIN, *averaging)
    best = kept(result)
    wanted = measured(result.output_dir, best["state_dict"])
    assert {"val/loss", "test/loss"} < set(wanted)
    assert told(result, wanted) == pytest.approx(wanted, rel=1e-6)
    exported = {
        f"model.{k}": v
        for k, v in load_model(result.output_dir / "model" / LOGGED).network.state_dict().items()
    }
    assert same_weights(exported, best["state_dict"])
    trained = best.get("current_model_state", best.get(TRAINED, best["state_dict"]))
    assert same_weights(trained, best["state_dict"]) == (averaging in (SWA, ()))


@pytest.mark.parametrize("averaging", [EMA, SWA, OURS], ids=["lightning", "swa", "ema"])
def test_without_checkpoints_the_averages_are_validated_and_tested(launch, averaging):
    result = launch("adding", *PLAIN, "callbacks=none", *averaging)
    network = load_model(result.output_dir / "model" / LOGGED).network
    weights = {f"model.{name}": part for name, part in network.state_dict().items()}
    wanted = measured(result.output_dir, weights)
    assert told(result, wanted) == pytest.approx(wanted, rel=1e-6)


def test_a_training_with_averages_goes_on_with_the_weights_it_trained(launch):
    more = [*PLAIN[:2], "preflight=none", *LATE, "dropout=0.3"]
    straight = launch("adding", *more, "trainer.max_epochs=3", folder="straight")
    first = launch("adding", *more, "trainer.max_epochs=2", folder="first")
    checkpoint = first.output_dir / "checkpoints" / "last.ckpt"
    resumed = launch(
        "adding", *more, "trainer.max_epochs=3", f"resume={checkpoint}", folder="resumed"
    )
    for part in ("state_dict", "current_model_state"):
        assert same_weights(kept(straight, "last")[part], kept(resumed, "last")[part]), part
    assert resumed.metrics == pytest.approx(straight.metrics)


STALLED = ("averaging=asgd", "averaging.patience=1", "optim.lr=0.3", "seed=1")
ENDS = [
    (OURS, "trainer.max_epochs=2"),
    (OURS, "trainer.max_steps=6"),
    (MEAN, "trainer.max_epochs=2"),
    ((*OURS, "callbacks.checkpoint.save_last=false"), "trainer.max_epochs=2"),
    (STALLED, "trainer.max_epochs=5"),
]


@pytest.mark.parametrize(("averaging", "end"), ENDS)
def test_an_average_is_resumed_bit_for_bit(launch, averaging, end):
    whole = "trainer.max_epochs=8" if averaging is STALLED else "trainer.max_epochs=3"
    more = [*PLAIN[:2], "preflight=none", *averaging, "dropout=0.3", "diagnostics=none"]
    straight = launch("adding", *more, whole, folder="straight")
    first = launch("adding", *more, whole, end, folder="first")
    name = "last" if "callbacks.checkpoint.save_last=false" not in averaging else "best"
    checkpoint = first.output_dir / "checkpoints" / f"{name}.ckpt"
    resumed = launch("adding", *more, whole, f"resume={checkpoint}", folder="resumed")
    assert resumed.metrics == straight.metrics
    one, other = (kept(run, name) for run in (straight, resumed))
    state = next(key for key in one["callbacks"] if key in ("MovingAverage", "TriggeredMean"))
    assert one["callbacks"][state]["count"] > 1
    torch.testing.assert_close(*(run["callbacks"][state] for run in (one, other)), rtol=0, atol=0)
    for part in {"state_dict", TRAINED} & one.keys():
        assert same_weights(one[part], other[part]), part


def test_an_average_of_other_weights_is_refused(launch, tmp_path):
    first = launch("adding", *PLAIN[:2], *OURS, "trainer.max_epochs=1", folder="first")
    saved = kept(first, "last")
    saved["callbacks"]["MovingAverage"]["average"] = {"model.x": torch.zeros(3)}
    torch.save(saved, tmp_path / "last.ckpt")
    more = [*PLAIN[:2], *OURS, "trainer.max_epochs=2", f"resume={tmp_path / 'last.ckpt'}"]
    with pytest.raises(ConfigError, match="the average in it is not of these weights"):
        launch("adding", *more, folder="refused")
