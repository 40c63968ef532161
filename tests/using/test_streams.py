"""Streams of answers that end before their input does."""

import gc
import threading

import pytest


@pytest.mark.parametrize("end", ["close", "throw", "drop", "cycle"])
def test_a_stream_that_nobody_asks_on_ends(made, end, gone):
    model, closed = made("category of text").model, threading.Event()

    def endless():
        try:
            while True:
                yield {"text": "the cat"}
        finally:
            closed.set()

    answers = model.answers(endless(), chunk=10, ahead=True)
    next(answers)
    if end == "throw":
        with pytest.raises(ValueError, match="mine"):
            answers.throw(ValueError("mine"))
    elif end == "close":
        answers.close()
    elif end == "cycle":
        itself = [answers]
        itself.append(itself)
        del itself
    del answers
    gc.collect()
    assert gone()
    assert closed.is_set()


def test_a_program_that_ends_in_the_middle_ends_quietly(made, warm, tmp_path):
    """With the stream still held, its threads at work and its input without an end."""
    folder = made("category of text").folder
    program = (
        "import itertools, sys, torch, seqpipe\n"
        "torch.set_num_threads(2)\n"
        "model = seqpipe.load(sys.argv[1])\n"
        "texts = ({'text': 'the cat sat ' * 50} for _ in itertools.count())\n"
        "answers = model.answers(texts, ahead=True)\n"
        "print('asked', next(answers).error)\n"
    )
    for _ in range(2):
        done = warm.run(program, str(folder), cwd=tmp_path)
        assert (done.returncode, done.stdout, done.stderr) == (0, "asked None\n", "")


@pytest.mark.parametrize("name", ["category of text", "tags of spans", "tags of spans in windows"])
def test_an_answer_becomes_plain_values_when_it_is_asked_for(made, monkeypatch, name):
    """Floats of Python in lists and dicts take many times the memory of arrays."""
    model, count = made(name).model, 0
    answer_of = model.task.answer

    def counted(*parts):
        nonlocal count
        count += 1
        return answer_of(*parts)

    monkeypatch.setattr(model.task, "answer", counted)
    column = model.x.column
    for number, _ in enumerate(model.answers({column: "the cat sat on a mat"} for _ in range(9))):
        assert count == number + 1
