"""Two processes train one model: one run, the numbers of one process, and exact resuming."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient
from omegaconf import OmegaConf
from pytorch_lightning import Trainer

from seqpipe.build import build_data, build_model, build_module, build_task
from seqpipe.processes import usable_cores

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
TWO = ("trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu", "hidden_size=8")
QUIET = ("trainer.enable_progress_bar=false",)
# Sixteen to validate on, in batches of sixteen: one batch, which two processes must share.
LITTLE = (
    *("data=adding", "data.length=6", "data.batch_size=16", "dropout=0.3", "scheduler=none"),
    *("data.source.train=96", "data.source.valid=16", "data.source.test=16", "logger=none"),
)


def started(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    """How the command line ends."""
    return subprocess.run(
        [sys.executable, "-m", "seqpipe", *TWO, *QUIET, *overrides],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def run(folder: Path, *overrides: str, with_warnings: bool = False) -> tuple[Path, str]:
    """The folder of the run that the command line makes, and what it printed."""
    folder.mkdir(exist_ok=True)
    done = started(folder, *overrides)
    assert done.returncode == 0, done.stderr
    (made,) = (folder / "outputs" / "runs").iterdir()
    return made, done.stdout + done.stderr * with_warnings


def test_processes_share_the_cores_and_each_records_its_threads(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS")
    few = (*LITTLE, "trainer.max_epochs=1")
    shared, printed = run(tmp_path / "shared", *few)
    cores = usable_cores()
    share = max(1, cores // 2)
    assert f"threads:    {share} of {cores} (shared by 2 processes)\n" in printed
    assert threads_of(shared) == [share, share]
    typed, _ = run(tmp_path / "typed", *few, f"trainer.threads={share + 1}")
    assert threads_of(typed) == [share + 1, share + 1]


def threads_of(folder: Path) -> list[int]:
    """The number of threads of each process of a run."""
    return [process["threads"] for process in last(folder)["seqpipe"]["processes"]]


def last(folder: Path) -> dict:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)


@pytest.mark.parametrize("more", [(), ("averaging=ema", "weight_noise=0.05")])
def test_each_process_draws_its_own_numbers_and_resuming_is_training_straight_through(
    tmp_path, more
):
    little = (*LITTLE, *more, "trainer.max_epochs=2")
    straight, _ = run(tmp_path / "straight", *little)
    first, _ = run(tmp_path / "first", *little, "trainer.max_steps=4")
    assert last(first)["global_step"] == 4  # of three an epoch
    one, other = (process["cpu"] for process in last(first)["seqpipe"]["processes"])
    assert not torch.equal(one, other)
    checkpoint = first / "checkpoints" / "last.ckpt"
    resumed, _ = run(tmp_path / "resumed", *little, f"resume={checkpoint}")
    torch.testing.assert_close(
        last(resumed)["state_dict"], last(straight)["state_dict"], rtol=0, atol=0
    )
    wanted = json.loads((straight / "metrics.json").read_text())
    assert json.loads((resumed / "metrics.json").read_text()) == wanted


def test_two_processes_make_one_run_with_the_numbers_of_one_process(tmp_path):
    folder, printed = run(tmp_path, "data=digits", "trainer.max_epochs=2")
    client = MlflowClient(f"sqlite:///{tmp_path}/outputs/mlflow.db")
    experiment = client.get_experiment_by_name("digits")
    (recorded,) = client.search_runs([experiment.experiment_id])
    assert recorded.info.status == "FINISHED"
    assert {"config.yaml", "metrics.json", "report.md"} <= {path.name for path in folder.iterdir()}
    assert printed.count(recorded.info.run_id) == 1  # one summary, from one process
    alone = metrics_in_one_process(folder)
    assert "test/macro_f1" in alone
    together = json.loads((folder / "metrics.json").read_text())
    assert {name: together[name] for name in alone} == pytest.approx(alone, rel=1e-5)


def metrics_in_one_process(folder: Path) -> dict[str, float]:
    """The test metrics of a run's best checkpoint, in this process."""
    cfg = OmegaConf.load(folder / "config.yaml")
    data = build_data(cfg)
    module = build_module(cfg, build_model(cfg, data.spec), build_task(cfg, data))
    best = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)
    module.load_state_dict(best["state_dict"])
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False)
    trainer.test(module, data.loader("test"), verbose=False)
    return {name: value.item() for name, value in trainer.callback_metrics.items()}


# A number that the field puts in place of an entry when it is encoded: example 5 of train.
PLANTING = """
import torch
from seqpipe.data.fields.series import Series

class Planting(Series):
    encoded = 0

    def encode(self, record):
        values = super().encode(record).clone()
        if Planting.encoded == 5:
            values[2, 0] = torch.nan
        Planting.encoded += 1
        return values
"""


def test_a_nan_in_one_process_is_skipped_by_both_and_named_by_the_one_that_had_it(tmp_path):
    (tmp_path / "planting.py").write_text(PLANTING)
    planted = ("data.x._target_=planting.Planting", "trainer.max_epochs=2", "preflight=none")
    folder, printed = run(tmp_path, *LITTLE, *planted, with_warnings=True)
    told = [line for line in printed.splitlines() if " is skipped, " in line]
    assert len(told) == 2, printed  # once an epoch, by one process
    for count, line in enumerate(told, 1):
        assert f"{count} so far: x holds nan at time step 3; example 5 of train; kept in" in line
    assert len(list((folder / "bad_steps").iterdir())) == 2
    saved = last(folder)
    assert saved["global_step"] == 6
    assert [process["bad_steps"] for process in saved["seqpipe"]["processes"]] == [2, 2]
    flows = [process["flow"] for process in saved["seqpipe"]["processes"]]
    assert flows[0] == flows[1]
    assert sum(flows[0]["histogram"].values()) == 4
    assert all(value.isfinite().all() for value in saved["state_dict"].values())
    assert json.loads((folder / "metrics.json").read_text())["bad_steps"] == 2
    assert json.loads((folder / "metrics.json").read_text())["test/loss"] is not None


SLOW_END = """
import time
from pytorch_lightning import Callback

class SlowEnd(Callback):
    def on_exception(self, trainer, module, exception):
        time.sleep(8 if trainer.is_global_zero else 0)
"""


def test_too_many_nans_end_both_processes_and_the_main_one_in_its_own_time(tmp_path):
    (tmp_path / "planting.py").write_text(PLANTING + SLOW_END)
    planted = ("data.x._target_=planting.Planting", "trainer.max_bad_steps=0", "preflight=none")
    done = started(tmp_path, *LITTLE, *planted, "+callbacks.slow._target_=planting.SlowEnd")
    assert done.returncode == 1
    assert "x holds nan at time step 3; example 5 of train; a lower optim.lr" in done.stderr
    assert "Traceback" not in done.stderr
    (folder,) = (tmp_path / "outputs" / "runs").iterdir()
    assert (folder / "metrics.json").is_file()  # the record that it writes at its end
