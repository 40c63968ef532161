"""The data that a trained model is measured on: a split of its run, or other labelled data."""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from seqpipe.build import build_data
from seqpipe.config.validate import check_values
from seqpipe.data.base import SPLITS, Found, PlacedRecord, Source, Splits
from seqpipe.data.dataset import SequenceData
from seqpipe.data.sources.splitting import Reread
from seqpipe.errors import ConfigError, DataError
from seqpipe.inference.instantiate import Maker
from seqpipe.inference.load import without_files
from seqpipe.inference.model import Model
from seqpipe.records import targets
from seqpipe.rules import refusal
from seqpipe.runs.other_data import OtherData, change_data
from seqpipe.runs.trust import argument_problems, check_data, foreign_targets, missing_keys
from seqpipe.tracking.run_record import RunRecord

_SHOWN = 5
_OTHER_DATA = "data.path=... to measure other data"


class CountedSource(Source):
    """One split of another source; counts its records by file.

    Args:
        source: the source to read.
        split: the only split with records.
        whole: see `OtherData`.
        counts: file -> number of records; filled while the split is read.
    """

    inner = "source"

    def __init__(self, source: Source, split: str, *, whole: bool, counts: dict[str, int]) -> None:
        self.source, self.split, self.is_whole, self.counts = source, split, whole, counts

    def read(self) -> Splits:
        """Read the one split; the others are empty."""
        if self.is_whole:
            found = self.source.whole(self.split)
        else:
            found = self.source.read().by_name()[self.split]

        def read() -> Iterator[Found]:
            self.counts.clear()
            return count_by_file(found, self.counts)

        views: dict[str, Iterable[Found]] = {split: [] for split in SPLITS}
        return Splits(**{**views, self.split: Reread(read)})


def count_by_file(found: Iterable[Found], counts: dict[str, int]) -> Iterator[Found]:
    """Yield the records, and count in `counts` how many came from each file."""
    for one in found:
        if isinstance(one, PlacedRecord) and one.file is not None:
            name = str(one.file).partition(": ")[0]  # `rolls.mat: piece 3`
            counts[name] = counts.get(name, 0) + 1
        yield one


def describe_counts(counts: dict[str, int], left_out: int = 0) -> str:
    """`records read: 12 of a.csv, 30 of b.csv`; then how many could not be used."""
    listed = [f"{count:,} of {name}" for name, count in counts.items()]
    if len(listed) > _SHOWN:
        rest = sum([*counts.values()][_SHOWN:])
        listed[_SHOWN:] = [f"{rest:,} of {len(listed) - _SHOWN} more files"]
    unused = f"; {left_out:,} could not be used and were left out" if left_out else ""
    return f"records read: {', '.join(listed)}{unused}" if counts else ""


def load_split(
    model: Model,
    found: RunRecord,
    root: Path,
    counts: dict[str, int],
    *,
    split: str | None,
    typed: Sequence[str] | None,
    own_data: bool,
    trust: Sequence[str],
) -> tuple[SequenceData, OtherData]:
    """Read a split of a run's data, or other data, with the fields as they were trained.

    Args:
        model: the run's model.
        found: the run.
        root: the folder the user works in.
        counts: file -> number of records; filled.
        split: the split; None: test, or the one that `typed` names files for.
        typed: keys that change the data, `data.path=...`; none: the run's own data.
            None: the command takes no such keys.
        own_data: files that another person's record names may be read.
        trust: modules outside of seqpipe that may be used.

    Raises:
        ConfigError: a key that does not fit, or data that may not be read.
        DataError: the data cannot be read, or are no longer those of the training.
    """
    _check_recorded(found, model)
    other = OtherData(found.config["data"], split or "test", whole=False)
    if typed:
        other = change_data(found.config, typed, split)
        _check_length(model, other.data.get("max_length"))
    cfg = OmegaConf.create({**found.config, "data": other.data})
    maker = Maker(trust)
    instead = "" if typed is None else "input=FILE, or "
    _check_trust(cfg, found, root, maker, typed=typed or (), own_data=own_data, instead=instead)
    cfg.trainer = {"enable_progress_bar": True}  # nothing else of it is read
    fields = {f"data.{role}": fld for role, fld in (("x", model.x), ("y", model.y)) if fld}

    def make(node: Any, key: str) -> Any:
        """Make a source that counts its records, or a field with its trained weights."""
        if key == "data.source":
            source = maker.make(node, key)
            return CountedSource(source, other.split, whole=other.whole, counts=counts)
        if key not in fields:
            return maker.make(node, key)
        field = maker.make(without_files(node), key)
        field.restore_weights(fields[key].weights())
        return field

    fitted = {key.removeprefix("data."): field.state() for key, field in fields.items()}
    with _keys_as_typed(cfg.data.get("path"), typed or (), other.split):
        data = build_data(cfg, fitted, make, only=other.split, task=model.task)
    changed = data.digests[other.split] != model.facts.get("digests", {}).get(other.split)
    if changed and not typed:
        text = f"its {other.split} split is not what it was at training"
        allowed = "the data of the training" if typed is None else _OTHER_DATA
        raise DataError(f"{found.typed}: {text}; allowed: {allowed}")
    return data, other


