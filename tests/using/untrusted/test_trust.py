"""Code of one's own beside a model: run where it is trusted; and what is handed on of a folder."""

import contextlib
import json
import shutil
import sys
from pathlib import Path

import pytest
import yaml

import seqpipe
from seqpipe.commands.dispatch import COMMANDS
from seqpipe.commands.evaluate import run as evaluate
from seqpipe.commands.export import run as export
from seqpipe.commands.predict import run as predict
from seqpipe.errors import ConfigError, DataError
from seqpipe.inference import model_format

Export, Predict = COMMANDS["export"].options, COMMANDS["predict"].options
Evaluate = COMMANDS["evaluate"].options


def test_weights_of_another_model_are_refused(folder, made, sign, refused):
    other = made("category of text", "bidirectional=false").folder
    shutil.copy(other / "model.safetensors", folder)
    sign()
    assert ": the weights do not fit its config.yaml (" in refused()


CELLS = """
from pathlib import Path
from seqpipe.nn.cells import RNN

Path("{canary}").mkdir(exist_ok=True)

class Mine(RNN):
    pass
"""


@pytest.fixture
def with_own_cell(folder, sign, canary, tmp_path, monkeypatch) -> Path:
    """A model whose cell is of a module in the current folder, which tells that it was run."""
    (tmp_path / "my_cells.py").write_text(CELLS.format(canary=canary))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_cells", raising=False)
    there = yaml.safe_load((folder / "config.yaml").read_text())
    encoder = there["architecture"]["encoder"]
    encoder["cell"] = {"_target_": "my_cells.Mine", "_partial_": True}
    encoder["bidirectional"] = False
    (folder / "config.yaml").write_text(yaml.safe_dump(there))
    sign()
    return folder


def test_a_module_of_ones_own_is_run_only_where_it_is_trusted(with_own_cell, canary, refused):
    text = "is no part of seqpipe, and what comes with a model is not run unasked"
    assert refused() == (
        f"{with_own_cell}: architecture.encoder.cell._target_=my_cells.Mine: {text};"
        " allowed: trust=my_cells, if you know what is in it"
    )
    refused(trust=["my", "my_cells.Mine.x", "my_cell"])
    assert not canary.exists()
    assert "the weights do not fit" in refused(trust=["my_cells"])
    assert canary.exists()


def test_trust_may_be_one_name(with_own_cell, refused):
    assert "the weights do not fit" in refused(trust="my_cells")


def test_a_checkpoint_is_no_run(made, tmp_path, canary, evil):
    """And is not opened to find that out."""
    checkpoint = tmp_path / "best.ckpt"
    checkpoint.write_bytes(evil)
    for where in (checkpoint, tmp_path):
        with pytest.raises(ConfigError) as caught:
            predict(Predict(run=str(where), input="-"), tmp_path)
        assert str(where) in str(caught.value)
    with pytest.raises(ConfigError):
        seqpipe.load(checkpoint)
    assert not canary.exists()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["best.ckpt"]


def as_run(folder: Path) -> Path:
    """The folder of a run that left this model."""
    run = folder.parent / "run"
    (run / "model" / "data").mkdir(parents=True)
    shutil.copy(folder / "config.yaml", run)
    shutil.copytree(folder, run / "model" / "data" / "seqpipe")
    return run


@pytest.mark.parametrize("place", ["source", "x", "y"])
def test_what_a_run_says_of_its_data_is_not_run(folder, tmp_path, canary, place):
    run = as_run(folder)
    told = yaml.safe_load((run / "config.yaml").read_text())
    told["data"][place] = {"_target_": "os.mkdir", "path": str(canary)}
    (run / "config.yaml").write_text(yaml.safe_dump(told))
    with pytest.raises(ConfigError) as caught:
        evaluate(Evaluate(run=str(run)), tmp_path)
    (problem,) = caught.value.problems
    assert problem.startswith(f"data.{place}._target_=os.mkdir: is no part of seqpipe, and what")
    assert not canary.exists()


@pytest.mark.parametrize(
    "word",
    [
        "data.source._target_=runs_own.Source",
        "'+data.x={_target_: runs_own.X}'",
        "--config-dir=own",
    ],
)
def test_the_command_of_a_run_is_not_run(folder, tmp_path, canary, monkeypatch, word):
    run = as_run(folder)
    (tmp_path / "runs_own.py").write_text(
        f"from pathlib import Path\nPath({str(canary)!r}).mkdir()"
    )
    monkeypatch.syspath_prepend(tmp_path)
    command = f"python -m seqpipe data=digits {word}"
    (run / "provenance.json").write_text(json.dumps({"tags": {"command": command}}))
    other = tmp_path / "other.jsonl"
    row = {"text": "the cat", "label": "no"}
    other.write_text(json.dumps(row) + "\n")
    asked = Evaluate(run=str(run), data=(f"data.path={other}",), log=False, resamples=0)
    with contextlib.suppress(ConfigError, DataError):  # as far as it comes by the record alone
        evaluate(asked, tmp_path)
    assert "runs_own" not in sys.modules
    assert not canary.exists()


def test_only_what_was_looked_at_is_handed_on(folder, tmp_path):
    run = as_run(folder)
    kept = run / "model" / "data" / "seqpipe"
    (kept / "more.pkl").write_bytes(b"x")
    (kept / "linked").symlink_to("/etc/hostname")
    export(Export(run=str(run), format="safetensors", output="out"), tmp_path)
    assert {file.name for file in (tmp_path / "out").iterdir()} == {
        *model_format.FILES,
        model_format.ABOUT,
    }
    assert seqpipe.load(tmp_path / "out").predict(["the cat"])


def test_what_is_damaged_is_not_handed_on(folder, tmp_path):
    run = as_run(folder)
    (run / "model" / "data" / "seqpipe" / "fields.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"fields.json: is damaged or was changed; allowed: "):
        export(Export(run=str(run), format="safetensors", output="out"), tmp_path)
    assert not (tmp_path / "out").exists()
