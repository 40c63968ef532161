"""seqpipe.testing: each broken promise of a source or a field is found, and named."""

import itertools
import re

import numpy as np
import pytest
import torch

from seqpipe.data.base import Field, FieldSpec, Source, Splits
from seqpipe.data.fields.labels import Category, Number, Tags
from seqpipe.data.fields.series import Series
from seqpipe.data.fields.symbols import Symbols
from seqpipe.data.fields.text import Text
from seqpipe.data.sources.digits import Digits
from seqpipe.data.sources.generated import Dates
from seqpipe.errors import DataError
from seqpipe.testing import check_field, check_source


class Given(Source):
    def __init__(self, train, valid=({"x": "v"},), test=({"x": "t"},), files=()):
        self.splits, self.files = Splits(train, valid, test), files

    def read(self):
        return self.splits

    def inputs(self):
        return list(self.files)


class Changing(Source):
    """Other records whenever it is read."""

    count = itertools.count()

    def read(self):
        return Splits([{"x": next(self.count)}], [{"x": "v"}], [{"x": "t"}])


class ReadsOnce(Given):
    def read(self):
        return Splits(iter(self.splits.train), self.splits.valid, self.splits.test)


class Untyped(Given):
    def read(self):
        return [], [], []


@pytest.mark.parametrize("source", [Digits(), Dates(20, 5, 5, seed=0)], ids=["Digits", "Dates"])
def test_our_own_sources_keep_their_promises(source):
    check_source(source)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (Given([]), "Given.train: holds no records"),
        (Given([DataError("bad")]), "Given.train: holds no records"),
        (Changing(), "Changing.train[0]: another record when read again"),
        (
            ReadsOnce([{"x": 1}, {"x": 2}]),
            "ReadsOnce.train: 2 records, and 0 when gone through again",
        ),
        (Untyped([]), "Untyped.read: gives tuple; allowed: seqpipe.data.base.Splits"),
        (
            Given([{"x": object()}]),
            "Given.train[0]: object: not a type that a record can hold",
        ),
        (Given([{"x": 1}, {"x": "t"}]), "Given: 1 items of train are in test too"),
        (Given([{"x": 1}], files=["nowhere.txt"]), "Given.inputs: nowhere.txt is no file"),
    ],
)
def test_a_source_that_breaks_a_promise_is_told_which(source, message):
    with pytest.raises(AssertionError, match=f"^{re.escape(message)}$"):
        check_source(source)


def test_items_are_what_is_alike_in_the_columns_of_x():
    source = Given([{"x": "v", "y": 1}], [{"x": "v", "y": 2}])
    check_source(source)
    with pytest.raises(AssertionError, match="1 items of train are in valid too"):
        check_source(source, columns=["x"])
    check_source(source, columns=["x"], disjoint=False)
    with pytest.raises(AssertionError, match="column=z: not in the record; it has x, y"):
        check_source(source, columns=["z"])


TEXTS = [{"x": "to be, or not"}, {"x": "to see"}, {"x": "be"}]


@pytest.mark.parametrize(
    ("field", "records"),
    [
        (Text("x"), TEXTS),
        (Text("x", by="words", min_count=1), TEXTS),
        (Category("x"), TEXTS),
        (Tags("x"), [{"x": ["a", "b"]}, {"x": ["b"]}]),
        (Number("x"), [{"x": 0.123456789}, {"x": 2}]),
        (Series("x", standardize=True), [{"x": np.ones((3, 2))}, {"x": np.zeros((1, 2))}]),
        (Symbols("x", size=4), [{"x": [3, 1]}, {"x": [0]}]),
        (Number("x"), [DataError("bad"), {"x": 1}]),
    ],
)
def test_our_own_fields_keep_their_promises(field, records):
    check_field(field, records)


class Length(Field):
    """The number of letters; what the tests below break, one thing at a time."""

    kind = "number"
    fitted = ("longest",)
    longest = 0

    def fit(self, records):
        self.longest = max(len(self.value(record)) for record in records)

    def encode(self, record):
        return torch.tensor([len(self.value(record)) / self.longest])

    def decode(self, values):
        return "x" * round(float(values[0]) * self.longest)

    @property
    def spec(self):
        return FieldSpec(self.kind, 1)


