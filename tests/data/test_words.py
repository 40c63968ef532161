"""Words of every script, and texts that are written as they were read."""
# ruff: noqa: RUF001

import copy
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqpipe.data.dataset import SequenceData
from seqpipe.data.fields.labels import Category
from seqpipe.data.fields.spelling import Spelled
from seqpipe.data.fields.text import Text
from seqpipe.data.fields.word_segmentation import Spacing, WordCutter, composed, lowered
from seqpipe.data.vocabulary import UNK

FIRST_READING = re.compile(r"\w+(?:['\u2019]\w+)*|([^\w\s])\1*")
FRENCH = (
    "«\u00a0Laissez-moi\u00a0», dit-il\u202f; l'homme (seul) part.",
    "Est-ce vrai\u202f? Oui\u202f!",
    'Il dit "oui" à 10 % - et "non" à 3,5 % des autres.',
)


def fitted(*texts, **options):
    field = Text("text", **{"by": "words", "min_count": 1, **options})
    field.fit([{"text": text} for text in texts])
    return field


def again(field, text):
    return field.decode(field.encode({"text": text}))


@pytest.mark.parametrize(
    "word",
    [
        *("अच्छी", "हिन्दी", "सुन्दर", "মিত্র", "தமிழ்", "สวัสดีครับ", "ಕನ್ನಡ", "ភាសា", "မြန်မာ"),
        *("שָׁלוֹם", 'צה"ל', "ג'ירפה", "مَرْحَبًا", "می\u200cخواهم", "Tiếng", "col·lecció", "x̂"),
        *("ɔ̃", "l'homme", "don't", "aujourd\u2019hui", "foo_bar", "1½", "first\u00adhand"),
        *(
            "👨\u200d👩\u200d👧",
            "👍🏽",
            "🇫🇷",
            "❤\ufe0f",
            "1\ufe0f\u20e3",
            "🏴\U000e0067\U000e0062\U000e007f",
        ),
    ],
)
def test_a_word_with_its_marks_and_an_emoji_with_its_parts_are_one_token(word):
    for form in ("NFC", "NFD"):
        text = f"a {unicodedata.normalize(form, word)}, b"
        assert WordCutter()(composed(text)) == ["a", composed(word), ",", "b"]
        assert fitted(text).way.parts(composed(text)) == [["a", composed(word), ",", "b"]]


def test_a_run_of_one_emoji_or_mark_is_one_token_and_two_flags_are_two():
    cut = WordCutter()
    assert cut("😂😂😂 !!! 👍🏽👍🏽 👍🏽👍 🇫🇷🇩🇪") == [
        *("😂😂😂", "!!!", "👍🏽👍🏽", "👍🏽", "👍", "🇫🇷", "🇩🇪"),
    ]


@given(st.text(st.sampled_from("abZ019_ ,.!?'\u2019-\"()%…—äßé€£½²中ж\u00a0\n"), max_size=40))
def test_texts_without_combining_marks_have_the_words_they_always_had(text):
    assert WordCutter()(text) == [match[0] for match in FIRST_READING.finditer(text)]


@pytest.mark.parametrize("make", [lambda: Text("text", by="words"), lambda: Spelled("text")])
def test_both_normal_forms_of_a_text_give_the_same_ids(make):
    text = "été près du café, forêt: crème"
    field = make()
    field.fit([{"text": unicodedata.normalize("NFC", text)}] * 2)
    decomposed = field.encode({"text": unicodedata.normalize("NFD", text)})
    assert decomposed.equal(field.encode({"text": text}))
    assert not (decomposed.reshape(len(decomposed), -1)[:, 0] == UNK).any()


def test_byte_order_marks_and_zero_width_spaces_are_blanks():
    assert WordCutter()("\ufeffHello ខ្ញុំ\u200bស្រឡាញ់") == ["Hello", "ខ្ញុំ", "ស្រឡាញ់"]


