"""The recipes of recipes.yaml, and the record of every run of one."""

import fcntl
import hashlib
import json
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent.parent
FILE, CONF = HERE / "benchmarks" / "recipes.yaml", HERE / "conf"
EXPERIMENTS, LOCK = CONF / "experiment", HERE / "outputs" / "results.lock"


@dataclass(frozen=True)
class Row:
    """One command of a recipe.

    Args:
        name: in the table.
        options: after `experiment=NAME`.
        published: the figure of the source; None: it has none.
        goal: the bound that the mean of the test should reach; None: it is only shown.
        seeds: seeds 0, 1, ... of this row; None: as many as the recipe has.
    """

    name: str
    options: str = ""
    published: float | None = None
    goal: float | None = None
    seeds: int | None = None


@dataclass(frozen=True)
class Recipe:
    """An experiment, and the results that it should reproduce.

    Args:
        recipe: of `experiment=NAME`.
        title: the heading.
        metric: of the test, without `test/`.
        better: `low` or `high`.
        unit: what the figures are.
        rows: the commands.
        source: where the published figures are from; or who set the goal.
        also: more metrics of the test to show, and the bound of each; None: no bound.
        remedies: what was tried where a goal was missed: changes of a row.
        remedied: the name of that row; None: the first one with a goal.
        validation: the metric of the validation that compares them; None: the same as of the test.
        short: a run of about a minute and the looser bound that it must reach, which is a test.
        folder: of the data, for data.path; None: the data are generated.
        options: of every row and remedy.
        seeds: seeds 0, 1, ... of each row.
        threads: of a run. The number of threads changes the last digits, and what they grow to.
        samples: options of `sample` that draws texts from each trained model; None: none are drawn.
        language_model: the words that `train` one on the same transcripts, and those of an
            `evaluate` with it, whose metrics are `NAME_with_lm`; None: there is none.
        note: a sentence for the page.
    """

    recipe: str
    title: str
    metric: str
    better: str
    unit: str
    rows: Sequence[Row]
    source: str = ""
    also: Mapping[str, float | None] = field(default_factory=dict)
    remedies: Sequence[Row] = ()
    remedied: str | None = None
    validation: str | None = None
    short: Row | None = None
    folder: str | None = None
    options: str = ""
    seeds: int = 3
    threads: int = 1
    samples: str | None = None
    language_model: Mapping[str, str] | None = None
    note: str = ""

    def __post_init__(self) -> None:
        if self.better not in ("low", "high"):
            raise SystemExit(f"{FILE}: {self.recipe}: better: low or high")
        names = [row.name for row in self.rows]
        if self.remedied not in (None, *names):
            raise SystemExit(f"{FILE}: {self.recipe}: remedied: one of {', '.join(names)}")

    @classmethod
    def read(cls, entry: dict[str, Any]) -> "Recipe":
        """A recipe from its entry in recipes.yaml."""
        try:
            rows = {
                name: [Row(**row) for row in entry.get(name, ())] for name in ("rows", "remedies")
            }
            short = Row("short", **entry["short"]) if "short" in entry else None
            recipe = cls(**{**entry, **rows, "short": short})
        except TypeError as error:  # a key that a row or a recipe does not have
            raise SystemExit(f"{FILE}: {entry['recipe']}: {error}") from None
        before = recipe.aim.options
        changed = [
            replace(one, options=f"{before} {one.options}".strip()) for one in recipe.remedies
        ]
        return replace(recipe, remedies=changed)

    @property
    def aim(self) -> Row:
        """The row that remedies change; the first one if none is named and none has a goal."""
        named = [row for row in self.rows if row.name == self.remedied]
        aimed = [row for row in self.rows if row.goal is not None]
        return [*named, *aimed, *self.rows][0]

    def command(self, row: Row, path: str) -> list[str]:
        """The overrides of a row, without the seed."""
        data = [] if self.folder is None else [f"data.path={path}/{self.folder}"]
        more = [*shlex.split(self.options), *shlex.split(row.options)]
        return [f"experiment={self.recipe}", *data, *more]

    def version(self) -> str:
        """Of the files of the experiment and of its data, comments left out; of what follows it.

        Other options that they choose, and the code, are not in it: a record has its commit.
        """
        settings = yaml.safe_dump(_settings(EXPERIMENTS / f"{self.recipe}.yaml"))
        if self.language_model is not None:
            settings += yaml.safe_dump(dict(self.language_model))
        return hashlib.sha256(settings.encode()).hexdigest()[:10]

    def runs(self) -> list[tuple[Row, int]]:
        """Every row with every seed of it, the first seed of all rows first; then the remedies."""
        most = max(self.seeds_of(row) for row in self.rows)
        wanted = [
            (row, seed) for seed in range(most) for row in self.rows if seed < self.seeds_of(row)
        ]
        return [*wanted, *((row, 0) for row in self.remedies)]

    def seeds_of(self, row: Row) -> int:
        """The number of seeds of a row."""
        return self.seeds if row.seeds is None else row.seeds

    def lacking(self, metrics: Mapping[str, Any]) -> list[str]:
        """The metrics of the test that the page shows and a run has not."""
        asked = [f"test/{metric}" for metric in (self.metric, *self.also)]
        return [name for name in asked if name not in metrics]

    def reached(self, goal: float, value: float) -> bool:
        """True where a figure reaches its goal."""
        return value <= goal if self.better == "low" else value >= goal


