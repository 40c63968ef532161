"""Compares our training with loops written by hand in plain torch: time, memory, perplexity.

    python benchmarks/training.py [--cases texts words] [--turns 3] [--full] [--clock processor]

Ours is the command itself, `python -m seqpipe ...`, with everything it does by default: tracking,
diagnostics, the preflight, checkpoints. Both sides train models of the same sizes on the same files
with Adam, clipping and no dropout, in processes of their own, with one thread, and take turns of
one epoch. An epoch's time is that of its updates: from its start to the end of the last update,
without the validation. The ratio is that of seconds per real symbol, the median over the turns.
Memory is the peak until the first epoch's last update, before any validation, over a process that
only imports; of a loop by hand until the end of its first whole epoch.

Data are generated, or docstrings of the standard library; pairs of sentences are those of Multi30k
if $SEQPIPE_SHARED names a folder that holds them. Epochs are short by default; `--full` takes
14,000 texts, 29,000 pairs and whole texts of language models.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from generated import write_characters, write_pairs, write_tagged, write_texts, write_words
from measuring import Row, add_clock, has_bf16, parser_of, ratio, report
from turns import HERE, Program, bare_memory, environment, running

OURS = "torch, pytorch_lightning, mlflow, seqpipe.commands.train"
PLAIN = "torch"
PERPLEXITY_EPOCHS, PERPLEXITY_SEEDS = 3, (1, 2, 3)
HALF = "bf16-mixed"
EVEN_RATE = 0.002
ALIKE = ["dropout=0", "trainer.threads=1"]
"""What makes our training like the loops by hand."""


@dataclass(frozen=True)
class Hand:
    """A loop by hand. title: as the table calls it; goal: of our time over its."""

    title: str
    goal: float
    variant: str = ""
    updates: int | None = None


@dataclass(frozen=True)
class Case:
    """A model and its data.

    Args:
        title: as the table calls it.
        write: writes the data into a folder; called with `full`.
        ours: what is typed, besides the options of every case.
        hands: the loops to compare with.
        updates: of an epoch, where it is not whole.
        memory: the goal of our memory over that of the first loop.
        bf16: the goal of our time with bf16-mixed.
    """

    title: str
    write: Callable[[Path, bool], None]
    ours: str
    hands: list[Hand]
    updates: int | None = None
    memory: float | None = None
    bf16: float | None = None


def _write_pairs(folder: Path, full: bool) -> None:
    shared = os.environ.get("SEQPIPE_SHARED")
    found = shared and next(Path(shared).rglob("train.de.gz"), None)
    write_pairs(folder, 29_000 if full else 2_560, found.parent if found else None)


CASES = {
    "texts": Case(
        "texts, BiLSTM 2x128",
        lambda folder, full: write_texts(folder, 14_000 if full else 2_560),
        "data=table data.path=train.csv data.source.valid=valid.csv data.source.test=test.csv"
        " data.batch_size=64 bidirectional=true depth=2",
        [
            Hand("the best hand loop (bucketed)", 0.90),
            Hand("random padded batches", 0.10, "random", 8),
        ],
    ),
    "words": Case(
        "word language model, V = 10,000, 2x200",
        lambda folder, full: write_words(folder, 900_000 if full else 90_000),
        "data=ptb data.path=. architecture.embedding_size=200 hidden_size=200 depth=2",
        [Hand("the hand loop", 0.75)],
        updates=40,
        memory=0.6,
        bf16=0.55,
    ),
    "characters": Case(
        "character language model, 1x512",
        lambda folder, full: write_characters(folder, 1_000_000 if full else 100_000),
        "data=tiny_shakespeare data.path=. data.batch_size=64 hidden_size=512",
        [Hand("the hand loop", 0.9)],
        updates=8,
    ),
    "translation": Case(
        "encoder-decoder with attention, 256",
        _write_pairs,
        "data=multi30k data.path=. data.x.min_count=1 data.y.min_count=1 hidden_size=256",
        [
            Hand("the hand loop, step by step", 0.9, "steps"),
            Hand("the hand loop, all steps at once", 0.9, "whole"),
        ],
    ),
    "tagger": Case(
        "BiLSTM-CRF tagger",
        lambda folder, full: write_tagged(folder, 14_000 if full else 1_600),
        "data=conll data.path=train.txt data.source.valid=valid.txt data.source.test=test.txt"
        " architecture/head=crf +data.x.min_count=1 bidirectional=true",
        [Hand("the hand loop", 0.9)],
    ),
}


def main() -> None:
    """Prints the rows of each case."""
    parser = parser_of(__doc__)
    add_clock(parser)
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES))
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--full", action="store_true", help="whole epochs of full size: an hour")
    parser.add_argument("--no-perplexity", dest="perplexity", action="store_false")
    arguments = parser.parse_args()
    bare = {"ours": bare_memory(OURS), "hand": bare_memory(PLAIN)}
    print(f"bare processes: ours {bare['ours']:.0f} MB, plain torch {bare['hand']:.0f} MB\n")
    for name in arguments.cases:
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made)
            CASES[name].write(folder, arguments.full)
            report(compared(name, folder, arguments, bare), arguments)


def compared(
    name: str, folder: Path, arguments: argparse.Namespace, bare: dict[str, float]
) -> list[Row]:
    """The rows of one case."""
    case, turns = CASES[name], arguments.turns
    updates = None if arguments.full else case.updates
    typed = our_command(case, updates, turns)
    commands = {hand.title: hand_command(name, folder, hand, updates) for hand in case.hands}
    commands["ours"] = typed
    half = case.bf16 is not None and has_bf16()
    if half:
        commands["bf16"] = [*typed, f"trainer.precision={HALF}"]
    rows = []
    with running(commands, folder, arguments.clock) as programs:
        check_sizes(programs)
        times = in_epochs(programs, turns)
        for hand in case.hands:
            rows.append(
                time_row(f"{case.title} / {hand.title}", hand.goal, times, "ours", hand.title)
            )
        if half:
            what = f"{case.title}, {HALF} / {case.hands[0].title} in float32"
            rows.append(time_row(what, case.bf16, times, "bf16", case.hands[0].title))
        rows.append(memory_row(case, programs, bare))
    if half and arguments.perplexity:
        rows.append(perplexity_row(case, folder))
    return rows


def our_command(case: Case, updates: int | None, turns: int) -> list[str]:
    """The command that a user would type, with the callback that times it."""
    limit = [] if updates is None else [f"trainer.limit_train_batches={updates}"]
    return [
        *(sys.executable, "-m", "seqpipe", *case.ours.split(), *limit, *ALIKE),
        f"trainer.max_epochs={turns + 1}",
        "+callbacks.turns._target_=turn_callback.TurnCallback",
    ]


def hand_command(name: str, folder: Path, hand: Hand, updates: int | None) -> list[str]:
    """A loop by hand."""
    limit = min((count for count in (updates, hand.updates) if count), default=None)
    return [
        *(sys.executable, str(HERE / "hand_loops.py"), name, str(folder)),
        *([] if limit is None else ["--updates", str(limit)]),
        f"--variant={hand.variant}",
    ]


def check_sizes(programs: dict[str, Program]) -> None:
    """Refuses a comparison of models of different sizes, or with more than one thread.

    Ours has one bias where torch's LSTM has two, and a state that the decoder starts from.
    """
    sizes = {name: program.first["parameters"] for name, program in programs.items()}
    if max(sizes.values()) > 1.03 * min(sizes.values()):
        raise SystemExit(f"models of different sizes: {sizes}")
    if any(program.first["threads"] != 1 for program in programs.values()):
        raise SystemExit("a program runs with more than one thread")


def in_epochs(programs: dict[str, Program], turns: int) -> dict[str, list[float]]:
    """Seconds per real symbol of each program, an epoch a turn, in alternating order."""
    times: dict[str, list[float]] = {name: [] for name in programs}
    for turn in range(turns):
        for name in list(programs) if turn % 2 else reversed(programs):
            program = programs[name]
            found: dict[str, Any] = {**program.first, **program.turn()}
            times[name].append(found["seconds"] / found["tokens"])
    return times


def time_row(
    what: str, goal: float | None, times: dict[str, list[float]], ours: str, theirs: str
) -> Row:
    """The ratio of two programs' times."""
    micro = [1e6 * sorted(times[name])[len(times[name]) // 2] for name in (ours, theirs)]
    note = f"{micro[0]:.2f} and {micro[1]:.2f} µs a symbol"
    return Row(what, ratio(times[ours], times[theirs]), goal, note=note)


def memory_row(case: Case, programs: dict[str, Program], bare: dict[str, float]) -> Row:
    """The ratio of the peaks over bare processes."""
    hand = case.hands[0].title
    ours = programs["ours"].first["memory"] - bare["ours"]
    theirs = programs[hand].reports[0]["memory"] - bare["hand"]
    note = f"{ours:.0f} and {theirs:.0f} MB over the bare process"
    return Row(f"{case.title}, memory / {hand}", ours / theirs, case.memory, note=note)


def perplexity_row(case: Case, folder: Path) -> Row:
    """How much higher the perplexity of the test is with bf16-mixed than with float32.

    It is the geometric mean of the ratios of several seeds, at a learning rate whose loss falls
    evenly. At the default one it jumps, and seeds differ by half after so few epochs.
    """
    ratios = []
    for seed in PERPLEXITY_SEEDS:
        precise, half = (perplexity(case, folder, seed, precision) for precision in ("32", HALF))
        ratios.append(half / precise)
    note = f"after {PERPLEXITY_EPOCHS} epochs; each seed: "
    note += ", ".join(f"{100 * (found - 1):+.1f} %" for found in ratios)
    what = f"{case.title}, test perplexity: bf16-mixed above float32"
    return Row(what, 100 * (statistics.geometric_mean(ratios) - 1), 1.0, unit=" %", note=note)


def perplexity(case: Case, folder: Path, seed: int, precision: str) -> float:
    """The perplexity of the test after a training of a few epochs."""
    with tempfile.TemporaryDirectory() as made:
        for file in folder.glob("*.txt"):
            (Path(made) / file.name).symlink_to(file)
        command = [sys.executable, "-m", "seqpipe", *case.ours.split(), *ALIKE, f"seed={seed}"]
        command += [f"trainer.precision={precision}", f"trainer.max_epochs={PERPLEXITY_EPOCHS}"]
        command += ["diagnostics=none", f"optim.lr={EVEN_RATE}"]
        subprocess.run(command, cwd=made, env=environment(), capture_output=True, check=True)
        metrics = next(Path(made).glob("outputs/runs/*/metrics.json"))
        found: float = json.loads(metrics.read_text())["test/perplexity"]
    return found


if __name__ == "__main__":
    main()
