import platform
import subprocess

import torch

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


def test_outside_a_repository_the_commit_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    tags = environment_tags(tmp_path)
    assert (tags["git.commit"], tags["git.dirty"]) == ("none", "none")


def test_without_git_the_commit_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert environment_tags(tmp_path)["git.commit"] == "none"


def test_versions_are_those_that_run(tmp_path):
    tags = environment_tags(tmp_path)
    assert tags["version.torch"] == torch.__version__
    assert tags["version.python"] == platform.python_version()
    assert {"version.seqpipe", "version.lightning", "version.hydra", "version.mlflow"} <= set(tags)
