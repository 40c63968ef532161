"""What a model answers to raw records is what the test of its training counted."""

from typing import Any, NamedTuple

import pandas
import pytest
import torch
from torch import Tensor

from seqpipe.errors import DataError
from seqpipe.training.carried_state import Carried, answer

NEAR = {"rtol": 1e-5, "atol": 1e-5}


class Expected(NamedTuple):
    """What the test step made of one record: all its pieces, one after the other."""

    said: str  # as the field writes it for people
    numbers: Tensor | None  # in the units of the data
    chances: Tensor | None


@torch.inference_mode()
def as_tested(made) -> list[Expected]:
    """Of each record of the test split, in the batches of the training."""
    data, model, task = made.data, made.model.network, made.model.task
    carried, pieces = Carried(), {}
    for batch in data.loader("test"):
        outputs = answer(model, batch, carried)
        predictions = task.predict(model, outputs, batch)
        chances = task.probabilities(outputs, batch)
        decoded = task.decoded(predictions, batch)
        for row, index in enumerate(batch.index.tolist()):
            record = index if data.bptt else data.origin("test", index)[0]
            start = 0 if data.bptt else data.origin("test", index)[1]
            chance = None if chances is None else chances[row]
            if chance is not None and batch.y_lengths is not None:
                chance = chance[: batch.y_lengths[row]]
            numbers = None
            if data.spec.y.kind in ("number", "values"):
                one = slice(row, row + 1)
                lengths = None if batch.y_lengths is None else batch.y_lengths[one]
                alone = type(batch)(None, None, batch.y[one], lengths, batch.index[one])
                numbers = task.pairs(predictions[one], alone)[0]
            pieces.setdefault(record, []).append((start, decoded[row][0], numbers, chance))
    return [_joined(made, pieces[record]) for record in range(len(pieces))]


def _joined(made, parts) -> Expected:
    if not made.data.bptt:
        parts = sorted(parts, key=lambda part: part[0])
    values = parts[0][1] if len(parts) == 1 else torch.cat([part[1] for part in parts])
    chances = None if parts[0][3] is None else torch.cat([part[3] for part in parts])
    return Expected(made.data.y.decode(values), parts[0][2], chances)


def compare(made, answers: list[dict[str, Any]], expected: list[Expected]) -> None:
    for got, want in zip(answers, expected, strict=True):
        if want.numbers is None:
            assert said(made, got["prediction"]) == want.said
        else:
            numbers = torch.tensor(got["prediction"], dtype=torch.float64).reshape(
                want.numbers.shape
            )
            torch.testing.assert_close(numbers, want.numbers, **NEAR)
        if want.chances is not None:
            compare_chances(made.data.spec.y, got, want.chances)


def said(made, prediction) -> str:
    kind = made.data.spec.y.kind
    if kind == "multi_label":
        return made.data.y.separator.join(prediction)
    if kind == "roll":
        return " | ".join(" ".join(step) or "-" for step in prediction)
    return " ".join(prediction) if kind == "tags" else prediction


def compare_chances(spec, got, want: Tensor) -> None:
    if spec.kind == "tags":
        chosen = [spec.names.index(tag) for tag in got["prediction"]]
        want = want[torch.arange(len(chosen)), torch.tensor(chosen)]
        torch.testing.assert_close(torch.tensor(got["probability"]), want, **NEAR)
    elif spec.kind == "roll":
        assert list(got) == ["prediction"]
    else:
        assert list(got["probabilities"]) == list(spec.names)
        chances = torch.tensor(list(got["probabilities"].values()))
        torch.testing.assert_close(chances, want, **NEAR)


def test_a_prediction_of_raw_records_is_that_of_the_test(answering):
    answers, expected = answering.model.predict(answering.records), as_tested(answering)
    assert len(answers) == len(expected) >= 3
    compare(answering, answers, expected)


def test_a_model_that_was_saved_and_opened_answers_bit_for_bit_the_same(answering):
    records = answering.records
    assert answering.opened.predict(records) == answering.model.predict(records)


def test_a_prediction_depends_on_no_batch_size_no_order_and_no_company(answering, near):
    """In batches of one, each record is computed alone."""
    records, model = answering.records, answering.model
    expected = model.predict(records)
    for batch_size, order in ((1, 1), (3, -1), (64, -1)):
        found = model.predict(records[::order], batch_size=batch_size)
        assert near(found[::order], expected), batch_size


# Every size of a chunk, every number of threads of torch, with and without threads of our own.
STREAMS = ((1, 1, False), (2, 3, True), (1000, 1, True), (1000, 2, False))


def test_a_prediction_depends_on_no_chunk_and_no_threads_and_keeps_the_order(answering, near):
    model, records = answering.model, answering.records * 2
    expected, before = model.predict(answering.records) * 2, torch.get_num_threads()
    for chunk, threads, ahead in STREAMS:
        torch.set_num_threads(threads)
        try:
            asked = [*model.answers(model.records(records), chunk=chunk, ahead=ahead)]
        finally:
            torch.set_num_threads(before)
        assert [one.place for one in asked] == [f"inputs[{n}]" for n in range(len(records))]
        assert near([one.answer for one in asked], expected), (chunk, threads, ahead)


def with_steps(model, steps: int) -> dict[str, Any]:
    """A record whose x has that many steps."""
    generator = torch.Generator().manual_seed(steps)
    kind, size = model.spec.x.kind, model.spec.x.size
    words: list[str] = ["the", "cat", "sat", "very", "mat"]
    if kind == "values" and model.y.column == "roll":
        rows = torch.randint(0, 2, (steps, 88), generator=generator)
        rows[:, :39], rows[:, 47:] = 0, 0
        return {"roll": rows.byte().numpy()}
    if kind == "values":
        return {model.x.column: torch.randn(steps, size, generator=generator).numpy()}
    if not hasattr(model.x, "lowercase"):
        return {model.x.column: torch.randint(0, size, (steps,), generator=generator).tolist()}
    return {model.x.column: " ".join(words[n % 5] for n in range(steps))}


def test_one_step_and_very_many_are_answered_in_company_as_alone(answering, near):
    model = answering.model
    if not model.spec.x.has_time:
        return
    records = [with_steps(model, steps) for steps in (1, 700, 2)]
    together = model.predict([*records, *answering.records])
    assert near(together[:3], [model.predict([record])[0] for record in records])
    if model.encoder.aligned:
        assert [len(one["prediction"]) for one in together[:3]] == [1, 700, 2]


@pytest.mark.parametrize("name", ["tags of spans", "category of text", "values"])
@pytest.mark.parametrize("keep", ["first", "last"])
def test_what_training_cut_off_is_not_read(made, name, keep):
    cut = made(name, "data.max_length=4", f"data.keep={keep}")
    answers, expected = cut.model.predict(cut.records), as_tested(cut)
    assert len(answers) == len(expected) >= 3
    compare(cut, answers, expected)


def test_the_rows_of_a_table_are_records(made):
    model = made("category of text").model
    records = [{"text": "the cat", "n": 1.0}, {"text": "dog"}]
    assert model.predict(pandas.DataFrame(records)) == model.predict(records)
    with pytest.raises(DataError) as refused:
        model.predict(pandas.DataFrame([{"text": "dog"}, {"n": 1.0}]))
    assert refused.value.problems == ["inputs[1]: text=None: is missing; allowed: a value"]
