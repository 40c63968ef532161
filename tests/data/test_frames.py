import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from torch import nn
from torch.testing import assert_close

from seqpipe.data.base import FieldSpec
from seqpipe.data.fields.frames import Frames
from seqpipe.errors import ConfigError, DataError


def fitted(field, *clips):
    field.fit([{"x": clip} for clip in clips])
    return field


def clip(*frames):
    return np.array(frames, dtype=np.uint8)


class Tiny(nn.Module):
    """Means of red, green and blue of a frame, times weights; a dropout that must not act."""

    def __init__(self, features=2):
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.mix = nn.Linear(3, features, bias=False)
        self.drop = nn.Dropout(0.5)
        self.seen = []

    def forward(self, pixels):
        self.seen.append(len(pixels))
        return self.drop(self.mix(self.pool(pixels).flatten(1)))


def test_pixels_become_numbers_from_0_to_1_a_row_a_frame():
    two = clip([[0, 255], [51, 102]], [[255, 255], [0, 0]])
    field = fitted(Frames("x"), two)
    assert field.spec == FieldSpec("values", 4)
    assert field.encode({"x": two}).dtype == torch.float32
    assert_close(field.encode({"x": two}), torch.tensor([[0, 1, 0.2, 0.4], [1, 1, 0, 0]]))
    assert field.decode(field.encode({"x": two})) == "2 frames, brightness 0.40 0.50"
    assert field.describe({}) == "frames of 2 x 2 in grey, 4 numbers a step"


def test_colors_stay_side_by_side():
    field = fitted(Frames("x"), clip([[[255, 0, 51]]]))
    assert_close(field.encode({"x": clip([[[255, 0, 51]]])}), torch.tensor([[1.0, 0.0, 0.2]]))
    assert field.describe({}) == "frames of 1 x 1 in rgb, 3 numbers a step"


def test_differences_are_what_changed_since_the_frame_before():
    field = fitted(Frames("x", differences=True), clip([[0]], [[51]], [[255]]))
    assert field.spec.size == 2
    expected = torch.tensor([[0.0, 0.0], [0.2, 0.2], [1.0, 0.8]])
    assert_close(field.encode({"x": clip([[0]], [[51]], [[255]])}), expected)


def test_standardized_pixels_have_mean_0_and_deviation_1_over_the_training_clips():
    clips = clip([[0, 7]], [[100, 7]]), clip([[200, 7]])
    field = fitted(Frames("x", standardize=True), *clips)
    encoded = torch.cat([field.encode({"x": one}) for one in clips])
    assert_close(encoded.mean(dim=0), torch.zeros(2))
    assert_close(encoded.std(dim=0, correction=0), torch.tensor([1.0, 0.0]))  # 7 never changes


@given(
    frames=arrays.arrays(
        np.uint8,
        some.tuples(some.integers(1, 4), some.integers(1, 5), some.integers(1, 5))
        | some.tuples(some.integers(1, 4), some.integers(1, 5), some.integers(1, 5), some.just(3)),
    ),
    standardize=some.booleans(),
    differences=some.booleans(),
)
def test_pixels_come_back_as_they_were(frames, standardize, differences):
    field = fitted(Frames("x", standardize=standardize, differences=differences), frames)
    assert (field.pictures(field.encode({"x": frames})) == frames).all()


def test_a_backbone_makes_the_features_of_each_frame():
    network = Tiny()
    field = fitted(Frames("x", backbone=network), clip([[255, 0]]))
    assert field.spec == FieldSpec("values", 2)
    frames = clip([[255, 0]], [[51, 51]])
    half_and_fifth = torch.tensor([[0.5] * 3, [0.2] * 3])  # grey: the same value three times
    assert_close(field.encode({"x": frames}), half_and_fifth @ network.mix.weight.T)
    assert field.decode(field.encode({"x": frames})) == "2 frames of 2 features"
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_a_backbone_reads_many_frames_in_batches_and_gives_the_same():
    network = Tiny()
    field = fitted(Frames("x", backbone=network), clip([[1]]))
    frames = np.arange(70, dtype=np.uint8).reshape(70, 1, 1)
    whole = field.encode({"x": frames})
    assert network.seen[-3:] == [32, 32, 6]
    alone = torch.cat([field.encode({"x": frames[step : step + 1]}) for step in range(70)])
    assert_close(whole, alone)
    assert (whole == field.encode({"x": frames})).all()


