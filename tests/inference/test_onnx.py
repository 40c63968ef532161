"""Trained models as ONNX files: onnxruntime alone gives their answers."""

import functools
import json

import numpy as np
import onnxruntime
import pytest
import torch

from seqpipe.models.many_to_many import ManyToMany
from seqpipe.models.many_to_one import ManyToOne
from seqpipe.models.one_to_many import OneToMany
from seqpipe.models.one_to_one import OneToOne
from seqpipe.nn.crf import CRFHead
from seqpipe.nn.head import Head
from seqpipe.onnx.export import export_onnx
from seqpipe.tasks.classification import Classification
from seqpipe.tasks.language_modeling import LanguageModeling
from seqpipe.tasks.multi_label import MultiLabel
from seqpipe.tasks.ordinal import Ordinal
from seqpipe.tasks.regression import Regression
from seqpipe.tasks.tagging import Tagging
from seqpipe.tasks.transcription import Transcription


def session_of(path):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


REGULARIZED = {"zoneout": 0.2, "layer_norm": True, "weight_drop": 0.3, "hidden_dropout": 0.3}


@pytest.mark.parametrize(
    ("depth", "options"),
    [(3, {}), pytest.param(1, REGULARIZED, marks=pytest.mark.slow)],
    ids=["plain", "regularized"],
)
@pytest.mark.parametrize("bidirectional", [True, pytest.param(False, marks=pytest.mark.full)])
def test_every_cell_answers_as_the_model_does_in_ragged_batches(
    classifier, cell, bidirectional, depth, options, tmp_path
):
    stack = {"depth": depth, "bidirectional": bidirectional}
    model = classifier("series", cell, cell_options=options, **stack)
    model.network.eval()
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
    "flattened": (
        ManyToOne,
        Classification,
        "words",
        "category",
        {"pooling": "flatten", "longest_x": 20},
    ),
    "vectors": (OneToOne, Classification, "vector", "category", {}),
    "a number": (ManyToOne, Regression, "series", "number", {}),
    "labels": (ManyToOne, MultiLabel, "words", "labels", {}),
    "stars": (ManyToOne, Ordinal, "words", "stars", {}),
    "stars by mode": (
        ManyToOne,
        functools.partial(Ordinal, predict="mode"),
        "words",
        "stars",
        {},
    ),
    "tags": (ManyToMany, Tagging, "words", "tags", {}),
    "numbers of each step": (ManyToMany, Regression, "series", "forecast", {}),
    "spelled words, filters": (ManyToMany, Tagging, "spelled", "tags", {}),
    "spelled words, lstm": (ManyToMany, Tagging, "spelled", "tags", {"characters": "lstm"}),
    "spans by a crf": (ManyToMany, Tagging, "words", "spans", {"head": CRFHead}),
    "tags by a crf": (ManyToMany, Tagging, "words", "tags", {"head": CRFHead}),
    "a transcript": (ManyToMany, Transcription, "series", "characters", {}),
}


@pytest.fixture
def flattened(made, tmp_path):
    """A model with weights for 5 steps, and a session of its file."""
    flat = {"pooling": "flatten", "longest_x": 5}
    model = made(ManyToOne, Classification, "series", "category", **flat)
    export_onnx(model, tmp_path / "m.onnx")
    return model, session_of(tmp_path / "m.onnx")


@pytest.mark.parametrize(("lengths", "steps"), [([1], 1), ([5, 2, 1], 5), ([5, 2], 9)])
def test_a_flattened_model_answers_whatever_the_padding(flattened, lengths, steps):
    model, session = flattened
    x, lengths = torch.randn(len(lengths), steps, 3), torch.tensor(lengths)
    with torch.inference_mode():
        want = model.network(x, lengths)
    (found,) = session.run(["logits"], {"x": x.numpy(), "lengths": lengths.numpy()})
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rows", [1, 5])  # 5 rows of 6 steps would make 6 rows of 5
def test_a_flattened_model_refuses_more_steps_than_it_has_weights_for(flattened, rows):
    fed = {"x": np.zeros((rows, 6, 3), np.float32), "lengths": np.full(rows, 6)}
    with pytest.raises(Exception, match="out of data bounds"):
        flattened[1].run(["logits"], fed)


