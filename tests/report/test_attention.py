"""Attention as heat maps, and in a sentence."""

import numpy as np
import pytest
from matplotlib.image import imread

from seqpipe.report import run_files as report
from seqpipe.report.attention import Looks, attention_finding, draw_attention

WEIGHTS = np.array([[1.0, 0.0, 0.0, 0.0], [0.0, 0.5, 0.25, 0.25]])
TRANSLATION = Looks(["the", "$5", " ", "a" * 30], ["der", "<EOS>"], WEIGHTS)
SERIES = Looks((), ["yes", "no", "<EOS>"], np.full((3, 80), 1 / 80))


@pytest.fixture
def panels_of(tmp_path, monkeypatch):
    def draw(*examples):
        figures = []
        save = report.save
        with monkeypatch.context() as patched:
            patched.setattr(report, "save", lambda f, path: figures.append(f) or save(f, path))
            path = draw_attention(tmp_path / "figures" / "it.png", examples, title="a model")
        assert path == tmp_path / "figures" / "it.png"
        assert imread(path).shape[0] > 200
        return [axes for axes in figures[0].axes if axes.get_xlabel() == "x"]

    return draw


def names_of(labels):
    return [label.get_text() for label in labels]


def test_x_stands_below_and_the_answer_at_the_side_from_its_first_step_down(panels_of):
    [axes] = panels_of(TRANSLATION)
    assert axes.images[0].get_array().tolist() == WEIGHTS.tolist()
    assert axes.images[0].origin == "upper"
    assert names_of(axes.get_yticklabels()) == ["der", "<EOS>"]
    names = names_of(axes.get_xticklabels())
    assert names == ["the", r"\$5", "␣", "a" * 13 + "…"]


def test_there_is_a_map_for_each_example_all_on_one_scale(panels_of):
    panels = panels_of(TRANSLATION, SERIES, TRANSLATION)
    assert len(panels) == 3
    assert {axes.images[0].get_clim() for axes in panels} == {(0, 1)}


def test_steps_of_a_series_have_numbers(panels_of):
    [axes] = panels_of(SERIES)
    assert axes.images[0].get_array().shape == (3, 80)
    assert len(axes.get_xticks()) < 20
    assert names_of(axes.get_yticklabels()) == ["yes", "no", "<EOS>"]


def test_so_do_those_of_a_long_text(panels_of):
    T = 60
    looks = Looks(["x"] * T, ["y"] * T, np.eye(T))
    [axes] = panels_of(looks)
    assert "x" not in names_of(axes.get_xticklabels())
    assert "y" not in names_of(axes.get_yticklabels())


def test_the_sentence_is_of_the_same_numbers():
    finding = attention_finding([TRANSLATION, SERIES], "attention.png")
    largest = (1.0 + 0.5 + 3 / 80) / 5
    even = (2 / 4 + 3 / 80) / 5
    assert f"In 2 examples a step of the answer gives {largest:.2f} of its" in finding.text
    assert f"alike would give {even:.2f}." in finding.text
    assert finding.figure == "attention.png"
