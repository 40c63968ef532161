"""Models of every architecture on one ragged batch, each number of them random."""

import functools

import pytest
import torch

from seqpipe.build import build_model
from seqpipe.config.compose import compose
from seqpipe.data.base import FieldSpec, SequenceBatch, SequenceSpec
from seqpipe.tasks.classification import Classification
from seqpipe.tasks.language_modeling import LanguageModeling
from seqpipe.tasks.tagging import Tagging
from seqpipe.tasks.transduction import Transduction

CELLS = {
    "rnn": ["cell=rnn"],
    "rnn relu": ["cell=rnn", "cell.nonlinearity=relu"],
    "gru_simplified": ["cell=gru_simplified"],
    "gru": ["cell=gru"],
    "gru reset after": ["cell=gru", "cell.reset_after=true"],
    "lstm": ["cell=lstm"],
    "lstm without tanh": ["cell=lstm", "cell.output_tanh=false"],
    "lstm_peephole": ["cell=lstm_peephole"],
    "lstm_peephole current": ["cell=lstm_peephole", "cell.output_peephole=current"],
}
TEXT, CLASS, TAGS = FieldSpec("symbols", 9), FieldSpec("category", 4), FieldSpec("tags", 4)
SHAPES = {
    "many_to_one": (
        "digits architecture.pooling=last",
        *(SequenceSpec(TEXT, CLASS), Classification),
    ),
    "many_to_many": ("copy_memory", SequenceSpec(TEXT, TAGS), Tagging),
    "crf": ("copy_memory architecture.head=crf", SequenceSpec(TEXT, TAGS), Tagging),
    "one_to_many": ("python_docs", SequenceSpec(None, TEXT), LanguageModeling),
    "encoder_decoder": ("dates", SequenceSpec(TEXT, TEXT), Transduction),
}
X_LENGTHS, Y_LENGTHS = torch.tensor([7, 3, 1]), torch.tensor([4, 6, 2])


@functools.cache
def composed(cell, data):
    return compose([*f"data={data}".split(), *CELLS[cell], "hidden_size=5"])[0]


def make(cell, shape, depth, both):
    torch.manual_seed(0)
    data, spec, task_class = SHAPES[shape]
    cfg = composed(cell, data).copy()
    cfg.depth, cfg.bidirectional = depth, both
    model = build_model(cfg, spec)
    with torch.no_grad():  # no gate, bias or peephole may be missing unseen
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    extra = {"longest_y": 6} if shape == "encoder_decoder" else {}
    monitor = {"monitor": "val/loss", "mode": "min"}
    return model, task_class(y=spec.y, **monitor, **extra)


def make_batch(shape):
    generator = torch.Generator().manual_seed(1)
    x = torch.randint(4, 9, (3, 7), generator=generator)
    y = torch.randint(4, 9, (3, 6), generator=generator)
    index = torch.arange(3)
    if shape == "many_to_one":
        return SequenceBatch(x, X_LENGTHS, torch.tensor([0, 3, 1]), None, index)
    if shape in ("many_to_many", "crf"):
        tags = torch.randint(0, 4, (3, 7), generator=generator)
        return SequenceBatch(x, X_LENGTHS, tags, X_LENGTHS, index)
    if shape == "one_to_many":
        return SequenceBatch(None, None, y, Y_LENGTHS, index)
    return SequenceBatch(x, X_LENGTHS, y, Y_LENGTHS, index)


@pytest.fixture(name="make")
def _make():
    """make("gru", "many_to_one", 2, True): a model of that cell, shape, depth, in both directions.

    And the task that it is for.
    """
    return make


@pytest.fixture(name="make_batch")
def _make_batch():
    """make_batch("many_to_one"): three sequences of different length."""
    return make_batch
