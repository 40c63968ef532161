"""Commands run in a user's folder, with the extensions of this folder."""

import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from seqpipe import cli

TOYS = Path(__file__).parent / "toys"


@pytest.fixture(scope="session")
def seqpipe() -> Callable[..., str]:
    """seqpipe(folder, "evaluate", "run=..."): what the command prints, from a child process."""

    def call(folder: Path, *words: str, code: int = 0) -> str:
        messages = folder / "messages"
        if (child := os.fork()) == 0:
            found = 99
            try:
                for number, name in ((1, messages), (2, messages)):
                    os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_APPEND), number)
                sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
                os.chdir(folder)
                signal.alarm(200)
                sys.path.insert(0, str(TOYS))
                own = (
                    ["--config-dir", str(TOYS / "conf")]
                    if words[0] in ("train", "describe")
                    else []
                )
                sys.argv = ["seqpipe", *words[:1], *own, *words[1:]]
                found = cli.main()
            except SystemExit as error:
                found = int(error.code or 0)
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(found)
        _, status = os.waitpid(child, 0)
        text = messages.read_text()
        messages.unlink()
        assert os.waitstatus_to_exitcode(status) == code, text
        return text

    return call
