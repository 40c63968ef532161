"""Rules of every source that reads text: encodings, bad bytes, line ends, packed, empty files."""

import gzip
import time

import pytest

from seqpipe.data.base import place
from seqpipe.data.fields.text import Text
from seqpipe.data.sources.abc import Abc
from seqpipe.data.sources.conll import Conll, ConllU
from seqpipe.data.sources.dictionary import Dictionary
from seqpipe.data.sources.fasta import Fasta
from seqpipe.data.sources.forecast import Forecast
from seqpipe.data.sources.long_csv import LongCsv
from seqpipe.data.sources.stream import Documents, Stream
from seqpipe.data.sources.table import Table
from seqpipe.data.sources.text import LabelledLines, Lines
from seqpipe.data.sources.text_lines import misread
from seqpipe.data.sources.ts import Ts
from seqpipe.data.sources.video import listed
from seqpipe.data.sources.wide_csv import WideCsv
from seqpipe.errors import DataError
from seqpipe.testing import check_source

SOURCES = {  # name -> source, its options, file, header, a record; {n} its number, {e} a letter
    "lines": (Lines, {}, "t.txt", "", "un d{e} {n}\n"),
    "labelled": (LabelledLines, {}, "t.txt", "", "a un d{e} {n}\n"),
    "conll": (Conll, {}, "t.conll", "", "d{e}{n} O\n\n"),
    "conllu": (ConllU, {}, "t.conllu", "", "1\td{e}{n}" + "\t_" * 8 + "\n\n"),
    "csv": (Table, {}, "t.csv", "text,n\n", "un d{e},{n}\n"),
    "tsv": (Table, {}, "t.tsv", "text\tn\n", "un d{e}\t{n}\n"),
    "jsonl": (Table, {}, "t.jsonl", "", '{{"text": "d{e} {n}"}}\n'),
    "stream": (Stream, {"piece": 20}, "t.txt", "", "un d{e} {n}\n"),
    "documents": (Documents, {"start": "="}, "t.txt", "", "= un d{e} {n}\n"),
    "dictionary": (Dictionary, {}, "t.dict", "", "d{e}{n}  D E\n"),
    "abc": (Abc, {}, "t.abc", "", "X:{n}\nT:d{e}{n}\nK:C\nCDEF|\n\n"),
    "wide": (WideCsv, {"label": "y"}, "t.csv", "a,b,y\n", "1,{n},d{e}\n"),
    "long": (LongCsv, {"id": "i", "features": ["a"]}, "t.csv", "i,a\n", "d{e}{n},{n}\n"),
    "ts": (Ts, {}, "t.ts", "@classLabel true\n@data\n", "1,{n}:d{e}\n"),
    "forecast": (Forecast, {"values": ["n"], "past": 1}, "t.csv", "d,n\n", "d{e} 1,{n}\n"),
}
TABLES = ("csv", "wide", "long")
EMPTY = {
    **dict.fromkeys(("lines", "labelled"), "holds no text; allowed: one example per line"),
    **dict.fromkeys(("csv", "tsv", "long", "forecast"),
                    "is empty; allowed: a header, and rows below it"),
    "conll": "holds no tokens; allowed: one per line, in columns separated by tabs or spaces",
    "conllu": "holds no tokens; allowed: one per line, in ten columns separated by tabs",
    "jsonl": "is empty; allowed: one JSON object per line",
    "stream": "holds no text; allowed: a text",
    "documents": "holds no text; allowed: one or more documents",
    "dictionary": "holds no words; allowed: lines of WORD PHONEME PHONEME ...",
    "abc": "holds no tune; allowed: each starts at a line X:1",
    "wide": "has no rows below its header; allowed: one series per row",
    "ts": "has no line @data; allowed: a .ts file, header first",
}  # fmt: skip
WIDE = ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be")


def text_of(kind, letter="\u00e9", lines=40):
    _, _, _, header, row = SOURCES[kind]
    return header + "".join(row.format(e=letter, n=n + 1) for n in range(lines))


