"""One sound file as samples of one rate."""

import math
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import numpy as np

from seqpipe.data.optional_deps import need
from seqpipe.data.sources.argument_checks import not_there
from seqpipe.errors import DataError
from seqpipe.rules import or_null, whole

Samples = np.ndarray[Any, np.dtype[np.float32]]
Rate = Annotated[int | None, or_null(whole(1)).because("in samples a second")]
Channel = Annotated[int | None, or_null(whole(0))]
ENDINGS = (".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff")


class Recordings:
    """Reads one file as samples of one rate, float32 in [-1, 1].

    Args:
        rate: samples a second to resample to; None: as recorded, alike in all files.
        channel: which one of several, from 0; None: their mean.

    Raises:
        ConfigError: soundfile is not installed.

    Attributes:
        soundfile: the library.
    """

    def __init__(self, rate: int | None = None, channel: int | None = None) -> None:
        self.soundfile: ModuleType = need("soundfile", extra="audio", what="data.source=Audio")
        self.rate, self.channel = rate, channel
        self._first: tuple[int, Path] | None = None  # the rate of the file that was read first

    def read(self, file: Path, where: str) -> tuple[Samples, int]:
        """The samples (N,) and their rate.

        Args:
            file: to read.
            where: starts the message, `clips.csv:7` or the file.

        Raises:
            DataError: missing, broken, without samples, not finite, or of another rate.
        """
        if not file.is_file():
            slashed = Path(str(file).replace("\\", "/"))  # a name as another system writes it
            hint = f"; did you mean '{slashed}'?" if slashed.is_file() else ""
            raise DataError(f"{not_there(f'{where}: {file.name}', file, 'a sound file')}{hint}")
        try:
            sound, rate = self.soundfile.read(file, dtype="float32", always_2d=True)
        except self.soundfile.SoundFileError as error:
            reason = str(getattr(error, "error_string", error)).rstrip(".")
            shown = f"{where}: {_told(file, where)}cannot be read ({reason})"
            raise DataError(f"{shown}; allowed: {', '.join(ENDINGS)} as soundfile reads") from None
        if len(sound) == 0:
            raise DataError(f"{where}: {_told(file, where)}holds no samples; allowed: 1 or more")
        if not np.isfinite(sound).all():
            text = "holds a NaN or infinite sample; allowed: finite ones"
            raise DataError(f"{where}: {_told(file, where)}{text}")
        mono = self._one_channel(sound, f"{where}: {_told(file, where)}")
        if self.rate is not None:
            return resampled(mono, rate, self.rate), self.rate
        first, example = self._first = self._first or (rate, file)
        if rate != first:
            text = f"has {rate} samples a second, {example} has {first}"
            allowed = f"data.source.rate={max(rate, first)} to resample all"
            raise DataError(f"{where}: {_told(file, where)}{text}; allowed: {allowed}")
        return mono, rate

    def _one_channel(self, sound: Samples, shown: str) -> Samples:
        """sound: (N, channels). Returns (N,)."""
        if self.channel is None:
            mono: Samples = sound.mean(axis=1, dtype=np.float32)
            return mono
        if self.channel >= sound.shape[1]:
            text = f"has {sound.shape[1]} channels, data.source.channel={self.channel}"
            raise DataError(f"{shown}{text}; allowed: 0 to {sound.shape[1] - 1}, or null")
        return np.ascontiguousarray(sound[:, self.channel])


def resampled(sound: Samples, rate: int, wanted: int) -> Samples:
    """A recording (N,) at another rate, (ceil(N * wanted / rate),) float32.

    Source: polyphase filtering with a windowed sinc (Kaiser, beta 5), scipy.signal.resample_poly.
    """
    if rate == wanted:
        return sound
    from scipy.signal import resample_poly  # half a second to import

    shared = math.gcd(rate, wanted)
    changed = resample_poly(sound.astype(np.float64), wanted // shared, rate // shared)
    return np.asarray(changed, dtype=np.float32)


def _told(file: Path, where: str) -> str:
    """The file, where the place is not the file itself."""
    return "" if where == str(file) else f"{file} "
