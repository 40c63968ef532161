import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seqpipe.data.base import PlacedRecord
from seqpipe.data.fields import many_texts
from seqpipe.data.fields.text import Text
from seqpipe.data.fields.text_field import unknown_rate
from seqpipe.data.fields.tokenization import Words
from seqpipe.data.fields.word_segmentation import composed
from seqpipe.data.vocabulary import BOS, EOS, PAD, UNK, Vocabulary

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
    read = 'The "assert" statement\n\nUse it (rarely), e.g. here: 1, 2; don\'t abuse it!'
    assert field.decode(field.encode_target({"text": HELP})) == read


def test_the_vocabulary_stays_within_its_bound_and_the_rest_is_counted_as_unknown():
    field = fitted("a a a b b c", by="words", max_vocabulary=6)
    assert field.spec.size == 6
    assert field.spec.names[4:] == ("a", "b")
    assert share_of_unknown(field, [{"text": "a a a b b c"}]) == pytest.approx(1 / 6)


def test_lowercase_makes_one_word_of_two():
    assert fitted("The the", by="words", lowercase=True).spec.names[4:] == ("the",)
    assert fitted("The the", by="words", min_count=1).spec.size == 6


@given(st.text())
def test_bytes_come_back_as_they_were_and_nothing_is_learned(text):
    field = fitted("", by="bytes")
    ids = field.encode_target({"text": text})
    assert field.decode(ids) == text
    assert ids.tolist()[:-1] == [4 + byte for byte in text.encode()]
    assert field.spec.size == len(set(field.spec.names)) == 260


def test_bytes_that_are_no_text_are_replaced():
    field = fitted("", by="bytes")
    assert field.decode([4 + 0xC3, 4 + 0x28, UNK, PAD, 4 + 0x61, EOS, 4]) == "\ufffd(\ufffda"


@given(st.lists(st.text(st.characters(exclude_categories=["Cs", "Z", "Cc"]), min_size=1)))
def test_tokens_come_back_as_a_list_or_with_spaces_between(tokens):
    tokens = [composed(token) for token in tokens]
    field = Text("text", by="tokens", min_count=1)
    field.fit([{"text": tokens}])
    assert field.decode(field.encode({"text": tokens})) == " ".join(tokens)
    assert (
        field.encode({"text": " ".join(tokens)}).tolist() == field.encode({"text": tokens}).tolist()
    )


PHRASES = st.tuples(
    st.sampled_from(["one", "don't", "Zwölf", "(3)", '"two"']),
    st.sampled_from(["", ",", "...", "!"]),
)


@given(st.lists(PHRASES, min_size=1))
def test_words_come_back_as_a_text_with_usual_spaces_was(phrases):
    text = " ".join(word + mark for word, mark in phrases)
    field = fitted(text, by="words", min_count=1)
    assert field.decode(field.encode({"text": text})) == text


