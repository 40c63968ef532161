"""What goes with a logged model, so that it can be served where seqpipe is not installed."""

import json
import re

import pytest
import torch
import yaml
from mlflow.utils import environment, requirements_utils

from seqpipe.tracking.base import Usage
from seqpipe.tracking.pyfunc import write_pyfunc


@pytest.fixture
def model(tmp_path):
    data = tmp_path / "made"
    data.mkdir()
    (data / "seqpipe.json").write_text("{}")
    usage = Usage([{"text": "a b"}], [{"prediction": "1"}], {})
    return write_pyfunc(tmp_path / "model", data, usage)


def test_the_requirements_name_the_wheel_beside_them_and_no_package_of_an_index(model):
    lines = (model / "requirements.txt").read_text().splitlines()
    (wheel,) = (model / "wheels").iterdir()
    assert f"wheels/{wheel.name}" in lines
    assert re.fullmatch(r"seqpipe_rnn-.*\.whl", wheel.name)
    assert f"torch=={torch.__version__.partition('+')[0]}" in lines
    assert [line for line in lines if "seqpipe" in line] == [f"wheels/{wheel.name}"]


def test_every_environment_that_mlflow_describes_has_the_wheel(model):
    (wheel,) = (model / "wheels").iterdir()
    conda = yaml.safe_load((model / "conda.yaml").read_text())["dependencies"]
    (by_pip,) = [one["pip"] for one in conda if isinstance(one, dict)]
    assert f"wheels/{wheel.name}" in by_pip
    virtual = yaml.safe_load((model / "python_env.yaml").read_text())
    assert virtual["dependencies"] == ["-r requirements.txt"]


def test_columns_that_need_not_be_there_are_not_asked_for_and_whole_numbers_may_stand_in_vectors(
    tmp_path, caplog
):
    """MLflow infers no type of a list that holds integers beside floats."""
    data = tmp_path / "made"
    data.mkdir()
    (data / "seqpipe.json").write_text("{}")
    rows = [{"prompt": "", "sort": "a", "vector": [0.5, 1]}]
    usage = Usage(rows, [{"prediction": "1"}], {}, ["prompt"])
    folder = write_pyfunc(tmp_path / "model", data, usage)
    signature = yaml.safe_load((folder / "MLmodel").read_text())["signature"]
    assert [
        (one["name"], one["type"], one["required"]) for one in json.loads(signature["inputs"])
    ] == [
        ("prompt", "string", False),
        ("sort", "string", True),
        ("vector", "any", True),
    ]
    assert [record for record in caplog.records if record.name.startswith("mlflow")] == []


def test_the_installed_packages_are_not_read_to_write_a_model(monkeypatch, tmp_path):
    def read():
        raise AssertionError("the files of every installed package are listed")

    monkeypatch.setattr(requirements_utils.importlib_metadata, "packages_distributions", read)
    monkeypatch.setattr(requirements_utils, "_MODULES_TO_PACKAGES", None)
    check = environment.warn_dependency_requirement_mismatches
    data = tmp_path / "made"
    data.mkdir()
    (data / "seqpipe.json").write_text("{}")
    usage = Usage([{"text": "a b"}], [{"prediction": "1"}], {})
    assert (write_pyfunc(tmp_path / "model", data, usage) / "MLmodel").is_file()
    assert environment.warn_dependency_requirement_mismatches is check
    environment.warn_dependency_requirement_mismatches(["torch==0.1"])  # which would have read them
    assert requirements_utils._MODULES_TO_PACKAGES is None
