"""Train a recorded run again and compare it: `python -m seqpipe rerun run=latest`."""

import csv
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra.errors import InstantiationException
from rich.table import Table

from seqpipe.bounds import THREADS
from seqpipe.commands.dispatch import Answer
from seqpipe.commands.options import Rerun
from seqpipe.commands.train import train
from seqpipe.console import PlainConsole
from seqpipe.errors import ConfigError, first_line
from seqpipe.rules import best_of, shown
from seqpipe.runs.find_run import find_run
from seqpipe.runs.identity import STAGES, hardware_tags
from seqpipe.runs.load_data import load_data
from seqpipe.runs.options import SWEEP
from seqpipe.runs.pruning import PRUNED_EPOCH
from seqpipe.runs.restore_config import restore_run
from seqpipe.runs.sweep_members import find_members
from seqpipe.runs.together import Together
from seqpipe.terminal import print_text, report_error
from seqpipe.tracking.provenance import environment_tags
from seqpipe.tracking.run_record import RunRecord, read_metrics

log = logging.getLogger(__name__)

Numbers = Mapping[str, float | None]
_TIMES = ("examples_per_second",)  # of the machine, not of the computation
_SAME_SHOWN = 20


def run(options: Rerun, root: Path) -> Answer:
    """Trains the run again, and compares each metric; all runs of a sweep, one after another.

    Raises:
        ConfigError: there is no such run, it cannot be trained again here, or with `strict`
            something differs from when it ran.
        DataError: its record or its data cannot be read.
    """
    if options.run.startswith(SWEEP):
        return _run_sweep(options, root)
    one = repeat(options, root)
    return Answer("\n".join(one.lines), int(one.different > 0))


@dataclass(frozen=True)
class Repeated:
    """A run that was trained again.

    Args:
        lines: what differs, for people.
        metrics: how many were compared.
        different: how many of them differ.
        again: the new run.
    """

    lines: Sequence[str]
    metrics: int
    different: int
    again: str


def _run_sweep(options: Rerun, root: Path) -> Answer:
    """Trains all runs of a sweep again; a table has a row for each."""
    table = Table(title=options.run, title_justify="left")
    for name in ("job", "metrics", "different", "again"):
        table.add_column(name, justify="right" if name in ("metrics", "different") else "left")
    codes = [0]
    for member in find_members(options, root).members:
        try:
            one = repeat(member.options(options), root)
        except Exception as error:  # the other runs are repeated
            codes.append(report_error(error))
            table.add_row(member.name, "", "", first_line(error))
            continue
        print_text(f"{member.name}:\n" + "\n".join(one.lines))
        codes.append(int(one.different > 0))
        table.add_row(member.name, str(one.metrics), str(one.different), one.again)
    PlainConsole().print(table)
    return Answer(code=max(codes))


def repeat(options: Rerun, root: Path) -> Repeated:
    """Trains one run again, and compares each metric; see `run`."""
    found = find_run(options, root, needs="metrics.json")
    before = read_metrics(found.local("metrics.json"))
    _refuse_pruned(found, before)
    name = found.run_id or str(found.folder)
    tags = {"rerun_of": name}
    own = {"own_code": options.own_code, "own_data": options.own_data}
    restored = restore_run(found, root, tags=tags, **own)
    threads = options.threads or _recorded_threads(found)
    now = {**environment_tags(root), **hardware_tags(restored.cfg.trainer.accelerator)}
    if threads is not None:
        now["threads"] = str(threads)
    differences = list(_differences(found.tags, now))
    if restored.resolved:  # it is trained as recorded, but its command is no longer this run
        differences += [f"options of this version: {text}" for text in restored.changed]
    _report(differences, options)

    try:
        loaded = load_data(restored.cfg, restored.launch, resolved=restored.resolved)
        if (count := loaded.trainer.world_size) > 1:
            text = f"was trained in {count} processes; allowed: a run of one, or its own command"
            raise ConfigError(f"{found.typed}: {text}, {found.tags.get('command', 'not recorded')}")
        digests = {stage: loaded.data.digests[split] for split, stage in STAGES.items()}
        changed = list(_differences(found.datasets, digests, "data of "))
        _report(changed, options)
        differences += changed
        with Together() as alone:
            result = train(restored.cfg, restored.launch, loaded, alone, threads)
    except InstantiationException as error:
        reason = first_line(error.__cause__ or error)
        text = f"its configuration does not fit this version ({reason}); allowed: the one it was"
        raise ConfigError(f"{found.typed}: {text} trained with") from None
    after = _as_recorded(read_metrics(result.output_dir / "metrics.json"), before)
    new = sorted(after.keys() - before.keys())
    after = {name: value for name, value in after.items() if name in before}
    rows = list(compare(before, after, options.tolerance))
    different = [row for row in rows if not row[3]]
    lines = [
        f"run:        {name}, {found.name}",
        f"again:      {result.run_id or 'not recorded'}, {result.output_dir}",
        *_table(rows),
        *_verdict(len(rows), len(different), options.tolerance, _apart(found, result.output_dir)),
        *([f"new:        {len(new)} metrics that the record lacks, as {new[0]}"] if new else []),
    ]
    if different:
        clock = restored.cfg.trainer.get("max_time")
        if clock is not None:
            text = "the time limit may have ended the two runs at different updates"
            differences.append(f"trainer.max_time={shown(clock)}: {text}")
        none = "no recorded setting: this device does not repeat a computation exactly"
        lines += [f"differs:    {text}" for text in differences or [none]]
    return Repeated(lines, len(rows), len(different), result.run_id or str(result.output_dir))


