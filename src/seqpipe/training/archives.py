"""Checkpoints as files: written whole and synced, and read without running code."""

import contextlib
import io
import logging
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins import TorchCheckpointIO

from seqpipe.errors import place_message
from seqpipe.files import replacing
from seqpipe.records import check_archive

log = logging.getLogger(__name__)

UNREADABLE = (OSError, RuntimeError, EOFError, ValueError, LookupError, pickle.UnpicklingError)
"""Errors of `read_archive` for a file that torch did not write, or that is damaged."""


def read_archive(path: Path) -> Any:
    """Load a file of `torch.save` onto the CPU: tensors and plain values. No code in it can run.

    Raises:
        UNREADABLE: not such a file, damaged, or smaller than it claims.
    """
    check_archive(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def write_archive(path: Path, content: Any) -> None:
    """Write a file of `torch.save`, which replaces an older one only when the disk has all of it.

    Raises:
        OSError: the place cannot be written to; torch has an error of its own for a full disk.
    """
    held = io.BytesIO()
    torch.save(content, held)
    with replacing(path, sync=True) as made:
        made.write_bytes(held.getbuffer())


class WholeFiles(TorchCheckpointIO):
    """Writes Lightning's checkpoints by `write_archive`.

    Lightning's own writes to the system's folder of temporary files first, without a sync: what a
    killed process leaves there is never removed, and a rename may reach the disk before the file.

    Attributes:
        outage: the errors that do not end the training, while a checkpoint of ours is written.
    """

    def __init__(self) -> None:
        super().__init__()
        self.outage: Outage | None = None

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Writes a checkpoint.

        Args:
            checkpoint: tensors and plain values.
            path: of the file.
            storage_options: not used, as in the class above.
        """
        with contextlib.nullcontext() if self.outage is None else self.outage.tolerated():
            write_archive(Path(path), checkpoint)


class Outage:
    """A disk that is full, or cannot be written to: checkpoints fail, and training continues.

    It warns once, and once when checkpoints can be written again.

    Attributes:
        failed: whether the last block of `tolerated` met such an error.
    """

    def __init__(self) -> None:
        self.failed = self._warned = False

    @contextlib.contextmanager
    def tolerated(self, *, is_checkpoint: bool = True) -> Iterator[None]:
        """Notes an error of the disk in the block; every other one passes.

        Args:
            is_checkpoint: the block writes one, so that without an error the outage is over.
        """
        self.failed = False
        try:
            yield
        except OSError as error:
            place = place_message(error)
            if place is None:
                raise
            self.failed = True
            if not self._warned:
                text = "training continues with the checkpoint before, and tries the next one"
                log.warning("%s: %s", place, text)
            self._warned = True
        else:
            if self._warned and is_checkpoint:
                log.warning("checkpoints can be written again")
                self._warned = False
