"""The command line, checked as a whole before Hydra makes a folder and before torch is imported."""

import argparse
import itertools
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from seqpipe.config.config_view import Tree
from seqpipe.config.folds import FoldSweep, of_first_fold, runs_each_fold, settings_of_folds
from seqpipe.config.hydra_internals import BASIC_SWEEPER, action_of, flags_parser
from seqpipe.config.loader import Composed, Loader, in_quotes, parse
from seqpipe.config.nested_groups import with_dots, with_slashes
from seqpipe.config.paths import shadowed
from seqpipe.config.search_checks import Probed, judging_problems, probes, setting_problems
from seqpipe.config.search_space import is_search, searched
from seqpipe.config.sweep_callback import comparison_problems
from seqpipe.config.sweep_keys import launcher_problems
from seqpipe.config.sweep_plan import CommonParams
from seqpipe.config.swept import merge_overrides, params_of, values_of
from seqpipe.config.unused_keys import unread_problems
from seqpipe.config.validate import problems_of
from seqpipe.errors import ConfigError, did_you_mean
from seqpipe.rules import Problem

_FLAGS = ("multirun", "config_dir", "config_name", "cfg", "resolve", "info", "help", "version")
_NUMBERS = re.compile(r"[^=]+=[-+\d., eE]*")


class Checked(NamedTuple):
    """Overrides that were composed and checked.

    Args:
        composed: the configuration; for a sweep the one its jobs start from.
        problems: everything wrong with it, or with the jobs.
        folds: of a command that is run for each fold; None for all others.
        common: what the jobs of a sweep share; None for a single job.
    """

    composed: Composed
    problems: list[str]
    folds: FoldSweep | None = None
    common: CommonParams | None = None


def read_flags(argv: Sequence[str]) -> argparse.Namespace:
    """Hydra's flags, such as --multirun and --config-dir.

    Raises:
        ConfigError: a flag that does not exist, or cannot be used here.
    """
    parser = flags_parser()
    parser.exit_on_error = False
    try:
        flags, unknown = parser.parse_known_intermixed_args(list(argv))
    except argparse.ArgumentError as error:
        raise ConfigError(_no_value(parser, error)) from None
    problems = [_no_flag(word) for word in unknown if word.startswith("-")]
    flags.overrides += [word for word in unknown if not word.startswith("-")]  # behind a bad flag
    if flags.config_path is not None:
        problems.append(
            f"--config-path={flags.config_path}: would hide the packaged options; "
            f"allowed: --config-dir={flags.config_path}"
        )
    if flags.experimental_rerun is not None:
        wrong = "would unpickle a file, which can run code"
        allowed = "python -m seqpipe rerun run=FOLDER"
        problems.append(
            f"--experimental-rerun={flags.experimental_rerun}: {wrong}; allowed: {allowed}"
        )
    asked = [f"--{name}" for name in ("run", "multirun", "cfg", "info") if getattr(flags, name)]
    if len(asked) > 1:
        problems.append(f"{' '.join(asked)}: exclude each other; allowed: one of them")
    if flags.resolve and not (flags.cfg or flags.help):
        problems.append("--resolve: has nothing to resolve; allowed: --cfg job --resolve")
    if flags.package is not None and not flags.cfg:
        wrong = "says what --cfg shows"
        problems.append(f"--package={flags.package}: {wrong}; allowed: with --cfg job")
    if problems:
        raise ConfigError(problems)
    return flags


def _no_value(parser: argparse.ArgumentParser, error: argparse.ArgumentError) -> str:
    """A flag that is one, with a value that it does not take or without the one it needs."""
    name = str(error.argument_name).partition("/")[0]
    action = action_of(parser, name)
    if action.nargs == 0:
        allowed = f"{name} by itself"
    elif action.choices:
        allowed = ", ".join(f"{name} {choice}" for choice in action.choices)
    else:
        allowed = f"{name} {name.lstrip('-').upper()}"
    return f"{name}: {error.message}; allowed: {allowed}"


def _no_flag(word: str) -> str:
    flags = [f"--{name.replace('_', '-')}" for name in _FLAGS]
    name, is_pair, value = word.partition("=")
    if is_pair and not did_you_mean(name, [one for one in flags if "-c" in one]):
        key = f"{name.lstrip('-').replace('-', '_')}={value}"
        return f"{word}: no such flag; allowed: keys are written without dashes, {key}"
    return f"{word}: no such flag; allowed: {', '.join(flags)}{did_you_mean(name, flags)}"


def flags_first(argv: Sequence[str]) -> list[str]:
    """The same command with its flags before its overrides, as Hydra's own parser needs it.

    Args:
        argv: flags and overrides in any order; `read_flags` accepts them.
    """
    overrides = list(read_flags(argv).overrides)
    flags, left = list[str](), list(overrides)
    for word in argv:
        if left and word == left[0]:
            left.pop(0)
        else:
            flags.append(word)
    return [*flags, *overrides]


