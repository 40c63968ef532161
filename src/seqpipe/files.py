"""Atomic writing of files, their hashes, and outputs of commands that cannot be written."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from seqpipe.errors import ConfigError
from seqpipe.rules import refusal


def is_file(path: Path) -> bool:
    """True for a file; False too where the name is too long, or is none, as with a null byte."""
    return os.path.isfile(path)


def is_folder(path: Path) -> bool:
    """True for a folder; False too where the name is too long, or is none."""
    return os.path.isdir(path)


def exists(path: Path) -> bool:
    """True for a file or a folder; False too where the name is too long, or is none."""
    return os.path.exists(path)


@contextlib.contextmanager
def writing_output(output: Path | str, allowed: str) -> Iterator[None]:
    """Report an error of the operating system as a mistake in `output=`.

    Args:
        output: the file or folder that is written, as the message names it.
        allowed: what may be given instead.

    Raises:
        ConfigError: the output cannot be written.
    """
    try:
        yield
    except OSError as error:
        wrong = f"cannot be written ({error.strerror})"
        raise ConfigError(refusal("output", str(output), wrong, allowed)) from None


UNFINISHED = ".new-"
"""Beginning of the name of a file that `replacing` has not completed."""


@contextlib.contextmanager
def replacing(path: Path, *, sync: bool = False) -> Iterator[Path]:
    """Writes a file beside `path` and replaces `path` only when it is complete.

    An older file stays until then. A file that cannot be completed is removed, so that a full disk
    has its space back.

    Args:
        path: the file; the folder above it is made.
        sync: wait until the disk has the file and its name, so that it survives a loss of power.

    Yields:
        the path to write to: beside `path`, with the same ending.

    Raises:
        OSError: the place cannot be written to; with its name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    made = path.with_name(f"{UNFINISHED}{path.name}")
    made.unlink(missing_ok=True)  # left by a killed process, or a link
    try:
        yield made
        if sync:
            _sync(made)
        made.replace(path)
        if sync:
            _sync(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            made.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)
        raise


def append_whole(path: Path, data: bytes, *, sync: bool = False) -> None:
    """Appends to a file all of the bytes or none.

    Args:
        path: the file, made if missing.
        data: the bytes.
        sync: wait until the disk has them, so that they survive a loss of power.

    Raises:
        OSError: they cannot be written; the file is as before. With the name of the file.
    """
    try:
        with path.open("ab", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            try:
                left = memoryview(data)
                while left:  # a disk that is nearly full takes a part
                    left = left[file.write(left) :]
                if sync:
                    os.fsync(file.fileno())
            except BaseException:
                file.truncate(size)
                raise
    except OSError as error:
        error.filename = str(path)
        raise


def _sync(path: Path) -> None:
    """Waits until the disk has a file, or the names in a folder."""
    try:
        number = os.open(path, os.O_RDONLY)
    except PermissionError:  # a folder that may be written to and not read, or one of Windows
        return
    try:
        os.fsync(number)
    finally:
        os.close(number)


def remove_unfinished(folder: Path) -> None:
    """Removes the files that a killed process left unfinished in a folder and below it."""
    for path in folder.rglob(f"{UNFINISHED}*"):
        with contextlib.suppress(OSError):
            path.unlink()


def check_new(path: Path, typed: str | Path) -> None:
    """Refuse to write what exists: nothing is overwritten.

    Args:
        path: the file or folder.
        typed: the same as it was typed.

    Raises:
        ConfigError: it exists.
    """
    if path.exists():
        raise ConfigError(refusal("output", typed, "already exists", "a new name"))


def write_text(path: Path, text: str, *, sync: bool = False) -> Path:
    """Writes a text that ends in one line end, and the folder above it, see `replacing`."""
    with replacing(path, sync=sync) as made:
        made.write_text(text.rstrip("\n") + "\n", encoding="utf-8")
    return path


def write_json(path: Path, value: object, *, sync: bool = False) -> Path:
    """Writes indented JSON, see `replacing`; values that JSON lacks become text."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str)
    return write_text(path, text, sync=sync)


def sha256_of(path: Path) -> str:
    """The sha256 (hex) of a file's bytes."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
