"""The number of threads of a run: chosen, measured without a trace, recorded, and used again."""

import logging
import math
import os
import shutil
from types import SimpleNamespace

import pytest
import torch

from seqpipe.commands.options import Rerun
from seqpipe.commands.rerun import run as rerun
from seqpipe.config.compose import Launch, compose
from seqpipe.errors import ConfigError
from seqpipe.models.many_to_one import ManyToOne
from seqpipe.runs import step_times, threads
from seqpipe.runs.checked_module import build_checked_module
from seqpipe.runs.load_data import load_data
from seqpipe.runs.step_times import RunLength
from seqpipe.runs.threads import Threads, choose_threads, computing_with, fastest, run_length
from seqpipe.tracking.run_record import read_run_folder

QUICK = ("trainer.max_epochs=2", "preflight=none", "diagnostics=none")
LONG = RunLength(math.inf, math.inf)


@pytest.fixture
def machine(monkeypatch) -> None:
    """Four cores, and a user who set nothing."""
    for name in threads.THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(threads, "usable_cores", lambda: 4)


@pytest.fixture
def measures(machine, monkeypatch):
    """measures({1: 2.0, 4: 1.0}): what every measurement finds; returns what was asked."""

    def found(seconds):
        asked = []

        def times(module, trainer, batches, candidates, run):
            asked.append(candidates)
            return {count: [second] for count, second in seconds.items()}

        monkeypatch.setattr(threads, "step_times", times)
        return asked

    return found


def threads_of(folder) -> str:
    return read_run_folder(folder, "run").tags["threads"]


def checkpoint(folder):
    return folder / "checkpoints" / "last.ckpt"


def loaded(tmp_path, *overrides):
    typed = ["data=adding", "data.length=6", "data.source.train=60", "hidden_size=8"]
    typed += ["data.source.valid=16", "data.source.test=16", "logger=none", "preflight=none"]
    cfg, choices = compose([*typed, "trainer.accelerator=cpu", *overrides])
    launch = Launch(tmp_path / "run", tmp_path, choices, tuple(typed))
    data = load_data(cfg, launch)
    return cfg, data, build_checked_module(cfg, launch, data)[0]


def chosen(tmp_path, *overrides, **more) -> Threads:
    return choose_threads(*loaded(tmp_path, *overrides), **more)


def test_more_threads_need_a_gain():
    assert fastest({1: [1.0, 1.0, 1.0], 2: [0.95, 0.92, 0.2]}) == 1
    assert fastest({1: [1.0, 1.0, 1.0], 2: [0.8, 0.85, 3.0]}) == 2  # another program came by
    assert fastest({4: [0.75], 1: [1.0], 2: [0.8]}) == 2
    assert fastest({4: [0.4], 1: [1.0], 2: [2.0]}) == 4


def test_the_fastest_number_is_used_recorded_and_said(launch, measures, capsys):
    before = torch.get_num_threads()
    asked = measures({1: 0.0125, 4: 0.005})
    result = launch("adding", *QUICK)
    line = "4 of 4 (measured: 1 thread 12.5 ms a step, 4 threads 5 ms)"
    assert asked == [[1, 4]]
    assert f"threads: {line}\n" in capsys.readouterr().err
    assert f"threads:    {line}\n" in result.summary
    assert threads_of(result.output_dir) == "4"
    saved = torch.load(checkpoint(result.output_dir), weights_only=True)
    assert [process["threads"] for process in saved["seqpipe"]["processes"]] == [4]
    assert torch.get_num_threads() == before
    assert threads.THREAD_VARIABLES[0] not in os.environ


def test_on_many_cores_half_of_them_is_measured_too(tmp_path, measures, monkeypatch):
    asked = measures({1: 2.0, 8: 1.0, 16: 1.0})
    monkeypatch.setattr(threads, "usable_cores", lambda: 16)
    assert chosen(tmp_path).count == 8
    assert asked == [[1, 8, 16]]


