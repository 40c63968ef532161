"""Checkpoints as files: written whole and synced, and read without running code."""

import io
import pickle
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins import TorchCheckpointIO

from seqpipe.files import replacing
from seqpipe.records import check_archive

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
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Writes a checkpoint.

        Args:
            checkpoint: tensors and plain values.
            path: of the file.
            storage_options: not used, as in the class above.
        """
        write_archive(Path(path), checkpoint)
