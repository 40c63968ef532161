import ast
from collections.abc import Iterator
from pathlib import Path

import seqpipe

SRC = Path(seqpipe.__file__).parent
# What stands in a line may import what stands right of it: the table of the design.
MAY_IMPORT = {
    "__init__": {"loading", "inference"},
    "loading": {"verbs", "inference", "records", "errors"},
    "pyfunc": {"tracking", "inference", "errors"},
    "__main__": {"cli"},
    "cli": {"files", "display", "__init__", "verbs", "config", "processes", "terminal", "errors"},
    "verbs": {
        "console",
        "files",
        "display",
        *("__init__", "build", "checks", "report", "tracking", "training", "tasks", "models"),
        *("data", "diagnostics", "nn", "inference", "config", "rules", "terminal", "errors"),
        *("records", "processes", "targets"),
    },
    "checks": {
        *("build", "targets", "tracking"),
        *("training", "tasks", "data", "config", "rules", "errors"),
    },
    "targets": {"tracking", "tasks", "data", "nn", "config", "files", "errors"},
    "build": {
        "targets",
        "inference",
        "diagnostics",
        "training",
        "tracking",
        "tasks",
        "models",
        "data",
        "nn",
        "config",
        "errors",
    },
    "report": {"display", "rules", "files", "errors"},
    "diagnostics": {"models", "tasks", "data", "nn", "errors"},
    "testing": {"data", "nn", "errors"},
    "training": {
        "console",
        "display",
        "models",
        "tasks",
        "data",
        "nn",
        "records",
        "files",
        "errors",
    },
    "inference": {
        "__init__",
        "models",
        "tasks",
        "data",
        "nn",
        "rules",
        "records",
        "files",
        "errors",
    },
    "tracking": {"__init__", "distribution", "records", "rules", "terminal", "files", "errors"},
    "tasks": {"data", "nn", "rules", "errors"},
    "models": {"nn", "rules", "errors"},
    "data": {
        *("console", "display", "__init__", "distribution", "records", "files", "rules", "errors"),
    },
    "nn": {"rules", "errors"},
    "distribution": {"__init__", "config"},
    "config": {"rules", "errors"},
    "rules": {"errors"},
    "records": set(),
    "processes": {"errors"},
    "terminal": {"display"},
    "console": {"display"},
    "display": set(),
    "files": set(),
    "errors": set(),
}
HEAVY = {"torch", "pytorch_lightning", "lightning_fabric", "mlflow", "torchmetrics", "sklearn"}


def _layer(module: str) -> str:
    parts = module.split(".")
    name = parts[1] if len(parts) > 1 else "__init__"
    known = (SRC / name).is_dir() or (SRC / f"{name}.py").is_file()
    return name if known else "__init__"  # `from seqpipe import __version__`


def _imports(file: Path) -> Iterator[str]:
    """Every module a file imports, anywhere in it, relative imports made absolute."""
    package = ["seqpipe", *file.relative_to(SRC).parts[:-1]]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*parents, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def _own_layer(file: Path) -> str:
    return file.relative_to(SRC).parts[0].removesuffix(".py")


def test_packages_import_only_downwards():
    checked = 0
    for file in sorted(SRC.rglob("*.py")):
        layer = _own_layer(file)
        assert layer in MAY_IMPORT, f"{file} belongs to no layer of the design"
        for module in _imports(file):
            if module.split(".")[0] != "seqpipe":
                continue
            used = _layer(module)
            checked += 1
            assert used == layer or used in MAY_IMPORT[layer], f"{file} imports {module}"
    assert checked > 50


def test_what_runs_before_a_command_is_accepted_names_no_heavy_library():
    files = [
        SRC / f"{name}.py"
        for name in ("__init__", "__main__", "cli", "errors", "terminal", "processes")
    ]
    files += [SRC / "verbs" / f"{name}.py" for name in ("__init__", "calling", "registry")]
    for file in [*files, *(SRC / "config").rglob("*.py")]:
        used = {module.split(".")[0] for module in _imports(file)}
        assert not used & HEAVY, f"{file} imports {used & HEAVY}"


def test_hydra_runs_only_in_the_command_line_and_in_config():
    for file in SRC.rglob("*.py"):
        used = [module for module in _imports(file) if module.split(".")[0] == "hydra"]
        runtime = [m for m in used if not m.startswith(("hydra.utils.", "hydra.errors."))]
        assert not runtime or _own_layer(file) in ("cli", "config"), f"{file} imports {runtime}"


def test_mlflow_is_met_only_in_tracking():
    for file in SRC.rglob("*.py"):
        used = [module for module in _imports(file) if module.split(".")[0] == "mlflow"]
        assert not used or _own_layer(file) == "tracking", f"{file} imports {used}"