def _check_length(model: Model, max_length: Any) -> None:
    """Refuse longer examples than the network reads.

    Raises:
        ConfigError: `data.max_length` allows them.
    """
    longest = getattr(model.network, "longest_x", None)
    if longest is not None and (max_length is None or max_length > longest):
        text = f"the model has weights for {longest:,} steps"
        raise ConfigError(refusal("data.max_length", max_length, text, f"1 to {longest}"))


def _check_recorded(found: RunRecord, model: Model) -> None:
    """Refuse a recorded configuration that cannot describe data, before anything is read."""
    faults = [f"lacks {key}" for key in missing_keys(found.config, ("data",))]
    if not faults:
        data: dict[str, Any] = {"data": found.config["data"]}
        if not foreign_targets(data):  # those are refused, or trusted and then made as they are
            check_values(OmegaConf.create(data))
            faults += argument_problems(data)
        if (data["data"]["x"] is None) != (model.x is None):
            faults.append("data.x is not what its model reads")
    if faults:
        allowed = "allowed: the configuration of a run, unchanged"
        raise DataError(f"{found.typed}: its config.yaml: {'; '.join(faults)}; {allowed}")


def _check_trust(
    cfg: DictConfig,
    found: RunRecord,
    root: Path,
    maker: Maker,
    *,
    typed: Sequence[str],
    own_data: bool,
    instead: str,
) -> None:
    """Refuse files of this machine that another person's record names; write no cache for it."""
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    for key, node in targets(config["data"], "data"):
        maker.find(str(node["_target_"]), key)
    how: dict[str, Any] = {"own_data": own_data, "typed": typed, "instead": instead}
    check_data(found, {**config, "resume": None}, root, **how)
    has_cache = any(one.lstrip("+").startswith("data.cache=") for one in typed)
    if not has_cache and not found.is_own(root):
        cfg.data.cache = None


@contextmanager
def _keys_as_typed(path: Any, typed: Sequence[str], split: str) -> Iterator[None]:
    """Let errors about files and empty splits name the typed key: data.path, not a key below it."""
    try:
        yield
    except DataError as error:
        paths = path if isinstance(path, Sequence) and not isinstance(path, str) else [path]
        starts = "|".join(re.escape(str(one)) for one in paths)
        below = re.compile(rf"^data\.(?:source\.)+(?:train|path)=(?=(?:{starts}): )")
        problems = [below.sub("data.path=", problem) for problem in error.problems]
        empty = f"{split}: holds no records"
        if typed and problems[0].startswith(empty):
            key = next((one for one in typed if one.startswith("data.path=")), typed[0])
            problems[0] = problems[0].replace(empty, f"{key}: holds no records", 1)
        if problems == error.problems:
            raise
        raise DataError(problems) from None
