import csv
import json
import math
import subprocess
import sys

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread

from seqpipe.report import run_files as report
from seqpipe.report.classes import draw_confusion
from seqpipe.report.curves import draw_curves
from seqpipe.report.figures import add_title, figure, save


def test_metrics_are_sorted_and_what_is_not_finite_is_null(tmp_path):
    path = report.write_metrics(tmp_path, {"b": math.nan, "a/x": 1, "c": math.inf})
    assert path == tmp_path / "metrics.json"
    assert list(json.loads(path.read_text()).items()) == [("a/x", 1.0), ("b", None), ("c", None)]


def test_examples_keep_every_column_and_any_text(tmp_path):
    rows = [{"x": 'a,"b"\nc', "y": 1}, {"x": "é", "y": 2, "score": 0.5}]
    with report.write_rows(tmp_path / "examples.csv", rows).open(
        newline="", encoding="utf-8"
    ) as file:
        assert list(csv.DictReader(file)) == [
            {"x": 'a,"b"\nc', "y": "1", "score": ""},
            {"x": "é", "y": "2", "score": "0.5"},
        ]


@pytest.mark.parametrize("n", [15, 16])  # the most with counts, and one more
def test_the_confusion_matrix_shows_counts_shares_names_and_accuracy(tmp_path, drawn, n):
    matrix = [[0] * n for _ in range(n)]
    for k in range(n):
        matrix[k][k] = 3
    matrix[0][1] = 1  # class 0: 3 right, 1 taken for class 1
    names = ["$1 日本", *(f"class {k}" for k in range(1, n))]
    path = draw_confusion(tmp_path, matrix, names, title="digits")
    assert imread(path).shape[0] > 300
    axes = drawn[0].axes[0]
    assert axes.images[0].get_array()[0].tolist() == [0.75, 0.25] + [0.0] * (n - 2)
    assert (
        axes.get_title(loc="left") == f"digits\naccuracy {3 * n / (3 * n + 1):.2%} of {3 * n + 1}"
    )
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")
    assert [label.get_text() for label in axes.get_yticklabels()] == [r"\$1 日本", *names[1:]]
    counts = [text.get_text() for text in axes.texts]
    assert counts == ([str(count) for row in matrix for count in row] if n <= 15 else [])


def test_a_class_without_examples_has_an_empty_row(tmp_path, drawn):
    draw_confusion(tmp_path, [[0, 0], [1, 1]], ["a", "b"])
    assert drawn[0].axes[0].images[0].get_array().tolist() == [[0, 0], [0.5, 0.5]]


def _lines(axes: Axes) -> dict[str, list[tuple[float, float]]]:
    return {
        line.get_label(): list(zip(line.get_xdata(), line.get_ydata(), strict=True))
        for line in axes.lines
        if not line.get_label().startswith("_")
    }


def test_the_curves_hold_both_losses_the_monitored_metric_and_the_gradient(tmp_path, drawn):
    history = {
        "train/loss": [(1, 2.0), (2, 1.0)],
        "val/loss": [(2, 1.5)],
        "val/accuracy": [(2, 0.5), (4, 0.25)],
        "grad_norm/total": [(1, 10.0), (2, 0.1)],
        "lr": [(1, 0.1)],
    }
    draw_curves(tmp_path, history, monitor="val/accuracy", best_step=2)
    loss, accuracy, gradient = drawn[0].axes
    assert _lines(loss) == {"train/loss": history["train/loss"], "val/loss": history["val/loss"]}
    assert _lines(accuracy) == {
        "val/accuracy": history["val/accuracy"],
        "best: 0.5\nat step 2": [(2, 0.5)],
    }
    assert _lines(gradient) == {"grad_norm/total": history["grad_norm/total"]}
    assert gradient.get_yscale() == "log"
    assert all([2, 2] in [list(line.get_xdata()) for line in axes.lines] for axes in drawn[0].axes)


def test_a_monitored_loss_needs_no_panel_of_its_own(tmp_path, drawn):
    draw_curves(tmp_path, {"val/loss": [(3, 1.0)]}, monitor="val/loss", best_step=3)
    assert [axes.get_title(loc="left") for axes in drawn[0].axes] == ["loss"]
    assert "best: 1\nat step 3" in _lines(drawn[0].axes[0])


def test_many_points_are_drawn_with_their_running_mean(tmp_path, drawn):
    points = [(step, float(step % 2)) for step in range(160)]
    draw_curves(tmp_path, {"train/loss": points})
    smooth = _lines(drawn[0].axes[0])["train/loss"]
    assert len(smooth) == 157  # the mean of 4
    assert smooth[0] == (3, 0.5)


def test_a_run_that_measured_nothing_is_drawn_too(tmp_path):
    assert draw_curves(tmp_path, {}).exists()


def test_matplotlib_is_imported_only_when_something_is_drawn():
    modules = "seqpipe.report.page, seqpipe.report.examples"
    code = f"import sys, {modules}; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_figure_is_drawn_once_and_looks_as_matplotlib_saves_it(tmp_path, monkeypatch):
    def made(write):
        with figure(4, 3) as drawn:
            add_title(drawn, "a title", " and a remark")
            drawn.subplots().plot([1, 2], [3, 1], label="a line")
            write(drawn)

    made(lambda drawn: drawn.savefig(tmp_path / "theirs.png", facecolor="white"))
    count, draw = [], Figure.draw
    monkeypatch.setattr(Figure, "draw", lambda one, *rest: (count.append(one), draw(one, *rest)))
    made(lambda drawn: save(drawn, tmp_path / "ours.png"))
    assert len(count) == 1
    assert (imread(tmp_path / "ours.png") == imread(tmp_path / "theirs.png")).all()
