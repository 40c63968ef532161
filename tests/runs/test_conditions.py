"""A sequence written from one condition: a class, an ordered class, a number, or several."""

import csv
import json
import logging
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

import seqpipe
from seqpipe.commands import evaluate, export, predict, rerun, sample, score
from seqpipe.commands.dispatch import COMMANDS
from seqpipe.data.base import SPLITS
from seqpipe.errors import ConfigError, DataError
from seqpipe.inference.pyfunc import Served

FIELDS = {  # kind of the condition -> its field, what is typed of it, what Python is given
    "category": ("labels.Category", "kind", "big", "big"),
    "ordinal": ("labels.Ordinal", "stars", "5", 5),
    "number": ("labels.Number", "size", "2", 2.0),
    "vector": ("series.Vector", "mix", "[1,0.5]", np.array([1.0, 0.5])),
}


class Trained(NamedTuple):
    kind: str
    folder: Path
    model: Any
    typed: str
    given: Any
    warnings: list[str]


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    """Forty words, the big ones in capitals; each stands twice."""
    path = tmp_path_factory.mktemp("table") / "words.jsonl"
    rows = []
    for number in range(40):
        big = number % 2
        word = "".join(("ABCD" if big else "abcd")[(number >> k) % 4] for k in (1, 3, 2, 0))
        rows += 2 * [
            {
                "name": f"{word}{number}",
                "kind": "big" if big else "small",
                "stars": 5 if big else number % 4 // 2 + 1,
                "size": 2.0 if big else 0.5,
                "mix": [float(big), 0.5],
            }
        ]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def overrides(kind: str, table: Path) -> list[str]:
    field, column, *_ = FIELDS[kind]
    looked_into = kind in ("category", "vector")  # the two that networks tell apart
    return [
        "diagnostics.examples=2" if looked_into else "diagnostics=none",
        "data.source._target_=seqpipe.data.sources.table.Table",
        f"+data.source.train={table}",
        "data.source.valid=0.2",
        "data.source.test=0.2",
        f"data.x={{_target_: seqpipe.data.fields.{field}, column: {column}}}",
        "trainer.max_epochs=1",
        "task.sample_length=12",
    ]


@pytest.fixture(scope="module", params=FIELDS)
def trained(request, launch_in, tmp_path_factory, table) -> Trained:
    told: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: told.append(record.getMessage())
    logging.getLogger("seqpipe").addHandler(handler)
    root = tmp_path_factory.mktemp(request.param)
    result = launch_in(root, "identifiers", *overrides(request.param, table))
    logging.getLogger("seqpipe").removeHandler(handler)
    _, _, typed, given = FIELDS[request.param]
    folder = result.output_dir
    return Trained(request.param, folder, seqpipe.load(folder), typed, given, told)


def asked(module: Any, command: str, trained: Trained, **given: Any) -> Any:
    options = COMMANDS[command].options(run=str(trained.folder), **given)
    return module.run(options, trained.folder.parents[1])


def test_no_leak_is_reported_where_many_examples_share_a_condition(trained):
    assert not [text for text in trained.warnings if "also occur in train" in text]
    assert np.isfinite(json.loads((trained.folder / "metrics.json").read_text())["test/loss"])


def test_a_y_that_stands_twice_stays_in_one_split(trained, table):
    from seqpipe.data.fields.labels import Category
    from seqpipe.data.fields.text import Text
    from seqpipe.data.sources.table import Table

    def names(condition: Category | None) -> list[set[str]]:
        from seqpipe.data.dataset import SequenceData

        source = Table(train=str(table), valid=0.2, test=0.2)
        data = SequenceData(source, Text("name"), condition)
        return [
            {data.y.decode(y) for _, y in ((e.x, e.y) for e in data.examples(s))} for s in SPLITS
        ]

    splits = names(Category("kind"))
    assert len(splits[0] | splits[1] | splits[2]) == sum(map(len, splits)) == 40
    assert splits == names(None)


def test_the_sample_of_the_run_shows_each_condition_as_it_is_typed(trained):
    text = (trained.folder / "sample.txt").read_text()
    heads = [line for line in text.splitlines() if line.startswith("condition=")]
    wanted = {
        "category": ["condition=big", "condition=small"],
        "ordinal": ["condition=1", "condition=2", "condition=5"],
        "number": ["condition=0.5", "condition=2.0"],
        "vector": ["condition=[0.0,0.5]", "condition=[1.0,0.5]"],
    }
    assert sorted(heads) == wanted[trained.kind]
    assert heads[0] in (trained.folder / "report.md").read_text()
    for head in heads:
        asked(sample, "sample", trained, condition=head.removeprefix("condition="), max_length=2)


