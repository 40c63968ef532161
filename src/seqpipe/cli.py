"""The command line: compose, check, run, print, exit. Only this module uses Hydra's runtime."""

import contextlib
import math
import os
import shlex
import sys
import traceback
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, read_write

from seqpipe._version import __version__
from seqpipe.commands.dispatch import (
    PANEL_COMMANDS,
    TRAIN,
    call,
    file_of_replay,
    help_of_panel,
    listed,
    split,
)
from seqpipe.config.class_override import drop_inherited
from seqpipe.config.commandline import check_command, flags_first, read_flags
from seqpipe.config.compose import Launch
from seqpipe.config.hydra_internals import BASIC_LAUNCHER, flags_parser
from seqpipe.config.loader import VERSION_BASE, choices_of
from seqpipe.config.nested_groups import with_dots, with_slashes
from seqpipe.config.paths import conf_dir
from seqpipe.config.sweep_callback import Comparison
from seqpipe.errors import ConfigError, DataError, RecordError, SeqpipeError, resource_message
from seqpipe.processes import (
    RANKS,
    ignore_stale_ranks,
    is_launched,
    mark_children,
    rank,
    unmark_children,
)
from seqpipe.signals import raise_on_signals
from seqpipe.terminal import (
    FAILED,
    INTERRUPTED,
    WRONG_INPUT,
    end_on_closed_pipe,
    exit_code_of,
    open_closed_streams,
    print_error,
    print_text,
    tolerating_lost_stderr,
)

_SET_BY_LIGHTNING = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_ABOUT_SWEEPS = (
    *("hydra.mode=", "hydra/sweeper", "hydra/launcher"),
    *("hydra.sweeper", "hydra.launcher", "hydra.sweep."),
)
if TYPE_CHECKING:
    from seqpipe.runs.training_run import RunResult

Run = Callable[[DictConfig, Launch], "RunResult"]
_MODULES = {TRAIN: "train", "describe": "describe_data", "replay": "replay"}
_TO_BE_REMOVED = "to_be_removed"


class _Jobs:
    """The number of jobs of this command, and the exit codes of those that failed.

    Hydra reports a failed job only after all others, and forgets further ones.
    """

    def __init__(self) -> None:
        self.count = 0
        self.failed: list[tuple[str, int]] = []

    def exit_code(self) -> int:
        """The exit code of the first job that failed; of a sweep it also prints their names."""
        if not self.failed:
            return 0
        if self.count > 1:
            names = ", ".join(name for name, _ in self.failed)
            print_error(f"{len(self.failed)} of {self.count} jobs failed: {names}")
        return self.failed[0][1]


def main() -> int:
    """Run the command in `sys.argv`. Returns the exit code of the process."""
    open_closed_streams()
    try:
        here = os.getcwd()
    except OSError as error:
        print_error(f"the current folder cannot be read ({error.strerror}); allowed: cd to another")
        return WRONG_INPUT
    if here not in sys.path:  # `python -m` does so, a console script does not
        sys.path.insert(0, here)
    _spin_less()
    with tolerating_lost_stderr():
        try:
            command, words = split(sys.argv[1:])
            if command not in PANEL_COMMANDS:
                return call(command, words)
            file = None
            if command != TRAIN and {"-h", "--help"} & {*words}:
                end_on_closed_pipe()
                print_text(help_of_panel(command))
                return 0
            if command == "replay":
                file, words = file_of_replay(words)
            sys.argv[1:] = words  # Hydra reads it, and Lightning's child processes
            return _main(words, command, file)
        except ConfigError as error:
            if rank() == 0 or not is_launched():
                print_error(error)
            return WRONG_INPUT
        except KeyboardInterrupt:
            print_error("interrupted")
            return INTERRUPTED
        finally:
            print_text("", end="")  # here, so that a closed pipe is met where it is expected


