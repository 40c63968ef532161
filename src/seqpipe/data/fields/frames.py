"""Video: pixels, or what a network made of them, for each frame."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seqpipe.data.base import Field, FieldSpec, Record
from seqpipe.data.fields.series import Moments, units
from seqpipe.data.hashing import weights_digest
from seqpipe.data.number_precision import Doubles, Floats, to_float32
from seqpipe.errors import ConfigError, DataError, did_you_mean
from seqpipe.rules import list_of, real, refusal, require

_AT_ONCE = 32  # frames that pass a backbone together
_WHOLE_RANGE = 255  # of a pixel


class Frames(Field):
    """A step for each frame, (T, D) float32: its pixels in [0, 1], or the features of a backbone.

    Args:
        column: the key of the entry in a record; (T, height, width) uint8 in grey, or
            (T, height, width, 3) in rgb. All clips have frames of one size.
        differences: add D more numbers to a step, what changed since the frame before; 0 in the
            first.
        standardize: subtract from each number its mean over all steps of the training split, and
            divide by its standard deviation.
        backbone: reads frames as (N, 3, height, width) in [0, 1], grey ones with the same value
            three times, and gives (N, D); put in eval mode, never trained. None: pixels.
        layer: take what this part of the backbone gives, `avgpool`, in place of what all of it
            gives. None: all of it.
        weights: file with the backbone's state dict. None: as the backbone was made.
        channel_mean: to subtract from red, green and blue before the backbone. None: 0. Networks
            trained on ImageNet expect [0.485, 0.456, 0.406].
        channel_deviation: to divide by, after it. None: 1. ImageNet: [0.229, 0.224, 0.225].

    Raises:
        ConfigError: options of a backbone without one, a layer that it does not have, weights that
            it does not take, not three numbers, or a deviation that is not above 0.
    """

    kind = "values"
    fitted = ("shape", "size", "mean", "scale")

    def __init__(
        self,
        column: str,
        *,
        differences: bool = False,
        standardize: bool = False,
        backbone: nn.Module | None = None,
        layer: str | None = None,
        weights: str | None = None,
        channel_mean: list[float] | None = None,
        channel_deviation: list[float] | None = None,
    ) -> None:
        super().__init__(column)
        given = {
            "layer": layer,
            "weights": weights,
            "channel_mean": channel_mean,
            "channel_deviation": channel_deviation,
        }
        if backbone is None and (unused := [name for name in given if given[name] is not None]):
            wrong, allowed = "there is no backbone to use it", "null, or also data.x.backbone"
            problems = [refusal(f"data.x.{name}", given[name], wrong, allowed) for name in unused]
            raise ConfigError(problems)
        self.differences, self.standardize = differences, standardize
        self.backbone = None
        if backbone is not None:
            self.backbone = _Backbone(backbone, layer, weights, channel_mean, channel_deviation)
        self.shape: tuple[int, ...] = ()  # of a frame
        self.size = 0
        self.mean: Doubles = np.zeros(1)
        self.scale: Doubles = np.ones(1)

    def fit(self, records: Iterable[Record]) -> None:
        """Learn the size of a frame, D and, to standardize, means and standard deviations."""
        total = Moments()
        for record in records:
            if not self.shape:
                self.shape = tuple(self._pictures(record).shape[1:])
                self.size = self._steps(record).shape[1]
            if not self.standardize:
                return
            total.add(self._steps(record))
        if total.count:
            self.mean, self.scale = total.mean, total.scale

    def state(self) -> dict[str, Any]:
        """The result of `fit`, and the name of the backbone's weights."""
        weights = "" if self.backbone is None else self.backbone.digest()
        return {**super().state(), "weights": weights}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Set what `fit` learned.

        Raises:
            DataError: with another backbone.
        """
        if state["weights"] != ("" if self.backbone is None else self.backbone.digest()):
            text = "its weights are not those the data was prepared with"
            raise DataError(f"data.x.backbone: {text}; allowed: the same, or data.cache=null")
        super().restore(state)
        self.shape = tuple(int(size) for size in self.shape)

    def weights(self) -> dict[str, Tensor]:
        """Those of the backbone."""
        return {} if self.backbone is None else dict(self.backbone.network.state_dict())

    def restore_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Set those of the backbone."""
        if self.backbone is not None:
            self.backbone.network.load_state_dict(weights)

    def encode(self, record: Record) -> Tensor:
        """(T, D) float32.

        Raises:
            DataError: not uint8 frames, of another size than in training, or features that are
                not finite.
        """
        return torch.from_numpy(to_float32((self._steps(record) - self.mean) / self.scale))

    def pictures(self, values: Tensor | Sequence[Any]) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """The frames, (T, height, width) or (T, height, width, 3), that encoded pixels stand for.

        Args:
            values: (T, D) of a field without a backbone.
        """
        assert self.backbone is None, "features are no pixels"
        array = np.asarray(values, dtype=np.float32) * self.scale + self.mean
        pixels = array[:, : int(np.prod(self.shape))].reshape(-1, *self.shape)
        return (pixels * _WHOLE_RANGE).round().clip(0, _WHOLE_RANGE).astype(np.uint8)

    def decode(self, values: Tensor | Sequence[Any]) -> str:
        """The number of frames, and how bright each is, from 0 to 1; of features: how many."""
        array = np.asarray(values, dtype=np.float32)
        if self.backbone is not None:
            return f"{len(array)} frames of {array.shape[1]} features"
        pixels = self.pictures(values).reshape(len(array), -1).mean(axis=1) / _WHOLE_RANGE
        shown = " ".join(f"{brightness:.2f}" for brightness in pixels.tolist())
        return f"{len(array)} frames, brightness {shown}"

    @property
    def spec(self) -> FieldSpec:
        """Size: D."""
        return FieldSpec(self.kind, self.size, **units(self.standardize, self.mean, self.scale))

    def describe(self, counts: object) -> str:
        """The size of a frame, and how many numbers are made of it."""
        height, width = self.shape[:2]
        kind = "rgb" if len(self.shape) == 3 else "grey"
        return f"frames of {height} x {width} in {kind}, {self.size} numbers a step"

    def _pictures(self, record: Record) -> np.ndarray[Any, np.dtype[np.uint8]]:
        value = self.value(record)
        try:
            frames = np.asarray(value)
        except ValueError:  # ragged, or too deep
            self.refuse(value, "not frames; allowed: all of one height and width")
        if isinstance(value, (list, tuple)) and frames.dtype.kind == "i" and frames.size:
            if 0 <= frames.min() and frames.max() <= _WHOLE_RANGE:
                frames = frames.astype(np.uint8)  # as JSON has them
        wanted = "(frames, height, width) or (frames, height, width, 3) uint8"
        if frames.dtype != np.uint8 or not (frames.ndim == 3 or frames.shape[3:] == (3,)):
            found = f"{frames.dtype} of shape {frames.shape}"
            raise DataError(f"{self.column}: not frames, but {found}; allowed: {wanted}")
        if self.shape and frames.shape[1:] != self.shape:
            text = f"frames of shape {frames.shape[1:]}; the training split starts with"
            raise DataError(f"{self.column}: {text} {self.shape}")
        return frames

    def _steps(self, record: Record) -> Floats:
        frames = self._pictures(record)
        steps: Floats
        if self.backbone is None:
            steps = frames.reshape(len(frames), -1).astype(np.float32) / np.float32(_WHOLE_RANGE)
        else:
            steps = self.backbone(frames)
            if not np.isfinite(steps).all():
                text = "its features hold NaN or infinity"
                raise DataError(f"{self.column}: data.x.backbone: {text}")
        if not self.differences:
            return steps
        changes = np.diff(steps, axis=0, prepend=steps[:1])
        return np.concatenate([steps, changes], axis=1, dtype=np.float32)