def test_the_field_that_is_broken_below_is_whole():
    check_field(Length("x"), TEXTS)


class Twice(Length):
    def fit(self, records):
        list(records)
        super().fit(records)


class Forgets(Length):
    fitted = ()


class Mixed(Length):
    def restore(self, state):
        self.longest = 2 * state["longest"]


class Unwritable(Length):
    def state(self):
        return {"longest": {self.longest}}


class Random(Length):
    def encode(self, record):
        return super().encode(record) + torch.rand(1)


class Silent(Length):
    def decode(self, values):
        return None


class Lossy(Length):
    def decode(self, values):
        return "x"


class Misshapen(Length):
    def encode(self, record):
        return super().encode(record)[0]


class NotANumber(Length):
    def encode(self, record):
        return torch.tensor([float("nan")])


class AList(Length):
    def encode(self, record):
        return [1.0]


class Empty(Length):
    spec = property(lambda self: FieldSpec(self.kind, 0))


class Misnamed(Length):
    spec = property(lambda self: FieldSpec(self.kind, 1, ("a", "b")))


class OfAnotherKind(Length):
    spec = property(lambda self: FieldSpec("vector", 1))


class OfNoKind(Length):
    kind = "numbers"


class Greedy(Length):
    def encode(self, record):
        encoded = super().encode(record)
        record["seen"] = True
        return encoded


class Outside(Length):
    kind = "category"

    def encode(self, record):
        return torch.tensor(len(self.value(record)))


class Fractional(Length):
    kind = "category"

    def encode(self, record):
        return torch.tensor(0.0)


class Endless(Length):
    kind = "symbols"
    spec = property(lambda self: FieldSpec(self.kind, 9))

    def encode(self, record):
        return torch.tensor([len(self.value(record)) % 9])


class Undescribed(Length):
    def describe(self, counts):
        return None


@pytest.mark.parametrize(
    ("field", "message"),
    [
        (Twice, "Twice.fit: goes through the records twice; allowed: once"),
        (
            Forgets,
            "Forgets.restore: cannot encode after it (division by zero); is all in `fitted`?",
        ),
        (
            Unwritable,
            "Unwritable.state: Object of type set is not JSON serializable; allowed: numbers, "
            "text, lists, tuples, dicts, arrays",
        ),
        (Random, "Random.encode: another result the second time"),
        (Mixed, "Mixed.restore: encodes otherwise than before; is all in `fitted`?"),
        (Silent, "Silent.decode: gives NoneType; allowed: text"),
        (Lossy, "Lossy.decode: 'x' encodes to something else"),
        (Misshapen, "Misshapen.encode: shape (); number have (1)"),
        (NotANumber, "NotANumber.encode: holds NaN or infinity"),
        (AList, "AList.encode: gives list; allowed: a tensor"),
        (Empty, "Empty.spec.size=0: must be at least 1"),
        (Misnamed, "Misnamed.spec.names: 2 of them; the size is 1"),
        (OfAnotherKind, "OfAnotherKind.spec.kind=vector: the class says number"),
        (Greedy, "Greedy: changes the records it is given"),
        (Outside, "Outside.encode: 13 is outside 0..0"),
        (Fractional, "Fractional.encode: torch.float32; category are whole numbers"),
        (Endless, "Endless.encode_target: ends in 4; allowed: <EOS>, which is 3"),
        (Undescribed, "Undescribed.describe: gives no text"),
    ],
)
def test_a_field_that_breaks_a_promise_is_told_which(field, message):
    with pytest.raises(AssertionError) as error:
        check_field(field("x"), [dict(record) for record in TEXTS])
    assert str(error.value) == message


def test_a_kind_that_does_not_exist_is_told_with_those_that_do():
    with pytest.raises(AssertionError, match=r"^OfNoKind\.kind=numbers: no such kind; allowed: "):
        check_field(OfNoKind("x"), TEXTS)


def test_what_is_left_out_on_purpose_need_not_come_back():
    check_field(Lossy("x"), TEXTS, round_trip=False)
