"""Every kind of model answers MLflow's scoring server, in JSON, and tells what it cannot read."""

import asyncio
import json
import logging
import random
from types import SimpleNamespace

import pytest
import torch

from seqpipe.errors import ConfigError
from seqpipe.inference.pyfunc import Served
from seqpipe.tracking.serving import check_model, example_of

QUICK = (
    *("logger=mlflow", "trainer.max_epochs=1", "preflight=none", "diagnostics=none"),
    *("trainer.limit_val_batches=1", "trainer.limit_test_batches=1"),
)
SENTENCES = "\n\n".join(
    "\n".join(["Ann B-PER", *["really O"] * times, "saw O", "New B-LOC", "York I-LOC"])
    for times in range(30)
)
KINDS = {
    "classification": ("digits",),
    "regression": ("adding",),
    "translation": ("dates",),
    "tagging": ("conll", "data.path={folder}/train.conll", "+data.x.min_count=1"),
    "samples": ("lines", "data.path={folder}/lines.txt", "task.sample_length=20"),
}


def ask(app, body, kind="application/json"):
    """Status and body of an answer of the server's application, without a socket."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = []

    async def receive():
        return {"type": "http.request", "body": data, "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "http_version": "1.1", "method": "POST", "scheme": "http"}
    scope |= {"path": "/invocations", "query_string": b"", "client": ("here", 1)}
    scope |= {"headers": [(b"content-type", kind.encode())], "server": ("here", 1)}
    asyncio.run(app(scope, receive, send))
    text = b"".join(message.get("body", b"") for message in sent[1:])

    def strict(constant):
        raise AssertionError(f"{constant} is not JSON")

    return sent[0]["status"], json.loads(text, parse_constant=strict)


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def opened(launch_in, tmp_path_factory):
    """opened(kind): its model's folder, its Served, and the server's application; trained once."""
    made, folder = {}, tmp_path_factory.mktemp("asked")
    words = random.Random(0)
    lines = [" ".join(words.choices("abc", k=5)) for _ in range(60)]
    (folder / "train.conll").write_text(SENTENCES)
    (folder / "lines.txt").write_text("\n".join(lines))

    def of(name):
        if name not in made:
            data, *rest = (one.format(folder=folder) for one in KINDS[name])
            done = launch_in(folder, data, *rest, *QUICK, folder=name)
            model = done.output_dir / "model"
            import mlflow.pyfunc  # warns when it is imported first, which is to be the run's work
            from mlflow.pyfunc import scoring_server

            pyfunc = mlflow.pyfunc.load_model(str(model))
            app = scoring_server.init(pyfunc)
            served = pyfunc._model_impl.served
            made[name] = SimpleNamespace(folder=model, served=served, app=app, pyfunc=pyfunc)
        return made[name]

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("_MLFLOW_IS_IN_SERVING_ENVIRONMENT", "true")  # the application sets it
        yield of


def test_every_kind_of_model_answers_its_own_example(opened, kind):
    model = opened(kind)
    check_model(model.folder)
    body = example_of(model.folder)
    status, answer = ask(model.app, body)
    assert status == 200
    (row,) = answer["predictions"]
    columns = body["dataframe_split"]["columns"]
    record = dict(zip(columns, body["dataframe_split"]["data"][0], strict=True))
    assert [row] == json.loads(json.dumps(model.served.predict([record])))
    expected = {
        "classification": {"prediction", "probability"},
        "regression": {"prediction"},
        "translation": {"prediction", "score", "unknown"},
        "tagging": {"prediction", "probability", "spans", "unknown"},
        "samples": {"prediction"},
    }
    assert {name for name in row if "." not in name} == expected[kind]
    number = {"regression": float, "tagging": list}
    assert isinstance(row["prediction"], number.get(kind, str))
    assert ask(model.app, {"dataframe_records": [record, record]})[0] == 200
    assert ask(model.app, {"inputs": [record]}) == (200, answer)


def test_a_sample_goes_on_from_its_prompt_and_another_row_draws_another(opened):
    app = opened("samples").app
    status, answer = ask(app, {"inputs": ["a b", "a b", ""]})
    first, second, third = (row["prediction"] for row in answer["predictions"])
    assert status == 200
    assert first != second
    assert all(set(text) <= set("abc ") for text in (first, second, third))
    assert ask(app, {"dataframe_records": [{"prompt": None}]})[0] == 200
    status, answer = ask(app, {"dataframe_records": [{"prompt": "a"}, {"prompt": "a?"}, {}]})
    told = "inputs[1]: prompt=a?: '?' after 'a' never occurred in training; allowed: "
    assert (status, answer["message"].startswith(told)) == (400, True)
    status, answer = ask(app, {"dataframe_records": [{"prompt": 3}, {"prompt": "b"}]})
    told = "inputs[0]: prompt=3: is not text; allowed: text, or nothing"
    assert (status, answer["message"]) == (400, told)


def test_how_a_model_is_asked_goes_by_params(opened):
    drawn = opened("samples")
    body = {"inputs": ["a b", "a b"]}

    def written(**params):
        status, answer = ask(drawn.app, {**body, "params": params})
        assert status == 200
        return [row["prediction"] for row in answer["predictions"]]

    assert written(seed=0) == written()
    assert written(seed=1)[0] == written()[1]
    assert max(map(len, written(max_length=1))) == 1 < max(map(len, written()))
    assert len(set(written(top_k=1))) == 1
    status, answer = ask(drawn.app, {**body, "params": {"top_p": 2.0}})
    told = "top_p=2.0: out of range; allowed: a number in [1e-06, 1] or null"
    assert (status, answer["message"]) == (400, told)
    translated = opened("translation")
    record = example_of(translated.folder)
    status, answer = ask(translated.app, {**record, "params": {"beam_size": 3, "n_best": 2}})
    assert (status, len(answer["predictions"][0]["n_best"])) == (200, 2)
    with pytest.raises(ConfigError, match="temprature are not known; allowed: temperature, "):
        drawn.served.predict(["a"], {"temprature": 1.0})


IMAGE = [[0.5] * 8 for _ in range(8)]
NARROW = [[0.5] * 7]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ([{"image": IMAGE}] * 50 + [{"image": NARROW}], "inputs[50]: image=[[0.5, 0.5, "),
        ([{"image": NARROW}], "inputs[0]: image=[[0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]]: is 7 wide"),
        ([{"image": IMAGE}, {}], "inputs[1]: image=None: is missing; allowed: a value"),
        ([{"image": "seven"}], "inputs[0]: image='seven': not an array of numbers"),
        ([{"image": [[1] * 8, [1] * 7]}], "not an array of numbers"),
        ([{"image": [[10**400] * 8]}], "not an array of numbers"),
        ([{"image": [[1e308] * 8]}], "holds numbers too large for float32"),
        ([{"image": [[None] * 8]}], "holds NaN or infinity"),
        ([{"image": [IMAGE]}], "has shape (1, 8, 8); expected (steps, numbers)"),
        ([{"image": []}], "inputs[0]: image=[]: "),
        ([{"imge": IMAGE}], "Model is missing inputs ['image']. Note that there were extra inputs"),
        ([], "Model is missing inputs ['image']"),
        ([{"image": IMAGE}, 3], "not a valid dataframe representation"),
    ],
)
def test_records_that_cannot_be_read_are_refused_in_one_message(opened, body, message):
    status, answer = ask(opened("classification").app, {"dataframe_records": body})
    assert status == 400
    assert message in answer["message"]
    assert not answer.keys() & {"stack_trace"}
    assert len(answer["message"]) < 700
    assert "Traceback" not in str(answer)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{hello", "Ensure that input is a valid JSON formatted string"),
        (b"\xff", "Ensure that input is a valid JSON formatted string"),
        (b"", "Ensure that input is a valid JSON formatted string"),
        ([1], "Received a list"),
        ({"rows": [IMAGE]}, "with exactly one of the input fields"),
        ({"inputs": []}, "inputs[0]: image=[]: "),
        ({"dataframe_split": {"columns": ["image"], "data": []}}, "inputs: hold no rows; allowed"),
        (b'{"dataframe_records": [{"image": ' + b"[" * 900 + b"]" * 900 + b"}]}", "image=[[[["),
    ],
)
def test_bodies_that_are_none_are_refused(opened, body, message):
    status, answer = ask(opened("classification").app, body)
    assert status == 400
    assert message in answer["message"]
    assert "stack_trace" not in answer


def test_arrays_are_read_in_every_way_mlflow_has_and_integers_are_numbers(opened):
    app = opened("classification").app
    other = [[1, 0] * 4 for _ in range(8)]
    answer = ask(app, {"dataframe_records": [{"image": IMAGE}, {"image": other}]})
    assert answer[0] == 200
    assert ask(app, {"inputs": [IMAGE, other]}) == answer
    assert ask(app, {"inputs": {"image": [IMAGE, other]}}) == answer
    assert ask(app, {"instances": [{"image": IMAGE}, {"image": other}]}) == answer
    assert ask(app, {"instances": [IMAGE, other]}) == answer


def test_what_is_not_finite_is_null_in_json(opened):
    model = opened("regression")
    weights = model.served.model.network.state_dict()
    kept = {name: weight.clone() for name, weight in weights.items()}
    try:
        for weight in model.served.model.network.parameters():
            weight.data.fill_(torch.inf)
        assert ask(model.app, example_of(model.folder)) == (
            200,
            {"predictions": [{"prediction": None}]},
        )
    finally:
        model.served.model.network.load_state_dict(kept)


def test_an_error_of_ours_is_a_500_whose_cause_stands_in_the_log_alone(opened, monkeypatch, caplog):
    def broken(*_):
        raise RuntimeError("a secret of the server")

    model = opened("regression")
    monkeypatch.setattr(Served, "predict", broken)
    with caplog.at_level(logging.ERROR, "seqpipe"):
        status, answer = ask(model.app, example_of(model.folder))
    told = "the model failed; the server's log has the reason"
    assert (status, answer) == (500, {"error_code": "INTERNAL_ERROR", "message": told})
    assert "a secret of the server" in caplog.text


def test_nothing_in_a_logged_model_is_a_pickle(opened, kind):
    files = [path for path in opened(kind).folder.rglob("*") if path.is_file()]
    suffixes = {".json", ".yaml", ".txt", ".safetensors", ".npz", ".whl", ""}
    assert {path.suffix for path in files} <= suffixes
    assert [path.name for path in files if path.suffix == ""] == ["MLmodel"]
    assert not [path for path in files if path.read_bytes()[:2] in (b"\x80\x04", b"\x80\x02")]


def test_what_is_nested_too_deeply_for_python_is_refused(opened, monkeypatch):
    def deep(*_):
        raise RecursionError("maximum recursion depth exceeded")

    model = opened("regression")
    monkeypatch.setattr(Served, "predict", deep)
    status, answer = ask(model.app, example_of(model.folder))
    told = "inputs: are nested too deeply; allowed: inputs like those of the training"
    assert (status, answer["message"]) == (400, told)
