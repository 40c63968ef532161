"""ONNX files: what is in them, when there is none, and what the check before it sees."""

import json
import sys
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from seqpipe.errors import ConfigError
from seqpipe.models.architecture import Architecture
from seqpipe.models.encoder_decoder import EncoderDecoder
from seqpipe.models.many_to_many import ManyToMany
from seqpipe.models.many_to_one import ManyToOne
from seqpipe.models.one_to_one import OneToOne
from seqpipe.nn import lstm_cells, onnx_graph
from seqpipe.nn.cells import LSTM, Cell
from seqpipe.nn.crf import CRFHead
from seqpipe.nn.kernels.step_loop import StepLoop
from seqpipe.onnx import checking
from seqpipe.onnx.export import export_onnx
from seqpipe.tasks.base import Task
from seqpipe.tasks.classification import Classification
from seqpipe.tasks.regression import Regression
from seqpipe.tasks.tagging import Tagging
from seqpipe.tasks.transcription import Transcription
from seqpipe.tasks.transduction import Transduction


def session_of(path):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def test_the_file_says_what_its_numbers_mean(made, tmp_path):
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


def test_a_model_is_written_alike_each_time_and_told_in_lines(classifier, made, tmp_path):
    first, second = (export_onnx(classifier(), tmp_path / name) for name in ("a", "b"))
    assert first == second
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert first[:2] == ["input: x (batch, steps) int64", "input: lengths (batch) int64"]
    assert "output: probabilities (batch, 3) float32" in first
    assert first[-1].endswith("at most, with 1 to 64 sequences of 1 to 200 steps")
    flat = export_onnx(made(OneToOne, Classification, "vector", "category"), tmp_path / "c")
    assert flat[-1].endswith("at most, with 1 to 64 inputs")
    assert first[-1].startswith(f"checked: onnxruntime {onnxruntime.__version__} differs")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c"]
    assert onnx.load(tmp_path / "a").opset_import[0].version == 18


