"""Models built from the configuration, on random ragged batches with hand-made sizes."""

import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.testing import assert_close

from seqpipe.build import build_model, has_crf
from seqpipe.config.compose import compose
from seqpipe.data.base import FieldSpec, SequenceBatch, SequenceSpec
from seqpipe.data.vocabulary import EOS
from seqpipe.tasks.base import Task

CELLS = {
    "rnn": ["cell=rnn"],
    "rnn relu": ["cell=rnn", "cell.nonlinearity=relu"],
    "gru_simplified": ["cell=gru_simplified"],
    "gru": ["cell=gru"],
    "gru reset after": ["cell=gru", "cell.reset_after=true"],
    "lstm": ["cell=lstm"],
    "lstm_peephole": ["cell=lstm_peephole"],
    "lstm_peephole current": ["cell=lstm_peephole", "cell.output_peephole=current"],
}


class Shape(NamedTuple):
    """An architecture with its options, and data that fit it."""

    data: str  # which brings the architecture, and other overrides
    changes: dict[str, Any]
    spec: SequenceSpec


VALUES, TEXT = FieldSpec("values", 3), FieldSpec("symbols", 9)
SPELLED = FieldSpec("spelled", 9, characters=7)
CLASS, TAGS = FieldSpec("category", 4), FieldSpec("tags", 4)
SPANS = FieldSpec("tags", 5, ("O", "B-X", "I-X", "B-Y", "I-Y"), scheme="bio")
LABELS, ROLL = FieldSpec("multi_label", 4), FieldSpec("roll", 5)
MULTI_LABEL = "task=multi_label data.y._target_=seqpipe.data.fields"
SHAPES = {
    **{
        f"many_to_one {pooling}": Shape(
            "digits", {"architecture.pooling": pooling}, SequenceSpec(VALUES, CLASS)
        )
        for pooling in ("last", "mean", "max")
    },
    "many_to_one flatten": Shape(
        "digits data.max_length=6",
        {"architecture.pooling": "flatten"},
        SequenceSpec(VALUES, CLASS),
    ),
    "many_to_one text": Shape("digits", {}, SequenceSpec(TEXT, CLASS)),
    "many_to_many": Shape("copy_memory", {}, SequenceSpec(VALUES, TAGS)),
    "many_to_many crf": Shape("copy_memory architecture.head=crf", {}, SequenceSpec(VALUES, TAGS)),
    "many_to_many crf spans": Shape(
        "copy_memory architecture.head=crf", {}, SequenceSpec(TEXT, SPANS)
    ),
    "many_to_many text": Shape("copy_memory", {}, SequenceSpec(TEXT, TAGS)),
    "many_to_one spelled": Shape("digits", {}, SequenceSpec(SPELLED, CLASS)),
    "many_to_many spelled": Shape(
        "copy_memory", {"architecture.characters": "lstm"}, SequenceSpec(SPELLED, TAGS)
    ),
    "many_to_one labels": Shape(
        f"digits {MULTI_LABEL}.multilabel.MultiLabel", {}, SequenceSpec(VALUES, LABELS)
    ),
    "many_to_many roll": Shape(
        f"copy_memory {MULTI_LABEL}.rolls.PianoRoll", {}, SequenceSpec(VALUES, ROLL)
    ),
    "one_to_many": Shape("python_docs", {}, SequenceSpec(None, TEXT)),
    "one_to_many roll": Shape("jsb_chorales", {}, SequenceSpec(None, ROLL)),
    "one_to_many roll in order": Shape(
        "jsb_chorales", {"architecture.keys": "autoregressive"}, SequenceSpec(None, ROLL)
    ),
    "one_to_many roll category": Shape(
        "jsb_chorales", {}, SequenceSpec(FieldSpec("category", 3), ROLL)
    ),
    "one_to_many vector": Shape("python_docs", {}, SequenceSpec(FieldSpec("vector", 2), TEXT)),
    "one_to_many category": Shape("python_docs", {}, SequenceSpec(FieldSpec("category", 3), TEXT)),
    **{
        f"encoder_decoder {kind}": Shape(
            "dates", {"architecture.attention": kind}, SequenceSpec(TEXT, TEXT)
        )
        for kind in ("none", "dot", "general", "additive")
    },
    "encoder_decoder fed": Shape(
        "dates", {"architecture.input_feeding": True}, SequenceSpec(TEXT, TEXT)
    ),
    "encoder_decoder covered": Shape(
        "dates", {"architecture.coverage": True}, SequenceSpec(TEXT, TEXT)
    ),
    "encoder_decoder values": Shape("dates", {}, SequenceSpec(VALUES, TEXT)),
    "encoder_decoder spelled": Shape(
        "dates", {"architecture.characters_size": 4}, SequenceSpec(SPELLED, TEXT)
    ),
}
HIDDEN = 8  # with fewer, all relus of a layer may start dead


