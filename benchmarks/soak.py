"""A soak: many small runs in one process, many processes in turn, and a server under mixed load.

    python benchmarks/soak.py [--runs 200] [--processes 50] [--clients 16] [--seconds 60]

The runs are started by the command line's own `main`, in one process, and recorded in one MLflow
store; memory, open files and threads are read after run 20 and after the last. Then processes train
one after the other on that store. Then a model is served on 127.0.0.1, and clients send requests of
which one in ten is malformed: each of these must get one status from 400 to 499 and a message.
Prints Markdown; ends with exit code 1 if anything grew, failed or was not refused clearly.
"""

import argparse
import contextlib
import gc
import http.client
import io
import json
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from serving import HEADERS, malformed, other, quantiles, served, trained

TYPED = (
    *("data=adding", "data.length=6", "data.source.train=60", "data.source.valid=16"),
    *("data.source.test=16", "hidden_size=8", "data.batch_size=16", "trainer.max_epochs=2"),
    *("trainer.accelerator=cpu", "trainer.threads=1", "trainer.enable_progress_bar=false"),
)
WARM = 20  # runs before the first reading: caches are filled
GROWTH = 1.10  # of memory: the largest that counts as none
RECORD = {"image": [[0.5] * 8] * 8}
ONE_IN = 10


def main() -> None:
    """Runs the parts, each in a folder of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=200, help="in one process; 0: none")
    parser.add_argument("--processes", type=int, default=50, help="in turn; 0: none")
    parser.add_argument("--clients", type=int, default=16, help="of the server; 0: no server")
    parser.add_argument("--seconds", type=float, default=60.0, help="of the load")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        good = [
            in_one_process(Path(made), arguments.runs) if arguments.runs else True,
            in_turn(Path(made), arguments.processes) if arguments.processes else True,
            under_load(Path(made), arguments.clients, arguments.seconds)
            if arguments.clients
            else True,
        ]
    sys.exit(not all(good))


def reading() -> dict[str, float]:
    """Memory in MB, open files and threads of this process."""
    gc.collect()
    status = Path("/proc/self/status").read_text().splitlines()
    memory = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
    tasks = len(os.listdir("/proc/self/task"))
    return {
        "memory MB": memory / 1024,
        "open files": len(os.listdir("/proc/self/fd")),
        "threads": tasks,
    }


def in_one_process(folder: Path, count: int) -> bool:
    """Runs after another by `cli.main`; returns True if nothing grew and all ended well."""
    from seqpipe import cli

    before, codes, seconds, first = os.getcwd(), Counter[int](), 0.0, dict[str, float]()
    os.chdir(folder)
    started = time.perf_counter()
    for number in range(1, count + 1):
        sys.argv = ["seqpipe", *TYPED, f"seed={number}"]
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            codes[cli.main()] += 1
        if number == min(WARM, count):
            first = reading()
    seconds, last = time.perf_counter() - started, reading()
    os.chdir(before)
    grown = last["memory MB"] > GROWTH * first["memory MB"]
    grown |= any(last[name] > first[name] for name in ("open files", "threads"))
    print(
        f"\n{count} runs in one process, {seconds / count:.1f} s each, exit codes {dict(codes)}\n"
    )
    print(f"| | after {min(WARM, count)} | after {count} |\n|---|---|---|")
    for name, value in first.items():
        print(f"| {name} | {value:.0f} | {last[name]:.0f} |", flush=True)
    return not grown and set(codes) == {0}


def in_turn(folder: Path, count: int) -> bool:
    """Processes that train one after the other; returns True if all ended well and left no rest."""
    words, seconds = [sys.executable, "-m", "seqpipe", *TYPED], []
    codes = Counter[int]()
    for number in range(count):
        started = time.perf_counter()
        done = subprocess.run(
            [*words, f"seed={1000 + number}"], cwd=folder, capture_output=True, check=False
        )
        codes[done.returncode] += 1
        seconds.append(time.perf_counter() - started)
    with sqlite3.connect(folder / "outputs" / "mlflow.db") as store:
        states = dict(store.execute("SELECT status, count(*) FROM runs GROUP BY status"))
    left = [path.name for path in folder.rglob(".new-*")]
    tenth = max(1, count // 10)
    early, late = (sum(part) / tenth for part in (seconds[:tenth], seconds[-tenth:]))
    print(f"\n{count} processes in turn: exit codes {dict(codes)}, states of the store {states}")
    print(f"seconds of the first {tenth}: {early:.1f}, of the last: {late:.1f}", flush=True)
    return set(codes) == {0} and set(states) == {"FINISHED"} and not left


def under_load(folder: Path, clients: int, seconds: float) -> bool:
    """A server with mixed requests; returns True if every answer is right."""
    place = folder / "digits"
    place.mkdir()
    trained(place, "digits", random.Random(0))
    with served(place, workers=1) as port:
        good = [json.dumps({"dataframe_records": [other(RECORD, k)]}).encode() for k in range(8)]
        bad = malformed("image", RECORD)
        times: list[float] = []
        wrong, statuses, lock = Counter[str](), Counter[int](), threading.Lock()
        until = time.perf_counter() + seconds

        def ask(number: int) -> None:
            draw = random.Random(number)
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            while (begin := time.perf_counter()) < until:
                is_bad = draw.random() < 1 / ONE_IN
                try:
                    what, body = draw.choice(bad) if is_bad else ("valid", draw.choice(good))
                    connection.request("POST", "/invocations", body, HEADERS)
                    answer = connection.getresponse()
                    problem = problem_of(what, answer.status, answer.read())
                    status = answer.status
                except (OSError, http.client.HTTPException) as error:
                    problem, status = f"{what}: {type(error).__name__}", 0
                    connection.close()
                with lock:
                    statuses[status] += 1
                    wrong.update([problem] if problem else [])
                    if not is_bad:
                        times.append(time.perf_counter() - begin)
            connection.close()

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    shown = " | ".join(f"{1000 * share:.0f}" for share in quantiles(times))
    print(f"\n{clients} clients, {seconds:.0f} s, one request in {ONE_IN} malformed\n")
    print("| requests | by status | wrong answers | p50 ms | p90 | p99 | max |")
    print("|---|---|---|---|---|---|---|")
    total = sum(statuses.values())
    print(f"| {total:,} | {dict(statuses)} | {dict(wrong) or 'none'} | {shown} |", flush=True)
    return not wrong and total > 0


def problem_of(what: str, status: int, data: bytes) -> str:
    """The problem of the answer to a request; empty for a right one."""
    text = data.decode(errors="replace")
    if what == "valid":
        return "" if status == 200 else f"valid: {status}"
    is_clear = 400 <= status < 500 and text.strip() and "Traceback" not in text
    return "" if is_clear else f"{what}: {status} {text[:80]}"


if __name__ == "__main__":
    main()
