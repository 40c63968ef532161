import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import seqpipe
from forking import Forking, Started

# A command in place of the real one: these tests are about the command line, not about training.
FAKE_VERB = """
import sys, types
from types import SimpleNamespace

def run(cfg, launch):
{body}
    summary = f"ran {{launch.choices['cell']}} {{cfg.depth}}"
    return SimpleNamespace(
        summary=summary, monitored=0.5, output_dir=launch.output_dir, judged_on="",
        run_id=None, line="ran", pruned=False,
    )

fake = types.ModuleType("seqpipe.commands.train")
fake.run = run
sys.modules["seqpipe.commands.train"] = fake
"""
MAIN = """
import sys
from seqpipe.cli import main
sys.exit(main())
"""

# Importing and asking Hydra for its plugins takes longer than most commands.
IMPORTS = """
import seqpipe.cli
from seqpipe.config.commandline import check
check([], names_only=True)
"""


@dataclass
class Outcome:
    code: int
    out: str
    err: str
    left: list[str]


@pytest.fixture
def environment(tmp_path):
    """A working directory of the user's, and the variables of a process started there."""
    source = str(Path(seqpipe.__file__).parents[1])
    # A rank in the environment would make this a child of a distributed run.
    kept = {k: v for k, v in os.environ.items() if k not in ("RANK", "LOCAL_RANK", "SLURM_PROCID")}
    return {"cwd": tmp_path, "env": {**kept, "PYTHONPATH": source}}


@pytest.fixture
def start(environment, warm) -> Iterator[Callable[..., Started]]:
    """Start `seqpipe` with `body` as the command, after other code, and come back at once."""
    running = []

    def run(body: str, before: str = "") -> Started:
        code = before + FAKE_VERB.format(body=body) + MAIN
        running.append(warm.start(code, **environment))
        return running[-1]

    yield run
    for each in running:
        each.close()


@pytest.fixture(scope="session")
def forking(tmp_path_factory) -> Iterator[Forking]:
    """The program that forks, until the tests of this folder are over."""
    program = Forking(IMPORTS, tmp_path_factory.mktemp("pipes"))
    yield program
    program.close()


@pytest.fixture
def forked(forking, environment) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Run Python code in a process of its own, in the working directory."""

    def run(code: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        assert environment.keys() == {"cwd", "env"}  # nothing else can be changed in a fork
        return forking.run(code, *arguments, **environment)

    return run


@pytest.fixture
def command(environment, warm) -> Callable[..., Outcome]:
    """Run `seqpipe ...` in an empty folder, with `body` as the command."""

    def run(*arguments: str, body: str = "    pass") -> Outcome:
        code = FAKE_VERB.format(body=body) + MAIN
        done = warm.run(code, *arguments, **environment)
        left = sorted(
            path.relative_to(environment["cwd"]).as_posix()
            for path in environment["cwd"].rglob("*")
            if path.is_file() or not any(path.iterdir())
        )
        return Outcome(done.returncode, done.stdout, done.stderr, left)

    return run