def test_examples_show_the_condition(trained):
    rows = list(csv.DictReader((trained.folder / "examples.csv").read_text().splitlines()))
    shown = {
        "category": {"big", "small"},
        "ordinal": {"1", "2", "5"},
        "number": {"0.5", "2"},
        "vector": {"0 0.5", "1 0.5"},
    }
    assert {row["x"] for row in rows} <= shown[trained.kind]
    assert all(row["truth"] for row in rows)


def test_what_is_typed_and_what_python_is_given_draw_the_same(trained):
    printed = asked(sample, "sample", trained, condition=trained.typed, n=10, max_length=9).text
    drawn = trained.model.sample(10, condition=trained.given, max_length=9)
    column = trained.model.x.column
    value = trained.given.tolist() if trained.kind == "vector" else trained.given
    assert printed.split("\n") == drawn
    assert trained.model.sample(10, condition={column: value}, max_length=9) == drawn


@pytest.mark.parametrize("command", ["sample", "score"])
def test_a_condition_that_is_none_is_refused_by_what_was_typed(command, trained):
    module, more = {"sample": (sample, {}), "score": (score, {"text": "A1"})}[command]
    wrong, messages = {
        "category": ("bigg", ["condition='bigg': not a class", "did you mean 'big'?"]),
        "ordinal": ("4", ["condition='4': not a class of the training split; it has 1, 2, 5"]),
        "number": ("many", ["condition=many: no numbers; allowed: 3.5, or a list [0.3,1.0]"]),
        "vector": ("[1,2,3]", ["condition=[1, 2, 3]: is 3 wide; the training split starts with"]),
    }[trained.kind]
    with pytest.raises((ConfigError, DataError)) as caught:
        asked(module, command, trained, condition=wrong, **more)
    assert all(message in str(caught.value) for message in messages), str(caught.value)
    with pytest.raises(
        ConfigError, match="condition=null: the model needs a condition; allowed: "
    ) as none:
        asked(module, command, trained, **more)
    if trained.kind == "category":
        assert str(none.value).endswith("allowed: big, small")


def test_a_score_is_given_the_condition(trained, capsys):
    record = {"name": "ABCA1", trained.model.x.column: trained.given}
    (wanted,) = trained.model.score([record])
    (found,) = trained.model.score(["ABCA1"], condition=trained.given)
    assert found == wanted
    capsys.readouterr()
    asked(score, "score", trained, text="ABCA1 | abca2", condition=trained.typed)
    assert f"{wanted.total:.3f}" in capsys.readouterr().out


def test_another_condition_gives_another_score(trained):
    other = {"category": "small", "ordinal": 1, "number": 0.5, "vector": [0.0, 0.5]}[trained.kind]
    (one,) = trained.model.score(["ABCA1"], condition=trained.given)
    (two,) = trained.model.score(["ABCA1"], condition=other)
    assert one.total != two.total


def test_evaluate_repeats_the_test_and_slices_by_the_classes_of_the_condition(trained, capsys):
    before = json.loads((trained.folder / "metrics.json").read_text())
    asked(evaluate, "evaluate", trained, resamples=20)
    (path,) = trained.folder.glob("evaluations/*.json")
    rows = json.loads(path.read_text())
    rows = rows["rows"] if isinstance(rows, dict) and "rows" in rows else rows
    text = json.dumps(rows)
    assert repr(before["test/loss"])[:8] in text or f"{before['test/loss']:.6f}"[:8] in text
    assert ("condition " in text) == (trained.kind in ("category", "ordinal"))


def test_predict_says_what_the_model_does_instead(trained, tmp_path):
    (tmp_path / "in.jsonl").write_text("{}")
    with pytest.raises(
        ConfigError, match="writes new sequences and cannot predict; allowed: sample"
    ):
        asked(predict, "predict", trained, input=str(tmp_path / "in.jsonl"))


