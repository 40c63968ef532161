"""Compares `predict` with a bare forward loop over the same batches, in pairs.

    python benchmarks/predicting.py [--rows 20000] [--pairs 5] [--cell lstm] [--depth 1] ...

A bidirectional network with random weights reads generated sentences, one per line. One half of a
pair is the command, from file to file, once the model is open. The other half only runs the network
on the same batches, encoded and padded beforehand. The ratio is the network's time over that of the
command. torch has one thread; the command reads, encodes and writes in others meanwhile, so the
ratio of wall times asks for a second core, and `--clock processor` counts all threads.
"""

import random
import statistics
import tempfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from measuring import CLOCKS, Row, add_clock, parser_of, peak_memory, ratio, report

from seqpipe.commands.options import Predict
from seqpipe.commands.predict import answer_all
from seqpipe.data.dataset import SequenceData
from seqpipe.data.fields.labels import Category
from seqpipe.data.fields.text import Text
from seqpipe.data.sources.table import Table
from seqpipe.inference.model import Model
from seqpipe.inference.predictor import CHUNK
from seqpipe.inference.preprocess import MOST_ROWS, MOST_STEPS, batched
from seqpipe.models.many_to_one import ManyToOne
from seqpipe.nn.cells import GRU, LSTM, RNN
from seqpipe.nn.head import Head
from seqpipe.nn.recurrent import RecurrentStack
from seqpipe.runs.open_model import make_reader
from seqpipe.tasks.classification import Classification

WORDS = [f"word{number}" for number in range(5_000)]
CELLS = {"lstm": LSTM, "gru": GRU, "rnn": RNN}
CONFIG: dict[str, Any] = {
    "window": None,
    "eval_window": None,
    "bptt": None,
    "max_length": None,
    "source": {},
}


def main() -> None:
    """Prints the median of the ratios, the speeds and the memory."""
    parser = parser_of(__doc__)
    add_clock(parser)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--depth", type=int, default=1)
    parser.add_argument("--cell", choices=CELLS, default="lstm")
    parser.add_argument("--words", type=int, default=20, help="of a line, on average")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    now = CLOCKS[arguments.clock]
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        lines(folder / "in.txt", arguments.rows, arguments.words)
        model = model_of(folder, arguments.cell, arguments.hidden, arguments.depth)
        few, source, target = folder / "few.txt", folder / "in.txt", folder / "out.jsonl"
        lines(few, min(5_000, arguments.rows), arguments.words)
        predicted(model, few, target, now)
        before = peak_memory()
        sides: dict[str, Callable[[], float]] = {
            "predict": lambda: predicted(model, source, target, now),
            "bare": lambda: bare(model, source, now),
        }
        seconds: dict[str, list[float]] = {side: [] for side in sides}
        for pair in range(arguments.pairs):
            for side in list(sides) if pair % 2 else reversed(sides):
                seconds[side].append(sides[side]())
    rates = [arguments.rows / statistics.median(seconds[side]) for side in sides]
    layers = f"{arguments.depth} x {arguments.hidden} bidirectional {arguments.cell}"
    memory = f"{before:,.0f} MB after {min(5_000, arguments.rows):,} rows, {peak_memory():,.0f} MB"
    report(
        [
            Row(
                f"bare forward loop / predict, {layers}",
                ratio(seconds["bare"], seconds["predict"]),
                0.95,
                at_least=True,
                note=f"predict {rates[0]:,.0f} rows/s, bare {rates[1]:,.0f}; {memory} at the end",
            )
        ],
        arguments,
    )


def lines(path: Path, count: int, words: int) -> None:
    """Writes sentences of generated words."""
    rng = random.Random(0)
    with path.open("w") as opened:
        for _ in range(count):
            length = rng.randint(words // 2, words + words // 2)
            opened.write(" ".join(rng.choices(WORDS, k=length)) + "\n")


def model_of(folder: Path, cell: str, hidden: int, depth: int) -> Model:
    """A bidirectional network on words, with random weights."""
    table = folder / "train.csv"
    rows = [f"{' '.join(WORDS[i : i + 50])},{'ab'[i % 2]}" for i in range(0, len(WORDS), 25)]
    table.write_text("\n".join(["text,label", *rows]))
    x, y = Text("text", by="words", min_count=1), Category("label")
    spec = SequenceData(Table(train=str(table)), y, x).spec
    torch.manual_seed(0)

    def stack(input_size: int) -> RecurrentStack:
        return RecurrentStack(
            input_size, cell=CELLS[cell], hidden_size=hidden, depth=depth, bidirectional=True
        )

    assert spec.x is not None
    network = ManyToOne(
        x_kind=spec.x.kind, x_size=spec.x.size, output_size=2, encoder=stack, head=Head
    )
    task = Classification(y=spec.y)
    return Model({"data": CONFIG}, x, y, spec, task, network, {"longest_y": 1})


def predicted(model: Model, source: Path, target: Path, now: Callable[[], float]) -> float:
    """Seconds of the command, once the model is open: from file to file."""
    options = Predict(run="none", input=str(source), output=str(target), format="lines")
    reader = make_reader(model, (), options.format)
    started = now()
    answer_all(model, reader, options, "jsonl")
    return now() - started


def bare(model: Model, source: Path, now: Callable[[], float]) -> float:
    """Seconds of the network alone, on the same batches."""
    assert model.x is not None
    reader = make_reader(model, (), "lines")
    seconds, found = 0.0, iter(reader.read(str(source)))
    while some := list(islice(found, CHUNK)):
        inputs = model.encoder.encode_many(some)
        batches = [
            model.encoder.batch_of(inputs, places)
            for places in batched(inputs.steps, MOST_ROWS, MOST_STEPS)
        ]
        started = now()
        with torch.inference_mode():
            for batch in batches:
                model.network(batch.x, batch.x_lengths, batch.y, batch.y_lengths)
        seconds += now() - started
    return seconds


if __name__ == "__main__":
    main()
