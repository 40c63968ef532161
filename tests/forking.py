"""A program that imports once what takes seconds, then forks a process for each piece of code."""

import json
import os
import select
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import seqpipe

SOURCE = str(Path(seqpipe.__file__).parents[1])
SEQPIPE = "import runpy; runpy.run_module('seqpipe', run_name='__main__', alter_sys=True)"
"""Code that is `python -m seqpipe` with the arguments given."""

_PROGRAM = """
import gc, json, os, sys
{imports}
gc.freeze()  # what was imported is not looked through again where a child ends
for line in sys.stdin:
    order = json.loads(line)
    child = os.fork()
    if child == 0:
        break
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
else:
    sys.exit()
os.chdir(order["cwd"])
os.environ.clear()
os.environ.update(order["env"])
for number, name in enumerate((os.devnull, order["out"], order["err"])):
    os.dup2(os.open(name, os.O_RDWR | os.O_CREAT), number)
sys.argv = ["-c", *order["arguments"]]
exec(order["code"], {{"__name__": "__main__"}})
"""


class Forking:
    """Runs Python code in processes of its own, which begin with the imports done.

    Args:
        imports: code that is run once, before the first fork.
        pipes: a folder for what the processes print.
    """

    def __init__(self, imports: str, pipes: Path) -> None:
        self.pipes, self.count = pipes, 0
        self.program = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM.format(imports=imports)],
            env={**os.environ, "PYTHONPATH": SOURCE},
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def run(
        self,
        code: str,
        *arguments: str,
        cwd: Path,
        env: Mapping[str, str] = os.environ,
        seconds: float = 300,
    ) -> "subprocess.CompletedProcess[str]":
        """How the code ends, with these words in sys.argv, in this folder and environment."""
        self.count += 1
        out, err = self.pipes / f"{self.count}.out", self.pipes / f"{self.count}.err"
        order = {"code": code, "arguments": arguments, "out": str(out), "err": str(err)}
        order |= {"cwd": str(cwd), "env": dict(env)}
        print(json.dumps(order), file=self.program.stdin, flush=True)
        answered, _, _ = select.select([self.program.stdout], [], [], seconds)
        assert answered, f"{arguments} take longer than {seconds} s"
        ended = int(self.program.stdout.readline())
        return subprocess.CompletedProcess(arguments, ended, out.read_text(), err.read_text())

    def close(self) -> None:
        """Ends the program."""
        self.program.communicate()
