"""Examine the data before training: `python -m seqpipe describe`."""

import math
from dataclasses import replace

from omegaconf import DictConfig
from rich.table import Table

from seqpipe.build import unchecked_task
from seqpipe.checks import check_monitors
from seqpipe.config.compose import Launch
from seqpipe.console import PlainConsole
from seqpipe.data.summary import Row, Summary, summary_of
from seqpipe.errors import ConfigError
from seqpipe.report.data import draw_data, write_data
from seqpipe.runs import artifacts
from seqpipe.runs.load_data import load_data
from seqpipe.runs.summary import as_lines
from seqpipe.runs.training_run import RunResult
from seqpipe.tracking.base import recording

_LONGEST = 160  # characters of an example on the screen; data.md has more


def run(cfg: DictConfig, launch: Launch) -> RunResult:
    """Prints, draws and records statistics of the data; trains nothing.

    Args:
        cfg: the whole configuration, as for training.
        launch: how the command was started.

    Raises:
        ConfigError: the configuration cannot work; before anything is written.
        DataError: the data cannot be used; before anything is written.
    """
    if cfg.resume is not None:
        text = "has no effect, since describe does not train; allowed: leave it out"
        raise ConfigError(f"resume={cfg.resume}: {text}")
    loaded = load_data(cfg, launch)
    data = loaded.data
    check_monitors(cfg, unchecked_task(cfg, data))
    launch = replace(launch, command="describe")
    folder, _, tracker = artifacts.claim_run_folder(
        cfg, launch, loaded.trainer, loaded.tracker, lambda: launch.output_dir
    )
    summary = summary_of(data)
    with recording(tracker):
        artifacts.open_record(tracker, cfg, launch, data, folder)
        show(data.description, summary)
        name = launch.choices.get("data", "data")
        write_data(folder, title=f"{name}: the data", text=data.description, summary=summary)
        draw_data(folder, summary, title=name)
        tracker.log_metrics(metrics(summary), step=0)
        tracker.log_artifacts(folder)
    recorded = f"{tracker.run_id} in {tracker.location}" if tracker.run_id else "not recorded"
    rows = {
        "folder": str(folder),
        "mlflow run": recorded,
        "to train": replace(launch, command="train").command_line,
    }
    return RunResult({}, math.nan, folder, tracker.run_id, as_lines(rows))


def metrics(summary: Summary) -> dict[str, float]:
    """The numbers to record: `data/<split>/<name>`."""
    numbers: dict[str, float] = {}
    for row in summary.splits:
        for name, value in row.items():
            if isinstance(value, int):
                numbers[f"data/{row['split']}/{name.replace(' ', '_')}"] = value
    for role, shares in summary.unknown.items():
        for split, share in shares.items():
            numbers[f"data/{split}/unknown_{role}"] = share
    return numbers


def show(description: str, summary: Summary) -> None:
    """Prints the tables."""
    console = PlainConsole(stderr=True)
    console.print(description)
    _print(console, "splits", summary.splits)
    for role, rows in summary.classes.items():
        _print(console, f"{role}: frequency", rows)
    for role, rows in summary.numbers.items():
        _print(console, f"{role}: numbers in each step, as the model reads them", rows)
    for role, shares in summary.unknown.items():
        rates = ", ".join(f"{split} {share:.2%}" for split, share in shares.items())
        console.print(f"{role}: share of symbols not in the vocabulary: {rates}")
    _print(console, "examples of the training split", summary.examples)
    for problem in summary.problems:
        console.print(f"left out: {problem}")


def _print(console: PlainConsole, title: str, rows: list[Row]) -> None:
    table = Table(title=title, title_justify="left")
    columns = list(dict.fromkeys(name for row in rows for name in row))
    for name in columns:
        numbers = all(isinstance(row.get(name, 0), (int, float)) for row in rows)
        table.add_column(name, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(row.get(name, "")) for name in columns))
    console.print(table)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    text = f"{value:,}" if isinstance(value, int) else " ".join(str(value).split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
