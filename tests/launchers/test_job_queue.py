"""The queue of a sweep, with workers that only pretend, and a clock that is set."""

import io
import math
import signal

import pytest

from seqpipe.launchers.job_queue import JobQueue
from seqpipe.launchers.progress import Progress
from seqpipe.launchers.workers import InThisProcess, JobEnd, QueuedJob, Workers
from seqpipe.report.sweep_jobs import FAILED, FINISHED, REFUSED, Job, note_job, read_job, read_jobs


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


class Pretending(Workers):
    """Ends the oldest job at each look; a value that is text is the fault of its process."""

    def __init__(self, capacity):
        self.capacity, self.running, self.most, self.told = capacity, [], 0, []
        self.closed = False

    def start(self, job):
        self.running.append(job)
        self.most = max(self.most, len(self.running))

    def wait(self, seconds):
        if not self.running:
            return []
        job = self.running.pop(0)
        value = job.run()
        return [
            JobEnd(job.number, fault=value) if isinstance(value, str) else JobEnd(job.number, value)
        ]

    def end(self, number):
        self.told.append(number)

    def close(self):
        self.closed = True


def queued(tmp_path, run, *, number):
    log = tmp_path / f"{number}.log"
    return QueuedJob(number, (f"depth={number}",), f"#{number} (depth={number})", run, log)


def finishing(tmp_path, number, value=0.5):
    """A job that notes its end as a run does."""

    def run():
        note_job(
            tmp_path, Job(number, {"depth": str(number)}, status=FINISHED, line="accuracy 0.9")
        )
        return value

    return queued(tmp_path, run, number=number)


def run_queue(tmp_path, jobs, workers, ended=lambda number, value: None, total=None):
    stream, clock = io.StringIO(), Clock()
    progress = Progress(total, workers.capacity, clock=clock, stream=stream)
    JobQueue(workers, progress, tmp_path, ended).run(iter(jobs))
    return stream.getvalue()


def test_as_many_jobs_run_as_there_are_workers_and_each_is_run_once(tmp_path):
    workers, values = Pretending(2), {}
    jobs = [finishing(tmp_path, number, value=number / 4) for number in range(5)]
    run_queue(tmp_path, jobs, workers, values.__setitem__)
    assert values == {number: number / 4 for number in range(5)}
    assert workers.most == 2
    assert workers.closed


def test_the_next_job_is_chosen_when_the_result_of_the_last_is_known(tmp_path):
    known = []

    def jobs():
        for number in range(3):
            assert len(known) == number
            yield finishing(tmp_path, number)

    run_queue(tmp_path, jobs(), Pretending(1), lambda number, value: known.append(value))
    assert known == [0.5, 0.5, 0.5]


def test_a_job_whose_process_died_is_noted_as_failed_and_the_others_run(tmp_path, capsys):
    def dies():
        note_job(tmp_path, Job(1, {"depth": "1"}))  # it had begun
        return "its process was ended by SIGKILL"

    never_began = queued(tmp_path, lambda: "its process was ended by SIGSEGV", number=2)
    jobs = [finishing(tmp_path, 0), queued(tmp_path, dies, number=1), never_began]
    values = {}
    text = run_queue(tmp_path, [*jobs, finishing(tmp_path, 3)], Pretending(2), values.__setitem__)
    noted = {job.number: (job.status, job.message) for job in read_jobs(tmp_path)}
    assert noted == {
        0: (FINISHED, ""),
        1: (FAILED, "its process was ended by SIGKILL"),
        2: (FAILED, "its process was ended by SIGSEGV"),
        3: (FINISHED, ""),
    }
    assert math.isnan(values[1])
    assert text.splitlines()[-1] == "sweep: 2 jobs done, 2 failed"
    out, err = capsys.readouterr()
    assert out == "#0 (depth=0): accuracy 0.9\n#3 (depth=3): accuracy 0.9\n"
    assert "seqpipe: #1 (depth=1): failed: its process was ended by SIGKILL\n" in err


def test_a_process_that_dies_after_its_job_changes_nothing(tmp_path):
    job = finishing(tmp_path, 0)
    run_queue(
        tmp_path, [queued(tmp_path, lambda: job.run() and "it died", number=0)], Pretending(1)
    )
    assert read_job(tmp_path, 0).status == FINISHED


