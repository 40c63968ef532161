"""Word vectors trained before: every form of their files, coverage, and what is wrong with them."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from seqpipe.build import build_data
from seqpipe.config.compose import compose
from seqpipe.data.dataset import SequenceData
from seqpipe.data.fields.labels import Number
from seqpipe.data.fields.spelling import Spelled
from seqpipe.data.fields.text import Text
from seqpipe.data.fields.vectors import read_vectors
from seqpipe.errors import ConfigError, DataError

PLAIN = "the 0.5 -1 2e-1\ncat 1 2 3\nunseen 7 8 9\n"
TRAIN = [{"text": "the cat the dog"}]


@pytest.fixture
def vectors(tmp_path):
    """Write a file of vectors."""

    def write(content, name="vectors.txt"):
        file = tmp_path / name
        data = content if isinstance(content, bytes) else content.encode()
        file.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return str(file)

    return write


def fitted(file, **options):
    field = Text("text", **{"by": "tokens", "min_count": 1, "vectors": file, **options})
    field.fit(TRAIN)
    return field


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (PLAIN, "glove.txt"),
        ("3 3\n" + PLAIN, "word2vec.txt"),
        ("3 3\n" + PLAIN.replace("\n", " \n"), "fasttext.vec"),  # a space ends its lines
        ("3 3\n" + PLAIN, "fasttext.vec.gz"),
        (PLAIN.replace(" ", "\t"), "tabs.txt"),
        (PLAIN.replace("\n", "\r\n"), "windows.txt"),
        (PLAIN + ". . . 1 2 3\n\n", "glove.840B.txt"),  # a word of three parts
        (PLAIN + "the 9 9 9\n", "twice.txt"),  # the first counts
        (PLAIN.encode() + b"\xff\xfe 1 2 3\n", "bytes.txt"),  # a word that is no text
    ],
)
def test_every_form_of_a_file_gives_the_rows_of_the_vocabulary(vectors, content, name):
    field = fitted(vectors(content, name))
    names, matrix = field.spec.names, field.spec.vectors
    assert matrix.shape == (7, 3)
    assert matrix.dtype == np.float32
    assert matrix[names.index("the")] == pytest.approx([0.5, -1, 0.2])
    assert matrix[names.index("cat")].tolist() == [1, 2, 3]
    assert np.isnan(matrix[[0, 1, 2, 3, names.index("dog")]]).all()


def test_words_of_several_parts_keep_their_vectors(vectors):
    file = vectors("a 1 2\n. . . 3 4\n")
    field = Text("text", by="tokens", min_count=1, vectors=file)
    field.fit([{"text": ["a", ". . ."]}])
    assert field.spec.vectors[field.spec.names.index(". . .")].tolist() == [3, 4]


@pytest.mark.parametrize("kind", [Text, Spelled])
def test_the_data_tells_how_many_words_and_tokens_have_vectors(vectors, source_of, kind):
    field = kind("text", by="tokens", min_count=1, vectors=vectors(PLAIN))
    records = [{**record, "y": 1.0} for record in TRAIN]
    told = SequenceData(source_of(records), Number("y"), field).description
    assert "; vectors for 67 % of the words, 75 % of the tokens -> a number" in told


def test_a_file_is_an_input_of_the_field_and_read_once(vectors, source_of, monkeypatch):
    file, reads = vectors(PLAIN), []

    def read(*arguments, **options):
        reads.append(arguments)
        return read_vectors(*arguments, **options)

    monkeypatch.setattr("seqpipe.data.fields.vectors.read_vectors", read)
    for kind in (Text, Spelled):
        assert kind("text", by="words", vectors=file).inputs() == [Path(file)]
        assert kind("text").inputs() == []
    field = Text("text", by="words", min_count=1, vectors=file)
    records = [{"text": "the", "y": 1.0}] * 3 + [{"text": 3, "y": 1.0}]  # one is no text
    data = SequenceData(source_of(records), Number("y"), field, on_error="skip")
    assert data.spec.x.vectors.shape == (5, 3)
    assert len(reads) == 1  # though the field is fitted to each record, to find the bad one


@pytest.mark.parametrize("kind", [Text, Spelled])
def test_vectors_are_kept_with_what_was_learned(vectors, kind):
    field = kind("text", by="tokens", min_count=1, vectors=vectors(PLAIN))
    field.fit(TRAIN)
    other = kind("text", by="tokens")
    other.restore(field.state())
    np.testing.assert_array_equal(other.spec.vectors, field.spec.vectors)
    plain = kind("text", by="tokens")
    plain.fit(TRAIN)
    assert plain.spec.vectors is None
    assert "vectors" not in plain.state()


def test_of_many_words_that_have_no_vectors_five_are_shown(vectors):
    field = Text("text", by="tokens", min_count=1, vectors=vectors(PLAIN))
    field.fit([{"text": " ".join(map(str, range(1200)))}])
    with pytest.raises(DataError, match=r"none of the 1,200 words, 0, 1, 10, 100, 1000, \.\.\.; "):
        field.spec  # noqa: B018


def test_lowercase_words_find_lowercase_vectors(vectors):
    field = Text("text", by="words", min_count=1, lowercase=True, vectors=vectors(PLAIN))
    field.fit([{"text": "The Cat"}])
    assert not np.isnan(field.spec.vectors[4:]).any()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("the 1 2\ncat 1\n", "{}:2: holds 1 number; allowed: 2, as the lines before it"),
        ("the 1 2\ncat 1 2 3\n", "{}:2: holds 3 numbers; allowed: 2, as the lines before it"),
        ("the 1 2\n 1 2\n", "{}:2: holds 1 number; allowed: 2, as the lines before it"),
        ("2 3\nthe 1 2\n", "{}:2: holds 2 numbers; allowed: 3, as the lines before it"),
        ("the\n", "{}:1: holds no numbers; allowed: a word and its numbers"),
        ("the 1 x\n", "{}:1: x is not a finite number; allowed: 0.25, -1e-3, ..."),
        ("the 1 2\n\ncat 1 nan\n", "{}:3: nan is not a finite number; allowed: 0.25, -1e-3, ..."),
        ("3 2\nthe 1 2\n", "{}:1: announces 3 words, and 1 follow; allowed: a whole file"),
        (
            "",
            "{}: holds none of the 3 words, the, cat, dog; "
            "allowed: vectors of these words, or the field's lowercase (true or false) as the file "
            "has its words",
        ),
        (
            "Hund 1 2\n",
            "{}: holds none of the 3 words, the, cat, dog; "
            "allowed: vectors of these words, or the field's lowercase (true or false) as the file "
            "has its words",
        ),
    ],
)
def test_what_is_wrong_in_a_file_is_told_with_its_line(vectors, content, message):
    file = vectors(content)
    with pytest.raises(DataError) as error:
        fitted(file).spec  # noqa: B018
    assert str(error.value) == message.format(file)


def test_a_broken_gz_is_told(vectors, tmp_path):
    file = vectors(PLAIN * 100, "broken.gz")
    (tmp_path / "broken.gz").write_bytes((tmp_path / "broken.gz").read_bytes()[:-9])
    with pytest.raises(DataError) as error:
        fitted(file).spec  # noqa: B018
    assert str(error.value).startswith(f"{file}: cannot be read to its end (")


def test_a_file_that_is_not_there_and_a_text_without_words_are_refused(tmp_path, vectors):
    with pytest.raises(ConfigError) as error:
        Text("text", by="words", vectors=str(tmp_path / "no.txt"))
    assert str(error.value) == (
        f"vectors={tmp_path / 'no.txt'}: no such file in {tmp_path}; "
        "allowed: a file that exists, or null"
    )
    file = vectors(PLAIN)
    for by in ("characters", "bytes", "subwords"):
        with pytest.raises(ConfigError) as error:
            Text("text", by=by, vectors=file)
        assert str(error.value) == (
            f"vectors={file}: are of words; allowed: null, or also by=words, by=tokens or, "
            "of an x, by=spelled"
        )


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (
            "data=table data.path=a.csv data.x.by=characters +data.x.vectors=FILE",
            "data.x.vectors=FILE: are of words; allowed: null, or also data.x.by=words, "
            "data.x.by=tokens or, of an x, data.x.by=spelled",
        ),
        (
            "data=python_docs +data.y.vectors=FILE",
            "data.y.vectors=FILE: are of words; allowed: null, or also data.by=words, "
            "data.by=tokens or, of an x, data.by=spelled",
        ),
        (
            "data=table data.path=a.csv +data.x.vectors=FILE +data.x.lowercase_vectors=true",
            "data.x.lowercase_vectors=true: all words are in small letters; "
            "allowed: false, or also data.x.lowercase=false",
        ),
    ],
)
def test_options_of_a_field_are_named_as_they_are_typed(vectors, typed, message):
    file = vectors(PLAIN)
    cfg, _ = compose(typed.replace("FILE", file).split())
    with pytest.raises(ConfigError) as refused:
        build_data(cfg)
    assert refused.value.problems == [message.replace("FILE", file)]


def binary(*rows, ending=b"\n"):
    """A file as word2vec.c writes it."""
    width = len(rows[0][1])
    lines = [word.encode() + b" " + np.float32(v).tobytes() + ending for word, v in rows]
    return f"{len(rows)} {width}\n".encode() + b"".join(lines)


ROWS = (("the", [0.5, -1, 0.2]), ("cat", [1, 2, 3]), ("unseen", [7, 8, 9]))


@pytest.mark.parametrize("ending", [b"\n", b""])
@pytest.mark.parametrize("name", ["word2vec.bin", "word2vec.bin.gz"])
def test_a_binary_file_of_word2vec_gives_the_same_rows_as_text(vectors, name, ending):
    field = fitted(vectors(binary(*ROWS, ending=ending), name))
    np.testing.assert_array_equal(field.spec.vectors, fitted(vectors(PLAIN)).spec.vectors)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (binary(*ROWS)[:-6], "word 3 is cut off, of 3 that are announced; allowed: a whole file"),
        (
            b"the 1 2\n",
            "does not start with the numbers of words and dimensions; allowed: word2vec's .bin, "
            "or a text file, .vec or .txt",
        ),
        (
            (793712314).to_bytes(4, "little") + b"\x0c\x00",
            "is a model of fastText, not its vectors; allowed: word2vec's .bin, or a text file, "
            ".vec or .txt",
        ),
        (
            binary(("the", [np.nan, 1.0])),
            "word 1: holds NaN or infinity; allowed: finite numbers",
        ),
    ],
)
def test_a_binary_file_that_cannot_be_used_is_refused(vectors, content, message):
    with pytest.raises(DataError) as refused:
        fitted(vectors(content, "v.bin")).spec  # noqa: B018
    (problem,) = refused.value.problems
    assert problem.partition("v.bin: ")[2] == message


def test_a_word_that_the_file_lacks_takes_the_vector_of_its_small_letters(vectors):
    content = "the 1 1\ncat 2 2\nCat 3 3\n"
    records = [{"text": "The THE Cat cat Dog"}]

    def rows(**options):
        field = Text("text", by="tokens", min_count=1, vectors=vectors(content), **options)
        field.fit(records)
        names = field.spec.names
        return {
            w: field.spec.vectors[names.index(w)].tolist()[0] for w in records[0]["text"].split()
        }

    assert np.isnan(rows()["The"])
    found = rows(lowercase_vectors=True)
    assert (found["The"], found["THE"], found["Cat"], found["cat"]) == (1, 1, 3, 2)
    assert np.isnan(found["Dog"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lowercase": False}, "there are no vectors; allowed: false, or also vectors=FILE"),
        (
            {"lowercase": True},
            "all words are in small letters; allowed: false, or also lowercase=false",
        ),
    ],
)
@pytest.mark.parametrize("made", [Text, Spelled])
def test_small_letters_without_an_effect_are_refused(made, options, message, vectors):
    by = {"by": "words"}
    if options["lowercase"]:
        by["vectors"] = vectors(PLAIN)
    with pytest.raises(ConfigError) as refused:
        made("text", lowercase_vectors=True, **by, **options)
    assert refused.value.problems == [f"lowercase_vectors=true: {message}"]


def test_words_that_are_read_decomposed_find_their_vectors(vectors):
    field = Text("text", by="words", min_count=1, normalize="nfd", vectors=vectors("h\u00e9 1 2\n"))
    field.fit([{"text": "h\u00e9"}])
    assert field.spec.names[4] == "he\u0301"
    assert field.spec.vectors[4].tolist() == [1, 2]
