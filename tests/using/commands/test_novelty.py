"""Samples compared with the training split: which are copies, and their longest copied passages."""

import json
from pathlib import Path

import numpy as np
import pytest

from seqpipe.commands import sample as command
from seqpipe.commands.dispatch import COMMANDS
from seqpipe.config.command_options import read
from seqpipe.data.columns import Chunk, Column
from seqpipe.errors import ConfigError, DataError
from seqpipe.inference import novelty
from seqpipe.inference.model import Model
from seqpipe.inference.novelty import compare, longest_copies

EOS = 3


def column_of(*rows: str) -> Column:
    return Column.of([np.array([*map(ord, row), EOS]) for row in rows], True)


def ids(*texts: str) -> list[np.ndarray]:
    return [np.array([*map(ord, text)], dtype=np.int64) for text in texts]


def longest_by_hand(text: str, rows: list[str]) -> int:
    spans = [(i, j) for i in range(len(text)) for j in range(i + 1, len(text) + 1)]
    return max((j - i for i, j in spans if any(text[i:j] in row for row in rows)), default=0)


@pytest.mark.parametrize("block", [1, 7, 10_000])
def test_the_longest_copied_passage_is_that_of_every_substring_tried(block, monkeypatch):
    monkeypatch.setattr(novelty, "BLOCK", block)
    rng = np.random.default_rng(block)
    for _ in range(60):
        rows = ["".join(rng.choice(list("ab"), rng.integers(1, 15))) for _ in range(4)]
        texts = ["".join(rng.choice(list("abc"), rng.integers(0, 12))) for _ in range(5)]
        chunks = [column_of(*part).chunks[0] for part in (rows[:1], rows[1:])]
        expected = [longest_by_hand(text, rows) for text in texts]
        assert longest_copies(ids(*texts), Column(chunks)) == expected


def test_a_passage_ends_where_an_example_ends():
    assert longest_copies(ids("marian", "naomi"), column_of("maria", "naom", "ian")) == [5, 4]


def test_a_whole_sample_is_known_if_an_example_equals_it_and_a_passage_of_one_is_not():
    found = compare(ids("emma", "emm", "emma", "ab"), column_of("emma", "ab"), in_pieces=False)
    assert found.known == (True, False, True, True)
    assert found.copied == (4, 3, 4, 2)
    assert (found.share, found.longest, found.mean) == (0.75, 4, 3.25)


def test_in_one_long_text_a_passage_is_known_wherever_it_stands():
    text = column_of("to be or not to be")
    found = compare(ids("or not", "or nor", ""), text, in_pieces=True)
    assert found.known == (True, False, False)
    assert found.copied == (6, 5, 0)


def test_an_example_that_was_truncated_has_no_end_and_is_compared_all_the_same():
    rows = Column([Chunk(np.array([*map(ord, "abcab")]), np.array([0, 3, 5]))])
    assert compare(ids("abc", "ab", "b"), rows, in_pieces=False).known == (True, True, False)


@pytest.fixture
def sampled(run_of, options, tmp_path, monkeypatch):
    """sampled("lines", texts, ...): the answer of `sample` where the model draws these texts."""

    def of(name, texts, **given):
        monkeypatch.setattr(Model, "sample", lambda self, n, **how: texts)
        asked = options("sample", run=run_of(name), n=len(texts), novelty=True, **given)
        return command.run(asked, tmp_path)

    return of


