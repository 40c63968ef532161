"""Models as people write them in plain torch, each with its data, its batches and its loss."""

import csv
import gzip
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from hand_batches import BOS, EOS, at_random, bucketed, encoded, padded, vocabulary
from torch import Tensor, nn

Batch = tuple[Tensor, ...]


class Texts(nn.Module):
    """A text -> its label: a bidirectional LSTM of two layers, the maximum over time."""

    def __init__(self, folder: Path, variant: str) -> None:
        super().__init__()
        with (folder / "train.csv").open() as file:
            rows = list(csv.DictReader(file))
        sentences = [row["text"].split() for row in rows]
        numbers, labels = vocabulary(sentences, min_count=2), sorted({row["label"] for row in rows})
        self.x = encoded(sentences, numbers)
        self.y = torch.tensor([labels.index(row["label"]) for row in rows])
        self.lengths = [len(x) for x in self.x]
        self.chosen = at_random if variant == "random" else bucketed
        self.embedding = nn.Embedding(len(numbers), 128, padding_idx=0)
        self.lstm = nn.LSTM(128, 128, num_layers=2, bidirectional=True, batch_first=True)
        self.output = nn.Linear(256, len(labels))

    def batches(self, rng: random.Random) -> Iterator[Batch]:
        """Batches of 64 texts and their labels."""
        for chosen in self.chosen(self.lengths, 64, rng):
            yield padded((self.x,), chosen)[0], self.y[chosen]

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Nats per text."""
        outputs, _ = self.lstm(self.embedding(x))
        pooled = outputs.masked_fill((x == 0).unsqueeze(2), -torch.inf).amax(dim=1)
        return F.cross_entropy(self.output(pooled), y)


class LanguageModel(nn.Module):
    """The next symbol of a long text in lanes, whose state is carried from batch to batch."""

    def __init__(self, symbols: list[str], *, B: int, T: int, D: int, H: int, depth: int) -> None:
        super().__init__()
        numbers = vocabulary([symbols])
        ids = encoded([symbols], numbers)[0]
        self.lanes, self.T, self.state = ids[: len(ids) // B * B].view(B, -1), T, None
        self.embedding = nn.Embedding(len(numbers), min(D, len(numbers)))
        self.lstm = nn.LSTM(min(D, len(numbers)), H, num_layers=depth, batch_first=True)
        self.output = nn.Linear(H, len(numbers))

    def batches(self, rng: random.Random) -> Iterator[Batch]:
        """Batches that continue each other; in the order of the text."""
        self.state = None
        for start in range(0, self.lanes.shape[1] - 1, self.T):
            y = self.lanes[:, start + 1 : start + 1 + self.T]
            yield self.lanes[:, start : start + y.shape[1]], y

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Nats per symbol."""
        outputs, (h, c) = self.lstm(self.embedding(x), self.state)
        self.state = h.detach(), c.detach()
        return F.cross_entropy(self.output(outputs).flatten(0, 1), y.flatten())


def words(folder: Path, variant: str) -> LanguageModel:
    """A word language model of the size of Penn Treebank's."""
    lines = (folder / "ptb.train.txt").read_text().splitlines()
    symbols = [word for line in lines for word in [*line.split(), "<eos>"]]
    return LanguageModel(symbols, B=20, T=35, D=200, H=200, depth=2)


