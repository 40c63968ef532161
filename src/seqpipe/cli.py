"""The command line: parse it, run the command, turn errors into exit codes.

Hydra's runtime is used only here and in `config`.
"""

import math
import os
import shlex
import sys
import tempfile
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

import hydra
from omegaconf import DictConfig, OmegaConf

from seqpipe._version import __version__
from seqpipe.collector import imports_done, seldom_collecting
from seqpipe.commands.dispatch import (
    PANEL_COMMANDS,
    TRAIN,
    call,
    file_of_replay,
    help_of_panel,
    listed,
    split,
)
from seqpipe.config.adjustments import drop_inherited
from seqpipe.config.commandline import check_command, flags_first, read_flags
from seqpipe.config.compose import Launch
from seqpipe.config.config_view import Tree
from seqpipe.config.folds import FoldSweep
from seqpipe.config.hydra_job import (
    TASK,
    arguments_of_job,
    deletion_for_hydra,
    has_own_process,
    is_sweep,
    job_name,
    job_number,
    launch_of_job,
    make_follower,
    sweep_folder,
)
from seqpipe.config.loader import VERSION_BASE, Composed
from seqpipe.config.nested_groups import with_slashes
from seqpipe.config.paths import conf_dir
from seqpipe.config.signatures import import_targets
from seqpipe.config.sweep_callback import Comparison
from seqpipe.config.sweep_keys import SKIP_DONE, check_launcher, take_sweep_keys
from seqpipe.config.sweep_plan import SweepPlan, plan_of
from seqpipe.errors import ConfigError, DataError
from seqpipe.peers import ExchangeError
from seqpipe.processes import (
    ignore_stale_ranks,
    is_child,
    is_launched,
    leave_process_group,
    rank,
    started_outside,
    starting_children,
)
from seqpipe.signals import raise_on_signals
from seqpipe.sweep_process import continued_sweep, remove_empty, sweeping
from seqpipe.terminal import (
    FAILED,
    INTERRUPTED,
    WRONG_INPUT,
    end_on_closed_pipe,
    exit_code_of,
    open_closed_streams,
    print_error,
    print_text,
    report_error,
    tolerating_lost_stderr,
)

if TYPE_CHECKING:
    from seqpipe.runs.skip_done import Continued
    from seqpipe.runs.training_run import RunResult

Run = Callable[[DictConfig, Launch], "RunResult"]
_MOST_NAMED = 10  # jobs that failed


def main() -> int:
    """Run the command in `sys.argv`. Returns the exit code of the process."""
    open_closed_streams()
    with tolerating_lost_stderr(), seldom_collecting():
        try:
            _prepare_process()
            command, words = split(sys.argv[1:])
            if command in PANEL_COMMANDS:
                return _run_panel_command(command, words)
            return call(command, words)
        except ConfigError as error:
            if rank() == 0 or not is_launched():
                print_error(error)
            return WRONG_INPUT
        except KeyboardInterrupt:
            if rank() == 0:
                print_error("interrupted")
            return INTERRUPTED
        finally:
            leave_process_group()
            print_text("", end="")  # here, so that a closed pipe is met where it is expected


def _prepare_process() -> None:
    """Makes modules in the current folder importable, and idle threads of torch sleep sooner.

    A recurrent step is so short that threads wait often, and GNU OpenMP lets them spin. Measured on
    two cores, an LSTM of 256 units over 256 steps, forward and backward: alone on the machine
    61 ms, unchanged; beside one other busy program 0.29 s instead of 1.1 s, because a spinning
    thread keeps the other program from its core, and that program the thread that all others wait
    for.
    """
    try:
        here = os.getcwd()
    except OSError as error:
        text = f"the current folder cannot be read ({error.strerror}); allowed: cd to another"
        raise ConfigError(text) from None
    if here not in sys.path:  # `python -m` does so, a console script does not
        sys.path.insert(0, here)
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "5000")


def _check_temporary_folder() -> None:
    """Refuses to start where nothing can be written: torch cannot even be imported there."""
    try:
        tempfile.gettempdir()
    except OSError as error:
        text = f"{error.strerror}; allowed: room in one of them, or TMPDIR=... in the environment"
        raise ConfigError(text) from None


