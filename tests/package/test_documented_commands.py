"""What README.md and docs/*.md say to type is accepted, or refused in the words they quote."""

import re
import shlex
from pathlib import Path

import pytest

from seqpipe.commands.dispatch import COMMANDS, PANEL_COMMANDS, split
from seqpipe.config.command_options import read
from seqpipe.config.commandline import check_command, read_flags
from seqpipe.errors import ConfigError

REPOSITORY = Path(__file__).resolve().parents[2]
COMMAND = re.compile(r" *(?:again: +)?(?:\$ )?(?:\.venv/bin/)?python -m seqpipe (?P<words>.+)")
ROW = re.compile(r"\| `(?P<words>[a-z]+=[^`]*)` \|")
REFUSAL = re.compile(r"seqpipe: .*|  \d+\. .*")
# Known only when the data is read.
LATER = ("callbacks.early_stopping.monitor=val/mse",)


def documented() -> dict[str, str]:
    """The refusal that is quoted below each command; empty where none is."""
    found: dict[str, str] = {}
    words = ""
    for path in (REPOSITORY / "README.md", *sorted(REPOSITORY.glob("docs/*.md"))):
        rows = False
        for line in path.read_text(encoding="utf-8").splitlines():
            rows = line.startswith("|") and (rows or line.startswith("| `python -m seqpipe ...` |"))
            if typed := COMMAND.fullmatch(line) or (ROW.match(line) if rows else None):
                words = typed["words"].partition("   ")[0].strip()
                found.setdefault(words, "")
            elif words and REFUSAL.fullmatch(line):
                found[words] = f"{found[words]}\n{line}".strip()
            else:
                words = ""
    return found


DOCUMENTED = documented()


def test_commands_are_found_in_blocks_and_in_the_table():
    kinds = [split(shlex.split(words))[0] for words in DOCUMENTED]
    assert kinds.count("train") > 30
    assert {*COMMANDS, *PANEL_COMMANDS} <= {*kinds}
    assert "experiment=copy_memory" in DOCUMENTED
    assert sum(map(bool, DOCUMENTED.values())) == 4


@pytest.mark.parametrize("words", [words for words in DOCUMENTED if "--config-dir" not in words])
def test_a_documented_command_is_accepted_or_refused_as_quoted(words):
    command, arguments = split(shlex.split(words))
    if command in COMMANDS:
        assert read(COMMANDS[command].options, arguments, command)
        return
    refusal = ""
    try:
        keys = [word for word in arguments if not word.startswith("file=")]
        check_command(read_flags(keys))
    except ConfigError as error:
        refusal = f"seqpipe: {error}"
    assert refusal == ("" if words in LATER else DOCUMENTED[words])
