"""Generated data of the sizes of well-known sets, as files that a user could have.

Words are drawn by Zipf's law, and depend on the word before and on the label, so that there is
something to learn. `docstrings` is real text that every Python brings. Pure Python: a process that
only writes data stays small.
"""

import ast
import gzip
import itertools
import math
import random
import re
import sysconfig
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

LABELS = 5
TYPES = ["PER", "ORG", "LOC", "MISC"]
LANGUAGES = ["de", "en"]
SPLITS = {"train": 1.0, "valid": 0.0, "test": 0.0}
HELD_OUT = 64  # examples of validation and test


class Words:
    """Draws words by Zipf's law; each also has a few words that often follow it.

    Args:
        count: of the words.
        rng: the source of randomness.
    """

    def __init__(self, count: int, rng: random.Random) -> None:
        self.rng = rng
        self.names = [f"w{number}" for number in range(count)]
        self.weights = list(itertools.accumulate(1 / (rank + 10) for rank in range(count)))
        self.followers = [
            rng.choices(range(count), cum_weights=self.weights, k=4) for _ in self.names
        ]

    def sentence(self, length: int, topic: int = 0) -> list[str]:
        """Words of a text; the topic shifts every fifth word."""
        numbers = self.rng.choices(range(len(self.names)), cum_weights=self.weights, k=length)
        for place in range(1, length):
            if self.rng.random() < 0.5:
                numbers[place] = self.rng.choice(self.followers[numbers[place - 1]])
            elif self.rng.random() < 0.2:
                numbers[place] = topic + LABELS * self.rng.randrange(20)
        return [self.names[number] for number in numbers]


def log_normal(rng: random.Random, mean: float, spread: float, most: int) -> int:
    """A length, at least 1; `spread` is the deviation of its logarithm."""
    return max(1, min(most, round(rng.lognormvariate(math.log(mean) - spread**2 / 2, spread))))


def write_texts(folder: Path, count: int, *, mean: float = 34, most: int = 200) -> None:
    """Tables of a text and its label: train.csv, valid.csv and test.csv.

    Lengths are log-normal, by default 33 words on average, once the longest are cut at 200.
    """
    rng = random.Random(0)
    words = Words(8_000, rng)
    for split, share in SPLITS.items():
        with (folder / f"{split}.csv").open("w") as file:
            file.write("text,label\n")
            for _ in range(round(share * count) or HELD_OUT):
                label, length = rng.randrange(LABELS), log_normal(rng, mean, 1.0, most)
                file.write(f"{' '.join(words.sentence(length, label))},stars{label}\n")


def write_tagged(folder: Path, count: int) -> None:
    """Columns of words and their tags (BIO, four types): train.txt, valid.txt and test.txt."""
    rng = random.Random(0)
    words = Words(10_000, rng)
    for split, share in SPLITS.items():
        with (folder / f"{split}.txt").open("w") as file:
            for _ in range(round(share * count) or HELD_OUT):
                before = "O"
                for word in words.sentence(log_normal(rng, 14.5, 0.7, 113)):
                    kind = TYPES[int(word[1:]) % len(TYPES)]
                    if before != "O" and rng.random() < 0.4:
                        before = f"I-{before[2:]}"
                    else:
                        before = f"B-{kind}" if rng.random() < 0.12 else "O"
                    file.write(f"{word} {before}\n")
                file.write("\n")


def write_pairs(folder: Path, count: int, shared: Path | None) -> None:
    """Sentences in two languages, under the names of Multi30k; from it, where there is a copy.

    Those are cut into words here, so that every program that reads them sees the same ones.
    """
    rng = random.Random(0)
    of_split = {"train": "train", "val": "valid", "test_2016_flickr": "test"}
    for language in LANGUAGES:
        words = Words(8_000 if language == "de" else 6_000, rng)
        for name, split in of_split.items():
            number = round(SPLITS[split] * count) or HELD_OUT
            if shared is None:
                lengths = [log_normal(random.Random(i), 12.5, 0.35, 40) for i in range(number)]
                lines = [" ".join(words.sentence(length)) for length in lengths]
            else:
                with gzip.open(next(shared.rglob(f"{name}.{language}.gz")), "rt") as file:
                    lines = [" ".join(_tokens(line)) for line in itertools.islice(file, number)]
            with gzip.open(folder / f"{name}.{language}.gz", "wt") as file:
                file.writelines(line + "\n" for line in lines)


def _tokens(sentence: str) -> list[str]:
    """Words and signs, in small letters."""
    return re.findall(r"\w+|[^\w\s]", sentence.lower())


def docstrings() -> Iterator[str]:
    """The docstrings of the standard library, about two million characters."""
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("**/*.py")):
        if not {"site-packages", "test", "tests", "lib2to3"} & set(path.parts):
            tree = ast.parse(path.read_bytes())
            for node in ast.walk(tree):
                if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                    yield ast.get_docstring(node) or ""


def write_words(folder: Path, count: int, vocabulary: int = 10_000) -> None:
    """Docstrings as words, rare ones <unk>, under the names of the Penn Treebank.

    The training text has about `count` words, every word of the vocabulary among them.
    """
    text = (
        re.findall(r"[A-Za-z]+|[^\sA-Za-z]", line) for line in "\n".join(docstrings()).split("\n")
    )
    sentences = [words for words in text if words]
    counts = Counter(itertools.chain.from_iterable(sentences))
    known = {word for word, _ in counts.most_common(vocabulary - 2)}  # with <unk> and <eos>
    random.Random(0).shuffle(sentences)
    rest = iter(sentences)
    for name, most in {"valid": 2_000, "test": 20_000, "train": count}.items():
        lines, seen, written = [], set(), 0
        while written < most and (words := next(rest, None)) is not None:
            lines.append([word if word in known else "<unk>" for word in words])
            seen.update(words)
            written += len(words) + 1
        if name == "train":
            lines.append(sorted(known - seen))
        (folder / f"ptb.{name}.txt").write_text("".join(f" {' '.join(line)} \n" for line in lines))


def write_characters(folder: Path, count: int) -> None:
    """About `count` characters of docstrings to train on, as input.txt."""
    whole, text = round(count / 0.8), ""
    for each in docstrings():
        text += "".join(c if c.isascii() else "?" for c in each) + "\n"
        if len(text) >= whole:
            break
    (folder / "input.txt").write_text(text[:whole])
