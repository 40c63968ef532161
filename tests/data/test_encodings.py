"""Files of other encodings are refused with the encoding that they are of, in every source."""

import gzip
import time

import pytest

from seqpipe.data.fields.text import Text
from seqpipe.data.sources.abc import Abc
from seqpipe.data.sources.conll import Conll
from seqpipe.data.sources.dictionary import Dictionary
from seqpipe.data.sources.forecast import Forecast
from seqpipe.data.sources.stream import Stream
from seqpipe.data.sources.table import Table
from seqpipe.data.sources.text import LabelledLines, Lines
from seqpipe.data.sources.text_lines import misread
from seqpipe.errors import DataError

SOURCES = {
    "lines": (Lines, "t.txt", "un d{e} {n}\n"),
    "labelled": (LabelledLines, "t.txt", "a un d{e} {n}\n"),
    "conll": (Conll, "t.conll", "d{e}{n} O\n\n"),
    "csv": (Table, "t.csv", "un d{e},{n}\n"),
    "tsv": (Table, "t.tsv", "un d{e}\t{n}\n"),
    "jsonl": (Table, "t.jsonl", '{{"text": "d{e} {n}"}}\n'),
    "stream": (Stream, "t.txt", "un d{e} {n}\n"),
    "dictionary": (Dictionary, "t.dict", "d{e}{n}  D E\n"),
    "abc": (Abc, "t.abc", "X:{n}\nT:d{e}\nK:C\nCDEF|\n\n"),
    "forecast": (
        lambda **k: Forecast(values=["1"], past=1, horizon=1, **k),
        "t.csv",
        "d{e} 1,{n}\n",
    ),
}
WRITTEN = {
    "utf-16": "utf-16",
    "utf-16-le": "utf-16-le",
    "utf-16-be": "utf-16-be",
    "utf-32": "utf-32",
    "utf-32-be": "utf-32-be",
}


def problems(kind, content, folder, packed=False, **options):
    make, name, _ = SOURCES[kind]
    name = f"{name}.gz" if packed else name
    (folder / name).write_bytes(gzip.compress(content) if packed else content)
    try:
        found = list(make(train=name, path=str(folder), **options).parse(folder / name))
    except DataError as error:
        return error.problems
    return [text for one in found if isinstance(one, DataError) for text in one.problems]


def text_of(kind, letter="\u00e9", lines=40):
    return "".join(SOURCES[kind][2].format(e=letter, n=n + 1) for n in range(lines))


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("encoding", WRITTEN)
@pytest.mark.parametrize("letter", ["\u00e9", "e"])
def test_wide_encodings_are_known_by_their_bytes(tmp_path, kind, encoding, letter):
    """Also text of ASCII alone, whose bytes are utf-8 with zeros between."""
    name = SOURCES[kind][1]
    told = WRITTEN[encoding]
    assert problems(kind, text_of(kind, letter).encode(encoding), tmp_path) == [
        f"{tmp_path / name}:1: is written in {told}, not in utf-8;"
        f" allowed: data.source.encoding={told}"
    ]


@pytest.mark.parametrize("encoding", WRITTEN)
def test_the_advice_works(tmp_path, encoding):
    content = text_of("lines").encode(encoding)
    assert problems("lines", content, tmp_path, encoding=WRITTEN[encoding]) == []
    assert problems("csv", text_of("csv").encode(encoding), tmp_path, encoding=encoding) == []
    assert len(problems("lines", content, tmp_path, packed=True)) == 1


