"""Tunes that a model writes: numbered as in a file, checked, and read again by the source."""

import pytest

from seqpipe.commands import sample as command
from seqpipe.data.abc_notation import fault_of, numbered
from seqpipe.data.sources.abc import Abc
from seqpipe.errors import DataError
from seqpipe.inference.model import Model

GOOD = "M:6/8\nL:1/8\nK:G\nGAB c2d|[Gc]2 {e}f (3abc|1 ~g3 :|2 [1 z3|]"
TUNES = [f"M:{n + 2}/8\nL:1/8\nK:G\n{'GAB' * (n + 1)}|c2d|{'ABc' * (n % 3)}|]" for n in range(20)]


@pytest.mark.parametrize(
    ("music", "fault"),
    [
        ("GAB|", None),
        ('"Am7 b5"A !trill!B "D.C."|]', None),
        ("^f_B,, =c'2/3 z4 x|", None),
        ("[|[1GA:|[2 GB|]", None),
        ("[K:D]d2 [ce]2 {ga}b", None),
        ("G>A B<c (GA) .B ~c -|", None),
        ("GAB % a 9 comment", None),
        ("z4|", "no notes"),
        ("", "no music"),
        ("G 2", "'2'"),
        ("[GA", "[ not closed"),
        ("[G[A]", "[ not closed"),
        ("GA]", "] not opened"),
        ("[G|A]", "bar line within a chord"),
        ("{gA", "{ not closed"),
        ("gA}", "} not opened"),
        ('"AmG', '" not closed'),
        ("G!A", "! not closed"),
        ("GéA", "'é'"),
        ("GKA", "'K'"),
    ],
)
def test_a_tune_is_checked_by_the_rules_of_the_notation(music, fault):
    assert Abc(train="").fault_of(f"X:1\nM:C\nK:G\n{music}") == fault


@pytest.mark.parametrize(
    ("header", "fault"),
    [
        ("K:G", None),
        ("M:C|\nL:1/16\nK:F#m", None),
        ("M:2+3/8\nK:Bb mixolydian", None),
        ("M:none\nL:1\nK:none", None),
        ("M:C", "no K: before the music"),
        ("M:6\nK:G", "M:6"),
        ("L:8\nK:G", "L:8"),
        ("K:H", "K:H"),
        ("K:Gfoo", "K:Gfoo"),
        ("K:" + "G" * 99, "K:" + "G" * 18),
    ],
)
def test_the_header_of_a_tune_is_checked(header, fault):
    assert fault_of(f"{header}\nGAB|", needs_key=True) == fault


def test_a_tune_needs_no_key_where_the_training_has_none():
    assert Abc(train="", keep=["M"]).fault_of("X:1\nM:C\nGAB|") is None


def test_a_tune_is_numbered_and_its_own_number_replaced():
    assert numbered(GOOD, 3) == f"X:3\n{GOOD}"
    assert numbered(f"X:99\n{GOOD}\n", 3) == f"X:3\n{GOOD}"
    assert numbered("", 1) == "X:1"


def test_tokens_become_a_tune_with_each_field_on_its_own_line(tmp_path):
    path = tmp_path / "a.abc"
    path.write_text("X:1\n" + GOOD)
    (record,) = Abc(train=str(path)).parse(path)
    tune = numbered(" ".join(record["tokens"]), 7)
    assert tune.split("\n")[:4] == ["X:7", "M:6/8", "L:1/8", "K:G"]
    path.write_text(tune)
    (again,) = Abc(train=str(path)).parse(path)
    tokens = [token.replace(" ", "") for token in again["tokens"]]
    assert tokens == record["tokens"]
    assert Abc(train="").fault_of(tune) is None


@pytest.fixture
def fiddler(making, tmp_path):
    """A model of tunes with random weights; `sample` takes its folder as a run."""

    def write(folder):
        text = "\n\n".join(f"X:{n}\n{tune}" for n, tune in enumerate(TUNES, 1))
        (folder / "tunes.abc").write_text(text)

    folder = tmp_path / "fiddler"
    folder.mkdir()
    return making(folder, ("data=abc", "data.path={folder}/tunes.abc"), write)


def test_samples_are_numbered_counted_and_written_as_a_file_of_tunes(
    fiddler, options, tmp_path, monkeypatch
):
    drawn = [GOOD, "M:6\nK:G\nGAB|", GOOD, "K:G\n[GA", "K:G\n[AB"]
    monkeypatch.setattr(Model, "sample", lambda self, n, **how: drawn)
    given = {"run": str(fiddler.folder), "n": 5}
    answer = command.run(options("sample", **given), tmp_path)
    assert answer.text == "\n\n".join(f"X:{n}\n{tune}" for n, tune in enumerate(drawn, 1))
    told = "2 of 5 tunes can be parsed; wrong in others: [ not closed (2), M:6 (1)"
    assert answer.note == told
    answer = command.run(options("sample", output="new.abc", **given), tmp_path)
    assert (answer.text, answer.note) == ("new.abc: 5 samples", told)
    path = tmp_path / "new.abc"
    records = list(Abc(train=str(path)).parse(path))
    assert [record["number"] for record in records] == ["1", "2", "3", "4", "5"]
    assert [record["text"] for record in records] == drawn


def test_whatever_a_model_draws_stands_in_the_file_as_often_as_it_was_asked(
    fiddler, options, tmp_path
):
    given = {"run": str(fiddler.folder), "n": 30, "max_length": 40, "output": "new.abc"}
    note = command.run(options("sample", **given), tmp_path).note
    path = tmp_path / "new.abc"
    found = list(Abc(train=str(path)).parse(path))
    assert len(found) == 30
    source = Abc(train="")
    good = [one for one in found if not isinstance(one, DataError)]
    count = sum(source.fault_of(f"X:1\n{one['text']}") is None for one in good)
    assert note.startswith(f"{count} of 30 tunes can be parsed")


def test_a_tune_in_a_file_is_continued(fiddler, options, tmp_path):
    path = tmp_path / "opening.abc"
    path.write_text(f"X:5\nT:A title\n{TUNES[3]}\n")
    given = {"seed": 2, "max_length": 20}
    drawn = fiddler.model.sample(1, prompt=TUNES[3][:22], **given)[0]
    asked = options("sample", run=str(fiddler.folder), prompt=str(path), prompt_steps=22, **given)
    assert command.run(asked, tmp_path).text == f"X:1\n{TUNES[3][:22]}{drawn}".rstrip("\n")


def test_the_tunes_of_a_file_are_compared_without_their_numbers(
    options, fiddler, tmp_path, monkeypatch
):
    train = [record["text"] for record in fiddler.data.source.read().train]
    monkeypatch.setattr(Model, "sample", lambda self, n, **how: [train[0], "K:G\nA"])
    asked = options("sample", run=str(fiddler.folder), n=2, novelty=True, log=False, own_data=True)
    told = command.run(asked, tmp_path).note.splitlines()
    assert told[0] == "2 of 2 tunes can be parsed"
    assert f"1 of 2 samples equal one of its {len(train)} examples" in told[1]
