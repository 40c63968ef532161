"""The commands of a recipe: its training, and what the trained model writes or recognises."""

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recipes import HERE, Recipe

STOPPED = (130, 143, -signal.SIGINT, -signal.SIGTERM)
"""How a command ends that Ctrl-C or SIGTERM ended."""


class RunFailed(Exception):
    """A command of a recipe that failed, and what it said."""


def environment(recipe: Recipe) -> dict[str, str]:
    """That of the commands of a recipe: this checkout, whatever is installed."""
    here = {"PYTHONPATH": str(HERE / "src"), "OMP_NUM_THREADS": str(recipe.threads)}
    return {**os.environ, **here}


def sampled(recipe: Recipe, folder: Path) -> dict[str, Any]:
    """What the model of `run` in a folder writes; how much of it is in its training split."""
    options = shlex.split(recipe.samples or "")
    run(recipe, folder, "sample", "run=run", "novelty=true", "seed=1", *options)
    (file,) = (folder / "run" / "evaluations").glob("samples*.json")
    rows = json.loads(file.read_text())
    copied = [row["longest_copy"] for row in rows]
    return {
        "texts": [row["sample"] for row in rows[:3]],
        "in_training": sum(row["in_training"] for row in rows) / len(rows),
        "longest_copy": max(copied),
        "mean_copy": sum(copied) / len(copied),
    }


def recognised(recipe: Recipe, folder: Path, overrides: Sequence[str]) -> dict[str, float]:
    """The metrics of the test with a language model in the beam: `test/NAME_with_lm`.

    The language model is trained here, on the transcripts of the recipe's own training split.

    Args:
        recipe: with a `language_model`.
        folder: that has `run`.
        overrides: of the recipe's command; those of its data and its seed are used.
    """
    assert recipe.language_model is not None
    options = {name: shlex.split(words) for name, words in recipe.language_model.items()}
    kept = ("data.path=", "seed=", "trainer.threads=", "logger=")
    same = [word for word in overrides if word.startswith(kept)]
    run(recipe, folder, *options["train"], *same, "hydra.run.dir=language_model")
    run(recipe, folder, "evaluate", "run=run", "lm=language_model", *options["evaluate"])
    (file,) = (folder / "run" / "evaluations").glob("evaluation_test*.json")
    rows = [row for row in json.loads(file.read_text()) if row["slice"] == "all"]
    return {f"test/{row['metric']}_with_lm": row["value"] for row in rows}


def run(recipe: Recipe, folder: Path, *words: str) -> None:
    """Runs a command of seqpipe in a folder.

    Args:
        recipe: says how many threads it has.
        folder: the current one of the command.
        words: of the command.

    Raises:
        RunFailed: it failed.
        SystemExit: a signal ended it, which is a wish to stop.
    """
    command = [sys.executable, "-m", "seqpipe", *words]
    done = subprocess.run(command, cwd=folder, env=environment(recipe), stderr=subprocess.PIPE)
    if done.returncode:
        said = done.stderr.decode(errors="replace")[-3000:]
        text = f"{shlex.join(command[2:])} ended with {done.returncode}:\n{said}"
        raise (SystemExit if done.returncode in STOPPED else RunFailed)(text)