@functools.cache
def _composed(*overrides: str) -> DictConfig:
    return compose(overrides)[0]


@pytest.fixture(params=CELLS)
def cell(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=SHAPES)
def shape(request: pytest.FixtureRequest) -> str:
    return request.param


def _param(*values: Any, covered: bool) -> Any:
    """A case; one that is not in the cover of pairs is left to `make test-full`."""
    return pytest.param(values, id="-".join(map(str, values)), marks=() if covered else FULL)


FULL = pytest.mark.full
WAYS = list(itertools.product((False, True), (1, 2)))  # bidirectional, depth
# Every cell x shape in one way, and every cell and every shape in all four ways.
MATRIX = [
    _param(cell, shape, *way, covered=w == (c + s) % len(WAYS))
    for c, cell in enumerate(CELLS)
    for s, shape in enumerate(SHAPES)
    for w, way in enumerate(WAYS)
]


@pytest.fixture(params=MATRIX)
def crossed(request: pytest.FixtureRequest) -> tuple[str, str, bool, int]:
    """(cell, shape, bidirectional, depth)."""
    return request.param


ATTENDING = [
    _param(cell, kind, both, covered=both == bool((c + k) % 2))
    for c, cell in enumerate(CELLS)
    for k, kind in enumerate(("none", "dot", "general", "additive"))
    for both in (False, True)
]


@pytest.fixture(params=ATTENDING)
def attending(request: pytest.FixtureRequest) -> tuple[str, str, bool]:
    """(cell, attention, bidirectional) of an encoder-decoder."""
    return request.param


# Fewer where the rest is the same code for every cell: (cell, shape, bidirectional).
CORE = (
    "many_to_one last",
    "many_to_one mean",
    "many_to_many",
    "many_to_many crf",
    "encoder_decoder additive",
)
CASES = [
    _param(cell, shape, both, covered=cell == "lstm" or one_way or (c + s) % 2 == both)
    for c, cell in enumerate(CELLS)
    for s, shape in enumerate(SHAPES)
    for one_way in (shape.startswith("one_to_many"),)  # the other is refused, see test_matrix
    for both in ((False,) if one_way else (False, True))
    if shape in (*CORE, "one_to_many") or cell == "lstm"
]


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> tuple[str, str, bool]:
    return request.param


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


class Built(NamedTuple):
    """A model, its task, and what both were made for."""

    model: nn.Module
    task: Task
    spec: SequenceSpec
    cfg: DictConfig


@pytest.fixture
def build() -> Callable[..., Built]:
    """build("encoder_decoder dot", "gru", depth=2, **{"architecture.pooling": "max"})."""

    def make(shape: str, cell: str = "lstm", **changes: Any) -> Built:
        data, options, spec = SHAPES[shape]
        cfg = _composed(*f"data={data}".split()).copy()
        cfg.cell = _composed(*CELLS[cell]).cell
        for key, value in {"hidden_size": HIDDEN, "dropout": 0.0, **options, **changes}.items():
            OmegaConf.update(cfg, key, value)
        if cfg.bidirectional and options.get("architecture.attention") == "dot":
            cfg.architecture.decoder.hidden_size = 2 * cfg.hidden_size  # dot needs equal widths
        sizes = {"longest_y": 5} if "max_length" in cfg.task else {}
        if has_crf(cfg):
            sizes["crf"] = True
        task = instantiate(cfg.task)(y=spec.y, **sizes)
        return Built(build_model(cfg, spec, task.output_size), task, spec, cfg)

    return make


