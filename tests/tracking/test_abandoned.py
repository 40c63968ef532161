"""Runs whose process was killed are KILLED when the next run opens the store."""

import os
import subprocess
import sys

import pytest

from seqpipe.tracking.abandoned_runs import PROCESS, process_mark

pytestmark = pytest.mark.skipif(process_mark() is None, reason="no /proc")


@pytest.fixture
def sleeper():
    """A process that waits to be killed."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def status(client, tracker):
    return client.get_run(tracker.run_id).info.status


def test_a_run_of_a_killed_process_is_killed_and_one_of_a_living_process_continues(
    make_tracker, a_run, client, sleeper, caplog
):
    theirs, living, other = make_tracker(), make_tracker(), make_tracker()
    for tracker in (theirs, living, other):
        tracker.start(**a_run)
    mark = process_mark(str(sleeper.pid))
    assert mark is not None
    client.set_tag(theirs.run_id, PROCESS, mark)
    client.set_tag(other.run_id, PROCESS, "another-boot pid:[1] 1 1")
    fourth = make_tracker()
    fourth.start(**a_run)
    assert status(client, theirs) == "RUNNING"  # its process waits
    sleeper.kill()
    sleeper.wait()
    fifth = make_tracker()
    fifth.start(**a_run)
    assert status(client, theirs) == "KILLED"
    assert [status(client, one) for one in (living, other, fourth, fifth)] == ["RUNNING"] * 4
    assert "is set to KILLED, because its process ended without setting a status" in caplog.text
    for tracker in (living, other, fourth, fifth):
        tracker.end("FINISHED")


def test_a_number_that_another_process_has_by_now_is_not_the_same_process(sleeper):
    mine = process_mark(str(sleeper.pid))
    assert mine is not None
    assert mine != process_mark()
    assert process_mark() == process_mark("self")
    assert mine.split()[:2] == process_mark().split()[:2]


def test_a_process_that_nobody_waited_for_has_ended(sleeper):
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)  # it stays a zombie
    assert process_mark(str(sleeper.pid)) is None
