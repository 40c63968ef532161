from collections import Counter

import numpy as np
from sklearn.datasets import load_digits

from seqpipe.data.hashing import digest
from seqpipe.data.sources.digits import Digits


def test_every_image_is_in_one_split_and_no_two_are_alike():
    splits = Digits().read().by_name()
    images = [record["image"].tobytes() for records in splits.values() for record in records]
    assert len(images) == 1797
    assert len(set(images)) == 1797


def test_images_and_digits_are_those_of_scikit_learn():
    loaded = load_digits()
    digit_of = {
        (image / 16).astype(np.float32).tobytes(): digit
        for image, digit in zip(loaded.images, loaded.target, strict=True)
    }
    for record in Digits().read().valid:
        assert record["image"].shape == (8, 8)
        assert record["digit"] == digit_of[record["image"].tobytes()]


def test_every_split_has_its_share_of_each_digit():
    whole = Counter(load_digits().target.tolist())
    splits = Digits(valid=0.1, test=0.2).read()
    for digit, count in whole.items():
        assert sum(r["digit"] == digit for r in splits.valid) == round(0.1 * count)
        assert sum(r["digit"] == digit for r in splits.test) == round(0.2 * count)


def test_the_seed_makes_the_split():
    one, same, other = (Digits(seed=seed).read() for seed in (0, 0, 1))
    assert digest(one.test) == digest(same.test) != digest(other.test)
