"""Compares `predict` with a bare forward loop over the same batches, in pairs.

    python benchmarks/predicting.py [--rows 100000] [--pairs 3] [--cell lstm] [--depth 3] ...

A bidirectional network with random weights reads generated sentences, one per line. One half of a
pair is the command, from file to file, once the model is open. The other half only runs the network
on the same batches, encoded and padded beforehand. Prints the rows per second of both, their ratio,
and the peak memory of this process before the first and after the last pair.
"""

import argparse
import random
import resource
import statistics
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

import torch

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
    """Prints the ratio of each pair, their median, and the memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--depth", type=int, default=3)
    parser.add_argument("--cell", choices=CELLS, default="lstm")
    parser.add_argument("--words", type=int, default=20, help="of a line, on average")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        lines(folder / "in.txt", arguments.rows, arguments.words)
        model = model_of(folder, arguments.cell, arguments.hidden, arguments.depth)
        few = folder / "few.txt"
        lines(few, min(5_000, arguments.rows), arguments.words)
        predicted(model, few, folder / "few.jsonl")
        before = memory()
        ratios = []
        for pair in range(arguments.pairs):
            seconds = {}
            for one in ("predict", "bare") if pair % 2 else ("bare", "predict"):
                if one == "bare":
                    seconds[one] = bare(model, folder / "in.txt", arguments.rows)
                else:
                    seconds[one] = predicted(model, folder / "in.txt", folder / "out.jsonl")
            ratios.append(seconds["bare"] / seconds["predict"])
            rates = {name: arguments.rows / value for name, value in seconds.items()}
            print(
                f"predict {rates['predict']:,.0f} rows/s, bare {rates['bare']:,.0f} rows/s, "
                f"ratio {ratios[-1]:.3f}",
                flush=True,
            )
        print(f"median ratio {statistics.median(ratios):.3f}")
        print(f"peak memory: {before:,.0f} MB after 5,000 rows, {memory():,.0f} MB at the end")


def memory() -> float:
    """Most megabytes that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


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


def predicted(model: Model, source: Path, target: Path) -> float:
    """Seconds of the command, once the model is open: from file to file."""
    options = Predict(run="none", input=str(source), output=str(target), format="lines")
    reader = make_reader(model, (), options.format)
    started = time.perf_counter()
    answer_all(model, reader, options, "jsonl")
    return time.perf_counter() - started


def bare(model: Model, source: Path, rows: int) -> float:
    """Seconds of the network alone, on the same batches."""
    assert model.x is not None
    reader = make_reader(model, (), "lines")
    seconds, found = 0.0, iter(reader.read(str(source)))
    while some := list(islice(found, CHUNK)):
        pieces: list[Any] = []
        for row, one in enumerate(some):
            pieces += model.encoder.pieces(row, one, labelled=False)  # type: ignore[arg-type]
        batches = [
            model.encoder.batch([pieces[place] for place in chosen])
            for chosen in batched(pieces, MOST_ROWS, MOST_STEPS)
        ]
        started = time.perf_counter()
        with torch.inference_mode():
            for batch in batches:
                model.network(batch.x, batch.x_lengths, batch.y, batch.y_lengths)
        seconds += time.perf_counter() - started
    return seconds


if __name__ == "__main__":
    main()