@pytest.mark.parametrize("kind", ["lines", "labelled", "conll", "csv", "jsonl", "stream", "abc"])
def test_one_broken_byte_of_utf_8_is_no_other_encoding(tmp_path, kind):
    content = text_of(kind).encode()
    at = content.index("\u00e9".encode(), len(content) // 2)
    broken = content[:at] + b"\xe9" + content[at + 2 :]
    (problem,) = problems(kind, broken, tmp_path)
    line = broken[:at].count(b"\n") + 1
    name = SOURCES[kind][1]
    assert problem.startswith(f"{tmp_path / name}:{line}: byte 0xe9 at column ")
    assert problem.endswith(" is not utf-8; allowed: utf-8 here too, as other lines hold it")


@pytest.mark.parametrize("kind", ["lines", "labelled", "conll", "jsonl", "stream"])
def test_latin_1_is_named(tmp_path, kind):
    found = problems(kind, text_of(kind, lines=5).encode("latin-1"), tmp_path)
    assert len(found) == 5
    for problem in found:
        assert " is not utf-8; allowed: data.source.encoding=latin-1, cp1252, ... as the" in problem


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
def test_utf_8_that_is_read_as_a_wide_encoding_is_named(tmp_path, encoding):
    for kind in ("lines", "csv"):
        (problem,) = problems(kind, text_of(kind).encode(), tmp_path, encoding=encoding)
        assert problem.endswith(
            f":1: is written in utf-8, not in {encoding}; allowed: data.source.encoding=utf-8"
        )


def test_a_mark_tells_the_encoding_where_every_byte_is_a_letter(tmp_path):
    """In latin-1 nothing is wrong."""
    for encoding, told in (("utf-8-sig", "utf-8"), ("utf-16", "utf-16")):
        content = text_of("lines").encode(encoding)
        (problem,) = problems("lines", content, tmp_path, encoding="latin-1")
        assert problem.endswith(
            f":1: is written in {told}, not in latin-1; allowed: data.source.encoding={told}"
        )


@pytest.mark.parametrize(
    ("head", "encoding"),
    [
        (b"", "utf-8"),
        (b"\xef\xbb\xbfa\n", "utf-8"),
        (b"\xef\xbb\xbfa\n", "utf-8-sig"),
        (b"a\n", "utf-8-sig"),
        ("\u0436\u0443\u043a\n".encode("utf-16"), "utf-16"),
        ("\ufeff\u0436\u0443\u043a\n".encode("utf-16-le"), "utf-16-le"),
        ("\u732b\n".encode("utf-16-be"), "utf-16-be"),
        (b"a\0b c d e f g h\n", "utf-8"),
        (b"a" * 4095 + "\u00e9".encode()[:1], "utf-8"),
        ("\u00e9".encode("latin-1") * 20, "latin-1"),
    ],
)
def test_what_may_be_as_it_is_read_is_read(head, encoding):
    assert misread(head, encoding) is None


def test_a_header_with_bad_bytes_is_the_cause_that_is_reported(tmp_path):
    """And not that the row below it names no columns."""
    (tmp_path / "t.csv").write_bytes("t\u00efme,value\n2020-01-01,1\n".encode("latin-1"))
    source = Forecast(train="t.csv", values=["value"], past=1, horizon=1, path=str(tmp_path))
    with pytest.raises(DataError, match=r"t\.csv:1: byte 0xef at column 2 is not utf-8; allowed"):
        list(source.read().train)


def test_text_of_wide_encodings_is_what_it_is(tmp_path):
    (tmp_path / "t.txt").write_bytes("na\u00efve caf\u00e9\n".encode("utf-16"))
    source = Lines(
        train="t.txt", valid="t.txt", test="t.txt", path=str(tmp_path), encoding="utf-16"
    )
    field = Text("text", by="words", min_count=1)
    field.fit(source.read().train)
    assert field.spec.names[4:] == ("caf\u00e9", "na\u00efve")


def test_utf_8_sig_reads_files_with_a_mark_and_without(tmp_path):
    for content in (b"a\n\xff\nb\n", b"\xef\xbb\xbfa\n\xff\nb\n"):
        (tmp_path / "t.txt").write_bytes(content)
        source = Lines(
            train="t.txt", valid="t.txt", test="t.txt", path=str(tmp_path), encoding="utf-8-sig"
        )
        first, bad, last = source.read().train
        assert (first["text"], last["text"]) == ("a", "b")
        assert bad.problems[0].startswith(f"{tmp_path / 't.txt'}:2: byte 0xff at column 1 is not")


def test_the_look_at_the_first_bytes_costs_little():
    """A corpus may be 50,000 files, each read several times."""
    head = (b"hello world this is text\n" * 200)[:4096]
    start = time.process_time()
    for _ in range(200):
        assert misread(head, "utf-8") is None
    assert time.process_time() - start < 0.2
