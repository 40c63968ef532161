"""A recorded run is trained again, and what is not as it was is said."""

import json
import re
import shutil
import sys
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient
from omegaconf import OmegaConf

from seqpipe.commands.options import Rerun
from seqpipe.commands.rerun import compare, run
from seqpipe.errors import ConfigError, DataError
from seqpipe.runs.trust import foreign_targets
from seqpipe.tracking.run_record import read_run_folder

QUICK = ("trainer.max_epochs=2", "preflight=none", "diagnostics=none")


@pytest.fixture(scope="module")
def recorded(launch_in, tmp_path_factory) -> Path:
    """The folder of a run that trained."""
    return launch_in(tmp_path_factory.mktemp("then"), "adding", *QUICK).output_dir


@pytest.fixture
def folder(recorded, tmp_path) -> Path:
    """A copy of it, whose record a test may change."""
    return Path(shutil.copytree(recorded, tmp_path / "then"))


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) >= 1
    path.write_text(text.replace(old, new))


def again(folder: Path, root: Path, **options) -> tuple[int, str]:
    answer = run(Rerun(run=str(folder), **options), root)
    return answer.code, answer.text


def made(root: Path) -> list[Path]:
    return sorted(root.glob("outputs/runs/*"))


def refused(kind, folder: Path, root: Path, **options) -> list[str]:
    with pytest.raises(kind) as caught:
        again(folder, root, **options)
    assert made(root) == []
    return caught.value.problems


def test_a_run_is_the_same_bit_for_bit(folder, tmp_path):
    code, text = again(folder, tmp_path)
    (new,) = made(tmp_path)
    count = len(json.loads((folder / "metrics.json").read_text()))
    assert text.splitlines()[-1] == f"same:       all {count} metrics, bit for bit"
    assert code == 0
    assert "differs" not in text
    assert (new / "metrics.json").read_text() == (folder / "metrics.json").read_text()
    assert OmegaConf.load(new / "config.yaml") == OmegaConf.load(folder / "config.yaml")
    then, now = read_run_folder(folder, "then"), read_run_folder(new, "now")
    assert now.tags["rerun_of"] == str(folder)
    assert (now.name, now.params, now.datasets) == (then.name, then.params, then.datasets)
    assert now.tags["command"] == then.tags["command"]


def test_a_metric_that_is_not_as_it_was_is_shown_and_ends_in_one(folder, tmp_path):
    metrics = json.loads((folder / "metrics.json").read_text())
    then = metrics["test/mse"]
    (folder / "metrics.json").write_text(json.dumps({**metrics, "test/mse": then * (1 + 1e-9)}))
    code, text = again(folder, tmp_path)
    assert code == 1
    (row,) = [line for line in text.splitlines() if line.startswith("test/mse ")]
    assert row.split() == ["test/mse", str(then * (1 + 1e-9)), str(then), "differs"]
    assert f"different:  1 of {len(metrics)} metrics are not the same bit for bit" in text
    assert "differs:    no recorded setting: this device does not repeat a computation" in text
    code, text = again(folder, tmp_path, tolerance=1e-6)
    assert code == 0
    assert text.endswith("metrics, within 1e-06 of their old values")


def test_what_differs_is_said_before_it_trains_and_refused_where_that_is_asked(
    folder, tmp_path, caplog
):
    record = folder / "provenance.json"
    told = json.loads(record.read_text())
    told["tags"] |= {"version.torch": "1.0", "git.commit": "abc"}
    told["datasets"]["val"]["digest"] = "ff"
    record.write_text(json.dumps(told))
    problems = refused(ConfigError, folder, tmp_path, strict=True)
    assert problems[0].startswith("strict=true: git.commit: then abc, now ")
    assert any(p.startswith("strict=true: version.torch: then 1.0, now ") for p in problems)
    assert problems[0].endswith(
        ": differs from the run; allowed: strict=false, or the same code, machine and data"
    )
    told["tags"] = {"command": told["tags"]["command"]}
    record.write_text(json.dumps(told))
    (problem,) = refused(ConfigError, folder, tmp_path, strict=True)
    assert problem.startswith("strict=true: data of val: then ff, now ")
    caplog.clear()
    assert again(folder, tmp_path)[0] == 0  # of the record only the digest was changed
    assert "differs from the run: data of val: then ff, now " in caplog.text