def _settings(file: Path) -> list[Any]:
    """The content of the file of an option, and of the experiments and data that it builds on."""
    content = yaml.safe_load(file.read_text()) or {}
    found = [content]
    for entry in content.get("defaults", ()):
        if isinstance(entry, dict):  # `override /data: NAME`, or another group, left out
            names = [f"data/{name}" for key, name in entry.items() if key == "override /data"]
            found += [_settings(CONF / f"{name}.yaml") for name in names]
        elif entry != "_self_" and "@" not in entry:
            found.append(_settings(file.parent / f"{entry}.yaml"))
    return found


def all_recipes() -> list[Recipe]:
    """Those of recipes.yaml, in its order."""
    return [Recipe.read(entry) for entry in yaml.safe_load(FILE.read_text())]


@dataclass(frozen=True)
class Records:
    """The recorded runs, in a file that several benchmarks may write at the same time.

    It is read once: runs that others have recorded since are in another `Records`.

    Args:
        path: of the file; it need not be there.
    """

    path: Path

    @cached_property
    def runs(self) -> dict[str, dict[str, Any]]:
        """All of them, by command and seed."""
        found: dict[str, dict[str, Any]] = {}
        if self.path.is_file():
            try:
                found = json.loads(self.path.read_text())
            except json.JSONDecodeError as error:
                raise SystemExit(f"{self.path}: {error}") from None
        return found

    @staticmethod
    def key(recipe: Recipe, row: Row, seed: int) -> str:
        """The command of a run, as the page shows it."""
        return " ".join([*recipe.command(row, "DATA"), f"seed={seed}"])

    def find(self, recipe: Recipe, row: Row, seed: int) -> dict[str, Any] | None:
        """The record of a run; None: it has not run so, or lacks a metric that is asked for now."""
        run = self.runs.get(self.key(recipe, row, seed))
        if run is None or run["version"] != recipe.version() or recipe.lacking(run["metrics"]):
            return None
        return run

    def of_row(self, recipe: Recipe, row: Row) -> list[dict[str, Any]]:
        """The records of all seeds of a row that have run."""
        found = (self.find(recipe, row, seed) for seed in range(recipe.seeds_of(row)))
        return [run for run in found if run is not None]

    def add(self, recipe: Recipe, row: Row, seed: int, run: dict[str, Any]) -> "Records":
        """Records a run beside those that other processes have recorded meanwhile."""
        LOCK.parent.mkdir(exist_ok=True)
        with LOCK.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            runs = {**Records(self.path).runs, self.key(recipe, row, seed): run}
            write(self.path, json.dumps(runs, indent=1, sort_keys=True) + "\n")
        return Records(self.path)


def write(path: Path, text: str) -> None:
    """Writes a file at once, as others may be reading it; the same text is left alone."""
    if path.is_file() and path.read_text() == text:
        return
    unfinished = path.with_suffix(f".{os.getpid()}.tmp")
    unfinished.write_text(text)
    unfinished.replace(path)
