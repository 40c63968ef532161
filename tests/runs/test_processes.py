"""Two processes train one model: one run, the numbers of one process, and one end."""

import csv
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from forking import SEQPIPE
from pairs import TWO, run_pair
from seqpipe.processes import usable_cores

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
PLAIN = (
    *("trainer.enable_progress_bar=false", "logger=none", "diagnostics=none", "preflight=none"),
    *("baselines=false", "hidden_size=6"),
)
# Sixteen to validate on, in batches of sixteen: one batch, which two processes must share.
LITTLE = (
    *PLAIN,
    *("data=adding", "data.length=6", "data.batch_size=16", "dropout=0.3", "scheduler=none"),
    *("data.source.train=96", "data.source.valid=16", "data.source.test=16"),
)


def last(folder: Path) -> dict:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)


# Lengths that differ, an incomplete last batch, lanes, a CRF; each with something that acts on the
# gradient of the whole update.
CASES = {
    "ragged": ("data=dates", "data.source.train=90", "trainer.accumulate_grad_batches=2"),
    "crf": (
        *("data=copy_memory", "data.length=4", "architecture/head=crf", "data.source.train=75"),
        *("trainer.gradient_clip_algorithm=value", "trainer.gradient_clip_val=0.02"),
        "task.class_weights=sqrt",
    ),
    "lanes": (
        *("data=python_docs", "data.window=null", "data.bptt=20", "trainer.limit_train_batches=8"),
        *("trainer.limit_val_batches=2", "trainer.limit_test_batches=2"),
        "activation_penalty=1.0",
    ),
    "stopped early": (
        *("data=adding", "data.length=6", "data.source.train=90", "optim.lr=0.3"),
        *("+callbacks.stop._target_=pytorch_lightning.callbacks.EarlyStopping",),
        *("+callbacks.stop.monitor=val/loss", "+callbacks.stop.patience=1"),
        *("trainer.max_epochs=20", "trainer.gradient_clip_val=0.5"),
    ),
}


def line_of(case: str, batch_size: int) -> list[str]:
    sizes = [] if case == "lanes" else ["data.source.valid=20", "data.source.test=21"]
    return [
        *(*PLAIN, "trainer.max_epochs=2", "dropout=0", "trainer.log_every_n_steps=1", *sizes),
        *(*CASES[case], f"data.batch_size={batch_size}", f"hydra.run.dir={case.replace(' ', '_')}"),
    ]


@pytest.fixture(scope="module")
def alone_and_together(warm, tmp_path_factory) -> tuple[Path, Path]:
    """Folders of runs in one process with batches of 16, and in two with batches of 8."""
    alone, together = (tmp_path_factory.mktemp(name) for name in ("alone", "together"))
    for case in CASES:
        done = warm.run(SEQPIPE, *line_of(case, 16), "trainer.threads=1", cwd=alone)
        assert done.returncode == 0, done.stderr
    done = run_pair(warm, together, *(line_of(case, 8) for case in CASES))
    assert done.returncode == 0, done.stderr
    return alone, together


@pytest.mark.parametrize("case", CASES)
def test_two_processes_train_as_one_does_with_the_same_updates(alone_and_together, case):
    alone, together = (folder / case.replace(" ", "_") for folder in alone_and_together)
    assert last(together)["global_step"] == last(alone)["global_step"] > 4
    torch.testing.assert_close(
        last(together)["state_dict"], last(alone)["state_dict"], rtol=1e-4, atol=1e-5
    )
    wanted, found = history(alone), history(together)
    assert wanted.keys() == found.keys()
    assert any(name.startswith("grad_norm/") for name, _ in wanted)
    assert found == pytest.approx(wanted, rel=1e-3, abs=1e-5)
    tested = [json.loads((f / "metrics.json").read_text()) for f in (alone, together)]
    for each in tested:
        each.pop("examples_per_second", None)
    assert tested[1] == pytest.approx(tested[0], rel=1e-3, abs=1e-5)


def history(folder: Path) -> dict[tuple[str, int], float]:
    """The numbers of each epoch and update, without those of the clock."""
    with (folder / "history.csv").open() as file:
        return {
            (row["metric"], int(row["step"])): float(row["value"])
            for row in csv.DictReader(file)
            if row["metric"] != "examples_per_second"
        }


