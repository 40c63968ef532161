"""The recipes of docs/results.md: their commands are accepted, and a short run of each learns."""

import json
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from forking import SEQPIPE
from seqpipe.config.commandline import check

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.append(str(BENCHMARKS))
import results  # noqa: E402
import results_page  # noqa: E402
from recipe_commands import RunFailed  # noqa: E402
from recipes import Recipe, Records, all_recipes, write  # noqa: E402
from results_page import note_in_recipe  # noqa: E402

RECIPES = all_recipes()
BY_NAME = {recipe.recipe: recipe for recipe in RECIPES}


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.recipe)
def test_every_row_and_remedy_is_a_command_that_is_accepted(recipe: Recipe) -> None:
    for row in [*recipe.rows, *recipe.remedies, *filter(None, [recipe.short])]:
        typed = recipe.command(row, "data")
        one_fold = ["fold=0"] if any(word.startswith("folds=") for word in typed) else []
        assert check([*typed, "hydra.mode=RUN", *one_fold]).problems == [], row.name


def test_a_remedy_changes_the_row_that_is_named_or_the_one_with_a_goal():
    entry = {"recipe": "sst5", "title": "", "metric": "loss", "better": "low", "unit": ""}
    rows = [{"name": "a", "options": "cell=rnn"}, {"name": "b", "options": "depth=2", "goal": 1}]
    recipe = Recipe.read(
        {**entry, "rows": rows, "remedies": [{"name": "c", "options": "dropout=0"}]}
    )
    assert [one.options for one in recipe.remedies] == ["depth=2 dropout=0"]
    recipe = Recipe.read(
        {**entry, "rows": rows[:1], "remedies": [{"name": "c", "options": "seed=1"}]}
    )
    assert [one.options for one in recipe.remedies] == ["cell=rnn seed=1"]
    named = {**entry, "rows": rows, "remedied": "a", "remedies": [{"name": "c", "options": "x=1"}]}
    assert [one.options for one in Recipe.read(named).remedies] == ["cell=rnn x=1"]


def test_another_language_model_is_another_version():
    recipe = next(one for one in RECIPES if one.language_model)
    changed = replace(recipe, language_model={**recipe.language_model, "evaluate": "beam_size=1"})
    assert recipe.version() != changed.version()


def test_a_file_that_others_read_is_replaced_at_once_and_the_same_text_is_left_alone(tmp_path):
    path = tmp_path / "page.md"
    write(path, "a\n")
    before = path.stat()
    write(path, "a\n")
    assert path.stat() == before
    with path.open() as reader:
        write(path, "b\n")
        assert reader.read() == "a\n"
    assert path.read_text() == "b\n"
    assert list(tmp_path.iterdir()) == [path]


def test_results_are_noted_in_the_recipe_once_however_often_the_page_is_made(tmp_path, monkeypatch):
    recipe = BY_NAME["chung2014_jsb"]
    monkeypatch.setattr(results_page, "EXPERIMENTS", tmp_path)
    path = tmp_path / "chung2014_jsb.yaml"
    path.write_text("# one line\na: 1\n")
    records = Records(tmp_path / "results.json")
    note_in_recipe(recipe, records)
    assert path.read_text() == "# one line\na: 1\n"
    run = {"metrics": {"test/loss": 9.0}, "seconds": 60, "machine": "one core"}
    run["version"] = recipe.version()
    for seed in (0, 1):
        records = records.add(recipe, recipe.rows[1], seed, run)
        note_in_recipe(recipe, records)
        note_in_recipe(recipe, records)
    noted = (
        "# Result, nats per step, summed over 88 keys: "
        "GRU 9 ± 0 (2 of 3 seeds), 60 s a run. one core.\n"
    )
    assert path.read_text() == f"# one line\n{noted}a: 1\n"
    note_in_recipe(recipe, Records(tmp_path / "none.json"))
    assert path.read_text() == "# one line\na: 1\n"


