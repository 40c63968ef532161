"""Names of metrics, params and tags in MLflow: any text, written so that it can be read back.

MLflow takes letters, digits, `_`, `-`, `.`, blanks, and `/` between parts that are not empty. Every
other character is written `_xHHHH_` by its code point: `<=50K` is recorded as `_x3C__x3D_50K`. An
underscore that would read as the start of such an escape is itself written `_x5F_`.

Source: the escapes of ISO/IEC 9075-14 (SQL/XML), 9.1, with as many digits as the code point needs.
"""

import functools
import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

LONGEST = 250  # characters that MLflow's tables have room for
TAG = "metric_name."
"""Tag `metric_name.<digest>`: the whole name of a metric whose name is too long for MLflow."""

# Older MySQL has no characters beyond the 16 bits of the first plane.
_REFUSED = re.compile(r"[^\w\-./ ]|[\U00010000-\U0010FFFF]|_(?=[xX][-0-9A-Fa-f])")
_ESCAPE = re.compile(r"_x([0-9A-F]{1,6})_")
_SHORTENED = re.compile(r"_x-([0-9a-f]{16})$")


@functools.cache  # the same few names, at every step
def encoded(name: str, *, strict: bool = False) -> str:
    """Encodes a name for MLflow, uniquely; `decoded` reads it back.

    Args:
        name: any text.
        strict: also escape what a database may ignore when it compares: case, accents, width.

    >>> encoded("test/f1/C#")
    'test/f1/C_x23_'
    >>> encoded("test/f1/../B-PER")
    'test/f1/_x2E_./B-PER'
    """
    escaped = set(_places(name))
    if strict:
        escaped |= {place for place, c in enumerate(name) if c != " " and _folded(c) != c}
    text = "".join(f"_x{ord(c):X}_" if place in escaped else c for place, c in enumerate(name))
    if 0 < len(text) <= LONGEST:
        return text
    mark = f"_x-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"
    return text[: LONGEST - len(mark)] + mark


def encoded_together(names: Iterable[str]) -> dict[str, str]:
    """{name: encoded name} for metrics that are recorded together.

    Databases may compare without case and accents, and would then keep one value for `us` and
    `US`: where names differ in nothing else, these characters are escaped.
    """
    known = list(names)
    alike = Counter(map(_folded, known))
    return {name: encoded(name, strict=alike[_folded(name)] > 1) for name in known}


def decoded(name: str, tags: Mapping[str, str]) -> str:
    """Decodes a name of MLflow.

    Args:
        name: the encoded name.
        tags: the run's tags, which hold the names that are too long.
    """
    shortened = _SHORTENED.search(name)
    if shortened is not None:
        return tags.get(f"{TAG}{shortened[1]}", name)
    return _ESCAPE.sub(_character, name)


def tags_of_long(recorded: Mapping[str, str]) -> dict[str, str]:
    """The tags that `decoded` needs. recorded: {name: encoded name}."""
    found = {name: _SHORTENED.search(text) for name, text in recorded.items()}
    return {f"{TAG}{match[1]}": name for name, match in found.items() if match is not None}


def _places(name: str) -> Iterator[int]:
    """Places of the characters that MLflow refuses, or drops as in a path."""
    yield from (match.start() for match in _REFUSED.finditer(name))
    start = 0
    for part in name.split("/"):
        end = start + len(part)
        if set(part) == {"."} or (start == 0 and part.startswith("..")):
            yield start
        if part.startswith(" "):
            yield start
        if part.endswith(" "):
            yield end - 1
        # MLflow drops a slash beside an empty part.
        if end < len(name) and (end in (0, len(name) - 1) or name[end - 1] == "/"):
            yield end
        start = end + 1


@functools.cache
def _folded(name: str) -> str:
    """The form that the least exact collations compare: no case, accent, width, trailing blank."""
    apart = unicodedata.normalize("NFKD", name)
    bare = "".join(c for c in apart if not unicodedata.category(c).startswith("M"))
    return bare.casefold().rstrip()


def _character(found: "re.Match[str]") -> str:
    code = int(found[1], 16)
    return chr(code) if code <= 0x10FFFF else found[0]
