"""Every error a user can cause, each with a message that says what to do about it."""

import difflib
from collections.abc import Iterable, Sequence


class SeqpipeError(Exception):
    """Base of the errors that are reported as a message, without a traceback."""


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


def did_you_mean(word: str, allowed: Iterable[str]) -> str:
    """Suffix for a message: the allowed word closest to the one given, or nothing.

    >>> did_you_mean("detph", ["depth", "seed"])
    "; did you mean 'depth'?"
    >>> did_you_mean("zzz", ["depth"])
    ''
    """
    close = difflib.get_close_matches(word, list(allowed), n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else ""
