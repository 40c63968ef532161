"""The environment of a run: the git commit, the versions of packages, the platform."""

import platform
import subprocess
from importlib import metadata
from pathlib import Path

import torch

from seqpipe._version import __version__

_VERSIONS = {  # tag -> name of the distribution
    "lightning": "pytorch-lightning",
    "hydra": "hydra-core",
    "mlflow": "mlflow",
}
_GIT_SECONDS = 5.0  # a working copy on a slow disk must not hold up the run


def environment_tags(root: Path) -> dict[str, str]:
    """Tags that describe the environment of a run.

    Args:
        root: the folder the user works in; its git commit is recorded. `git.dirty` is true when
            a file that git knows differs from that commit (new files do not count: a folder of
            results would make every run dirty).

    Returns:
        `git.commit` and `git.dirty` ("none" outside a repository), `version.<package>` for
        seqpipe, Python and its main dependencies, and `platform`.
    """
    commit = _git(root, "rev-parse", "HEAD")
    changes = _git(root, "status", "--porcelain", "--untracked-files=no")
    return {
        "git.commit": commit or "none",
        "git.dirty": "none" if commit is None or changes is None else str(bool(changes)).lower(),
        "version.python": platform.python_version(),
        "version.seqpipe": __version__,
        # With its build, 2.13.0+cu130, which the distribution's version may lack.
        "version.torch": str(torch.__version__),
        **{f"version.{tag}": _version(name) for tag, name in _VERSIONS.items()},
        "platform": platform.platform(),
    }


def _git(root: Path, *arguments: str) -> str | None:
    """The output of git; None where there is no git, no repository or no answer in time."""
    command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=_GIT_SECONDS
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "none"
