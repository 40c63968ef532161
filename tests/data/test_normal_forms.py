"""Texts in normal forms of Unicode: what is read, what is written, what is compared."""

import unicodedata

import pytest

from seqpipe.data.dataset import SequenceData
from seqpipe.data.fields.spelling import Spelled
from seqpipe.data.fields.text import Text
from seqpipe.testing import check_field

HANGUL = ["\ud55c\uad6d\uc5b4 \uc601\uc5b4", "\uc5b4\ub290 \ud55c \uc601"]  # Korean
MIXED = [*HANGUL, "caf\u00e9 \ufb01ne", "\uff21\uff22 x\u00b2", "e\u0301"]
FORMS = ("nfc", "nfd", "nfkc", "nfkd")


def fitted(texts=MIXED, **options):
    field = Text("x", min_count=1, **options)
    field.fit([{"x": text} for text in texts])
    return field


def symbols(field, text):
    return [field.spec.names[id_] for id_ in field.encode({"x": text}).tolist()]


@pytest.mark.parametrize("form", FORMS)
def test_characters_are_read_in_the_normal_form(form):
    field = fitted(normalize=form)
    for text in MIXED:
        assert "".join(symbols(field, text)) == unicodedata.normalize(form.upper(), text)


def test_syllables_are_read_as_their_letters_and_written_as_syllables():
    plain, split = fitted(HANGUL), fitted(HANGUL, normalize="nfd")
    assert symbols(split, "\ud55c") == ["\u1112", "\u1161", "\u11ab"]
    ids = split.encode({"x": HANGUL[0]})
    assert len(ids) > len(plain.encode({"x": HANGUL[0]}))
    assert split.decode(ids) == HANGUL[0]


def test_a_syllable_that_training_never_showed_is_read_by_its_letters():
    new = "\uad6c"  # its two letters occur, the syllable does not
    assert symbols(fitted(HANGUL), new) == ["<UNK>"]
    assert "<UNK>" not in symbols(fitted(HANGUL, normalize="nfd"), new)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("by", ["characters", "graphemes", "words", "tokens", "bytes", "subwords"])
def test_a_text_in_a_normal_form_keeps_the_promises_of_text(by, form):
    field = Text("x", by=by, normalize=form, min_count=None if by == "bytes" else 1)
    check_field(field, [{"x": text} for text in MIXED])


@pytest.mark.parametrize("form", ["nfd", "nfkd"])
@pytest.mark.parametrize("by", ["characters", "words"])
def test_answers_are_compared_composed(by, form):
    field = fitted(HANGUL, by=by, normalize=form)
    record = {"x": HANGUL[0]}
    assert field.truth(record) == HANGUL[0]
    assert field.spec.text(field.encode(record).tolist()) == HANGUL[0]
    parts, join = field.steps(HANGUL[0])
    assert join(parts).replace(" ", "") == HANGUL[0].replace(" ", "")


def test_nothing_changes_without_a_normal_form():
    decomposed = "e\u0301"
    assert symbols(fitted([decomposed]), decomposed) == ["e", "\u0301"]
    assert symbols(fitted([decomposed], by="words"), decomposed) == ["\u00e9"]


def test_characters_of_words_are_read_in_the_normal_form():
    field = Spelled("x", min_count=1, normalize="nfd")
    field.fit([{"x": ["\ud55c"]}])
    assert field.alphabet.names[4:] == ("\u1112", "\u1161", "\u11ab")
    values = field.encode({"x": ["\ud55c", "\ud558"]})  # the second by two of the letters
    assert values[1, 1:3].tolist() == values[0, 1:3].tolist()
    assert field.decode(values) == "\ud55c \ud558"


def test_the_data_set_decodes_what_it_read(source_of):
    records = [{"x": text} for text in HANGUL]
    data = SequenceData(source_of(records), Text("x", normalize="nfd"))
    found = {data.y.decode(example.y) for example in data.examples("train")}
    assert found == set(HANGUL)
