"""Whole runs, as the command line starts them, on little data and without drawing."""

import functools
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from omegaconf import DictConfig
from PIL import Image

from seqpipe.config.annotations import TargetError
from seqpipe.config.compose import Launch, compose
from seqpipe.config.signatures import signature_of
from seqpipe.config.tree import Tree
from seqpipe.config.validate import rule_for
from seqpipe.errors import SeqpipeError
from seqpipe.report import run as report
from seqpipe.verbs.train import RunResult, run

TINY = {
    "digits": ["data=digits", "data.source.test=0.1", "data.source.valid=0.1"],
    "adding": [
        "data=adding",
        "data.length=6",
        "data.source.train=60",
        "data.source.valid=16",
        "data.source.test=16",
    ],
    "dates": [
        "data=dates",
        "data.source.train=60",
        "data.source.valid=10",
        "data.source.test=10",
    ],
    "copy_memory": [
        "data=copy_memory",
        "data.length=3",
        "data.source.train=60",
        "data.source.valid=16",
        "data.source.test=16",
    ],
}
SMALL = [
    "hidden_size=8",
    "data.batch_size=16",
    "logger=none",
    "trainer.accelerator=cpu",
    "trainer.enable_progress_bar=false",
    "trainer.log_every_n_steps=1",
]


def _unpainted(figure: Figure, path: Path, **options: Any) -> None:
    """In place of `savefig`: a white picture. Painting takes twice as long as a small training."""
    Image.new("RGB", (8, 8), "white").save(path, format="png")


@pytest.fixture(scope="session")
def launch_in() -> Callable[..., RunResult]:
    """launch_in(root, "adding", "depth=2"): the result of that run, with its folder below root.

    Its figures are made, but painted only with painted=True: for tests that look at pictures.
    """

    def start(
        root: Path, data: str, *overrides: str, folder: str = "run", painted: bool = False
    ) -> RunResult:
        typed = [*TINY.get(data, [f"data={data}"]), *SMALL, *overrides]
        cfg, choices = compose(typed)
        with pytest.MonkeyPatch.context() as patch:
            if not painted:
                patch.setattr(Figure, "savefig", _unpainted)
            return run(cfg, Launch(root / "runs" / folder, root, choices, tuple(typed)))

    return start


@pytest.fixture
def launch(launch_in: Callable[..., RunResult], tmp_path: Path) -> Callable[..., RunResult]:
    """As `launch_in`, below the test's own folder."""
    return functools.partial(launch_in, tmp_path)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """No figures, which take longer than a small training."""
    monkeypatch.setattr(report, "draw_confusion", lambda *a, **b: None)
    monkeypatch.setattr(report, "draw_curves", lambda *a, **b: None)


Effects = Callable[[DictConfig], Iterable[str]]


def candidates(tree: Tree, key: str, more: Mapping[str, list[Any]]) -> Iterator[str]:
    """Other values of a key that its rules allow, as they are typed."""
    value, parent, name = tree.get(key), *key.rpartition(".")[::2]
    try:
        target = tree.get(f"{parent}._target_")
        rule = signature_of(target).rules.get(name) if isinstance(target, str) else None
    except TargetError:
        rule = None
    rules = [one for one in (rule, rule_for(key)) if one is not None]
    words = [word for one in rules for word in one.words]
    tried: list[Any] = [*more.get(name, []), *words]
    if isinstance(value, bool):
        tried.append(not value)
    elif isinstance(value, int):
        tried += [value + 1, value + 2, max(1, value // 2), value * 3, 0, 0.5, 6]
    elif isinstance(value, float):
        tried += [value / 2, value + 0.1, value * 3, 0.3, 0.9, 2]
    elif isinstance(value, list):
        tried += [[*value, 3], [0.5, 0.6], value[:1], ["label"], ["text", "label"]]
    elif isinstance(value, str):
        tried += ["x", "y", "text", "val/loss", "val/perplexity", "tokens"]
    else:
        tried += [2, 3, 6, 0.5, True, "label", "x", ["x"], ["label"], "00:00:05:00"]
    for other in tried:
        if other != value and all(one.accepts(other) for one in rules):
            held = isinstance(other, (list, dict))
            yield json.dumps(other).replace('"', "") if held else str(other)


def _in_vain(
    case: tuple[str, ...], key: str, others: Iterable[str], effects: Effects, before: list[str]
) -> str:
    """Nothing where another value changes something, or is refused; else what was tried."""
    tried = []
    for other in others:
        override = f"{key}={other}"
        try:
            cfg, _ = compose([*case, override])
            for was, now in zip(before, effects(cfg), strict=False):
                if was != now:
                    return ""
        except (SeqpipeError, RuntimeError, ValueError):  # refused, by us or by the library
            return ""
        tried.append(override)
    return " ".join(tried) or f"{key}: no other value is known"


def _inert_keys(
    case: tuple[str, ...],
    effects: Effects,
    exempt: Collection[str],
    walked: set[tuple[str, str]],
    within: str = "",
    more: Mapping[str, list[Any]] | None = None,
) -> list[str]:
    cfg, _ = compose(case)
    tree = Tree(cfg)
    before = list(effects(cfg))
    inert = []
    for key, _ in tree.leaves():
        parent, _, last = key.rpartition(".")
        where = (f"{parent}:{tree.get(f'{parent}._target_')}", last)
        if last in ("_target_", "_partial_", "_convert_") or where in walked:
            continue
        if any(key == name or key.startswith(f"{name}.") for name in exempt):
            continue
        if tree.origin(key) != key or not key.startswith(within):
            continue
        walked.add(where)
        others = candidates(tree, key, more or {})
        inert.append(_in_vain(case, key, others, effects, before))
    return [one for one in inert if one]


@pytest.fixture(scope="session")
def inert_keys() -> Callable[..., list[str]]:
    """inert_keys(case, effects, exempt, walked): keys of a composed case without an effect.

    Each as the overrides that were tried in vain. `effects` gives what a configuration comes to,
    part by part; keys of classes in `walked` are passed over and added to it; `within` is the
    start of the keys that are walked, and `more` holds values to try first, by a key's last name.
    """
    return _inert_keys