@pytest.mark.parametrize(
    ("overrides", "environ", "cores", "reason"),
    [
        ([], {"OMP_NUM_THREADS": "1"}, 4, "OMP_NUM_THREADS"),
        ([], {"MKL_NUM_THREADS": "1"}, 4, "MKL_NUM_THREADS"),
        ([], {}, 1, "the only core"),
        (["trainer.deterministic=true"], {}, 4, "torch's default: trainer.deterministic"),
        (["trainer.max_steps=1"], {}, 4, "torch's default: a short run, nothing is measured"),
        (["trainer=debug"], {}, 4, "torch's default: a short run, nothing is measured"),
    ],
)
def test_nothing_is_measured_where_something_else_decides(
    tmp_path, machine, monkeypatch, overrides, environ, cores, reason
):
    monkeypatch.setattr(step_times, "_step_of", lambda *arguments: pytest.fail("measured"))
    monkeypatch.setattr(threads, "usable_cores", lambda: cores)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert chosen(tmp_path, *overrides) == Threads(torch.get_num_threads(), cores, reason)


def test_processes_share_the_cores(tmp_path, machine):
    cfg, _, module = loaded(tmp_path)
    for processes, share in ((2, 2), (3, 1), (8, 1)):
        several = SimpleNamespace(num_devices=processes, world_size=processes)
        found = choose_threads(cfg, SimpleNamespace(trainer=several, resumed=None), module)
        assert found == Threads(share, 4, f"shared by {processes} processes")


def test_a_gpu_keeps_the_number_of_torch(tmp_path, machine):
    cfg, _, module = loaded(tmp_path)
    strategy = SimpleNamespace(root_device=torch.device("cuda"))
    trainer = SimpleNamespace(num_devices=1, world_size=1, strategy=strategy)
    found = choose_threads(cfg, SimpleNamespace(trainer=trainer, resumed=None), module)
    assert found.reason == "torch's default: the model computes on cuda"
    assert found.count == torch.get_num_threads()


def test_a_typed_number_is_used_and_one_above_the_cores_is_a_warning(
    launch, measures, caplog, monkeypatch
):
    asked = measures({})
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with caplog.at_level(logging.WARNING):
        few = launch("adding", *QUICK, "trainer.threads=2", folder="few")
        assert caplog.text == ""
        many = launch("adding", *QUICK, "trainer.threads=5", folder="many")
    assert [threads_of(each.output_dir) for each in (few, many)] == ["2", "5"]
    assert "threads:    2 of 4 (trainer.threads)\n" in few.summary
    assert "5 of 4 (trainer.threads): more than the cores that this process may use" in caplog.text
    assert asked == []
    assert os.environ["OMP_NUM_THREADS"] == "1"


def test_a_resumed_run_uses_the_number_of_its_checkpoint_unless_another_is_typed(
    launch, measures, tmp_path, caplog
):
    measures({1: 1.0, 4: 0.5})
    first = launch("adding", *QUICK)
    assert "measured: 1 thread 1,000 ms a step, 4 threads 500 ms" in first.summary
    measures({1: 0.5, 4: 1.0})
    more = ["preflight=none", "diagnostics=none", "trainer.max_epochs=3"]
    last = checkpoint(first.output_dir)
    resumed = launch("adding", *more, f"resume={last}", folder="resumed")
    typed = launch("adding", *more, f"resume={last}", "trainer.threads=2", folder="typed")
    assert [threads_of(each.output_dir) for each in (resumed, typed)] == ["4", "2"]
    assert "threads:    4 of 4 (as the run that is resumed)\n" in resumed.summary
    saved = torch.load(last, weights_only=True)
    del saved["seqpipe"]["processes"][0]["threads"]  # as older versions wrote it
    torch.save(saved, tmp_path / "old.ckpt")
    old = launch("adding", *more, f"resume={tmp_path / 'old.ckpt'}", folder="old")
    assert threads_of(old.output_dir) == "1"
    saved["seqpipe"]["processes"][0]["threads"] = 0
    torch.save(saved, tmp_path / "broken.ckpt")
    with pytest.raises(ConfigError, match=r"broken.ckpt: not a checkpoint of seqpipe .*threads=0"):
        launch("adding", *more, f"resume={tmp_path / 'broken.ckpt'}", folder="broken")


