"""A language model that is read while transcripts are searched for: what fits, what it changes."""

import copy
from pathlib import Path

import pytest

from seqpipe.errors import ConfigError

LETTERS = sorted({"t", "c", "s", "o", "a", "m", "n", "d", "i", "w", "g", "b", "f", "v"})


def write_letters(folder: Path) -> None:
    """Lines of the letters that transcripts consist of."""
    rows = ["".join(LETTERS), *("".join(LETTERS[n:] + LETTERS[:n])[:6] for n in range(14))]
    (folder / "letters.txt").write_text("\n".join(rows * 4) + "\n")


SPELLING = (
    *("data=lines", "data.path={folder}/letters.txt", "data.y.by=characters"),
    "data.y.min_count=1",
)


@pytest.fixture(scope="session")
def letters(making, tmp_path_factory):
    return making(tmp_path_factory.mktemp("letters"), SPELLING, write_letters)


@pytest.fixture
def writer(made):
    return copy.deepcopy(made("transcript").model)


INPUTS = ["the cat sat on a mat and saw", "no dog it was good", "bad fine very not"]


def test_it_changes_answers_and_their_scores_and_only_those_that_are_searched(writer, letters):
    plain = writer.predict(INPUTS, beam_size=8)
    writer.read_language_model(letters.model, weight=2.0)
    found = writer.predict(INPUTS, beam_size=8, n_best=2)
    assert [a["prediction"] for a in plain] != [a["prediction"] for a in found]
    for answer in found:
        first, second = answer["n_best"]
        assert first["score"] >= second["score"]
    one = writer.predict(INPUTS, beam_size=8)
    assert [a["prediction"] for a in one] == [a["prediction"] for a in found]
    longer = copy.deepcopy(writer)
    longer.read_language_model(letters.model, weight=2.0, bonus=8.0)
    lengths = [
        sum(len(a["prediction"]) for a in m.predict(INPUTS, beam_size=8)) for m in (writer, longer)
    ]
    assert lengths[0] < lengths[1]


def test_greedy_decoding_would_not_read_it(writer, letters):
    writer.read_language_model(letters.model)
    with pytest.raises(ConfigError, match="lm: greedy decoding compares no transcripts; allowed"):
        writer.predict(INPUTS)
    with pytest.raises(ConfigError, match="lm: greedy decoding compares no transcripts; allowed"):
        writer.predict(INPUTS, beam_size=1)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("words", "lm: reads words, and y has characters; allowed: a language model of characters"),
        ("piano rolls", "lm: OneToMany is no language model; allowed: a run of architecture=one"),
        ("translation", "lm: EncoderDecoder is no language model; allowed: a run of architecture"),
    ],
)
def test_a_model_that_does_not_fit_is_refused(made, writer, name, text):
    with pytest.raises(ConfigError) as refused:
        writer.read_language_model(made(name).model)
    assert text in str(refused.value)


def test_symbols_that_it_does_not_know_are_named(making, writer, tmp_path):
    few = making(
        tmp_path,
        SPELLING,
        lambda folder: (folder / "letters.txt").write_text(
            "".join(f"tcs oamnd{'s' * n}\n" for n in range(30))
        ),
    )
    with pytest.raises(ConfigError) as refused:
        writer.read_language_model(few.model)
    assert "lm: does not know the symbols " in str(refused.value)
    assert "'i'" in str(refused.value)
    assert "'t'" not in str(refused.value)


def test_only_transcripts_are_searched_with_one(made, letters):
    model = copy.deepcopy(made("translation").model)
    with pytest.raises(ConfigError, match="lm: task=transduction has no beam that reads it"):
        model.read_language_model(letters.model)
