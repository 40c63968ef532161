"""Runs with frozen parts: their weights stay bit for bit, whatever else the training does."""

import pytest
import torch
from omegaconf import OmegaConf
from pytorch_lightning import seed_everything

from seqpipe.build import build_data, build_model, build_task
from seqpipe.training.checkpoints import read_archive

ALL = (
    *("optim=adamw", "optim.weight_decay=0.1", "optim.weight_decay_on=all", "optim.lr=0.05"),
    *("weight_noise=0.05", "averaging=ema", "trainer.accumulate_grad_batches=2", "dropout=0.3"),
    *("scheduler=none", "diagnostics=none", "depth=2", "freeze=[layers.0,bias]"),
)


@pytest.fixture(scope="module")
def trained(launch_in, tmp_path_factory):
    return launch_in(tmp_path_factory.mktemp("frozen"), "adding", *ALL, "trainer.max_epochs=2")


def initial(cfg):
    data = build_data(cfg)
    task = build_task(cfg, data)
    seed_everything(cfg.seed, verbose=False)
    return build_model(cfg, data.spec, task.output_size).state_dict()


def frozen(name):
    return "layers.0" in name or name.endswith("bias")


def test_frozen_weights_stay_bit_for_bit_and_the_others_are_trained(trained):
    saved = read_archive(trained.output_dir / "checkpoints" / "last.ckpt")
    before = initial(OmegaConf.load(trained.output_dir / "config.yaml"))
    for weights in (saved["state_dict"], saved["trained_state_dict"]):
        after = {n.removeprefix("model."): w for n, w in weights.items() if "model." in n}
        same = {name for name, weight in before.items() if torch.equal(weight, after[name])}
        assert same == {name for name in before if frozen(name)} != set()


def test_the_optimizer_holds_no_state_of_frozen_parts(trained):
    saved = read_archive(trained.output_dir / "checkpoints" / "last.ckpt")
    count = sum(not frozen(name) for name in saved["state_dict"] if name.startswith("model."))
    (state,) = saved["optimizer_states"]
    assert len(state["state"]) == count == sum(len(g["params"]) for g in state["param_groups"])


def test_both_numbers_of_parameters_are_recorded_and_shown(trained):
    every, learned = trained.metrics["parameters"], trained.metrics["trained_parameters"]
    assert 0 < learned < every
    assert f"{every:,} parameters ({learned:,} trained)" in trained.summary
    page = (trained.output_dir / "report.md").read_text()
    assert "| trained |" in page
    assert f"{learned:,} trained" in page


@pytest.mark.slow
def test_a_resumed_training_with_frozen_parts_is_one_without_interruption(launch_in, tmp_path):
    whole = launch_in(tmp_path, "adding", *ALL, "trainer.max_epochs=3", folder="whole")
    first = launch_in(tmp_path, "adding", *ALL, "trainer.max_epochs=1", folder="first")
    last = first.output_dir / "checkpoints" / "last.ckpt"
    rest = launch_in(
        tmp_path, "adding", *ALL, "trainer.max_epochs=3", f"resume={last}", folder="rest"
    )
    assert rest.metrics == whole.metrics
