"""Attention as heat maps and in a sentence; a piano roll as a picture."""

import numpy as np
import pytest

from seqpipe.report.examples import AttentionMap, attention_finding, draw_attention, draw_roll

WEIGHTS = np.array([[1.0, 0.0, 0.0, 0.0], [0.0, 0.5, 0.25, 0.25]])
TRANSLATION = AttentionMap(["the", "$5", " ", "a" * 30], ["der", "<EOS>"], WEIGHTS)
SERIES = AttentionMap((), ["yes", "no", "<EOS>"], np.full((3, 80), 1 / 80))


@pytest.fixture
def panels_of(tmp_path, drawn):
    def draw(*examples):
        path = draw_attention(tmp_path / "figures" / "it.png", examples, title="a model")
        assert path == tmp_path / "figures" / "it.png"
        return [axes for axes in drawn[-1].axes if axes.get_xlabel() == "x"]

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
    looks = AttentionMap(["x"] * T, ["y"] * T, np.eye(T))
    [axes] = panels_of(looks)
    assert "x" not in names_of(axes.get_xticklabels())
    assert "y" not in names_of(axes.get_yticklabels())


def test_the_sentence_is_of_the_same_numbers():
    finding = attention_finding([TRANSLATION, SERIES], "attention.png")
    largest = (1.0 + 0.5 + 3 / 80) / 5
    even = (2 / 4 + 3 / 80) / 5
    assert f"In 2 examples, a step of the answer gives {largest:.2f} of its" in finding.text
    assert f"uniform attention would give {even:.2f}." in finding.text
    assert finding.figure == "attention.png"


NOTES = ("A0", "A#0", "B0", "C1", "C#1")


def axes_of(tmp_path, drawn, roll):
    path = draw_roll(tmp_path / "figures" / "sample.png", roll, NOTES, title="a sample")
    assert path == tmp_path / "figures" / "sample.png"
    return drawn[-1].axes[0]


def test_a_roll_has_a_row_a_note_from_the_lowest_to_the_highest_that_sounds(tmp_path, drawn):
    axes = axes_of(tmp_path, drawn, [[0, 1, 0, 0, 0], [0, 1, 0, 1, 0], [0, 0, 0, 0, 0]])
    assert axes.images[0].get_array().tolist() == [[1, 1, 0], [0, 0, 0], [0, 1, 0]]
    assert axes.images[0].origin == "lower"
    assert names_of(axes.get_yticklabels()) == ["A#0", "B0", "C1"]
    assert axes.get_title(loc="left") == "a sample"


def test_silence_is_drawn_with_all_notes(tmp_path, drawn):
    assert axes_of(tmp_path, drawn, [[0] * 5] * 2).images[0].get_array().shape == (5, 2)
