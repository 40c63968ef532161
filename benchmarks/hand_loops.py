"""Training loops as people write them by hand, in plain torch: what ours is measured against.

    python benchmarks/hand_loops.py CASE FOLDER [--variant NAME] [--updates N]

Run by `benchmarks/training.py`, which writes the data into FOLDER. Batches are padded and bucketed,
those of the variant `random` padded only. Adam, the gradient clipped at a norm of 1, a loss that is
read every ten updates; no validation, no logging, nothing saved.
"""

import argparse
import itertools
import random
from collections.abc import Iterable
from pathlib import Path

import torch
from hand_models import MODELS, Batch
from torch import nn
from turns import Turns

WARM_UP = 5  # updates


def train(
    model: nn.Module, optimizer: torch.optim.Optimizer, batches: Iterable[Batch]
) -> list[float]:
    """The loop that is measured. Returns some losses."""
    losses = []
    for update, (x, y) in enumerate(batches):
        loss = model.loss(x, y)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if update % 10 == 0:
            losses.append(loss.item())
    return losses


def main() -> None:
    """Trains an epoch a turn."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("case", choices=MODELS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--variant", default="")
    parser.add_argument("--updates", type=int, help="of an epoch; all where not given")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rng, turns = random.Random(0), Turns()
    model = MODELS[arguments.case](arguments.folder, arguments.variant)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    train(model, optimizer, itertools.islice(model.batches(rng), WARM_UP))
    # Of an epoch; counted once, since padding is 0 in the x of every case with lengths.
    lengths = [
        int((x != 0).sum()) for x, _ in itertools.islice(model.batches(rng), arguments.updates)
    ]
    turns.report(
        tokens=sum(lengths),
        updates=len(lengths),
        parameters=sum(p.numel() for p in model.parameters()),
        threads=torch.get_num_threads(),
    )
    while True:
        turns.wait()
        begin = turns.now()
        losses = train(model, optimizer, itertools.islice(model.batches(rng), arguments.updates))
        turns.report(seconds=turns.now() - begin, loss=losses[-1])


if __name__ == "__main__":
    main()
