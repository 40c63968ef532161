"""From the words of the command line to a verb: which one, its options, its end.

Imports neither torch nor anything that does: `--help` and mistakes are answered at once.
"""

import importlib
import logging
import traceback
from collections.abc import Sequence
from pathlib import Path

from seqpipe.config.options import first_line, help_of, read
from seqpipe.config.schema import GROUPS, PANEL
from seqpipe.display import PlainFormatter
from seqpipe.errors import ConfigError, DataError, SeqpipeError, did_you_mean
from seqpipe.files import unusable
from seqpipe.processes import ignore_stale_ranks
from seqpipe.terminal import (
    FAILED,
    WRONG_INPUT,
    code_of,
    complain,
    on_sigterm,
    only_prints,
    say,
    say_no_more,
)
from seqpipe.verbs.registry import VERBS, Answer

TRAIN = "train"
PANEL_COMMANDS = {
    TRAIN: "Train a model: what is done where no command is given.",
    "describe": "Examine the data before training: examples, lengths, classes, unknown symbols.",
    "replay": "Run a batch that gave NaN or Inf once more, and name the part that does.",
}
"""The commands that take the keys of the panel, and what each does."""
_FILE = "file=outputs/runs/.../bad_steps/step_12_rank0.pt, with the overrides of its run"


def split(argv: Sequence[str]) -> tuple[str, list[str]]:
    """The command and the words after it; without one it is `train`.

    Raises:
        ConfigError: there is no such verb.
    """
    word = argv[0] if argv else ""
    if not word or word[0] in "-+~" or "=" in word:
        return TRAIN, list(argv)
    if word in PANEL_COMMANDS or word in VERBS:
        return word, list(argv[1:])
    verbs = (*PANEL_COMMANDS, *VERBS)
    hint = did_you_mean(word, verbs)
    if word.partition(".")[0] in (*GROUPS, *PANEL):
        hint = f", or a key with its value: {word}=..."
    raise ConfigError(f"{word}: no such verb; allowed: {', '.join(verbs)}{hint}")


def listed() -> str:
    """All verbs, each with what it does, for the help of the program."""
    rows = {
        **PANEL_COMMANDS,
        **{name: first_line(verb.options) for name, verb in VERBS.items()},
    }
    width = max(map(len, rows))
    return "".join(f"{name:<{width}}  {told}\n" for name, told in rows.items())


def help_of_panel(command: str) -> str:
    """The help of a command that takes the keys of the panel."""
    word = "" if command == TRAIN else f" {command}"
    file = f"  {_FILE}\n" if command == "replay" else ""
    keys = "Takes the keys of the panel, as training does: python -m seqpipe --help"
    return f"python -m seqpipe{word} [key=value ...]\n\n{PANEL_COMMANDS[command]}\n\n{file}{keys}"


def file_of_replay(words: Sequence[str]) -> tuple[str, list[str]]:
    """The `file=` of `replay`, and the other words.

    Raises:
        ConfigError: there is none, more than one, or the command is a sweep.
    """
    files = [word.removeprefix("file=") for word in words if word.startswith("file=")]
    others = [word for word in words if not word.startswith("file=")]
    if len(files) != 1 or not files[0]:
        text = "is missing" if not files else "one file is replayed at a time"
        raise ConfigError(f"file={','.join(files)}: {text}; allowed: {_FILE}")
    for flag in ("-m", "--multirun"):
        if flag in others:
            raise ConfigError(f"{flag}: replay runs one batch; allowed: leave it out")
    return files[0], others


def call(name: str, words: Sequence[str]) -> int:
    """Run a verb. Returns the exit code of the process.

    Raises:
        ConfigError: its options cannot be read.
        KeyboardInterrupt: Ctrl-C.
    """
    verb = VERBS[name]
    if "--help" in words or "-h" in words:
        only_prints()
        say(help_of(verb.options, name))
        return 0
    options = read(verb.options, words, name)
    on_sigterm()
    _warn_on_stderr()
    try:
        if ignored := ignore_stale_ranks({}):
            complain(ignored)
        module = importlib.import_module(f"seqpipe.verbs.{verb.module}")
        answer: Answer = module.run(options, Path.cwd())
    except SeqpipeError as error:
        complain(error)
        return WRONG_INPUT if isinstance(error, (ConfigError, DataError)) else FAILED
    except BrokenPipeError:  # of `| head`, see `say`
        say_no_more()
        return 0
    except SystemExit as error:
        return code_of(error)
    except Exception as error:
        if (told := unusable(error)) is not None:
            complain(told)
        else:
            traceback.print_exc()
        return FAILED
    if answer.text:
        say(answer.text)
    return answer.code


def _warn_on_stderr() -> None:
    """Warnings of any library, on the terminal, as conf/hydra/default.yaml has it for training."""
    handler = logging.StreamHandler()
    handler.setLevel(logging.WARNING)  # loggers with a level of their own pass the root's
    handler.setFormatter(PlainFormatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
