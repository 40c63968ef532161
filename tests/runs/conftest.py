"""Whole runs, as the command line starts them, on little data and without drawing."""

import functools
from collections.abc import Callable
from pathlib import Path

import pytest

from seqpipe.config.compose import Launch, compose
from seqpipe.report import run as report
from seqpipe.verbs.train import RunResult, run

TINY = {
    "digits": ["data=digits", "data.source.test=0.1", "data.source.valid=0.1"],
    "adding": [
        "data=adding",
        "data.length=6",
        "data.source.train=60",
        "data.source.valid=16",
        "data.source.test=16",
    ],
    "dates": [
        "data=dates",
        "data.source.train=60",
        "data.source.valid=10",
        "data.source.test=10",
    ],
    "copy_memory": [
        "data=copy_memory",
        "data.length=3",
        "data.source.train=60",
        "data.source.valid=16",
        "data.source.test=16",
    ],
}
SMALL = [
    "hidden_size=8",
    "data.batch_size=16",
    "logger=none",
    "trainer.accelerator=cpu",
    "trainer.enable_progress_bar=false",
    "trainer.log_every_n_steps=1",
]


@pytest.fixture(scope="session")
def launch_in() -> Callable[..., RunResult]:
    """launch_in(root, "adding", "depth=2"): the result of that run, with its folder below root."""

    def start(root: Path, data: str, *overrides: str, folder: str = "run") -> RunResult:
        typed = [*TINY.get(data, [f"data={data}"]), *SMALL, *overrides]
        cfg, choices = compose(typed)
        return run(cfg, Launch(root / "runs" / folder, root, choices, tuple(typed)))

    return start


@pytest.fixture
def launch(launch_in: Callable[..., RunResult], tmp_path: Path) -> Callable[..., RunResult]:
    """As `launch_in`, below the test's own folder."""
    return functools.partial(launch_in, tmp_path)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """No figures, which take longer than a small training."""
    monkeypatch.setattr(report, "draw_confusion", lambda *a, **b: None)
    monkeypatch.setattr(report, "draw_curves", lambda *a, **b: None)
