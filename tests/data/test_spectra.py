"""Log Mel energies and cepstra against numpy and scipy, written anew from the formulas."""

import math

import numpy as np
import pytest
import scipy.fft
import scipy.signal
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from seqpipe.data.fields.audio import LogMel, Mfcc
from seqpipe.data.fields.spectra import (
    FLOOR,
    frames_of,
    from_mel,
    mel_filters,
    stacked,
    to_mel,
    with_deltas,
)
from seqpipe.errors import ConfigError

RATE = 8000


def noise(samples, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, samples).astype(np.float32)


def record(samples=4000, seed=0, rate=RATE):
    return {"audio": noise(samples, seed), "rate": rate}


def fitted(field, *records):
    field.fit(records or [record()])
    return field


def mel_by_hand(sound, scale, window, n_mels=20, f_min=50.0, f_max=3800.0, preemphasis=0.9):
    """(T, n_mels) in float64, frames of 200 samples every 80, an FFT of 256, loops for filters."""
    sound = scipy.signal.lfilter([1, -preemphasis], [1], sound.astype(np.float64))
    count = 1 + math.ceil(max(0, len(sound) - 200) / 80)
    sound = np.pad(sound, (0, (count - 1) * 80 + 200 - len(sound)))
    shape = {
        "hann": scipy.signal.windows.hann(200),
        "hamming": scipy.signal.windows.hamming(200),
        "rectangular": np.ones(200),
    }[window]
    rows = np.stack([sound[80 * t : 80 * t + 200] * shape for t in range(count)])
    power = np.abs(np.fft.rfft(rows, 256, axis=1)) ** 2

    def mel(f):
        if scale == "htk":
            return 1127.01048 * math.log(1 + f / 700)
        return 3 * f / 200 if f < 1000 else 15 + 27 * math.log(f / 1000) / math.log(6.4)

    def hertz(m):
        if scale == "htk":
            return 700 * (math.exp(m / 1127.01048) - 1)
        return 200 * m / 3 if m < 15 else 1000 * math.exp((m - 15) * math.log(6.4) / 27)

    points = [hertz(m) for m in np.linspace(mel(f_min), mel(f_max), n_mels + 2)]
    filters = np.zeros((n_mels, 129))
    for m in range(n_mels):
        low, mid, high = points[m : m + 3]
        for k in range(129):
            f = k * RATE / 256
            if low < f <= mid:
                filters[m, k] = (f - low) / (mid - low)
            elif mid < f < high:
                filters[m, k] = (high - f) / (high - mid)
        if scale == "slaney":
            filters[m] /= (high - low) / 2
    return np.log(np.maximum(power @ filters.T, FLOOR))


OPTIONS = {"n_mels": 20, "f_min": 50.0, "f_max": 3800.0, "preemphasis": 0.9, "normalize": "none"}


@pytest.mark.parametrize("samples", [37, 200, 281, 4000])
@pytest.mark.parametrize("window", ["hann", "hamming", "rectangular"])
@pytest.mark.parametrize("scale", ["htk", "slaney"])
def test_log_mel_energies_agree_with_an_independent_computation(scale, window, samples):
    field = fitted(LogMel(scale=scale, window=window, **OPTIONS))
    wanted = mel_by_hand(noise(samples), scale, window)
    encoded = field.encode(record(samples))
    assert encoded.dtype == torch.float32
    assert field.spec.size == 20
    assert_close(encoded.double(), torch.from_numpy(wanted), rtol=0, atol=2e-4)


def test_cepstra_agree_with_scipy_and_are_those_of_the_energies():
    field = fitted(Mfcc(n_mfcc=12, deltas=0, **OPTIONS))
    wanted = scipy.fft.dct(mel_by_hand(noise(4000), "htk", "hann"), type=2, norm="ortho")[:, :12]
    assert_close(field.encode(record()).double(), torch.from_numpy(wanted), rtol=0, atol=1e-3)


