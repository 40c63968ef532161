import pytest
import torch

from seqpipe.errors import ShapeError
from seqpipe.nn.cells import LSTM
from seqpipe.nn.recurrent import RecurrentStack

D, H, B, T = 3, 4, 4, 6
one_way = {"cell": LSTM, "hidden_size": H}
x_ok = torch.zeros(B, T, D)
zero = torch.zeros(B, H)


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: RecurrentStack(D, **one_way)(torch.zeros(B, T, 5)),
            "x has shape (4, 6, 5); expected (B, T_x, 3) with at least one step.",
        ),
        (
            lambda: RecurrentStack(D, **one_way)(torch.zeros(T, D)),
            "x has shape (6, 3); expected (B, T_x, 3) with at least one step.",
        ),
        (
            lambda: RecurrentStack(D, **one_way)(torch.zeros(B, 0, D)),
            "x has shape (4, 0, 3); expected (B, T_x, 3) with at least one step.",
        ),
        (
            lambda: RecurrentStack(D, **one_way)(x_ok, torch.tensor([1, 2])),
            "lengths has shape (2,), torch.int64; expected (4,) integers.",
        ),
        (
            lambda: RecurrentStack(D, **one_way)(x_ok, torch.tensor([1, 2, 7, 3])),
            "lengths holds values from 1 to 7; x has 6 steps, so each must lie in 1..6.",
        ),
        (
            lambda: RecurrentStack(D, **one_way)(x_ok, None, (((zero,),),)),
            "state has shapes [(4, 4)]; expected [(4, 4), (4, 4)].",
        ),
        (
            lambda: RecurrentStack(D, **one_way)(x_ok, None, (((zero, zero[:1]),),)),
            "state has shapes [(4, 4), (1, 4)]; expected [(4, 4), (4, 4)].",
        ),
        (
            lambda: RecurrentStack(D, depth=2, **one_way)(x_ok, None, (((zero, zero),),)),
            "state has [1] directions a layer; expected [1, 1].",
        ),
        (
            lambda: RecurrentStack(D, **one_way).step(x_ok, (((zero, zero),),)),
            "x_t has shape (4, 6, 3); expected (B, 3).",
        ),
        (
            lambda: RecurrentStack(D, **one_way).step(x_ok[:, 0], ()),
            "state has [] directions a layer; expected [1].",
        ),
        (
            lambda: RecurrentStack(D, bidirectional=True, **one_way).step(x_ok[:, 0], ()),
            "RecurrentStack.step: a bidirectional stack has no single step.",
        ),
    ],
)
def test_a_tensor_of_the_wrong_shape_is_named_with_what_is_wanted(call, message):
    with pytest.raises(ShapeError) as error:
        call()
    assert str(error.value) == message
