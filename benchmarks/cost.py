"""Measures how the cost grows with T, B, V, depth and the number of examples, as a figure.

    python benchmarks/cost.py [--figure docs/cost.png] [--repeats 5] [--clock processor]

T, B, V and depth: one update of a language model (LSTM, 128 units; T = 64, B = 32, V = 1,000 and
one layer where they do not vary), from the ids to Adam's step. Examples: preparing a table of texts
and one epoch of its batches, without a model. All points of a line take turns, and each is the
median of its times. Printed is the exponent p of cost ~ size^p between the size in the middle and
the largest one; 1 is linear, and below 1 a fixed cost still counts.
"""

import argparse
import math
import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from generated import write_texts
from measuring import Row, add_clock, in_turns, parser_of, report
from torch import Tensor

from seqpipe.allocator import keep_freed_memory
from seqpipe.data.base import FieldSpec, SequenceBatch
from seqpipe.data.dataset import SequenceData
from seqpipe.data.fields.labels import Category
from seqpipe.data.fields.text import Text
from seqpipe.data.sources.table import Table
from seqpipe.models.one_to_many import OneToMany
from seqpipe.nn.cells import LSTM
from seqpipe.nn.head import Head
from seqpipe.nn.recurrent import RecurrentStack
from seqpipe.tasks.language_modeling import LanguageModeling

LINEAR = 1.1
"""The goal for the exponent; rounding and caches leave it near 1."""
USUAL = {"T": 64, "B": 32, "V": 1_000, "depth": 1}
VARIED = {
    "T": [16, 32, 64, 128, 256, 512, 1024],
    "B": [8, 16, 32, 64, 128, 256, 512],
    "V": [250, 1_000, 4_000, 16_000, 64_000],
    "depth": [1, 2, 4, 8, 16],
}
EXAMPLES = [1_000, 2_000, 4_000, 8_000, 16_000, 32_000]
AXES = {
    "T": "T, steps",
    "B": "B, sequences",
    "V": "V, symbols",
    "depth": "layers",
    "examples": "examples",
}
Line = tuple[list[int], list[float]]
"""Sizes, and seconds at each."""


def main() -> None:
    """Prints the exponents and draws the figure."""
    parser = parser_of(__doc__)
    add_clock(parser)
    parser.add_argument("--figure", type=Path, default=Path("docs/cost.png"))
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    keep_freed_memory()  # as every training does
    panels = {name: {"one update": line_of(name, arguments)} for name in VARIED}
    panels["examples"] = lines_of_data(arguments)
    rows = []
    for name, lines in panels.items():
        for title, line in lines.items():
            times = ", ".join(f"{1000 * seconds:.3g}" for seconds in line[1])
            what = f"{title}: exponent as {AXES[name]} grow to {line[0][-1]:,}"
            rows.append(Row(what, exponent(*line), LINEAR, note=f"{times} ms"))
    report(rows, arguments)
    draw(panels, arguments.figure)


def exponent(sizes: list[int], seconds: list[float]) -> float:
    """P of cost ~ size^p over the upper half of the sizes."""
    middle = len(sizes) // 2
    return math.log(seconds[-1] / seconds[middle]) / math.log(sizes[-1] / sizes[middle])


def measured(sides: dict[int, Callable[[], object]], arguments: argparse.Namespace) -> Line:
    """The median seconds of each size, all in turns."""
    named = {str(size): side for size, side in sides.items()}
    repeats, clock = arguments.repeats, arguments.clock
    seconds = in_turns(named, pairs=repeats, clock=clock, warm_up=1)
    return list(sides), [statistics.median(times) for times in seconds.values()]


def line_of(name: str, arguments: argparse.Namespace) -> Line:
    """An update at each size of one kind, the others as usual."""
    return measured({n: update_of(**{**USUAL, name: n}) for n in VARIED[name]}, arguments)


def update_of(T: int, B: int, V: int, depth: int) -> Callable[[], object]:
    """One update of a language model: forward, loss, backward and Adam's step."""
    decoder = partial(RecurrentStack, cell=LSTM, hidden_size=128, depth=depth)
    model = OneToMany(y_size=V, decoder=decoder, head=Head, embedding_size=128)
    task = LanguageModeling(y=FieldSpec("symbols", size=V))
    optimizer = torch.optim.Adam(model.parameters())
    y, lengths = torch.randint(4, V, (B, T)), torch.full((B,), T)
    batch = SequenceBatch(None, None, y, lengths, torch.arange(B))

    def update() -> Tensor:
        optimizer.zero_grad()
        loss = task.loss(model(None, None, y, lengths), batch, training=True)
        loss.backward()
        optimizer.step()
        return loss

    return update


def lines_of_data(arguments: argparse.Namespace) -> dict[str, Line]:
    """Preparing tables of texts, and an epoch of their batches."""
    with tempfile.TemporaryDirectory() as made:
        folders = {count: Path(made) / str(count) for count in EXAMPLES}
        for count, folder in folders.items():
            folder.mkdir()
            write_texts(folder, count)
        loaders = {n: prepared(folder).loader("train") for n, folder in folders.items()}
        return {
            "preparing": measured(
                {n: partial(prepared, at) for n, at in folders.items()}, arguments
            ),
            "an epoch of batches": measured(
                {n: partial(list, loader) for n, loader in loaders.items()}, arguments
            ),
        }


def prepared(folder: Path) -> SequenceData:
    """A table that is read and encoded, without a cache."""
    files = [str(folder / f"{split}.csv") for split in ("train", "valid", "test")]
    source = Table(train=files[0], valid=files[1], test=files[2])
    return SequenceData(source, Category("label"), Text("text", by="words"), batch_size=64)


def draw(panels: dict[str, dict[str, Line]], path: Path) -> None:
    """Draws time against size, a panel for each kind of size, with a line of slope 1."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot, ticker

    pyplot.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    figure, axes = pyplot.subplots(1, len(panels), figsize=(13, 3), layout="constrained")
    for axis, (name, lines) in zip(axes, panels.items(), strict=True):
        for (title, (sizes, seconds)), marker in zip(lines.items(), "os", strict=False):
            times = [1000 * one for one in seconds]
            axis.plot(sizes, times, marker=marker, markersize=4, label=title)
            slope = [times[-1] * size / sizes[-1] for size in sizes]
            axis.plot(sizes, slope, color="0.6", linestyle="--", linewidth=1, zorder=0)
        axis.plot([], [], color="0.6", linestyle="--", linewidth=1, label="slope 1")
        axis.set(xscale="log", yscale="log", xlabel=AXES[name])
        sizes = next(iter(lines.values()))[0]
        axis.set_xticks(sizes[::2])
        axis.set_ylim(top=5 * axis.get_ylim()[1])  # the legend stands there
        axis.get_xaxis().set_major_formatter(lambda size, _: f"{size:,.0f}")
        axis.get_yaxis().set_major_locator(ticker.LogLocator(subs=(1, 3)))
        axis.get_yaxis().set_major_formatter(lambda time, _: f"{time:,.0f}")
        axis.minorticks_off()
        axis.legend(frameon=False, fontsize=8)
    axes[0].set_ylabel("milliseconds")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