def _spin_less() -> None:
    """Makes idle threads of torch spin 60 times shorter before they sleep (GNU OpenMP's setting).

    A recurrent step is so short that threads wait often. Measured on two cores, an LSTM of 256
    units over 256 steps, forward and backward: alone on the machine 61 ms, unchanged; beside one
    other busy program 0.29 s instead of 1.1 s, because a spinning thread keeps the other program
    from its core, and that program the thread that all others wait for.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "5000")


def _main(argv: list[str], command: str, file: str | None) -> int:
    if argv == ["--version"]:
        print_text(f"seqpipe {__version__}")
        return 0
    if "-sc" not in argv and "--shell-completion" not in argv:
        _check(argv)
    jobs = _Jobs()
    OmegaConf.register_new_resolver("commands", listed, replace=True)  # for the text of --help

    @hydra.main(version_base=VERSION_BASE, config_path=str(conf_dir()), config_name="config")
    def task(cfg: DictConfig) -> float:
        return _run_job(cfg, jobs, replace(_launch(), command=command, file=file))

    raise_on_signals()
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # else Hydra prints a traceback and exits
    try:
        task()
    except OSError as error:  # those of a job are caught in it: this one is of its folder
        if error.filename is None:
            raise
        text = f"cannot be made ({error.strerror}); allowed: a folder that can be written to"
        raise ConfigError(f"{error.filename}: {text}, or hydra.run.dir=...") from None
    except SystemExit as error:
        return exit_code_of(error)
    finally:
        if Comparison.started is not None:
            word = [] if command == TRAIN else [command]
            _compare(Comparison.started, shlex.join(["python", "-m", "seqpipe", *word, *argv]))
    return jobs.exit_code()


def _check(argv: list[str]) -> None:
    flags = read_flags(argv)
    if flags.config_dir is not None:  # the user's cells may be beside their options
        sys.path.append(os.path.abspath(flags.config_dir))
    own = [] if flags.config_dir is None else [flags.config_dir]
    sys.argv[1:] = with_slashes(flags_first(argv), own)  # Hydra reads it
    if not flags.hydra_help:
        nulls = check_command(flags).nulls
        sys.argv[1:] = [part for word in sys.argv[1:] for part in _hydras_delete(word, nulls)]
    prints_only = flags.help or flags.hydra_help or flags.cfg or flags.info
    if prints_only:
        end_on_closed_pipe()


def _hydras_delete(word: str, nulls: Collection[str]) -> list[str]:
    """A `~key` as Hydra accepts it: it refuses to delete a key that holds null."""
    key = word.removeprefix("~")
    return [f"{key}={_TO_BE_REMOVED}", word] if word != key and key in nulls else [word]


def _run_job(cfg: DictConfig, jobs: _Jobs, launch: Launch) -> float:
    """Runs one job, prints its result, and returns the monitored value to the sweeper."""
    jobs.count += 1
    try:
        if ignored := ignore_stale_ranks(cfg.trainer):
            print_error(ignored)
        from seqpipe.runs.compare import noted

        # torch is imported only for a configuration that works
        run: Run = import_module(f"seqpipe.commands.{_MODULES[launch.command]}").run
        drop_inherited(cfg, launch.overrides)
        with _one_job_for_children(), noted(*_place_in_sweep(launch), cfg, launch) as ended:
            result = run(cfg, launch)
            ended.folder, ended.judged_on = result.output_dir, result.judged_on
    except SeqpipeError as error:
        if isinstance(error, RecordError) and rank() == 0:
            print_text(error.summary)
        print_error(error)
        wrong_input = isinstance(error, (ConfigError, DataError))
        jobs.failed.append((_name_of_job(), WRONG_INPUT if wrong_input else FAILED))
        if _has_own_process():
            raise
        return math.nan
    except Exception as error:
        if (text := resource_message(error)) is not None:
            print_error(text)
        else:
            traceback.print_exc()
        jobs.failed.append((_name_of_job(), FAILED))
        if _has_own_process():
            raise
        return math.nan
    finally:
        _remove_empty(launch.output_dir, launch.root)
    if rank() == 0:
        print_text(result.summary)
    return result.monitored


def _remove_empty(folder: Path, root: Path) -> None:
    """Removes a run's folder if it is empty, and empty ones above it up to the root."""
    with contextlib.suppress(OSError):  # not empty
        while root in folder.parents:
            folder.rmdir()
            folder = folder.parent