def _run_panel_command(command: str, words: list[str]) -> int:
    """Trains, describes or replays; returns the exit code."""
    if command != TRAIN and {"-h", "--help"} & {*words}:
        end_on_closed_pipe()
        print_text(help_of_panel(command))
        return 0
    if words == ["--version"]:
        print_text(f"seqpipe {__version__}")
        return 0
    _check_temporary_folder()
    file, words = file_of_replay(words) if command == "replay" else (None, words)
    sys.argv[1:] = words  # Hydra reads it, and Lightning's child processes
    is_completion = bool({"-sc", "--shell-completion"} & {*words})
    prepared = _Prepared() if is_completion else _check_configuration(words, command)
    OmegaConf.register_new_resolver("commands", listed, replace=True)  # for the text of --help
    jobs = _Jobs(command, file, prepared.runs)

    @hydra.main(version_base=VERSION_BASE, config_path=str(conf_dir()), config_name="config")
    def run_hydra(cfg: DictConfig) -> float:
        return jobs.run(cfg)

    raise_on_signals()
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # else Hydra prints a traceback and exits
    name = [] if command == TRAIN else [command]
    again = [word for word in words if not word.startswith(f"{SKIP_DONE}=")]
    typed = shlex.join(["python", "-m", "seqpipe", *name, *again])
    try:
        if prepared.composed is not None:
            prepared.composed.run(jobs.run)
        else:
            plan = prepared.plan if command == TRAIN else None
            with sweeping(plan, typed, prepared.continued):
                run_hydra()
                jobs.read_notes()  # here: those of jobs that leave nothing are removed
    except OSError as error:  # those of a job are caught in it: this one is of its folder
        if error.filename is None:
            raise
        text = f"cannot be made ({error.strerror}); allowed: a folder that can be written to"
        raise ConfigError(f"{error.filename}: {text}, or hydra.run.dir=...") from None
    except SystemExit as error:
        return exit_code_of(error, first=rank() == 0)
    return jobs.exit_code()


class _Prepared(NamedTuple):
    """A command whose configuration is checked.

    Args:
        composed: the configuration of the one job to run; None for a sweep, whose sweeper composes
            each job (it may choose values of its own, and run the job elsewhere), and where Hydra
            only prints.
        plan: of a sweep.
        runs: of a cross-validation; 0 for everything else.
        continued: a sweep that is finished now, with `skip_done=true`; None: there is none.
    """

    composed: Composed | None = None
    plan: SweepPlan | None = None
    runs: int = 0
    continued: "Continued | None" = None


def _check_configuration(argv: list[str], command: str) -> _Prepared:
    """Refuses a configuration that cannot work, and rewrites `sys.argv` as Hydra accepts it.

    Args:
        argv: flags and overrides.
        command: train, describe or replay.
    """
    flags = read_flags(argv)
    own = [] if flags.config_dir is None else [flags.config_dir]
    sys.path += map(os.path.abspath, own)  # the user's cells may be beside their options
    words = with_slashes(flags_first(argv), own)
    sys.argv[1:] = words
    if flags.hydra_help:
        end_on_closed_pipe()
        return _Prepared()
    checked = check_command(flags, each_fold=command == TRAIN)
    composed = checked.composed
    sys.argv[1:] = [part for word in words for part in deletion_for_hydra(word, composed.nulls)]
    runs = 0
    if checked.folds is not None:
        count = _count_folds(checked.folds)
        sys.argv[1:] = checked.folds.command_line(sys.argv[1:], count)
        runs = count * len(checked.folds.jobs)
    elif flags.help or flags.cfg or flags.info:
        end_on_closed_pipe()
        return _Prepared()
    sys.argv += make_follower(composed)
    if checked.common is None:
        return _Prepared(composed)
    check_launcher(composed.hydra, None if command == TRAIN else command)
    plan = plan_of(checked.common, read_flags(sys.argv[1:]).overrides)
    continued = continued_sweep(plan, command) if composed.of_sweep.get(SKIP_DONE) else None
    return _Prepared(plan=plan, runs=runs, continued=continued)