def test_a_rerun_uses_the_number_of_the_run_unless_another_is_typed(
    launch, measures, tmp_path, monkeypatch, caplog
):
    before = torch.get_num_threads()
    measures({1: 1.0, 4: 0.5})
    first = launch("adding", *QUICK)
    measures({1: 0.5, 4: 1.0})
    monkeypatch.setattr(threads, "usable_cores", lambda: 2)  # another machine
    with caplog.at_level(logging.WARNING):
        assert rerun(Rerun(run=str(first.output_dir), strict=True), tmp_path).code == 0
    assert "4 of 2 (of the rerun): more than the cores" in caplog.text
    assert torch.get_num_threads() == before
    (again,) = tmp_path.glob("outputs/runs/*")
    assert threads_of(again) == "4"
    shutil.rmtree(again)
    caplog.clear()
    rerun(Rerun(run=str(first.output_dir), threads=2), tmp_path)
    assert "differs from the run: threads: then 4, now 2" in caplog.text
    (again,) = tmp_path.glob("outputs/runs/*")
    assert threads_of(again) == "2"


def test_a_run_recorded_before_the_option_can_be_repeated(launch, tmp_path, machine):
    first = launch("adding", *QUICK, "trainer.threads=1").output_dir
    config, facts = first / "config.yaml", first / "provenance.json"
    kept = [line for line in config.read_text().splitlines() if line.strip() != "threads: 1"]
    assert len(kept) == len(config.read_text().splitlines()) - 1
    config.write_text("\n".join(kept) + "\n")
    facts.write_text(facts.read_text().replace(" trainer.threads=1", ""))
    assert rerun(Rerun(run=str(first), strict=True), tmp_path).code == 0


@pytest.mark.parametrize(
    ("data", "overrides"),
    [
        ("adding", ["dropout=0.3"]),
        ("digits", ["dropout=0.3", "data.num_workers=1", "trainer.limit_train_batches=4"]),
        ("python_docs", ["data.bptt=16", "data.window=null", "trainer.limit_train_batches=4"]),
        ("dates", ["architecture.teacher_forcing=0.5", "trainer.precision=bf16-mixed"]),
        ("adding", ["trainer.precision=64"]),
        ("adding", ["trainer.overfit_batches=1"]),
    ],
)
def test_measuring_changes_no_number(launch, machine, monkeypatch, data, overrides):
    limited = ("trainer.limit_val_batches=2", "trainer.limit_test_batches=2")
    more = [*QUICK, *(() if "overfit" in str(overrides) else limited), *overrides]
    fixed = launch(data, *more, "trainer.threads=1", folder="fixed")
    seen = []
    monkeypatch.setattr(threads, "fastest", lambda seconds: seen.append(seconds) or 1)
    monkeypatch.setattr(step_times, "SHARE", 100.0)  # the run is short
    measured = launch(data, *more, folder="measured")
    assert [sorted(seconds) for seconds in seen] == [[1, 4]]
    assert all(len(each) >= step_times.FEW for each in seen[0].values())
    assert measured.metrics == fixed.metrics
    weights = [
        torch.load(checkpoint(run.output_dir), weights_only=True)["state_dict"]
        for run in (fixed, measured)
    ]
    torch.testing.assert_close(*weights, rtol=0, atol=0)