def test_the_command_counts_samples_that_are_training_examples_and_records_them(
    sampled, made, run_of, tmp_path
):
    train = [record["text"] for record in made("lines").data.source.read().train]
    texts = [train[0], "zzz", train[3], train[3][:-1]]
    rows = {longest_by_hand(text, train) for text in texts}
    answer = sampled("lines", texts, seed=5)
    assert answer.text.splitlines() == texts
    mean = sum(longest_by_hand(text, train) for text in texts) / 4
    told, logged = answer.note.splitlines()
    assert told == (
        f"compared with the training split: 2 of 4 samples equal one of its {len(train)} examples;"
        f" longest copied passage: {max(rows)} characters (mean {mean:.1f})"
    )
    path = tmp_path / "runs" / "run-lines" / "evaluations" / "samples_seed-5.json"
    assert logged == f"logged to {path}"
    kept = json.loads(path.read_text())
    assert [row["sample"] for row in kept] == texts
    assert [row["in_training"] for row in kept] == [True, False, True, train[3][:-1] in train]


def test_a_prompt_is_a_part_of_a_whole_example_and_no_part_of_a_passage(sampled, made):
    train = [record["text"] for record in made("lines").data.source.read().train]
    first, rest = train[0][:3], train[0][3:]
    note = sampled("lines", [rest, "z"], prompt=first, log=False).note
    assert "1 of 2 samples equal one of its" in note
    assert "\n" not in note
    assert "0 of 2 samples equal" in sampled("lines", [rest, "z"], prompt="z", log=False).note
    text = "".join(record["text"] for record in made("stream").data.source.read().train)
    note = sampled("stream", [text[5:15], "zz"], prompt="zz", log=False).note
    assert "1 of 2 samples occur in its text; longest copied passage: 10 char" in note


def test_samples_are_written_to_a_file_a_line_each_or_with_empty_lines_between(sampled, tmp_path):
    given = {"log": False, "prompt": "th"}
    assert sampled("lines", ["e", "at"], output="a.txt", **given).text == "a.txt: 2 samples"
    assert (tmp_path / "a.txt").read_text() == "the\nthat\n"
    sampled("stream", ["e\na", "at"], output="b.txt", **given)
    assert (tmp_path / "b.txt").read_text() == "the\na\n\nthat\n"


def test_piano_rolls_are_not_compared(run_of, options, tmp_path):
    with pytest.raises(ConfigError) as caught:
        command.run(options("sample", run=run_of("piano rolls"), novelty=True), tmp_path)
    assert caught.value.problems == [
        "novelty=true: compares texts, but the model writes piano rolls; allowed: leave it out"
    ]


def test_a_model_that_writes_nothing_is_refused_for_that(run_of, options, tmp_path):
    with pytest.raises(ConfigError) as caught:
        command.run(options("sample", run=run_of("category of text"), novelty=True), tmp_path)
    (problem,) = caught.value.problems
    assert problem.startswith("ManyToOne: writes no new sequences; allowed: ")


def test_refusals_of_the_training_data_name_only_options_that_sample_has(run_of, options, tmp_path):
    run = run_of("lines")
    path = Path(run) / "model" / "data" / "seqpipe" / "seqpipe.json"
    (tmp_path / "other").mkdir()
    with pytest.raises(ConfigError) as elsewhere:
        command.run(options("sample", run=run, novelty=True), tmp_path / "other")
    assert str(elsewhere.value).endswith("; allowed: own_data=true, if you trust them")
    told = json.loads(path.read_text())
    told["facts"]["digests"]["train"] = "another"
    path.write_text(json.dumps(told))
    with pytest.raises(DataError) as changed:
        command.run(options("sample", run=run, novelty=True), tmp_path)
    wrong = "its train split is not what it was at training; allowed: the data of the training"
    assert changed.value.problems == [f"run={run}: {wrong}"]


@pytest.mark.parametrize("word", ["log=false", "own_data=true"])
def test_options_of_a_comparison_are_refused_without_one(word):
    with pytest.raises(ConfigError) as caught:
        read(COMMANDS["sample"].options, ["run=latest", word], "sample")
    (problem,) = caught.value.problems
    assert (
        problem.casefold() == f"{word}: has no effect without novelty=true; allowed: leave it out"
    )
    assert read(COMMANDS["sample"].options, ["run=latest", "novelty=true", word], "sample").novelty
