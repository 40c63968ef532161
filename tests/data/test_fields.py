import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from seqpipe.data.base import FieldSpec
from seqpipe.data.fields.labels import Category, Number, Ordinal, Tags
from seqpipe.data.fields.series import Series, Vector
from seqpipe.data.fields.symbols import Symbols
from seqpipe.errors import ConfigError, DataError


def fitted(field, *values):
    field.fit([{field.column: value} for value in values])
    return field


def test_classes_are_sorted_numbers_by_their_value():
    assert fitted(Category("y"), 10, 9, 2, 9).spec == FieldSpec("category", 3, ("2", "9", "10"))
    assert fitted(Category("y"), "b", "a", "10").spec.names == ("10", "a", "b")
    assert fitted(Category("y"), "10", "9").spec.names == ("9", "10")


def test_tags_are_one_class_a_step():
    field = fitted(Tags("y"), ["b", "a"], ["c"])
    assert field.spec == FieldSpec("tags", 3, ("a", "b", "c"))
    assert field.encode({"y": ["c", "a", "c"]}).tolist() == [2, 0, 2]
    assert field.decode([2, 0, 2]) == "c a c"


def test_a_number_is_a_row_of_one():
    field = fitted(Number("y"), 1.5, 2)
    assert field.spec == FieldSpec("number", 1)
    assert field.encode({"y": 2}).tolist() == [2.0]
    assert field.encode({"y": 2}).dtype == torch.float32
    assert field.decode(torch.tensor([0.123456])) == "0.1235"


def test_several_numbers_are_a_row_of_their_own_width():
    field = fitted(Number("y"), [1, 2])
    assert field.encode({"y": np.array([3, 4])}).tolist() == [3.0, 4.0]


def test_a_series_has_steps_and_a_vector_has_none():
    image = np.arange(6).reshape(3, 2)
    series, vector = fitted(Series("x"), image), fitted(Vector("x"), image)
    assert series.spec == FieldSpec("values", 2)
    assert vector.spec == FieldSpec("vector", 6)
    assert series.encode({"x": image}).tolist() == [[0, 1], [2, 3], [4, 5]]
    assert vector.encode({"x": image}).tolist() == [0, 1, 2, 3, 4, 5]
    assert series.encode({"x": image}).dtype == vector.encode({"x": image}).dtype == torch.float32
    assert series.decode(series.encode({"x": image})) == "0 1\n2 3\n4 5"


def test_one_number_a_step_may_be_a_flat_list():
    assert fitted(Series("x"), [1, 2]).encode({"x": [3, 4, 5]}).tolist() == [[3], [4], [5]]


def test_encoding_copies_so_that_the_record_stays_as_it_was():
    image = np.ones((2, 2), dtype=np.float32)
    fitted(Series("x"), image).encode({"x": image}).zero_()
    assert image.sum() == 4


def test_symbols_are_taken_as_they_stand():
    field = fitted(Symbols("x", size=4), [0])
    assert field.spec == FieldSpec("symbols", 4, ("0", "1", "2", "3"))
    assert field.encode({"x": [3, 0]}).tolist() == [3, 0]
    assert field.decode([3, 0]) == "3 0"


def test_symbols_cannot_be_answered_since_nothing_ends_them():
    with pytest.raises(
        ConfigError, match=r"data\.y=Symbols: has no end of sequence; allowed: Tags"
    ):
        Symbols("y", size=4).encode_target({"y": [1]})


def test_a_missing_column_names_the_ones_there_are():
    with pytest.raises(DataError) as error:
        Series("imag").fit([{"image": [1], "digit": 3}])
    assert str(error.value) == (
        "column=imag: not in the record; it has image, digit; did you mean 'image'?"
    )


