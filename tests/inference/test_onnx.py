"""Trained models as ONNX files: onnxruntime alone gives their answers."""

import functools
import json
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from seqpipe.data.base import SequenceSpec
from seqpipe.data.fields.labels import Category, Number, Ordinal, Tags
from seqpipe.data.fields.multilabel import MultiLabel as Labels
from seqpipe.data.fields.series import Series, Vector
from seqpipe.data.fields.spelling import Spelled
from seqpipe.data.fields.text import Text
from seqpipe.errors import ConfigError
from seqpipe.inference.graphs import checking
from seqpipe.inference.making import informed, sized
from seqpipe.inference.model import Model
from seqpipe.inference.onnx import export_onnx
from seqpipe.models.encoder_decoder import EncoderDecoder
from seqpipe.models.many_to_many import ManyToMany
from seqpipe.models.many_to_one import ManyToOne
from seqpipe.models.one_to_many import OneToMany
from seqpipe.models.one_to_one import OneToOne
from seqpipe.nn.cells import GRU, LSTM, RNN, PeepholeLSTM, SimplifiedGRU
from seqpipe.nn.head import FeedForward, Head
from seqpipe.nn.recurrent import RecurrentStack
from seqpipe.tasks.classification import Classification
from seqpipe.tasks.language_modeling import LanguageModeling
from seqpipe.tasks.multi_label import MultiLabel
from seqpipe.tasks.ordinal import Ordinal as OrdinalTask
from seqpipe.tasks.regression import Regression
from seqpipe.tasks.tagging import Tagging
from seqpipe.tasks.transcription import Transcription
from seqpipe.tasks.transduction import Transduction

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
    "labels": lambda: Labels("labels"),
    "stars": lambda: Ordinal("stars"),
    "number": lambda: Number("number", standardize=True),
    "tags": lambda: Tags("tags"),
    "forecast": lambda: Series("series", standardize=True),
}


def fitted(name):
    if name is None:
        return None
    field = FIELDS[name]()
    field.fit(RECORDS)
    return field


def made(architecture, task, x, y, cell="lstm", *, seed=0, head=None, scale=0.6, **options):
    """A model with random weights; `depth` and the like are options of its stack."""
    names = {"depth", "bidirectional", "learn_initial_state"}
    stack = {name: options.pop(name) for name in names & options.keys()}
    stack = functools.partial(RecurrentStack, cell=CELLS[cell], hidden_size=6, **stack)
    parts = {ManyToOne: ["encoder"], ManyToMany: ["encoder"], OneToMany: ["decoder"]}
    parts = dict.fromkeys(parts.get(architecture, ["encoder", "decoder"]), stack)
    if architecture is OneToOne:
        parts = {"encoder": functools.partial(FeedForward, hidden_size=6, depth=2)}
    x, y = fitted(x), fitted(y)
    spec = SequenceSpec(None if x is None else x.spec, y.spec)
    task = informed(task, spec.y, longest_y=5, crf=False)
    torch.manual_seed(seed)
    head = head or Head
    make = functools.partial(architecture, head=head, **parts, **options)
    network = sized(make, spec, task.output_size)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.uniform_(-scale, scale)
    data = {"x": {"column": "text"}, "y": {"column": "label"}, "max_length": None}
    return Model({"data": data}, x, y, spec, task, network, {})


def session_of(path):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def classifier(x="words", cell="lstm", **options):
    return made(ManyToOne, Classification, x, "category", cell, **options)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_every_cell_answers_as_the_model_does_in_ragged_batches(cell, bidirectional, tmp_path):
    model = classifier("series", cell, depth=3, bidirectional=bidirectional)
    export_onnx(model, tmp_path / "m.onnx")
    session = session_of(tmp_path / "m.onnx")
    generator = torch.Generator().manual_seed(1)
    for rows, steps in ((1, 1), (5, 9), (2, 40)):
        x = torch.randn(rows, steps, 3, generator=generator)
        lengths = torch.randint(1, steps + 1, (rows,), generator=generator)
        with torch.inference_mode():
            want = model.network(x, lengths)
        x[torch.arange(steps) >= lengths.unsqueeze(1)] = torch.nan
        (found,) = session.run(["logits"], {"x": x.numpy(), "lengths": lengths.numpy()})
        np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-5)


