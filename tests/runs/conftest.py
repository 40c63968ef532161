"""Whole runs, as the command line starts them, on little data and without drawing."""

import functools
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig

import prepared
from reader_files import overrides_of
from seqpipe.build import build_data
from seqpipe.commands import describe_data, replay
from seqpipe.commands.train import run
from seqpipe.config import commandline
from seqpipe.config.compose import Launch, compose
from seqpipe.config.config_view import Tree
from seqpipe.config.loader import Loader
from seqpipe.config.validate import rule_at
from seqpipe.errors import SeqpipeError
from seqpipe.runs.training_run import RunResult

RUN = {"train": run, "describe": describe_data.run, "replay": replay.run}
TINY = {
    "digits": ["data=digits", "data.source.test=0.1", "data.source.valid=0.1"],
    "adding": [
        "data=adding",
        "dropout=0.0",
        "data.length=6",
        "data.source.train=60",
        "data.source.valid=16",
        "data.source.test=16",
    ],
    "dates": [
        "data=dates",
        "dropout=0.0",
        "data.source.train=60",
        "data.source.valid=10",
        "data.source.test=10",
    ],
    "copy_memory": [
        "data=copy_memory",
        "dropout=0.0",
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


@pytest.fixture(scope="session", autouse=True)
def stores_made_fast(tables_made_once: None) -> None:
    """Every store of this folder has copied tables, but for those of other processes."""


@pytest.fixture(scope="session")
def launch_in() -> Callable[..., RunResult]:
    """launch_in(root, "adding", "depth=2"): the result of that run, with its folder below root.

    command="describe" does that with the same overrides; command="replay" with file=...
    Its figures are white unless painted=True: for tests that look at pictures.
    """

    def start(
        root: Path,
        data: str,
        *overrides: str,
        folder: str = "run",
        painted: bool = False,
        **how: Any,
    ) -> RunResult:
        typed = [*TINY.get(data, [f"data={data}"]), *SMALL, *overrides]
        cfg, choices = compose(typed)
        launch = Launch(root / "runs" / folder, root, choices, tuple(typed), **how)
        with pytest.MonkeyPatch.context() as patch:
            if not painted:
                prepared.leave_figures_white(patch)
            return RUN[launch.command](cfg, launch)

    return start


@pytest.fixture
def launch(launch_in: Callable[..., RunResult], tmp_path: Path) -> Callable[..., RunResult]:
    """As `launch_in`, below the test's own folder."""
    return functools.partial(launch_in, tmp_path)


Effects = Callable[[DictConfig], Iterable[str]]


def candidates(tree: Tree, key: str, more: Mapping[str, list[Any]]) -> Iterator[str]:
    """Other values of a key that its rules allow, as they are typed."""
    value, name = tree.get(key), key.rpartition(".")[2]
    rules = [rule] if (rule := rule_at(tree, key)) is not None else []
    words = [word for one in rules for word in one.words]
    tried: list[Any] = [*more.get(key, []), *more.get(name, []), *words]
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


DOES_NOT_APPLY = (
    *(
        "cannot be cut",
        "cuts the sequences already",
        "the training sequences are not cut",
        "nothing is too long",
    ),
    *("nothing is truncated", "ids have no room for it", "documents already start otherwise"),
    *("two ways to choose frames", "there is no backbone to use it", "no table of labels is read"),
    *("the data is read from files", "no list of files is read", "nothing is drawn"),
    *("only a set on the hub", "parquet has none", "are of words", "nothing is unknown"),
    *("neither x nor y reads", "nothing to sort by", "no label is read", "one block"),
    *(
        "would read its own answer",
        "the decoder starts in",
        "layers of the head, which has only one",
    ),
    *(
        "x does not hold the characters",
        "random vectors would never",
        "greedy decoding has no beam",
    ),
    *(
        "as better",
        "has no effect with optim.weight_decay",
        "without an embedding",
    ),
    "nothing to measure",
    "a part of x is not answered",
)
"""Words of refusals which say that a key does not apply where it was typed."""

LOOKED_FOR = (
    *("not in the record", "not in the header", "has no column", "has no array", "no such file"),
    *("there is no file", "is the wrong folder", "not a column of", "has this name"),
    *("no header names", "need names", "not JSON", "header names", "needs one star"),
    *("is blank", "is missing", "does not grow", "no code of DNA", "no column", "valid would be"),
    *("names are relative to a folder", "nothing reads"),
)
"""Words of refusals which show that a value was used: what it names was looked for in the files, or
they hold what it does not let pass."""

BY_CHANGE = ("group", "stratify", "columns", "keep", "values")  # of which that does not show enough


def _in_vain(
    case: tuple[str, ...],
    key: str,
    others: Iterable[str],
    effects: Effects,
    before: list[str],
) -> tuple[str, bool]:
    """Nothing where another value changes something; else what was tried, and what came of it.

    A value that its key cannot have shows nothing, nor does one that is taken and changes nothing.
    A refusal counts where it says that the key does not apply, or shows that the value was used.

    Returns:
        what was tried in vain; whether a change was seen.
    """
    tried, idle = [], False
    used = () if key.rpartition(".")[2] in BY_CHANGE else LOOKED_FOR
    for override in (f"{key}={other}" for other in others):
        try:
            cfg, _ = compose([*case, override])
            if any(was != now for was, now in zip(before, effects(cfg), strict=False)):
                return "", True
            tried.append(override)
        except SeqpipeError as error:
            if any(word in str(error) for word in used):
                return "", True
            idle = idle or any(word in str(error) for word in DOES_NOT_APPLY)
            tried.append(f"{override} (refused: {str(error).splitlines()[-1][:200]})")
        if idle:
            return "", False
    return " | ".join(tried) or f"{key}: no other value is known", False


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
        if key in exempt:
            continue
        origin = tree.origin(key)
        if not key.startswith(within) or (origin != key and origin.startswith(within)):
            continue  # that other key is walked
        found, changed = _in_vain(case, key, candidates(tree, key, more or {}), effects, before)
        inert.append(found)
        if changed:
            walked.add(where)
    return [one for one in inert if one]


@pytest.fixture(scope="session")
def inert_keys() -> Iterator[Callable[..., list[str]]]:
    """inert_keys(case, effects, exempt, walked): keys of a composed case without an effect.

    Each as the overrides that were tried in vain. `effects` gives what a configuration comes to,
    part by part; keys of classes in `walked` are passed over and added to it; `within` is the
    start of the keys that are walked, and `more` holds values to try first, by a key or its last
    name.
    """
    loader = Loader((), ())  # it composes the same options once

    def shared(folders: Any, of_hydra: Any, name: str) -> Loader:
        assert not folders
        assert not of_hydra
        return loader

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(commandline, "Loader", shared)
        yield _inert_keys


@pytest.fixture(scope="module")
def inert_data_keys(inert_keys: Any) -> Callable[..., list[str]]:
    """inert_data_keys(name, overrides, folder, exempt, more): as `inert_keys`, of the data alone.

    The name starts with that of the option, where the overrides choose none.
    """
    walked: set[tuple[str, str]] = set()

    def inert(
        name: str, words: tuple[str, ...], folder: Path, exempt: Any, more: Mapping[str, list[Any]]
    ) -> list[str]:
        case = overrides_of(name, words, folder)
        values = {
            key: [one.format(folder=folder) if isinstance(one, str) else one for one in others]
            for key, others in more.items()
        }
        found: list[str] = inert_keys(case, batches_of, exempt, walked, "data.", values)
        return found

    return inert


def batches_of(cfg: DictConfig) -> Iterator[str]:
    """What the data of a configuration comes to."""
    data = build_data(cfg)
    batches = [one for split in ("train", "valid", "test") for one in data.loader(split)]
    named = [None if field is None else field.names for field in (data.spec.x, data.spec.y)]
    drawn = [(one.index.tolist(), numbers(one.x), numbers(one.y)) for one in batches]
    yield repr((data.description, named, drawn))


def numbers(part: Any) -> Any:
    return None if part is None else (tuple(part.shape), part.double().flatten().tolist())
