"""sample, score, translate and evaluate as they are typed."""

import importlib
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from seqpipe.commands import predict, register, rerun, serve
from seqpipe.errors import ConfigError, DataError


@pytest.fixture
def say(run_of, options, tmp_path):
    """say("sample", "lines", n=3): the text of the answer."""

    def of(command, name, *more, **given):
        module = importlib.import_module(f"seqpipe.commands.{command}")
        return module.run(options(command, run=run_of(name, *more), **given), tmp_path).text

    return of


def problems(kind, call, *args, **given):
    with pytest.raises(kind) as caught:
        call(*args, **given)
    return caught.value.problems


def test_samples_are_printed_behind_their_prompt(say, made):
    drawn = made("lines").model.sample(3, prompt="the c", max_length=9, seed=4)
    text = say("sample", "lines", n=3, prompt="the c", max_length=9, seed=4)
    assert text == "\n".join(f"the c{one}" for one in drawn)


def test_music_is_written_as_midi_and_drawn_and_nothing_is_replaced(say, made, tmp_path):
    symusic = pytest.importorskip("symusic")
    drawn = made("piano rolls").model.sample(2, seed=3, max_length=6)
    given = {"n": 2, "seed": 3, "max_length": 6, "output": "music", "tempo": 90.0}
    text = say("sample", "piano rolls", **given)
    assert len(text.splitlines()) == 2
    for number, roll in enumerate(drawn, 1):
        score_ = symusic.Score(str(tmp_path / "music" / f"sample_3_{number}.mid"))
        assert score_.tempos[0].qpm == pytest.approx(90, abs=0.01)
        found = np.zeros_like(roll)
        for note in score_.tracks[0].notes:
            start, end = note.time // score_.tpq, (note.time + note.duration) // score_.tpq
            found[start:end, note.pitch - 60] = 1
        np.testing.assert_array_equal(found, roll)
        picture = tmp_path / "music" / f"sample_3_{number}.png"
        assert picture.read_bytes().startswith(b"\x89PNG")
    before = {path: path.read_bytes() for path in (tmp_path / "music").iterdir()}
    (tmp_path / "music" / "sample_3_1.mid").unlink()
    again = say("sample", "piano rolls", **given)
    assert "sample_3_3.mid" in again
    assert "sample_3_4.mid" in again
    for path, held in before.items():
        assert not path.exists() or path.read_bytes() == held
    say("sample", "piano rolls", **{**given, "output": None})
    assert "sample_3_3.mid" in say("sample", "piano rolls", **{**given, "output": None})


def test_texts_are_ranked_by_how_likely_they_are(say, made, capsys):
    texts = ["the cat sat on", "a", "dog"]
    scores = made("lines").model.score(texts)
    order = sorted(range(3), key=lambda n: -scores[n].total)
    say("score", "lines", text=" | ".join(texts))
    rows = [line.split("│") for line in capsys.readouterr().out.splitlines() if "│" in line]
    assert [row[-2].strip() for row in rows] == [texts[n] for n in order]
    assert [row[2].strip() for row in rows] == [f"{scores[n].total:.3f}" for n in order]
    told = say("score", "lines", text="dog", tokens=True).splitlines()
    assert told[0] == "dog"
    assert [line.split()[1] for line in told[1:]] == ["d", "o", "g", "<EOS>"]
    values = [float(line.split()[0]) for line in told[1:]]
    assert values == pytest.approx(scores[2].log_probabilities, abs=5e-4)


def test_rows_of_a_file_are_scored_in_their_order(say, made, tmp_path):
    path = tmp_path / "in.csv"
    path.write_text("text,total\nthe cat,a\ndog,b\n")
    output = tmp_path / "out.jsonl"
    say("score", "lines", input=str(path), output=str(output), tokens=True)
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    scores = made("lines").model.score(["the cat", "dog"])
    assert [row["total"] for row in rows] == pytest.approx([one.total for one in scores])
    assert [(row["line"], row["text"], row["input.total"]) for row in rows] == [
        (2, "the cat", "a"),
        (3, "dog", "b"),
    ]
    assert rows[0]["symbols"] == [*"the cat", "<EOS>"]


