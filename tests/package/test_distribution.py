"""What the package declares, and the wheel of it that goes with a model."""

import ast
import functools
import re
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

import seqpipe
from seqpipe import distribution
from seqpipe.config.paths import conf_dir
from seqpipe.distribution import NAME, declared, pinned, write_wheel

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCE = REPOSITORY / "src" / "seqpipe"
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
DISTRIBUTION_OF = {"PIL": "pillow", "sklearn": "scikit-learn", "yaml": "pyyaml"}
DISTRIBUTION_OF |= {"hydra": "hydra-core", "markdown_it": "markdown-it-py"}
DISTRIBUTION_OF |= {"triton": "torch"}  # whose builds for CUDA bring it; nothing else uses it


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def names(requirements) -> set[str]:
    return {normal(re.split(r"[^\w.-]", one, maxsplit=1)[0]) for one in requirements}


@functools.cache
def nodes() -> list[tuple[Path, ast.AST]]:
    """Every node of every file of the package."""
    files = sorted(SOURCE.rglob("*.py"))
    return [(f, node) for f in files for node in ast.walk(ast.parse(f.read_text("utf-8")))]


def imported(*, asked_for: bool) -> dict[str, str]:
    """Module outside the standard library -> a file that imports it, or asks `need` for it."""
    found: dict[str, str] = {}
    for file, node in nodes():
        modules: list[str] = []
        if asked_for:
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "need":
                modules = [node.args[0].value]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            modules = [node.module]
        found |= {module.split(".")[0]: file.name for module in modules}
    return {k: v for k, v in found.items() if k not in sys.stdlib_module_names and k != "seqpipe"}


def test_everything_that_is_imported_is_declared():
    declared_names = names(PROJECT["dependencies"])
    optional = names(one for extra in PROJECT["optional-dependencies"].values() for one in extra)
    found, asked = imported(asked_for=False), imported(asked_for=True)
    assert found.keys() >= {"torch", "yaml", "pandas", "PIL"}
    for module, file in found.items():
        name = normal(DISTRIBUTION_OF.get(module, module))
        inside_an_extra = module in asked and name in optional
        assert name in declared_names or inside_an_extra, f"{file} imports {module}"


def test_what_is_declared_is_imported():
    used = {normal(DISTRIBUTION_OF.get(module, module)) for module in imported(asked_for=False)}
    assert names(PROJECT["dependencies"]) <= used


def test_every_library_that_is_asked_for_is_in_an_extra_under_its_own_name():
    extras = {name: names(needed) for name, needed in PROJECT["optional-dependencies"].items()}
    asked = imported(asked_for=True)
    assert len(asked) >= 7
    for file, node in nodes():
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "need":
            options = {word.arg: word.value for word in node.keywords}
            assert normal(node.args[0].value) in extras[options["extra"].value], file


def test_the_versions_of_python_are_said_once_and_the_same():
    assert PROJECT["requires-python"] == ">=3.11,<3.14"
    assert "(3, 11) <= sys.version_info[:2] < (3, 14)" in (REPOSITORY / "Makefile").read_text()
    assert "Python 3.11, 3.12 or 3.13" in (REPOSITORY / "README.md").read_text()


