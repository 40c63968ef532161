"""Vocabularies and padded batches, as a training loop written by hand has them."""

import itertools
import random
from collections import Counter
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

SPECIAL = ["<PAD>", "<UNK>", "<BOS>", "<EOS>"]
BOS, EOS = 2, 3


def vocabulary(
    sentences: Iterable[list[str]], min_count: int = 1, most: int = 10_000
) -> dict[str, int]:
    """A number for each word, the most frequent first."""
    counts = Counter(itertools.chain.from_iterable(sentences))
    words = [word for word, count in counts.most_common(most - len(SPECIAL)) if count >= min_count]
    return {word: number for number, word in enumerate([*SPECIAL, *words])}


def encoded(sentences: list[list[str]], numbers: dict[str, int]) -> list[Tensor]:
    """The sentences as tensors of numbers."""
    return [torch.tensor([numbers.get(word, 1) for word in words]) for words in sentences]


def bucketed(lengths: list[int], size: int, rng: random.Random, pool: int = 50) -> list[list[int]]:
    """Batches of examples of similar length: sorted within pools, in random order."""
    order = rng.sample(range(len(lengths)), len(lengths))
    batches = []
    for start in range(0, len(order), pool * size):
        part = sorted(order[start : start + pool * size], key=lengths.__getitem__)
        batches += [part[place : place + size] for place in range(0, len(part), size)]
    rng.shuffle(batches)
    return batches


def at_random(lengths: list[int], size: int, rng: random.Random) -> list[list[int]]:
    """Batches of any examples."""
    order = rng.sample(range(len(lengths)), len(lengths))
    return [order[start : start + size] for start in range(0, len(order), size)]


def padded(columns: Sequence[list[Tensor]], chosen: list[int]) -> list[Tensor]:
    """Each column's rows of a batch, padded with 0."""
    return [pad_sequence([column[i] for i in chosen], batch_first=True) for column in columns]
