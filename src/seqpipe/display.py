"""Text as it is shown: control characters of the user's data escaped, times in words."""

import logging
import re

# C0 and C1 controls but for tab and line end, DEL, separators of lines and paragraphs, marks that
# turn the reading direction around, halves of surrogate pairs.
_STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def visible(text: str) -> str:
    r"""Escapes control characters, so that they are shown and not executed.

    >>> print(visible("\x1b[31mred"))
    \x1b[31mred
    """
    return _STEERING.sub(lambda found: ascii(found[0])[1:-1], text)


def duration(seconds: float) -> str:
    """A time for people: 8 s, 2 min 5 s, 3 h 10 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class PlainFormatter(logging.Formatter):
    """Formatter of log records that escapes control characters in messages."""

    def format(self, record: logging.LogRecord) -> str:
        """Formats a record as one line."""
        return visible(super().format(record))