MODELS = {
    **{
        f"pooled by {pooling}": (
            ManyToOne,
            Classification,
            "words",
            "category",
            {"pooling": pooling},
        )
        for pooling in ("last", "mean", "max")
    },
    "vectors": (OneToOne, Classification, "vector", "category", {}),
    "a number": (ManyToOne, Regression, "series", "number", {}),
    "labels": (ManyToOne, MultiLabel, "words", "labels", {}),
    "stars": (ManyToOne, OrdinalTask, "words", "stars", {}),
    "stars by mode": (
        ManyToOne,
        functools.partial(OrdinalTask, predict="mode"),
        "words",
        "stars",
        {},
    ),
    "tags": (ManyToMany, Tagging, "words", "tags", {}),
    "numbers of each step": (ManyToMany, Regression, "series", "forecast", {}),
    "spelled words, filters": (ManyToMany, Tagging, "spelled", "tags", {}),
    "spelled words, lstm": (ManyToMany, Tagging, "spelled", "tags", {"characters": "lstm"}),
    "a transcript": (ManyToMany, Transcription, "series", "characters", {}),
}


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_every_answer_is_the_one_that_predict_gives(name, bidirectional, tmp_path):
    architecture, task, x, y, options = MODELS[name]
    stack = {} if architecture is OneToOne else {"bidirectional": bidirectional, "depth": 2}
    head = functools.partial(Head, hidden=[5, 4], activation="tanh" if bidirectional else "relu")
    model = made(architecture, task, x, y, head=head, **options, **stack)
    export_onnx(model, tmp_path / "m.onnx")
    column = {"words": "text", "spelled": "text"}.get(x, x)
    answers = model.predict([record[column] for record in RECORDS])
    pieces = [model.encoder.pieces(row, one, labelled=False)[0] for row, one in enumerate(RECORDS)]
    batch = model.encoder.batch(pieces)
    fed = {"x": batch.x.numpy()}
    if batch.x_lengths is not None:
        fed["lengths"] = batch.x_lengths.numpy()
    session = session_of(tmp_path / "m.onnx")
    names = [output.name for output in session.get_outputs()]
    found = dict(zip(names, session.run(names, fed), strict=True))
    for row, answer in enumerate(answers):
        if name == "a number":
            assert answer["prediction"] == pytest.approx(found["prediction"][row, 0], rel=1e-5)
        elif name == "numbers of each step":
            steps = len(answer["prediction"])
            np.testing.assert_allclose(
                found["prediction"][row, :steps], answer["prediction"], rtol=1e-5, atol=1e-5
            )
        elif name == "a transcript":
            best = found["logits"][row, : batch.x_lengths[row]].argmax(axis=-1)
            kept = [
                k for k, before in zip(best, [0, *best[:-1]], strict=True) if k not in (0, before)
            ]
            assert answer["prediction"] == model.y.decode([k for k in kept if k > 3])
        elif "probabilities" in answer:
            chances = list(answer["probabilities"].values())
            np.testing.assert_allclose(found["probabilities"][row], chances, atol=1e-5)
        else:
            chances = found["probabilities"][row, : len(answer["prediction"])]
            np.testing.assert_allclose(chances.max(axis=-1), answer["probability"], atol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_a_language_model_goes_on_step_by_step_from_the_state_it_answered_with(cell, tmp_path):
    model = made(
        OneToMany, LanguageModeling, None, "characters", cell, depth=2, learn_initial_state=True
    )
    export_onnx(model, tmp_path / "m.onnx")
    session = session_of(tmp_path / "m.onnx")
    y = model.y.encode_target(RECORDS[0]).long().unsqueeze(0)
    with torch.inference_mode():
        want = model.network(None, None, y, torch.tensor([y.shape[1]])).log_softmax(-1)
    states = [i.name for i in session.get_inputs() if i.name in ("h", "c")]
    state = {name: np.full((2, 1, 6), np.nan, np.float32) for name in states}
    before = json.loads(session.get_modelmeta().custom_metadata_map["bos"])
    names = ["probabilities", *(f"{name}_next" for name in states)]
    for t in range(y.shape[1]):
        fed = {
            "y_before": np.array([[before]]),
            "lengths": np.array([1]),
            "fresh": np.array([t == 0]),
        }
        chances, *after = session.run(names, {**fed, **state})
        np.testing.assert_allclose(np.log(chances[0, 0]), want[0, t], rtol=1e-4, atol=1e-5)
        state, before = dict(zip(states, after, strict=True)), int(y[0, t])


@pytest.mark.parametrize("x", ["category", "vector"])
def test_a_condition_stands_before_the_first_step(x, tmp_path):
    model = made(OneToMany, LanguageModeling, x, "characters", depth=2)
    export_onnx(model, tmp_path / "m.onnx")
    condition = model.x.encode(RECORDS[1]).unsqueeze(0)
    y = torch.tensor([[5, 6, 7]])
    with torch.inference_mode():
        want = model.network(condition, None, y, torch.tensor([3]))
    nothing = np.zeros((2, 1, 6), np.float32)
    fed = {"x": condition.numpy(), "y_before": np.array([[2, 5, 6]]), "lengths": np.array([3])}
    fed |= {"fresh": np.array([True]), "h": nothing, "c": nothing}
    (found,) = session_of(tmp_path / "m.onnx").run(["logits"], fed)
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-5)


