"""Atomic writing of files, and messages for places that cannot be written to."""

import contextlib
import errno
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_OF_A_PLACE = (
    *FULL,
    *(errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE, errno.ENODEV),
    *(errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ENOENT, errno.EMFILE, errno.ENFILE),
)
# Libraries that write for us raise errors of their own, with the system's words in them.
_IN_WORDS = re.compile(
    r"No space left on device|[Dd]isk quota exceeded|Read-only file system|Permission denied"
    r"|File too large|database or disk is full|readonly database"
    r"|PytorchStreamWriter failed writing"
)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Writes a file beside `path` and replaces `path` only when it is complete.

    An older file stays until then. A file that cannot be completed is removed, so that a full disk
    has its space back.

    Args:
        path: the file; the folder above it is made.

    Yields:
        the path to write to: beside `path`, with the same ending.

    Raises:
        OSError: the place cannot be written to; with its name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    made = path.with_name(f".new-{path.name}")
    made.unlink(missing_ok=True)  # left by a killed process, or a link
    try:
        yield made
        made.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            made.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)
        raise


def write_text(path: Path, text: str) -> Path:
    """Writes a text that ends in one line end, and the folder above it, see `replacing`."""
    with replacing(path) as made:
        made.write_text(text.rstrip("\n") + "\n", encoding="utf-8")
    return path


def write_json(path: Path, value: object) -> Path:
    """Writes indented JSON; values that JSON lacks become text."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str)
    return write_text(path, text)


def sha256_of(path: Path) -> str:
    """The sha256 (hex) of a file's bytes."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def out_of_memory(error: BaseException) -> bool:
    """True if the memory of the machine or of a GPU was exhausted."""
    found = re.search(r"out of memory|can't allocate memory|not enough memory", str(error))
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and bool(found))


def unwritable(error: BaseException | None) -> str | None:
    """One line about a place that cannot be read or written; None for any other error.

    >>> unwritable(OSError(errno.ENOSPC, "No space left on device", "outputs/a.csv"))
    'outputs/a.csv: No space left on device'
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in _OF_A_PLACE:
            name = "" if error.filename is None else f"{error.filename}: "
            return f"{name}{error.strerror}"
        found = _IN_WORDS.search(str(error))
        if found is not None:
            return found[0]
        error = error.__cause__
    return None


def unusable(error: BaseException) -> str | None:
    """The message for full memory or an unusable place; None for an error of seqpipe."""
    if out_of_memory(error):
        reason = str(error).strip().partition("\n")[0] or "the machine has no more"
        return f"out of memory: {reason}; allowed: a smaller data.batch_size, hidden_size or depth"
    place = unwritable(error)
    if place is None:
        return None
    return f"{place}; allowed: a place that can be written to and has room"
