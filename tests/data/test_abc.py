"""Tunes in ABC notation: where one starts and ends, what of it stays, and which are alike."""

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

import small_files
from seqpipe.data.sources.abc import Abc
from seqpipe.errors import ConfigError, DataError

TUNES = """%abc
A line of no tune

X: 1
T: Kerry Cobbler, The
R:Jig
M: 6/8   % a comment
Z:"Somebody"
K:D
   A   | d>ed  [fa]2g |1 (3abc "Am"c/2 :|
P:B
A:| _B,, ^c' z4 |]
X:2
K:G
G2 |
"""


@pytest.fixture
def abc(tmp_path):
    (tmp_path / "a.abc").write_text(TUNES)
    return tmp_path / "a.abc"


tunes = partial(small_files.parsed, Abc)


def test_a_tune_goes_from_its_number_to_the_next(abc):
    first, second = tunes(abc)
    assert first["text"] == ('M:6/8\nK:D\nA | d>ed [fa]2g |1 (3abc "Am"c/2 :|\nA:| _B,, ^c\' z4 |]')
    assert first["tokens"] == [
        *("M:6/8", "K:D", "A", "|", "d", ">", "e", "d", "[", "f", "a", "]2", "g", "|1"),
        *("(3", "a", "b", "c", '"Am"', "c/2", ":|", "A", ":|", "_B,,", "^c'", "z4", "|]"),
    ]
    told = {k: first[k] for k in ("number", "title", "tune", "key", "meter", "rhythm")}
    assert told == {
        "number": "1",
        "title": "Kerry Cobbler, The",
        "tune": "kerry cobbler",
        "key": "D",
        "meter": "6/8",
        "rhythm": "Jig",
    }
    assert first["transcriber"] == '"Somebody"'
    assert (first.place, second.place) == (f"{abc}:4", f"{abc}:13")
    assert (second["text"], second["title"], second["tune"]) == ("K:G\nG2 |", "", "G2|")


def test_the_header_lines_that_stay_are_chosen(abc):
    first, second = tunes(abc, keep=["X", "T"])
    assert first["text"].startswith("X:1\nT:Kerry Cobbler, The\nA | d>ed")
    assert second["text"] == "X:2\nG2 |"
    assert tunes(abc, keep=[])[1]["text"] == "G2 |"


@given(st.lists(st.text("ABcdz|:[]()<>^_=',/0123456789 !\"{}~-KM", min_size=1), min_size=1))
def test_no_music_is_lost_or_added_by_the_tokens(tmp_path_factory, music):
    file = tmp_path_factory.getbasetemp() / "hypothesis.abc"
    file.write_text("\n".join(["X:1", "K:C", "C", *(f".{line}" for line in music)]))
    (tune,) = tunes(file)
    assert "".join("".join(tune["tokens"]).split()) == "".join(tune["text"].split())


def test_two_transcriptions_of_a_tune_stay_in_one_split(tmp_path):
    names = [f"{'The ' * (i % 2)}Tune {i}" for i in range(20)]
    one = "\n\n".join(f"X:{i}\nT:{name}\nK:C\nC{i} D" for i, name in enumerate(names))
    other = "\n\n".join(f"X:{i}\nT:Tune {i}{', The' * (i % 2)}\nK:C\n z{i} |" for i in range(20))
    (tmp_path / "one.abc").write_text(one)
    (tmp_path / "other.abc").write_text(other)
    for group in ("tune", "number"):
        source = Abc(
            train=["one.abc", "other.abc"], valid=0.2, test=0.2, path=str(tmp_path), group=group
        )
        splits = [list(split) for split in source.read().by_name().values()]
        assert [len(split) for split in splits] == [24, 8, 8]
        found = [{tune["number"] for tune in split} for split in splits]
        assert sum(map(len, found)) == 20


@pytest.mark.parametrize(
    ("content", "problems"),
    [
        (b"X:1\nK:C\n\nX:2\nK:C\nC\n", ["{file}:1: tune 1 has no music; allowed: lines of notes "
                                        "after K:"]),
        (b"X:\nT:x\n\nX:2\nK:C\nC\n", ["{file}:1: tune (without number) has no music; allowed: "
                                       "lines of notes after K:"]),
        (b"X:1\nK:C\nC \xe9\nD\n\nX:2\nK:C\nC\n", ["{file}:3: byte 0xe9 at column 3 is not utf-8; "
         "allowed: data.source.encoding=latin-1, cp1252, ... as the file was written"]),
    ],
)  # fmt: skip
def test_a_bad_tune_is_named_and_the_others_are_read(tmp_path, content, problems):
    file = tmp_path / "a.abc"
    file.write_bytes(content)
    found = tunes(file)
    assert small_files.problems(found) == [problem.format(file=file) for problem in problems]
    assert [tune["number"] for tune in found if not isinstance(tune, DataError)] == ["2"]