@given(st.text(st.characters() | st.sampled_from("ab,.'\u2019\n \x85\x1f\u2028\u3000")))
def test_words_are_looked_up_as_they_are_listed(text):
    """What stands between white space is remembered; words and marks never reach across it."""
    way = Words(min_count=1)
    way.fit([text[: len(text) // 2], "a b, ab"])
    expected = [way.vocabulary.encode(part) for part in way.parts(text)]
    assert way.encode(text) == expected
    assert way.encode(text) == expected


def test_what_is_remembered_of_words_stays_small(monkeypatch):
    monkeypatch.setattr(many_texts, "_MOST_KNOWN", 3)
    field = fitted("a b c d e f a b", by="words", min_count=1)
    for _ in range(2):
        ids = field.encode({"text": "a b c d e f g, " + "a" * 1000})
        assert [field.spec.names[id_] for id_ in ids] == [*"abcdef", "<UNK>", "<UNK>", "<UNK>"]
    assert len(field.way._known) <= 3


@pytest.mark.parametrize("by", ["characters", "words", "tokens", "bytes", "subwords"])
def test_a_piece_that_goes_on_is_not_ended(by):
    field = fitted(HELP, by=by, min_count=None if by == "bytes" else 1)
    ended = field.encode_target({"text": "Use it"})
    going_on = PlacedRecord({"text": "Use it"}, goes_on=True)
    assert ended[-1] == EOS
    assert field.encode_target(going_on).equal(ended[:-1])
    assert field.encode(going_on).equal(ended[:-1])


def test_ids_are_kept_in_as_few_bytes_as_hold_them():
    assert fitted("ab").encode({"text": "ab"}).dtype == torch.int16
    many = " ".join(str(n) for n in range(33_000))
    field = fitted(many, by="tokens", min_count=1)
    assert field.encode({"text": "32999"}).dtype == torch.int32
    assert field.decode(field.encode({"text": "32999"})) == "32999"


def test_by_words_what_occurs_once_is_unknown_so_that_unknown_is_learned():
    words = fitted("a a b", by="words")
    assert words.spec.names[4:] == ("a",)
    assert share_of_unknown(words, [{"text": "a a b"}]) == pytest.approx(1 / 3)
    assert fitted("aab", by="characters").spec.names[4:] == ("a", "b")


@pytest.mark.parametrize(
    ("by", "unknown", "text", "other"),
    [
        ("tokens", "<unk>", "a <unk> b <unk>", "a zebra b zebra"),
        ("words", "<unk>", "a <unk>, b (<unk>)", "a zebra, b (zebra)"),
        ("words", "N", "a N b NN", "a zebra b NN"),
        ("characters", "<unk>", "a<unk>b<unk>", "axbx"),
        ("characters", "?", "a?b?", "axbx"),
    ],
)
def test_the_unknown_symbol_of_a_text_is_that_of_the_vocabulary(by, unknown, text, other):
    field = fitted(text, by=by, unknown=unknown, min_count=1)
    ids = field.encode({"text": text})
    assert (ids == UNK).sum() == (1 if unknown == "N" else 2)
    assert field.encode({"text": other}).equal(ids)
    assert field.decode(ids) == text
    assert unknown not in field.spec.names[4:]
    assert field.notes("data.y") == []
    again = Text("text", by=by, unknown=unknown)
    again.restore(field.state())
    assert again.encode({"text": text}).equal(ids)
    assert again.decode(ids) == text


def test_the_unknown_symbol_of_a_text_is_lowered_with_it():
    field = fitted("A <UNK> b", by="tokens", unknown="<UNK>", lowercase=True, min_count=1)
    assert field.encode({"text": "a <UNK> zebra"}).tolist()[1:] == [UNK, UNK]
    assert "<unk>" not in field.spec.names[4:]


@pytest.mark.parametrize("by", ["tokens", "words", "characters"])
def test_a_text_that_holds_an_unknown_symbol_which_nobody_named_is_warned_about(by):
    field = fitted("a <unk> b " * 6, by=by, min_count=1)
    (note,) = field.notes("data.y")
    assert note.startswith("data.y.unknown=null: the texts hold <unk> 6 times")
    assert "\"+data.y.unknown='<unk>'\"" in note
    assert fitted("a <unk> b", by=by, min_count=1).notes("data.y") == []


SPELLED = [
    "a <pad> b <s> c </s> <UNK> <PAD> <UNK>",
    "<BOS> x <EOS> <unk> [UNK] [PAD] <EOS>",
    "<0x41> \ufffd <mask> <|endoftext|> [CLS] \u0120",
]


@pytest.mark.parametrize("by", ["characters", "words", "tokens", "bytes", "subwords"])
def test_texts_that_spell_special_symbols_are_texts_like_others(by):
    """None of them becomes a symbol of ours, and all come back."""
    field = Text("text", by=by, **({} if by == "bytes" else {"min_count": 1}))
    field.fit([{"text": text} for text in SPELLED])
    for text in SPELLED:
        ids = field.encode_target({"text": text}).tolist()
        assert [id_ for id_ in ids if id_ < 4] == [EOS]
        assert field.decode(ids) == text
        assert field.truth({"text": text}) == field.spec.text(ids) == text
