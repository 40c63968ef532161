"""A model's folder is all there is to know: it opens anywhere, and answers as it did."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import seqpipe
from seqpipe.errors import ConfigError
from seqpipe.inference import model_format
from seqpipe.inference.load import load_model, pack_model
from seqpipe.inference.model import Model

FIXTURES = Path(__file__).with_name("fixtures")


def test_a_model_opens_where_nothing_of_its_training_is_left(made, tmp_path, monkeypatch):
    """Neither its data nor the vectors that its embedding started from."""
    vectors = tmp_path / "vectors.txt"
    vectors.write_text("".join(f"{word} {n} 0.5 {-n}\n" for n, word in enumerate(["cat", "dog"])))
    model = made(
        "category of text",
        f"+data.x.vectors={vectors}",
        "data.x.lowercase=false",
        "+data.x.lowercase_vectors=true",
    )
    vectors.unlink()
    monkeypatch.chdir(tmp_path)
    moved = Path(shutil.copytree(model.folder, tmp_path / "moved"))
    found = seqpipe.load(moved)
    assert found.predict(model.records) == model.model.predict(model.records)
    assert found.x.state()["vectors"].shape == (21, 3)


def test_the_weights_of_a_backbone_are_in_the_folder(made, tmp_path, monkeypatch):
    (tmp_path / "my_backbone.py").write_text(
        "from torch import nn\n\n"
        "def tiny():\n"
        "    return nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(3)
    network = nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1))
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    draw = np.random.default_rng(0)
    clips = [draw.integers(0, 256, (T, 5, 5), dtype=np.uint8) for T in (3, 1)]
    model = made("category of series").model
    node = {
        **{"_target_": "seqpipe.data.fields.frames.Frames", "column": "frames"},
        **{"weights": "weights.pt", "backbone": {"_target_": "my_backbone.tiny"}},
    }
    from seqpipe.inference.instantiate import Maker

    x = Maker(["my_backbone"]).make(node, "data.x")
    x.fit([{"frames": clip} for clip in clips])
    config = {**model.config, "data": {**model.config["data"], "x": node}}
    spec = type(model.spec)(x.spec, model.spec.y)
    here = Model(config, x, model.y, spec, model.task, model.network, model.facts)
    fields = {"x": x, "y": model.y}
    folder = model_format.write(
        tmp_path / "kept", pack_model(config, fields, spec, model.network, model.facts)
    )
    (tmp_path / "weights.pt").unlink()
    with pytest.raises(ConfigError, match=r"my_backbone.tiny: is no part of seqpipe"):
        load_model(folder)
    there = load_model(folder, ["my_backbone"])
    assert there.predict(clips) == here.predict(clips)
    assert there.predict(clips)[0] != there.predict(clips)[1]


@pytest.mark.parametrize("where", ["", "data/seqpipe", "model/data/seqpipe"])
def test_a_folder_is_opened_from_outside_too(made, tmp_path, where):
    there = made("number")
    shutil.copytree(there.folder, tmp_path / "run" / where)
    assert seqpipe.load(tmp_path / "run").predict(there.records) == there.model.predict(
        there.records
    )
    assert repr(seqpipe.load(str(tmp_path / "run"))) == repr(there.model)


def test_a_folder_without_a_model_is_told(tmp_path):
    with pytest.raises(ConfigError) as caught:
        seqpipe.load(tmp_path)
    text = "holds no model; allowed: a run folder, or an exported one"
    assert caught.value.problems == [f"{tmp_path}: {text}"]
    with pytest.raises(ConfigError) as caught:
        seqpipe.load(tmp_path / "nothing")
    assert caught.value.problems[0].startswith(
        f"run={tmp_path / 'nothing'}: neither a folder nor a run id"
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_told(made):
    with pytest.raises(ConfigError) as caught:
        seqpipe.load(made("number").folder, device="cuda")
    assert caught.value.problems == [
        "device=cuda: there is no GPU that torch can use; allowed: auto, cpu"
    ]


LOAD = """
import sys

BARRED = ("hydra", "mlflow", "pytorch_lightning", "lightning", "omegaconf")

class Barred:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BARRED:
            raise ImportError(f"{name} is not installed here")

sys.meta_path.insert(0, Barred())
import seqpipe

model = seqpipe.load(sys.argv[1])
print(model.predict(["the cat sat", "dog"]))
assert not [name for name in sys.modules if name.partition(".")[0] in BARRED]
"""


def test_a_folder_opens_without_hydra_mlflow_and_lightning(made):
    there = made("category of text")
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(there.folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(there.model.predict(["the cat sat", "dog"]))


def test_a_folder_of_format_1_opens_and_answers_as_it_did(near):
    """Written by the version that made this format; it must never be written anew."""
    folder = FIXTURES / "format_1"
    expected = json.loads((FIXTURES / "format_1.json").read_text())
    for name in ("tags", "numbers"):
        answers = seqpipe.load(folder / name).predict(expected[name]["inputs"])
        before = expected[name]["answers"]
        kept = [
            {key: answer[key] for key in old} for answer, old in zip(answers, before, strict=True)
        ]
        assert near(kept, before)


def test_a_folder_is_there_as_a_whole_or_not_at_all(made, tmp_path, monkeypatch):
    model = made("number").model
    held = pack_model(
        model.config, {"x": model.x, "y": model.y}, model.spec, model.network, model.facts
    )
    monkeypatch.setattr(
        model_format.np, "savez", lambda *a, **b: (_ for _ in ()).throw(OSError(28, "full"))
    )
    with pytest.raises(ConfigError, match=r"output=.*new: cannot be written \(full\); allowed: "):
        model_format.write(tmp_path / "new", held)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    model_format.write(tmp_path / "new", held)
    with pytest.raises(ConfigError, match=r"output=.*new: already exists; allowed: a new name"):
        model_format.write(tmp_path / "new", held)
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
