"""A run that was trained is measured again, on its own data and on others, and told of it."""

import json
import random

import pytest
from mlflow import MlflowClient

import seqpipe
from seqpipe.commands.dispatch import COMMANDS
from seqpipe.commands.evaluate import run as evaluate
from seqpipe.errors import ConfigError, DataError
from seqpipe.tracking.run_record import read_run_folder

Evaluate = COMMANDS["evaluate"].options

QUICK = ("trainer.max_epochs=1", "preflight=none", "diagnostics=none", "logger=mlflow")


def table(path, seed, count=60, words="the cat sat on a mat good bad"):
    draw = random.Random(seed)
    rows = []
    for _ in range(count):
        text = " ".join(draw.choices(words.split(), k=draw.randint(1, 8)))
        rows.append(json.dumps({"text": text, "label": "yes" if "good" in text else "no"}) + "\n")
    path.write_text("".join(rows))
    return path


@pytest.fixture(scope="module")
def trained(launch_in, tmp_path_factory):
    """A run on a table, with its root."""
    root = tmp_path_factory.mktemp("evaluated")
    data = ("table", f"data.path={table(root / 'in.jsonl', 1)}", "data.x.min_count=1")
    return root, launch_in(root, *data, "data.cache=null", *QUICK)


def measured(folder, name):
    told = json.loads((folder / "evaluations" / f"{name}.json").read_text())
    return {row["metric"]: row["value"] for row in told if row["slice"] == "all"}


def test_the_test_is_what_it_was_and_is_added_to_the_run(trained, capsys):
    root, result = trained
    answer = evaluate(Evaluate(run=str(result.output_dir), resamples=50), root)
    values = measured(result.output_dir, "evaluation_test")
    for name, value in values.items():
        assert value == pytest.approx(result.metrics[f"test/{name}"], rel=1e-6), name
    assert set(values) == {
        key.removeprefix("test/") for key in result.metrics if key.startswith("test/")
    }
    out = capsys.readouterr().out
    assert "class yes" in out
    assert "length " in out
    found = read_run_folder(result.output_dir, "run")
    assert answer.text.startswith("logged to ")
    metrics = MlflowClient(found.tracking_uri).get_run(found.run_id).data.metrics
    again = {k: v for k, v in metrics.items() if k.startswith("evaluate/test/")}
    for name, value in values.items():
        if not name.startswith("f1/"):
            assert again[f"evaluate/test/{name}"] == pytest.approx(value)
            assert again[f"evaluate/test/low/{name}"] <= again[f"evaluate/test/high/{name}"]


def test_validation_is_measured_as_it_was(trained):
    root, result = trained
    evaluate(Evaluate(run=str(result.output_dir), split="valid", resamples=0), root)
    values = measured(result.output_dir, "evaluation_valid")
    assert values["loss"] == pytest.approx(result.metrics["val/loss"], rel=1e-5)
    assert values["accuracy"] == result.metrics["val/accuracy"]


def test_other_data_are_read_with_what_the_fields_learned(trained):
    """Their words are those of the training; what it never met is unknown, not learned anew."""
    root, result = trained
    other = table(root / "other.jsonl", 2, words="the cat zebra good lion bad")
    run = str(result.output_dir)
    evaluate(Evaluate(run=run, data=(f"data.source.test={other}",), resamples=0), root)
    evaluate(Evaluate(run=run, input=str(other), resamples=0), root)
    values = measured(result.output_dir, "evaluation_other.jsonl")
    model = seqpipe.load(result.output_dir)
    rows = [json.loads(line) for line in other.read_text().splitlines()]
    answers = model.predict([row["text"] for row in rows])
    hits = [one["prediction"] == row["label"] for one, row in zip(answers, rows, strict=True)]
    assert values["accuracy"] == pytest.approx(sum(hits) / len(hits))
    (file,) = (result.output_dir / "evaluations").glob("evaluation_test_of_*.json")
    assert measured(result.output_dir, file.stem) == pytest.approx(values, rel=1e-5)


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        (["data.path=gone.jsonl"], "data.path=gone.jsonl"),
        (["data.path=[in.jsonl,gone.jsonl]"], "data.path=gone.jsonl"),
        (["data.path='gone*.jsonl'"], "data.path=gone*.jsonl"),
        (["data.source.test=gone.jsonl"], "data.source.test=gone.jsonl"),
    ],
)
def test_a_file_that_is_not_there_is_named_by_the_key_that_was_typed(
    trained, monkeypatch, typed, named
):
    root, result = trained
    monkeypatch.chdir(root)
    with pytest.raises(DataError) as caught:
        evaluate(Evaluate(run=str(result.output_dir), data=tuple(typed)), root)
    (problem,) = caught.value.problems
    assert problem.startswith(f"{named}: no ")


