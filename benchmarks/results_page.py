"""docs/results.md, and the results in the comments of conf/experiment, from the recorded runs."""

import statistics
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from recipes import EXPERIMENTS, Recipe, Records, Row, write

COLUMNS = (
    *("row", "options", "ours", "published", "goal", "reached"),
    *("baseline", "parameters", "time of a run"),
)
PREAMBLE = """# Results

`benchmarks/results.py` made this page from the runs recorded in [results.json](results.json). A
row is one command: that of the heading, the options of the row, `seed=0` (or 1, or 2),
`trainer.threads=1` unless a note says otherwise, and `hydra.mode=RUN` where the experiment alone
would start a sweep. *ours* is the mean over the seeds on the test split and, after ±, the standard
deviation. Three seeds are planned, one where a run is long or the goal far. The weights that are
tested are those of the epoch with the best validation. *baseline* is the best of the trivial and
linear models that every run computes on the same splits; it is empty where none has this metric,
and where the answers of folds are pooled. The sets are extracts that fit a small machine, so
compare with the baseline, and with a publication only where one is named.

The rows of a recipe stand side by side on the test split. A remedy, under *Tried*, is compared by
the validation split alone, with one seed: what is better by no more than seeds differ was not
adopted.

Other programs ran beside these: the times are upper bounds. A row runs again if its command, its
experiment file or the file of its data has changed; the commit is that of the run, and the code
and other options may have changed since.

```sh
SEQPIPE_SHARED=FOLDER python benchmarks/results.py                       # all, resumable
SEQPIPE_SHARED=FOLDER python benchmarks/results.py --only chung2014_jsb  # one recipe
```

The data sets lie in `FOLDER/data`, each in the folder that its command names, with the files that
`python -m seqpipe describe data=NAME` asks for. Without `SEQPIPE_SHARED` it is `../shared`.
"""


def page(recipes: Sequence[Recipe], records: Records) -> str:
    """The whole page."""
    sections = (section(recipe, records) for recipe in recipes)
    return "\n".join([PREAMBLE, *summary(recipes, records), *sections])


def summary(recipes: Sequence[Recipe], records: Records) -> list[str]:
    """How many goals are reached, and the rows whose goal is not."""
    reached, missed, waiting, once = 0, [], [], 0
    for recipe in recipes:
        for row in recipe.rows:
            runs = records.of_row(recipe, row)
            once += len(runs) == 1 and row.goal is not None
            for metric, goal in goals_of(recipe, row).items():
                place = f"{recipe.recipe}, {row.name}: {metric}"
                if not runs:
                    waiting.append(f"{recipe.recipe}, {row.name}")
                elif recipe.reached(goal, mean(runs, metric)):
                    reached += 1
                else:
                    missed.append(f"{place} {mean(runs, metric):.4g}, goal {goal:g}")
    lines = [
        f"Goals reached: {reached} of {reached + len(missed)} that were tried. "
        f"{once} rows with a goal have run with one seed."
    ]
    lines += [f"Missed: {'; '.join(missed)}."] if missed else []
    lines += [f"Not run yet: {'; '.join(dict.fromkeys(waiting))}."] if waiting else []
    return ["\n".join(textwrap.fill(line, 110) for line in lines), ""]


def goals_of(recipe: Recipe, row: Row) -> dict[str, float]:
    """The bound of each metric of a row that has one."""
    if row.goal is None:
        return {}
    also = {metric: goal for metric, goal in recipe.also.items() if goal is not None}
    return {recipe.metric: row.goal, **also}


def section(recipe: Recipe, records: Records) -> str:
    """A recipe: its command, its table, what was tried."""
    command = " ".join([*recipe.command(Row(""), "../shared/data")])
    unit = f"{recipe.unit[0].upper()}{recipe.unit[1:]}; {recipe.better} is better."
    lines = [f"## {recipe.title}", "", f"`python -m seqpipe {command}`", ""]
    lines += [" ".join(filter(None, [unit, recipe.source, recipe.note]))]
    lines += ["", *table(list(rows_of(recipe, records))), *provenance(recipe, records)]
    if recipe.samples is not None:
        lines += ["", *samples_of(recipe, records)]
    if recipe.remedies:
        heading = f"Tried with *{recipe.aim.name}*, by validation:"
        lines += ["", heading, "", *table(list(remedies_of(recipe, records)))]
    return "\n".join([*lines, ""])


def rows_of(recipe: Recipe, records: Records) -> Iterator[list[str]]:
    """The cells of the table of a recipe, its heading first."""
    heading = list(COLUMNS)
    also = list(recipe.also)
    heading[3:3] = also
    yield heading
    for row in recipe.rows:
        options = f"`{row.options}`" if row.options else ""
        published = "" if row.published is None else f"{row.published:g}"
        goals = goals_of(recipe, row)
        sign = "<=" if recipe.better == "low" else ">="
        bounds = ", ".join(f"{sign} {goal:g}" for goal in goals.values())
        runs = records.of_row(recipe, row)
        if not runs:
            yield [row.name, options, "not run", *[""] * len(also), published, bounds, *[""] * 4]
            continue
        good = [recipe.reached(goal, mean(runs, metric)) for metric, goal in goals.items()]
        parameters = runs[0]["metrics"].get("parameters")
        yield [
            row.name,
            options,
            *(ours(metric, runs, recipe.seeds_of(row)) for metric in (recipe.metric, *also)),
            published,
            bounds,
            "" if not goals else "yes" if all(good) else "**no**",
            baseline(recipe, runs),
            "" if parameters is None else f"{parameters:,.0f}",
            clock(statistics.fmean(run["seconds"] for run in runs)),
        ]


