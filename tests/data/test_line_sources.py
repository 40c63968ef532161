"""Sources with an example a line, a file, or a line of several files."""

import gzip

import pytest

from seqpipe.data.dataset import SequenceData
from seqpipe.data.fields.labels import Category
from seqpipe.data.fields.multilabel import MultiLabel
from seqpipe.data.fields.text import Text
from seqpipe.data.sources.dictionary import Dictionary
from seqpipe.data.sources.folders import ClassFolders
from seqpipe.data.sources.parallel import Parallel
from seqpipe.data.sources.text import LabelledLines, Lines
from seqpipe.errors import ConfigError, DataError


def read(source, split="train"):
    """The records of a split, the messages of what is bad in their place."""
    found = getattr(source.read(), split)
    return [one.problems[0] if isinstance(one, DataError) else one for one in found]


def whole(make, name="t.txt", **options):
    return make(train=name, valid=name, test=name, **options)


def test_a_line_is_an_example_and_blank_ones_are_none(write):
    write(t_txt="one\x85two\n\n  three \r\nfour".encode())
    found = read(whole(Lines))
    assert found == [{"text": "one\x85two"}, {"text": "three"}, {"text": "four"}]
    assert [record.place for record in found] == ["t.txt:1", "t.txt:3", "t.txt:4"]
    assert read(whole(Lines, blank="error"))[1] == (
        "t.txt:2: is blank; allowed: text, or data.source.blank=skip"
    )


def test_of_lines_that_are_alike_one_is_kept_where_that_is_asked(write):
    write(t_txt=b"anna\nbob\nanna\n\nbob\ncarl\n")
    assert [r["text"] for r in read(whole(Lines))] == ["anna", "bob", "anna", "bob", "carl"]
    once = read(whole(Lines, distinct=True))
    assert [(r["text"], r.line) for r in once] == [("anna", 1), ("bob", 2), ("carl", 6)]


def test_a_label_stands_before_the_first_white_space(write):
    write(
        t_txt=b"1 a stirring , funny\n0\tno  movement \n\n2\n", f_txt=b"__label__a x y\nlabel x\n"
    )
    found = read(whole(LabelledLines))
    assert found[:2] == [
        {"label": "1", "text": "a stirring , funny"},
        {"label": "0", "text": "no  movement"},
    ]
    assert found[2] == "t.txt:4: '2' has no text after it; allowed: LABEL text"
    assert read(whole(LabelledLines, blank="error"))[2].startswith("t.txt:3: is blank; allowed")
    assert read(whole(LabelledLines, "f.txt", prefix="__label__")) == [
        {"label": "a", "text": "x y"},
        "f.txt:2: 'label' does not start with __label__; allowed: __label__LABEL text",
    ]


def test_shares_of_lines_never_hold_one_text_twice(write):
    write(t_txt="".join(f"{n % 3} text {n % 100}\n" for n in range(300)).encode())
    data = SequenceData(
        LabelledLines(train="t.txt", stratify="label"), Category("label"), Text("text")
    )
    texts = [{r["text"] for r in part} for part in data.source.read().by_name().values()]
    assert [len(one) for one in texts] == [82, 9, 9]
    assert not texts[0] & texts[1] | texts[0] & texts[2] | texts[1] & texts[2]


FOLDERS = {
    "train__pos__1_txt": b"so good",
    "train__pos__sub__2_txt": b"fine\n\nindeed\n",
    "train__neg__1_txt": b"bad",
    "train__unsup__1_txt": b"who knows",
    "train__urls_txt": b"http://",
    "test__pos__1_txt": b"good",
    "test__neg__1_txt": b"caf\xe9",
    "test__neg__2_txt": b" \n",
}


