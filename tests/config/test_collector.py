import gc

import pytest

from seqpipe import cli, collector
from seqpipe.collector import imports_done, seldom_collecting
from seqpipe.commands import dispatch

USUAL = (701, 11, 12)


@pytest.fixture(autouse=True)
def frozen(monkeypatch):
    """The calls that would freeze the objects of this very process, in their order."""
    calls = []
    monkeypatch.setattr(collector.gc, "freeze", lambda: calls.append("freeze"))
    monkeypatch.setattr(collector.atexit, "register", lambda action: calls.append(action))
    monkeypatch.setattr(collector, "_frozen_once", [])
    before = gc.get_threshold()
    gc.set_threshold(*USUAL)
    yield calls
    gc.set_threshold(*before)


def test_the_collector_works_seldom_within_and_as_usual_after(frozen):
    with seldom_collecting():
        assert gc.get_threshold()[0] > 10_000
    assert gc.get_threshold() == USUAL
    assert frozen == []  # no command was imported


def test_an_error_restores_the_collector():
    with pytest.raises(ValueError, match="mine"), seldom_collecting():
        raise ValueError("mine")
    assert gc.get_threshold() == USUAL


def test_the_objects_of_the_imports_are_frozen_once_however_many_jobs_follow(frozen):
    with seldom_collecting():
        imports_done()
        assert gc.get_threshold() == USUAL
        imports_done()
    imports_done()
    assert gc.get_threshold() == USUAL
    assert frozen == ["freeze", collector._leave]


def test_a_program_that_calls_the_command_line_again_keeps_no_garbage(frozen):
    for _ in range(3):
        with seldom_collecting():
            imports_done()
            assert gc.get_threshold() == USUAL
    assert frozen == ["freeze", collector._leave]


def test_what_a_run_leaves_is_collected_at_the_end(frozen, monkeypatch):
    monkeypatch.setattr(collector.gc, "collect", lambda: frozen.append("collect"))
    collector._leave()
    assert frozen == ["collect", "freeze"]


def test_a_command_is_imported_before_the_objects_are_frozen(monkeypatch, capsys):
    seen = []
    monkeypatch.setattr(dispatch, "imports_done", lambda: seen.append(gc.get_threshold()))
    words = ["export", "run=nowhere", "format=onnx", "output=a.onnx"]
    monkeypatch.setattr(cli.sys, "argv", ["seqpipe", *words])
    assert cli.main() == 2
    assert "run=nowhere" in capsys.readouterr().err
    assert [threshold[0] > 10_000 for threshold in seen] == [True]
    assert gc.get_threshold() == USUAL
