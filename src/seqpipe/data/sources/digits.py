"""scikit-learn's handwritten digits."""

import random
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np

from seqpipe.data.base import Record, Source, Splits
from seqpipe.data.folds import Fold
from seqpipe.data.sources.argument_checks import Share, check_arguments, share_faults
from seqpipe.data.sources.splitting import split_shares


@dataclass
class Digits(Source):
    """1,797 images of 8 x 8 pixels in [0, 1] (no two alike), each of a digit 0..9.

    Records: `image` (8, 8) float32, a row a time step; `digit` int.

    Args:
        valid: share of the images of each digit to validate on.
        test: share of the images of each digit to test on.
        seed: of the split.

    Source: scikit-learn's `load_digits`, the test part of Alpaydin & Kaynak (1998), "Optical
    Recognition of Handwritten Digits", UCI; comes with scikit-learn.
    """

    together = staticmethod(share_faults)

    valid: Share = 0.1
    test: Share = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        check_arguments(self)
        self._fold: Fold | None = None

    def choose_fold(self, fold: Fold) -> None:
        """See `Source`."""
        self._fold = fold

    def count_folds(self) -> int:
        """See `Source`."""
        assert self._fold is not None, "chosen before"
        return self._fold.count(len(_images()), valid=self.valid)

    def read(self) -> Splits:
        """Split with the same share of every digit."""
        every = _images()
        if self._fold is not None:
            how: dict[str, Any] = {"order": "random", "seed": self.seed, "fold": self._fold}
            shares = {"valid": self.valid, "test": self.test}
            return split_shares({"train": every}, shares, group=(), stratify="digit", **how)[0]
        of_digit: dict[int, list[int]] = defaultdict(list)
        for place, record in enumerate(every):
            of_digit[record["digit"]].append(place)
        rng = random.Random(self.seed)
        parts: dict[str, list[int]] = {"valid": [], "test": [], "train": []}
        for places in of_digit.values():
            rng.shuffle(places)
            n_valid, n_test = round(self.valid * len(places)), round(self.test * len(places))
            parts["valid"] += places[:n_valid]
            parts["test"] += places[n_valid : n_valid + n_test]
            parts["train"] += places[n_valid + n_test :]

        return Splits(**{split: [every[i] for i in sorted(of)] for split, of in parts.items()})


def _images() -> list[Record]:
    """All images, in the order of scikit-learn."""
    from sklearn.datasets import load_digits  # takes a second to import

    loaded = load_digits()
    images = (loaded.images / 16).astype(np.float32)
    return [
        {"image": image, "digit": int(n)} for image, n in zip(images, loaded.target, strict=True)
    ]
