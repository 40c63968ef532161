"""Long texts in pieces: nothing is lost, nothing is in memory whole."""

import gzip
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqpipe.data.dataset import SequenceData
from seqpipe.data.fields.text import Text
from seqpipe.data.sources.stream import Documents, Stream
from seqpipe.data.vocabulary import EOS
from seqpipe.errors import ConfigError, DataError

TEXT = "".join(f"line {n} of it\n" + "\n" * (n % 3 == 0) for n in range(100))


def read(source, split="train"):
    return list(getattr(source.read(), split))


def whole(make, name="t.txt", **options):
    return make(train=name, valid=name, test=name, **options)


def joined(records):
    return "".join(record["text"] for record in records)


@pytest.mark.parametrize("piece", [20, 50, 300, 10_000])
def test_the_pieces_make_up_the_text_and_only_the_last_one_ends_it(write, piece):
    write(t_txt=TEXT.encode(), u_txt=b"another\n")
    records = read(Stream(train=["t.txt", "u.txt"], valid="u.txt", test="u.txt", piece=piece))
    assert joined(records) == f"{TEXT}another\n"
    *first, last, other = records
    assert all(record.goes_on for record in first)
    assert not last.goes_on
    assert not other.goes_on
    assert all(record["text"].strip() for record in records)
    if piece >= 50:
        assert all(len(r["text"]) <= piece + 1 for r in records)  # and a blank line behind it
        assert all(r["text"].endswith("\n") for r in records)
        lines = f"\n{TEXT}".split("\n")
        assert all(r["text"].startswith(lines[r.line]) for r in records[:-1])


@given(st.text(alphabet="ab \n\t", min_size=1), st.integers(1, 9), st.sampled_from([True, False]))
def test_no_character_is_lost_whatever_the_text(tmp_path_factory, text, piece, blank_lines):
    file = tmp_path_factory.mktemp("stream") / "t.txt"
    file.write_text(text)
    if not text.strip():
        with pytest.raises(DataError, match="holds no text; allowed"):
            read(whole(Stream, str(file), piece=piece))
        return
    records = read(whole(Stream, str(file), piece=piece))
    assert joined(records) in (text, text.rstrip())
    documents = read(whole(Documents, str(file), piece=piece, blank_lines=blank_lines))
    assert joined(documents).split() == text.split()
    assert not documents[-1].goes_on


@pytest.mark.parametrize("by", ["characters", "words", "tokens"])
def test_a_text_field_reads_pieces_as_one_text(write, by):
    write(t_txt=TEXT.encode())
    field = Text("text", by=by, min_count=1)
    one = read(whole(Stream))
    field.fit(one)
    pieces = read(whole(Stream, piece=60))
    assert len(pieces) > 20
    ids = [id_ for record in pieces for id_ in field.encode_target(record).tolist()]
    assert ids == field.encode_target(one[0]).tolist()
    assert ids.count(EOS) == (34 if by == "words" else 1)


@pytest.mark.parametrize("name", ["t_txt", "t_txt_gz"])
def test_shares_are_of_the_characters_in_their_order_cut_at_line_ends(write, name):
    packed = gzip.compress if name.endswith("gz") else bytes
    write(**{name: packed(TEXT.encode())}, u_txt=b"one more\n")
    names = [name.replace("_", "."), "u.txt"]
    source = Stream(train=names, valid=0.1, test=0.2, piece=100)
    parts = {split: joined(read(source, split)) for split in ("train", "valid", "test")}
    text = f"{TEXT}one more\n"
    assert "".join(parts.values()).replace("\n", "") == text.replace("\n", "")
    shares = {split: len(part) / len(text) for split, part in parts.items()}
    assert shares == pytest.approx({"train": 0.7, "valid": 0.1, "test": 0.2}, abs=0.02)
    assert parts["test"].endswith("\none more\n")
    assert joined(read(source, "valid")) == parts["valid"]  # the same again
    half = Stream(train=names, valid="u.txt", test=0.5)
    assert joined(read(half, "valid")) == "one more\n"
    assert joined(read(half)) + joined(read(half, "test")) == text


def test_a_share_without_a_line_is_told(write):
    write(t_txt=b"the only line " * 9 + b"\n")
    with pytest.raises(DataError) as error:
        SequenceData(Stream(train="t.txt"), Text("text"))
    assert error.value.problems == [
        "data.source.piece=10000: a line is cut after so many characters, and no line of t.txt"
        f" starts in the share that is {split}; allowed: fewer, or a larger share"
        for split in ("valid", "test")
    ]
    assert SequenceData(Stream(train="t.txt", piece=8), Text("text")).sizes["test"] == 1


def test_a_line_longer_than_a_piece_is_parted_between_words(write):
    write(t_txt=b"some words in a line " * 50)
    records = read(whole(Stream, piece=100))
    assert joined(records) == "some words in a line " * 50
    assert all(80 < len(record["text"]) <= 110 for record in records[:-1])
    assert all(record["text"][-1] == " " and record["text"][0] != " " for record in records)


