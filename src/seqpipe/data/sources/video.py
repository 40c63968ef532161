"""Video: files, and folders of pictures."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from seqpipe.data.optional_deps import need
from seqpipe.data.sources.video_clips import Clips, Frames, evenly, natural_key
from seqpipe.errors import ConfigError, DataError
from seqpipe.rules import or_null, real, whole

PICTURES = (".png", ".jpg", ".jpeg", ".bmp")
_FORMATS = {"grey": "gray", "rgb": "rgb24"}  # as FFmpeg calls them
_ROUNDING = 1e-3  # seconds: many formats keep times in whole milliseconds
_MODES = {"grey": "L", "rgb": "RGB"}  # as Pillow does


@dataclass(kw_only=True)
class Video(Clips):
    """Video files of any format that FFmpeg reads, through PyAV; sound is passed over.

    Args:
        train: as in `Clips`, as is all that is not listed here.
        frames_per_second: steps of a clip, equally far apart in time: for each, the frame
            nearest to it (of two the later), again if the clip is slower. None: every frame, once.
        frames: at most so many of a clip, spread evenly over it; not with `frames_per_second`.
            None: all.
        max_seconds: read no further into a clip. None: to its end.

    Raises:
        ConfigError: PyAV is not installed; both ways to choose frames; a number that is not
            above 0; and as `Clips`.
    """

    suffixes = (
        *(".mkv", ".mp4", ".avi", ".mpg", ".mpeg", ".mov", ".webm", ".m4v", ".wmv", ".flv"),
        *(".ogv", ".3gp", ".gif"),
    )

    frames_per_second: Annotated[float | None, or_null(real("(0, inf)"))] = None
    frames: Annotated[int | None, or_null(whole(1))] = None
    max_seconds: Annotated[float | None, or_null(real("(0, inf)"))] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.frames_per_second is not None and self.frames is not None:
            rate = f"data.source.frames_per_second={self.frames_per_second}"
            both = f"{rate} data.source.frames={self.frames}"
            raise ConfigError(f"{both}: two ways to choose frames; allowed: one of them null")
        self.av = need("av", extra="video", what="data.source=Video")

    def frames_of(self, clip: Path) -> Frames:
        """The chosen frames of a file.

        Raises:
            DataError: it is no video, is broken, or holds no frames.
        """
        format_, array = _FORMATS[self.color], []
        try:
            with self.av.open(str(clip)) as container:
                for frame in self._chosen(clip, container):
                    small = frame.reformat(
                        self.width, self.height, format=format_, interpolation="AREA"
                    )
                    array.append(small.to_ndarray())
        except self.av.FFmpegError as error:
            reason = f"cannot be read as video ({error.strerror})"
            at = f"after {len(array)} frames " if array else ""
            raise DataError(f"{clip}: {at}{reason}; allowed: a whole video file") from None
        if not array:
            raise DataError(f"{clip}: holds no frames; allowed: at least one")
        whole = np.stack(array)
        return whole if self.frames is None else whole[evenly(len(whole), self.frames)]

    def _chosen(self, clip: Path, container: Any) -> Iterator[Any]:
        """The frames of the first video stream that `frames_per_second` and `max_seconds` leave.

        Raises:
            DataError: there is no such stream, or its frames have no times and need them.
        """
        if not container.streams.video:
            kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "none"
            raise DataError(f"{clip}: no video stream in it, only {kinds}; allowed: a video file")
        decoded = container.decode(container.streams.video[0])
        rate = self.frames_per_second
        if rate is None and self.max_seconds is None:
            yield from decoded
            return
        timed = self._timed(clip, decoded)
        if rate is None:
            yield from (frame for _, frame in timed)
            return
        last, step = None, 0
        for time, frame in timed:
            # What is nearer to the frame before than to this one is shown by that one.
            while last is not None and step / rate < (last[0] + time) / 2 - _ROUNDING:
                yield last[1]
                step += 1
            last = time, frame
        while last is not None and step / rate <= last[0] + _ROUNDING:
            yield last[1]
            step += 1

    def _timed(self, clip: Path, decoded: Iterator[Any]) -> Iterator[tuple[float, Any]]:
        """Frames with their seconds since the first, up to `max_seconds`."""
        start = None
        for frame in decoded:
            if frame.time is None:
                wanted = "data.source.frames_per_second=null data.source.max_seconds=null"
                raise DataError(f"{clip}: its frames have no times; allowed: {wanted}")
            start = frame.time if start is None else start
            if self.max_seconds is not None and frame.time - start >= self.max_seconds:
                return
            yield frame.time - start, frame


@dataclass(kw_only=True)
class FrameFolders(Clips):
    """Folders of pictures, each folder a clip; frame2 comes before frame10.

    Args:
        train: a folder in which, at any depth, every folder that holds pictures is a clip; or
            several, a pattern for pictures (`*/*.png`), or a table as in `Clips`, which names
            folders. All that is not listed here: as in `Clips`.
        every: take one frame of so many.
        frames: at most so many of these, spread evenly over the clip. None: all.

    Raises:
        ConfigError: as `Clips`; a number below 1.
    """

    suffixes = PICTURES
    class_depth = 3  # class/clip/1.png

    every: Annotated[int, whole(1)] = 1
    frames: Annotated[int | None, or_null(whole(1))] = None

    def files_of(self, split: str) -> list[Path]:
        """The folders of a split, each once, and its tables."""
        found = super().files_of(split)
        folders = (file.parent if self._is_picture(file) else file for file in found)
        return list(dict.fromkeys(folders))

    def inputs(self) -> list[Path]:
        """The tables and all pictures."""
        return [
            file
            for found in super().inputs()
            for file in (self._pictures(found) if found.is_dir() else [found])
        ]

    def frames_of(self, clip: Path) -> Frames:
        """The chosen pictures of a folder.

        Raises:
            DataError: it is none, holds no pictures, or one that cannot be read.
        """
        pictures = self._pictures(clip)[:: self.every] if clip.is_dir() else []
        if not pictures:
            allowed = f"allowed: a folder with *{', *'.join(self.suffixes)}"
            raise DataError(f"{clip}: holds no pictures; {allowed}")
        if self.frames is not None:
            pictures = [pictures[place] for place in evenly(len(pictures), self.frames)]
        return np.stack([self._picture(file) for file in pictures])

    def _pictures(self, folder: Path) -> list[Path]:
        visible = (file for file in folder.iterdir() if not file.name.startswith("."))
        files = [file for file in visible if self._is_picture(file)]
        return sorted(files, key=lambda file: natural_key(file.name))

    def _is_picture(self, file: Path) -> bool:
        return file.name.lower().endswith(self.suffixes)

    def _picture(self, file: Path) -> Frames:
        from PIL import Image  # comes with matplotlib

        try:
            with Image.open(file) as image:
                if image.mode.startswith(("I", "F")):
                    text = f"has pixels of kind {image.mode}; allowed: 8 bits a color"
                    raise DataError(f"{file}: {text}")
                size = (self.width, self.height)
                small = image.convert(_MODES[self.color]).resize(size, Image.Resampling.BILINEAR)
                return np.asarray(small)
        except (OSError, SyntaxError, ValueError) as error:
            reason = str(error).partition("\n")[0]
            text = f"cannot be read as a picture ({reason})"
            raise DataError(f"{file}: {text}; allowed: a whole picture") from None