@pytest.mark.parametrize("blank", [" ", "\u00a0", "\u2028", "\u3000"])
def test_a_sign_of_arabic_numbers_before_a_blank_does_not_hold_the_blank(blank):
    text = f"one\u06dd{blank}\u0600\u0601{blank}two \u06dd12"
    assert WordCutter()(text) == ["one", "\u06dd", "\u0600\u0601", "two", "\u06dd1", "2"]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_the_dotted_capital_i_of_turkish_is_lowered_to_one_letter(form):
    assert lowered(unicodedata.normalize(form, "İSTANBUL İ")) == "istanbul i"
    assert lowered("ΟΔΟΣ STRASSE ẞ") == "οδος strasse ß"
    text = unicodedata.normalize(form, "İzmir İzmir")
    assert fitted(text, lowercase=True).spec.names[4:] == ("izmir",)
    spelled = Spelled("text", lowercase=True)
    spelled.fit([{"text": text}])
    assert spelled.spec.names[4:] == ("izmir",)


def test_french_is_written_with_the_blanks_of_french():
    field = fitted(*FRENCH)
    for text in FRENCH:
        assert again(field, text) == text
    new = "«\u00a0Dit-il\u00a0», vrai\u202f? L'homme (oui) part\u202f!"
    assert fitted(*FRENCH, *new.split()).way.join(WordCutter()(new)) == new


def test_a_hyphen_and_a_dash_keep_the_blanks_that_training_has():
    field = fitted("a well-known man - tall", "the well-fed cat - old", "e-mail him")
    assert again(field, "the well-known cat - old") == "the well-known cat - old"
    assert again(field, "a well-fed man - tall") == "a well-fed man - tall"


def test_texts_whose_marks_stand_apart_are_written_so():
    text = 'he said , " stop " ( now ) . it \'s 3 . 14 %'
    assert again(fitted(text), text) == text


def test_what_training_never_showed_is_spaced_as_in_english():
    words = ["He", "said", '"', "no", '"', "(", "now", ")", ",", "then", "!", "<UNK>", "."]
    assert Spacing().write(words) == 'He said "no" (now), then! <UNK>.'


def test_an_answer_with_an_unknown_word_is_read_again_as_it_was_written():
    field = fitted("the cat, the dog")
    ids = field.encode({"text": "the zebra, the dog"})
    assert field.decode(ids) == "the <UNK>, the dog"
    assert field.encode({"text": field.decode(ids)}).equal(ids)


def test_what_continues_a_prompt_starts_with_the_blank_of_the_language():
    field = fitted("one, two-three (four)", "one two, three")
    assert field.between("one", ", two") == ""
    assert field.between("one", "two") == " "
    assert (
        field.between("one ", "two") == field.between("", "two") == field.between("one", "") == ""
    )
    assert field.between("x (", "four") == ""


def test_models_that_were_saved_before_read_and_write_as_they_did():
    field = Text("text", by="words", lowercase=True)
    field.restore({"symbols": ("अच", "्", "छ", "ी", "i", "\u0307", "z", "-"), "vectors": None})
    ids = field.encode({"text": "अच्छी İz"})
    assert [field.spec.names[id_] for id_ in ids] == ["अच", "्", "छ", "ी", "i", "\u0307", "z"]
    assert field.decode([4, 5, 6, 7, 11, 10]) == "अच ् छ ी - z"


def test_what_was_learned_of_blanks_is_taken_up_again():
    field = fitted(*FRENCH)
    other = Text("text", by="words")
    other.restore(copy.deepcopy(field.state()))
    ids = field.encode({"text": FRENCH[0]})
    assert other.encode({"text": FRENCH[0]}).equal(ids)
    assert other.decode(ids) == FRENCH[0]


UNSPACED = (
    "我今天很高兴，因为天气好。",
    "これは日本語の文章です。",
    "ผมชื่อจอห์นยินดีที่ได้รู้จัก สวัสดีครับทุกคน",
    "ຂ້ອຍຮັກເຈົ້າ",
)


@pytest.mark.parametrize("text", UNSPACED)
@pytest.mark.parametrize("make", [Text, Spelled])
def test_words_that_no_blanks_separate_are_warned_about(make, text):
    field = make("text", by="words")
    field.fit([{"text": text}] * 3)
    (note,) = field.notes("data.x")
    assert note.startswith("data.x.by=words: no blanks separate the words")
    assert "by=characters" in note
    assert "by=subwords" in note
    other = make("text", by="words")
    other.restore(field.state())
    assert other.notes("data.x") == [note]


@pytest.mark.parametrize(
    "text",
    [
        "我 今天 很 高兴 ， 因为 天气 好 。",
        "अच्छी किताब",
        "plain English and 中文",
        "ผม ชื่อ จอห์น ยินดี",
    ],
)
def test_words_with_blanks_between_them_are_not_warned_about(text):
    assert fitted(text, text).notes("data.x") == []


