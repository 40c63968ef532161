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


def split(argv: Sequence[str]) -> tuple[str | None, list[str]]:
    """The verb and the words behind it; None is training, which may be called `train` or nothing.

    Raises:
        ConfigError: there is no such verb.
    """
    word = argv[0] if argv else ""
    if not word or word[0] in "-+~" or "=" in word:
        return None, list(argv)
    if word == TRAIN:
        return None, list(argv[1:])
    if word in VERBS:
        return word, list(argv[1:])
    verbs = (TRAIN, *VERBS)
    hint = did_you_mean(word, verbs)
    if word.partition(".")[0] in (*GROUPS, *PANEL):
        hint = f", or a key with its value: {word}=..."
    raise ConfigError(f"{word}: no such verb; allowed: {', '.join(verbs)}{hint}")


def listed() -> str:
    """All verbs, each with what it does, for the help of the program."""
    rows = {
        TRAIN: "Train a model: what is done where no verb is given.",
        **{name: first_line(verb.options) for name, verb in VERBS.items()},
    }
    width = max(map(len, rows))
    return "".join(f"{name:<{width}}  {told}\n" for name, told in rows.items())


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