def test_a_record_from_before_an_option_existed_differs_in_nothing(folder, tmp_path):
    config = folder / "config.yaml"
    older = re.sub(r"\n *kernel: auto", "", config.read_text())
    assert older != config.read_text()
    added = r"\n(weight_noise|match_parameters\w*): \S+|\naveraging:\n *_target_: null"
    older, count = re.subn(added, "", older)
    assert count == 4
    of_parts = r"\n *(layer_norm|zoneout|weight_drop|input_dropout|baselines|positive): \S+"
    older, count = re.subn(of_parts, "", older)
    assert count > 4
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics = {name: one for name, one in metrics.items() if not name.startswith("baseline/")}
    del metrics["parameters"], metrics["test/mae"]
    (folder / "metrics.json").write_text(json.dumps(metrics))
    history = folder / "history.csv"
    lines = history.read_text().splitlines(keepends=True)
    history.write_text("".join(line for line in lines if "val/mae" not in line))
    config.write_text(older)
    code, text = again(folder, tmp_path, strict=True)
    assert code == 0
    *_, same, new = text.splitlines()
    assert same == f"same:       all {len(metrics)} metrics, bit for bit"
    assert new == "new:        2 metrics that the record lacks, as parameters"


def test_what_a_run_chose_from_its_data_is_no_difference(launch_in, tmp_path):
    chosen = launch_in(tmp_path, "digits", *QUICK).output_dir
    config = OmegaConf.load(chosen / "config.yaml")
    assert config.task.monitor == "val/accuracy"
    code, text = again(chosen, tmp_path, strict=True)
    assert (code, "differs" in text) == (0, False)


def test_options_that_changed_since_are_said_and_the_run_is_trained_as_recorded(folder, tmp_path):
    change(folder / "config.yaml", "lr: 0.01", "lr: 0.03")
    code, text = again(folder, tmp_path)
    assert code == 1
    assert "differs:    options of this version: optim.lr: then 0.03, today 0.01" in text
    assert re.search(r"^first:      \S+ at update 2 was \S+, is \S+$", text, re.MULTILINE)
    (new,) = made(tmp_path)
    assert OmegaConf.load(new / "config.yaml").optim.lr == 0.03


def test_a_run_without_a_command_is_trained_from_its_configuration(folder, tmp_path, caplog):
    record = folder / "provenance.json"
    told = json.loads(record.read_text())
    told["tags"]["command"] = "python -m seqpipe 'cut off"
    record.write_text(json.dumps(told))
    code, text = again(folder, tmp_path)
    assert code == 0, text
    assert "options of this version: its command no longer composes" in caplog.text


def test_code_that_a_record_names_runs_only_where_that_is_allowed(folder, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    lines = [
        "import pathlib, torch",
        f"pathlib.Path({str(tmp_path / 'ran')!r}).touch()",
        "def mine(params, **options):",
        "    return torch.optim.Adam(params, fused=True, **options)",
    ]
    (tmp_path / "my_optimizers.py").write_text("\n".join(lines))
    change(folder / "config.yaml", "torch.optim.Adam", "my_optimizers.mine")
    change(folder / "provenance.json", "python -m seqpipe", "python -m seqpipe optim._target_=x")
    (problem,) = refused(ConfigError, folder, tmp_path)
    assert problem == (
        f"run={folder}: names code that is not seqpipe's (my_optimizers.mine), which would run; "
        "allowed: own_code=true, if you trust it"
    )
    assert not (tmp_path / "ran").exists()
    assert "my_optimizers" not in sys.modules
    assert again(folder, tmp_path, own_code=True)[0] == 0
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "target", ["os.system", "seqpipe.cli.main", "seqpipe", "torch.hub.load", "seqpipe.config.x.y"]
)
def test_only_parts_of_a_run_may_be_named(folder, tmp_path, target):
    change(folder / "config.yaml", "seqpipe.nn.cells.LSTM", target)
    (problem,) = refused(ConfigError, folder, tmp_path)
    assert f"names code that is not seqpipe's ({target}), which would run" in problem


