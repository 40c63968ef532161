"""The recipes of docs/results.md: their commands are accepted, and a short run of each learns."""

import json
import sys
from pathlib import Path

import pytest

from forking import SEQPIPE
from seqpipe.config.commandline import check

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.append(str(BENCHMARKS))
from recipes import Recipe, all_recipes  # noqa: E402

RECIPES = all_recipes()


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.recipe)
def test_every_row_and_remedy_is_a_command_that_is_accepted(recipe: Recipe) -> None:
    for row in [*recipe.rows, *recipe.remedies, *filter(None, [recipe.short])]:
        typed = recipe.command(row, "data")
        one_fold = ["fold=0"] if any(word.startswith("folds=") for word in typed) else []
        assert check([*typed, "hydra.mode=RUN", *one_fold]).problems == [], row.name


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