def test_an_exported_graph_reads_the_condition(trained, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    asked(export, "export", trained, format="onnx", output=str(tmp_path / "m.onnx"))
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"))
    model = trained.model
    record = {model.x.column: trained.given, "name": "AB"}
    x = model.x.encode(record).to(model.x.spec.dtype).unsqueeze(0)
    y = model.y.encode_target(record).long().unsqueeze(0)
    state = np.zeros((1, 1, 8), np.float32)
    before = np.concatenate([[[2]], y[:, :-1].numpy()], axis=1)
    fed = {"x": x.numpy(), "y_before": before, "lengths": np.array([y.shape[1]])}
    fed |= {"fresh": np.array([True]), "h": state, "c": state}
    (logits,) = session.run(["logits"], fed)
    with torch.inference_mode():
        wanted = model.network(x, None, y, torch.tensor([y.shape[1]]))
    np.testing.assert_allclose(logits, wanted.numpy(), atol=1e-5)


def test_an_exported_folder_samples_the_same(trained, tmp_path):
    asked(export, "export", trained, format="safetensors", output=str(tmp_path / "m"))
    options = {"condition": trained.given, "max_length": 9}
    there = seqpipe.load(tmp_path / "m").sample(3, **options)
    assert there == trained.model.sample(3, **options)


def test_a_served_model_is_given_the_condition_in_a_row(trained):
    value = trained.given.tolist() if trained.kind == "vector" else trained.given
    rows = [{"prompt": "", trained.model.x.column: value}]
    (answer,) = Served(trained.model).predict(rows, {"max_length": 9})
    assert answer["prediction"] == trained.model.sample(1, condition=value, max_length=9)[0]
    with pytest.raises(
        DataError, match=r"^inputs\[0\]: condition=null: the model needs a condition"
    ):
        Served(trained.model).predict([{"prompt": "A"}])


def test_a_rerun_gives_the_same_bits(trained):
    if trained.kind != "category":
        pytest.skip("one is enough: how x is read does not matter")
    answer = asked(rerun, "rerun", trained)
    assert "bit for bit" in answer.text, answer.text


MOODS = '''
import numpy as np
from seqpipe.data.base import Source, Splits

class Moods(Source):
    """Two notes that go up where glad and down where sad."""

    def __init__(self, valid, test, seed):
        pass

    def read(self):
        records = []
        for number in range(20):
            roll = np.zeros((6, 88), dtype=np.uint8)
            steps = range(6) if number % 2 else range(6)[::-1]
            roll[list(range(6)), [40 + number + step for step in steps]] = 1
            records.append({"mood": "glad" if number % 2 else "sad", "roll": roll})
        return Splits(train=records[:12], valid=records[12:16], test=records[16:])
'''


def test_a_roll_is_written_from_a_condition_too(launch, tmp_path, monkeypatch):
    (tmp_path / "moods_of_a_test.py").write_text(MOODS)
    monkeypatch.syspath_prepend(tmp_path)
    result = launch(
        "identifiers",
        "task=multi_label",
        "data.source._target_=moods_of_a_test.Moods",
        "data.x.column=mood",
        "~data.y.by",
        "data.y._target_=seqpipe.data.fields.rolls.PianoRoll",
        "data.y.column=roll",
        "trainer.max_epochs=1",
        "diagnostics=none",
        painted=True,
    )
    text = (result.output_dir / "sample.txt").read_text()
    assert text.startswith("condition=glad\n")
    assert "condition=sad\n" in text
    assert (result.output_dir / "figures" / "sample.png").stat().st_size > 1000
    model = seqpipe.load(result.output_dir, trust=["moods_of_a_test"])
    glad, sad = (model.sample(1, condition=mood, max_length=30)[0] for mood in ("glad", "sad"))
    assert glad.shape == sad.shape == (30, 88)
    assert (glad != sad).any()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.bptt=8", "data.bptt=8: "),
        ("data.window=8", "data.window=8: x and y cannot be cut together; allowed: null"),
        ("architecture.decoder.learn_initial_state=true", "learn_initial_state=true: the decoder"),
        ("bidirectional=true", "bidirectional=true: the decoder would read its own answer"),
        ("architecture=encoder_decoder", "maps one category to a text; allowed: arch"),
        ("task=classification", "task=classification: does not fit data=identifiers; allowed: "),
    ],
)
def test_what_a_condition_cannot_go_with_is_refused(override, message, launch, table):
    keys = [key for key in overrides("category", table) if not key.startswith("task.")]
    with pytest.raises(ConfigError) as caught:
        launch("identifiers", *keys, override)
    assert message in str(caught.value)


def test_what_is_described_counts_the_classes_of_the_condition(launch, table):
    result = launch("identifiers", *overrides("category", table), command="describe")
    text = (result.output_dir / "data.md").read_text()
    assert "y seen in train before" in text
    assert "big" in text
    assert "small" in text


def test_a_condition_may_go_with_a_longest_length(launch, table):
    few = ("diagnostics=none", "data.max_length=3", "data.longer=truncate")
    result = launch("identifiers", *overrides("vector", table), *few)
    rows = list(csv.DictReader((result.output_dir / "examples.csv").read_text().splitlines()))
    assert {len(row["truth"]) for row in rows} == {3}
