"""The Makefile, with a Python that only writes down what it is asked for."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
INDEX = "--extra-index-url https://download.pytorch.org/whl/cpu"
PYTHON = f"""#!/bin/sh
echo "$0 $@" >> calls
case "$*" in
  "-m venv .venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python;;
  "-c import sys;"*) exec {sys.executable} "$@";;
esac
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(REPOSITORY / name, tmp_path)
    stub = tmp_path / "python"
    stub.write_text(PYTHON)
    stub.chmod(0o755)
    return tmp_path


def make(folder: Path, *arguments: str, code: int = 0) -> list[str]:
    """The calls of Python that a make led to, or with another code its messages."""
    (folder / "calls").unlink(missing_ok=True)
    words = ["make", f"PYTHON={folder / 'python'}", *arguments]
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    done = subprocess.run(words, cwd=folder, env=kept, capture_output=True, text=True)
    assert (done.returncode != 0) == (code != 0), done.stdout + done.stderr
    if code:
        return [done.stderr + done.stdout]
    calls = folder / "calls"
    return calls.read_text().splitlines() if calls.exists() else []


def test_torch_cpu_takes_the_small_wheels_and_is_remembered(folder):
    installed = make(folder, "install", "TORCH=cpu")
    assert [INDEX in call for call in installed if "pip install" in call] == [True]
    (folder / ".venv" / "mine").touch()
    assert make(folder, "install", "TORCH=cpu") == []
    assert make(folder, "install") == []
    (folder / "pyproject.toml").touch()
    again = make(folder, "install")
    assert [INDEX in call for call in again if "pip install" in call] == [True]
    assert (folder / ".venv" / "mine").exists()


def test_another_build_of_torch_is_replaced(folder):
    installed = make(folder, "install")
    assert [INDEX in call for call in installed if "pip install" in call] == [False]
    (folder / ".venv" / "of_the_other_build").touch()
    installed = make(folder, "install", "TORCH=cpu")
    assert [INDEX in call for call in installed if "pip install" in call] == [True]
    assert not (folder / ".venv" / "of_the_other_build").exists()


@pytest.mark.parametrize("build", ["gpu", "cuda", "CPU", "cpu cpu"])
def test_an_unknown_build_is_refused_before_anything_is_made(build, folder):
    (told,) = make(folder, "train", f"TORCH={build}", code=2)
    assert f"TORCH={build}: unknown build of torch; allowed: TORCH=cpu, or leave TORCH out" in told
    assert not (folder / ".venv").exists()


@pytest.mark.parametrize("version", ["(3, 10, 9)", "(3, 14, 0)", "(4, 0, 0)"])
def test_a_python_that_cannot_run_it_is_refused(version, folder):
    stub = folder / "python"
    stub.write_text(
        PYTHON.replace('"$@";;', f'-c "import sys; sys.version_info = {version}; $2";;')
    )
    (told,) = make(folder, "train", code=2)
    assert "seqpipe needs Python 3.11, 3.12 or 3.13; name one: make PYTHON=python3.12" in told
    assert not (folder / ".venv").exists()