def test_a_warning_names_the_key_of_its_field(source_of):
    rows = [{"text": f"这是第{n}句话没有空格", "label": str(n % 2)} for n in range(6)]
    data = SequenceData(source_of(rows), Category("label"), Text("text", by="words"))
    assert [note.partition(": ")[0] for note in data.notes] == ["data.x.by=words"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("नमस्ते दुनिया, यह हिन्दी है।", "नमस्ते|दुनिया|,|यह|हिन्दी|है|।"),
        ("আমি বাংলায় লিখছি।", "আমি|বাংলায়|লিখছি|।"),
        ("తెలుగు భాష ශ්\u200dරී", "తెలుగు|భాష|ශ්\u200dරී"),
        ("ភាសាខ្មែរ\u200bល្អ", "ភាសាខ្មែរ|ល្អ"),
        ("ٱللَّه، كتاب؟ محـــمد", "ٱللَّه|،|كتاب|؟|محـــمد"),
        ("می\u200cخواهم کتاب\u200cها", "می\u200cخواهم|کتاب\u200cها"),
        ("안녕하세요, 세계!", "안녕하세요|,|세계|!"),
        ("l'homme d’abord l'àvia dogs'", "l'homme|d’abord|l'àvia|dogs|'"),
        ("re-élection https://é.org/a_b", "re|-|élection|https|:|//|é|.|org|/|a_b"),
        ("@émile #été 3,5 ½", "@|émile|#|été|3|,|5|½"),
        ("abc \u200eשלום\u200f \u202bdef\u202c", "abc|שלום|def"),
        ("10\u00a0km\u202f! a\u2028b\u0085c\x1cd", "10|km|!|a|b|c|d"),
        ("Ｈｅｌｌｏ　Ｗｏｒｌｄ１２！", "Ｈｅｌｌｏ|Ｗｏｒｌｄ１２|！"),
        ("é\r\nb\tc\x0bd", "é|b|c|d"),
        ("hi 👨‍👩‍👧👍🏽👍🏽 🇩🇪🇫🇷🇩🇪", "hi|👨‍👩‍👧|👍🏽👍🏽|🇩🇪|🇫🇷|🇩🇪"),
    ],
)
def test_texts_of_many_scripts_are_cut_into_their_words(text, words):
    for form in ("NFC", "NFD"):
        found = WordCutter()(composed(unicodedata.normalize(form, text)))
        assert found == [composed(word) for word in words.split("|")]


def test_marks_that_only_turn_the_direction_are_dropped_like_blanks():
    field = fitted("\u200eשלום\u200f, עולם", "שלום, עולם")
    ids = [
        field.encode({"text": text}).tolist() for text in ("\u200eשלום\u200f, עולם", "שלום, עולם")
    ]
    assert ids[0] == ids[1]
    assert again(field, "\u202bשלום, עולם\u202c") == "שלום, עולם"
    assert field.truth({"text": "\u202bשלום,  עולם\u202c"}) == "שלום, עולם"


def test_graphemes_are_what_readers_take_for_one_character():
    text = "नमस्ते 👨‍👩‍👧👍🏽🇩🇪🇫🇷 ẍ̣ é שָׁ 각"
    wanted = "न|म|स्ते| |👨‍👩‍👧|👍🏽|🇩🇪|🇫🇷| |ẍ̣| |é| |שָׁ| |각".split("|")
    for form in ("NFC", "NFD"):
        field = fitted(unicodedata.normalize(form, text), by="graphemes")
        assert field.steps(unicodedata.normalize(form, text))[0] == [composed(w) for w in wanted]
        ids = field.encode({"text": text})
        assert len(ids) == len(wanted)
        assert field.decode(ids) == field.truth({"text": text}) == composed(text)
    assert field.spec.unit == "graphemes"
    assert again(field, "न👍🏿") == "न\ufffd"  # another skin tone is another symbol
    named = fitted("é<unk>é", by="graphemes", unknown="<unk>")
    assert named.encode({"text": "é<unk>"}).tolist() == [4, UNK]


@given(st.text(min_size=1))
def test_any_text_comes_back_from_its_graphemes_in_form_c(text):
    field = fitted(text, by="graphemes")
    assert again(field, text) == composed(text)