class _Backbone:
    """A network that reads frames, used as it is."""

    def __init__(
        self,
        network: nn.Module,
        layer: str | None,
        weights: str | None,
        mean: list[float] | None,
        deviation: list[float] | None,
    ) -> None:
        self.network, self.layer = network.eval().requires_grad_(False), layer
        if weights is not None:
            _load(network, weights)
        parts = dict(network.named_modules())
        if layer is not None and layer not in parts:
            names = [name for name, _ in network.named_children()]
            text = f"no such part of the backbone; allowed: {', '.join(names)} and parts of these"
            raise ConfigError(f"data.x.layer={layer}: {text}{did_you_mean(layer, parts)}")
        self.part = network if layer is None else parts[layer]
        self.mean = _channels("channel_mean", mean, 0.0)
        self.deviation = _channels("channel_deviation", deviation, 1.0)
        if deviation is not None:
            require("data.x.channel_deviation", deviation, list_of(real("(0, inf)")))

    def digest(self) -> str:
        """sha256 (hex) of all weights."""
        return weights_digest(self.network.state_dict())

    @torch.no_grad()
    def __call__(self, frames: np.ndarray[Any, np.dtype[np.uint8]]) -> Floats:
        """frames: (T, H, W) or (T, H, W, 3). Returns (T, D).

        Raises:
            ConfigError: the network cannot read them, or does not give (N, D).
        """
        rgb = frames if frames.ndim == 4 else np.repeat(frames[..., None], 3, axis=3)
        parts = []
        for first in range(0, len(rgb), _AT_ONCE):
            pixels = torch.tensor(rgb[first : first + _AT_ONCE]).permute(0, 3, 1, 2)
            parts.append(self._features((pixels / _WHOLE_RANGE - self.mean) / self.deviation))
        if not parts:  # a clip without frames, which the data set refuses
            return np.zeros((0, 1), dtype=np.float32)
        features: Floats = torch.cat(parts).float().numpy()
        return features

    def _features(self, pixels: Tensor) -> Tensor:
        """pixels: (N, 3, H, W) float32. Returns (N, D)."""
        found: list[Any] = []
        hook = self.part.register_forward_hook(lambda part, given, output: found.append(output))
        try:
            self.network(pixels)
        except (RuntimeError, ValueError) as error:
            reason = str(error).partition("\n")[0]
            text = f"cannot read frames of {pixels.shape[2]} x {pixels.shape[3]} ({reason})"
            allowed = "allowed: other data.source.height and data.source.width"
            raise ConfigError(f"data.x.backbone: {text}; {allowed}") from None
        finally:
            hook.remove()
        output, count = (found or [None])[-1], len(pixels)
        if isinstance(output, Tensor) and output.ndim == 4 and output.shape[2:] == (1, 1):
            output = output.flatten(1)
        if not isinstance(output, Tensor) or output.ndim != 2 or len(output) != count:
            given = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            text = f"gives {given} for {count} frames; allowed: ({count}, features)"
            raise ConfigError(f"data.x.backbone: {text}, of all of it or of data.x.layer")
        return output


def _load(network: nn.Module, weights: str) -> None:
    key = f"data.x.weights={weights}"
    if not Path(weights).is_file():
        wrong = f"no such file in {Path.cwd()}"
        raise ConfigError(refusal("data.x.weights", weights, wrong, "a file that exists, or null"))
    try:
        network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    except Exception as error:  # pickle, zip, key and shape errors of many kinds
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        text = f"not a state dict of the backbone ({reason})"
        raise ConfigError(f"{key}: {text}; allowed: one saved by torch.save") from None


def _channels(name: str, numbers: list[float] | None, default: float) -> Tensor:
    chosen = [default] * 3 if numbers is None else numbers
    colors = list_of(real(), length=3).because("red, green, blue")
    require(f"data.x.{name}", chosen, colors)
    return torch.tensor(chosen, dtype=torch.float32).reshape(3, 1, 1)