def test_all_of_another_file_is_measured_where_test_was_a_share(trained, capsys):
    root, result = trained
    other = table(root / "more.jsonl", 3, count=47)
    run = str(result.output_dir)
    evaluate(Evaluate(run=run, data=(f"data.path={other}",), resamples=20), root)
    out = capsys.readouterr().out
    assert " 47 examples" in " ".join(out.split())
    assert f"records read: 47 of {other}" in out
    assert "length " in out
    evaluate(Evaluate(run=run, input=str(other), resamples=0), root)
    assert f"records read: 47 of {other}" in capsys.readouterr().out
    (file,) = (result.output_dir / "evaluations").glob("evaluation_all_of_*.json")
    again = measured(result.output_dir, "evaluation_more.jsonl")
    assert measured(result.output_dir, file.stem) == pytest.approx(again, rel=1e-5)


def test_what_is_left_out_and_what_is_empty_is_said(trained, capsys):
    root, result = trained
    other = table(root / "labels.jsonl", 5, count=9)
    with other.open("a") as opened:
        opened.write('{"text": "good", "label": "perhaps"}\n')
    run, typed = str(result.output_dir), (f"data.path={other}", "data.on_error=skip")
    with pytest.raises(DataError, match=r"labels\.jsonl:10: label='perhaps': not a class of the"):
        evaluate(Evaluate(run=run, data=typed[:1], resamples=0, log=False), root)
    evaluate(Evaluate(run=run, data=typed, resamples=0, log=False), root)
    out = " ".join(capsys.readouterr().out.split())
    assert " 9 examples" in out
    assert f"records read: 10 of {other}; 1 could not be used and were left out" in out
    (root / "none.jsonl").write_text('{"text": "good", "label": "perhaps"}\n')
    typed = (f"data.path={root / 'none.jsonl'}", "data.on_error=skip")
    with pytest.raises(DataError) as caught:
        evaluate(Evaluate(run=run, data=typed, resamples=0, log=False), root)
    assert str(caught.value).startswith(f"{typed[0]}: holds no records (1 could not be used")


def test_a_model_of_the_characters_of_words_is_measured_on_other_data(launch_in, tmp_path, capsys):
    """Its command names a class of seqpipe's own, which is no code of the user's."""
    data = ("table", f"data.path={table(tmp_path / 'in.jsonl', 1)}", "data.cache=null")
    spelled = "{_target_:seqpipe.data.fields.spelling.Spelled,column:text,min_count:1}"
    result = launch_in(tmp_path, *data, "~data.x", f"+data.x={spelled}", *QUICK)
    other = table(tmp_path / "other.jsonl", 2, count=31)
    run = str(result.output_dir)
    evaluate(Evaluate(run=run, data=(f"data.path={other}",), resamples=0, log=False), tmp_path)
    assert f"records read: 31 of {other}" in capsys.readouterr().out


def test_a_long_text_is_measured_whole(launch_in, tmp_path, capsys):
    for name, lines in (("in.txt", 200), ("other.txt", 90)):
        (tmp_path / name).write_text("the cat sat on the mat\n" * lines)
    typed = (f"data.path={tmp_path / 'in.txt'}", "data.cache=null", "data.bptt=8")
    result = launch_in(tmp_path, "stream", *typed, "trainer.max_steps=2", *QUICK)
    run, other = str(result.output_dir), tmp_path / "other.txt"
    evaluate(Evaluate(run=run, data=(f"data.path={other}",), resamples=0, log=False), tmp_path)
    out = capsys.readouterr().out
    assert f"records read: 1 of {other}" in out
    assert ", 1 example " in " ".join(out.split()) + " "
    evaluate(Evaluate(run=run, input=str(other), resamples=0, log=False), tmp_path)
    read = capsys.readouterr()
    assert "read as the training's files were (Stream)" in read.err
    assert f"records read: 1 of {other}" in read.out


def test_more_steps_than_a_flattened_model_has_weights_for_are_refused(launch_in, tmp_path):
    data = ("table", f"data.path={table(tmp_path / 'in.jsonl', 1)}", "data.x.min_count=1")
    flat = ("architecture.pooling=flatten", "data.max_length=6", "data.cache=null")
    result = launch_in(tmp_path, *data, *flat, *QUICK[:3], "logger=csv")
    for value in ("12", "null"):
        wanted = rf"data\.max_length={value}: the model has weights for 6 steps; allowed: 1 to 6"
        with pytest.raises(ConfigError, match=wanted):
            evaluate(
                Evaluate(run=str(result.output_dir), data=(f"data.max_length={value}",)), tmp_path
            )
    told = (result.output_dir / "report.md").read_text()
    assert "usually helps" in told
    assert "architecture.pooling=max" not in told
