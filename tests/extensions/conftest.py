"""Commands run in a user's folder, with the extensions of this folder."""

from collections.abc import Callable
from pathlib import Path

import pytest

from forking import SEQPIPE

TOYS = Path(__file__).parent / "toys"


@pytest.fixture(scope="session")
def seqpipe(warm) -> Callable[..., str]:
    """seqpipe(folder, "evaluate", "run=..."): what the command prints, from a child process."""
    code_of_toys = f"import sys\nsys.path.insert(0, {str(TOYS)!r})\n{SEQPIPE}"

    def call(folder: Path, command: str, *words: str, code: int = 0) -> str:
        composes = command in ("train", "describe")
        own = ["--config-dir", str(TOYS / "conf")] if composes else []
        done = warm.run(code_of_toys, command, *own, *words, cwd=folder)
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    return call
