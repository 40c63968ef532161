import numpy as np
import pytest
import torch
from torch.testing import assert_close

from seqpipe.data.base import FieldSpec
from seqpipe.data.fields.labels import Category, Number, Tags
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


def test_a_class_comes_back_by_name():
    field = fitted(Category("y"), "cat", "dog")
    assert field.encode({"y": "dog"}).item() == 1
    assert field.decode(torch.tensor(1)) == "dog"
    assert field.decode(field.encode({"y": "cat"})) == "cat"


def test_a_class_that_training_never_showed_is_refused():
    field = fitted(Category("y"), "cat", "dog")
    with pytest.raises(DataError) as error:
        field.encode({"y": "dogs"})
    assert str(error.value) == (
        "y='dogs': not a class of the training split; it has cat, dog; did you mean 'dog'?"
    )


def test_tags_are_one_class_a_step():
    field = fitted(Tags("y"), ["b", "a"], ["c"])
    assert field.spec == FieldSpec("tags", 3, ("a", "b", "c"))
    assert field.encode({"y": ["c", "a", "c"]}).tolist() == [2, 0, 2]
    assert field.decode([2, 0, 2]) == "c a c"
    with pytest.raises(DataError, match="y='d': not a class of the training split; it has a, b, c"):
        field.encode({"y": ["a", "d"]})


def test_a_number_is_a_row_of_one():
    field = fitted(Number("y"), 1.5, 2)
    assert field.spec == FieldSpec("number", 1)
    assert field.encode({"y": 2}).tolist() == [2.0]
    assert field.encode({"y": 2}).dtype == torch.float32
    assert field.decode(torch.tensor([0.123456])) == "0.1235"


def test_several_numbers_are_a_row_of_their_own_width():
    field = fitted(Number("y"), [1, 2])
    assert field.encode({"y": np.array([3, 4])}).tolist() == [3.0, 4.0]
    with pytest.raises(DataError) as error:
        field.encode({"y": [1]})
    assert str(error.value) == "y=[1]: holds 1 numbers; the training split starts with 2"


@pytest.mark.parametrize(
    ("value", "message"),
    [("x", "y='x': not a number, nor a list of numbers"), (float("nan"), "y=nan: not finite")],
)
def test_what_is_no_number_is_refused(value, message):
    with pytest.raises(DataError) as error:
        fitted(Number("y"), 1.0).encode({"y": value})
    assert str(error.value) == message


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


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([[1, 2, 3]], "x=[[1, 2, 3]]: is 3 wide; the training split starts with 2"),
        ([[1, float("inf")]], "x=[[1, inf]]: holds NaN or infinity"),
        ([["a", "b"]], "x=[['a', 'b']]: not an array of numbers"),
        ([[[1, 2]]], "x=[[[1, 2]]]: has shape (1, 1, 2); expected (steps, numbers) or (steps,)"),
    ],
)
def test_a_bad_series_is_refused(value, message):
    with pytest.raises(DataError) as error:
        fitted(Series("x"), [[0, 0]]).encode({"x": value})
    assert str(error.value) == message


def test_symbols_are_taken_as_they_stand():
    field = fitted(Symbols("x", size=4), [0])
    assert field.spec == FieldSpec("symbols", 4, ("0", "1", "2", "3"))
    assert field.encode({"x": [3, 0]}).tolist() == [3, 0]
    assert field.decode([3, 0]) == "3 0"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1, 4], "x=4: outside 0..3; size=4"),
        ([-1], "x=-1: outside 0..3; size=4"),
        ([0.5], "x=[0.5]: not a flat list of integers"),
        ([[1]], "x=[[1]]: not a flat list of integers"),
    ],
)
def test_symbols_outside_their_range_are_refused(value, message):
    with pytest.raises(DataError) as error:
        Symbols("x", size=4).encode({"x": value})
    assert str(error.value) == message


def test_symbols_cannot_be_answered_since_nothing_ends_them():
    with pytest.raises(ConfigError, match=r"data\.y=Symbols: has no end of sequence; use Tags"):
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