def test_standardized_numbers_have_mean_0_and_deviation_1_over_the_training_split_alone():
    train = [{"s": [[1.0, 5.0], [3.0, 5.0]]}, {"s": [[8.0, 5.0]]}]
    field = Series("s", standardize=True)
    field.fit(train)
    encoded = torch.cat([field.encode(record) for record in train])
    assert_close(encoded.mean(dim=0), torch.zeros(2))
    assert_close(encoded.std(dim=0, correction=0), torch.tensor([1.0, 0.0]))  # 5.0 never changes
    deviation = ((9 + 1 + 16) / 3) ** 0.5
    assert_close(field.encode({"s": [[4.0, 6.0]]}), torch.tensor([[0.0, 1.0]]))
    assert_close(field.encode({"s": [[4.0 + deviation, 5.0]]}), torch.tensor([[1.0, 0.0]]))
    assert field.decode(field.encode(train[0])) == "1 5\n3 5"


NUMBERS = st.floats(-1000, 1000, width=32)


def numbers_of(text):
    return [[float(number) for number in line.split()] for line in text.split("\n")]


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=9), st.booleans())
def test_a_series_comes_back_to_three_digits(steps, standardize):
    field = fitted(Series("x", standardize=standardize), steps)
    back = np.array(numbers_of(field.decode(field.encode({"x": steps}))))
    # Three digits of each, and of what standardising in float32 leaves of the largest.
    allowed = np.abs(steps) * 6e-3 + 1e-6 * (1 + np.abs(steps).max())
    assert (np.abs(back - steps) <= allowed).all()


def test_standardized_targets_tell_a_task_their_mean_and_scale():
    field = fitted(Number("y", standardize=True), [1, 10], [3, 10])
    assert field.spec == FieldSpec("number", 2, mean=(2.0, 10.0), scale=(1.0, 1.0))
    assert field.encode({"y": [3, 12]}).tolist() == [1, 2]
    assert field.decode(torch.tensor([1.0, 2.0])) == "3 12"
    assert field.state() == {"size": 2, "mean": field.mean, "scale": field.scale}
    series = fitted(Series("y", standardize=True), [[1.0], [3.0]])
    assert series.spec == FieldSpec("values", 1, mean=(2.0,), scale=(1.0,))


@given(st.lists(st.lists(NUMBERS, min_size=2, max_size=2), min_size=1, max_size=6), st.booleans())
def test_numbers_come_back_to_four_digits(rows, standardize):
    field = fitted(Number("y", standardize=standardize), *rows)
    for row in rows:
        back = np.array(numbers_of(field.decode(field.encode({"y": row})))[0])
        allowed = np.abs(row) * 6e-4 + 1e-6 * (1 + np.abs(rows).max())
        assert (np.abs(back - row) <= allowed).all()


def test_ordered_classes_are_numbers_by_their_value_or_as_given():
    stars = fitted(Ordinal("y"), 5, "1", 10, 1)
    assert stars.spec == FieldSpec("ordinal", 3, ("1", "5", "10"))
    assert stars.encode({"y": 10}).item() == 2
    assert stars.describe({}) == "3 ordered classes (1, 5, 10)"
    words = fitted(Ordinal("y", order=["bad", "ok", "good"]), "ok")
    assert words.spec.names == ("bad", "ok", "good")
    again = Ordinal("y")
    again.restore(words.state())
    assert again.encode({"y": "good"}).item() == 2


@given(st.permutations(["a", "b", "c", "7"]))
def test_an_ordered_class_comes_back_by_name(order):
    field = fitted(Ordinal("y", order=list(order)))
    assert [field.decode(field.encode({"y": name})) for name in order] == list(order)
    assert [field.encode({"y": name}).item() for name in order] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            ["good", "bad"],
            "column=y: classes that are not numbers have no order of their own; "
            "allowed: order=[...] of bad, good",
        ),
        (
            [3, 3],
            "column=y: the only class is 3; allowed: two classes or more in the training split",
        ),
    ],
)
def test_classes_without_an_order_are_refused(values, message):
    with pytest.raises(DataError) as error:
        fitted(Ordinal("y"), *values)
    assert str(error.value) == message
