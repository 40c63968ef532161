"""Frozen parts of a model: how they are named, and what does not happen to them."""

import re
from functools import partial

import pytest
import torch
from pytorch_lightning import seed_everything
from torch import nn
from torch.testing import assert_close

from seqpipe.errors import ConfigError
from seqpipe.models.parts import part_names
from seqpipe.nn.head import Head
from seqpipe.nn.lstm_cells import LSTM
from seqpipe.nn.recurrent import RecurrentStack
from seqpipe.training.freezing import FrozenStatistics, freeze, trained_count
from seqpipe.training.gradient_stats import GradientFlow
from seqpipe.training.optimizers import make_for


class Tagger(nn.Module):
    """An embedding, two layers in both directions, and a head, tied or not."""

    def __init__(self, *, tied: bool = False) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 6)
        make = partial(RecurrentStack, cell=LSTM, hidden_size=3, bidirectional=True)
        self.encoder = make(6, depth=2)
        self.head = Head(6, 7)
        if tied:
            self.head.tie(self.embedding)

    def forward(self, ids):
        return self.head(self.encoder(self.embedding(ids))[0])


def trained(model):
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize(
    ("patterns", "frozen"),
    [
        (["encoder"], r"encoder\."),
        (["layers.0", "embedding"], r"encoder\.layers\.0\.|embedding\."),
        ("encoder.layers.1.backwards", r"encoder\.layers\.1\.backwards\."),
        (["*.cell.bias", "he*"], r".*\.cell\.bias$|head\."),
        (["forwards.cell.weight_?idden"], r".*forwards\.cell\.weight_hidden$"),
    ],
)
def test_words_and_patterns_name_parts_anywhere_in_the_model(patterns, frozen):
    model = Tagger()
    every = trained(model)
    freeze(model, patterns)
    assert {name for name in every if re.match(frozen, name)} == every - trained(model) != set()


@pytest.mark.parametrize(
    ("tied", "patterns", "message"),
    [
        (
            False,
            ["encodr"],
            "freeze=[encodr]: no part of the model with weights; allowed: embedding, encoder,"
            " encoder.layers.0, encoder.layers.1, head, head.output, layers.0, or a pattern such"
            " as *.bias; did you mean 'encoder'?",
        ),
        (
            False,
            ["*"],
            "freeze=[*]: every part of the model is frozen, so nothing is left to train; allowed:"
            " fewer parts",
        ),
        (
            True,
            ["head"],
            "freeze=[head]: the weights of head.output are those of embedding; allowed:"
            " freeze=[head,embedding], or architecture.tie_embeddings=false",
        ),
    ],
)
def test_a_part_that_is_not_there_nothing_to_train_and_half_a_tie_are_refused(
    tied, patterns, message
):
    with pytest.raises(ConfigError) as error:
        freeze(Tagger(tied=tied), patterns)
    assert str(error.value) == message


def test_a_tied_embedding_is_frozen_in_both_places():
    model = Tagger(tied=True)
    freeze(model, ["embedding", "head"])
    assert trained(model) == {name for name in trained(Tagger()) if name.startswith("encoder")}
    assert trained_count(model) == trained_count(model.encoder)


@pytest.mark.parametrize("patterns", [["embedding"], ["layers.0"], ["layers.1"], ["encoder"]])
def test_the_gradient_of_the_others_is_as_without_freezing_and_alone_is_measured(patterns):
    def gradients(frozen):
        seed_everything(0, verbose=False)
        model = Tagger().double()
        freeze(model, frozen)
        model(torch.arange(6).view(2, 3)).square().sum().backward()
        flow = GradientFlow(dict(model.named_parameters()))
        return flow.measure(), {name: p.grad for name, p in model.named_parameters()}

    (_, every), (total, found) = gradients([]), gradients(patterns)
    kept = {name: gradient for name, gradient in found.items() if gradient is not None}
    assert 0 < len(kept) < len(every)
    assert_close(kept, {name: every[name] for name in kept})
    wanted = torch.cat([gradient.flatten() for gradient in kept.values()]).norm().item()
    assert total == pytest.approx(wanted)


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD])
def test_an_optimizer_knows_no_frozen_parameter(kind):
    model = Tagger()
    freeze(model, ["encoder"])
    made = make_for(model, partial(kind, lr=0.1, weight_decay=0.1))
    held = {id(parameter) for group in made.param_groups for parameter in group["params"]}
    assert held == {id(p) for p in (*model.embedding.parameters(), *model.head.parameters())}


class Normed(nn.Module):
    """y = w norm(x), with running statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.linear = nn.BatchNorm1d(2), nn.Linear(2, 1)

    def forward(self, x, x_lengths, y, y_lengths):
        return self.linear(self.norm(x))


@pytest.mark.parametrize("frozen", [[], ["norm"]])
def test_running_statistics_of_a_frozen_normalisation_stay(module, trainer, loader, frozen):
    training = module()
    training.model = Normed()
    freeze(training.model, frozen)
    before = {name: value.clone() for name, value in training.model.norm.named_buffers()}
    trainer(FrozenStatistics(), max_epochs=2).fit(training, loader(), loader())
    same = {name: value.equal(before[name]) for name, value in training.model.norm.named_buffers()}
    assert set(same.values()) == {bool(frozen)}


def test_parts_are_listed_without_their_lists_of_layers():
    assert part_names(Tagger()) == [
        *("embedding", "encoder", "encoder.layers.0", "encoder.layers.1", "head", "head.output")
    ]
