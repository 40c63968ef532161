"""One check for every refusal of a configuration that any test meets.

It names a key as it was typed, it says what is allowed, and whoever takes its advice is not refused
for the same key again. A plugin, so that it holds for tests that do not ask for it.
"""

import difflib
import functools
import inspect
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import pytest

from seqpipe.config import commandline
from seqpipe.config import compose as composing
from seqpipe.config.commandline import Checked
from seqpipe.errors import ConfigError

ALLOWED = re.compile(r"; (?:or )?(?:allowed: \S|did you mean ')")
_AN_INTEGER = re.compile(r"an integer(?: >= (-?\d+)| from (-?\d+) to -?\d+)?")
_AN_INTERVAL = re.compile(r"a number in [\[(](\S+), (\S+)[\])]")


def faults_of_form(problem: str, hint: str = "") -> list[str]:
    """What is wrong with the form of a message.

    >>> faults_of_form("depth=0: out of range; allowed: an integer >= 1")
    []
    >>> faults_of_form("depth=0: must be at least 1")
    ['says nothing that is allowed: depth=0: must be at least 1']
    >>> faults_of_form("the depth is too small; allowed: 1")
    ['names no key: the depth is too small; allowed: 1']
    """
    found = []
    subject = problem.partition(": ")[0]
    # A key, with or without a value; a flag; a file or a line of one.
    if " " in subject and "=" not in subject and not re.match(r"[-~+/.']|\S+[./]", subject):
        found.append(f"names no key: {problem}")
    if not ALLOWED.search(f"{problem}; {hint}"):
        found.append(f"says nothing that is allowed: {problem}")
    return found


class Met(NamedTuple):
    """A refusal of a command: what was typed, and one problem with it."""

    overrides: list[str]
    folders: Sequence[object]
    options: dict[str, object]
    problem: str

    @property
    def key(self) -> str:
        """The key that it names, with the sign it was typed with."""
        return self.problem.partition(": ")[0].partition("=")[0]

    def without(self, keys: Iterable[str]) -> list[str]:
        """What was typed, without the key and without others."""
        left_out = {key.lstrip("+~") for key in (self.key, *keys)}
        return [o for o in self.overrides if _bare(o) not in left_out]

    def left(self, change: Iterable[str], overrides: list[str]) -> list[str]:
        """The problems of what was typed after a change."""
        try:
            options = {"sweep": False, **self.options}
            return check.__wrapped__([*overrides, *change], self.folders, **options).problems
        except ConfigError as error:
            return error.problems


def _bare(override: str) -> str:
    return override.lstrip("+~").partition("=")[0].replace("/", ".")