def test_a_learned_initial_state_is_where_both_directions_begin(tmp_path):
    model = classifier(bidirectional=True, learn_initial_state=True, cell="gru")
    export_onnx(model, tmp_path / "m.onnx")
    x, lengths = torch.tensor([[4, 5, 6], [7, 0, 0]]), torch.tensor([3, 1])
    with torch.inference_mode():
        want = model.network(x, lengths)
    fed = {"x": x.numpy(), "lengths": lengths.numpy()}
    (found,) = session_of(tmp_path / "m.onnx").run(["logits"], fed)
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-5)


def test_the_file_says_what_its_numbers_mean(tmp_path):
    export_onnx(made(ManyToMany, Tagging, "spelled", "tags"), tmp_path / "m.onnx")
    told = session_of(tmp_path / "m.onnx").get_modelmeta().custom_metadata_map
    x, y = json.loads(told["x"]), json.loads(told["y"])
    assert (told["architecture"], told["task"], told["format"]) == ("ManyToMany", "tagging", "1")
    assert x["names"][:4] == x["characters"][:4] == ["<PAD>", "<UNK>", "<BOS>", "<EOS>"]
    assert {"apple", "pear"} <= set(x["names"])
    assert set("aple") <= set(x["characters"])
    assert y == {"kind": "tags", "size": 2, "names": ["N", "O"], "options": {"column": "label"}}
    export_onnx(made(ManyToOne, Regression, "series", "number"), tmp_path / "n.onnx")
    told = session_of(tmp_path / "n.onnx").get_modelmeta().custom_metadata_map
    assert len(json.loads(told["x"])["mean"]) == 3
    export_onnx(made(ManyToMany, Transcription, "series", "characters"), tmp_path / "c.onnx")
    assert session_of(tmp_path / "c.onnx").get_modelmeta().custom_metadata_map["blank"] == "0"


def test_a_model_is_written_alike_each_time_and_told_in_lines(tmp_path):
    first, second = (export_onnx(classifier(), tmp_path / name) for name in ("a", "b"))
    assert first == second
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert first[:2] == ["input: x (batch, steps) int64", "input: lengths (batch) int64"]
    assert "output: probabilities (batch, 3) float32" in first
    assert first[-1].startswith(f"checked: onnxruntime {onnxruntime.__version__} differs")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
    assert onnx.load(tmp_path / "a").opset_import[0].version == 18


