import platform
import subprocess
from importlib import metadata

import hydra
import mlflow
import pytorch_lightning
import torch

import seqpipe
from seqpipe.tracking.provenance import environment_tags


def _git(folder, *arguments):
    who = ["-c", "user.name=me", "-c", "user.email=me@example.org"]
    done = subprocess.run(
        ["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def test_the_commit_and_what_differs_from_it_are_tagged(tmp_path):
    _git(tmp_path, "init", "--quiet")
    (tmp_path / "known").write_text("one")
    _git(tmp_path, "add", "known")
    _git(tmp_path, "commit", "--quiet", "-m", "first")
    (tmp_path / "new").write_text("does not count")
    clean = environment_tags(tmp_path)
    assert clean["git.commit"] == _git(tmp_path, "rev-parse", "HEAD")
    assert clean["git.dirty"] == "false"
    (tmp_path / "known").write_text("two")
    assert environment_tags(tmp_path)["git.dirty"] == "true"


def test_without_a_repository_or_without_git_the_commit_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    tags = environment_tags(tmp_path)
    assert (tags["git.commit"], tags["git.dirty"]) == ("none", "none")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert environment_tags(tmp_path)["git.commit"] == "none"


def test_versions_are_those_that_run(tmp_path):
    tags = environment_tags(tmp_path)
    assert tags["version.torch"] == torch.__version__
    assert tags["version.python"] == platform.python_version()
    assert tags["version.lightning"] == pytorch_lightning.__version__
    assert tags["version.hydra"] == hydra.__version__
    assert tags["version.mlflow"] == mlflow.__version__
    assert tags["version.seqpipe"] == seqpipe.__version__


def test_the_build_of_torch_is_kept_whatever_its_distribution_is_called(tmp_path, monkeypatch):
    """The wheels of the package index are named 2.13.0 and hold 2.13.0+cu130."""
    monkeypatch.setattr(torch, "__version__", "2.13.0+cu130")
    monkeypatch.setattr(metadata, "version", lambda name: "2.13.0")
    assert environment_tags(tmp_path)["version.torch"] == "2.13.0+cu130"


def test_versions_do_not_ask_for_a_distribution_named_seqpipe(tmp_path, monkeypatch):
    """On the package index that name belongs to another project."""
    asked: list[str] = []
    monkeypatch.setattr(metadata, "version", lambda name: asked.append(name) or "1.0")
    assert environment_tags(tmp_path)["version.seqpipe"] == seqpipe.__version__
    assert asked
    assert "seqpipe" not in asked
