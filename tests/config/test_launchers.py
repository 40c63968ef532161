"""Sweeps in several processes, with a command that only pretends to train in each of them."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from seqpipe.config.commandline import check

# Python imports it in every process that starts: no worker imports torch, and each takes a moment.
PRETEND = """
import os, signal, sys, time, types
from pathlib import Path
from types import SimpleNamespace

def run(cfg, launch):
    place = Path(launch.root, f"began {cfg.seed}")
    place.write_text(str(os.getpid()))
    print("threads", os.environ.get("OMP_NUM_THREADS"), flush=True)
    if cfg.seed == 90:
        os.kill(os.getpid(), signal.SIGKILL)
    if cfg.seed == 91:
        raise RuntimeError("a fault of ours")
    if cfg.seed >= 95:
        try:
            time.sleep(60)
        finally:
            Path(launch.root, f"closed {cfg.seed}").touch()
    return SimpleNamespace(
        summary="", monitored=cfg.seed / 2, output_dir=launch.output_dir, judged_on="",
        run_id=None, line=f"accuracy {cfg.seed}", pruned=False,
    )

train = types.ModuleType("seqpipe.commands.train")
train.run = run
sys.modules["seqpipe.commands.train"] = train
"""
MAIN = """
import sys
from seqpipe.cli import main
sys.exit(main())
"""
SWEEP = ("-m", "logger=none", "trainer.enable_progress_bar=false", "workers=2")


@pytest.fixture
def folder(environment, tmp_path_factory):
    """The user's folder, with processes that only pretend to train."""
    site = tmp_path_factory.mktemp("site")
    (site / "sitecustomize.py").write_text(PRETEND)
    variables = environment["env"]
    variables["PYTHONPATH"] = os.pathsep.join([str(site), variables["PYTHONPATH"]])
    variables.pop("OMP_NUM_THREADS", None)
    return environment["cwd"]


@pytest.fixture
def start(folder, environment, warm):
    """start("launcher=joblib", "seed=0,1"): begins a sweep with two workers."""
    begun = []

    def run(*words):
        begun.append(warm.start(MAIN, *SWEEP, *words, **environment))
        return begun[-1]

    yield run
    for each in begun:
        each.close()


def notes_of(folder):
    read = [json.loads(path.read_text()) for path in folder.glob("outputs/sweeps/*/jobs/*.json")]
    return {note["number"]: note for note in read}


def wait_for(*paths):
    deadline = time.monotonic() + 60
    while not all(path.exists() and path.read_text() for path in paths):
        assert time.monotonic() < deadline, f"{paths} did not appear"
        time.sleep(0.05)
    return [int(path.read_text()) for path in paths]


def has_ended(process: int) -> bool:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        stat = Path(f"/proc/{process}/stat")
        if not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.05)
    return False


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local", "ray"])
def test_a_job_that_fails_or_dies_takes_none_along(start, folder, launcher):
    if launcher != "joblib":
        pytest.importorskip(launcher.partition("_")[0])
    process = start(f"launcher={launcher}", "seed=1,90,91,4")
    assert process.wait() == 1
    out, err = process.stdout.read().decode(), process.stderr.read().decode()
    notes = notes_of(folder)
    assert {number: note["status"] for number, note in notes.items()} == {
        0: "finished",
        1: "failed",
        2: "failed",
        3: "finished",
    }
    assert notes[2]["message"] == "a fault of ours"
    assert sorted(out.splitlines())[:2] == ["#0 (seed=1): accuracy 1", "#3 (seed=4): accuracy 4"]
    assert err.splitlines()[-2] == "sweep: 2 of 4 jobs done, 2 failed"
    assert err.splitlines()[-1] == "seqpipe: 2 of 4 jobs failed: #1 (seed=90), #2 (seed=91)"
    (sweep,) = folder.glob("outputs/sweeps/*")
    assert "a fault of ours" in (sweep / "jobs" / "2.log").read_text()
    assert (sweep / "comparison.html").is_file()
    if launcher == "joblib":
        assert "SIGKILL" in notes[1]["message"]
        cores = len(os.sched_getaffinity(0))
        assert f"threads {max(1, cores // 2)}\n" in (sweep / "jobs" / "0.log").read_text()


@pytest.mark.slow
def test_ctrl_c_ends_the_running_jobs_and_starts_no_other(start, folder):
    process = start("launcher=joblib", "seed=95,96,97")
    workers = wait_for(folder / "began 95", folder / "began 96")
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    assert all(map(has_ended, workers))
    assert {path.name for path in folder.glob("closed *")} == {"closed 95", "closed 96"}
    assert not (folder / "began 97").exists()


@pytest.mark.slow
def test_workers_end_with_the_process_that_has_started_them(start, folder):
    process = start("launcher=joblib", "seed=95,96,97")
    workers = wait_for(folder / "began 95", folder / "began 96")
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert all(map(has_ended, workers))
    assert {path.name for path in folder.glob("closed *")} == {"closed 95", "closed 96"}
    assert not (folder / "began 97").exists()


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (
            "launcher=joblib",
            "launcher=joblib: is about the jobs of a sweep, and this is one run; allowed: with -m",
        ),
        ("workers=2", "workers=2: is about the jobs of a sweep, and this is one run; allowed"),
        ("-m seed=0,1 workers=2", "workers=2: launcher=basic runs one job after another; allowed"),
        ("-m seed=0,1 workers=0 launcher=joblib", "workers=0: out of range; allowed: an integer"),
        ("-m seed=0,1 workers=2,3 launcher=joblib", "workers=2,3: the jobs of one sweep are start"),
        ("-m launcher=joblib,basic", "launcher=joblib,basic: the jobs of one sweep are started in"),
        ("-m seed=0,1 launcher=jobli", "launcher=jobli: no such option; allowed: basic, joblib"),
    ],
)
def test_a_launcher_without_use_is_refused_with_the_reason(line, problem):
    words = line.split()
    checked = check([word for word in words if word != "-m"], sweep="-m" in words)
    assert any(one.startswith(problem) for one in checked.problems), checked.problems


def test_folds_are_a_sweep_that_a_launcher_runs():
    words = ["data=digits", "folds=3", "launcher=joblib", "workers=2"]
    assert check(words, each_fold=True).problems == []


def test_a_job_knows_nothing_of_how_it_was_started():
    (composed, *_) = check(["seed=0,1", "launcher=joblib", "workers=2"], sweep=True)
    assert "workers" not in composed.cfg
    assert "launcher" not in composed.choices