def test_a_run_that_fails_is_told_and_the_others_are_recorded(tmp_path, monkeypatch, capsys):
    recipe = BY_NAME["chung2014_jsb"]

    def train(recipe, row, seed, data):
        if row.name == "GRU":
            raise RunFailed("hidden_size=-3: out of range")
        return {"version": recipe.version(), "metrics": {"test/loss": 9.0}}

    monkeypatch.setattr(results, "RECORDS", tmp_path / "results.json")
    monkeypatch.setattr(results, "write_page", lambda recipes, records: None)
    monkeypatch.setattr(results, "train", train)
    failed = results.run_missing([recipe], [recipe], 1, tmp_path)
    assert failed == [Records.key(recipe, recipe.rows[1], 0)]
    assert capsys.readouterr().err == "hidden_size=-3: out of range\n"
    recorded = Records(tmp_path / "results.json")
    assert [len(recorded.of_row(recipe, row)) for row in recipe.rows] == [1, 0, 1]


def test_a_failed_run_is_the_exit_code_and_what_is_missing_is_refused_first(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(results, "write_page", lambda recipes, records: None)
    monkeypatch.setattr(results, "run_missing", lambda *_: ["experiment=sst5 seed=0"])
    typed = ["results.py", "--only", "sst5", "--shared", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", typed)
    with pytest.raises(SystemExit, match="2"):
        results.main()
    assert str(tmp_path / "data" / "sentiment_sst5") in capsys.readouterr().err
    (tmp_path / "data" / "sentiment_sst5").mkdir(parents=True)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit, match="experiment=sst5 seed=0"):
        results.main()
    with pytest.raises(SystemExit, match="143"):
        signal.raise_signal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, before)


def test_the_folds_of_a_run_have_the_pooled_test_and_the_mean_of_their_validation(tmp_path):
    pooled = {"metrics": {"accuracy": 0.75}, "errors": 5}
    (tmp_path / "folds.json").write_text(json.dumps([{"pooled": pooled}]))
    for fold, loss in enumerate((0.25, 0.5)):
        (tmp_path / str(fold)).mkdir()
        found = {"best/val/loss": loss, "best/val/roc_auc": [None, 1.0][fold], "test/loss": 1.0}
        (tmp_path / str(fold) / "metrics.json").write_text(json.dumps(found))
    expected = {"test/accuracy": 0.75, "test/errors": 5, "best/val/loss": 0.375}
    assert results.pooled(tmp_path) == expected


def test_the_page_is_what_the_records_give_and_has_no_record_of_another_command():
    records = Records(results.RECORDS)
    assert results_page.page(RECIPES, records) == results.PAGE.read_text()
    commands = {records.key(one, row, seed) for one in RECIPES for row, seed in one.runs()}
    assert set(records.runs) <= commands


def test_only_the_result_in_a_comment_is_written_anew(tmp_path, monkeypatch):
    recipe = BY_NAME["sst5"]
    monkeypatch.setattr(results_page, "EXPERIMENTS", tmp_path)
    path = tmp_path / "sst5.yaml"
    path.write_text(
        "# one line\n#   depth=2 is worse\n# Result, accuracy: old\n#   and long\na: 1\n"
    )
    note_in_recipe(recipe, Records(tmp_path / "none.json"))
    assert path.read_text() == "# one line\n#   depth=2 is worse\na: 1\n"


@pytest.mark.realdata
@pytest.mark.full
@pytest.mark.parametrize(
    "recipe", [one for one in RECIPES if one.short], ids=lambda recipe: recipe.recipe
)
def test_a_short_run_reaches_a_looser_bound(recipe, warm, tmp_path, shared_data):
    quiet = ("logger=none", "diagnostics=none", "baselines=false", "trainer.threads=1")
    where = ("hydra.mode=RUN", "hydra.run.dir=run", "trainer.enable_progress_bar=false")
    typed = recipe.command(recipe.short, str(shared_data))
    done = warm.run(SEQPIPE, *typed, *quiet, *where, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    value = metrics[f"test/{recipe.metric}"]
    assert recipe.reached(recipe.short.goal, value), f"{recipe.metric} {value}"