def made(kind, content, folder, packed=False, **options):
    """A source of one file, which it writes; the file."""
    make, own, name, _, _ = SOURCES[kind]
    file = folder / (f"{name}.gz" if packed else name)
    file.write_bytes(gzip.compress(content) if packed else content)
    return make(train=file.name, path=str(folder), **own, **options), file


def problems(*args, **options):
    source, file = made(*args, **options)
    try:
        found = list(source.parse(file))
    except DataError as error:
        return error.problems
    return [text for one in found if isinstance(one, DataError) for text in one.problems]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", SOURCES)
def test_records_are_the_same_whenever_they_are_read_packed_or_not(tmp_path, kind, packed):
    source, _ = made(kind, text_of(kind).encode(), tmp_path, packed, valid=0.2, test=0.2)
    check_source(source)
    assert source.warnings() == []


@pytest.mark.parametrize("kind", SOURCES)
def test_a_file_that_is_empty_or_no_gzip_is_refused(tmp_path, kind):
    for content in (b"", b"\n\r\n"):
        (problem,) = problems(kind, content, tmp_path)
        assert problem == f"{tmp_path / SOURCES[kind][2]}: {EMPTY[kind]}"
    (tmp_path / "packed").mkdir()
    source, file = made(kind, b"", tmp_path / "packed", packed=True)
    file.write_bytes(b"no gzip")
    with pytest.raises(DataError, match=r"\.gz: cannot be read to its end \(Not a gzipped file"):
        list(source.parse(file))


@pytest.mark.parametrize(
    ("kind", "encoding", "letter"),
    [*((kind, WIDE[n % 5], "\u00e9e"[n % 2]) for n, kind in enumerate(SOURCES)),
     *(("lines", encoding, letter) for encoding in WIDE for letter in "\u00e9e")],
)  # fmt: skip
def test_wide_encodings_are_known_by_their_bytes(tmp_path, kind, encoding, letter):
    """Also text of ASCII alone, whose bytes are utf-8 with zeros between."""
    content = text_of(kind, letter).encode(encoding)
    assert problems(kind, content, tmp_path) == [
        f"{tmp_path / SOURCES[kind][2]}:1: is written in {encoding}, not in utf-8;"
        f" allowed: data.source.encoding={encoding}"
    ]
    assert problems(kind, content, tmp_path, encoding=encoding) == []


