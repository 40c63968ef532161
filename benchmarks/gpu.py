"""Compares each cell on a GPU with cuDNN's LSTM, and counts what a training waits for.

    python benchmarks/gpu.py [--cells gru lstm_peephole] [--shape 64,128,512] [--pairs 15]

A step is forward and backward of one layer with D = H, to its input and all weights, until the GPU
has ended; the sides take turns. The synchronising calls are those that torch names
(`torch.cuda.set_sync_debug_mode`), in a longer training less those in a shorter one, by the
number of updates between them. Without a GPU it says so, and there are no rows.
"""

import argparse
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from kernels import milliseconds, sizes, update
from measuring import Row, add_clock, in_turns, parser_of, ratio, report
from torch import nn

from seqpipe.commands.train import run
from seqpipe.config.compose import Launch, compose
from seqpipe.nn.cells import GRU, LSTM, RNN, PeepholeLSTM, SimplifiedGRU
from seqpipe.nn.recurrent import RecurrentLayer

CELLS: dict[str, Callable[..., Any]] = {
    "lstm": LSTM,
    "lstm without output_tanh": partial(LSTM, output_tanh=False),
    "lstm_peephole": PeepholeLSTM,
    "lstm_peephole current": partial(PeepholeLSTM, output_peephole="current"),
    "gru": GRU,
    "gru reset_after": partial(GRU, reset_after=True),
    "gru_simplified": SimplifiedGRU,
    "rnn": RNN,
}
SHAPE = (64, 128, 512)
GOAL = 1.5
TRAININGS = [["data=adding", "cell=gru"], ["data=copy_memory", "cell=lstm"]]
UPDATES = (10, 60)


def main() -> None:
    """Prints the rows of all cells, and of the trainings."""
    parser = parser_of(__doc__)
    add_clock(parser)
    parser.add_argument("--cells", nargs="*", default=list(CELLS), choices=list(CELLS))
    parser.add_argument("--shape", default=SHAPE, type=sizes, metavar="B,T,H")
    parser.add_argument("--pairs", type=int, default=15)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print("no GPU: nothing is measured")
        return
    torch.manual_seed(0)
    rows = [compared(cell, arguments) for cell in arguments.cells]
    rows += [waiting(overrides) for overrides in TRAININGS]
    report(rows, arguments)


def compared(name: str, arguments: argparse.Namespace) -> Row:
    """The ratio of one cell to cuDNN's LSTM."""
    B, T, H = arguments.shape
    ours = RecurrentLayer(CELLS[name](H, H)).cuda()
    theirs = nn.LSTM(H, H, batch_first=True).cuda()
    x = torch.randn(B, T, H, device="cuda", requires_grad=True)
    gradient = torch.randn(B, T, H, device="cuda")

    def step(layer: nn.Module) -> None:
        update(layer, x, gradient)
        torch.cuda.synchronize()

    sides = {"ours": partial(step, ours), "theirs": partial(step, theirs)}
    seconds = in_turns(sides, pairs=arguments.pairs, clock=arguments.clock)
    return Row(
        f"{name} / cuDNN's LSTM, (B, T, H) = ({B}, {T}, {H})",
        ratio(seconds["ours"], seconds["theirs"]),
        GOAL,
        note=f"{ours.kernel_name()}: {milliseconds(seconds)}, {torch.cuda.get_device_name()}",
    )


def waiting(overrides: list[str]) -> Row:
    """The synchronising calls of one update."""
    fewer, more = (synchronisations(overrides, count) for count in UPDATES)
    return Row(
        f"synchronising calls an update, {' '.join(overrides)}",
        (more - fewer) / (UPDATES[1] - UPDATES[0]),
        0,
        note=f"{more} in {UPDATES[1]} updates, {fewer} in {UPDATES[0]}",
    )


def synchronisations(overrides: list[str], updates: int) -> int:
    """The synchronising calls of a whole run, with the default diagnostics and no tracking."""
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            train([*overrides, "trainer.accelerator=gpu"], updates)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchronizing CUDA operation" in str(warning.message) for warning in caught)


def train(overrides: list[str], updates: int) -> None:
    """A training of that many updates within one epoch."""
    typed = [
        *overrides,
        f"trainer.max_steps={updates}",
        f"data.source.train={32 * (UPDATES[1] + 1)}",
        "data.batch_size=32",
        "trainer.log_every_n_steps=1000",
        "trainer.enable_progress_bar=false",
        "logger=none",
    ]
    cfg, choices = compose(typed)
    with tempfile.TemporaryDirectory() as folder:
        run(cfg, Launch(Path(folder, "runs", "run"), Path(folder), choices, tuple(typed)))


if __name__ == "__main__":
    main()