# Each model in one way; the other is left to make test-full.
WAYS = [
    pytest.param(name, both, marks=() if both == (n % 2 == 0) else pytest.mark.full)
    for n, name in enumerate(MODELS)
    for both in (False, True)
]


@pytest.mark.parametrize(("name", "bidirectional"), WAYS)
def test_every_answer_is_the_one_that_predict_gives(made, records, name, bidirectional, tmp_path):
    architecture, task, x, y, options = MODELS[name]
    stack = {} if architecture is OneToOne else {"bidirectional": bidirectional, "depth": 2}
    head = functools.partial(Head, hidden=[5, 4], activation="tanh" if bidirectional else "relu")
    model = made(architecture, task, x, y, **{"head": head, **options}, **stack)
    export_onnx(model, tmp_path / "m.onnx")
    column = {"words": "text", "spelled": "text"}.get(x, x)
    answers = model.predict([record[column] for record in records])
    pieces = [model.encoder.pieces(row, one, labelled=False)[0] for row, one in enumerate(records)]
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
        elif name.endswith("crf"):
            ids = found["tags"][row, : len(answer["prediction"])]
            assert [model.spec.y.names[id_] for id_ in ids] == answer["prediction"]
            chances = found["probabilities"][row, np.arange(len(ids)), ids]
            np.testing.assert_allclose(chances, answer["probability"], rtol=1e-4, atol=1e-6)
        elif "probabilities" in answer:
            chances = list(answer["probabilities"].values())
            np.testing.assert_allclose(found["probabilities"][row], chances, atol=1e-5)
        else:
            chances = found["probabilities"][row, : len(answer["prediction"])]
            np.testing.assert_allclose(chances.max(axis=-1), answer["probability"], atol=1e-5)


def test_a_language_model_goes_on_step_by_step_from_the_state_it_answered_with(
    made, records, cell, tmp_path
):
    model = made(
        OneToMany, LanguageModeling, None, "characters", cell, depth=2, learn_initial_state=True
    )
    check_steps(model, records, tmp_path)


@pytest.mark.parametrize("embedding_size", [None, 4], ids=["width of h", "projection"])
def test_tied_embeddings_read_and_write(made, records, embedding_size, tmp_path):
    tied = {"tie_embeddings": True, "embedding_size": embedding_size}
    model = made(OneToMany, LanguageModeling, None, "characters", depth=2, **tied)
    check_steps(model, records, tmp_path)


def check_steps(model, records, tmp_path):
    export_onnx(model, tmp_path / "m.onnx")
    session = session_of(tmp_path / "m.onnx")
    y = model.y.encode_target(records[0]).long().unsqueeze(0)
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
def test_a_condition_stands_before_the_first_step(made, records, x, tmp_path):
    model = made(OneToMany, LanguageModeling, x, "characters", depth=2)
    export_onnx(model, tmp_path / "m.onnx")
    condition = model.x.encode(records[1]).unsqueeze(0)
    y = torch.tensor([[5, 6, 7]])
    with torch.inference_mode():
        want = model.network(condition, None, y, torch.tensor([3]))
    nothing = np.zeros((2, 1, 6), np.float32)
    fed = {"x": condition.numpy(), "y_before": np.array([[2, 5, 6]]), "lengths": np.array([3])}
    fed |= {"fresh": np.array([True]), "h": nothing, "c": nothing}
    (found,) = session_of(tmp_path / "m.onnx").run(["logits"], fed)
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-5)


def test_a_learned_initial_state_is_where_both_directions_begin(classifier, tmp_path):
    model = classifier(bidirectional=True, learn_initial_state=True, cell="gru")
    export_onnx(model, tmp_path / "m.onnx")
    x, lengths = torch.tensor([[4, 5, 6], [7, 0, 0]]), torch.tensor([3, 1])
    with torch.inference_mode():
        want = model.network(x, lengths)
    fed = {"x": x.numpy(), "lengths": lengths.numpy()}
    (found,) = session_of(tmp_path / "m.onnx").run(["logits"], fed)
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-5)