def test_translations_are_printed_with_their_scores(say, made, tmp_path):
    there = made("translation").model
    (best,) = there.predict(["the cat sat"], beam_size=4, n_best=3)
    text = say("translate", "translation", text="the cat sat", beam_size=4, n_best=3)
    assert text.splitlines() == [
        f"{one['score']:9.3f}  {one['prediction']}" for one in best["n_best"]
    ]
    path = tmp_path / "in.txt"
    path.write_text("the cat\ndog\n")
    lines = say("translate", "translation", input=str(path)).splitlines()
    assert [line[11:] for line in lines] == [
        one["prediction"] for one in there.predict(["the cat", "dog"])
    ]
    transcript = say("translate", "transcript", text="the cat sat")
    assert transcript[11:] == made("transcript").model.predict(["the cat sat"])[0]["prediction"]


def test_unknown_symbols_of_an_input_are_named_below_its_translation(say):
    lines = say("translate", "translation", text="the zebra sat").splitlines()
    assert lines[1:] == ["           1 unknown symbol ('zebra') in the input"]
    assert len(say("translate", "translation", text="the cat sat").splitlines()) == 1


def test_totals_with_different_numbers_of_unknown_symbols_are_warned_about(say, capsys, caplog):
    text = "the cat sat | the zebra sat"
    say("score", "words", text=text)
    rows = [line.split("│") for line in capsys.readouterr().out.splitlines() if "│" in line]
    assert sorted(row[-3].strip() for row in rows) == ["0", "1"]
    totals = [float(row[2]) for row in rows]
    shown = [float(row[3]) for row in rows]
    assert shown == pytest.approx([math.exp(total) for total in totals], rel=0.06)
    (warned,) = caplog.messages
    assert warned == (
        "unknown=count: the sequences hold 0 to 1 unknown symbols; totals that score <UNK> for them"
        " are not comparable; allowed: sequences with equally many, unknown=refuse or unknown=skip"
    )
    caplog.clear()
    say("score", "words", text="the cat sat | the dog sat")
    assert not caplog.messages


def test_rows_with_different_numbers_of_unknown_symbols_are_warned_about(say, tmp_path, caplog):
    path, output = tmp_path / "in.txt", tmp_path / "out.jsonl"
    path.write_text("the cat sat\nthe zebra sat\n")
    say("score", "words", input=str(path), output=str(output), unknown="skip")
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert [row["unknown"] for row in rows] == [0, 1]
    assert rows[1]["probability"] == pytest.approx(math.exp(rows[1]["total"]))
    (warned,) = caplog.messages
    assert warned.startswith("unknown=skip: the sequences hold 0 to 1 unknown symbols; totals that")
    (refused,) = problems(
        *(DataError, say, "score", "words"), input=str(path), output="-", unknown="refuse"
    )
    assert refused.startswith(f"{path}:2: text: holds 1 unknown symbol ('zebra'); allowed: ")


def test_unknown_symbols_of_a_prompt_are_named_where_they_are_allowed(say, caplog):
    say("sample", "words", prompt="the zebra", allow_unknown=True, max_length=3)
    assert caplog.messages == ["prompt=the zebra: holds 1 unknown symbol ('zebra'), read as <UNK>"]


def test_where_each_step_looked_is_drawn(say, tmp_path):
    picture = tmp_path / "looks.png"
    text = say("translate", "translation", text="the cat sat", attention=str(picture))
    assert text.splitlines()[-1] == f"attention: {picture}"
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["category of text", "ordinal", "multi_label", "values"])
def test_a_labelled_file_is_measured_as_a_split_of_the_same_examples(
    say, made, run_of, tmp_path, name
):
    rows = [dict(record) for record in made(name).data.source.read().test]
    for row in rows:
        for key, value in row.items():
            row[key] = value.tolist() if hasattr(value, "tolist") else value
    path = tmp_path / "new.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    numbers = {}
    say("evaluate", name, split="test", resamples=20)
    say("evaluate", name, input=str(path), resamples=20)
    for file in (Path(run_of(name)) / "evaluations").glob("*.json"):
        told = json.loads(file.read_text())
        numbers[file.stem] = {r["metric"]: r["value"] for r in told if r["slice"] == "all"}
    assert sorted(numbers) == ["evaluation_new.jsonl", "evaluation_test"]
    assert numbers["evaluation_new.jsonl"] == pytest.approx(numbers["evaluation_test"], rel=2e-5)
    assert numbers["evaluation_test"]["loss"] > 0


