"""Run folders with a model, for the verbs that ask it."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seqpipe.verbs.registry import VERBS


@pytest.fixture
def run_of(made: Any, tmp_path: Path) -> Callable[..., str]:
    """run_of("number"): the folder of a run that left such a model."""

    def make(name: str, *more: str) -> str:
        folder = tmp_path / "runs" / "-".join(["run", *name.split()])
        if not folder.exists():
            left = made(name, *more).folder
            shutil.copytree(left, folder / "model" / "data" / "seqpipe")
            shutil.copy(left / "config.yaml", folder)
        return str(folder)

    return make


@pytest.fixture
def options() -> Callable[..., Any]:
    """options("predict", run=..., input=...): of a verb."""

    def of(verb: str, **given: Any) -> Any:
        return VERBS[verb].options(**given)

    return of