def test_a_file_far_larger_than_a_piece_takes_no_memory(write):
    for content in (b"line of a text\n" * 40_000, b"word " * 120_000):
        write(t_txt=content)
        source = Stream(train="t.txt")
        tracemalloc.start()
        found = {
            s: sum(len(r["text"]) for r in part) for s, part in source.read().by_name().items()
        }
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert sum(found.values()) == 600_000
        assert peak < 300_000


def test_a_word_is_put_at_the_end_of_each_line(write):
    write(t_txt=b" a b \n \nc")
    (record,) = read(whole(Stream, line_end="<eos>"))
    assert record["text"].split() == ["a", "b", "<eos>", "<eos>", "c"]


WIKI = " \n = Homer = \n \n Homer is old . \n = = Life = = \n Long . \n = Ovid = \n \n Young . \n"


def test_a_document_starts_where_a_line_says_so(write):
    write(t_txt=WIKI.encode())
    homer, ovid = read(whole(Documents, start=" = [^=]"))
    assert homer["text"] + ovid["text"] == WIKI
    assert ovid["text"].startswith(" = Ovid")
    assert ovid.place == "t.txt:7"
    assert homer["document"] != ovid["document"]
    assert not homer.goes_on


def test_documents_are_parted_by_blank_lines_or_are_files(write):
    write(a_txt=b"\n\none\ntwo\n \n\nthree", b_txt=b"four\n\nfive\n")
    parted = read(
        Documents(train=["a.txt", "b.txt"], valid="b.txt", test="b.txt", blank_lines=True)
    )
    assert [r["text"] for r in parted] == ["one\ntwo\n", "three", "four\n", "five\n"]
    assert [r.place for r in parted] == ["a.txt:3", "a.txt:7", "b.txt:1", "b.txt:3"]
    assert len(read(Documents(train=["a.txt", "b.txt"], valid="b.txt", test="b.txt"))) == 2


def test_the_pieces_of_a_document_stay_in_one_split(write):
    write(t_txt="".join(f"# {n}\n" + f"text {n % 50}\n" * 9 for n in range(60)).encode())
    source = Documents(train="t.txt", valid=0.2, test=0.2, start="# ", piece=30)
    source.keep_together(["text"])
    parts = {split: read(source, split) for split in ("train", "valid", "test")}
    documents = {split: {r["document"] for r in part} for split, part in parts.items()}
    assert [len(found) for found in documents.values()] == [36, 12, 12]
    assert len(set.union(*documents.values())) == 60
    for part in parts.values():
        ends = sum(not record.goes_on for record in part)
        assert ends == len({record["document"] for record in part})
    ordered = Documents(train="t.txt", valid=0.2, test=0.2, start="# ", order="file")
    assert read(ordered, "test")[0]["text"].startswith("# 48\n")


def test_a_long_line_that_ends_where_a_piece_does_leaves_no_blank_line(write):
    write(t_txt=b"x" * 20 + b"\nnext\n\nlast\n")
    records = read(whole(Documents, piece=20, blank_lines=True))
    assert [(r["text"][-5:], r.goes_on) for r in records] == [
        *(("xxxx\n", True), ("next\n", False), ("last\n", False)),
    ]


def test_documents_that_are_alike_are_one_item(write):
    write(t_txt=b"".join(b"same text\n\n" + b"text %d\n\n" % n for n in range(20)))
    source = Documents(train="t.txt", valid=0.3, test=0.3, blank_lines=True)
    same = [sum("same" in r["text"] for r in read(source, s)) for s in ("train", "valid", "test")]
    assert sorted(same) == [0, 0, 20]


@pytest.mark.parametrize("make", [Stream, Documents])
def test_bad_bytes_and_empty_files_are_told(write, make):
    write(t_txt=b"one\ntw\xff\nthree\n", empty_txt=b" \n\n")
    bad, good = read(whole(make))
    assert str(bad) == (
        "t.txt:2: byte 0xff at column 3 is not utf-8; allowed: "
        "data.source.encoding=latin-1, cp1252, ... as the file was written"
    )
    assert good["text"] == "one\nthree\n"
    with pytest.raises(DataError, match=r"^empty.txt: holds no text; allowed: "):
        read(whole(make, "empty.txt"))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (
            {"start": "["},
            "data.source.start=[: not a regular expression (unterminated character set at "
            "position 0); allowed: as in Python's re",
        ),
        (
            {"start": "x", "blank_lines": True},
            "data.source.blank_lines=true: documents already start otherwise; "
            "allowed: false, or start=null",
        ),
    ],
)
def test_an_option_that_cannot_work_is_refused(options, problem):
    with pytest.raises(ConfigError) as error:
        Documents(train="t.txt", **options)
    assert str(error.value) == problem
