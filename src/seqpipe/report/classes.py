"""Scores of the classes of a test: a figure of their confusions, and a table."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from seqpipe.report.figures import LONGEST_TITLE, figure, plain, save
from seqpipe.report.findings import Finding, Row
from seqpipe.report.run_files import write_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Matrix = Sequence[Sequence[float]]

_COUNTS_UP_TO = 15  # classes; beyond it the cells are too small for a number
_NAMES_UP_TO = 60  # classes; beyond it only some are named on the axes
_CHARACTER = 0.65  # width of a character, in font sizes
_ROWS_UP_TO = 40  # classes in the table of the page


def class_findings(
    folder: Path,
    title: str,
    *,
    names: Sequence[str],
    confusion: Sequence[Sequence[int]],
    rows: Sequence[Row],
    positive: int | None,
) -> Iterator[Finding]:
    """Draws the confusions and writes per_class.csv; yields what they show.

    Args:
        folder: the run's folder.
        title: the name of the run.
        names: of the classes.
        confusion: counts, a row for each true class; empty: not counted.
        rows: the scores of each class, a row each; empty: there are none.
        positive: the row of the positive class, of two; None: there is none.
    """
    if confusion:
        path = draw_confusion(folder, confusion, names, title)
        yield confusion_finding(confusion, names, path.name)
    if rows:
        write_rows(folder / "per_class.csv", rows)
        yield per_class_finding(rows, positive)


def per_class_finding(table: Sequence[Row], positive: int | None) -> Finding:
    """Explains the scores of each class.

    Args:
        table: a row for each class, at least one.
        positive: see `class_findings`.
    """
    text = (
        "Precision is the share of right ones among the predictions of a class, recall the share"
        " of its true examples that are found, support their number. An empty cell has nothing to"
        " be divided by."
    )
    if len(table) > _ROWS_UP_TO:
        text += f" `per_class.csv` has all {len(table)} classes; these occur most."
        frequent = sorted(table, key=lambda row: -int(str(row["support"])))[:_ROWS_UP_TO]
        table = [row for row in table if row in frequent]
    if positive is not None:
        text += f" Class {positive + 1} of the table is the positive one: `task.positive`."
    return Finding(
        "Scores of each class", text, rows=[_shown(row) for row in table], group="Examples"
    )


def _shown(row: Row) -> dict[str, object]:
    """A row as the page has it."""
    return {
        name: "" if value is None else f"{value:.3f}" if isinstance(value, float) else value
        for name, value in row.items()
    }


def draw_confusion(
    folder: Path, matrix: Sequence[Sequence[int]], names: Sequence[str], title: str = ""
) -> Path:
    """Draws figures/confusion_matrix.png.

    Args:
        folder: the run's folder.
        matrix: counts, a row for each true class, a column for each predicted one.
        names: the classes, in the same order.
        title: the name of the run; the accuracy is added.
    """
    n = len(names)
    assert len(matrix) == n, "a row for each class"
    assert all(len(row) == n for row in matrix), "a column for each class"
    shares = [[count / max(1, sum(row)) for count in row] for row in matrix]
    total = sum(map(sum, matrix))
    accuracy = sum(matrix[k][k] for k in range(n)) / max(1, total)
    cell = max(2.4 / n, 0.5 if n <= _COUNTS_UP_TO else min(0.3, 9 / n))  # inches
    side = cell * n
    with figure(side + 2.4, side + 1.6) as drawn:
        from matplotlib.colors import PowerNorm

        axes = drawn.add_subplot()
        # The square root makes a class that is mistaken once in fifty visible.
        image = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, vmin=0, vmax=1))
        axes.grid(False)
        axes.spines[:].set_visible(False)
        above = f"{plain(title, LONGEST_TITLE)}\n" * bool(title)
        axes.set_title(above + f"accuracy {accuracy:.2%} of {total:,}")
        _name_axes(axes, names, cell)
        if n <= _COUNTS_UP_TO:
            _write_counts(axes, matrix, shares, cell)
        bar = drawn.colorbar(image, ax=axes, fraction=0.046, pad=0.03, shrink=0.7)
        bar.outline.set_visible(False)
        bar.set_label("share of the true class")
        return save(drawn, folder / "figures" / "confusion_matrix.png")


def _name_axes(axes: "Axes", names: Sequence[str], cell: float) -> None:
    ticks = range(0, len(names), math.ceil(len(names) / _NAMES_UP_TO))
    labels = [plain(names[k]) for k in ticks]
    size = 9 if len(names) <= _COUNTS_UP_TO else 7
    too_wide = max(map(len, labels), default=0) * size * _CHARACTER > cell * 72
    axes.set_xticks(ticks, labels, fontsize=size, rotation=90 if too_wide else 0)
    axes.set_yticks(ticks, labels, fontsize=size)
    axes.tick_params(length=0)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")


def _write_counts(axes: "Axes", counts: Matrix, shares: Matrix, cell: float) -> None:
    for i, row in enumerate(counts):
        for j, count in enumerate(row):
            colour = "white" if shares[i][j] > 0.3 else "#1f2937" if count else "#cbd5e1"
            text = f"{count:,}"
            size = min(9.0, 0.9 * cell * 72 / (_CHARACTER * len(text)))
            axes.text(j, i, text, ha="center", va="center", color=colour, fontsize=size)


def confusion_finding(
    matrix: Sequence[Sequence[int]], names: Sequence[str], figure: str | None
) -> Finding:
    """The accuracy, and the most frequent confusion of two classes.

    Args:
        matrix: counts, a row for each true class, a column for each predicted one.
        names: the classes, in the same order.
        figure: name of the picture, if it was drawn.
    """
    n, total = len(names), sum(map(sum, matrix))
    right = sum(matrix[k][k] for k in range(n))
    text = f"{right:,} of {total:,} predictions are right ({right / max(1, total):.2%})."
    wrong = [(matrix[i][j], -i, -j) for i in range(n) for j in range(n) if i != j]
    count, i, j = max(wrong, default=(0, 0, 0))
    rows = []
    if count > 0:
        text += " The table shows the most frequent mistake."
        share = f"{count / sum(matrix[-i]):.1%}"
        rows = [
            {"true": names[-i], "predicted": names[-j], "times": count, "share of the class": share}
        ]
    return Finding("Confusions between classes", text, figure, rows, group="Examples")