def _refuse_pruned(found: RunRecord, before: Numbers) -> None:
    if (epoch := before.get(PRUNED_EPOCH)) is not None:
        text = f"its search stopped it after epoch {epoch:.0f}, untested"
        allowed = f"a run that finished, or {found.tags.get('command', 'its own command')}"
        raise ConfigError(f"{found.typed}: {text}; allowed: {allowed}")


def compare(
    before: Numbers, now: Numbers, tolerance: float
) -> Iterator[tuple[str, float | None, float | None, bool]]:
    """(metric, then, now, same) of each metric of either run.

    Args:
        before: as in metrics.json; None: a number that is not finite.
        now: of the new run.
        tolerance: allowed difference, as a share of the old value; 0: bit for bit.
    """
    for name in sorted({*before, *now}):
        then, new = before.get(name), now.get(name)
        same = name in before and name in now and then == new
        if not same and then is not None and new is not None:
            same = abs(new - then) <= tolerance * abs(then)
        yield name, then, new, same


def _as_recorded(now: Numbers, before: Numbers) -> Numbers:
    """The metrics by the names of an older record, whose `val/` is of the saved weights."""
    prefix = best_of("")
    if any(name.startswith(prefix) for name in before):
        return now
    kept = {best_of(name): name for name in before}
    others = {n: v for n, v in now.items() if not n.startswith(prefix)}
    return others | {kept[name]: value for name, value in now.items() if name in kept}


def _recorded_threads(found: RunRecord) -> int | None:
    """The number of threads of the run; None where its record has no valid one."""
    text = found.tags.get("threads", "")
    count = int(text) if text.isdecimal() else None
    return count if THREADS.accepts(count) else None


def _differences(then: Mapping[str, str], now: Mapping[str, str], of: str = "") -> Iterator[str]:
    """Differences between two sets of tags; tags that an older record lacks are ignored."""
    for key, value in now.items():
        if key in then and then[key] != value:
            yield f"{of}{key}: then {then[key]}, now {value}"
        elif key == "git.dirty" and value == "true":
            yield "git.dirty: both runs had changes that are not committed"


def _report(differences: list[str], options: Rerun) -> None:
    if differences and options.strict:
        text = "differs from the run; allowed: strict=false, or the same code, machine and data"
        raise ConfigError([f"strict=true: {difference}: {text}" for difference in differences])
    for difference in differences:
        log.warning("differs from the run: %s", difference)


def _table(rows: list[tuple[str, float | None, float | None, bool]]) -> Iterator[str]:
    """All metrics that differ, and some that do not."""
    alike = [row for row in rows if row[3]]
    shown_alike = {row[0] for row in alike[-_SAME_SHOWN:]}  # test and val come last
    chosen = [row for row in rows if not row[3] or row[0] in shown_alike]
    width = max((len(row[0]) for row in chosen), default=6)
    yield f"{'metric':<{width}}  {'then':>22}  {'now':>22}"
    for name, then, now, same in chosen:
        verdict = "same" if same else "differs"
        yield f"{name:<{width}}  {_number(then):>22}  {_number(now):>22}  {verdict}"
    if len(alike) > _SAME_SHOWN:
        yield f"and {len(alike) - _SAME_SHOWN} more are the same"


def _number(value: float | None) -> str:
    """The number with all digits: only the last may differ."""
    return "-" if value is None else shown(value)


def _verdict(count: int, different: int, tolerance: float, apart: str | None) -> Iterator[str]:
    how = "bit for bit" if tolerance == 0 else f"within {tolerance:g} of their old values"
    if not different:
        yield f"same:       all {count} metrics, {how}"
    else:
        yield f"different:  {different} of {count} metrics are not the same {how}"
    if apart is not None:
        yield f"first:      {apart}"


def _apart(found: RunRecord, folder: Path) -> str | None:
    """The first different number of the two trainings; None: none, or it is not known.

    A metric that the older one did not measure is no difference.
    """
    if not found.has("history.csv") or not (folder / "history.csv").is_file():
        return None
    then, now = _history(found.local("history.csv")), _history(folder / "history.csv")
    measured = {name for name, _ in then}
    keys = [key for key in {*then, *now} if key[0] in measured]
    keys = sorted(keys, key=lambda key: (key[1], key[0]))
    for name, step in keys:
        one, other = then.get((name, step)), now.get((name, step))
        both_nan = one is not None and other is not None and math.isnan(one) and math.isnan(other)
        if one != other and not both_nan:
            return f"{name} at update {step} was {_number(one)}, is {_number(other)}"
    return None


def _history(path: Path) -> dict[tuple[str, int], float]:
    """{(metric, update): value} of history.csv, without times."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return {
            (row["metric"], int(row["step"])): float(row["value"])
            for row in rows
            if row["metric"] not in _TIMES
        }
    except (KeyError, TypeError, ValueError, csv.Error):  # not one of ours: nothing to compare
        return {}
