"""Models with random weights on little data of every kind, as a training would leave them."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from seqpipe.build import build_data, build_model, build_task
from seqpipe.config.compose import compose
from seqpipe.data.base import Record
from seqpipe.data.dataset import SequenceData
from seqpipe.inference import model_format
from seqpipe.inference.load import load_model, pack_model
from seqpipe.inference.model import Model

draw = np.random.default_rng(0)
WORDS = "the cat sat on a mat and saw no dog it was good bad fine very not".split()
FIELDS = "seqpipe.data.fields"


def texts(count: int, longest: int = 9) -> list[str]:
    lengths = [1, longest, *draw.integers(1, longest + 1, count - 2)]
    return [" ".join(draw.choice(WORDS, length)) for length in lengths]


def table(folder: Path, answers: Callable[[str], str], name: str = "table.jsonl") -> None:
    """A table of texts and what is answered to them."""
    rows = [{"text": text, "label": answers(text), "n": n} for n, text in enumerate(texts(48))]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / name).write_text(text, encoding="utf-8")


def of_labels(text: str) -> str:
    return "|".join(sorted({word for word in text.split() if word in ("cat", "dog", "mat")}))


def conll(folder: Path) -> None:
    tags = {"cat": ["B-ANI"], "dog": ["B-ANI", "I-ANI"], "mat": ["B-THI"]}
    blocks = []
    for text in texts(48):
        lines, inside = [], ""
        for word in text.split():
            tag = tags.get(word, ["O"])[0]
            if word in ("very", "not") and inside:
                tag = f"I-{inside}"
            inside = tag.partition("-")[2]
            lines.append(f"{word} {tag}")
        blocks.append("\n".join(lines))
    (folder / "tags.conll").write_text("\n\n".join(blocks) + "\n", encoding="utf-8")


def pairs(folder: Path, answers: Callable[[str], str]) -> None:
    rows = [f"{text}\t{answers(text)}" for text in dict.fromkeys(texts(48))]
    (folder / "pairs.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def reversed_words(text: str) -> str:
    return " ".join(reversed(text.split()))


def series(folder: Path) -> None:
    """A long series: what comes next depends on what was."""
    steps = np.sin(np.arange(120) / 3) * 5 + 20 + draw.normal(size=120)
    (folder / "series.csv").write_text("value\n" + "".join(f"{v:.4f}\n" for v in steps))


def arrays(folder: Path, answers: Callable[[Any], Any]) -> None:
    """Ragged series of two numbers, and a row of answers for each."""
    lengths = np.array([1, 9, *draw.integers(1, 10, 30)])
    x = draw.normal(size=(len(lengths), 9, 2)).astype(np.float32)
    np.savez(folder / "arrays.npz", X=x, y=answers(x), lengths=lengths)


def sums(folder: Path) -> None:
    """Ragged series of two numbers, and what they add up to so far."""
    rows = []
    for length in (1, 9, *draw.integers(1, 10, 30)):
        series = draw.normal(size=(length, 2)).round(4)
        rows.append({"series": series.tolist(), "label": np.cumsum(series, axis=0).tolist()})
    (folder / "table.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def rolls(folder: Path) -> None:
    """Pieces of 1 to 12 steps of chords between C4 and G4, as MIDI numbers."""
    lengths = [1, 12, *draw.integers(1, 13, 20)]
    pieces = [
        [sorted({int(n) for n in draw.integers(60, 68, 3)}) for _ in range(length)]
        for length in lengths
    ]
    split = {"train": pieces[:14], "valid": pieces[14:18], "test": pieces[18:]}
    (folder / "rolls.json").write_text(json.dumps(split))


TABLE = ("data=table", "data.path={folder}/table.jsonl", "data.x.min_count=1")
CONLL = ("data=conll", "data.path={folder}/tags.conll", "+data.x.min_count=1")
PAIRS = (
    *("data=pairs", "data.path={folder}/pairs.tsv", "data.x.by=words", "data.y.by=words"),
    *("data.x.min_count=1", "data.y.min_count=1"),
)
NPZ = ("data=npz", "data.path={folder}/arrays.npz", "data.source.lengths=lengths")
FORECAST = ("data=forecast", "data.path={folder}/series.csv", "data.source.past=6")
CTC = (
    *(*PAIRS, "architecture=many_to_many", "task=transcription"),
    *("data.y.by=characters", "data.y.min_count=1"),
)
LINES = ("data=lines", "data.path={folder}/lines.txt")
ROLLS = (
    *("data=piano_rolls", "data.path={folder}/rolls.json/train", "data.y.lowest=60"),
    *("data.source.valid={folder}/rolls.json/valid", "data.source.test={folder}/rolls.json/test"),
    *("data.y.highest=67",),
)
GENERATED = ("data.source.train=24", "data.source.valid=4", "data.source.test=12")


class Kind(NamedTuple):
    """Overrides that make a model of one kind, and what writes its data."""

    overrides: tuple[str, ...]
    write: Callable[[Path], None] = lambda folder: None


good_or_bad = functools.partial(table, answers=lambda text: "good" if len(text) % 3 else "bad")
with_labels = functools.partial(table, answers=of_labels)
in_stars = functools.partial(table, answers=lambda text: str(1 + len(text) % 4))
turned = functools.partial(pairs, answers=reversed_words)
spelled = functools.partial(
    pairs, answers=lambda text: "".join(word[0] for word in text.split()[::2])
)
in_classes = functools.partial(arrays, answers=lambda x: (x.sum((1, 2)) > 0).astype(int))


def lines(folder: Path) -> None:
    (folder / "lines.txt").write_text("\n".join(dict.fromkeys(texts(48))) + "\n")


def rare(folder: Path) -> None:
    """Lines whose rare words are <unk> already, as in Penn Treebank."""
    found = (text.replace("dog", "<unk>") for text in dict.fromkeys(texts(48)))
    (folder / "lines.txt").write_text("\n".join(found) + "\n")


ANSWERING = {
    "category of text": Kind(TABLE, good_or_bad),
    "category of series": Kind((*NPZ, "architecture.pooling=mean"), in_classes),
    "category of a vector": Kind(("data=digits_flat", "data.source.test=0.02")),
    "category of words and characters": Kind(
        (
            *TABLE[:2],
            f"data.x._target_={FIELDS}.spelling.Spelled",
            "~data.x.by",
            "data.x.min_count=1",
        ),
        good_or_bad,
    ),
    "ordinal": Kind((*TABLE, "task=ordinal", f"data.y._target_={FIELDS}.labels.Ordinal"), in_stars),
    "ordinal, most probable": Kind(
        (*TABLE, "task=ordinal", "task.predict=mode", f"data.y._target_={FIELDS}.labels.Ordinal"),
        in_stars,
    ),
    "multi_label": Kind(
        (*TABLE, "task=multi_label", f"data.y._target_={FIELDS}.multilabel.MultiLabel"), with_labels
    ),
    "number": Kind(("data=adding", "data.length=6", *GENERATED)),
    "number, standardised": Kind((*FORECAST, "data.source.relative_to_last=false"), series),
    "numbers": Kind(
        (*FORECAST, "data.source.horizon=3", "data.source.relative_to_last=false"), series
    ),
    "tags": Kind(("data=copy_memory", "data.length=3", *GENERATED)),
    "tags of spans": Kind(CONLL, conll),
    "tags of spans, crf": Kind((*CONLL, "architecture.head=crf"), conll),
    "tags of spans in windows": Kind((*CONLL, "data.window=3", "data.eval_window=4"), conll),
    "tags of spans in windows, crf": Kind(
        (*CONLL, "data.window=3", "architecture.head=crf"), conll
    ),
    "tags in lanes": Kind(
        (*CONLL, "data.bptt=3", "data.batch_size=4", "bidirectional=false"), conll
    ),
    "values": Kind(
        (
            *("data=npz", "data.path={folder}/table.jsonl", "~data.source"),
            "+data.source={{_target_: seqpipe.data.sources.table.Table, train: ${{data.path}}}}",
            *("architecture=many_to_many", "task=regression", "+data.y.standardize=true"),
            f"data.y._target_={FIELDS}.series.Series",
        ),
        sums,
    ),
    "roll": Kind(
        (
            *ROLLS,
            *("architecture=many_to_many", f"+data.x._target_={FIELDS}.rolls.PianoRollSeries"),
            *("+data.x.column=roll", "+data.x.lowest=60", "+data.x.highest=67"),
        ),
        rolls,
    ),
    "translation": Kind((*PAIRS, "task.max_length=6"), turned),
    "translation by beam": Kind(
        (*PAIRS, "task.max_length=6", "task.decoding=beam", "task.beam_size=3"), turned
    ),
    "transcript": Kind(CTC, spelled),
    "transcript by beam": Kind((*CTC, "task.decoding=beam", "task.beam_size=3"), spelled),
}
DIFFERENCES = {"numbers, differences": Kind((*FORECAST, "data.source.horizon=2"), series)}
WRITING = {
    "lines": Kind(LINES, lines),
    "words": Kind((*LINES, "data.y.by=words", "data.y.min_count=2"), lines),
    "corpus with unknowns": Kind(
        (*LINES, "data.y.by=tokens", "data.y.min_count=1", "+data.y.unknown='<unk>'"), rare
    ),
    "stream": Kind(("data=stream", "data.path={folder}/lines.txt", "data.bptt=8"), lines),
    "piano rolls": Kind(ROLLS, rolls),
}
KINDS = {**ANSWERING, **DIFFERENCES, **WRITING}


class Made(NamedTuple):
    """What a training would have left."""

    cfg: DictConfig
    data: SequenceData
    model: Model  # of the training itself
    folder: Path  # where it was saved
    source: Path  # of the data

    @property
    def opened(self) -> Model:
        """The model as it is found in its folder."""
        return load_model(self.folder)

    @property
    def records(self) -> list[Record]:
        """The raw records of the test split, without their y where that is another column."""
        y, x = self.data.y.column, self.data.x
        return [
            {k: v for k, v in record.items() if k != y or (x is not None and x.column == y)}
            for record in self.data.source.read().test
        ]


def make(folder: Path, overrides: tuple[str, ...], write: Callable[[Path], None]) -> Made:
    """Data read, a model of random weights made, and saved."""
    global draw
    draw = np.random.default_rng(0)
    write(folder)
    typed = [one.format(folder=folder) for one in overrides]
    small = ("hidden_size=6", "data.cache=null", "trainer.enable_progress_bar=false", "dropout=0.0")
    cfg, _ = compose([*small, *typed])
    torch.manual_seed(0)
    data = build_data(cfg)
    task = build_task(cfg, data)
    network = build_model(cfg, data.spec, task.output_size)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.uniform_(-0.9, 0.9)
    fields = {"y": data.y} if data.x is None else {"x": data.x, "y": data.y}
    written: Any = OmegaConf.to_container(cfg, resolve=True)
    facts = {"longest_y": data.longest_y("train"), "digests": data.digests}
    model = Model(written, data.x, data.y, data.spec, task, network, facts)
    place = model_format.write(
        folder / "model", pack_model(written, fields, data.spec, network, facts)
    )
    return Made(cfg, data, model, place, folder)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Made]:
    """made("number"): a model of that kind; made("number", "depth=2"): with more overrides."""

    @functools.cache
    def of(name: str, *more: str) -> Made:
        kind = KINDS[name]
        folder = tmp_path_factory.mktemp(name.replace(" ", "_").replace(",", ""))
        return make(folder, (*kind.overrides, *more), kind.write)

    return of


@pytest.fixture(scope="session")
def making() -> Callable[..., Made]:
    """making(folder, overrides, write): see `make`."""
    return make


@pytest.fixture(params=ANSWERING)
def answering(request: pytest.FixtureRequest, made: Callable[..., Made]) -> Made:
    """Each kind of model that answers its x."""
    return made(request.param)


@pytest.fixture(params=KINDS)
def any_kind(request: pytest.FixtureRequest, made: Callable[..., Made]) -> Made:
    return made(request.param)


@pytest.fixture(scope="session")
def near() -> Callable[[Any, Any], bool]:
    """near(one, other): whether two answers are equal, their numbers to 1e-5."""

    def alike(one: Any, other: Any) -> bool:
        if isinstance(one, float):
            return bool(one == pytest.approx(other, rel=1e-5, abs=1e-5))
        if isinstance(one, dict):
            return list(one) == list(other) and all(alike(one[key], other[key]) for key in one)
        if isinstance(one, list):
            return len(one) == len(other) and all(map(alike, one, other))
        return bool(one == other)

    return alike
