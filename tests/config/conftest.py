import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import seqpipe

# A verb in place of the real one: these tests are about the command line, not about training.
FAKE_VERB = """
import sys, types
from types import SimpleNamespace

def run(cfg, launch):
{body}
    summary = f"ran {{launch.choices['cell']}} {{cfg.depth}}"
    return SimpleNamespace(
        summary=summary, monitored=0.5, output_dir=launch.output_dir, judged_on=""
    )

fake = types.ModuleType("seqpipe.verbs.train")
fake.run = run
sys.modules["seqpipe.verbs.train"] = fake
"""
MAIN = """
import sys
from seqpipe.cli import main
code = main()
print("torch" in sys.modules, file=open("torch_imported", "w"))
sys.exit(code)
"""


@dataclass
class Outcome:
    code: int
    out: str
    err: str
    torch_imported: bool
    left: list[str]


@pytest.fixture
def environment(tmp_path):
    """A working directory of the user's, and the variables of a process started there."""
    source = str(Path(seqpipe.__file__).parents[1])
    # A rank in the environment would make this a child of a distributed run.
    kept = {k: v for k, v in os.environ.items() if k not in ("RANK", "LOCAL_RANK", "SLURM_PROCID")}
    return {"cwd": tmp_path, "env": {**kept, "PYTHONPATH": source}}


@pytest.fixture
def start(environment) -> Callable[[str], "subprocess.Popen[str]"]:
    """Start `seqpipe` with `body` as the verb, and come back at once."""

    def run(body: str) -> "subprocess.Popen[str]":
        code = [sys.executable, "-c", FAKE_VERB.format(body=body) + MAIN]
        return subprocess.Popen(code, stderr=subprocess.PIPE, text=True, **environment)

    return run


@pytest.fixture
def command(environment) -> Callable[..., Outcome]:
    """Run `seqpipe ...` in an empty folder, with `body` as the verb."""

    def run(*arguments: str, body: str = "    pass") -> Outcome:
        code = FAKE_VERB.format(body=body) + MAIN
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            **environment,
        )
        flag = environment["cwd"] / "torch_imported"
        torch_imported = flag.read_text().strip() == "True"
        flag.unlink()
        left = sorted(
            path.relative_to(environment["cwd"]).as_posix()
            for path in environment["cwd"].rglob("*")
            if path.is_file() or not any(path.iterdir())
        )
        return Outcome(done.returncode, done.stdout, done.stderr, torch_imported, left)

    return run