def test_no_text_sends_anybody_to_the_project_that_is_named_seqpipe():
    assert PROJECT["name"] == NAME != "seqpipe"
    texts = [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md"), *SOURCE.rglob("*.py")]
    texts += [*conf_dir().rglob("*.yaml"), REPOSITORY / "pyproject.toml"]
    texts += [REPOSITORY / "constraints.txt", REPOSITORY / "Makefile"]
    wrong = re.compile(r"""pip install[^\n`]*\bseqpipe(?!-rnn|\.)|["']seqpipe(\[|==|>=|~=)""")
    for path in texts:
        if path.name != "CHANGELOG.md":
            assert not wrong.search(path.read_text(encoding="utf-8")), path


def test_the_installed_package_declares_what_the_checkout_does(monkeypatch, tmp_path):
    """A wheel has no pyproject.toml beside it; what is asked then is the metadata."""
    here = declared()
    metadata_of = metadata.PathDistribution.at(write_unpacked(tmp_path))
    monkeypatch.setattr(distribution, "PACKAGE", tmp_path / "lib" / "site" / "seqpipe")
    monkeypatch.setattr(metadata, "metadata", lambda name: {NAME: metadata_of.metadata}[name])
    there = declared.__wrapped__()
    assert there == here
    assert there.extras["audio"] == ("soundfile>=0.12",)


def write_unpacked(folder: Path) -> Path:
    """The folder of metadata in the wheel, unpacked."""
    with zipfile.ZipFile(write_wheel(folder)) as archive:
        archive.extractall(folder)
    (found,) = folder.glob("*.dist-info")
    return found


def test_a_package_that_is_only_on_the_path_declares_nothing(monkeypatch, tmp_path):
    def missing(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(distribution, "PACKAGE", tmp_path / "lib" / "site" / "seqpipe")
    monkeypatch.setattr(metadata, "metadata", missing)
    assert declared.__wrapped__() == ("", (), {})


def test_a_wheel_holds_the_code_that_runs_and_its_configuration(tmp_path):
    path = write_wheel(tmp_path)
    version = re.fullmatch(r"seqpipe_rnn-(.+)-py3-none-any\.whl", path.name)[1]
    assert re.fullmatch(re.escape(seqpipe.__version__) + r"\+[0-9a-f]{12}", version)
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    info = f"seqpipe_rnn-{version}.dist-info"
    code = {f"seqpipe/{p.relative_to(SOURCE).as_posix()}": p for p in SOURCE.rglob("*")}
    code |= {
        f"seqpipe/conf/{p.relative_to(conf_dir()).as_posix()}": p for p in conf_dir().rglob("*")
    }
    plugins = SOURCE.parent / "hydra_plugins"
    code |= {p.relative_to(SOURCE.parent).as_posix(): p for p in plugins.rglob("*")}
    code = {name: p for name, p in code.items() if p.is_file() and "__pycache__" not in p.parts}
    about = {f"{info}/{name}" for name in ("METADATA", "WHEEL", "entry_points.txt", "RECORD")}
    assert files.keys() == code.keys() | about
    assert all(files[name] == path.read_bytes() for name, path in code.items())
    lines = files[f"{info}/METADATA"].decode().splitlines()
    assert {f"Name: {NAME}", f"Version: {version}", "Requires-Python: >=3.11,<3.14"} <= set(lines)
    assert {f"Requires-Dist: {one}" for one in PROJECT["dependencies"]} <= set(lines)
    assert len(files[f"{info}/RECORD"].decode().splitlines()) == len(files)


def test_the_same_code_gives_the_same_wheel_and_other_code_another_name(tmp_path, monkeypatch):
    for name in ("one", "two", "three"):
        (tmp_path / name).mkdir()
    first, second = write_wheel(tmp_path / "one"), write_wheel(tmp_path / "two")
    assert (first.name, first.read_bytes()) == (second.name, second.read_bytes())
    files = dict(distribution._files())
    files["seqpipe/rules.py"] += b"\n"
    monkeypatch.setattr(distribution, "_files", lambda: iter(files.items()))
    assert write_wheel(tmp_path / "three").name != first.name


@pytest.mark.parametrize(
    ("there", "command"),
    [
        ((), 'pip install "onnx>=1.17" "onnxruntime>=1.20"'),
        (("onnxruntime",), 'pip install "onnx>=1.17"'),
    ],
)
def test_a_hint_names_what_is_missing_and_nothing_that_is_there(there, command, monkeypatch):
    from seqpipe.data import optional_deps

    monkeypatch.setattr(optional_deps, "_is_there", lambda name: name in there)
    assert optional_deps.command("onnx", "onnx") == command
    assert optional_deps.command("unheard_of", "no such extra") == 'pip install "unheard_of"'


@pytest.mark.parametrize(
    ("version", "wanted"),
    [
        ("2.13.0+cu130", ("torch==2.13.0",)),
        ("2.13.0+cpu", ("torch==2.13.0",)),
        ("2.13.0", ("torch==2.13.0",)),
        ("2.14.0a0+git1234", ()),
        ("2.14.0.dev20261101", ()),
    ],
)
def test_a_build_of_torch_is_asked_for_by_its_release(version, wanted):
    assert pinned("torch", version) == wanted
