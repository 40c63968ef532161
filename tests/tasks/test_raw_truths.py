"""Answers that are texts are compared with the raw text, not with what the ids of it spell."""

import pytest
import torch

from seqpipe.data.base import PlacedRecord, Source, Splits
from seqpipe.data.dataset import SequenceData
from seqpipe.data.fields.text import Text
from seqpipe.data.vocabulary import BOS, EOS, UNK
from seqpipe.tasks.transcription import Transcription
from seqpipe.tasks.transduction import Transduction

KNOWN = ["Ja, das ist gut.", "Nein, das ist es nicht!", "Es ist (fast) gut.", "gut-so, ja"]


class Given(Source):
    """Lists of texts: each is x and y."""

    def __init__(self, train, test):
        self.texts = {"train": train, "valid": train, "test": test}

    def read(self):
        found = {
            split: [PlacedRecord({"x": "a b c", "y": text}) for text in texts]
            for split, texts in self.texts.items()
        }
        return Splits(**found)


def data_of(train, test, **options):
    return SequenceData(Given(train, test), Text("y", **options), Text("x"))


def measured(data, task, predictions):
    """Metrics of the test split; predictions: ids of each of its examples, without <EOS>."""
    batch = data.batch("test", range(data.sizes["test"]))
    longest = max(map(len, predictions)) + 1
    ids = torch.full((len(predictions), longest), EOS)
    for row, one in enumerate(predictions):
        ids[row, : len(one)] = torch.tensor(one)
    lengths = torch.tensor([len(one) for one in predictions])
    metrics = task.metrics("test")
    metrics.update(*task.pairs((ids, lengths), batch))
    computed = metrics.compute()
    return {name: computed[name].item() for name in ("exact_match", "error_rate")}


def written(data):
    """The true ids of the test split, as a perfect model would write them."""
    return [example.y.tolist()[:-1] for example in data.examples("test")]


def tasks_of(data):
    return [Transduction(y=data.spec.y, longest_y=60), Transcription(y=data.spec.y)]


WAYS = ["characters", "graphemes", "words", "tokens", "bytes", "subwords"]


@pytest.mark.parametrize("by", WAYS)
def test_the_true_ids_of_known_texts_are_right(by):
    options = {} if by == "bytes" else {"min_count": 1}
    data = data_of(KNOWN, KNOWN, by=by, **options)
    for task in tasks_of(data):
        assert measured(data, task, written(data)) == {"exact_match": 1, "error_rate": 0}


@pytest.mark.parametrize(
    ("by", "test", "exact", "errors"),
    [
        # Wolf, and its letters W and l, are in no training text.
        ("words", ["gut-so, Wolf", "gut-so, ja"], 1 / 2, 1 / 10),
        ("tokens", ["gut. Wolf", "nicht! ja"], 1 / 2, 1 / 4),
        ("characters", ["gut, Wolf", "gut, ja"], 1 / 2, 2 / 16),
        # Nothing is unknown, but the blanks of the text are not those of training.
        ("words", ["gut - so , ja", "gut-so,   ja"], 1 / 2, 0),
    ],
)
def test_what_the_true_ids_do_not_spell_is_not_right(by, test, exact, errors):
    data = data_of(KNOWN, test, by=by, min_count=1)
    for task in tasks_of(data):
        values = measured(data, task, written(data))
        assert values == pytest.approx({"exact_match": exact, "error_rate": errors}, abs=1e-6)


def test_the_declared_normalisation_is_no_error():
    """Small letters, Unicode's form C, and any white space where white space is dropped."""
    test = ["JA, das ist\u00a0gut.", "sch\N{LATIN SMALL LETTER O WITH DIAERESIS}n", "a\tb"]
    train = ["ja, das ist gut.", "scho\N{COMBINING DIAERESIS}n", "a b"]
    data = data_of(train, test, by="words", min_count=1, lowercase=True)
    for task in tasks_of(data):
        assert measured(data, task, written(data)) == {"exact_match": 1, "error_rate": 0}


@pytest.mark.parametrize("by", ["words", "tokens", "characters"])
def test_the_symbol_of_the_texts_themselves_is_right_only_where_they_hold_it(by):
    """Both tests are the same ids; only in the first the text itself has the symbol."""
    train = ["a <unk> b", "b <unk> a"] * 3
    data = data_of(train, ["a <unk> b", "a Z b"], by=by, min_count=1, unknown="<unk>")
    ids = written(data)
    assert ids[0] == ids[1]
    for task in tasks_of(data):
        values = measured(data, task, ids)
        assert values == pytest.approx({"exact_match": 1 / 2, "error_rate": 1 / 2 / len(ids[0])})


def test_a_special_symbol_that_a_text_spells_is_not_ours():
    """Training knows the words <UNK> and <BOS>; writing ours for them is an error."""
    train = ["a <UNK> b <BOS>", "<BOS> b <UNK> a"] * 3
    data = data_of(train, ["a <UNK> b", "a <BOS>"], by="tokens", min_count=1)
    right = written(data)
    ours = [
        [UNK if id_ == data.y.way.names.index("<UNK>", 4) else id_ for id_ in right[0]],
        [BOS if id_ == data.y.way.names.index("<BOS>", 4) else id_ for id_ in right[1]],
    ]
    for task in tasks_of(data):
        assert measured(data, task, right)["exact_match"] == 1
        assert measured(data, task, ours)["exact_match"] == 0


def test_subwords_that_spell_the_raw_text_are_right():
    data = data_of(KNOWN * 3, ["gut"], by="subwords", max_vocabulary=270)
    letters = [data.y.way.names.index(letter, 4) for letter in "gut"]
    assert letters != written(data)[0]
    for task in tasks_of(data):
        assert measured(data, task, [letters]) == {"exact_match": 1, "error_rate": 0}
