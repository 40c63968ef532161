"""A piano roll as a picture."""

import pytest
from matplotlib.image import imread

from seqpipe.report import run_files as report
from seqpipe.report.music import draw_roll

NAMES = ("A0", "A#0", "B0", "C1", "C#1")


@pytest.fixture
def axes_of(tmp_path, monkeypatch):
    def draw(roll):
        figures = []
        save = report.save
        with monkeypatch.context() as patched:
            patched.setattr(report, "save", lambda f, path: figures.append(f) or save(f, path))
            path = draw_roll(tmp_path / "figures" / "sample.png", roll, NAMES, title="a sample")
        assert path == tmp_path / "figures" / "sample.png"
        assert imread(path).shape[0] > 300
        return figures[0].axes[0]

    return draw


def test_the_picture_has_a_row_a_note_from_the_lowest_to_the_highest_that_sounds(axes_of):
    axes = axes_of([[0, 1, 0, 0, 0], [0, 1, 0, 1, 0], [0, 0, 0, 0, 0]])
    assert axes.images[0].get_array().tolist() == [[1, 1, 0], [0, 0, 0], [0, 1, 0]]
    assert axes.images[0].origin == "lower"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["A#0", "B0", "C1"]
    assert axes.get_title(loc="left") == "a sample"


def test_silence_is_drawn_with_all_notes(axes_of):
    assert axes_of([[0] * 5] * 2).images[0].get_array().shape == (5, 2)
