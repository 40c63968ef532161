"""Run folders with a model, for the commands that ask it."""

import csv
import importlib
import io
import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from seqpipe.commands import predict
from seqpipe.commands.dispatch import COMMANDS
from seqpipe.config.command_options import read
from seqpipe.records import note_seal, read_yaml


@pytest.fixture
def run_of(made: Any, tmp_path: Path) -> Callable[..., str]:
    """run_of("number"): the folder of a run that left such a model."""

    def make(name: str, *more: str) -> str:
        folder = tmp_path / "runs" / "-".join(["run", *name.split()])
        if not folder.exists():
            left = made(name, *more).folder
            shutil.copytree(left, folder / "model" / "data" / "seqpipe")
            shutil.copy(left / "config.yaml", folder)
            note_seal(tmp_path, read_yaml(folder / "config.yaml"))  # it was trained here
        return str(folder)

    return make


@pytest.fixture
def options() -> Callable[..., Any]:
    """options("predict", run=..., input=...): of a command."""

    def of(command: str, **given: Any) -> Any:
        return COMMANDS[command].options(**given)

    return of


@pytest.fixture
def run_command(run_of, tmp_path):
    """run_command("score", "lines", "text=a tokens=true"): the text of the answer."""

    def run(command, name, typed):
        words = [f"run={run_of(name)}", *shlex.split(typed)]
        options = read(COMMANDS[command].options, words, command)
        return importlib.import_module(f"seqpipe.commands.{command}").run(options, tmp_path).text

    return run


@pytest.fixture
def ask(run_of, options, tmp_path):
    """ask("category of text", input=..., output=...): the rows that are written."""

    def of(name, *more, **given):
        output = tmp_path / given.pop("output", "out.jsonl")
        run = run_of(name, *more)
        predict.run(options("predict", run=run, output=str(output), **given), tmp_path)
        return rows_of(output)

    return of


def rows_of(path: Path) -> list[dict[str, object]]:
    if path.suffix == ".parquet":
        return parquet.read_table(path).to_pylist()
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in text.splitlines()]
    delimiter = "," if path.suffix == ".csv" else "\t"
    return list(csv.DictReader(io.StringIO(text), delimiter=delimiter))
