import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seqpipe.data.fields.text import Text, unknown_rate
from seqpipe.data.vocabulary import BOS, EOS, PAD, UNK, Vocabulary
from seqpipe.errors import ConfigError, DataError

HELP = 'The "assert" statement\n\nUse it (rarely), e.g. here: 1, 2; don\'t abuse it!'


def fitted(text, **options):
    field = Text("text", **options)
    field.fit([{"text": text}])
    return field


def share_of_unknown(field, records):
    ids = np.concatenate([field.encode_target(record).numpy() for record in records])
    return unknown_rate(np.bincount(ids, minlength=field.spec.size))


def test_special_symbols_come_first():
    assert (PAD, UNK, BOS, EOS) == (0, 1, 2, 3)
    assert Vocabulary("ab").names == ("<PAD>", "<UNK>", "<BOS>", "<EOS>", "a", "b")


@given(st.lists(st.text(min_size=1, max_size=3), max_size=30))
def test_a_vocabulary_gives_back_the_tokens_it_was_made_of(tokens):
    vocabulary = Vocabulary.of(tokens)
    ids = vocabulary.encode(tokens)
    assert vocabulary.decode(ids) == tokens
    assert all(id_ > EOS for id_ in ids)
    assert len(vocabulary) == 4 + len(set(tokens))


def test_the_most_frequent_symbols_are_kept_and_ties_are_in_order():
    vocabulary = Vocabulary.of("ccbbaaaazy", max_size=7)
    assert vocabulary.names[4:] == ("a", "b", "c")
    assert Vocabulary.of("ccbbaaaazy", min_count=3).names[4:] == ("a",)


def test_a_text_that_spells_a_special_symbol_does_not_become_one():
    assert Vocabulary.of(["<EOS>"]).encode(["<EOS>", "<PAD>"]) == [4, UNK]


@given(st.text(min_size=1))
def test_characters_come_back_as_they_were(text):
    field = fitted(text)
    assert field.decode(field.encode({"text": text})) == text
    assert field.decode(field.encode_target({"text": text})) == text


def test_as_y_a_text_ends_in_eos_and_as_x_it_does_not():
    field = fitted("ab")
    assert field.encode({"text": "ba"}).tolist() == [5, 4]
    assert field.encode_target({"text": "ba"}).tolist() == [5, 4, EOS]
    assert field.encode({"text": ""}).tolist() == field.encode_target({"text": ""}).tolist() == []


def test_what_training_never_showed_is_unknown():
    field = fitted("ab")
    ids = field.encode({"text": "axb"})
    assert ids.tolist() == [4, UNK, 5]
    assert field.decode(ids) == "a\ufffdb"
    assert share_of_unknown(field, [{"text": "axb"}, {"text": "b"}]) == 0.25


def test_decoding_leaves_out_padding_and_what_follows_the_end():
    field = fitted("ab")
    assert field.decode(torch.tensor([BOS, 4, PAD, 5, EOS, 4])) == "ab"


def test_by_words_a_token_is_a_word_or_a_run_of_one_mark():
    field = fitted("don't stop -- ever...", by="words", min_count=1)
    assert set(field.spec.names[4:]) == {"don't", "stop", "--", "ever", "..."}


def test_by_words_every_paragraph_ends_in_eos():
    field = fitted("one two\nthree\n\n  \nfour", by="words", min_count=1)
    ids = field.encode_target({"text": "one two\nthree\n\n  \nfour"}).tolist()
    assert [place for place, id_ in enumerate(ids) if id_ == EOS] == [3, 5]
    assert field.encode({"text": "one\n\nfour"}).tolist() == [
        *field.encode({"text": "one"}),
        EOS,
        *field.encode({"text": "four"}),
    ]


def test_words_come_back_as_a_text_to_read():
    field = fitted(HELP, by="words", min_count=1)
    read = 'The "assert" statement\n\nUse it (rarely), e. g. here: 1, 2; don\'t abuse it!'
    assert field.decode(field.encode_target({"text": HELP})) == read


def test_the_vocabulary_stays_within_its_bound_and_the_rest_is_counted_as_unknown():
    field = fitted("a a a b b c", by="words", max_vocabulary=6)
    assert field.spec.size == 6
    assert field.spec.names[4:] == ("a", "b")
    assert share_of_unknown(field, [{"text": "a a a b b c"}]) == pytest.approx(1 / 6)


def test_lowercase_makes_one_word_of_two():
    assert fitted("The the", by="words", lowercase=True).spec.names[4:] == ("the",)
    assert fitted("The the", by="words", min_count=1).spec.size == 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"by": "letters"}, "by=letters: not a way to read text; characters, words, tokens"),
        (
            {"max_vocabulary": 4},
            "max_vocabulary=4: must be at least 5, 4 symbols are special",
        ),
        ({"min_count": 0}, "min_count=0: must be at least 1"),
    ],
)
def test_options_that_cannot_work_are_refused(options, message):
    with pytest.raises(ConfigError) as error:
        Text("text", **options)
    assert str(error.value) == message


def test_a_number_is_not_text():
    with pytest.raises(DataError) as error:
        Text("text").fit([{"text": 3}])
    assert str(error.value) == "text=3: not text"


def test_by_words_what_occurs_once_is_unknown_so_that_unknown_is_learned():
    words = fitted("a a b", by="words")
    assert words.spec.names[4:] == ("a",)
    assert share_of_unknown(words, [{"text": "a a b"}]) == pytest.approx(1 / 3)
    assert fitted("aab", by="characters").spec.names[4:] == ("a", "b")