@pytest.mark.parametrize("fault", ["a gate", "the length", "the direction"])
def test_a_graph_that_answers_otherwise_leaves_no_file(fault, tmp_path, monkeypatch):
    from seqpipe.inference.graphs import base, cells

    real = base.Graph.ops

    def wrong(self, kind, count, *inputs, **attributes):
        if kind == "LSTM" and fault == "the length":
            inputs = tuple("" if place == 4 else value for place, value in enumerate(inputs))
        if kind == "LSTM" and fault == "the direction":
            attributes["direction"] = "forward"
        return real(self, kind, count, *inputs, **attributes)

    monkeypatch.setattr(base.Graph, "ops", wrong)
    if fault == "a gate":
        monkeypatch.setattr(cells, "torch_rows", lambda weight, order: weight.detach())
    with pytest.raises(ConfigError, match=r"format=onnx: output '.*' of .* differs from the model"):
        export_onnx(classifier(bidirectional=True), tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


class OtherLSTM(LSTM):
    """Somebody's own step."""


REFUSED = {
    "OtherLSTM": (
        lambda: made_with_own_cell(),
        "cell=OtherLSTM: cannot be written as ONNX.*RNN, SimplifiedGRU, GRU, LSTM, PeepholeLSTM",
    ),
    "translation": (
        lambda: made(EncoderDecoder, Transduction, "words", "characters"),
        "architecture=encoder_decoder: is not written as ONNX: .*format=safetensors",
    ),
}


def made_with_own_cell():
    model = classifier()
    (layer,) = model.network.encoder.layers[0].values()
    layer.cell.__class__ = OtherLSTM
    return model


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_written_is_refused_with_a_reason(name, tmp_path):
    make, message = REFUSED[name]
    with pytest.raises(ConfigError, match=message):
        export_onnx(make(), tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("module", ["onnx", "onnxruntime"])
def test_a_missing_extra_is_asked_for(module, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    message = rf"format=onnx: needs {module}, .*pip install 'seqpipe\[onnx\]'"
    with pytest.raises(ConfigError, match=message):
        export_onnx(classifier(), tmp_path / "m.onnx")


def test_a_file_that_is_there_is_not_replaced(tmp_path):
    (tmp_path / "m.onnx").write_text("mine")
    with pytest.raises(ConfigError, match=r"output=.*m\.onnx: is there already; allowed: a new"):
        export_onnx(classifier(), tmp_path / "m.onnx")
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"output=.*: cannot be written .*; allowed: a new file"):
        export_onnx(classifier(), tmp_path / "file" / "m.onnx")


def test_more_weights_than_a_file_holds_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("seqpipe.inference.onnx.LARGEST", 1000)
    with pytest.raises(ConfigError, match=r"format=onnx: 0\.0 GB of weights, one ONNX file holds"):
        export_onnx(classifier(), tmp_path / "m.onnx")


def test_rounding_that_a_network_multiplies_is_no_fault_of_the_file(tmp_path):
    model = made(ManyToMany, Tagging, "series", "tags", "rnn", scale=4.0)  # chaotic
    lines = export_onnx(model, tmp_path / "m.onnx")
    assert "(the model's own float32 from its float64 by" in lines[-1]


def test_a_model_in_half_the_precision_or_double_is_written_in_single(tmp_path):
    model = classifier()
    model.network.double()
    export_onnx(model, tmp_path / "m.onnx")
    assert isinstance(next(model.network.parameters()), nn.Parameter)
    assert next(model.network.parameters()).dtype == torch.float64
    assert session_of(tmp_path / "m.onnx").get_outputs()[0].type == "tensor(float)"


@pytest.mark.gpu
def test_a_model_on_the_gpu_is_written_and_stays_there(tmp_path):
    model = classifier().to("cuda")
    export_onnx(model, tmp_path / "m.onnx")
    assert model.device.type == "cuda"


def test_the_check_sees_batches_of_one_and_many_ragged_and_up_to_200_steps():
    model = classifier()
    cases = list(checking.cases(model.network, model.task, model.spec))
    assert {len(case.inputs["x"]) for case in cases} == {1, 3, 64}
    assert max(case.inputs["x"].shape[1] for case in cases) == 200
    assert len(cases[-1].inputs["lengths"].unique()) > 20
    fed = cases[-1].fed()["x"]
    assert (fed[~cases[-1].real.numpy()] == checking.NO_ID).all()