def check_command(flags: argparse.Namespace, *, each_fold: bool = True) -> Checked:
    """Refuse a command that cannot work, with every problem found.

    Args:
        flags: and overrides, see `read_flags`.
        each_fold: see `check`.

    Returns:
        what is known of it, without problems.

    Raises:
        ConfigError: with every problem found.
    """
    dirs = [] if flags.config_dir is None else [flags.config_dir]
    shown = bool(flags.help or flags.cfg or flags.info)  # and nothing is built
    checked = check(
        flags.overrides,
        dirs,
        sweep=flags.multirun,
        config_name=flags.config_name or "config",
        names_only=shown,
        each_fold=each_fold and not shown,
    )
    if checked.problems:
        raise ConfigError(checked.problems)
    composed, package = checked.composed, flags.package
    if package not in (None, "_global_") and not composed.has_value(package, flags.cfg):
        holds = ", ".join(map(str, composed.cfg)) if flags.cfg == "job" else "a key that it has"
        raise ConfigError(
            f"--package={package}: nothing there in --cfg {flags.cfg}; allowed: {holds}"
        )
    return checked


def check(
    overrides: Sequence[str],
    config_dirs: Sequence[str | Path] = (),
    *,
    sweep: bool = False,
    config_name: str = "config",
    names_only: bool = False,
    each_fold: bool = False,
) -> Checked:
    """Compose and check, collecting problems.

    Args:
        overrides: as typed on the command line.
        config_dirs: the user's folders.
        sweep: whether several values of a key make several jobs.
        config_name: the primary configuration.
        names_only: import no class; values are then judged only by the rules of `schema`.
        each_fold: whether `folds` without a `fold` makes a job for each of them.

    Raises:
        ConfigError: nothing can be composed at all.
    """
    parsed, unreadable = parse(with_slashes(overrides, config_dirs))
    of_hydra = [str(o.input_line) for o in parsed if o.is_hydra_override()]
    parsed = [o for o in parsed if not o.is_hydra_override()]
    loader = Loader(config_dirs, of_hydra, config_name)
    problems = [*shadowed(loader.user_dirs()), *_nameless(of_hydra)]
    sweeping = [o for o in parsed if o.is_sweep_override()]
    composed = loader.compose([o for o in parsed if not o.is_sweep_override()], unreadable)
    search = (sweep or composed.is_sweep) and is_search(composed.hydra)
    settings = _settings_of_folds(composed, parsed, search=search) if each_fold else None
    if settings is not None:
        parsed += of_first_fold(settings)
        composed = loader.compose([o for o in parsed if not o.is_sweep_override()], unreadable)
    is_sweep = sweep or composed.is_sweep or settings is not None
    if not names_only:
        problems += launcher_problems(composed.hydra, composed.of_sweep, parsed, sweep=is_sweep)
    unread = [loader.unreadable_problem(each, composed.cfg) for each in unreadable.values()]
    problems = [*unread, *problems]
    common = None
    if sweep or composed.is_sweep:
        problems += map(str, comparison_problems(composed.hydra))
        of_jobs = _search_problems if search else _job_problems
        found, common = of_jobs(loader, composed, parsed, unreadable)
        problems += found
    else:
        problems += map(_several, sweeping)
        problems += _no_sweep(composed, parsed)
        unjudged = composed.refused | {o.key_or_group for o in sweeping}
        problems += _problems(composed._replace(refused=unjudged), parsed, names_only)
    if settings is None or problems:
        return Checked(composed, problems, common=common)
    if common is None:  # the folds alone make it a sweep
        common = CommonParams(loader)
        common.add(composed)
    jobs = [[*fixed, *swept] for fixed, swept in _jobs(loader, composed, parsed)]
    folds = FoldSweep(settings, tuple(loader.compose(job, unreadable).cfg for job in jobs))
    return Checked(composed, problems, folds, common)


def _settings_of_folds(
    composed: Composed, parsed: Sequence[Override], *, search: bool
) -> tuple[str, ...] | None:
    if not runs_each_fold(composed, parsed):
        return None
    if search:
        text = "a search cannot run all folds of each trial; allowed: null, or also fold=0"
        raise ConfigError(f"folds={composed.cfg.data.folds}: {text}")
    return settings_of_folds(composed, parsed)


def _nameless(of_hydra: Sequence[str]) -> Iterator[str]:
    """A folder without a name, in overrides of Hydra's own keys."""
    for line in of_hydra:
        if line in ("hydra.run.dir=", "hydra.sweep.dir="):
            yield f"{line}: names no folder; allowed: {line}outputs/runs/my_run"


def _several(override: Override) -> str:
    """Several values of a key that one job has; of files, how to give them all to it."""
    line = with_dots(str(override.input_line))
    key, _, values = line.partition("=")
    files = key == "data.path" or key.startswith("data.source.")
    listed = f", or all of them in one: '{key}=[{values}]'" if files else ""
    text = f"{line}: several values; allowed: one value{listed}, or a job for each with -m"
    is_name = not files and any(mark in values for mark in "./") and not _NUMBERS.fullmatch(line)
    return f"{text}; a comma of a name {in_quotes(line)}" if is_name else text