def _compare(sweep: Comparison, command: str) -> None:
    """Writes the page about a sweep; if no job left anything, removes the sweep's folder."""
    from seqpipe.runs.compare import compare

    try:
        page = compare(sweep.folder, command=command, figure=sweep.figure, **sweep.options)
    except Exception:  # the runs themselves are complete
        traceback.print_exc()
        print_error(f"{sweep.folder}: the jobs could not be compared")
        return
    if page is None:
        return _remove_if_all_were_refused(sweep.folder)
    shown = page.relative_to(Path.cwd()) if Path.cwd() in page.parents else page
    print_text(f"comparison: {shown}")


def _place_in_sweep(launch: Launch) -> tuple[Path | None, int]:
    """The folder of the sweep and the job's number; no folder if the job is not recorded."""
    if launch.sweep is None or launch.command != TRAIN or rank() != 0:
        return None, 0
    return launch.root / HydraConfig.get().sweep.dir, HydraConfig.get().job.num


def _remove_if_all_were_refused(sweep: Path) -> None:
    """Removes the folder of a sweep that holds only Hydra's own note."""
    note = sweep / "multirun.yaml"
    if [*sweep.glob("*")] == [note]:
        note.unlink()
        _remove_empty(sweep, Path.cwd())


def _name_of_job() -> str:
    config = HydraConfig.get()
    number = config.job.num if config.mode == RunMode.MULTIRUN else 0
    return f"#{number} ({' '.join(map(with_dots, config.overrides.task))})"


def _has_own_process() -> bool:
    """True if a launcher runs each job in a process; it recognises a failure by the exception."""
    return bool(HydraConfig.get().launcher.get("_target_") != BASIC_LAUNCHER)


def _launch() -> Launch:
    config = HydraConfig.get()
    folder = Path(config.runtime.output_dir)
    sweep = Path(config.sweep.dir).name if config.mode == RunMode.MULTIRUN else None
    chosen = choices_of(config)
    typed = [o for o in config.overrides.task if not o.endswith(f"={_TO_BE_REMOVED}")]
    overrides = tuple(map(with_dots, typed))
    root = Path(config.runtime.cwd)
    flags = (*_flags(sys.argv[1:]), *_of_hydra())
    # Of a sweep not every job was checked, and a sweeper may choose values of its own.
    checked = config.mode == RunMode.RUN
    return Launch(folder, root, chosen, overrides, sweep, flags, checked=checked)


@contextlib.contextmanager
def _one_job_for_children() -> Iterator[None]:
    """Sets `sys.argv`, which Lightning's child processes run again, to this job of the sweep."""
    if any(name in os.environ for name in RANKS):  # a child, torchrun or SLURM
        try:
            yield
        finally:  # else the threads of the group may abort the process as it exits
            _leave_process_group()
        return
    mark_children()
    argv, environment = sys.argv, {name: os.environ.get(name) for name in _SET_BY_LIGHTNING}
    config, whole = HydraConfig.get(), cast(DictConfig, HydraConfig.instance().cfg)
    if config.mode == RunMode.MULTIRUN:
        sys.argv = [argv[0], *_arguments_of_job(argv[1:])]
        with read_write(whole.hydra):  # Lightning appends hydra.run.dir from here
            whole.hydra.run.dir = config.runtime.output_dir
    try:
        yield
    finally:  # the next job starts its own processes
        _leave_process_group()
        unmark_children()
        sys.argv = argv
        for name, value in environment.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _arguments_of_job(argv: list[str]) -> list[str]:
    typed = HydraConfig.get().overrides.task
    return [*_flags(argv), *typed, *_of_hydra(), "hydra.mode=RUN"]


def _flags(argv: list[str]) -> list[str]:
    """The flags that change the composed configuration."""
    flags = flags_parser().parse_args(argv)
    return [
        f"--{name.replace('_', '-')}={value}"
        for name in ("config_dir", "config_name")
        if (value := getattr(flags, name)) is not None
    ]


def _of_hydra() -> list[str]:
    """Overrides of Hydra's own keys, without those of sweeps."""
    overrides: Any = OmegaConf.to_container(HydraConfig.get().overrides.hydra)
    return [o for o in overrides if not o.lstrip("+~").startswith(_ABOUT_SWEEPS)]


def _leave_process_group() -> None:
    distributed = sys.modules.get("torch.distributed")
    if distributed and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()
