"""The annotations of shapes are checked in tests, also of calls that are like one before."""

import pytest
import torch
from jaxtyping import Float, TypeCheckError
from torch import Tensor

import shapes
from seqpipe.nn.masks import last_real_step


def test_the_annotations_of_the_package_are_checked():
    outputs = torch.arange(12.0).view(2, 3, 2)
    assert last_real_step(outputs, torch.tensor([1, 2])).tolist() == [[0, 1], [8, 9]]
    for _ in range(2):  # what has failed has not passed
        with pytest.raises(TypeCheckError, match=r"checking the parameters of seqpipe\.nn\.masks"):
            last_real_step(outputs, torch.tensor([1, 2, 3]))


class Layer:
    """Answers with so many rows too many."""

    def __init__(self) -> None:
        self.more, self.calls = 0, 0

    @shapes.checked_by_kind
    def forward(
        self, x: Float[Tensor, "B D"], name: str = "x"
    ) -> tuple[Float[Tensor, " B"], dict[str, Float[Tensor, "B D"]]]:
        self.calls += 1
        return torch.zeros(len(x) + self.more), {name: x}


def test_an_answer_of_another_shape_fails_after_calls_that_passed():
    layer, x = Layer(), torch.zeros(2, 3)
    for _ in range(3):
        layer.forward(x)
    layer.more = 1
    for _ in range(2):
        with pytest.raises(TypeCheckError, match="checking the return value"):
            layer.forward(x)
    layer.more = 0
    layer.forward(x, name="y")
    assert layer.calls == 6, "each call is one call"


@pytest.mark.parametrize("x", [torch.zeros(2), torch.zeros(2, 3).long(), [[0.0]], None])
def test_another_argument_fails_after_calls_that_passed(x):
    layer = Layer()
    layer.forward(torch.zeros(2, 3))
    with pytest.raises(TypeCheckError, match="checking the parameters"):
        layer.forward(x)
    assert layer.calls == 1
    with pytest.raises(TypeCheckError, match="checking the parameters"):
        layer.forward(torch.zeros(2, 3), name=3)


def test_functions_of_one_text_are_checked_together_and_answer_for_themselves():
    def made(more):
        @shapes.checked_by_kind
        def one_more(x: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
            return torch.full((len(x) + more,), float(more))

        return one_more

    assert made(0)(torch.zeros(2)).tolist() == [0, 0]
    with pytest.raises(TypeCheckError, match="checking the return value"):
        made(1)(torch.zeros(2))
