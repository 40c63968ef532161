"""Trains every recipe of recipes.yaml and writes docs/results.md from the recorded runs.

    SEQPIPE_SHARED=../shared python benchmarks/results.py [--only chung2014_jsb] [--seeds 3]
    python benchmarks/results.py --page

A row of a recipe is one command; it runs once for each seed, in a process and a folder of its own.
The best epoch is chosen by the validation split, and the test split is read once, at the end of the
run. A remedy is a change that was tried: it runs once, and only its validation is compared.

Every finished run is recorded in docs/results.json with its metrics, its time, the machine and the
commit, so an interrupted benchmark continues where it stopped, two may run side by side with
different recipes. A row runs again only if its command, its experiment file or the file of its data
has changed. A run that fails is told, and the others go on. `--page` runs nothing and writes the
page. The whole table takes many hours on two cores.
"""

import argparse
import datetime
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measuring import machine
from recipe_commands import RunFailed, recognised, run, sampled
from recipes import HERE, Recipe, Records, Row, all_recipes, write
from results_page import note_in_recipe, page

PAGE, RECORDS = HERE / "docs" / "results.md", HERE / "docs" / "results.json"
KEPT = ("test/", "best/", "baseline/", "parameters")  # of the metrics of a run


def train(recipe: Recipe, row: Row, seed: int, data: Path) -> dict[str, Any]:
    """Runs one command.

    Raises:
        RunFailed: it failed, or has not measured what the page shows.
    """
    threads = f"trainer.threads={recipe.threads}"
    overrides = [*recipe.command(row, str(data)), f"seed={seed}", threads, "logger=none"]
    folds = any(word.startswith("folds=") for word in overrides)
    version, commit = recipe.version(), _commit()  # of the files that the run is going to read
    with tempfile.TemporaryDirectory() as folder:
        where = ["hydra.sweep.dir"] if folds else ["hydra.mode=RUN", "hydra.run.dir"]
        where[-1] += f"={folder}/run"
        begin = time.perf_counter()
        run(recipe, Path(folder), *overrides, *where)
        seconds = time.perf_counter() - begin
        metrics = (pooled if folds else tested)(Path(folder) / "run")
        if recipe.language_model is not None:
            metrics |= recognised(recipe, Path(folder), overrides)
        if lacking := recipe.lacking(metrics):
            raise RunFailed(f"{recipe.recipe}: the run has no {', '.join(lacking)}")
        samples = None if recipe.samples is None else sampled(recipe, Path(folder))
    return {
        "samples": samples,
        "metrics": {name: value for name, value in metrics.items() if name.startswith(KEPT)},
        "seconds": round(seconds),
        "machine": "{processor}, {cores} cores; torch {torch}".format(**machine()),
        "commit": commit,
        "version": version,
        "date": datetime.date.today().isoformat(),
    }


def tested(folder: Path) -> dict[str, Any]:
    """The metrics of one run."""
    metrics: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return metrics


def pooled(folder: Path) -> dict[str, Any]:
    """The metrics of the records that all folds tested, each once; the mean of their validation.

    Raises:
        RunFailed: not all folds finished.
    """
    (group,) = json.loads((folder / "folds.json").read_text())
    if group["pooled"] is None:
        raise RunFailed(f"the folds cannot be pooled: {group['not pooled because']}")
    found = {f"test/{name}": value for name, value in group["pooled"]["metrics"].items()}
    folds = [tested(file.parent) for file in folder.glob("[0-9]*/metrics.json")]
    for name in folds[0] if folds else ():
        values = [fold.get(name) for fold in folds]
        if name.startswith("best/val/") and None not in values:
            found[name] = statistics.fmean(values)
    return {**found, "test/errors": group["pooled"]["errors"]}


def _commit() -> str:
    command = ["git", "rev-parse", "--short=10", "HEAD"]
    return subprocess.run(command, cwd=HERE, capture_output=True, text=True).stdout.strip()


def main() -> None:
    """Runs what is missing, and writes the page after each run."""
    recipes = all_recipes()
    names = [recipe.recipe for recipe in recipes]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=names, choices=names, metavar="RECIPE")
    parser.add_argument(
        "--seeds", type=int, default=sys.maxsize, help="at most so many of each row"
    )
    parser.add_argument("--page", action="store_true", help="run nothing, write the page")
    parser.add_argument("--shared", default=os.environ.get("SEQPIPE_SHARED", "../shared"))
    arguments = parser.parse_args()
    if arguments.seeds < 1:
        parser.error(f"--seeds={arguments.seeds}: allowed: 1 and more")
    if arguments.page and not RECORDS.is_file():
        parser.error(f"--page: no runs are recorded in {RECORDS}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # a training under way ends too
    failed: list[str] = []
    if not arguments.page:
        chosen = [recipe for recipe in recipes if recipe.recipe in arguments.only]
        data = (Path(arguments.shared) / "data").resolve()
        folders = [data / recipe.folder for recipe in chosen if recipe.folder]
        if missing := [str(folder) for folder in folders if not folder.is_dir()]:
            parser.error(f"--shared (or SEQPIPE_SHARED): no {', '.join(missing)}")
        failed = run_missing(recipes, chosen, arguments.seeds, data)
    write_page(recipes, Records(RECORDS))
    if failed:
        raise SystemExit(f"failed, see above: {'; '.join(failed)}")


def run_missing(
    recipes: Sequence[Recipe], chosen: Sequence[Recipe], seeds: int, data: Path
) -> list[str]:
    """Runs what has no record of the chosen recipes.

    Args:
        recipes: of the page, which is written after each run.
        chosen: those that run.
        seeds: at most so many of each row.
        data: the folder of the data sets.

    Returns:
        The commands that failed.
    """
    failed = []
    for recipe in chosen:
        for row, seed in recipe.runs():
            records = Records(RECORDS)  # another benchmark may have run it
            if seed >= seeds or records.find(recipe, row, seed) is not None:
                continue
            print(f"## {records.key(recipe, row, seed)}", flush=True)
            try:
                records = records.add(recipe, row, seed, train(recipe, row, seed, data))
            except RunFailed as error:
                print(error, file=sys.stderr, flush=True)
                failed.append(records.key(recipe, row, seed))
            else:
                write_page(recipes, records)
    return failed


def write_page(recipes: Sequence[Recipe], records: Records) -> None:
    """Writes docs/results.md, and the results into the files of the recipes."""
    for recipe in recipes:
        note_in_recipe(recipe, records)
    write(PAGE, page(recipes, records))


if __name__ == "__main__":
    main()
