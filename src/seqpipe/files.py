"""Files that are whole or not there, and one line about a place that takes none."""

import contextlib
import errno
import hashlib
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
    """A new file that takes the place of `path` only when it is whole.

    What stood there before stays until then, and of a file that fails nothing stays: what it took
    of a full disk is free again.

    Args:
        path: the file; the folder above it is made.

    Yields:
        where to write it: beside `path`, with the same ending.

    Raises:
        OSError: the place takes no file; with its name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    made = path.with_name(f".new-{path.name}")
    made.unlink(missing_ok=True)  # of a process that was killed, or a link of somebody else's
    try:
        yield made
        made.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            made.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)
        raise


def sha256_of(path: Path) -> str:
    """The sha256 (hex) of a file's bytes."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def out_of_memory(error: BaseException) -> bool:
    """Whether memory was asked for that is not there, of the machine or of a GPU."""
    found = re.search(r"out of memory|can't allocate memory|not enough memory", str(error))
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and bool(found))


def unwritable(error: BaseException | None) -> str | None:
    """One line about a place that takes or gives no more files; None for any other error.

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
    """What ended a command that was no mistake of anybody's; None for a fault of ours."""
    if out_of_memory(error):
        reason = str(error).strip().partition("\n")[0] or "the machine has no more"
        return f"out of memory: {reason}; allowed: a smaller data.batch_size, hidden_size or depth"
    place = unwritable(error)
    if place is None:
        return None
    return f"{place}; allowed: a place that can be written to and has room"