@pytest.mark.parametrize(
    ("old", "new", "kind", "message"),
    [
        (
            "\nseed: 0",
            "\ndescribe: true\nseed: 0",
            ConfigError,
            "it did not train (describe=true);",
        ),
        ("\nseed: 0", "\nsede: 0", DataError, "its config.yaml lacks seed; allowed: the version"),
        ("devices: 1", "devices: 2", ConfigError, "was trained in 2 processes; allowed: a run of"),
        (
            *("pooling: max", "polling: max", DataError),
            "does not fit this version (architecture.polling: seqpipe.models.many_to_one.ManyToOne "
            "has no such argument); allowed: the version that wrote it (0.1.0)",
        ),
        (
            *("cells.LSTM", "cells.Elman", DataError),
            "does not fit this version (cell: seqpipe.nn.cells has no Elman; architecture.encoder.",
        ),
    ],
)
def test_a_run_that_cannot_be_trained_again_here_is_refused(
    folder, tmp_path, old, new, kind, message
):
    change(folder / "config.yaml", old, new)
    (problem,) = refused(kind, folder, tmp_path)
    assert problem.startswith(f"run={folder}: ")
    assert message in problem


def test_a_run_that_never_came_to_its_test_cannot_be_compared(folder, tmp_path):
    (folder / "metrics.json").unlink()
    (problem,) = refused(ConfigError, folder, tmp_path)
    assert problem.startswith(f"run={folder}: it has no metrics.json; allowed: a finished run tha")


def test_the_new_run_is_recorded_beside_the_old_one(launch_in, tmp_path):
    first = launch_in(tmp_path, "adding", *QUICK, "logger=mlflow")
    answer = run(Rerun(run="latest"), tmp_path)
    assert answer.code == 0, answer.text
    client = MlflowClient(f"sqlite:///{tmp_path}/outputs/mlflow.db")
    experiment = client.get_experiment_by_name("adding")
    newest, oldest = client.search_runs([experiment.experiment_id])
    assert oldest.info.run_id == first.run_id
    assert newest.data.tags["rerun_of"] == first.run_id
    assert newest.data.params == oldest.data.params
    assert newest.info.status == "FINISHED"
    assert f"again:      {newest.info.run_id}, " in answer.text
    shutil.rmtree(first.output_dir)  # what MLflow keeps is enough
    shutil.rmtree(tmp_path / "outputs" / "runs")
    assert run(Rerun(run=first.run_id), tmp_path).code == 0


def test_numbers_are_the_same_where_every_bit_is():
    before = {"a": 1.0, "b": None, "c": 2.0, "d": 3.0, "e": None, "g": 0.0}
    now = {"a": 1.0, "b": None, "c": 2.0000000000000004, "d": None, "f": 1.0, "g": 0.0}
    same = {name: same for name, _, _, same in compare(before, now, 0.0)}
    assert same == {"a": True, "b": True, "c": False, "d": False, "e": False, "f": False, "g": True}
    near = {name: same for name, _, _, same in compare(before, now, 1e-9)}
    assert near == same | {"c": True}


def test_it_is_trained_with_as_many_threads_as_it_was(folder, tmp_path):
    change(folder / "provenance.json", '"threads": "1"', '"threads": "2"')
    before = torch.get_num_threads()
    try:
        again(folder, tmp_path)
    finally:
        torch.set_num_threads(before)
    (new,) = made(tmp_path)
    assert read_run_folder(new, "now").tags["threads"] == "2"


@pytest.mark.parametrize(
    ("key", "target", "ours"),
    [
        ("cell", "seqpipe.nn.cells.LSTM", True),
        ("scheduler", "seqpipe.training.schedules.cosine", True),
        ("data", "seqpipe.data.cache.os.system", False),
        ("data", "seqpipe.data.cache.shutil.rmtree", False),
        ("data", "seqpipe.data.cache.Path", False),
        ("data", "seqpipe.data.cache.pack", False),
        ("data", "seqpipe.data.cache.Cache", False),
        ("data", "seqpipe.data.columns.ColumnsWriter", False),
        ("cell", "seqpipe.data.sources.hub.Hub", False),
        ("task", "seqpipe.nn.cells.LSTM", False),
        ("optim", "pytorch_lightning.Trainer", False),
        ("callbacks", "seqpipe.config.sweep_callback.Comparison", False),
    ],
)
def test_what_our_modules_import_or_use_elsewhere_is_no_part_of_a_run(key, target, ours):
    node = {"_target_": target, "_partial_": True}
    config = {key: node} if key in ("cell", "scheduler", "task", "optim") else {key: {"x": [node]}}
    assert (target not in foreign_targets(config)) == ours
