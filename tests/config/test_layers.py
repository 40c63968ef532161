import ast
from collections.abc import Iterator
from pathlib import Path

import seqpipe

SRC = Path(seqpipe.__file__).parent
# What stands in a line may import what stands right of it: the table of the design.
MAY_IMPORT = {
    "__init__": {"api", "inference", "_version"},
    "__main__": {"cli"},
    "pyfunc": {"tracking", "inference", "errors"},
    "cli": {
        "commands",
        "launchers",
        "report",
        "runs",
        "sweep_process",
        "config",
        "processes",
        "peers",
        "terminal",
        "signals",
        "display",
        "collector",
        "errors",
        "_version",
    },
    "sweep_process": {"runs", "config", "processes", "terminal", "signals", "errors"},
    "commands": {
        *("runs", "checks", "build", "report", "diagnostics", "tracking", "training", "inference"),
        *("onnx", "tasks", "models", "data", "nn", "config", "rules", "records", "processes"),
        *("terminal", "signals", "targets", "console", "display", "files", "collector", "errors"),
        "allocator",
    },
    "launchers": {
        *("report", "config", "data", "processes", "terminal", "signals", "display", "collector"),
        "errors",
    },
    "api": {"runs", "inference", "records", "errors"},
    "runs": {
        *("checks", "build", "report", "diagnostics", "tracking", "training", "inference"),
        *("tasks", "models", "data", "nn", "config", "rules", "records", "processes", "signals"),
        *("baselines", "targets", "console", "display", "files", "peers", "errors", "search"),
    },
    "checks": {
        *("build", "targets", "diagnostics", "tracking", "training", "tasks", "data", "nn"),
        *("config", "rules", "errors"),
    },
    "build": {
        *("inference", "diagnostics", "targets", "training", "tracking", "tasks", "models", "data"),
        *("nn", "config", "errors"),
    },
    "search": {"report", "tracking", "data", "config", "files", "errors"},
    "targets": {"tracking", "tasks", "data", "nn", "config", "errors"},
    "report": {"rules", "display", "files", "errors"},
    "diagnostics": {
        *("report", "tracking", "training", "models", "tasks", "data", "nn", "allocator", "errors"),
    },
    "testing": {"data", "nn", "errors"},
    "training": {
        *("report", "models", "tasks", "data", "nn", "records", "console", "display", "files"),
        *("processes", "signals", "errors"),
    },
    "onnx": {
        *("inference", "models", "tasks", "data", "nn", "rules", "files", "errors", "_version"),
    },
    "inference": {
        *("models", "tasks", "data", "nn", "rules", "records", "files", "errors", "_version"),
    },
    "tracking": {
        *("report", "distribution", "rules", "records", "signals", "files", "errors", "_version"),
    },
    "tasks": {"baselines", "data", "nn", "rules", "errors"},
    "baselines": {"models", "data", "nn"},
    "models": {"nn", "rules", "errors"},
    "data": {
        *("distribution", "rules", "records", "console", "display", "files", "errors", "_version"),
    },
    "nn": {"rules", "errors"},
    "distribution": {"config", "_version"},
    "config": {"processes", "files", "rules", "errors"},
    "bounds": {"rules", "errors"},
    "rules": {"errors"},
    "records": set(),
    "processes": {"errors"},
    "peers": {"errors"},
    "allocator": set(),
    "terminal": {"signals", "display", "errors"},
    "signals": set(),
    "console": {"display"},
    "collector": set(),
    "display": set(),
    "files": {"rules", "errors"},
    "errors": set(),
    "_version": set(),
}
for _layer_of_arguments in (
    *("commands", "runs", "config", "data", "nn", "models", "tasks", "inference", "training"),
    *("diagnostics", "tracking"),
):
    MAY_IMPORT[_layer_of_arguments] |= {"bounds", "rules"}
HEAVY = {"torch", "pytorch_lightning", "lightning_fabric", "mlflow", "torchmetrics", "sklearn"}


def _layer(module: str) -> str:
    parts = module.split(".")
    name = parts[1] if len(parts) > 1 else "__init__"
    known = (SRC / name).is_dir() or (SRC / f"{name}.py").is_file()
    return name if known else "__init__"  # a name of the package itself, as `seqpipe.load`


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


def _modules() -> dict[str, set[str]]:
    """The modules of the package, and those that each imports, lazily or not."""
    files = {
        ".".join(("seqpipe", *f.relative_to(SRC).with_suffix("").parts)).removesuffix(
            ".__init__"
        ): f
        for f in SRC.rglob("*.py")
    }
    return {
        module: {
            name if name in files else name.rpartition(".")[0]
            for name in _imports(file)
            if name in files or name.rpartition(".")[0] in files
        }
        - {module}
        for module, file in files.items()
    }


def test_no_module_imports_itself_by_way_of_others():
    left = _modules()
    while free := {module for module, used in left.items() if not used & left.keys()}:
        left = {module: used for module, used in left.items() if module not in free}
    assert not left, f"in a cycle, or above one: {sorted(left)}"


def test_a_cycle_of_lazy_imports_is_seen(tmp_path, monkeypatch):
    (tmp_path / "a.py").write_text("def f():\n    from seqpipe.b import g\n")
    (tmp_path / "b.py").write_text("from seqpipe.a import f\n")
    monkeypatch.setitem(globals(), "SRC", tmp_path)
    assert _modules() == {"seqpipe.a": {"seqpipe.b"}, "seqpipe.b": {"seqpipe.a"}}


def test_what_runs_before_a_command_is_accepted_names_no_heavy_library():
    files = [
        SRC / f"{name}.py"
        for name in ("__init__", "__main__", "cli", "errors", "terminal", "processes")
    ]
    files += [SRC / "commands" / f"{name}.py" for name in ("__init__", "dispatch", "options")]
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