def provenance(recipe: Recipe, records: Records) -> Iterator[str]:
    """Where and when the runs of a recipe were made."""
    runs = [run for row in recipe.rows for run in records.of_row(recipe, row)]
    dates = sorted({run["date"] for run in runs})
    if runs:
        machines, commits = (sorted({run[name] for run in runs}) for name in ("machine", "commit"))
        days = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
        yield from ("", f"{'; or '.join(machines)}; {days}, commit {', '.join(commits)}.")


def values(runs: Sequence[Mapping[str, Any]], metric: str) -> list[float]:
    """A metric of the test split of each run."""
    return [run["metrics"][f"test/{metric}"] for run in runs]


def mean(runs: Sequence[Mapping[str, Any]], metric: str) -> float:
    """The mean of a metric of the test split over the seeds."""
    return statistics.fmean(values(runs, metric))


def ours(metric: str, runs: Sequence[Mapping[str, Any]], planned: int) -> str:
    """The mean over seeds, its standard deviation and the number of seeds, of those planned."""
    found = values(runs, metric)
    spread = f" ± {statistics.stdev(found):.2g}" if len(found) > 1 else ""
    number = f"{len(found)}" if len(found) == planned else f"{len(found)} of {planned}"
    return f"{statistics.fmean(found):.4g}{spread} ({number} seed{'s'[: planned > 1]})"


def baseline(recipe: Recipe, runs: Sequence[Mapping[str, Any]]) -> str:
    """The best baseline of the runs' metric, with its name."""
    means: dict[str, float] = {}
    for name in runs[0]["metrics"]:
        parts = name.split("/")
        if parts[0] == "baseline" and "/".join(parts[2:]) == recipe.metric:
            found = [run["metrics"][name] for run in runs if name in run["metrics"]]
            means[parts[1]] = statistics.fmean(found)
    if not means:
        return ""
    best = (min if recipe.better == "low" else max)(means, key=lambda name: means[name])
    return f"{means[best]:.4g} ({best})"


def samples_of(recipe: Recipe, records: Records) -> Iterator[str]:
    """How much of what the models of the first row write stands in the training text, and some."""
    drawn = [run["samples"] for run in records.of_row(recipe, recipe.rows[0]) if run["samples"]]
    if not drawn:
        return
    share = statistics.fmean(one["in_training"] for one in drawn)
    copied = statistics.fmean(one["mean_copy"] for one in drawn)
    longest = max(one["longest_copy"] for one in drawn)
    yield (
        f"Samples (`sample run=... {recipe.samples} seed=1 novelty=true`): {share:.0%} stand in "
        f"the training text; the longest passage that a sample copies from it has {copied:.1f} "
        f"characters in the mean, {longest} at most. The first of seed 0:"
    )
    yield from ("", "```text", *"\n\n".join(drawn[0]["texts"]).splitlines(), "```")


def remedies_of(recipe: Recipe, records: Records) -> Iterator[list[str]]:
    """The cells of the table of what was tried; the first one without a remedy."""
    metric = recipe.validation or recipe.metric
    yield ["change", "options", f"validation {metric}", "time"]
    for row in [replace(recipe.aim, name="none"), *recipe.remedies]:
        run = records.find(recipe, row, 0)
        shown = [] if run is None else [run["metrics"].get(f"best/val/{metric}")]
        yield [
            row.name,
            f"`{row.options}`" if row.options else "",
            f"{shown[0]:.4g}" if shown and shown[0] is not None else "not run",
            "" if run is None else clock(run["seconds"]),
        ]


def clock(seconds: float) -> str:
    """A time for people."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table; its first row is the heading."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return [lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]]


def note_in_recipe(recipe: Recipe, records: Records) -> None:
    """Writes the results into the comment at the head of the recipe's file, and no others."""
    results, machine = [], ""
    what = f"Result with {recipe.options}" if recipe.options else "Result"
    for row in recipe.rows:
        runs = records.of_row(recipe, row)
        if runs:
            minutes = clock(statistics.fmean(run["seconds"] for run in runs))
            figure = ours(recipe.metric, runs, recipe.seeds_of(row))
            results.append(f"{row.name} {figure}, {minutes} a run")
            machine = runs[-1]["machine"]
    path = EXPERIMENTS / f"{recipe.recipe}.yaml"
    text = f"{what}, {recipe.unit}: {'; '.join(results)}. {machine}." if results else ""
    lines = path.read_text().splitlines()
    head = next(place for place, line in enumerate(lines) if not line.startswith("#"))
    block = textwrap.wrap(text, 98, initial_indent="# ", subsequent_indent="#   ")
    write(path, "\n".join([*_without_result(lines[:head]), *block, *lines[head:]]) + "\n")


def _without_result(head: Sequence[str]) -> Iterator[str]:
    """The comments of a file but for the result, which goes on in lines that are indented."""
    within = False
    for line in head:
        within = line.startswith("# Result") or (within and line.startswith("#   "))
        if not within:
            yield line