def _no_sweep(composed: Composed, overrides: Sequence[Override]) -> Iterator[str]:
    """A grid that would be passed over; one job of it gives each of its keys a value."""
    given = {override.get_key_element() for override in overrides}
    keys = [key for key in params_of(composed.hydra) if key not in given]
    if keys and "sweep" in composed.choices:
        name = f"sweep={composed.choices['sweep']}"
        yield f"{name}: a job for each {', '.join(keys)}; allowed: -m {name}"


def _problems(composed: Composed, typed: Sequence[Override], names_only: bool = False) -> list[str]:
    """Return the problems of a job, each key and value as they were typed."""
    found: list[Problem | str] = [*composed.problems]
    removed = {o.key_or_group: with_dots(str(o.input_line)) for o in typed if o.is_delete()}
    names_only = names_only or bool(found)
    for problem in problems_of(
        composed.cfg, composed.choices, composed.refused, names_only=names_only
    ):
        line = removed.get(problem.key)
        text = f"{line}: the run needs this key; allowed: leave {line} out"
        found.append(problem if line is None else text)
    if not found:
        keys = {o.key_or_group for o in typed if not o.is_delete() and o.value() is not None}
        found += unread_problems(Tree(composed.cfg), keys)
    lines = {o.key_or_group: _line(o) for o in typed if not o.is_delete()}
    return [_as_typed(problem, lines) for problem in found]


def _line(override: Override) -> str:
    """An override as it was typed, a text without its quotes."""
    value, key = override.value(), with_dots(override.get_key_element())
    return f"{key}={value}" if isinstance(value, str) else with_dots(str(override.input_line))


def _as_typed(problem: Problem | str, lines: Mapping[str, str]) -> str:
    """A message that starts with what was typed: `hidden_size=1e2`, not `hidden_size=100.0`.

    Args:
        problem: of a key.
        lines: the overrides, by their keys.
    """
    if isinstance(problem, str) or problem.key not in lines:
        return str(problem)
    return f"{lines[problem.key]}: {problem.text}"


def _job_problems(
    loader: Loader, base: Composed, overrides: Sequence[Override], unread: Collection[str]
) -> tuple[list[str], CommonParams]:
    """Return the problems of the jobs of a sweep, each once, with the jobs that have it.

    Returns:
        the problems; and what the jobs without one share.
    """
    jobs, common = list(_jobs(loader, base, overrides)), CommonParams(loader)
    having: dict[str, list[set[str]]] = {}
    for fixed, swept in jobs:
        composed = loader.compose([*fixed, *swept], unread)
        found = dict.fromkeys(_problems(composed, [*fixed, *swept]))
        for problem in found:
            having.setdefault(problem, []).append({with_dots(str(o.input_line)) for o in swept})
        if not found:
            common.add(composed)
    problems = []
    for problem, swept_in in having.items():
        shared = " ".join(sorted(set.intersection(*swept_in)))
        where = f" (in {len(swept_in)} of {len(jobs)} jobs{': ' if shared else ''}{shared})"
        problems.append(problem if len(swept_in) == len(jobs) else f"{problem}{where}")
    return problems, common


def _search_problems(
    loader: Loader, base: Composed, overrides: Sequence[Override], unread: Collection[str]
) -> tuple[list[str], CommonParams]:
    """The problems of a search: of its options, and of the values of each key; what jobs share."""
    common = CommonParams(loader)
    parser = OverridesParser.create()
    fixed, swept, space = searched(base.hydra, overrides, loader.hydra_loader, loader.user_dirs())
    judged = list[tuple[str, str]]()
    found = Probed(swept, {one.key_or_group for one in overrides})
    for values in probes(space):
        job = [*fixed, *parser.parse_overrides(values)]
        composed = loader.compose(job, unread)
        problems = _problems(composed, job)
        found.add(values, problems)
        if not problems:
            common.add(composed)
            task = composed.cfg.task
            judged.append((str(task.get("monitor")), str(task.get("mode"))))
    problems = [*map(str, setting_problems(base.hydra)), *found.problems()]
    return [*problems, *judging_problems(judged)], common


def _jobs(
    loader: Loader, base: Composed, overrides: Sequence[Override]
) -> Iterator[tuple[list[Override], list[Override]]]:
    """The (fixed, swept) overrides of each job, as Hydra's basic sweeper makes them.

    What an `interval` comes to depends on the sweeper: its key is left out.

    Raises:
        ConfigError: the values of a key cannot be read, or there are none.
    """
    params, parser = params_of(base.hydra), OverridesParser.create()
    fixed, swept = merge_overrides(params, overrides, loader.hydra_loader)
    listed = list[list[Override]]()
    for key, override in swept.items():
        if override.is_discrete_sweep():
            values = values_of(override)
            listed.append([parser.parse_override(f"{key}={value}") for value in values])
        elif str(base.hydra.sweeper.get("_target_")) == BASIC_SWEEPER:
            text = "has no end of values; allowed: a list, range(...), or a search: sweep=optuna"
            raise ConfigError(f"{override.input_line}: {text}")
    for combination in itertools.product(*listed):
        yield list(fixed.values()), list(combination)
