"""Measures the speed of a served model, and shows its answers to malformed requests.

    python benchmarks/serving.py [--seconds 30] [--clients 16] [--workers 1]

Trains two small models: digits (8 x 8 numbers per image), and lines of generated words with a
label. Each is served by `python -m seqpipe serve` on this machine and receives requests over HTTP:
first malformed ones, then valid ones from many clients at once with keep-alive, with one record per
request and with 100. Prints Markdown: the status and message of each refusal; requests, errors,
requests and records per second, and the latency in milliseconds. The clients run in one process of
this machine and share its cores.
"""

import argparse
import contextlib
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HEADERS = {"Content-Type": "application/json"}
QUICK = ("trainer.max_epochs=1", "trainer.enable_progress_bar=false")
BARE = ("preflight=none", "diagnostics=none")
WORDS = {"pos": ("good", "lovely", "bright"), "neg": ("bad", "poor", "dull")}
REST = ("film", "story", "actor", "scene", "music", "plot", "end")
IMAGE = [[0.5] * 8] * 8
DEEP = 100_000  # brackets


@dataclass
class Tally:
    """The results that clients saw.

    Args:
        seconds: of each answer.
        errors: answers that differ from the answer to the same request alone.
    """

    seconds: list[float] = field(default_factory=list)
    errors: int = 0


def main() -> None:
    """Trains, serves and asks both models."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=30.0, help="of each row of the table")
    parser.add_argument("--clients", type=int, default=16, help="at once")
    parser.add_argument("--workers", type=int, default=1, help="processes that answer")
    arguments = parser.parse_args()
    draw = random.Random(0)
    with tempfile.TemporaryDirectory() as made:
        for name, column in (("digits", "image"), ("labelled_lines", "text")):
            folder = Path(made) / name
            folder.mkdir()
            trained(folder, name, draw)
            record = {column: IMAGE if column == "image" else "a good film with a dull end"}
            with served(folder, arguments.workers) as port:
                print(
                    f"\n{name}, refusals\n\n| what | status | answer |\n|---|---|---|", flush=True
                )
                for what, body in malformed(column, record):
                    print(f"| {what} | {refusal(port, body)} |", flush=True)
                measured(port, record, arguments, name)


def trained(folder: Path, name: str, draw: random.Random) -> None:
    """A small run in a folder of its own."""
    options = [f"data={name}", *QUICK, *BARE]
    if name == "labelled_lines":
        lines = []
        for number in range(400):
            label = ("pos", "neg")[number % 2]
            words = [*draw.choices(REST, k=draw.randint(3, 12)), draw.choice(WORDS[label])]
            lines.append(f"{label} {' '.join(draw.sample(words, len(words)))}")
        (folder / "lines.txt").write_text("\n".join(lines))
        options.append("data.path=lines.txt")
    words = [sys.executable, "-m", "seqpipe", *options]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)


@contextlib.contextmanager
def served(folder: Path, workers: int) -> Iterator[int]:
    """The port of a server of the folder's last run."""
    words = [sys.executable, "-m", "seqpipe", "serve", "run=latest", "port=0", f"workers={workers}"]
    log = folder / "server.log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            words, cwd=folder, stdout=subprocess.PIPE, stderr=errors, text=True
        )
    assert process.stdout is not None
    try:
        started = time.perf_counter()
        for line in process.stdout:
            if line.startswith("serving:"):
                print(f"\n{folder.name}: answers after {time.perf_counter() - started:.1f} s")
                yield int(line.split()[1].rstrip(",").rpartition(":")[2])
                break
        else:
            raise SystemExit(log.read_text())
        if process.poll() is not None:
            raise SystemExit(f"the server ended with code {process.returncode}: {log.read_text()}")
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def malformed(column: str, record: dict[str, Any]) -> list[tuple[str, bytes]]:
    """Malformed bodies of requests, by name."""

    def rows(*records: Any) -> bytes:
        return json.dumps({"dataframe_records": records}).encode()

    wrong = "seven" if column == "image" else 7
    wide = [[0.5] * 7] if column == "image" else ["a", "list"]
    deep = b'{"dataframe_records": [{"%s": %s%s}]}' % (column.encode(), b"[" * DEEP, b"]" * DEEP)
    return [
        ("no JSON", b"{hello"),
        ("no rows", rows()),
        ("unknown column", rows({"colour": 1})),
        ("wrong type", rows({column: wrong})),
        ("wrong width" if column == "image" else "a list for a text", rows({column: wide})),
        ("the 51st of 100", rows(*[record] * 50, {column: wrong}, *[record] * 49)),
        ("the 51st lacks it", rows(*[record] * 50, {}, *[record] * 49)),
        ("nested 500 deep", deep.replace(b"[" * DEEP, b"[" * 500).replace(b"]" * DEEP, b"]" * 500)),
        (f"nested {DEEP:,} deep", deep),
    ]


