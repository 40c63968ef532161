"""`describe=true` tells what was understood of the data, and trains nothing."""

import matplotlib.image
import pytest

from seqpipe.config.validate import ConfigError


def test_the_data_is_told_drawn_and_recorded_and_nothing_is_trained(launch, capfd):
    result = launch("dates", "describe=true", "data.source.train=300", "logger=csv", painted=True)
    told = capfd.readouterr().err
    assert "Dates: train 300, valid 10, test 10" in told
    page = (result.output_dir / "data.md").read_text()
    for part in ("## Splits", "## How often each x occurs", "## Share of symbols", "decoded"):
        assert part in page
    assert "| train | 300 | 300 | 0 |" in page
    picture = matplotlib.image.imread(result.output_dir / "figures" / "data.png")
    assert picture.std() > 0.05  # something is drawn
    assert result.metrics == {}
    assert not (result.output_dir / "checkpoints").exists()
    again = result.summary.splitlines()[-1]
    assert again.startswith("to train:   python -m seqpipe data=dates ")
    assert again.endswith(" data.source.train=300 logger=csv")  # all but describe=true


def test_numbers_are_told_by_their_moments(launch, capfd):
    launch("adding", "describe=true", "data.source.train=50", "logger=none")
    told = capfd.readouterr().err
    assert "x: numbers of a step, as the model reads them" in told
    assert "y: numbers of a step" in told


def test_describe_takes_true_or_false(launch):
    with pytest.raises(ConfigError, match="describe=maybe: wrong type; allowed: true or false"):
        launch("adding", "describe=maybe")