@pytest.mark.parametrize("kind", SOURCES)
def test_one_broken_byte_of_utf_8_is_no_other_encoding(tmp_path, kind):
    content = text_of(kind).encode()
    at = content.index("\u00e9".encode(), len(content) // 2)
    broken = content[:at] + b"\xe9" + content[at + 2 :]
    (problem,) = problems(kind, broken, tmp_path)
    line = broken[:at].count(b"\n") + 1
    assert problem.startswith(f"{tmp_path / SOURCES[kind][2]}:{line}: byte 0xe9 at column ")
    assert problem.endswith(" is not utf-8; allowed: utf-8 here too, as other lines hold it")


@pytest.mark.parametrize("kind", [kind for kind in SOURCES if kind not in ("forecast", "ts")])
def test_latin_1_is_named(tmp_path, kind):
    found = problems(kind, text_of(kind, lines=5).encode("latin-1"), tmp_path)
    assert len(found) == 5
    for problem in found:
        assert " is not utf-8; allowed: data.source.encoding=latin-1, cp1252, ... as the" in problem


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
@pytest.mark.parametrize("kind", ["lines", "csv"])
def test_utf_8_that_is_read_as_a_wide_encoding_is_named(tmp_path, kind, encoding):
    (problem,) = problems(kind, text_of(kind).encode(), tmp_path, encoding=encoding)
    assert problem.endswith(
        f":1: is written in utf-8, not in {encoding}; allowed: data.source.encoding=utf-8"
    )


def test_a_mark_tells_the_encoding_where_every_byte_is_a_letter(tmp_path):
    """In latin-1 nothing is wrong."""
    for encoding, name in (("utf-8-sig", "utf-8"), ("utf-16", "utf-16")):
        content = text_of("lines").encode(encoding)
        (problem,) = problems("lines", content, tmp_path, encoding="latin-1")
        assert problem.endswith(
            f":1: is written in {name}, not in latin-1; allowed: data.source.encoding={name}"
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
def test_bytes_that_may_be_of_the_encoding_are_read(head, encoding):
    assert misread(head, encoding) is None


def test_a_header_with_bad_bytes_is_the_cause_that_is_reported(tmp_path):
    """And not that the row below it names no columns."""
    source, _ = made("forecast", "d\u00efme,n\n2020-01-01,1\n".encode("latin-1"), tmp_path)
    with pytest.raises(DataError, match=r"t\.csv:1: byte 0xef at column 2 is not utf-8; allowed"):
        list(source.read().train)


def test_text_of_wide_encodings_is_read_as_it_was_written(tmp_path):
    content = "na\u00efve caf\u00e9\n".encode("utf-16")
    source, file = made("lines", content, tmp_path, encoding="utf-16")
    field = Text("text", by="words", min_count=1)
    field.fit(source.parse(file))
    assert field.spec.names[4:] == ("caf\u00e9", "na\u00efve")


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_utf_8_sig_reads_files_with_a_mark_and_without(tmp_path, mark):
    source, file = made("lines", mark + b"a\n\xff\nb\n", tmp_path, encoding="utf-8-sig")
    first, bad, last = source.parse(file)
    assert (first["text"], last["text"]) == ("a", "b")
    assert bad.problems[0].startswith(f"{file}:2: byte 0xff at column 1 is not")


def test_the_look_at_the_first_bytes_costs_little():
    """A corpus may be 50,000 files, each read several times."""
    head = (b"hello world this is text\n" * 200)[:4096]
    start = time.process_time()
    for _ in range(200):
        assert misread(head, "utf-8") is None
    assert time.process_time() - start < 0.2


RETURN = "a carriage return within a row; allowed: \\n or \\r\\n at the end of each line"


@pytest.mark.parametrize("kind", ["lines", "labelled", "dictionary", *TABLES, "forecast"])
def test_a_carriage_return_within_a_row_is_refused_by_its_line(tmp_path, kind):
    header = SOURCES[kind][3]
    rows = text_of(kind, lines=8).removeprefix(header).splitlines()
    rows[1] = rows[1].replace(rows[1][3], f"{rows[1][3]}\r", 1)
    file = tmp_path / SOURCES[kind][2]
    line = 2 + bool(header)
    assert problems(kind, (header + "\n".join(rows)).encode(), tmp_path) == [
        f"{place(file, line)}: {RETURN}"
    ]
    if header:
        wrong = header.replace(",", "\r,", 1) + "\n".join(rows)
        assert problems(kind, wrong.encode(), tmp_path) == [f"{place(file, 1)}: {RETURN}"]


@pytest.mark.parametrize("kind", [*TABLES, "forecast"])
@pytest.mark.parametrize("end", ["\r\n", "\r\r\n"])
def test_other_line_ends_are_read(tmp_path, kind, end):
    assert problems(kind, text_of(kind).replace("\n", end).encode(), tmp_path) == []


def test_tables_of_labels_and_clips_refuse_a_carriage_return_as_well(tmp_path):
    (tmp_path / "a.fa").write_text(">s1\nACGT\n>s2\nACGA\n")
    (tmp_path / "y.csv").write_bytes(b"id,label\ns1,\ru\ns2,v\n")
    fasta = Fasta(train="a.fa", valid="a.fa", test="a.fa", path=str(tmp_path), labels="y.csv")
    (tmp_path / "c.csv").write_bytes(b"file,label\na.mkv,\ru\n")
    labels, clips = fasta.read().train, listed(tmp_path / "c.csv", "utf-8")
    for found, name in ((labels, "y.csv"), (clips, "c.csv")):
        problems = [p for one in found if isinstance(one, DataError) for p in one.problems]
        assert f"{tmp_path / name}:2: {RETURN}" in problems
