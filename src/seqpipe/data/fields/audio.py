"""Recordings as log Mel energies or cepstra of short frames."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor

from seqpipe.bounds import Count, NotNegative, Positive, Share
from seqpipe.data.base import Field, FieldSpec, Record
from seqpipe.data.columns import Array
from seqpipe.data.fields.augmentation import masked_bands, masked_steps
from seqpipe.data.fields.series import Moments, doubles
from seqpipe.data.fields.spectra import (
    FLOOR,
    dct_matrix,
    frames_of,
    mel_filters,
    power_spectra,
    preemphasised,
    stacked,
    with_deltas,
)
from seqpipe.data.number_precision import Floats, to_float32
from seqpipe.data.sources.argument_checks import check_arguments
from seqpipe.errors import ConfigError
from seqpipe.rules import list_of, or_null, require, whole

Masks = Annotated[
    tuple[int, int] | None,
    or_null(list_of(whole(1), length=2).because("how many, and the longest")),
]


@dataclass(eq=False)
class LogMel(Field):
    """Logarithms of the energy in Mel bands, (T_x, D) float32, in nats.

    Each frame is windowed and Fourier transformed; triangles on the Mel scale sum its power.
    Beside the samples the record holds their `rate`, or `rate` here says it.

    Args:
        column: the key of the entry in a record; samples (N,) in [-1, 1].
        n_mels: bands.
        frame_ms: milliseconds of a frame.
        hop_ms: milliseconds from one frame to the next.
        f_min: lowest frequency in Hz.
        f_max: highest; None: half the rate.
        scale: of the bands, see `spectra.to_mel`.
        window: `hann`, `hamming` or `rectangular`.
        preemphasis: share of the sample before that is subtracted, in [0, 1).
        deltas: derivatives in time beside the energies: 0, 1 or 2 of them.
        normalize: to mean 0 and deviation 1 in each of the D numbers: over all frames of the
            training split (`train`), of the recording itself (`example`), or not (`none`).
        stack: frames that are one step: T_x becomes that much smaller, D larger.
        rate: samples a second, where the record does not say.
        time_masks: how many runs of steps are hidden in training, and the most steps of one, as
            [2, 20]: other ones in each epoch, see `augmentation.masked_steps`. None: none.
        frequency_masks: how many runs of Mel bands are hidden, and the most bands of one, see
            `augmentation.masked_bands`. None: none. Both need `normalize`: what is hidden is 0.

    Raises:
        ConfigError: a value out of range.
    """

    kind = "values"
    fitted = ("heard", "mean", "deviation")
    augmentations = ("time_masks", "frequency_masks")

    column: str = "audio"
    _: KW_ONLY
    n_mels: Count = 40
    frame_ms: Positive = 25.0
    hop_ms: Positive = 10.0
    f_min: NotNegative = 20.0
    f_max: float | None = None
    scale: Literal["htk", "slaney"] = "htk"
    window: Literal["hann", "hamming", "rectangular"] = "hann"
    preemphasis: Share = 0.97
    deltas: Literal[0, 1, 2] = 0
    normalize: Literal["none", "train", "example"] = "train"
    stack: Count = 1
    rate: Count | None = None
    time_masks: Masks = None
    frequency_masks: Masks = None

    @staticmethod
    def together(
        normalize: str,
        n_mels: int,
        time_masks: Sequence[int] | None,
        frequency_masks: Sequence[int] | None,
    ) -> Iterator[tuple[str, str]]:
        """Yield masks whose 0 would not be a mean, and those of more bands than there are."""
        given = {"time_masks": time_masks, "frequency_masks": frequency_masks}
        for name in (name for name, masks in given.items() if masks and normalize == "none"):
            text = "what is hidden becomes 0, which is the mean of normalised numbers only"
            yield name, f"{text}; allowed: null, or data.x.normalize=train or example"
        if frequency_masks and frequency_masks[1] > n_mels:
            text = f"there are data.x.n_mels={n_mels} bands"
            yield "frequency_masks", f"{text}; allowed: [{frequency_masks[0]},{n_mels}], or fewer"

    def __post_init__(self) -> None:
        check_arguments(self, "data.x.")
        self.heard = 0  # samples a second of the training split
        self.mean: Floats = np.zeros(1, dtype=np.float32)
        self.deviation: Floats = np.ones(1, dtype=np.float32)

    def fit(self, records: Iterable[Record]) -> None:
        """Learn the rate and, to normalize by the training split, mean and deviation.

        Raises:
            ConfigError: bands that the rate cannot resolve.
        """
        total = Moments()
        for record in records:
            if not self.heard:
                self.heard = self._rate(record)
                self._filters()
            if self.normalize != "train":
                return
            total.add(self._features(record).numpy())
        if total.count:
            self.mean = total.mean.astype(np.float32)
            self.deviation = _divisor(total.deviation.astype(np.float32))

    def encode(self, record: Record) -> Tensor:
        """(T_x, D) float32.

        Raises:
            DataError: not samples, not finite, none at all, or of another rate than in training.
        """
        features = self._features(record)
        if self.normalize == "train":
            features = (features - torch.from_numpy(self.mean)) / torch.from_numpy(self.deviation)
        elif self.normalize == "example":
            array = features.numpy().astype(np.float64)
            deviation = array.std(axis=0).astype(np.float32)
            mean = array.mean(axis=0).astype(np.float32)
            features = (features - torch.from_numpy(mean)) / torch.from_numpy(_divisor(deviation))
        return stacked(features, self.stack)

    def augment(self, values: Array, rng: np.random.Generator) -> Array:
        """A copy in which steps and bands are hidden; values: (T_x, D) float32."""
        if self.time_masks is not None:
            values = masked_steps(values, *self.time_masks, rng)
        if self.frequency_masks is not None:
            values = masked_bands(values, self._width, *self.frequency_masks, rng)
        return values

    def decode(self, values: Tensor | Sequence[Any]) -> str:
        """The length of a recording; the sound itself cannot be restored."""
        seconds = len(values) * self.stack * self.hop_ms / 1000
        return f"{seconds:.2f} s of sound, {len(values)} steps"

    @property
    def spec(self) -> FieldSpec:
        """Size: D."""
        return FieldSpec(self.kind, self._width * (1 + self.deltas) * self.stack)

    def describe(self, counts: object) -> str:
        """The numbers and the length of a step."""
        step = self.hop_ms * self.stack
        return f"{self.spec.size} {self._name} a step of {step:g} ms, {self.heard:,} samples/s"

    _name = "log Mel energies"

    @property
    def _width(self) -> int:
        """Numbers of a frame, without derivatives."""
        return self.n_mels

    def _static(self, log_energies: Tensor) -> Tensor:
        """log_energies: (T, n_mels). The numbers of each frame, without derivatives."""
        return log_energies

    def _features(self, record: Record) -> Tensor:
        """(frames, D / stack), before they are normalized."""
        sound = torch.from_numpy(self._samples(record))
        if self.preemphasis > 0:
            sound = preemphasised(sound, self.preemphasis)
        length, hop, n_fft = self._sizes()
        power = power_spectra(frames_of(sound, length, hop), self.window, n_fft)
        energies = power @ self._filters().T
        return with_deltas(self._static(energies.clamp(min=FLOOR).log()), self.deltas)

    def _sizes(self) -> tuple[int, int, int]:
        """Samples of a frame, from frame to frame, and of the Fourier transform (a power of 2)."""
        length = max(1, round(self.heard * self.frame_ms / 1000))
        hop = max(1, round(self.heard * self.hop_ms / 1000))
        return length, hop, 1 << max(1, length - 1).bit_length()

    def _filters(self) -> Tensor:
        nyquist = self.heard / 2
        f_max = nyquist if self.f_max is None else self.f_max
        if not self.f_min < f_max <= nyquist:
            text = f"the sound goes to {nyquist:g} Hz"
            given = f"data.x.f_min={self.f_min:g} data.x.f_max={f_max:g}"
            raise ConfigError(f"{given}: {text}; allowed: f_min < f_max <= {nyquist:g}")
        n_fft = self._sizes()[2]
        return mel_filters(self.heard, n_fft, self.n_mels, self.f_min, f_max, self.scale)

    def _rate(self, record: Record) -> int:
        rate = record.get("rate") if self.rate is None else self.rate
        if not isinstance(rate, (int, np.integer)) or rate < 1:
            text = f"rate={rate!r} beside it is no number of samples a second"
            self.refuse(record.get(self.column), f"{text}; allowed: also data.x.rate=16000")
        return int(rate)

    def _samples(self, record: Record) -> Floats:
        value = self.value(record)
        try:
            sound = to_float32(doubles(value))
        except (TypeError, ValueError):
            self.refuse(value, "not samples; allowed: a flat array of numbers in [-1, 1]")
        if sound.ndim != 1 or len(sound) == 0:
            self.refuse(value, f"has shape {sound.shape}; allowed: (samples,), one or more")
        if not np.isfinite(sound).all():
            self.refuse(value, "holds NaN or infinity")
        if (rate := self._rate(record)) != self.heard:
            text = f"has {rate} samples a second, the training split starts with {self.heard}"
            self.refuse(value, f"{text}; allowed: data.source.rate={self.heard} to resample")
        return sound


@dataclass(eq=False, kw_only=True)
class Mfcc(LogMel):
    """Mel frequency cepstral coefficients, (T_x, D) float32.

    The first coefficients of the orthonormal cosine transform of log Mel energies: the shape of
    a spectrum without its fine structure, with little correlation between the numbers. All other
    arguments are those of `LogMel`.

    Args:
        n_mfcc: coefficients kept, the first (the loudness) included; at most `n_mels`.

    Raises:
        ConfigError: a value out of range.

    Source: Davis & Mermelstein (1980).
    """

    _name = "Mel cepstral coefficients"

    n_mfcc: Count = 13
    n_mels: Count = 26
    deltas: Literal[0, 1, 2] = 2

    @staticmethod
    def together(
        normalize: str,
        n_mels: int,
        time_masks: Sequence[int] | None,
        frequency_masks: Sequence[int] | None,
    ) -> Iterator[tuple[str, str]]:
        """Yield masks of bands, and those that `LogMel` refuses."""
        if frequency_masks:
            yield "frequency_masks", "cepstra hold no bands; allowed: null, or the field LogMel"
        yield from LogMel.together(normalize, n_mels, time_masks, None)

    def __post_init__(self) -> None:
        super().__post_init__()
        most = whole(1, self.n_mels).because("which is data.x.n_mels")
        require("data.x.n_mfcc", self.n_mfcc, most)

    @property
    def _width(self) -> int:
        return self.n_mfcc

    def _static(self, log_energies: Tensor) -> Tensor:
        """log_energies: (T, n_mels). Their cepstrum, (T, n_mfcc)."""
        return log_energies @ dct_matrix(self.n_mels, self.n_mfcc)


def _divisor(deviation: Floats) -> Floats:
    """A number that never changes has no scale: it becomes 0."""
    return np.where(deviation > 1e-5, deviation, 1.0).astype(np.float32)
