"""Every error a user can cause, each with a message that says what to do about it."""

import difflib
import errno
import re
from collections.abc import Iterable, Sequence

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_PLACE_ERRORS = (
    *DISK_FULL,
    *(errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE, errno.ENODEV),
    *(errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ENOENT, errno.EMFILE, errno.ENFILE),
)
# Libraries that write for us raise errors of their own, with the system's words in them.
_PLACE_MESSAGES = re.compile(
    r"No space left on device|[Dd]isk quota exceeded|Read-only file system|Permission denied"
    r"|File too large|database or disk is full|readonly database"
    r"|PytorchStreamWriter failed writing"
)


class SeqpipeError(Exception):
    """Base of the errors that are reported as a message, without a traceback.

    Attributes:
        shown: this process prints the message; False where another one does.
    """

    shown = True


class _Problems(SeqpipeError):
    """An error that lists every problem found, not only the first.

    Args:
        problems: one message, or several, each `key=value: what is wrong; what is allowed`.
        hint: what else can be done about all of them; shown once.
    """

    where = "the input"

    def __init__(self, problems: str | Sequence[str], hint: str = "") -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        self.hint = hint
        super().__init__(self.problems, hint)

    def __str__(self) -> str:
        if len(self.problems) == 1:
            return "; ".join([self.problems[0], *([self.hint] if self.hint else [])])
        hint = f" ({self.hint})" if self.hint else ""
        lines = [f"  {number}. {problem}" for number, problem in enumerate(self.problems, 1)]
        return "\n".join([f"{len(self.problems)} problems in {self.where}{hint}:", *lines])


class ConfigError(_Problems):
    """The configuration asks for something that does not exist or cannot work."""

    where = "the configuration"


class DataError(_Problems):
    """The data cannot be used as it is; messages start with `file:line:` where there is a file."""

    where = "the data"


class ShapeError(SeqpipeError, ValueError):
    """A tensor has a shape the module cannot take."""


class TrainingError(SeqpipeError):
    """Training cannot go on, for example because the loss is not finite."""


class TrackingError(SeqpipeError):
    """A record cannot be written to."""


class RecordError(TrackingError):
    """A run came to its end, and not all of what it leaves could be written.

    Args:
        message: what could not, and why.
        summary: the closing lines of the run.
    """

    def __init__(self, message: str, summary: str = "") -> None:
        super().__init__(message)
        self.summary = summary


def first_line(error: BaseException) -> str:
    """The first line of an error's message; the name of its class where it has none."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def counted(count: int, noun: str) -> str:
    """A number of things for a message.

    >>> counted(1, "step"), counted(2000, "step")
    ('1 step', '2,000 steps')
    """
    return f"{count} {noun}" if count == 1 else f"{count:,} {noun}s"


def first_of(names: Sequence[str], most: int) -> str:
    """The first of some names for a message, and `...` where there are more.

    >>> first_of(["a", "", "c"], 3), first_of(["a", "b", "c"], 2)
    ("a, '', c", 'a, b, ...')
    """
    shown = [name if name.strip() else repr(name) for name in names[:most]]
    return ", ".join([*shown, "..."] if len(names) > most else shown)


def did_you_mean(word: str, allowed: Iterable[str]) -> str:
    """Suffix for a message: the allowed word closest to the one given, or nothing.

    >>> did_you_mean("detph", ["depth", "seed"])
    "; did you mean 'depth'?"
    >>> did_you_mean("zzz", ["depth"])
    ''
    """
    close = difflib.get_close_matches(word, list(allowed), n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else ""


def is_out_of_memory(error: BaseException) -> bool:
    """True if the memory of the machine or of a GPU was exhausted."""
    found = re.search(r"out of memory|can't allocate memory|not enough memory", str(error))
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and bool(found))


def place_message(error: BaseException | None) -> str | None:
    """One line about a place that cannot be read or written; None for any other error.

    >>> place_message(OSError(errno.ENOSPC, "No space left on device", "outputs/a.csv"))
    'outputs/a.csv: No space left on device'
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in _PLACE_ERRORS:
            name = "" if error.filename is None else f"{error.filename}: "
            return f"{name}{error.strerror}"
        found = _PLACE_MESSAGES.search(str(error))
        if found is not None:
            return found[0]
        error = error.__cause__
    return None


def resource_message(error: BaseException) -> str | None:
    """The message for exhausted memory or an unusable place on the disk; None for other errors."""
    if is_out_of_memory(error):
        reason = str(error).strip().partition("\n")[0] or "the machine has no more"
        return f"out of memory: {reason}; allowed: a smaller data.batch_size, hidden_size or depth"
    place = place_message(error)
    if place is None:
        return None
    return f"{place}; allowed: a place that can be written to and has room"
