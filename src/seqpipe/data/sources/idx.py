"""The idx files of MNIST and its kin: images and labels, big-endian, plain or gzip."""

import contextlib
import gzip
import logging
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal

import numpy as np

from seqpipe.data.base import Found, PlacedRecord, place
from seqpipe.data.sources.argument_checks import Share, not_there
from seqpipe.data.sources.files import FileSource, Names
from seqpipe.data.sources.text_lines import open_bytes
from seqpipe.errors import DataError
from seqpipe.files import is_file

log = logging.getLogger(__name__)
_IMAGES, _LABELS = 0x0803, 0x0801  # unsigned bytes, of three axes and of one


@dataclass(kw_only=True)
class Idx(FileSource):
    """Images as series: a row of pixels a step, or a pixel a step.

    The labels of `train-images-idx3-ubyte.gz` are in `train-labels-idx1-ubyte.gz` beside it.

    Records: `image` (T, D) float32 in [0, 1], (28, 28) by rows, (784, 1) by pixels; `label` int.

    Args:
        train: files of images, see `FileSource`.
        steps: `rows`, or `pixels` from left to right and down.
        permute_seed: of the order in which pixels are read, the same for all images; None: from
            left to right and down.

    Source: LeCun, Cortes & Burges, "The MNIST database"; pixel by pixel and permuted as in
    Le, Jaitly & Hinton (2015), section 4.2.
    """

    steps: Literal["rows", "pixels"] = "rows"
    permute_seed: int | None = None
    encoding: str = field(init=False, default="utf-8")

    def inputs(self) -> list[Path]:
        """Images and labels of all splits."""
        images = super().inputs()
        return [*images, *map(labels_of, images)]

    def parse(self, file: Path) -> Iterator[Found]:
        """A record for each image; its line is its number in the file, from 1.

        Raises:
            DataError: no idx file, labels that are missing or not as many, a file cut short.
        """
        labels_file = labels_of(file)
        if not self.bare and not is_file(labels_file):
            allowed = f"the labels of {file.name}"
            raise DataError(not_there(f"{labels_file}", labels_file, allowed))
        try:
            opened = contextlib.nullcontext() if self.bare else open_bytes(labels_file)
            with open_bytes(file) as images, opened as labels:
                yield from self._records(images, file, labels, labels_file)
        except (gzip.BadGzipFile, EOFError) as error:
            raise DataError(f"{file}: cannot be read to its end ({error})") from None

    def _records(
        self,
        images: IO[bytes] | gzip.GzipFile,
        file: Path,
        labels: IO[bytes] | gzip.GzipFile | None,
        labels_file: Path,
    ) -> Iterator[Found]:
        count, height, width = header(images, _IMAGES, file)
        (label_count,) = (count,) if labels is None else header(labels, _LABELS, labels_file)
        if count != label_count:
            text = f"holds {label_count} labels, {file.name} {count} images"
            raise DataError(f"{labels_file}: {text}; allowed: one label per image")
        order = None
        if self.permute_seed is not None:
            order = np.random.default_rng(self.permute_seed).permutation(height * width)
        shape = (height, width) if self.steps == "rows" else (height * width, 1)
        for at in range(1, count + 1):
            raw, label = images.read(height * width), b"" if labels is None else labels.read(1)
            parts = ((raw, height * width, file), (label, labels is not None, labels_file))
            for read, wanted, where in parts:
                if len(read) < wanted:
                    text = f"ends within entry {at} of {count}"
                    raise DataError(f"{where}: {text}; allowed: a file that was copied whole")
            pixels = np.frombuffer(raw, dtype=np.uint8)
            pixels = pixels if order is None else pixels[order]
            image = pixels.reshape(shape).astype(np.float32) / np.float32(255)
            columns: dict[str, object] = {"image": image}
            yield PlacedRecord(columns | ({"label": label[0]} if label else {}), file, at)


@dataclass(kw_only=True)
class Mnist(Idx):
    """MNIST and what is shaped like it: the four official files in a folder.

    Where there are only those of the test (10,000 images), the last 2,000 of them are tested and
    the others trained on, with a warning: results are not comparable with published ones.

    Args:
        valid: share of the training images to validate on.
        path: the folder; None: the current one.
    """

    valid: Share = 0.1
    train: Names = field(init=False, default="train-images-idx3-ubyte.gz")
    test: Names | float = field(init=False, default="t10k-images-idx3-ubyte.gz")
    group: Names | None = field(init=False, default=None)
    stratify: str | None = field(init=False, default=None)
    order: Literal["random", "file"] = field(init=False, default="random")

    def __post_init__(self) -> None:
        found = {
            part: name
            for part in ("train", "t10k")
            for name in (f"{part}-images-idx3-ubyte", f"{part}-images-idx3-ubyte.gz")
            if (self.folder / name).is_file()
        }
        whole = "train" in found
        self.train = found.get("train", found.get("t10k", self.train))
        self.test = found.get("t10k", self.test) if whole or not found else 0.2
        self.order = "random" if whole else "file"
        super().__post_init__()
        if found and not whole:
            log.warning(
                "%s holds the test images only: the last fifth is tested, the others trained on",
                self.folder,
            )


def labels_of(images: Path) -> Path:
    """`t10k-labels-idx1-ubyte.gz` for `t10k-images-idx3-ubyte.gz`."""
    return images.with_name(images.name.replace("images", "labels").replace("idx3", "idx1"))


def header(opened: IO[bytes] | gzip.GzipFile, magic: int, file: Path) -> tuple[int, ...]:
    """The sizes of the axes that an idx file announces.

    Raises:
        DataError: it is of another kind.
    """
    raw = opened.read(4)
    axes = magic & 0xFF
    if len(raw) < 4 or struct.unpack(">I", raw)[0] != magic:
        kind = "images (idx3)" if magic == _IMAGES else "labels (idx1)"
        text = f"starts with 0x{raw.hex()}"
        raise DataError(f"{place(file)}: {text}; allowed: 0x{magic:08x}, {kind} of bytes")
    sizes = opened.read(4 * axes)
    if len(sizes) < 4 * axes:
        raise DataError(
            f"{place(file)}: ends within its header; allowed: a file that was copied whole"
        )
    return struct.unpack(f">{axes}I", sizes)
