"""Two processes that train together, forked from a program that has imported everything."""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from forking import Forking

TWO = ("trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu")
PAIR = """
import json, os, signal, socket, sys, time
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
lines = json.loads(sys.argv[1])
other = os.fork()
os.environ |= dict.fromkeys(("RANK", "LOCAL_RANK"), "0" if other else "1")
if not other:
    time.sleep(float(os.environ["LATER"]))
import seqpipe.cli
leave, seqpipe.cli.leave_process_group = seqpipe.cli.leave_process_group, lambda: None
code = 0
for line in lines:
    sys.argv = ["seqpipe", *line]
    code = code or seqpipe.cli.main()
leave()
if other:
    for _ in range(int(os.environ["PATIENCE"])):
        found, status = os.waitpid(other, os.WNOHANG)
        if found:
            break
        time.sleep(0.1)
    else:
        os.kill(other, signal.SIGKILL)
        found, status = os.waitpid(other, 0)
    print("rank 1 ended with", os.waitstatus_to_exitcode(status))
sys.exit(code)
"""
"""As a person starts them by hand. They run each command line in turn, up to a failure."""


def run_pair(
    warm: Forking,
    folder: Path,
    *lines: Sequence[str],
    env: Mapping[str, str] = os.environ,
    later: float = 0.0,
    patience: int = 200,
) -> "subprocess.CompletedProcess[str]":
    """How the first of two processes ends; they run these command lines.

    Args:
        warm: the program that forks.
        folder: to run in; made here.
        lines: command lines of seqpipe, without what makes two processes of them.
        env: the environment.
        later: seconds that the second process starts after the first.
        patience: tenths of a second until the second one is killed where the first has ended.
    """
    folder.mkdir(exist_ok=True)
    written = json.dumps([[*line, *TWO] for line in lines])
    return warm.run(
        PAIR, written, cwd=folder, env={**env, "LATER": str(later), "PATIENCE": str(patience)}
    )