def _count_folds(sweep: FoldSweep) -> int:
    """The number of folds, the same for all jobs; torch is imported, and the data is read."""
    from seqpipe.runs.folds import count_folds

    try:
        return count_folds(sweep.jobs)
    except DataError as error:
        raise ConfigError(error.problems) from None


class _Jobs:
    """Runs the jobs of a command, and knows the exit codes of those that failed.

    Those of a sweep that trains are read from the notes of its jobs, which may have run in other
    processes; of others they are remembered, as Hydra reports a failed job only after all others.

    Args:
        command: train, describe or replay.
        file: of `replay`.
        runs_of_folds: how many jobs a cross-validation has, of which each prints a line; 0: none.
    """

    def __init__(self, command: str, file: str | None, runs_of_folds: int = 0) -> None:
        self.command, self.file, self.runs_of_folds = command, file, runs_of_folds
        self.count = 0
        self.failed: list[tuple[str, int]] = []

    def run(self, cfg: DictConfig) -> float:
        """Runs one job, prints its result, and returns the monitored value to the sweeper."""
        self.count += 1
        take_sweep_keys(cfg)
        launch = launch_of_job(sys.argv[1:], self.command, self.file)
        try:
            result = _run_job(cfg, launch)
        except Exception as error:
            if isinstance(error, ConfigError) and is_launched() and not is_child():
                error.shown = error.shown and rank() == 0  # the same in all processes
            self.failed.append((job_name(), code := report_error(error, first=rank() == 0)))
            if has_own_process():
                raise
            if isinstance(error, ExchangeError) and started_outside():
                raise SystemExit(code) from None  # the next job would need the others
            return math.nan
        finally:
            remove_empty(launch.output_dir, launch.root)
        if rank() == 0:
            place = f"run {job_number() + 1} of {self.runs_of_folds}, fold {cfg.data.fold}"
            print_text(f"{place}: {result.line}" if self.runs_of_folds else result.summary)
        return result.monitored

    def read_notes(self) -> None:
        """Reads how the jobs of the sweep ended, if this command was one that trains."""
        from seqpipe.report.sweep_jobs import REFUSED, differing, read_jobs

        sweep = Comparison.started if self.command == TRAIN else None
        if sweep is not None and (jobs := read_jobs(sweep.folder)):
            keys, codes = differing(jobs), {REFUSED: WRONG_INPUT}
            failed = [job for job in jobs if job.failed]
            self.count = len(jobs)
            self.failed = [(job.title(keys), codes.get(job.status, FAILED)) for job in failed]

    def exit_code(self) -> int:
        """The exit code of the first job that failed; of a sweep it also prints their names."""
        if not self.failed:
            return 0
        if self.count > 1 and rank() == 0:
            names = [name for name, _ in self.failed]
            more = [f"and {len(names) - _MOST_NAMED} more"] if len(names) > _MOST_NAMED else []
            shown = ", ".join([*names[:_MOST_NAMED], *more])
            print_error(f"{len(names)} of {self.count} jobs failed: {shown}")
        return self.failed[0][1]


def _run_job(cfg: DictConfig, launch: Launch) -> "RunResult":
    if ignored := ignore_stale_ranks(cfg.trainer if launch.command == TRAIN else {}):
        print_error(ignored)
    from seqpipe.runs.sweep import noted
    from seqpipe.runs.sweep_record import launch_in_sweep

    module = PANEL_COMMANDS[launch.command].module
    # torch is imported only for a configuration that works
    run: Run = import_module(f"seqpipe.commands.{module}").run
    import_targets(Tree(cfg))
    imports_done()
    if not launch.checked:
        drop_inherited(cfg, launch.overrides)
    recorded = launch.command == TRAIN and rank() == 0
    folder, number = sweep_folder(launch) if recorded else (None, 0)
    if folder is not None:
        launch = launch_in_sweep(launch, folder, number)
    alone = arguments_of_job if is_sweep() else None
    passed = {} if launch.task is None else {TASK: str(launch.task)}
    with starting_children(alone, passed), noted(folder, number, cfg, launch) as ended:
        result = run(cfg, launch)
        ended.folder, ended.judged_on = result.output_dir, result.judged_on
        ended.run_id, ended.pruned = result.run_id, result.pruned
        ended.line = result.line
    return result
