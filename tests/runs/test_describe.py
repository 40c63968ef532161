"""`describe` shows what was understood of the data, and trains nothing."""

import matplotlib.image
import pytest

from seqpipe.config.validate import ConfigError


def test_the_data_is_told_drawn_and_recorded_and_nothing_is_trained(launch, capfd):
    result = launch(
        "dates", "data.source.train=300", "logger=csv", painted=True, command="describe"
    )
    told = capfd.readouterr().err
    assert "Dates: train 300, valid 10, test 10" in told
    page = (result.output_dir / "data.md").read_text()
    for part in ("## Splits", "## Frequency of each x", "## Share of symbols", "decoded"):
        assert part in page
    assert "| train | 300 | 300 | 0 |" in page
    picture = matplotlib.image.imread(result.output_dir / "figures" / "data.png")
    assert picture.std() > 0.05  # something is drawn
    assert result.metrics == {}
    assert not (result.output_dir / "checkpoints").exists()
    again = result.summary.splitlines()[-1]
    assert again.startswith("to train:   python -m seqpipe data=dates ")
    assert again.endswith(" data.source.train=300 logger=csv")


def test_numbers_are_told_by_their_moments(launch, capfd):
    launch("adding", "data.source.train=50", "logger=none", command="describe")
    told = capfd.readouterr().err
    assert "x: numbers in each step, as the model reads them" in told
    assert "y: numbers in each step" in told


@pytest.mark.parametrize("key", ["describe=true", "replay=step_12_rank0.pt"])
def test_the_keys_of_earlier_versions_name_the_command(launch, key):
    name = key.partition("=")[0]
    with pytest.raises(ConfigError, match=rf"{key}: is a command now; .*python -m seqpipe {name}"):
        launch("adding", key)


def test_describe_reads_no_checkpoint(launch, tmp_path):
    (tmp_path / "last.ckpt").touch()
    with pytest.raises(ConfigError, match=r"resume=.*: has no effect, since describe"):
        launch("adding", f"resume={tmp_path / 'last.ckpt'}", command="describe")
