import re
import sysconfig
from itertools import pairwise
from pathlib import Path
from pydoc_data.topics import topics

import pytest

from seqpipe.data.dataset import SequenceData
from seqpipe.data.fields.text import Text
from seqpipe.data.fields.text_field import unknown_rate
from seqpipe.data.hashing import digest
from seqpipe.data.sources.python import PythonDocs, PythonTokens, library_files, token_tags
from seqpipe.errors import ConfigError

SNIPPET = (
    "# hi\n"
    "def f(a, b=1.5):\n"
    '    """doc\n'
    '    é more"""\n'
    "    s = f\"x{a!r:>{b}} {{lit}} {'in' + f'{b}'}\" + b'q'\n"
    "    return s \\\n"
    "        if a else None"
)
TAGGED = (
    "#### "
    "KKK nono no111oo "
    "    ssssssssssssssssssss "  # two lines and the line break between them
    "    n o ssssssssssssssssssssssssssssssssssssss o ssss "
    "    KKKKKK n   "
    "        KK n KKKK KKKK"
)
LETTERS = {
    "comment": "#",
    "keyword": "K",
    "name": "n",
    "number": "1",
    "operator": "o",
    "string": "s",
    "whitespace": " ",
}


@pytest.fixture(scope="module")
def docs():
    return PythonDocs().read()


@pytest.fixture(scope="module")
def tokens():
    return PythonTokens(files=12, max_length=100).read()


def long_paragraphs(records):
    """By words, written otherwise than in the source."""
    found = []
    for record in records:
        block = []
        for line in [*record["text"].split("\n"), ""]:
            if line.strip():
                block += line.split()
            else:
                found.append(" ".join(block))
                block = []
    return [paragraph for paragraph in found if len(paragraph) >= 40]


def test_no_paragraph_of_the_docs_stands_twice_in_or_across_splits(docs):
    everything = long_paragraphs([*docs.train, *docs.valid, *docs.test])
    assert len(everything) > 1500
    assert len(everything) == len(set(everything))
    raw = long_paragraphs([{"text": text} for text in topics.values()])
    assert len(raw) - len(set(raw)) > 100, "nothing had to be dropped: does the test still look?"
    assert set(everything) == set(raw)


def test_every_topic_is_in_one_split_and_valid_and_test_have_their_share(docs):
    names = [r["topic"] for records in docs.by_name().values() for r in records]
    assert len(names) == len(set(names))
    characters = sum(map(len, topics.values()))
    for records in (docs.valid, docs.test):
        assert 0.07 < sum(len(r["text"]) for r in records) / characters < 0.11
        assert len(records) >= 8
        assert min(len(r["text"]) for r in records) < 1500
        assert max(len(r["text"]) for r in records) > 5000


def test_nothing_is_taken_from_test_and_from_valid_only_what_test_has(docs):
    def whole(records):
        return set(long_paragraphs([{"text": topics[r["topic"]]} for r in records]))

    test, valid = set(long_paragraphs(docs.test)), set(long_paragraphs(docs.valid))
    assert test == whole(docs.test)
    assert valid == whole(docs.valid) - test
    assert set(long_paragraphs(docs.train)) == whole(docs.train) - valid - test


def test_the_text_of_the_docs_keeps_lines_and_indents(docs):
    lines = {line for text in topics.values() for line in text.split("\n")}
    kept = {line for r in docs.train for line in r["text"].split("\n")}
    assert {line.rstrip() for line in kept} <= {line.rstrip() for line in lines}
    assert sum(line.startswith("   ") for line in kept) > 500


def test_the_seed_splits_the_docs():
    one, same, other = (PythonDocs(seed=seed).read() for seed in (0, 0, 1))
    assert digest(one.test) == digest(same.test) != digest(other.test)


def test_the_docs_by_words_keep_to_the_vocabulary_and_learn_ends(source_of):
    field = Text("text", by="words", max_vocabulary=2000)
    data = SequenceData(PythonDocs(), field, window=128)
    assert data.spec.y.size == 2000
    rates = [unknown_rate(data.counts("y")[split]) for split in ("train", "test")]
    assert 0 < rates[0] < rates[1] < 0.2
    ends = sum(int((piece.y == 3).sum()) for piece in data.examples("train"))
    assert ends > 20 * data.facts["train"].records


def test_each_character_gets_the_class_of_its_token():
    tags = token_tags(SNIPPET)
    assert "".join(LETTERS[tag] for tag in tags) == TAGGED
    assert len(tags) == len(SNIPPET)


