import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seqpipe.data.dataset import SequenceData
from seqpipe.data.fields.labels import Tags
from seqpipe.data.fields.spelling import Spelled
from seqpipe.data.fields.word_segmentation import composed
from seqpipe.data.vocabulary import UNK
from seqpipe.errors import ConfigError

WORDS = st.lists(
    st.text(min_size=1, max_size=8)
    .map(composed)
    .filter(lambda word: word.split() == [word] and len(word) <= 8),
    min_size=1,
)


def fitted(words, **options):
    field = Spelled("words", **{"min_count": 1, **options})
    field.fit([{"words": words}])
    return field


@given(WORDS)
def test_words_come_back_from_their_characters(words):
    field = fitted(words, characters=8, lowercase=False)
    assert field.decode(field.encode({"words": words})) == " ".join(words)
    assert field.decode(field.encode({"words": " ".join(words)})) == " ".join(words)


@given(WORDS)
def test_words_longer_than_their_characters_come_back_by_their_ids(words):
    field = fitted(words, characters=1, lowercase=False)
    assert field.decode(field.encode({"words": words})) == " ".join(words)


def test_characters_that_are_read_keep_their_case_where_words_are_known_in_small_letters():
    words = ["NASA", "Washington", "it"]
    field = fitted(words, characters=4)
    assert field.decode(field.encode({"words": words})) == "NASA Washington it"


def test_a_row_is_the_word_and_then_its_characters_filled_up_with_0():
    field = fitted(["ab", "ab", "a"], characters=3)
    assert field.spec.names[4:] == ("ab", "a")
    ids = field.encode({"words": ["a", "ab", "bad"]})
    assert ids.tolist() == [[5, 4, 0, 0], [4, 4, 5, 0], [UNK, 5, 4, UNK]]
    assert field.decode(ids) == "a ab ba\ufffd"
    assert (field.spec.kind, field.spec.size, field.spec.characters) == ("spelled", 6, 6)
    assert field.spec.unit == "words"


def test_an_unknown_word_keeps_its_characters_and_rare_words_are_unknown():
    field = fitted("to be or not to be", min_count=2)
    ids = field.encode({"words": "or to"})
    assert ids[:, 0].tolist() == [UNK, field.spec.names.index("to")]
    assert field.decode(ids) == "or to"


def test_a_long_word_is_read_by_its_first_characters():
    field = fitted(["abcd", "abce"], characters=3, max_vocabulary=5)
    first, second = field.encode({"words": ["abcd", "abce"]})
    assert torch.equal(first[1:], second[1:])
    assert field.decode([first.tolist(), second.tolist()]) == "abcd abc"


def test_lowercase_makes_one_word_of_two_and_leaves_their_characters():
    field = fitted("The the", lowercase=True)
    upper, lower = field.encode({"words": "The the"})
    assert field.spec.names[4:] == ("the",)
    assert upper[0] == lower[0]
    assert upper[1] != lower[1]
    assert field.decode([upper.tolist(), lower.tolist()]) == "The the"


def test_padding_is_left_out_when_words_are_shown():
    field = fitted("ab")
    padded = torch.cat([field.encode({"words": "ab"}), torch.zeros(2, 21, dtype=torch.int32)])
    assert field.decode(padded) == "ab"


def test_it_describes_itself():
    assert fitted("to be or", min_count=1).describe({}) == "7 words of 9 characters"
    rare = fitted("to be or to", min_count=2)
    assert rare.describe({}) == "5 words of 9 characters (share of <UNK>: train 0.5)"
    other = Spelled("words")
    other.restore(rare.state())
    assert other.describe({}) == rare.describe({})


def test_spelled_words_are_read_and_not_written():
    with pytest.raises(ConfigError) as error:
        fitted("a").encode_target({"words": "a"})
    assert str(error.value) == (
        "data.y=Spelled: can only be read; allowed: Text, by words or by characters"
    )


def test_spelled_words_are_tagged(source_of):
    records = [{"words": ["New", "York"], "tags": ["B", "I"]}, {"words": ["a"], "tags": ["O"]}]
    data = SequenceData(source_of(records), Tags("tags"), Spelled("words", min_count=1))
    batch = data.batch("train", [0, 1])
    assert (batch.x.dtype, batch.x.shape, batch.y.shape) == (torch.int64, (2, 2, 21), (2, 2))
    assert not batch.x[1, 1:].any()
    assert data.spec.x.characters == 4 + len(set("NewYorka"))
    assert data.x.decode(batch.x[0]) == "New York"


@pytest.mark.parametrize("by", ["tokens", "words"])
def test_a_text_is_parted_as_it_was_chosen(by):
    field = fitted("Stop, now!", by=by)
    wanted = {"tokens": ["Stop,", "now!"], "words": ["Stop", ",", "now", "!"]}[by]
    steps, join = field.steps("Stop, now!")
    assert steps == wanted
    assert join(steps) == "Stop, now!"
    assert len(field.encode({"words": "Stop, now!"})) == len(wanted)
    assert field.decode(field.encode({"words": "Stop, now!"})) == "Stop, now!"


@pytest.mark.parametrize("by", ["tokens", "words"])
def test_the_symbol_of_the_texts_for_unknown_words_is_ours(by):
    field = Spelled("words", by=by, unknown="<unk>", min_count=1)
    field.fit([{"words": "a <unk> b"}] * 6)
    other = Spelled("words", by=by, unknown="<unk>", min_count=1)
    other.restore(field.state())
    for one in (field, other):
        rows = one.encode({"words": "<unk> zebra a"})
        assert rows[:2, 0].tolist() == [UNK, UNK]
        assert rows[0, 1:].tolist() == [0] * 20
        assert one.decode(rows[[0, 2]]) == "<unk> a"
        assert "u" not in one.alphabet.names
        assert one.notes("data.x") == []
    unnamed = Spelled("words", by=by, min_count=1)
    unnamed.fit([{"words": "a <unk> b"}] * 6)
    (note,) = unnamed.notes("data.x")
    assert note.startswith("data.x.unknown=null: the texts hold <unk> 6 times")
    with pytest.raises(ConfigError, match=r"^unknown=a b: wrong form; allowed: a symbol"):
        Spelled("words", unknown="a b")