def refusal(port: int, body: bytes) -> str:
    """Status and message, as cells; checks that the server still answers another client."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", "/invocations", body, HEADERS)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    connection.request("GET", "/ping")
    if connection.getresponse().status != 200:
        raise SystemExit("the server does not answer any more")
    connection.close()
    with contextlib.suppress(ValueError):
        found = json.loads(text)
        text = found["message"] + " (and a traceback)" * ("stack_trace" in found)
    text = " ".join(text.replace("|", "/").split())
    return f"{answer.status} | {text[:150]}{'...' * (len(text) > 150)}"


def measured(port: int, record: dict[str, Any], arguments: argparse.Namespace, name: str) -> None:
    """A table of figures, a row for each size of a request."""
    print(f"\n{name}, {os.cpu_count()} cores, workers={arguments.workers}\n")
    print(
        "| clients | records | requests | errors | requests/s | records/s | p50 | p90 | p99 | max |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|", flush=True)
    for clients in (1, arguments.clients):
        for records in (1, 100):
            bodies = [
                json.dumps({"dataframe_records": [other(record, number)] * records}).encode()
                for number in range(clients)
            ]
            asked(port, bodies, min(2.0, arguments.seconds))  # warm
            tally, took = asked(port, bodies, arguments.seconds)
            rate = len(tally.seconds) / took
            times = " | ".join(f"{1000 * share:.1f}" for share in quantiles(tally.seconds))
            print(
                f"| {clients} | {records} | {len(tally.seconds):,} | {tally.errors} | {rate:,.0f}"
                f" | {rate * records:,.0f} | {times} |",
                flush=True,
            )


def other(record: dict[str, Any], number: int) -> dict[str, Any]:
    """A different record for each client, so that an answer for another client is noticed."""
    ((column, value),) = record.items()
    words = f"{value} {' '.join(REST[: number % 7 + 1])}" * (number // 7 + 1)
    image = [[(row + number) % 17 / 16] * 8 for row in range(8)]
    return {column: image if column == "image" else words}


def once(port: int, body: bytes) -> bytes:
    """The answer to a single request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", "/invocations", body, HEADERS)
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    if answer.status != 200:
        raise SystemExit(f"{answer.status}: {data.decode()}")
    return data


def asked(port: int, bodies: Sequence[bytes], seconds: float) -> tuple[Tally, float]:
    """Sends requests with one client per body. Returns the tally, and the seconds it took."""
    tallies = [Tally() for _ in bodies]
    expected = [once(port, body) for body in bodies]
    started = time.perf_counter()
    threads = [
        threading.Thread(target=client, args=(port, body, right, started + seconds, tally))
        for body, right, tally in zip(bodies, expected, tallies, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    every = [one for tally in tallies for one in tally.seconds]
    return Tally(every, sum(one.errors for one in tallies)), time.perf_counter() - started


def client(port: int, body: bytes, right: bytes, until: float, tally: Tally) -> None:
    """One connection, a request after the other."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    while (begin := time.perf_counter()) < until:
        try:
            connection.request("POST", "/invocations", body, HEADERS)
            answer = connection.getresponse()
            data = answer.read()
        except (OSError, http.client.HTTPException):
            tally.errors += 1
            connection.close()
            continue
        tally.seconds.append(time.perf_counter() - begin)
        tally.errors += answer.status != 200 or data != right
    connection.close()


def quantiles(seconds: Sequence[float]) -> list[float]:
    """The median, 90 and 99 of 100, and the longest."""
    found = sorted(seconds) or [float("nan")]
    return [*(found[int(share * (len(found) - 1))] for share in (0.5, 0.9, 0.99)), found[-1]]


if __name__ == "__main__":
    main()