def characters(folder: Path, variant: str) -> LanguageModel:
    """A character language model with one layer of 512."""
    text = (folder / "input.txt").read_text()
    return LanguageModel(list(text[: len(text) * 8 // 10]), B=64, T=128, D=128, H=512, depth=1)


class Translation(nn.Module):
    """An encoder, and a decoder with additive attention over the encoder's outputs.

    The variant `steps` runs the decoder, its attention and its read-out step by step; `whole` runs
    the LSTM over all of y at once, and then the attention, which takes care, and memory.
    """

    def __init__(self, folder: Path, variant: str) -> None:
        super().__init__()
        sides = []
        for language in ("de", "en"):
            with gzip.open(folder / f"train.{language}.gz", "rt") as file:
                sides.append([line.lower().split() for line in file])
        sources, targets = sides
        of_x, of_y = vocabulary(sources), vocabulary(targets)
        self.x, self.whole = encoded(sources, of_x), variant == "whole"
        self.y = [F.pad(y, (0, 1), value=EOS) for y in encoded(targets, of_y)]
        self.lengths = [len(x) + len(y) for x, y in zip(self.x, self.y, strict=True)]
        H = 256
        self.source, self.target = nn.Embedding(len(of_x), 128), nn.Embedding(len(of_y), 128)
        self.encoder = nn.LSTM(128, H, batch_first=True)
        self.decoder = nn.LSTM(128, H, batch_first=True) if self.whole else nn.LSTMCell(128, H)
        self.start = nn.Linear(2 * H, 2 * H)
        self.of_query, self.of_key = nn.Linear(H, H, bias=False), nn.Linear(H, H)
        self.score = nn.Linear(H, 1, bias=False)
        self.combine, self.output = nn.Linear(2 * H, H), nn.Linear(H, len(of_y))

    def batches(self, rng: random.Random) -> Iterator[Batch]:
        """Batches of 64 pairs."""
        for chosen in bucketed(self.lengths, 64, rng):
            yield tuple(padded((self.x, self.y), chosen))

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Nats per symbol of y, each step reading the true one before."""
        memory, (h, c) = self.encoder(self.source(x))
        h, c = torch.tanh(self.start(torch.cat([h[0], c[0]], dim=1))).chunk(2, dim=1)
        embedded = self.target(F.pad(y[:, :-1], (1, 0), value=BOS))
        keys, padding = self.of_key(memory), x == 0
        if self.whole:
            outputs, _ = self.decoder(
                embedded, (h.unsqueeze(0).contiguous(), c.unsqueeze(0).contiguous())
            )
            logits = self.read_out(outputs, memory, keys, padding)
        else:
            steps = []
            for embedded_t in embedded.unbind(1):
                h, c = self.decoder(embedded_t, (h, c))
                steps.append(self.read_out(h.unsqueeze(1), memory, keys, padding))
            logits = torch.cat(steps, dim=1)
        return F.cross_entropy(logits.flatten(0, 1), y.flatten(), ignore_index=0)

    def read_out(self, outputs: Tensor, memory: Tensor, keys: Tensor, padding: Tensor) -> Tensor:
        """Logits from the decoder's outputs, (B, T, H), and what attention finds for them."""
        mixed = torch.tanh(self.of_query(outputs).unsqueeze(2) + keys.unsqueeze(1))
        scores = self.score(mixed).squeeze(-1).masked_fill(padding.unsqueeze(1), -torch.inf)
        context = scores.softmax(dim=-1) @ memory
        return self.output(torch.tanh(self.combine(torch.cat([context, outputs], dim=-1))))


class Tagger(nn.Module):
    """A tag for each word: a bidirectional LSTM and a linear-chain CRF."""

    def __init__(self, folder: Path, variant: str) -> None:
        super().__init__()
        blocks = (folder / "train.txt").read_text().strip().split("\n\n")
        pairs = [[line.split() for line in block.split("\n")] for block in blocks]
        sentences = [[word for word, _ in lines] for lines in pairs]
        numbers = vocabulary(sentences)
        names = sorted({tag for lines in pairs for _, tag in lines})
        self.x = encoded(sentences, numbers)
        self.y = [torch.tensor([names.index(tag) for _, tag in lines]) for lines in pairs]
        self.lengths = [len(x) for x in self.x]
        K = len(names)
        self.embedding = nn.Embedding(len(numbers), 128, padding_idx=0)
        self.lstm = nn.LSTM(128, 128, bidirectional=True, batch_first=True)
        self.output = nn.Linear(256, K)
        self.follow = nn.Parameter(torch.zeros(K, K))
        self.first, self.last = nn.Parameter(torch.zeros(K)), nn.Parameter(torch.zeros(K))

    def batches(self, rng: random.Random) -> Iterator[Batch]:
        """Batches of 32 sentences."""
        for chosen in bucketed(self.lengths, 32, rng):
            yield tuple(padded((self.x, self.y), chosen))

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """-log p(y | x) in nats per word: the forward algorithm, over batch and tags at once."""
        scores = self.output(self.lstm(self.embedding(x))[0])  # (B, T, K)
        real = x != 0
        rows, ends = torch.arange(len(x)), real.sum(dim=1) - 1
        chosen = scores.gather(2, y.unsqueeze(2)).squeeze(2)
        chosen = chosen + F.pad(self.follow[y[:, :-1], y[:, 1:]], (1, 0))
        path = (chosen * real).sum(dim=1) + self.first[y[:, 0]] + self.last[y[rows, ends]]
        forward = self.first + scores[:, 0]
        for t in range(1, x.shape[1]):
            after = (forward.unsqueeze(2) + self.follow).logsumexp(dim=1) + scores[:, t]
            forward = torch.where(real[:, t : t + 1], after, forward)
        return ((forward + self.last).logsumexp(dim=1) - path).sum() / real.sum()


MODELS: dict[str, Callable[[Path, str], nn.Module]] = {
    "texts": Texts,
    "words": words,
    "characters": characters,
    "translation": Translation,
    "tagger": Tagger,
}
"""A model of a case; called with the folder of its data and the variant."""