def test_a_refused_job_prints_its_whole_message_and_a_failed_one_where_to_read_more(
    tmp_path, capsys
):
    refused, failed = (queued(tmp_path, None, number=number) for number in (0, 1))

    def refuse():
        refused.log.write_text("a table\nseqpipe: 2 problems:\n  1. one\n  2. two\n")
        note_job(tmp_path, Job(0, {}, status=REFUSED, message="2 problems:"))
        return math.nan

    def fail():
        failed.log.write_text("Traceback ...\n")
        note_job(tmp_path, Job(1, {}, status=FAILED, message="a fault of ours"))
        return math.nan

    runs = enumerate((refuse, fail))
    run_queue(tmp_path, [queued(tmp_path, run, number=n) for n, run in runs], Pretending(1))
    assert capsys.readouterr().err == (
        "seqpipe: #0 (depth=0): refused: 2 problems:\n  1. one\n  2. two\n"
        f"seqpipe: #1 (depth=1): failed: a fault of ours; see {failed.log}\n"
    )


def test_in_this_process_a_job_prints_itself_after_its_title(tmp_path, capsys):
    workers = InThisProcess()
    text = run_queue(tmp_path, [finishing(tmp_path, 0), finishing(tmp_path, 1)], workers, total=2)
    out, err = capsys.readouterr()
    assert (out, err) == ("", "#0 (depth=0)\n#1 (depth=1)\n")
    assert text == "sweep: 1 of 2 jobs done, about 0 s left\nsweep: 2 of 2 jobs done\n"


def test_a_command_that_notes_nothing_shows_no_progress(tmp_path):
    assert run_queue(tmp_path, [queued(tmp_path, lambda: 0.0, number=0)], InThisProcess()) == ""


@pytest.mark.parametrize(
    ("error", "told"),
    [(KeyboardInterrupt(), signal.SIGINT), (SystemExit(143), signal.SIGTERM)],
)
def test_a_signal_is_passed_on_once_and_no_further_job_starts(tmp_path, error, told, capsys):
    workers, started = Pretending(2), []

    def jobs():
        for number in range(5):
            started.append(number)
            yield finishing(tmp_path, number)

    def interrupted(number, value):
        raise error

    with pytest.raises(type(error)):
        run_queue(tmp_path, jobs(), workers, interrupted)
    assert started == [0, 1]
    assert workers.told == [told]
    assert workers.closed
    assert "ending 1 running job; Ctrl-C again kills" in capsys.readouterr().err


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_time_left_is_that_of_the_jobs_that_are_done_divided_among_the_workers():
    clock = Clock()
    progress = Progress(8, 2, clock=clock, stream=io.StringIO())
    progress.started(0)
    progress.started(1)
    assert progress.line() == "sweep: 0 of 8 jobs done, 2 running"
    clock.now = 10
    progress.ended(0, failed=False)
    progress.started(2)
    assert progress.line() == "sweep: 1 of 8 jobs done, 2 running, about 30 s left"
    clock.now = 12
    progress.ended(1, failed=True)
    progress.started(3)
    # 8 s of job 2, 10 s of job 3 and 40 s of four more, on two workers
    assert progress.line() == "sweep: 1 of 8 jobs done, 2 running, 1 failed, about 29 s left"


def test_jobs_that_wait_for_a_machine_are_counted_apart():
    progress = Progress(4, 4, clock=Clock(), stream=io.StringIO())
    for number in range(4):
        progress.started(number)
    progress.waiting = 3
    progress.ended(0, failed=False, seconds=60)
    assert progress.line() == "sweep: 1 of 4 jobs done, 3 waiting, about 3 min 0 s left"


def test_on_a_terminal_the_line_takes_the_place_of_the_last_one():
    stream = Terminal()
    progress = Progress(2, 1, in_place=True, clock=Clock(), stream=stream)
    progress.started(0)
    progress.tick()
    progress.clear()
    assert stream.getvalue() == "\r\x1b[2Ksweep: 0 of 2 jobs done, 1 running\r\x1b[2K"
