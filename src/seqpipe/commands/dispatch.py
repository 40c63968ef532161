"""The commands: their table, their options, and the dispatch of a command line to one of them.

To add one:

1. A frozen dataclass of its options in `commands/options.py`, and a line in `COMMANDS`. Its
   docstring is what `--help` prints, the first line what the list of commands shows.
   Those of a command about one run inherit `run`, `tracking_uri`, `experiment` and `metric`.
   The types of options: `config/command_options.py`.
2. A module `seqpipe.commands.<name>` with `run(options, root) -> Answer`; root: the folder the user
   works in. It is imported once the options are accepted, so torch and MLflow may stand at its top;
   they may not be imported here. `seqpipe.runs.find_run.find_run(options, root)` finds the run.

A command raises ConfigError or DataError for a mistake of the user's (exit code 2), another
SeqpipeError where it cannot continue (1). SIGTERM and Ctrl-C reach it as exceptions. Streamed
output goes to `sys.stdout`; a closed pipe ends it quietly. Progress and warnings go to stderr.

Imports neither torch nor anything that does: `--help` and mistakes are answered at once.
"""

import importlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from seqpipe.collector import imports_done
from seqpipe.commands.options import (
    Evaluate,
    Export,
    Predict,
    Register,
    Rerun,
    Sample,
    Score,
    Serve,
    Sync,
    Translate,
)
from seqpipe.config.command_options import first_line, help_of, read
from seqpipe.config.schema import GROUPS, PANEL
from seqpipe.display import PlainFormatter
from seqpipe.errors import ConfigError, did_you_mean
from seqpipe.processes import ignore_stale_ranks
from seqpipe.runs.options import SWEEP
from seqpipe.signals import raise_on_signals
from seqpipe.terminal import (
    discard_output,
    end_on_closed_pipe,
    exit_code_of,
    print_error,
    print_text,
    report_error,
)


class Answer(NamedTuple):
    """The result of a command.

    Args:
        text: printed at the end, unless it is empty.
        code: the exit code of the process.
        note: printed after the text, on stderr: what a pipe should not receive.
    """

    text: str = ""
    code: int = 0
    note: str = ""


class Command(NamedTuple):
    """A command.

    Args:
        module: in `seqpipe.commands`, which runs it.
        options: the class of its options.
        over_sweeps: True if it runs over all runs of a sweep, `run=sweep:latest`.
    """

    module: str
    options: type[Any]
    over_sweeps: bool = False


COMMANDS: dict[str, Command] = {
    "evaluate": Command("evaluate", Evaluate, over_sweeps=True),
    "predict": Command("predict", Predict, over_sweeps=True),
    "translate": Command("translate", Translate),
    "sample": Command("sample", Sample),
    "score": Command("score", Score),
    "rerun": Command("rerun", Rerun, over_sweeps=True),
    "serve": Command("serve", Serve),
    "register": Command("register", Register),
    "export": Command("export", Export),
    "sync": Command("sync", Sync),
}


class PanelCommand(NamedTuple):
    """A command that takes the keys of the front panel, `conf/config.yaml`, as training does.

    Args:
        module: in `seqpipe.commands`, with `run(cfg, launch)`.
        text: one line of help.
    """

    module: str
    text: str


TRAIN = "train"
PANEL_COMMANDS = {
    TRAIN: PanelCommand("train", "Train a model; the default command."),
    "describe": PanelCommand(
        "describe_data",
        "Examine the data before training: examples, lengths, classes, unknown symbols.",
    ),
    "replay": PanelCommand(
        "replay", "Repeat a batch that gave NaN or Inf, and name the part that produces it."
    ),
}
_FILE = "file=outputs/runs/.../bad_steps/step_12_rank0.pt, with the same overrides as its run"


def split(argv: Sequence[str]) -> tuple[str, list[str]]:
    """The command and the words after it; without one it is `train`.

    Raises:
        ConfigError: there is no such command.
    """
    word = argv[0] if argv else ""
    if not word or word[0] in "-+~" or "=" in word:
        return TRAIN, list(argv)
    if word in PANEL_COMMANDS or word in COMMANDS:
        return word, list(argv[1:])
    commands = (*PANEL_COMMANDS, *COMMANDS)
    hint = did_you_mean(word, commands)
    if word.partition(".")[0] in (*GROUPS, *PANEL):
        hint = f", or a key with its value: {word}=..."
    raise ConfigError(f"{word}: no such command; allowed: {', '.join(commands)}{hint}")


def listed() -> str:
    """All commands with one line of help each."""
    rows = {
        **{name: command.text for name, command in PANEL_COMMANDS.items()},
        **{name: first_line(command.options) for name, command in COMMANDS.items()},
    }
    width = max(map(len, rows))
    return "".join(f"{name:<{width}}  {text}\n" for name, text in rows.items())


def help_of_panel(command: str) -> str:
    """The help text of a command that takes the keys of the panel."""
    word, text = "" if command == TRAIN else f" {command}", PANEL_COMMANDS[command].text
    file = f"  {_FILE}\n" if command == "replay" else ""
    keys = "Takes the same keys as training: python -m seqpipe --help"
    return f"python -m seqpipe{word} [key=value ...]\n\n{text}\n\n{file}{keys}"


def file_of_replay(words: Sequence[str]) -> tuple[str, list[str]]:
    """The value of `file=` of `replay`, and the other words.

    Raises:
        ConfigError: there is none, more than one, or the command is a sweep.
    """
    files = [word.removeprefix("file=") for word in words if word.startswith("file=")]
    others = [word for word in words if not word.startswith("file=")]
    if len(files) != 1 or not files[0]:
        text = "is missing" if not files else "only one file can be replayed at a time"
        raise ConfigError(f"file={','.join(files)}: {text}; allowed: {_FILE}")
    for flag in ("-m", "--multirun"):
        if flag in others:
            raise ConfigError(f"{flag}: replay runs one batch; allowed: leave it out")
    return files[0], others


def call(name: str, words: Sequence[str]) -> int:
    """Run a command. Returns the exit code of the process.

    Raises:
        ConfigError: its options cannot be read.
        KeyboardInterrupt: Ctrl-C.
    """
    command = COMMANDS[name]
    if "--help" in words or "-h" in words:
        end_on_closed_pipe()
        print_text(help_of(command.options, name))
        return 0
    options = read(command.options, words, name)
    run = str(getattr(options, "run", ""))
    if run.startswith(SWEEP) and not command.over_sweeps:
        able = ", ".join(one for one, known in COMMANDS.items() if known.over_sweeps)
        raise ConfigError(f"run={run}: names all runs of a sweep; allowed: with {able}")
    raise_on_signals()
    _warn_on_stderr()
    try:
        if ignored := ignore_stale_ranks({}):
            print_error(ignored)
        module = importlib.import_module(f"seqpipe.commands.{command.module}")
        imports_done()
        answer: Answer = module.run(options, Path.cwd())
    except BrokenPipeError:  # of `| head`, see `print_text`
        discard_output()
        return 0
    except SystemExit as error:
        return exit_code_of(error)
    except Exception as error:
        return report_error(error)
    if answer.text:
        print_text(answer.text)
    if answer.note:
        print_error(answer.note)
    return answer.code


def _warn_on_stderr() -> None:
    """Prints warnings of any library, as conf/hydra/default.yaml does for training."""
    handler = logging.StreamHandler()
    handler.setLevel(logging.WARNING)  # loggers with a level of their own pass the root's
    handler.setFormatter(PlainFormatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