def _values_of(field: FieldSpec, lengths: Tensor, generator: torch.Generator) -> Tensor:
    B, T = len(lengths), int(lengths.max())
    shapes = {"values": (B, T, field.size), "vector": (B, field.size), "category": (B,)}
    if field.kind in ("multi_label", "roll"):
        shape = (B, T, field.size) if field.has_time else (B, field.size)
        return torch.randint(0, 2, shape, generator=generator).float()
    if field.kind in ("values", "vector"):
        return torch.randn(shapes[field.kind], generator=generator)
    if field.kind == "spelled":
        return _spelled(field, B, T, generator)
    if field.scheme is not None:  # spans of two steps, of one type and the other
        return torch.tensor([1, 2, 0, 3, 4]).repeat(B, 1)
    lowest = EOS + 1 if field.kind == "symbols" else 0
    return torch.randint(lowest, field.size, shapes.get(field.kind, (B, T)), generator=generator)


def _spelled(field: FieldSpec, B: int, T: int, generator: torch.Generator) -> Tensor:
    """(B, T, 1 + 6) ids: words of 1 to 6 characters, 0 after the last."""
    assert field.characters is not None
    words = torch.randint(EOS + 1, field.size, (B, T, 1), generator=generator)
    characters = torch.randint(1, field.characters, (B, T, 6), generator=generator)
    lengths = torch.randint(1, 7, (B, T, 1), generator=generator)
    return torch.cat([words, characters.where(torch.arange(6) < lengths, 0)], dim=-1)


@pytest.fixture
def ragged() -> Callable[..., SequenceBatch]:
    """A random batch: x of 5, 2, 4, 1 steps, y of as many or of 3, 5, 1, 2; padding is 0."""

    def make(spec: SequenceSpec, dtype: torch.dtype = torch.float32) -> SequenceBatch:
        generator = torch.Generator().manual_seed(3)
        x_lengths = torch.tensor([5, 2, 4, 1])
        aligned = spec.y.is_per_step_of(spec.x)
        y_lengths = x_lengths if aligned else torch.tensor([3, 5, 1, 2])
        x = None if spec.x is None else _values_of(spec.x, x_lengths, generator)
        y = _values_of(spec.y, y_lengths, generator)
        if spec.y.kind == "symbols":
            y[torch.arange(4), y_lengths - 1] = EOS
        if x is not None and spec.x is not None and spec.x.has_time:
            x[torch.arange(5) >= x_lengths.unsqueeze(1)] = 0
        if spec.y.has_time:
            y[torch.arange(5) >= y_lengths.unsqueeze(1)] = 0
        return SequenceBatch(
            x if x is None or not x.is_floating_point() else x.to(dtype),
            x_lengths if spec.x is not None and spec.x.has_time else None,
            y.to(dtype) if y.is_floating_point() else y,
            y_lengths if spec.y.has_time else None,
            torch.arange(4),
        )

    return make


@pytest.fixture
def answer() -> Callable[..., Tensor]:
    """The logits of a batch."""

    def of(model: nn.Module, batch: SequenceBatch) -> Tensor:
        return model(batch.x, batch.x_lengths, batch.y, batch.y_lengths)

    return of


@pytest.fixture
def same_as_written() -> Callable[..., None]:
    """Compares a model of pairs, values and gradients, with a formula for one pair.

    The formula is called with the model, x (T_x,) and y (T_y,); its first answer is the logits.
    """

    def check(model: nn.Module, batch: SequenceBatch, formula: Callable[..., Any]) -> None:
        logits = model.train()(batch.x, batch.x_lengths, batch.y, batch.y_lengths)
        ours, theirs = torch.zeros(()), torch.zeros(())
        for b, (n_x, n_y) in enumerate(zip(batch.x_lengths, batch.y_lengths, strict=True)):
            x, y = batch.x[b, :n_x], batch.y[b, :n_y]
            expected, _ = formula(model, x, y)
            assert_close(logits[b, :n_y], expected, rtol=0, atol=1e-10)
            ours = ours + cross_entropy(logits[b, :n_y], y, reduction="sum")
            theirs = theirs + cross_entropy(expected, y, reduction="sum")
        parameters = list(model.parameters())
        pairs = torch.autograd.grad(ours, parameters), torch.autograd.grad(theirs, parameters)
        for one, other in zip(*pairs, strict=True):
            assert_close(one, other, rtol=0, atol=1e-9)

    return check


@pytest.fixture
def randomise() -> Callable[[nn.Module], nn.Module]:
    """Random numbers in all parameters, in float64: with zeros a fault may not be seen."""

    def fill(model: nn.Module) -> nn.Module:
        model.double()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.uniform_(-0.7, 0.7)
        return model

    return fill