def test_measuring_leaves_gradients_and_the_random_state_as_they_are(tmp_path):
    _, data, module = loaded(tmp_path, "dropout=0.3")
    batches = data.data.loader("train").first(2)
    state, before = torch.get_rng_state(), torch.get_num_threads()
    seconds = step_times.step_times(module, data.trainer, batches, [1, 2], LONG)
    assert all(second > 0 for each in seconds.values() for second in each)
    assert all(parameter.grad is None for parameter in module.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("run", "second", "turns"),
    [
        (LONG, 0.001, 12),  # a fast model
        (LONG, 10.0, 4),  # a slow one
        (RunLength(200, math.inf), 10.0, 3),  # 3 % of 200 batches are three turns of two
        (RunLength(133, math.inf), 10.0, 0),
        (RunLength(math.inf, 2000.0), 10.0, 3),  # of 2000 s, 60
        (RunLength(math.inf, 600.0), 10.0, 1),  # only then is it known that a step takes so long
    ],
)
def test_measuring_takes_a_small_part_of_the_run(monkeypatch, run, second, turns):
    now, steps = [0.0], []

    def step(batch):
        steps.append(batch)
        now[0] += second

    monkeypatch.setattr(step_times, "_step_of", lambda *arguments: step)
    monkeypatch.setattr(step_times.time, "perf_counter", lambda: now[0])
    seconds = step_times.step_times(None, None, ["a", "b"], [1, 2], run)
    assert len(steps) == 2 * turns
    assert steps[:4] == ["a", "a", "b", "b"][: len(steps)]  # the same batch for each number
    assert {len(each) for each in seconds.values()} == ({max(1, turns - 1)} if turns else set())


@pytest.mark.parametrize(
    ("times", "turns"), [({1: 0.2, 2: 0.41}, 1), ({1: 0.2, 2: 0.39}, 4), ({1: 0.41, 2: 0.2}, 4)]
)
def test_a_clear_result_ends_the_measurement(monkeypatch, times, turns):
    now, steps = [0.0], []

    def step(batch):
        steps.append(batch)
        now[0] += times[torch.get_num_threads()]

    monkeypatch.setattr(step_times, "_step_of", lambda *arguments: step)
    monkeypatch.setattr(step_times.time, "perf_counter", lambda: now[0])
    seconds = step_times.step_times(None, None, ["a", "b"], [1, 2], LONG)
    assert len(steps) == 2 * turns
    assert fastest(seconds) == min(times, key=times.__getitem__)


def test_the_first_turn_is_not_counted_and_the_order_alternates(monkeypatch):
    used = []
    monkeypatch.setattr(step_times, "_step_of", lambda *arguments: used.append)
    monkeypatch.setattr(
        step_times,
        "_step_of",
        lambda *arguments: lambda batch: used.append(torch.get_num_threads()),
    )
    step_times.step_times(None, None, ["a"], [1, 2], LONG)
    assert used[:6] == [1, 2, 2, 1, 1, 2]


class Fails(ManyToOne):
    """Raises in the training alone."""

    def forward(self, x, x_lengths, y=None, y_lengths=None):
        if self.training and torch.get_num_threads() == 4:
            raise RuntimeError("no")
        return super().forward(x, x_lengths)


def test_a_model_that_cannot_be_measured_is_trained_as_before(launch, machine, monkeypatch):
    monkeypatch.setattr(step_times, "SHARE", 100.0)
    result = launch("adding", *QUICK, f"architecture._target_={__name__}.Fails")
    assert "(torch's default: no step could be measured)" in result.summary


@pytest.mark.parametrize(
    ("overrides", "length"),
    [
        ([], (30 * 10, math.inf)),
        (["trainer.max_epochs=3"], (30, math.inf)),
        (["trainer.max_steps=7", "trainer.accumulate_grad_batches=2"], (14, math.inf)),
        (["trainer.max_epochs=-1", "trainer.max_time=00:00:01:30"], (math.inf, 90)),
        (["trainer.limit_train_batches=0.5", "trainer.max_epochs=2"], (10, math.inf)),
        (["trainer.limit_train_batches=4", "trainer.max_epochs=2"], (8, math.inf)),
        (["trainer.overfit_batches=1"], (30, math.inf)),
    ],
)
def test_the_length_of_a_run_is_known_from_its_options(overrides, length):
    cfg, _ = compose(["data=digits", "trainer.max_epochs=30", "scheduler=none", *overrides])
    assert run_length(cfg, 10) == RunLength(*length)


def test_the_number_of_before_comes_back_after_an_error(machine):
    before = torch.get_num_threads()
    seen = []

    def fails():
        with computing_with(Threads(2, 4, "")):
            seen.extend([torch.get_num_threads(), os.environ["OMP_NUM_THREADS"]])
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert seen == [2, "2"]
    assert torch.get_num_threads() == before
    assert "OMP_NUM_THREADS" not in os.environ