@pytest.mark.parametrize("text", ["(", 'a = """b', "if x:\n        y\n    z\n"])
def test_what_is_not_python_has_no_tags(text):
    assert token_tags(text) is None


def test_pieces_of_a_file_make_up_the_file(tokens):
    library = Path(sysconfig.get_path("stdlib"))
    texts = {}
    for record in [*tokens.train, *tokens.valid, *tokens.test]:
        assert 0 < len(record["text"]) == len(record["tags"]) <= 100
        texts[record["file"]] = texts.get(record["file"], "") + record["text"]
    assert len(texts) == 12
    for name, text in texts.items():
        assert text == (library / name).read_text(encoding="utf-8")


def test_tags_of_a_piece_are_those_it_has_in_the_whole_file(tokens):
    name = tokens.test[0]["file"]
    whole = token_tags((Path(sysconfig.get_path("stdlib")) / name).read_text(encoding="utf-8"))
    assert [tag for r in tokens.test if r["file"] == name for tag in r["tags"]] == whole


def test_only_white_space_lies_between_tokens(tokens):
    for record in tokens.train:
        between = {
            c for c, tag in zip(record["text"], record["tags"], strict=True) if tag == "whitespace"
        }
        assert between <= {" ", "\n", "\t", "\f", "\\"}


def test_pieces_start_at_a_line_and_seldom_within_a_string(tokens):
    records = tokens.train
    within = 0
    for before, piece in pairwise(records):
        if before["file"] == piece["file"]:
            in_long_string = before["tags"][-1] == piece["tags"][0] == "string"
            within += in_long_string
            assert before["text"].endswith("\n") or len(before["text"]) == 100
            if in_long_string:
                assert re.search(r"\n", before["text"][:-1]) is None or set(
                    before["tags"][before["text"].index("\n") :]
                ) <= {"string"}
    assert within < 0.3 * len(records)


def test_a_file_is_in_one_split_and_no_two_files_are_alike(tokens):
    files = [{r["file"] for r in records} for records in tokens.by_name().values()]
    assert [len(names) for names in files] == [10, 1, 1]
    assert len(set.union(*files)) == 12
    texts = {}
    for record in [*tokens.train, *tokens.valid, *tokens.test]:
        texts[record["file"]] = texts.get(record["file"], "") + record["text"]
    assert len(set(texts.values())) == 12


def test_tests_and_other_packages_are_not_of_the_library(tmp_path):
    for name in ["a.py", "b.txt", "email/c.py", "test/d.py", "site-packages/e.py", "x/tests/f.py"]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = [path.relative_to(tmp_path).as_posix() for path in library_files(tmp_path)]
    assert found == ["a.py", "email/c.py"]


def test_a_file_that_stands_twice_is_taken_once(tmp_path, monkeypatch):
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    for name, number in [("a", 1), ("b", 1), ("c", 2), ("d", 3), ("short", 0)]:
        text = f"x = {number}\n" * (500 if number else 1)
        (tmp_path / f"{name}.py").write_text(text)
    (tmp_path / "broken.py").write_text("(" * 2000)
    (tmp_path / "latin.py").write_bytes(b"x = 1  # \xe9\n" * 500)
    splits = PythonTokens(files=3, valid=0.3, test=0.3).read()
    assert len({r["file"] for records in splits.by_name().values() for r in records}) == 3
    with pytest.raises(ConfigError) as error:
        PythonTokens(files=4).read()
    assert (
        str(error.value)
        == "data.source.files=4: only 3 can be used; allowed: an integer from 3 to 3"
    )


def test_the_seed_picks_the_files():
    one, same, other = (PythonTokens(files=3, seed=seed).read() for seed in (0, 0, 1))
    assert digest(one.train) == digest(same.train)
    assert {r["file"] for r in one.train} != {r["file"] for r in other.train}


@pytest.mark.parametrize(
    ("valid", "test", "reason"),
    [
        (0.01, 0.2, "test would get 0.021, topics are split whole"),
        (0.4, 0.5, "test would get 0.341, topics are split whole"),
        (0.0002, 0.0002, "a topic has more than a quarter of that"),
    ],
)
def test_shares_that_whole_topics_cannot_make_up_are_refused(valid, test, reason):
    with pytest.raises(ConfigError) as error:
        PythonDocs(valid=valid, test=test).read()
    given = f"data.source.valid={valid} data.source.test={test}"
    (problem,) = error.value.problems
    assert problem.startswith(given)
    assert reason.partition("0.")[0] in problem  # the topics differ between versions of Python
