import signal
import threading

import pytest

from seqpipe.signals import signal_handlers
from seqpipe.tracking.base import NoTracker, recording


class Recorder(NoTracker):
    def __init__(self):
        self.ends = []

    def end(self, status):
        self.ends.append(status)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (KeyboardInterrupt, "KILLED"),
        (SystemExit, "KILLED"),
        (RuntimeError, "FAILED"),
        (GeneratorExit, "FAILED"),
    ],
)
def test_every_exception_ends_the_run_and_passes(error, status):
    tracker = Recorder()
    with pytest.raises(error), recording(tracker):
        raise error
    assert tracker.ends == [status]


def test_a_block_that_ends_is_finished():
    tracker = Recorder()
    with recording(tracker) as same:
        assert same is tracker
    assert tracker.ends == ["FINISHED"]


def test_the_handlers_of_signals_are_put_back():
    with signal_handlers(
        {signal.SIGTERM: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}
    ):
        with recording(Recorder()):
            assert signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        assert signal.getsignal(signal.SIGINT) == signal.default_int_handler


def test_it_works_outside_the_main_thread():
    tracker = Recorder()

    def work():
        with recording(tracker):
            tracker.ends.append("working")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert tracker.ends == ["working", "FINISHED"]


ENDS = {
    "ok": ("FINISHED", 0),
    "raise": ("FAILED", 1),
    "Ctrl-C": ("KILLED", -signal.SIGINT),
    "SIGTERM": ("KILLED", 128 + signal.SIGTERM),
    "Ctrl-C twice": ("KILLED", -signal.SIGINT),
    "SIGTERM twice": ("KILLED", 128 + signal.SIGTERM),
}


def test_the_store_holds_how_a_process_ended_and_every_metric(loops, client):
    """In one test: two workers would both start the processes."""
    for case, (run_id, _) in loops.items():
        steps = [metric.step for metric in client.get_metric_history(run_id, "train/loss")]
        assert steps == list(range(len(steps))), case
        assert len(steps) > 20, case
    status = {case: client.get_run(run_id).info.status for case, (run_id, _) in loops.items()}
    assert {case: (status[case], code) for case, (_, code) in loops.items()} == ENDS
