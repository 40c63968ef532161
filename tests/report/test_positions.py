"""The loss by position: in words, drawn, written."""

import csv

import pytest

from seqpipe.report.loss_by_position import (
    Position,
    binned,
    draw_positions,
    positions_finding,
    write_positions,
)

THREE = [Position(1, 4, 1.0, 1.0), Position(2, 4, 0.5, 2.0), Position(3, 2, 0.5, 1.0)]


def test_the_sentence_has_the_means_over_real_steps_and_the_worst_position():
    text = positions_finding(THREE, 4, "loss_by_position.png").text
    assert (
        "the loss is 0.7 nats per step; when it reads its own predictions, it is 1.4 (4 val" in text
    )
    assert "**0.7 nats**, is the exposure gap" in text
    assert "equal at position 1 and differ most at 2 (by 1.5)" in text


def test_where_nothing_is_lost_that_is_said():
    even = [p._replace(free_running=p.teacher_forced) for p in THREE]
    assert positions_finding(even, 4).text.endswith(
        "Reading its own predictions does not raise the loss here."
    )


def test_every_position_is_kept_in_the_table(tmp_path):
    rows = list(csv.DictReader(write_positions(tmp_path, THREE).read_text().splitlines()))
    assert [row["position"] for row in rows] == ["1", "2", "3"]
    assert rows[1] == {
        "position": "2",
        "sequences": "4",
        "teacher_forced": "0.5",
        "free_running": "2",
    }


def test_long_y_are_binned_each_sequence_counting_alike():
    two = binned([*THREE, Position(4, 1, 2.0, 3.0)], most=2)
    assert two[0] == Position(1.5, 4, 0.75, 1.5)
    assert two[1] == pytest.approx(Position(3.5, 1.5, 1.0, 5 / 3))
    assert len(binned([Position(t, 1, 1.0, 1.0) for t in range(1, 257)])) == 64


@pytest.mark.parametrize("steps", [1, 3, 300])
def test_it_is_drawn_for_any_length(tmp_path, steps):
    rows = [Position(t, 2, 1.0, 1.0 + t / steps) for t in range(1, steps + 1)]
    path = draw_positions(tmp_path, rows, "a run $of$ mine")
    assert path == tmp_path / "figures" / "loss_by_position.png"
    assert path.stat().st_size > 5000