def test_data_that_are_not_those_of_the_training_are_told(say, made, run_of):
    run = run_of("category of text")
    about = Path(run) / "model" / "data" / "seqpipe" / "seqpipe.json"
    told = json.loads(about.read_text())
    told["facts"]["digests"]["test"] = "ff"
    about.write_text(json.dumps(told))
    (wrong,) = problems(DataError, say, "evaluate", "category of text")
    assert wrong == (
        f"run={run}: its test split is not what it was at training; allowed: data.path=..."
        " to measure other data"
    )


def test_a_forecast_is_measured_on_every_window_of_a_file(say, made, run_of):
    name = "numbers, differences"
    say("evaluate", name, input=str(made(name).source / "series.csv"))
    (file,) = (Path(run_of(name)) / "evaluations").glob("*.json")
    counts = [row["examples"] for row in json.loads(file.read_text()) if row["slice"] == "all"]
    assert set(counts) == {120 - 6 - 2 + 1}


def test_tagged_text_is_measured_whatever_its_file_is_called(say, made, run_of, tmp_path):
    file = tmp_path / "tags.txt"
    shutil.copy(made("tags of spans").source / "tags.conll", file)
    say("evaluate", "tags of spans", input=str(file), resamples=0)
    (told,) = (Path(run_of("tags of spans")) / "evaluations").glob("*.json")
    assert json.loads(told.read_text())[0]["examples"] == 48


def test_files_of_one_name_are_measured_side_by_side(say, made, run_of, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        shutil.copy(made("category of text").source / "table.jsonl", tmp_path / folder / "n.jsonl")
    for typed in ("a/n.jsonl", str(tmp_path / "b" / "n.jsonl")):
        say("evaluate", "category of text", input=typed, resamples=0)
    kept = (Path(run_of("category of text")) / "evaluations").glob("*n.jsonl.json")
    assert sorted(file.name for file in kept) == [
        "evaluation_a_n.jsonl.json",
        "evaluation_b_n.jsonl.json",
    ]


def test_measurements_of_files_whose_names_differ_little_are_all_kept(say, made, run_of, tmp_path):
    for name in ("a b.jsonl", "a_b.jsonl", "a#b.jsonl", f"{'é' * 100}.jsonl"):
        path = tmp_path / name
        shutil.copy(made("category of text").source / "table.jsonl", path)
        say("evaluate", "category of text", input=str(path), resamples=0)
    folder = Path(run_of("category of text")) / "evaluations"
    assert len([*folder.glob("evaluation_a_b.jsonl-*.json")]) == 3
    assert len([*folder.glob("evaluation_éé*.json")]) == 1


def test_an_exported_folder_is_asked_as_its_run_is(say, made, run_of, options, tmp_path):
    name, exported = "category of text", tmp_path / "exported"
    say("export", name, format="safetensors", output=str(exported))
    input, answers = str(made(name).source / "table.jsonl"), {}
    for run in (run_of(name), str(exported)):
        output = tmp_path / "out.jsonl"
        asked = options("predict", run=run, input=input, output=str(output))
        predict.run(asked, tmp_path)
        answers[run] = output.read_text()
    assert len(set(answers.values())) == 1
    text = "is an exported model without the record of its run; allowed: the run"
    for command, more in ((rerun, {}), (register, {"name": "n"}), (serve, {})):
        asked = options(command.__name__.rpartition(".")[2], run=str(exported), **more)
        assert problems(ConfigError, command.run, asked, tmp_path) == [f"run={exported}: {text}"]