def test_other_encodings_are_read_where_they_are_named(tmp_path):
    (tmp_path / "a.abc").write_bytes("X:1\nT:Café\nK:C\nC\n".encode("latin-1"))
    (tune,) = tunes(tmp_path / "a.abc", encoding="latin-1")
    assert (tune["title"], tune["tune"]) == ("Café", "café")


def read(tmp_path, text):
    (tmp_path / "v.abc").write_text(text)
    source = Abc(train="v.abc", path=str(tmp_path))
    return [tune["text"] for tune in source.parse(tmp_path / "v.abc")], source.warnings()


def test_an_empty_line_does_not_end_a_tune(tmp_path):
    text = "X:1\nK:C\nCDE|\n\nFGA|\n\n\n\nW:words below\n\nB2 c' z\n\nX:2\nK:D\nD|\n"
    assert read(tmp_path, text) == (["K:C\nCDE|\nFGA|\nB2 c' z", "K:D\nD|"], [])


def test_text_between_tunes_is_no_music(tmp_path):
    text = "X:1\nK:C\nCDE|\n\nThe next tune is old.\nIt has a bag of notes.\n\nX:2\nK:D\nD|\n"
    assert read(tmp_path, text)[0] == ["K:C\nCDE|", "K:D\nD|"]


@pytest.mark.parametrize(
    "music",
    [
        "V:1\nCDE|\nV:2\nc,d,e,|\nV:1\nFGA|\n[V:2] f,|\n",
        "V:1 clef=treble\nCDE|\nV:2 clef=bass\nM:3/4\nc,d,e,|\n\nV:1\nFGA|\n",
        "[V:T1] CDE|\n[V:B1] c,d,e,|\n[V:T1]FGA|\n[V:B1]f,|\n",
        "CDE|\nV:2\nc,|\nV:1\nFGA|\n",
        "CDE & c2|\nFGA & f2|\n",
    ],
)
@pytest.mark.parametrize("header", ["", "V:1\nV:2 name=bass\n"])
def test_the_first_of_several_voices_is_read_and_the_others_are_told(tmp_path, music, header):
    if "T1" in music:
        header = header.replace("V:1", "V:T1").replace("V:2", "V:B1")
    text = f"X:1\nT:x\n{header}K:C\n{music}\nX:2\nK:D\nV:1\nD|\n"
    (first, second), (told,) = read(tmp_path, text)
    assert first.replace(" ", "") == "K:C\nCDE|\nFGA|"
    assert second == "K:D\nD|"
    assert told == (
        f"{tmp_path / 'v.abc'}:1: 1 tune has several voices, of which the first is read"
    )


def test_a_chord_with_an_ampersand_is_no_voice(tmp_path):
    assert read(tmp_path, 'X:1\nK:C\n"A&B"CDE|\n') == (['K:C\n"A&B"CDE|'], [])


@pytest.mark.parametrize("content", ["", "\n\n", "some text\n"])
def test_a_file_without_tunes_is_named(tmp_path, content):
    file = small_files.write(tmp_path, "a.abc", content)
    told = "a.abc: holds no tune; allowed: each starts at a line X:1"
    assert small_files.problems_in(Abc, file) == [told]


def test_a_header_line_is_kept_by_its_letter():
    with pytest.raises(ConfigError) as error:
        Abc(train="a.abc", keep=["T", "Key"])
    assert str(error.value) == (
        "data.source.keep=Key: a field of a tune is one letter; allowed: X, T, M, L, K, Z, ..."
    )


@pytest.mark.realdata
def test_the_irish_tunes_are_parted_by_their_number(shared_data):
    folder = str(shared_data / "music_abc_oneills")
    source = Abc(train=".", valid=0.1, test=0.1, path=folder, group="number")
    splits = [list(split) for split in source.read().by_name().values()]
    assert sum(map(len, splits)) == 1032
    numbers = [{tune["number"] for tune in split} for split in splits]
    assert sum(map(len, numbers)) == len(set.union(*numbers))
    assert all(tune["title"] and tune["key"] for split in splits for tune in split)
    symbols = {token for split in splits for tune in split for token in tune["tokens"]}
    assert len(symbols) < 1000