def test_a_folder_is_a_class_and_a_file_a_text(write):
    write(**FOLDERS)
    source = ClassFolders(train="train", valid="test", test="test", classes=["neg", "pos"])
    assert read(source) == [
        {"text": "bad", "label": "neg"},
        {"text": "so good", "label": "pos"},
        {"text": "fine\n\nindeed", "label": "pos"},
    ]
    assert read(source, "test") == [
        "test/neg/1.txt:1: byte 0xe9 at column 4 is not utf-8; allowed: "
        "data.source.encoding=latin-1, cp1252, ... as the file was written",
        "test/neg/2.txt: is empty; allowed: a text",
        {"text": "good", "label": "pos"},
    ]
    assert len(source.inputs()) == 3 + 3 + 3
    assert {r["label"] for r in read(ClassFolders(train="train", valid="test", test="test"))} == {
        *("neg", "pos", "unsup"),
    }
    whole = ClassFolders(train=".", valid=0.3, test=0.3, path="train", stratify=None)
    splits = [{r["text"] for r in read(whole, s)} for s in ("train", "valid", "test")]
    assert [len(one) for one in splits] == [2, 1, 1]
    assert len(set.union(*splits)) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"train": "tran"},
            "data.source.train=tran: no such folder in {here}; it holds flat, hollow, test, train; "
            "allowed: a folder with a folder for each class; did you mean 'train'?",
        ),
        (
            {"train": "flat"},
            "data.source.train=flat: flat holds no folders; allowed: one for each ",
        ),
        (
            {"train": "hollow"},
            "data.source.train=hollow: hollow/a holds no files; allowed: one for each text",
        ),
        (
            {"train": "train", "classes": ["neg", "good"]},
            "data.source.classes=good: train has no folder good; it has neg, pos, unsup",
        ),
    ],
)
def test_folders_that_hold_no_classes_are_refused(write, tmp_path, options, message):
    write(**FOLDERS, flat__1_txt=b"x", hollow__a__b__1=b"")
    (tmp_path / "hollow/a/b/1").unlink()
    with pytest.raises(DataError) as error:
        ClassFolders(**options).read()
    assert str(error.value).startswith(message.format(here=tmp_path))


def test_line_k_of_one_file_goes_with_line_k_of_the_other(write):
    write(
        t_de_gz=gzip.compress("Zwei Männer\n\nein Hund".encode()),
        t_en_gz=gzip.compress(b"two men\n\na dog\n"),
        v_de=b"ja\n",
        v_en=b"yes\r\n",
        w_de=b"nein\n",
        w_en=b"no",
    )
    source = Parallel(train="t.*.gz", valid="v.*", test=["v.*", "w.*"], languages=["de", "en"])
    found = read(source)
    assert found == [{"de": "Zwei Männer", "en": "two men"}, {"de": "ein Hund", "en": "a dog"}]
    assert found[1].place == "t.de.gz:3"
    assert read(source, "test") == [{"de": "ja", "en": "yes"}, {"de": "nein", "en": "no"}]
    assert [file.name for file in source.inputs()] == [
        *("t.de.gz", "t.en.gz", "v.de", "v.en", "v.de", "v.en", "w.de", "w.en"),
    ]


def test_lines_that_do_not_go_together_are_told(write):
    write(t_de=b"eins\nzwei\n\nvi\xe9r\n", t_en=b"one\n \nthree\nfour\nfive\n")
    with pytest.raises(DataError) as error:
        list(whole(Parallel, "t.*", languages=["de", "en"]).read().train)
    assert str(error.value) == (
        "t.de:5: has no line 5, t.en has one; allowed: as many lines in both"
    )
    found = []
    with pytest.raises(DataError) as error:
        found.extend(whole(Parallel, "t.*", languages=["en", "de"]).read().train)
    assert str(error.value).startswith("t.de:5: has no line 5, t.en has one")
    assert found[0] == {"de": "eins", "en": "one"}
    assert [str(one) for one in found[1:]] == [
        "t.en:2: is blank, t.de:2 is not; allowed: text in both, or neither",
        "t.de:3: is blank, t.en:3 is not; allowed: text in both, or neither",
        "t.de:4: byte 0xe9 at column 3 is not utf-8; allowed: "
        "data.source.encoding=latin-1, cp1252, ... as the file was written",
    ]


