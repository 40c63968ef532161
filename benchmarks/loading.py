"""Measures the cost of loading: the share of a training step that is spent on making the batch.

    python benchmarks/loading.py

A 2 x 128 bidirectional LSTM classifies texts of 5 to 60 words, batch 64, read from a mapped cache.
Making a batch and taking a step alternate, so that other load on the machine affects both. The
share must be under 10 %.
"""

import argparse
import random
import statistics
import tempfile
import time
from pathlib import Path

import torch

from seqpipe.build import build_data, build_model, build_module, build_task
from seqpipe.config.compose import compose

WORDS, TEXTS = 5_000, 20_000


def write_texts(file: Path) -> None:
    """Lines `label text`, words drawn as in a language: few often, many seldom."""
    rng = random.Random(0)
    words = [f"w{n}" for n in range(WORDS)]
    weights = [1 / (n + 1) for n in range(WORDS)]
    with file.open("w") as opened:
        for _ in range(TEXTS):
            text = " ".join(rng.choices(words, weights, k=rng.randint(5, 60)))
            opened.write(f"{rng.randint(0, 1)} {text}\n")


def main() -> None:
    """Runs the pairs and prints the share."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=200)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "texts.txt"
        write_texts(file)
        typed = ["data=labelled_lines", f"data.path={file}", f"data.cache={name}/cache"]
        cfg, _ = compose([*typed, "depth=2", "bidirectional=true", "data.batch_size=64"])
        build_data(cfg)
        data = build_data(cfg)  # mapped, as every run but the first one finds it
        module = build_module(cfg, build_model(cfg, data.spec), build_task(cfg, data))
        optimizer = torch.optim.Adam(module.parameters())
        loading, training = [], []
        batches = iter(data.loader("train"))
        for _ in range(arguments.steps):
            begin = time.process_time()
            batch = next(batches)
            middle = time.process_time()
            optimizer.zero_grad()
            outputs = module(batch)
            module.task.loss(outputs, batch, training=True).backward()
            optimizer.step()
            loading.append(middle - begin)
            training.append(time.process_time() - middle)
    made, taken = statistics.median(loading), statistics.median(training)
    whole = sum(loading[1:]) / sum(training[1:])
    print(f"a batch {1e3 * made:.2f} ms, a step {1e3 * taken:.1f} ms: {made / taken:.2%}")
    print(f"all batches but the first, which orders the epoch, by all steps: {whole:.2%}")


if __name__ == "__main__":
    main()
