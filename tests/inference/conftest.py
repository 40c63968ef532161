"""Models with random weights, and real fields that were fitted to four records."""

import functools
from collections.abc import Callable

import numpy as np
import pytest
import torch

from seqpipe.data.base import SequenceSpec
from seqpipe.data.fields.labels import Category, Number, Ordinal, Tags
from seqpipe.data.fields.multilabel import MultiLabel
from seqpipe.data.fields.series import Series, Vector
from seqpipe.data.fields.spelling import Spelled
from seqpipe.data.fields.text import Text
from seqpipe.inference.instantiate import make_informed_task, make_sized_model
from seqpipe.inference.model import Model
from seqpipe.models.many_to_many import ManyToMany
from seqpipe.models.many_to_one import ManyToOne
from seqpipe.models.one_to_many import OneToMany
from seqpipe.models.one_to_one import OneToOne
from seqpipe.nn.cells import GRU, LSTM, RNN, PeepholeLSTM, SimplifiedGRU
from seqpipe.nn.crf import CRFHead
from seqpipe.nn.head import FeedForward, Head
from seqpipe.nn.recurrent import RecurrentStack
from seqpipe.tasks.classification import Classification

CELLS = {
    "rnn": RNN,
    "rnn relu": functools.partial(RNN, nonlinearity="relu"),
    "gru_simplified": SimplifiedGRU,
    "gru": GRU,
    "gru reset after": functools.partial(GRU, reset_after=True),
    "lstm": LSTM,
    "lstm without tanh": functools.partial(LSTM, output_tanh=False),
    "lstm_peephole": PeepholeLSTM,
    "lstm_peephole without tanh": functools.partial(PeepholeLSTM, output_tanh=False),
    "lstm_peephole current": functools.partial(PeepholeLSTM, output_peephole="current"),
}
TEXTS = ["the apple is red", "a pear", "plums are blue and ripe", "the pear is green"]
RECORDS = [
    {
        "text": text,
        "label": label,
        "labels": labels,
        "stars": stars,
        "number": 10.0 * stars,
        "tags": ["N" if len(word) > 3 else "O" for word in text.split()],
        "spans": ["B-X", "I-X", "O", "B-Y", "I-Y"][: len(text.split())],
        "series": np.linspace(stars, 2, 3 * len(text.split())).reshape(-1, 3),
        "vector": np.arange(4.0) * stars,
    }
    for text, label, labels, stars in zip(
        TEXTS,
        ["no", "yes", "no", "maybe"],
        [["a"], ["a", "b"], [], ["c"]],
        [1, 2, 5, 3],
        strict=True,
    )
]
FIELDS = {
    "words": lambda: Text("text", by="tokens", min_count=1),
    "characters": lambda: Text("text"),
    "spelled": lambda: Spelled("text", min_count=1),
    "series": lambda: Series("series", standardize=True),
    "vector": lambda: Vector("vector"),
    "category": lambda: Category("label"),
    "labels": lambda: MultiLabel("labels"),
    "stars": lambda: Ordinal("stars"),
    "number": lambda: Number("number", standardize=True),
    "tags": lambda: Tags("tags"),
    "spans": lambda: Tags("spans", scheme="bio"),
    "forecast": lambda: Series("series", standardize=True),
}


def fitted(name):
    if name is None:
        return None
    field = FIELDS[name]()
    field.fit(RECORDS)
    return field


def make(architecture, task, x, y, cell="lstm", *, head=Head, scale=0.6, **options):
    """A model with weights in -scale..scale; `depth` and the like are options of its stack.

    `cell_options` are those of its cells.
    """
    make_cell = functools.partial(CELLS[cell], **options.pop("cell_options", {}))
    names = {"depth", "bidirectional", "learn_initial_state"}
    stack = {name: options.pop(name) for name in names & options.keys()}
    stack = functools.partial(RecurrentStack, cell=make_cell, hidden_size=6, **stack)
    longest_x = options.pop("longest_x", None)
    parts = {ManyToOne: ["encoder"], ManyToMany: ["encoder"], OneToMany: ["decoder"]}
    parts = dict.fromkeys(parts.get(architecture, ["encoder", "decoder"]), stack)
    if architecture is OneToOne:
        parts = {"encoder": functools.partial(FeedForward, hidden_size=6, depth=2)}
    x, y = fitted(x), fitted(y)
    spec = SequenceSpec(None if x is None else x.spec, y.spec)
    task = make_informed_task(task, spec.y, longest_y=5, crf=head is CRFHead)
    torch.manual_seed(0)
    architecture = functools.partial(architecture, head=head, **parts, **options)
    network = make_sized_model(architecture, spec, task.output_size, longest_x)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.uniform_(-scale, scale)
    data = {"x": {"column": "text"}, "y": {"column": "label"}}
    data |= {"max_length": longest_x, "longer": "truncate", "keep": "first"}
    return Model({"data": data}, x, y, spec, task, network, {})


@pytest.fixture(params=CELLS)
def cell(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def records() -> list[dict[str, object]]:
    """What the fields were fitted to: four records."""
    return RECORDS


@pytest.fixture
def made() -> Callable[..., Model]:
    """made(ManyToOne, Classification, "words", "category", "gru", depth=2, pooling="max")."""
    return make


@pytest.fixture
def classifier() -> Callable[..., Model]:
    """classifier("series", "gru", depth=2): one of three classes for a sequence."""

    def of(x: str = "words", cell: str = "lstm", **options: object) -> Model:
        return make(ManyToOne, Classification, x, "category", cell, **options)

    return of