def test_channels_are_normalized_before_the_backbone():
    network = Tiny()
    options = {"channel_mean": [0.5, 0.0, 0.0], "channel_deviation": [1.0, 2.0, 0.5]}
    field = fitted(Frames("x", backbone=network, **options), clip([[[255, 255, 51]]]))
    expected = torch.tensor([[0.5, 0.5, 0.4]]) @ network.mix.weight.T
    assert_close(field.encode({"x": clip([[[255, 255, 51]]])}), expected)


def test_a_part_of_the_backbone_may_give_the_features():
    field = fitted(Frames("x", backbone=Tiny(), layer="pool"), clip([[255, 0]]))
    assert_close(field.encode({"x": clip([[255, 0]])}), torch.tensor([[0.5] * 3]))


def test_weights_of_the_backbone_come_from_a_file(tmp_path):
    other, network = Tiny(), Tiny()
    torch.save(other.state_dict(), tmp_path / "w.pt")
    field = Frames("x", backbone=network, weights=str(tmp_path / "w.pt"))
    assert_close(network.mix.weight, other.mix.weight)
    fitted(field, clip([[255]]))
    same = Frames("x", backbone=other)
    same.restore(field.state())
    assert_close(same.encode({"x": clip([[9]])}), field.encode({"x": clip([[9]])}))


def test_what_another_backbone_prepared_is_refused():
    field = fitted(Frames("x", backbone=Tiny()), clip([[255]]))
    message = (
        "data.x.backbone: its weights are not those the data was prepared with; "
        "allowed: the same, or data.cache=null"
    )
    for other in (Frames("x", backbone=Tiny()), Frames("x")):
        with pytest.raises(DataError) as error:
            other.restore(field.state())
        assert str(error.value) == message


class Wide(nn.Module):
    def forward(self, pixels):
        return pixels


class Two(nn.Module):
    def forward(self, pixels):
        return pixels, pixels


@pytest.mark.parametrize(
    ("backbone", "given"), [(Wide(), "(1, 3, 2, 1)"), (Two(), "tuple")], ids=["wide", "two"]
)
def test_a_backbone_that_gives_no_rows_is_refused(backbone, given):
    with pytest.raises(ConfigError) as error:
        fitted(Frames("x", backbone=backbone), clip([[1], [2]]))
    assert str(error.value) == (
        f"data.x.backbone: gives {given} for 1 frames; allowed: (1, features), "
        "of all of it or of data.x.layer"
    )


def test_frames_that_a_backbone_cannot_read_are_told_with_their_size():
    backbone = nn.Sequential(nn.Conv2d(3, 2, kernel_size=5), nn.AdaptiveAvgPool2d(1))
    with pytest.raises(ConfigError) as error:
        fitted(Frames("x", backbone=backbone), clip([[1, 2], [3, 4]]))
    message = str(error.value)
    assert message.startswith("data.x.backbone: cannot read frames of 2 x 2 (")
    assert message.endswith("; allowed: other data.source.height and data.source.width")


def test_features_that_are_not_finite_are_refused():
    network = Tiny()
    nn.init.constant_(network.mix.weight, float("nan"))
    with pytest.raises(DataError) as error:
        fitted(Frames("x", backbone=network), clip([[1]]))
    assert str(error.value) == "x: data.x.backbone: its features hold NaN or infinity"


def unused(name, value):
    text = "there is no backbone to use it; allowed: null, or also data.x.backbone"
    return f"data.x.{name}={value}: {text}"


def test_weights_that_do_not_fit_the_backbone_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as error:
        Frames("x", backbone=Tiny(), weights="w.pt")
    assert (
        str(error.value)
        == f"data.x.weights=w.pt: no such file in {tmp_path}; allowed: a file that exists, or null"
    )
    torch.save(Tiny(features=5).state_dict(), "w.pt")
    with pytest.raises(ConfigError) as error:
        Frames("x", backbone=Tiny(), weights="w.pt")
    assert str(error.value).startswith("data.x.weights=w.pt: not a state dict of the backbone (")
    assert str(error.value).endswith("); allowed: one saved by torch.save")