class Advice:
    """Takes the advice of each refusal, once for each wording."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self.taken = 0

    def faults(self, met: Met) -> Iterator[str]:
        """What is wrong with the advice of one message."""
        shape = re.sub(r"'[^']*'|[\w./]+=\S*|\(.*?\)", "…", met.problem)
        if shape in self.seen:
            return
        self.seen.add(shape)
        typed = [o.replace("/", ".") for o in met.overrides if _bare(o) == met.key.lstrip("+~")]
        if typed and not met.options.get("sweep") and not _stands(typed[-1], met.problem):
            yield f"{met.problem}\n  typed: {typed[-1]}"
        for change in proposed(met.problem, met.key):
            self.taken += 1
            left = met.left(change.values(), met.without(change))
            if met.problem in left or any(p.startswith(tuple(change.values())) for p in left):
                yield f"{met.problem}\n  taken: {change}\n  left: {left}"
        for key, value in renamed(met.problem, met.key):
            self.taken += 1
            left = [p for p in met.left([f"{key}={value}"], met.without([])) if _bare(p) == key]
            if any(re.search(r": (unknown|no such|nothing in|is not listed)", p) for p in left):
                yield f"{met.problem}\n  taken: {key}={value}\n  left: {left}"


def _stands(override: str, problem: str) -> bool:
    """Whether a message starts with what was typed, or with that and with another key."""
    override, problem = (
        re.sub("['\"]", "", each).replace("/", ".") for each in (override, problem)
    )
    return override in problem.partition(": ")[0]


def proposed(problem: str, key: str) -> Iterator[dict[str, str]]:
    """Overrides that a message proposes, each way a mapping key -> override."""
    hint = re.search(r"did you mean '([^']+)'\?$", problem)
    allowed = problem.partition("; allowed: ")[2].partition("; did you mean")[0]
    quoted = re.search(r"in quotes, (.*)$", allowed)
    if quoted:
        (word,) = shlex.split(quoted[1])
        yield {key: word}
    elif hint and "no such option" in problem:
        yield {key: f"{key}={hint[1]}"}
    for part in re.split(r", or | or |, (?=\w+=)", "" if quoted else allowed):
        words = [w.rstrip(",;") for w in part.split() if re.fullmatch(r"\+?[\w.]+=[\w.\-\[\]]+", w)]
        if words and not part.startswith(("a ", "also ", "-m ", "data of ", "with a plus")):
            if not any(
                w.endswith(("...", "=value", "NAME", "FILE", "Class", "FOLDER")) for w in words
            ):
                yield {w.partition("=")[0].lstrip("+"): w for w in words}


def renamed(problem: str, key: str) -> Iterator[tuple[str, str]]:
    """The key that an unknown one may have meant, with the value that was typed.

    >>> list(renamed("cell.outptu=1: unknown key; did you mean 'output'?", "cell.outptu"))
    [('cell.output', '1')]
    """
    hint = re.search(r": unknown key; .*did you mean '(\+?)([\w.]+)'\?$", problem)
    if hint:
        value = problem.partition(": ")[0].partition("=")[2]
        sign, parts = key[: key.startswith("+")] or hint[1], key.lstrip("+").split(".")
        if "." in hint[2]:
            parts = [hint[2]]
        else:  # the part that it is close to
            (close,) = difflib.get_close_matches(hint[2], parts, n=1, cutoff=0)
            parts[parts.index(close)] = hint[2]
        yield sign + ".".join(parts), value


def values(problem: str) -> Iterator[str]:
    """Values that the words of `allowed: ` stand for.

    >>> list(values("a=0: out of range; allowed: an integer >= 1 or a number in (0, 1) or null"))
    ['1', '0.5', 'null']
    >>> list(values("cell=lsmt: no such option; allowed: gru, lstm, rnn; did you mean 'lstm'?"))
    ['gru', 'rnn']
    """
    wrong, _, allowed = problem.partition("; allowed: ")
    allowed = re.sub(r" \([^()]*\)$", "", allowed.partition("; did you mean")[0])
    if re.search(r": (unknown choice|no such option)$", wrong) and re.fullmatch(
        r"[\w.-]+(, [\w.-]+)+", allowed
    ):
        words = allowed.split(", ")
        yield from dict.fromkeys((words[0], words[-1]))
    for option in allowed.split(" or "):
        if found := _AN_INTEGER.fullmatch(option):
            yield found[1] or found[2] or "1"
        elif found := _AN_INTERVAL.fullmatch(option):
            yield str((float(found[1]) + float(found[2])) / 2)
        elif found := re.fullmatch(r"a number(?: >=? (\S+))?", option):
            yield str(float(found[1] or 0) + 0.5)
        elif option in ("true", "false", "null"):
            yield option


MADE: list[tuple[str, str]] = []  # problem and hint of each ConfigError of seqpipe
MET: list[Met] = []
ADVICE = Advice()


def _noting_errors() -> None:
    """Note each ConfigError that seqpipe makes; those that a test itself makes are its own."""
    plain = ConfigError.__init__

    @functools.wraps(plain)
    def noting(self: ConfigError, problems: str | Sequence[str], hint: str = "") -> None:
        plain(self, problems, hint)
        frame = inspect.currentframe()
        made_in = "" if frame is None or frame.f_back is None else frame.f_back.f_globals
        if made_in and str(made_in.get("__name__")).startswith("seqpipe"):
            MADE.extend((problem, hint) for problem in self.problems)

    ConfigError.__init__ = noting


def _noting_checks():
    """Note each refusal of a command, whoever asks for the check."""
    plain = commandline.check

    @functools.wraps(plain)
    def noting(overrides, config_dirs=(), **options) -> Checked:
        problems: list[str] = []
        try:
            checked = plain(overrides, config_dirs, **options)
        except ConfigError as error:
            problems = error.problems
            raise
        else:
            problems = checked.problems
            return checked
        finally:
            MET.extend(Met(list(overrides), config_dirs, options, p) for p in problems)

    commandline.check = composing.check = noting
    return noting


# Now, before `from seqpipe.config.commandline import check` anywhere else. Pytest may import this
# file a second time, for its examples.
if hasattr(commandline.check, "__wrapped__"):
    check = commandline.check
else:
    check = _noting_checks()
    _noting_errors()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Iterator[None]:
    """Judge what a test met while its folder and what it replaced are still there."""
    try:
        result = yield
    except BaseException:
        MADE.clear()
        MET.clear()
        raise
    made, met = dict.fromkeys(MADE), list(MET)
    MADE.clear()
    MET.clear()
    found = [fault for problem in made for fault in faults_of_form(*problem)]
    for one in met:
        found += [*faults_of_form(one.problem), *ADVICE.faults(one)]
    MADE.clear()  # those that taking advice made
    assert not found, "\n".join(dict.fromkeys(found))
    return result
