"""Weight decay shrinks matrices: every parameter of every model is named here, with its group."""

import re

import torch
from torch import nn

from seqpipe.nn.head import FeedForward
from seqpipe.nn.weight_decay import decayed

# By name: each must fit exactly one pattern, so that a new kind of parameter is decided upon.
SHRUNK = (
    r"cell\.weight_input",
    r"cell\.weight_hidden",
    r"head\.(layers\.\d+|output)\.weight",
    r"encoder\.layers\.\d+\.weight",  # of a network without time
    r"bridge\.maps\.\d+\.[hc]\.weight",
    r"attention\.(map_query|map_key|map_coverage|score)\.weight",
    r"combine\.weight",
    r"in_order\.(hidden\.weight|sounding|seen)",
    r"characters\.filters\.weight",
)
KEPT = (
    r"cell\.bias(_hidden)?",
    r"cell\.peephole",
    r"initial\.[hc]",
    r"(head|encoder)\.(layers\.\d+|output)\.bias",
    r"head\.(transitions|start|end)",
    r"(embedding|condition)\.weight",
    r"bridge\.maps\.\d+\.[hc]\.bias",
    r"attention\.map_key\.bias",
    r"combine\.bias",
    r"in_order\.hidden\.bias",
    r"characters\.filters\.bias",
)


def group_by_name(name: str) -> bool:
    shrunk = [one for one in SHRUNK if re.search(rf"(^|\.){one}$", name)]
    kept = [one for one in KEPT if re.search(rf"(^|\.){one}$", name)]
    assert len(shrunk) + len(kept) == 1, f"{name}: {shrunk + kept}"
    return bool(shrunk)


def check(model: nn.Module) -> dict[str, bool]:
    found = decayed(model)
    assert found == {name: group_by_name(name) for name, _ in model.named_parameters()}
    assert True in found.values()
    assert False in found.values()
    return found


def test_every_parameter_of_every_architecture_is_in_its_group(build, shape):
    hidden = {"architecture.head.hidden": [4]}
    check(build(shape, "lstm_peephole", **hidden).model)


def test_every_parameter_of_every_cell_is_in_its_group(build, cell):
    learned = {"architecture.encoder.learn_initial_state": True}
    found = check(build("many_to_one last", cell, depth=2, bidirectional=True, **learned).model)
    assert any(".initial." in name for name in found)


def test_a_network_without_time_shrinks_its_matrices():
    names = {"layers.0.weight": True, "layers.0.bias": False}
    assert decayed(FeedForward(3, hidden_size=4)) == names


class Gained(nn.Module):
    """A part of a user's own, with each kind of parameter that torch has a layer for."""

    undecayed = ("table", "inner")

    def __init__(self):
        super().__init__()
        self.matrix = nn.Linear(3, 4)
        self.norm = nn.LayerNorm([2, 3])
        self.batch = nn.BatchNorm1d(3)
        self.bag = nn.EmbeddingBag(3, 4)
        self.attend = nn.MultiheadAttention(4, 2, add_bias_kv=True)
        self.table = nn.Parameter(torch.zeros(3, 3))
        self.inner = nn.ModuleDict({"deep": nn.Linear(2, 2)})
        self.scores = nn.Parameter(torch.zeros(3, 3))


def test_a_part_of_a_users_own_says_what_it_keeps():
    shrunk = {name for name, decays in decayed(Gained()).items() if decays}
    wanted = {"matrix.weight", "attend.in_proj_weight", "attend.out_proj.weight", "scores"}
    assert shrunk == wanted


def test_a_matrix_that_is_also_an_embedding_is_kept():
    model = nn.ModuleDict({"out": nn.Linear(4, 9, bias=False), "in": nn.Embedding(9, 4)})
    model["out"].weight = model["in"].weight
    assert decayed(model) == {"out.weight": False}
