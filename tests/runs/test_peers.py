"""Processes of one training know of each other: who is there, who is lost, and how it ended."""

import socket
import subprocess
import sys
import threading
import time

import pytest

from seqpipe.peers import LostError, Peers


@pytest.fixture
def three():
    """The first of three processes and the two others, connected; all in this one."""
    peers = [Peers(rank, 3, silence=60.0) for rank in range(3)]
    address = peers[0].listen()
    for other in peers[1:]:
        other.connect(address)
    yield peers
    for each in peers:
        each.leave()


def lost_by(one: Peers) -> LostError:
    deadline = time.monotonic() + 10
    while one.lost is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert one.lost is not None
    return one.lost


def test_all_start_together_and_know_what_the_first_one_says(three):
    facts = {"folder": "/runs/ä", "run_id": None}
    found = []
    waiting = [
        threading.Thread(target=lambda peers=each: found.append(peers.wait_for_start()))
        for each in three[1:]
    ]
    waiting[0].start()
    time.sleep(0.1)
    assert not found  # the third is missing
    waiting[1].start()
    three[0].start_together(facts)
    for each in waiting:
        each.join(timeout=10)
    assert found == [facts, facts]


@pytest.mark.parametrize("rank", [0, 1])
def test_the_reason_of_one_that_ends_reaches_all_others(three, rank):
    three[rank].leave("ValueError: boom")
    for each in (0, 1, 2):
        if each != rank:
            lost = lost_by(three[each])
            assert lost.rank == rank
            assert str(lost).startswith(f"rank {rank} of 3 (pid ")
            assert "ended: ValueError: boom; the training has ended in all" in str(lost)
    with pytest.raises(LostError, match="boom"):
        three[2].wait_for_start()


@pytest.mark.parametrize("rank", [0, 2])
def test_a_connection_that_breaks_means_that_its_process_was_killed(three, rank):
    three[rank]._stopped.set()  # as `kill -9`: it says nothing
    three[rank]._thread.join()
    if three[rank]._listener is not None:
        three[rank]._listener.close()
    for each in {0, 1, 2} - {rank}:
        lost = lost_by(three[each])
        assert lost.rank == rank
        assert "ended without a message: it was killed" in str(lost)


def test_one_that_has_finished_is_not_lost(three):
    three[1].leave()
    time.sleep(0.6)  # longer than a look around
    assert three[0].lost is None
    assert three[2].lost is None


def test_one_that_is_silent_is_lost_once_its_time_is_over(three):
    three[0].silence = 1.5
    three[1]._send_all = lambda **message: None  # as after SIGSTOP: connected, and silent
    lost = lost_by(three[0])
    assert lost.silent
    assert "gave no sign of life for 2 s: it was stopped, or hangs" in str(lost)
    assert lost_by(three[2]).silent


def test_the_exit_of_a_child_that_never_connected_is_known():
    first = Peers(0, 2, silence=60.0)
    first.listen()
    first.children = [subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])]
    try:
        with pytest.raises(LostError, match=r"rank 1 of 2 \(pid \d+\) ended with exit code 3, see"):
            first.start_together({})
    finally:
        first.leave()


def test_somebody_else_on_the_port_is_ignored():
    first = Peers(0, 2, silence=60.0)
    host, port, _ = first.listen().split()
    try:
        for sent in (b"GET / HTTP/1.1\r\n\r\n", b"[1]\n", b'{"token": "guessed", "rank": 1}\n'):
            with socket.create_connection((host, int(port))) as foreign:
                foreign.sendall(sent)
                assert foreign.recv(1) == b""  # closed
        assert first.lost is None
        other = Peers(1, 2, silence=60.0)
        other.connect(f"{host} {port} {first._token}")
        other.leave("its own mistake")
        assert lost_by(first).rank == 1
    finally:
        first.leave()


@pytest.mark.parametrize(
    ("error", "noticed", "stopped", "by_signal", "known"),
    [
        (RuntimeError("Connection closed by peer"), True, False, False, True),
        (ValueError("its own"), False, False, False, False),
        (SystemExit(143), False, True, False, True),  # torchrun ends the others
        (SystemExit(143), False, True, True, False),  # somebody ends all
    ],
)
def test_the_loss_of_another_explains_an_error_of_the_exchange(
    three, error, noticed, stopped, by_signal, known
):
    three[1].leave("the reason", interrupted=by_signal)
    lost = lost_by(three[0])
    assert three[0].explained(error, noticed=noticed, stopped=stopped) is (lost if known else error)
