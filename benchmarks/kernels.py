"""Compares the kernel of each cell with torch's fused layers: forward and backward, one thread.

    python benchmarks/kernels.py [--cells lstm gru] [--shapes 32,128,256] [--pairs 5]
    python benchmarks/kernels.py --cells --ragged 64,33,128,2

Each side is a layer with D = H whose input needs a gradient. The sides take turns in one process;
the ratio is the median over the turns. The share is the layer's speed over that of a large matrix
product that takes its turns beside it: (B*T, H) by (H, 4H) by `torch.mm` into memory that is there,
or by oneDNN with packed weights, whichever is faster. The layer's speed counts its products alone:
input and state with the weights, and twice as many operations backwards.

The ragged cases run a bidirectional stack on padded batches against nn.LSTM on packed ones. Their
lengths are uniform between T/2 and T, and one is T: a batch of similar lengths, as bucketing makes.
"""

import argparse
import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from measuring import Row, add_clock, in_turns, parser_of, ratio, report
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.utils import mkldnn

from seqpipe.allocator import keep_freed_memory
from seqpipe.nn.cells import GRU, LSTM, RNN, PeepholeLSTM, SimplifiedGRU
from seqpipe.nn.recurrent import RecurrentLayer, RecurrentStack, recurrent_layers

CELLS: dict[str, tuple[Callable[..., Any], type[nn.RNNBase], float]] = {
    "lstm": (LSTM, nn.LSTM, 1.0),
    "gru": (GRU, nn.GRU, 0.75),
    "gru reset_after": (partial(GRU, reset_after=True), nn.GRU, 0.75),
    "gru_simplified": (SimplifiedGRU, nn.GRU, 0.5),
    "lstm_peephole": (PeepholeLSTM, nn.LSTM, 1.15),
    "lstm_peephole current": (partial(PeepholeLSTM, output_peephole="current"), nn.LSTM, 1.15),
    "rnn": (RNN, nn.RNN, 0.95),
}
"""Our cell, torch's layer, and the goal for the ratio of their times."""

SHAPES = [(32, 128, 256), (64, 64, 128), (20, 35, 650)]
SHARE_GOALS = {(32, 128, 256): 0.75}
RAGGED = {(64, 33, 128, 2): 0.5, (64, 200, 128, 2): 0.2, (32, 128, 256, 1): 0.4}
"""B, T, H and layers, and the goal."""


def main() -> None:
    """Prints the rows of all cells and shapes."""
    parser = parser_of(__doc__)
    add_clock(parser)
    parser.add_argument("--cells", nargs="*", default=list(CELLS), choices=list(CELLS))
    parser.add_argument("--shapes", nargs="*", default=SHAPES, type=sizes, metavar="B,T,H")
    parser.add_argument("--ragged", nargs="*", default=list(RAGGED), type=sizes, metavar="B,T,H,L")
    parser.add_argument("--pairs", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()  # as a training does; both sides gain
    torch.manual_seed(0)
    rows: list[Row] = []
    for shape in arguments.shapes:
        for cell in arguments.cells:
            rows += compared(cell, shape, arguments)
    rows += [ragged(case, arguments) for case in arguments.ragged]
    report(rows, arguments)


def sizes(text: str) -> tuple[int, ...]:
    """32,128,256 as numbers."""
    return tuple(int(number) for number in text.split(","))


def compared(name: str, shape: tuple[int, int, int], arguments: argparse.Namespace) -> list[Row]:
    """The ratio of one cell at one shape, and the share of the matrix product's speed."""
    B, T, H = shape
    make, reference, goal = CELLS[name]
    ours, theirs = RecurrentLayer(make(H, H)), reference(H, H, batch_first=True)
    x, gradient = torch.randn(B, T, H).requires_grad_(), torch.randn(B, T, H)
    products = large_products(B * T, H)
    sides = {
        "ours": lambda: update(ours, x, gradient),
        "theirs": lambda: update(theirs, x, gradient),
    }
    seconds = in_turns(sides | products, pairs=arguments.pairs, clock=arguments.clock)
    note = f"{ours.kernel_name()}: {milliseconds(seconds)}"

    def share(side: str, weight: Tensor) -> float:
        count = 2 * 3 * weight.numel() / (4 * H * H)  # of x and of h; forwards, twice backwards
        return count * min(ratio(seconds[product], seconds[side]) for product in products)

    return [
        Row(
            f"{name} / nn.{reference.__name__}, (B, T, H) = {shape}",
            ratio(seconds["ours"], seconds["theirs"]),
            goal,
            note=note,
        ),
        Row(
            f"{name}: share of the matrix product's speed, (B, T, H) = {shape}",
            share("ours", ours.cell.weight_hidden),
            SHARE_GOALS.get(shape),
            at_least=True,
            note=f"nn.{reference.__name__}: {share('theirs', theirs.weight_hh_l0):.2f}",
        ),
    ]


def large_products(rows: int, H: int) -> dict[str, Callable[[], object]]:
    """Products of (rows, H) by (H, 4H), by the libraries that torch may have."""
    x, weight, out = torch.randn(rows, H), torch.randn(H, 4 * H), torch.empty(rows, 4 * H)
    found: dict[str, Callable[[], object]] = {"mm": lambda: torch.mm(x, weight, out=out)}
    if torch.backends.mkldnn.is_available():
        packed = mkldnn.to_mkldnn(nn.Linear(H, 4 * H, bias=False).eval())
        blocked = x.to_mkldnn()
        found["oneDNN"] = torch.inference_mode()(lambda: packed(blocked))
    return found


def milliseconds(seconds: dict[str, list[float]]) -> str:
    """The median time of both sides."""
    ours, theirs = (1000 * statistics.median(seconds[name]) for name in ("ours", "theirs"))
    return f"{ours:.1f} ms, torch {theirs:.1f} ms"


def update(layer: nn.Module, x: Tensor, gradient: Tensor) -> None:
    """Forward and backward, to the input and all weights."""
    layer.zero_grad()
    x.grad = None
    layer(x)[0].backward(gradient)


def ragged(case: tuple[int, int, int, int], arguments: argparse.Namespace) -> Row:
    """The ratio of a bidirectional stack on padded input to nn.LSTM on packed input."""
    B, T, H, depth = case
    ours = RecurrentStack(H, cell=LSTM, hidden_size=H, depth=depth, bidirectional=True)
    theirs = nn.LSTM(H, H, num_layers=depth, bidirectional=True, batch_first=True)
    lengths = torch.randint(T // 2, T + 1, (B,))
    lengths[0] = T
    x, gradient = torch.randn(B, T, H).requires_grad_(), torch.randn(B, T, 2 * H)

    def padded() -> None:
        ours.zero_grad()
        x.grad = None
        ours(x, lengths)[0].backward(gradient)

    def packed() -> None:
        theirs.zero_grad()
        x.grad = None
        pack = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        pad_packed_sequence(theirs(pack)[0], batch_first=True)[0].backward(gradient)

    sides = {"ours": padded, "theirs": packed}
    seconds = in_turns(sides, pairs=arguments.pairs, clock=arguments.clock)
    kernel = next(iter(recurrent_layers(ours).values())).kernel_name()
    return Row(
        f"bidirectional lstm, ragged / packed nn.LSTM, (B, T, H) = {case[:3]} x {depth}",
        ratio(seconds["ours"], seconds["theirs"]),
        RAGGED.get(case),
        note=f"{kernel}: {milliseconds(seconds)}",
    )


if __name__ == "__main__":
    main()
