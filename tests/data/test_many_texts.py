"""Texts that are encoded together have the ids that each has alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqpipe.data.base import PlacedRecord
from seqpipe.data.fields.many_texts import Known
from seqpipe.data.fields.text import WAYS, Text
from seqpipe.data.vocabulary import Vocabulary
from seqpipe.errors import DataError

TRAINING = [
    "one two, two three... don't",
    "Zwo\u0308lf ΑΣ\u0130 x<unk> <unk>",
    "a\tb\u00a0c\u2028d\x1fe",
    "one\n\ntwo",
    "one\u06dd two",
]
TEXTS = st.text(st.characters() | st.sampled_from(" one,'\n\t\r\x1f\u00a0\u0308Σ\u06dd"))
ENTRIES = st.one_of(TEXTS, st.none(), st.lists(st.text(min_size=1), max_size=3), st.just(3.5))


def fitted(by, **options):
    field = Text("text", by=by, min_count=None if by == "bytes" else 1, **options)
    field.fit([{"text": text} for text in TRAINING])
    return field


FIELDS = [
    *(fitted(by) for by in WAYS),
    fitted("words", lowercase=True, unknown="<unk>"),
    fitted("tokens", lowercase=True, unknown="<unk>"),
    fitted("characters", lowercase=True, unknown="<unk>"),
]


def alone(field, record):
    try:
        return field.encode(record).numpy()
    except DataError as error:
        return error


def assert_encoded_as_alone(field, records):
    together = field.encode_many(records)
    assert len(together) == len(records)
    for record, found in zip(records, together, strict=True):
        expected = alone(field, record)
        if isinstance(expected, DataError):
            assert isinstance(found, DataError)
            assert str(found) == str(expected)
        else:
            assert found.tolist() == expected.tolist()
            assert found.dtype == expected.dtype


@given(st.lists(st.one_of(ENTRIES, st.sampled_from(TRAINING)), max_size=6))
@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.way.unit)
def test_entries_that_are_encoded_together_are_encoded_as_alone(field, entries):
    assert_encoded_as_alone(field, [{"text": entry} for entry in entries])


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.way.unit)
def test_pieces_of_longer_texts_and_missing_columns_are_encoded_as_alone(field):
    going_on = PlacedRecord({"text": "one two"}, goes_on=True)
    ended = PlacedRecord({"text": "one\n\n"}, goes_on=True)
    assert_encoded_as_alone(field, [{"text": "one"}, going_on, {"other": "one"}, ended])


@given(st.lists(st.text("ab, "), max_size=5))
def test_pieces_of_several_symbols_are_looked_up_once(texts):
    vocabulary = Vocabulary("ab,")
    known = Known(vocabulary, lambda text: text.replace(" ", ""))
    expected = [vocabulary.encode(text.replace(" ", "")) for text in texts]
    assert [ids.tolist() for ids in known.ids_of_texts(texts)] == expected


def test_a_field_that_reads_entries_in_its_own_way_still_does():
    class Reversed(Text):
        def encode(self, record):
            return super().encode(record).flip(0)

    field = Reversed("text")
    field.fit([{"text": "abc"}])
    assert (
        field.encode_many([{"text": "abc"}])[0].tolist() == field.encode({"text": "abc"}).tolist()
    )


def test_encoded_texts_can_be_written_to():
    """They become tensors, which PyTorch lets nobody share with constant memory."""
    for ids in fitted("words").encode_many([{"text": "one two"}, {"text": "a"}]):
        assert isinstance(ids, np.ndarray)
        assert ids.flags.writeable
