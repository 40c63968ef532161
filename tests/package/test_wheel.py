"""The package as a stranger gets it: built, installed elsewhere, run from an empty folder."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parents[2]
PLUGINS = REPOSITORY / "src" / "hydra_plugins"


def run(*command: object, cwd: Path, site: Path | None = None) -> str:
    """Run a command; with `site`, packages are looked for there first."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    if site is not None:
        environment["PYTHONPATH"] = str(site)
    words = [str(part) for part in command]
    done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{words} ended with {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, REPOSITORY, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (found,) = built.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel installed; what it depends on comes from this environment."""
    folder = tmp_path_factory.mktemp("site")
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index")
    run(*pip, "--target", folder, wheel, cwd=folder)
    return folder


@pytest.fixture
def empty_folder(tmp_path: Path) -> Path:
    """A working directory with nothing but the user's own `my_conf/experiment/mine.yaml`."""
    experiment = tmp_path / "my_conf" / "experiment" / "mine.yaml"
    experiment.parent.mkdir(parents=True)
    experiment.write_text("# @package _global_\nhidden_size: 7\n")
    return tmp_path


def files_below(folder: Path, pattern: str) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob(pattern)}


def test_the_wheel_holds_the_whole_package_and_conf_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    source = {f"seqpipe/{name}" for name in files_below(REPOSITORY / "src/seqpipe", "*.py")}
    source |= {f"seqpipe/{name}" for name in files_below(REPOSITORY / "src/seqpipe", "*.css")}
    source |= {f"hydra_plugins/{name}" for name in files_below(PLUGINS, "*.py")}
    conf = {f"seqpipe/conf/{name}" for name in files_below(REPOSITORY / "conf", "*.yaml")}
    assert "seqpipe/conf/config.yaml" in conf
    assert names == source | conf | {"seqpipe/py.typed"}
    assert "hydra_plugins/__init__.py" not in names, "a namespace, shared with plugins of others"


def test_the_wheel_has_the_name_that_is_ours(wheel: Path) -> None:
    assert wheel.name.startswith("seqpipe_rnn-")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("/METADATA")]
        about = archive.read(name).decode().splitlines()
    assert "Name: seqpipe-rnn" in about


def test_the_sdist_holds_what_the_wheel_is_built_from_and_no_run(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        top_level = {name.split("/")[1] for name in archive.getnames()}
    assert {"src", "conf", "tests", "pyproject.toml", "README.md", "LICENSE"} <= top_level
    assert not {"outputs", "data", ".venv", "dist"} & top_level


def test_the_installed_package_is_the_one_that_runs(site: Path, tmp_path: Path) -> None:
    code = "import seqpipe; print(seqpipe.__file__)"
    where = run(sys.executable, "-c", code, cwd=tmp_path, site=site)
    assert Path(where.strip()).is_relative_to(site)


@pytest.mark.parametrize("how", ["module", "console script"])
def test_it_composes_from_an_empty_folder_with_the_users_own_config_dir(
    how: str, site: Path, empty_folder: Path
) -> None:
    start = [sys.executable, "-m", "seqpipe"] if how == "module" else [site / "bin" / "seqpipe"]
    arguments = ("--config-dir", "my_conf", "experiment=mine", "--cfg", "job")
    printed = run(*start, *arguments, cwd=empty_folder, site=site)
    assert "hidden_size: 7" in printed.splitlines()
    assert [path.name for path in empty_folder.iterdir()] == ["my_conf"]


def test_it_trains_from_an_empty_folder(site: Path, empty_folder: Path) -> None:
    arguments = ("--config-dir", "my_conf", "experiment=mine", "trainer=debug", "logger=none")
    run(sys.executable, "-m", "seqpipe", *arguments, cwd=empty_folder, site=site)
    (saved,) = (empty_folder / "outputs" / "runs").glob("*/config.yaml")
    assert "hidden_size: 7" in saved.read_text().splitlines()


ASK = """
import mlflow.pyfunc, seqpipe
print(seqpipe.__file__)
print(mlflow.pyfunc.load_model("model").predict([{"human": "3 May 1979"}])[0]["prediction"])
"""


def test_a_logged_model_is_loaded_by_the_wheel_beside_it(site: Path, tmp_path: Path) -> None:
    """Trained by an installed package, without sources; then there is what the model brings."""
    size = [f"data.source.{split}=30" for split in ("train", "valid", "test")]
    short = ("hidden_size=4", "trainer.max_epochs=1", "diagnostics=none", "preflight=none")
    train = (sys.executable, "-m", "seqpipe", "data=dates", *size, *short)
    run(*train, cwd=tmp_path, site=site)
    (folder,) = (tmp_path / "outputs" / "runs").glob("*/model")
    (named,) = [
        line for line in (folder / "requirements.txt").read_text().splitlines() if "whl" in line
    ]
    other = tmp_path / "other"
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index")
    run(*pip, "--target", other, named, cwd=folder)
    assert files_below(other / "seqpipe", "*.py") == files_below(REPOSITORY / "src/seqpipe", "*.py")
    where, _ = run(sys.executable, "-c", ASK, cwd=folder.parent, site=other).splitlines()
    assert Path(where).is_relative_to(other)
