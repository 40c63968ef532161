"""Processes of workers: shared by jobs, replaced after their death, ended by a signal."""

import os
import signal
import time
from pathlib import Path

import pytest

from seqpipe.launchers import resources, worker_process
from seqpipe.launchers.loky_workers import LokyWorkers
from seqpipe.launchers.resources import GPUS, share_of_worker
from seqpipe.launchers.worker_process import perform
from seqpipe.launchers.workers import QueuedJob
from seqpipe.processes import THREAD_VARIABLES, WORKERS


def queued(folder, run, number=0, **environment):
    return QueuedJob(number, (), f"#{number}", run, folder / f"{number}.log", environment)


def ends_of(workers, count):
    ends, deadline = [], time.monotonic() + 60
    while len(ends) < count and time.monotonic() < deadline:
        ends += workers.wait(1.0)
    return {end.number: end for end in ends}


@pytest.fixture
def workers(monkeypatch):
    for name in THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(resources, "usable_cores", lambda: 6)
    made = LokyWorkers(2)
    yield made
    made.close()


def test_a_process_lives_for_many_jobs_and_its_death_fails_its_own_job_only(workers, tmp_path):
    def pid():
        print("printed by", os.getpid())
        return os.getpid()

    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    workers.start(queued(tmp_path, pid, 0))
    first = ends_of(workers, 1)[0].value
    workers.start(queued(tmp_path, die, 1))
    workers.start(
        queued(tmp_path, lambda: float(os.environ[WORKERS]) / int(os.environ["OMP_NUM_THREADS"]), 2)
    )
    ends = ends_of(workers, 2)
    assert ends[1].fault == "its process was ended by SIGKILL (out of memory?)"
    assert (ends[2].value, ends[2].fault) == (2 / 3, "")
    workers.start(queued(tmp_path, pid, 3))
    workers.start(queued(tmp_path, pid, 4))
    again = {end.value for end in ends_of(workers, 2).values()}
    assert len(again) == 2
    assert first not in again  # it was the one that died
    assert f"printed by {first:.0f}\n" == (tmp_path / "0.log").read_text()


def test_a_signal_ends_the_running_job_and_not_its_process(workers, tmp_path):
    def wait():
        Path(tmp_path, "began").touch()
        time.sleep(60)

    workers.start(queued(tmp_path, wait, 0))
    deadline = time.monotonic() + 60
    while not (tmp_path / "began").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    workers.end(signal.SIGTERM)
    assert ends_of(workers, 1)[0].fault == "ended by SIGTERM"
    workers.start(queued(tmp_path, lambda: 1.0, 1))
    assert ends_of(workers, 1)[1].value == 1.0


def raising(error):
    def run():
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (KeyboardInterrupt(), "ended by SIGINT"),
        (SystemExit(143), "ended by SIGTERM"),
        (SystemExit(3), "it exited with code 3"),
        (
            PermissionError(13, "Permission denied", "outputs"),
            "[Errno 13] Permission denied: 'outputs'",
        ),
    ],
)
def test_whatever_a_job_raises_its_process_lives_on(tmp_path, error, fault):
    end = perform(queued(tmp_path, raising(error)))
    assert end.fault == fault
    assert worker_process._running == []


def test_what_a_job_prints_is_in_its_log_and_what_comes_after_is_not(tmp_path, capfd):
    code = "import os; os.write(1, b'of a child')"

    def run():
        os.write(1, b"of the job\n")
        os.system(f'python3 -c "{code}"')
        return 1.0

    assert perform(queued(tmp_path, run, A_VARIABLE="1")).value == 1.0
    assert os.environ.pop("A_VARIABLE") == "1"
    print("after")
    assert capfd.readouterr().out == "after\n"
    assert (tmp_path / "0.log").read_text() == "of the job\nof a child"


def test_a_job_that_was_told_to_end_before_it_began_does_not_run(tmp_path, monkeypatch):
    monkeypatch.setattr(worker_process, "_received", [signal.SIGTERM])
    end = perform(queued(tmp_path, lambda: pytest.fail("it ran")))
    assert end.fault == "ended by SIGTERM"


@pytest.mark.parametrize(
    ("environ", "workers", "shares"),
    [
        ({GPUS: "0,1,2,3"}, 2, ["0,2", "1,3"]),
        ({GPUS: "4,5"}, 3, ["4", "5", "4"]),
        ({GPUS: "0"}, 2, [None, None]),
        ({GPUS: ""}, 2, [None, None]),
    ],
)
def test_gpus_are_divided_among_workers(environ, workers, shares):
    found = [share_of_worker(place, workers, environ).get(GPUS) for place in range(workers)]
    assert found == shares


def test_threads_are_divided_unless_the_user_has_set_them(monkeypatch):
    monkeypatch.setattr(resources, "usable_cores", lambda: 8)
    share = share_of_worker(0, 3, {GPUS: ""})
    assert (share["OMP_NUM_THREADS"], share["MKL_NUM_THREADS"], share[WORKERS]) == ("2", "2", "3")
    mine = share_of_worker(0, 3, {GPUS: "", "OMP_NUM_THREADS": "5"})
    assert not {*THREAD_VARIABLES, WORKERS} & mine.keys()
