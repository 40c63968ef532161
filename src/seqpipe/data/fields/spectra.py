"""From samples to what an ear hears: Mel filters, log energies, cepstra, their derivatives.

All of it on one recording, in torch. Shapes: N samples, T frames, F = n_fft / 2 + 1 frequencies,
M Mel bands, D numbers a frame.
"""

import functools
import math
from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seqpipe.errors import ConfigError

WINDOWS: dict[str, Callable[[int], Tensor]] = {
    "hann": functools.partial(torch.hann_window, periodic=False),
    "hamming": functools.partial(torch.hamming_window, periodic=False),
    "rectangular": torch.ones,
}
FLOOR = 2.0**-30  # of an energy before its log: one step of 16-bit sound, squared
_LINEAR_TO = 1000.0  # Hz, of Slaney's scale
_HZ_A_MEL = 200 / 3  # below it
_MELS_A_FACTOR = 27 / math.log(6.4)  # above it, per natural log of the frequency


def to_mel(hz: Tensor, scale: Literal["htk", "slaney"]) -> Tensor:
    """Frequencies on the Mel scale.

    Source: htk, 2595 log10(1 + f / 700): Young et al., The HTK Book, equation 5.13; slaney, linear
    to 1 kHz and logarithmic above it: Slaney (1998), Auditory Toolbox, `mfcc`.
    """
    if scale == "htk":
        return 2595.0 * torch.log10(1.0 + hz / 700.0)
    assert scale == "slaney", scale
    above = _LINEAR_TO / _HZ_A_MEL + _MELS_A_FACTOR * (hz.clamp(min=_LINEAR_TO) / _LINEAR_TO).log()
    return torch.where(hz < _LINEAR_TO, hz / _HZ_A_MEL, above)


def from_mel(mel: Tensor, scale: Literal["htk", "slaney"]) -> Tensor:
    """The inverse of `to_mel`, in Hz."""
    if scale == "htk":
        return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
    assert scale == "slaney", scale
    knee = _LINEAR_TO / _HZ_A_MEL
    above = _LINEAR_TO * ((mel.clamp(min=knee) - knee) / _MELS_A_FACTOR).exp()
    return torch.where(mel < knee, mel * _HZ_A_MEL, above)


@functools.lru_cache(maxsize=8)
def mel_filters(
    rate: int, n_fft: int, n_mels: int, f_min: float, f_max: float, scale: Literal["htk", "slaney"]
) -> Float[Tensor, "M F"]:
    """Triangles over the frequencies of an FFT, equally wide on the Mel scale, half overlapping.

    With `htk` each has height 1; with `slaney` each has area 1 over Hz, so that noise which is
    white gives every band the same energy.

    Raises:
        ConfigError: a triangle so narrow that no frequency of the FFT falls in it.

    Source: as `to_mel`.
    """
    bounds = torch.tensor([f_min, f_max], dtype=torch.float64)
    low, high = to_mel(bounds, scale).tolist()
    corners = from_mel(torch.linspace(low, high, n_mels + 2, dtype=torch.float64), scale)
    hz = torch.linspace(0, rate / 2, n_fft // 2 + 1, dtype=torch.float64)
    left, peak, right = (corners[i : n_mels + i].unsqueeze(1) for i in range(3))
    filters = torch.minimum((hz - left) / (peak - left), (right - hz) / (right - peak)).clamp(min=0)
    empty = int((filters.sum(dim=1) == 0).sum())
    if empty:
        text = f"{empty} bands hold no frequency of a {n_fft}-point FFT at {rate} samples a second"
        allowed = "fewer bands, or a longer data.x.frame_ms"
        raise ConfigError(f"data.x.n_mels={n_mels}: {text}; allowed: {allowed}")
    if scale == "slaney":
        filters = filters * (2.0 / (right - left))
    return filters.float()


def frames_of(sound: Float[Tensor, " N"], length: int, hop: int) -> Float[Tensor, "T length"]:
    """Overlapping pieces; zeros fill up the last, so that every sample is heard.

    T = 1 + ceil(max(0, N - length) / hop).
    """
    count = 1 + -(-max(0, len(sound) - length) // hop)
    missing = (count - 1) * hop + length - len(sound)
    return nn.functional.pad(sound, (0, missing)).unfold(0, length, hop)


def power_spectra(
    frames: Float[Tensor, "T length"], window: str, n_fft: int
) -> Float[Tensor, "T F"]:
    """Squared magnitudes of the discrete Fourier transform of each windowed frame."""
    weights = WINDOWS[window](frames.shape[1])
    spectra: Tensor = torch.fft.rfft(frames * weights, n=n_fft).abs().square()
    return spectra


def preemphasised(sound: Float[Tensor, " N"], factor: float) -> Float[Tensor, " N"]:
    """x_n - factor * x_{n-1}: high frequencies, which speech has less of, are raised."""
    return torch.cat([sound[:1], sound[1:] - factor * sound[:-1]])


@functools.lru_cache(maxsize=8)
def dct_matrix(size: int, count: int) -> Float[Tensor, "size count"]:
    """The first `count` vectors of the orthonormal discrete cosine transform (DCT-II).

    Source: Ahmed, Natarajan & Rao (1974); of log Mel energies, Davis & Mermelstein (1980).
    """
    n = torch.arange(size, dtype=torch.float64).unsqueeze(1)
    k = torch.arange(count, dtype=torch.float64)
    matrix = math.sqrt(2.0 / size) * torch.cos(math.pi / size * (n + 0.5) * k)
    matrix[:, 0] = math.sqrt(1.0 / size)
    return matrix.float()


def with_deltas(features: Float[Tensor, "T D"], order: int) -> Tensor:
    """The features and their derivatives in time, (T, D * (order + 1)).

    A derivative is the slope of a line fitted over five frames, the ends repeated.

    Source: Young et al., The HTK Book, equation 5.16 with a window of 2.
    """
    parts = [features]
    for _ in range(order):
        last, T = parts[-1], len(features)
        padded = torch.cat([last[:1].expand(2, -1), last, last[-1:].expand(2, -1)])
        slope = 2 * (padded[4:] - padded[:T]) + (padded[3 : T + 3] - padded[1 : T + 1])
        parts.append(slope / 10.0)
    return torch.cat(parts, dim=1)


def stacked(features: Float[Tensor, "T D"], count: int) -> Tensor:
    """Every `count` frames as one step, (ceil(T / count), count * D); the last frame repeated."""
    missing = -len(features) % count
    padded = torch.cat([features, features[-1:].expand(missing, -1)])
    return padded.reshape(-1, count * features.shape[1])