def test_derivatives_agree_with_a_fitted_line():
    features = torch.randn(9, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def slopes(array):
        padded = np.pad(array, ((2, 2), (0, 0)), mode="edge")
        line = [np.polyfit(np.arange(-2, 3), padded[t : t + 5], 1)[0] for t in range(len(array))]
        return np.stack(line)

    first = slopes(features.numpy())
    wanted = np.concatenate([features.numpy(), first, slopes(first)], axis=1)
    assert_close(with_deltas(features, 2), torch.from_numpy(wanted))
    assert with_deltas(features[:1], 2)[0, 3:].tolist() == [0.0] * 6


@given(st.floats(0, 20000), st.sampled_from(["htk", "slaney"]))
def test_the_mel_scale_comes_back(hz, scale):
    frequency = torch.tensor(hz, dtype=torch.float64)
    assert from_mel(to_mel(frequency, scale), scale).item() == pytest.approx(hz, abs=1e-6)


def test_known_points_of_the_mel_scales():
    kilohertz = torch.tensor([1000.0, 6400.0], dtype=torch.float64)
    assert to_mel(kilohertz, "htk")[0].item() == pytest.approx(1000, abs=0.1)
    assert to_mel(kilohertz, "slaney").tolist() == pytest.approx([15, 42])


def test_a_tone_is_loudest_in_the_band_that_holds_it():
    field = fitted(LogMel(n_mels=20, normalize="none"))
    filters = mel_filters(RATE, 256, 20, 20.0, 4000.0, "htk")
    for hz in (400, 1000, 2500):
        tone = np.sin(2 * np.pi * hz * np.arange(4000) / RATE)
        loudest = field.encode({"audio": tone, "rate": RATE})[10].argmax()
        assert filters[loudest, round(hz * 256 / RATE)] >= 0.4


@given(
    st.integers(1, 3000), st.integers(1, 6), st.integers(0, 2),
    st.sampled_from(["none", "train", "example"]), st.sampled_from([10.0, 25.0]),
)  # fmt: skip
def test_any_recording_becomes_finite_steps_of_the_width_that_is_told(
    samples, stack, deltas, normalize, frame
):
    field = Mfcc(stack=stack, deltas=deltas, normalize=normalize, frame_ms=frame, n_mels=13)
    encoded = fitted(field).encode(record(samples, 1))
    length = round(RATE * frame / 1000)
    frames = 1 + math.ceil(max(0, samples - length) / 80)
    assert encoded.shape == (math.ceil(frames / stack), field.spec.size)
    assert field.spec.size == 13 * (deltas + 1) * stack
    assert encoded.isfinite().all()
    steps = math.ceil(frames / stack)
    assert field.decode(encoded) == f"{steps * stack / 100:.2f} s of sound, {steps} steps"


def test_every_sample_is_in_a_frame_and_stacking_repeats_the_last():
    frames = frames_of(torch.arange(1.0, 12.0), 4, 3)
    assert frames.tolist() == [[1, 2, 3, 4], [4, 5, 6, 7], [7, 8, 9, 10], [10, 11, 0, 0]]
    steps = stacked(torch.tensor([[1.0, 2], [3, 4], [5, 6]]), 2)
    assert steps.tolist() == [[1, 2, 3, 4], [5, 6, 5, 6]]


def test_numbers_are_standardized_over_all_frames_of_training_or_of_each_example():
    records = [record(900, 1), record(4000, 2), {"audio": 5 * noise(2000, 3), "rate": RATE}]
    field = fitted(Mfcc(normalize="train"), *records)
    frames = torch.cat([field.encode(one) for one in records])
    assert_close(frames.mean(dim=0), torch.zeros(39), rtol=0, atol=1e-4)
    assert_close(frames.std(dim=0, correction=0), torch.ones(39), rtol=0, atol=1e-4)
    copy = Mfcc(normalize="train")
    copy.restore(field.state())
    assert_close(copy.encode(records[0]), field.encode(records[0]), rtol=0, atol=0)
    field = fitted(Mfcc(normalize="example", stack=2), *records)
    one = field.encode(records[1]).reshape(-1, 39)[: 1 + math.ceil(3800 / 80)]
    assert_close(one.mean(dim=0), torch.zeros(39), rtol=0, atol=1e-4)
    assert_close(one.std(dim=0, correction=0), torch.ones(39), rtol=0, atol=1e-4)


def test_silence_is_the_floor_and_has_no_scale():
    silent = {"audio": np.zeros(1000), "rate": RATE}
    plain = fitted(LogMel(normalize="none"), silent).encode(silent)
    assert_close(plain, torch.full_like(plain, math.log(FLOOR)))
    for normalize in ("train", "example"):
        encoded = fitted(LogMel(normalize=normalize), silent).encode(silent)
        assert_close(encoded, torch.zeros_like(encoded), rtol=0, atol=1e-5)


def test_a_step_is_told_in_words():
    field = fitted(Mfcc(stack=3))
    assert field.describe(None) == "117 Mel cepstral coefficients a step of 30 ms, 8,000 samples/s"


REFUSED = [
    ({"n_mels": 0}, "data.x.n_mels=0: out of range; allowed: an integer >= 1"),
    ({"stack": 0}, "data.x.stack=0: out of range; allowed: an integer >= 1"),
    ({"f_min": -1.0}, "data.x.f_min=-1.0: out of range; allowed: a number >= 0"),
    ({"frame_ms": 0}, "data.x.frame_ms=0: out of range; allowed: a number > 0"),
    ({"hop_ms": -2.0}, "data.x.hop_ms=-2.0: out of range; allowed: a number > 0"),
    ({"preemphasis": 1.0}, "data.x.preemphasis=1.0: out of range; allowed: a number in [0, 1)"),
    ({"deltas": 3}, "data.x.deltas=3: out of range; allowed: 0, 1, 2"),
    ({"normalize": "trian"}, "data.x.normalize=trian: unknown choice; allowed: none, train, "
     "example; did you mean 'train'?"),
    ({"scale": "bark"}, "data.x.scale=bark: unknown choice; allowed: htk, slaney"),
    ({"window": "han"}, "data.x.window=han: unknown choice; allowed: hann, hamming, rectangular; "
     "did you mean 'hann'?"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"f_max": 5000.0}, "data.x.f_min=20 data.x.f_max=5000: the sound goes to 4000 Hz; "
         "allowed: f_min < f_max <= 4000"),
        ({"n_mels": 128}, "data.x.n_mels=128: 4 bands hold no frequency of a 256-point FFT at "
         "8000 samples a second; allowed: fewer bands, or a longer data.x.frame_ms"),
    ],
)  # fmt: skip
def test_bands_that_the_rate_cannot_fill_are_refused(options, message):
    with pytest.raises(ConfigError) as refused:
        fitted(LogMel(**options))
    assert str(refused.value) == message


def test_the_rate_may_be_given_where_records_do_not_tell():
    field = fitted(LogMel(rate=RATE), {"audio": noise(4000)})
    assert_close(field.encode({"audio": noise(800)}), fitted(LogMel()).encode(record(800)))
