"""A model's folder that was tampered with, and what tells that something in it was run."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import seqpipe
from seqpipe.errors import ConfigError
from seqpipe.inference import model_format


@pytest.fixture
def folder(made, tmp_path) -> Path:
    """A model's folder that a test may change."""
    return Path(shutil.copytree(made("category of text").folder, tmp_path / "model"))


@pytest.fixture
def sign(folder) -> Callable[[], None]:
    """Renews the hashes of the folder: who changed a file can do that, too."""

    def renew() -> None:
        about = json.loads((folder / "seqpipe.json").read_text())
        about["sha256"] = {
            name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
            for name in model_format.FILES
        }
        (folder / "seqpipe.json").write_text(json.dumps(about))

    return renew


@pytest.fixture
def refused(folder) -> Callable[..., str]:
    """refused(trust=[...]): the only problem of the folder, in which nothing was written."""

    def of(**options: object) -> str:
        before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
        with pytest.raises(ConfigError) as caught:
            seqpipe.load(folder, **options)
        assert {f: f.read_bytes() for f in folder.rglob("*") if f.is_file()} == before
        (problem,) = caught.value.problems
        return problem

    return of