@pytest.mark.parametrize("more", [(), ("averaging=ema", "weight_noise=0.05")])
def test_each_process_draws_its_own_numbers_and_resuming_is_training_straight_through(
    warm, tmp_path, more
):
    little = (*LITTLE, *more, "trainer.max_epochs=2")
    done = run_pair(
        warm,
        tmp_path,
        (*little, "hydra.run.dir=straight"),
        (*little, "hydra.run.dir=first", "trainer.max_steps=4"),  # of three an epoch
        (*little, "hydra.run.dir=resumed", "resume=first/checkpoints/last.ckpt"),
    )
    assert done.returncode == 0, done.stderr
    straight, first, resumed = (tmp_path / name for name in ("straight", "first", "resumed"))
    assert last(first)["global_step"] == 4
    one, other = (process["cpu"] for process in last(first)["seqpipe"]["processes"])
    assert not torch.equal(one, other)
    torch.testing.assert_close(
        last(resumed)["state_dict"], last(straight)["state_dict"], rtol=0, atol=0
    )
    wanted = json.loads((straight / "metrics.json").read_text())
    assert json.loads((resumed / "metrics.json").read_text()) == wanted


def test_processes_that_start_seconds_apart_make_one_sweep_and_one_record(warm, tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    line = ("-m", "cell=rnn,gru", *LITTLE, "trainer.max_epochs=1", "logger=mlflow")
    line = (*line, "baselines=true")
    env = {**os.environ, "TMPDIR": str(scratch)}
    done = run_pair(warm, tmp_path / "work", line, env=env, later=1.1)
    assert done.returncode == 0, done.stderr
    assert "rank 1 ended with 0" in done.stdout
    assert not list(scratch.iterdir())
    (sweep,) = (tmp_path / "work" / "outputs" / "sweeps").iterdir()
    assert {"0", "1", "comparison.html"} <= {path.name for path in sweep.iterdir()}
    assert not (tmp_path / "work" / "outputs" / "runs").exists()
    assert statuses(tmp_path / "work") == ["FINISHED"] * 3  # the sweep and its two runs
    assert done.stdout.count("mlflow run:") == 2
    assert done.stdout.count("baselines:") == 2
    assert "not measured" not in done.stderr


def statuses(folder: Path) -> list[str]:
    """The status of each run in the store."""
    with sqlite3.connect(folder / "outputs" / "mlflow.db") as store:
        return [status for (status,) in store.execute("select status from runs")]


def test_processes_share_the_cores_and_stop_at_the_same_update_when_the_time_is_over(
    warm, tmp_path
):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "config.yaml").touch()
    timed = ("trainer.max_time=00:00:00:01", "trainer.max_epochs=100000")
    env = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = run_pair(warm, tmp_path, (*LITTLE, *timed, "hydra.run.dir=taken"), env=env)
    assert done.returncode == 0, done.stderr
    share, cores = max(1, usable_cores() // 2), usable_cores()
    assert f"threads:    {share} of {cores} (shared by 2 processes)\n" in done.stdout
    assert not (tmp_path / "taken" / "checkpoints").exists()
    processes = last(tmp_path / "taken-2")["seqpipe"]["processes"]
    assert [process["threads"] for process in processes] == [share, share]
    assert processes[0]["flow"] == processes[1]["flow"]


# A number that the field puts in place of an entry when it is encoded: example 5 of train. And a
# callback that ends one of the processes.
PLANTING = """
import os, signal, time
import torch
from pytorch_lightning import Callback
from seqpipe.data.fields.series import Series

class Planting(Series):
    encoded = 0

    def encode(self, record):
        values = super().encode(record).clone()
        if self.encoded == 5:
            values[2, 0] = torch.nan
        self.encoded += 1
        return values

class Ending(Callback):
    def __init__(self, rank: int, how: str):
        self.rank, self.how = rank, how

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if trainer.global_step == 2 and trainer.global_rank == self.rank:
            if self.how == "raise":
                raise ValueError("a mistake in one of them")
            os.kill(os.getpid(), getattr(signal, self.how))

    def on_exception(self, trainer, module, exception):
        time.sleep(float(os.environ.get("SLOW_END", "0")))
"""


def test_a_nan_in_one_process_is_skipped_by_both_and_named_by_the_one_that_had_it(warm, tmp_path):
    (tmp_path / "planting.py").write_text(PLANTING)
    planted = (*LITTLE, "data.x._target_=planting.Planting", "trainer.max_epochs=2")
    fatal = (*planted, "hydra.run.dir=fatal", "trainer.max_bad_steps=0")
    done = run_pair(warm, tmp_path, (*planted, "hydra.run.dir=nan"), fatal)
    told = [line for line in done.stderr.splitlines() if " is skipped, " in line]
    assert len(told) == 3, done.stderr  # once an epoch, by one process
    for count, line in zip((1, 2, 1), told, strict=True):
        assert f"{count} so far: x holds nan at time step 3; example 5 of train; kept in" in line
    folder = tmp_path / "nan"
    assert len(list((folder / "bad_steps").iterdir())) == 2
    saved = last(folder)
    assert saved["global_step"] == 6
    assert [process["bad_steps"] for process in saved["seqpipe"]["processes"]] == [2, 2]
    flows = [process["flow"] for process in saved["seqpipe"]["processes"]]
    assert flows[0] == flows[1]
    assert sum(flows[0]["histogram"].values()) == 4
    assert all(value.isfinite().all() for value in saved["state_dict"].values())
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["bad_steps"] == 2
    assert metrics["test/loss"] is not None
    # Too many of them end both.
    assert done.returncode == 1
    assert "rank 1 ended with 1" in done.stdout
    assert done.stderr.count("x holds nan at time step 3; example 5 of train; a lower") == 1
    assert "Traceback" not in done.stderr
    assert (tmp_path / "fatal" / "metrics.json").is_file()


@pytest.mark.parametrize(
    ("rank", "how", "words"),
    [
        (1, "raise", "rank 1 of 2 (pid {pid}) ended: ValueError: a mistake in one of them"),
        (0, "SIGKILL", "rank 0 of 2 ended without a message: it was killed, or its machine"),
        (1, "SIGSTOP", "rank 1 of 2 (pid {pid}) gave no sign of life for 5 s: it was stopped"),
    ],
)
def test_the_end_of_one_process_ends_the_other_which_says_so_and_closes_the_run(
    warm, tmp_path, rank, how, words
):
    (tmp_path / "planting.py").write_text(PLANTING)
    ending = ("+callbacks.end._target_=planting.Ending", f"+callbacks.end.rank={rank}")
    line = (*LITTLE, *ending, f"+callbacks.end.how={how}", "logger=mlflow")
    started = time.monotonic()
    line = (*line, "trainer.process_timeout=5", "trainer.max_epochs=999")
    done = run_pair(warm, tmp_path, line, patience=10 if how == "SIGSTOP" else 200)
    assert done.returncode == (-signal.SIGKILL if rank == 0 else 1)
    while "RUNNING" in statuses(tmp_path) and time.monotonic() < started + 60:
        time.sleep(0.1)  # the first process was waited for, and the second one closes the run
    assert statuses(tmp_path) == ["FAILED"]
    (folder,) = (tmp_path / "outputs" / "runs").iterdir()
    report = (folder / "report.md").read_text()
    before, _, after = words.partition("{pid}")
    assert before in report
    assert after in report
    if rank == 1:
        assert done.stderr.count(f"seqpipe: {before}") == 1
        assert "the training has ended in all processes" in done.stderr


TWO_GPUS = [
    pytest.mark.gpu,
    pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs"),
]


@pytest.mark.parametrize("accelerator", ["cpu", pytest.param("gpu", marks=TWO_GPUS)])
def test_a_training_starts_its_processes_and_outlives_one_that_is_killed(tmp_path, accelerator):
    (tmp_path / "planting.py").write_text(PLANTING)
    ending = ("+callbacks.end._target_=planting.Ending", "+callbacks.end.rank=1")
    killed = (*LITTLE, *TWO, *ending, "+callbacks.end.how=SIGKILL", "trainer.max_epochs=999")
    options = (f"trainer.accelerator={accelerator}", "logger=csv", "hydra.run.dir=killed")
    # Lightning would kill the first process five seconds after it has lost another.
    done = started(tmp_path, *killed, *options, SLOW_END="6")
    assert done.returncode == 1, done.stderr
    assert "was ended by SIGKILL, perhaps by the system, which had no memory left" in done.stderr
    assert json.loads((tmp_path / "killed" / "run.json").read_text())["status"] == "FAILED"
    assert (tmp_path / "killed" / "metrics.json").is_file()


def started(folder: Path, *words: str, **more: str) -> "subprocess.CompletedProcess[str]":
    """How a command of its own ends, with more variables in its environment."""
    return subprocess.run(
        [sys.executable, "-m", "seqpipe", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), **more},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
@pytest.mark.parametrize("case", CASES)
def test_two_gpus_train_as_one_does_with_the_same_updates(tmp_path, case):
    for place, size, more in (("one", 16, ()), ("two", 8, TWO)):
        line = [*line_of(case, size), *more, "trainer.accelerator=gpu", f"hydra.run.dir={place}"]
        done = started(tmp_path, *line)
        assert done.returncode == 0, done.stderr
    torch.testing.assert_close(
        last(tmp_path / "two")["state_dict"],
        last(tmp_path / "one")["state_dict"],
        rtol=1e-3,
        atol=1e-4,
    )