def test_languages_and_their_files_have_to_be_there(write):
    write(t_de=b"ja\n")
    with pytest.raises(DataError) as error:
        Parallel(train="t.*", languages=["de", "en"]).read()
    assert str(error.value).startswith("data.source.train=t.en: no such file in ")
    with pytest.raises(ConfigError) as refused:
        Parallel(train="t.de", valid="*.*", test=0.1, languages=["de"])
    assert refused.value.problems == [
        "data.source.languages=[de]: not enough of them; allowed: two different ones or more",
        "data.source.train=t.de: needs one star, for the language; allowed: as train.*",
        "data.source.valid=*.*: needs one star, for the language; allowed: as train.*",
    ]


CMU = b"""\
;;; old comment
'bout B AW1 T
a AH0
a(2) EY1
d'artagnan D AH0 R T # foreign french
(paren P ER0
nothing # no phonemes
x(2) EH1 K S
"""


def test_a_dictionary_holds_words_and_their_phonemes(write):
    write(t_txt=CMU)
    found = read(whole(Dictionary))
    assert found == [
        {"word": "'bout", "phonemes": ["B", "AW1", "T"]},
        {"word": "a", "phonemes": ["AH0"]},
        {"word": "a", "phonemes": ["EY1"]},
        {"word": "d'artagnan", "phonemes": ["D", "AH0", "R", "T"]},
        {"word": "(paren", "phonemes": ["P", "ER0"]},
        "t.txt:7: 'nothing' has no phonemes; allowed: WORD PHONEME PHONEME ...",
        {"word": "x", "phonemes": ["EH1", "K", "S"]},
    ]
    assert found[2].place == "t.txt:4"
    plain = read(whole(Dictionary, alternatives="drop", stress=False))
    assert [r["phonemes"] for r in plain if isinstance(r, dict)] == [
        *(["B", "AW", "T"], ["AH"], ["D", "AH", "R", "T"], ["P", "ER"]),
    ]


def test_all_pronunciations_of_a_word_are_in_one_split(write):
    lines = [f"w{n}{alt} AA{n % 3} K" for n in range(200) for alt in ("", "(2)", "(3)")]
    write(t_txt="\n".join(lines).encode())
    source = Dictionary(train="t.txt")
    source.keep_together(["phonemes"])
    words = [[r["word"] for r in read(source, s)] for s in ("train", "valid", "test")]
    assert [len(one) for one in words] == [480, 60, 60]
    assert sum(len(set(one)) for one in words) == 200


def test_a_dictionary_of_comments_holds_no_words(write):
    write(t_txt=b"# only this\n;;; that\n\n")
    with pytest.raises(DataError) as error:
        read(whole(Dictionary))
    assert str(error.value) == "t.txt: holds no words; allowed: lines of WORD PHONEME PHONEME ..."


SEVERAL = b"__label__a __label__b-c x y\n__label__a x\n__label__b-c z\n"


def test_several_labels_a_line_are_a_list_that_several_labels_take(write):
    write(t_txt=SEVERAL)
    found = read(whole(LabelledLines, prefix="__label__"))
    assert found[0] == {"label": ["a", "b-c"], "text": "x y"}
    assert [record["label"] for record in found[1:]] == ["a", "b-c"]
    field = MultiLabel("label")
    field.fit(found)
    assert field.names == ("a", "b-c")
    assert [field.encode(record).tolist() for record in found] == [[1, 1], [1, 0], [0, 1]]