@pytest.mark.parametrize("fault", ["a gate", "the length", "the direction"])
def test_a_graph_that_answers_otherwise_leaves_no_file(classifier, fault, tmp_path, monkeypatch):
    real = onnx_graph.Graph.ops

    def wrong(self, kind, count, *inputs, **attributes):
        if kind == "LSTM" and fault == "the length":
            inputs = tuple("" if place == 4 else value for place, value in enumerate(inputs))
        if kind == "LSTM" and fault == "the direction":
            attributes["direction"] = "forward"
        return real(self, kind, count, *inputs, **attributes)

    monkeypatch.setattr(onnx_graph.Graph, "ops", wrong)
    if fault == "a gate":
        monkeypatch.setattr(lstm_cells, "rows_in_order", lambda weight, order: weight.detach())
    with pytest.raises(ConfigError, match=r"format=onnx: output '.*' of .* differs from the model"):
        export_onnx(classifier(bidirectional=True), tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


class UnwrittenLSTM(LSTM):
    """A step without a graph."""

    onnx_operator, onnx_step = Cell.onnx_operator, Cell.onnx_step


class OtherLSTM(LSTM):
    """A step that is not the one of the graph it inherits."""

    def recur(self, projected_t, state):
        h, c = super().recur(projected_t, state)
        return h / 2, c


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (UnwrittenLSTM, "cell=UnwrittenLSTM: cannot be written as ONNX, .*: format=safetensors"),
        (OtherLSTM, "format=onnx: output '.*' of .* differs from the model"),
    ],
)
def test_a_cell_without_its_own_graph_is_refused(classifier, cell, message, tmp_path):
    model = classifier()
    (layer,) = model.network.encoder.layers[0].values()
    layer.cell.__class__ = cell
    layer.kernel = StepLoop()
    with pytest.raises(ConfigError, match=message):
        export_onnx(model, tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_translation_is_refused_with_the_reason(made, tmp_path):
    model = made(EncoderDecoder, Transduction, "words", "characters")
    message = r"architecture=encoder_decoder: is not written as ONNX: .*format=safetensors"
    with pytest.raises(ConfigError, match=message):
        export_onnx(model, tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


class Unwritten(Regression):
    """A task without a graph."""

    onnx = Task.onnx


def test_a_task_without_its_own_graph_is_refused(made, tmp_path):
    model = made(ManyToOne, Regression, "series", "number")
    model.task.__class__ = Unwritten
    with pytest.raises(ConfigError, match=r"task=regression: .*; allowed: format=safetensors"):
        export_onnx(model, tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


class UnwrittenModel(Architecture):
    """An architecture without a graph."""


@pytest.mark.parametrize("network", [torch.nn.Linear(2, 2), UnwrittenModel()])
def test_a_model_without_its_own_graph_is_refused(classifier, network, tmp_path):
    model = classifier()
    model.network = network
    name = type(network).__name__
    with pytest.raises(ConfigError, match=rf"architecture={name}: .*; allowed: format=safetensors"):
        export_onnx(model, tmp_path / "m.onnx")


@pytest.mark.parametrize("module", ["onnx", "onnxruntime"])
def test_a_missing_extra_is_asked_for(classifier, module, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    message = rf"format=onnx: needs {module}, .*pip install \"{module}>=1\.\d\d\""
    with pytest.raises(ConfigError, match=message):
        export_onnx(classifier(), tmp_path / "m.onnx")


def test_a_file_that_is_there_is_not_replaced(classifier, tmp_path):
    (tmp_path / "m.onnx").write_text("mine")
    with pytest.raises(ConfigError, match=r"output=.*m\.onnx: already exists; allowed: a new"):
        export_onnx(classifier(), tmp_path / "m.onnx")
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"output=.*: cannot be written .*; allowed: a new file"):
        export_onnx(classifier(), tmp_path / "file" / "m.onnx")


def test_more_weights_than_a_file_holds_are_refused(classifier, tmp_path, monkeypatch):
    monkeypatch.setattr("seqpipe.onnx.export.LARGEST", 1000)
    with pytest.raises(ConfigError, match=r"format=onnx: 0\.0 GB of weights, one ONNX file holds"):
        export_onnx(classifier(), tmp_path / "m.onnx")


def test_rounding_that_a_network_multiplies_is_no_fault_of_the_file(made, tmp_path):
    model = made(ManyToMany, Tagging, "series", "tags", "rnn", scale=4.0)  # chaotic
    lines = export_onnx(model, tmp_path / "m.onnx")
    assert "(the model's own float32 from its float64 by" in lines[-1]


@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16])
def test_a_model_in_another_precision_is_written_in_single_and_stays_as_it_is(
    classifier, kind, tmp_path
):
    model = classifier()
    model.network.to(kind)
    export_onnx(model, tmp_path / "m.onnx")
    assert next(model.network.parameters()).dtype == kind
    assert session_of(tmp_path / "m.onnx").get_outputs()[0].type == "tensor(float)"


@pytest.mark.gpu
def test_a_model_on_the_gpu_is_written_and_stays_there(classifier, tmp_path):
    model = classifier().to("cuda")
    export_onnx(model, tmp_path / "m.onnx")
    assert model.device.type == "cuda"


@pytest.fixture
def cases_of(tmp_path):
    """The batches on which a model's file is checked."""

    def cases(model, name):
        export_onnx(model, tmp_path / name)
        session = session_of(tmp_path / name)
        return list(checking.cases(session, model.network, model.task, model.spec))

    return cases


def test_the_check_sees_batches_of_one_and_many_ragged_and_up_to_200_steps(classifier, cases_of):
    cases = cases_of(classifier(), "m.onnx")
    assert {len(case.inputs["x"]) for case in cases} == {1, 3, 64}
    assert max(case.inputs["x"].shape[1] for case in cases) == 200
    assert len(cases[-1].inputs["lengths"].unique()) > 20
    fed = cases[-1].fed()["x"]
    assert (fed[~cases[-1].real.numpy()] == checking.NO_ID).all()


def test_a_wide_network_is_checked_on_shorter_batches_and_on_one_long_sequence(
    made, classifier, cases_of, monkeypatch
):
    monkeypatch.setattr(checking, "MOST_NUMBERS", 64 * 24 * 10)  # 4 gates of 6: ten steps of 64
    cases = cases_of(classifier(), "m.onnx")
    assert cases[-1].inputs["x"].shape == (64, 10)
    assert (1, 200) in [case.inputs["x"].shape for case in cases]
    crf = made(ManyToMany, Tagging, "words", "spans", head=CRFHead)  # 25 pairs of tags
    cases = cases_of(crf, "crf.onnx")
    assert cases[-1].inputs["x"].shape == (64, 9)


def test_numbers_far_from_0_are_answered_in_float64(made, tmp_path):
    model = made(ManyToOne, Regression, "series", "number")
    model.task.y = replace(model.task.y, mean=(1.7e9,), scale=(10.0,))
    told = export_onnx(model, tmp_path / "n.onnx")
    assert "output: prediction (batch, 1) float64" in told
    x, lengths = torch.randn(5, 9, 3), torch.full((5,), 9)
    with torch.inference_mode():
        want = model.network(x, lengths).double() * 10 + 1.7e9
    fed = {"x": x.numpy(), "lengths": lengths.numpy()}
    (found,) = session_of(tmp_path / "n.onnx").run(["prediction"], fed)
    assert len(np.unique(found)) == 5
    np.testing.assert_allclose(found, want, rtol=0, atol=1e-4)