@pytest.mark.parametrize("label", ["R&B|Soul", "a,b", "a;b", "x/y", "a||b"])
def test_labels_with_marks_of_their_own_are_never_cut(write, label):
    text = f"__label__{label} x\n__label__{label} __label__pop y\n__label__pop z\n"
    write(t_txt=text.encode())
    found = read(whole(LabelledLines, prefix="__label__"))
    for field in (MultiLabel("label"), MultiLabel("label", separator=",")):
        field.fit(found)
        assert set(field.names) == {label, "pop"}
        assert [int(field.encode(record).sum()) for record in found] == [1, 2, 1]
    assert found[0]["label"] == label
    one = Category("label")
    one.fit([found[0], found[2]])
    assert set(one.names) == {label, "pop"}


def test_several_labels_a_line_are_refused_where_one_is_wanted(write):
    write(t_txt=SEVERAL * 9)
    source = LabelledLines(train="t.txt", prefix="__label__", order="file", valid=0.2, test=0.2)
    with pytest.raises(DataError) as error:
        SequenceData(source, Category("label"), Text("text"))
    assert error.value.problems[0].startswith(
        "t.txt:1: label=['a', 'b-c']: 2 labels; allowed: one, or several with task=multi_label"
        " data.y._target_=seqpipe.data.fields.multilabel.MultiLabel"
    )
    write(t_txt=b"".join(b"__label__a __label__b %d\n__label__a x%d\n" % (n, n) for n in range(9)))
    source = LabelledLines(train="t.txt", prefix="__label__", stratify="label", valid=0.2, test=0.2)
    kept = SequenceData(source, MultiLabel("label"), Text("text"))
    assert sum(facts.records for facts in kept.facts.values()) == 18


@pytest.mark.parametrize(
    ("prefix", "line", "problem"),
    [
        (
            "",
            "__label__a __label__b x",
            "'__label__b' would be a word of the text; allowed: data.source.prefix=__label__, and "
            "for several labels a line also task=multi_label data.y._target_=",
        ),
        ("", "__label__a x __label__b", "'__label__b' would be a word of the text; allowed: "),
        (
            "__label__",
            "__label__a x __label__b y",
            "'__label__b' is inside the text; allowed: ",
        ),
        ("label:", "label:a x label:b", "'label:b' is inside the text; allowed: labels before"),
        ("__label__", "__label__a __label__b", "'__label__b' has no text after it; allowed: "),
        ("__label__", "__label__ a x", "'__label__' has no label after it; allowed: "),
        ("#", "a #b x", "'a' does not start with #; allowed: #LABEL text"),
    ],
)
def test_a_label_that_would_be_a_word_of_the_text_is_refused(write, prefix, line, problem):
    write(t_txt=f"{line}\n".encode())
    (found,) = read(whole(LabelledLines, prefix=prefix))
    assert found.startswith(f"t.txt:1: {problem}")


@pytest.mark.parametrize(
    ("prefix", "line", "record"),
    [
        ("#", "#a #b x #c", {"label": ["a", "b"], "text": "x #c"}),
        ("label:", "label:a label:b  x  y", {"label": ["a", "b"], "text": "x  y"}),
        ("", "__label__a x y", {"label": "__label__a", "text": "x y"}),
        ("", "a label x", {"label": "a", "text": "label x"}),
    ],
)
def test_labels_of_other_prefixes_are_read_alike(write, prefix, line, record):
    write(t_txt=f"{line}\n".encode())
    assert read(whole(LabelledLines, prefix=prefix)) == [record]


def test_classes_that_are_several_labels_together_are_warned_about():
    field = Category("label")
    field.fit([{"label": name} for name in ("a", "b", "a|b", "c;d", "R&B")])
    (note,) = field.notes("data.y")
    assert note.startswith("data.y: 1 classes look like several labels, as 'a|b', and each")
    assert "+data.y.separator='|'" in note
    field.fit([{"label": name} for name in ("a", "b", "x|y", "rock, pop", "a|x")])
    assert field.notes("data.y") == []
