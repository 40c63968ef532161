"""What a run leaves in its folder for people: numbers, figures, examples; see page.py."""

import csv
import json
import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqpipe.display import visible
from seqpipe.files import replacing
from seqpipe.report.findings import Row
from seqpipe.report.markdown import columns_of, number
from seqpipe.report.sentences import History

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


Matrix = Sequence[Sequence[float]]

TRAIN, VALID, GREY = (
    "#9a6a00",
    "#1f5fa8",
    "#6b7280",
)  # told apart in grey and by the colour-blind
STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.grid": True,
    "grid.color": "#e5e7eb",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "legend.frameon": False,
}
_COUNTS_UP_TO = 15  # classes; beyond it the cells are too small for a number
_NAMES_UP_TO = 60  # classes; beyond it only some are named on the axes
_LONGEST_NAME, _LONGEST_TITLE = 18, 60
_NUMBERS = re.compile(r"[-+]?[\d.][-+\d., eE]*")  # one number, or a row of them
_CHARACTER = 0.65  # width of a character, in font sizes


def write_metrics(folder: Path, metrics: Mapping[str, float]) -> Path:
    """Writes metrics.json: sorted, and null for what is not finite, which JSON cannot say."""
    finite = {
        name: float(value) if math.isfinite(value) else None
        for name, value in sorted(metrics.items())
    }
    text = json.dumps(finite, indent=2, ensure_ascii=False, allow_nan=False)
    return write(folder / "metrics.json", text)


def write_sample(folder: Path, text: str) -> Path:
    """Writes sample.txt, text that the model made."""
    return write(folder / "sample.txt", text)


def write_examples(folder: Path, rows: Sequence[Row]) -> Path:
    """Writes examples.csv; the columns are those of all rows, in the order they first appear."""
    return write_rows(folder / "examples.csv", rows)


def write_rows(path: Path, rows: Sequence[Row]) -> Path:
    """Writes rows as CSV for people, and the folder above it.

    A spreadsheet takes text that starts with one of `= + - @` for a formula, and runs it: such
    text gets an apostrophe in front. Files that are read again (predictions) hold it as it is.
    """
    with replacing(path) as made, made.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=columns_of(rows))
        writer.writeheader()
        writer.writerows({name: _no_formula(value) for name, value in row.items()} for row in rows)
    return path


def _no_formula(value: object) -> object:
    if not isinstance(value, str) or not value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return value
    return value if _NUMBERS.fullmatch(value) else f"'{value}"


def draw_confusion(
    folder: Path, matrix: Sequence[Sequence[int]], names: Sequence[str], title: str = ""
) -> Path:
    """Draws figures/confusion_matrix.png.

    Args:
        folder: the run's folder.
        matrix: counts, a row for each true class, a column for each predicted one.
        names: the classes, in the same order.
        title: what was predicted; the accuracy is added.
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
        # The square root lets a class that is mistaken once in fifty be seen.
        image = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, vmin=0, vmax=1))
        axes.grid(False)
        axes.spines[:].set_visible(False)
        above = f"{plain(title, _LONGEST_TITLE)}\n" * bool(title)
        axes.set_title(above + f"accuracy {accuracy:.2%} of {total:,}")
        _name_axes(axes, names, cell)
        if n <= _COUNTS_UP_TO:
            _write_counts(axes, matrix, shares, cell)
        bar = drawn.colorbar(image, ax=axes, fraction=0.046, pad=0.03, shrink=0.7)
        bar.outline.set_visible(False)
        bar.set_label("share of the true class")
        return save(drawn, folder / "figures" / "confusion_matrix.png")


def draw_curves(
    folder: Path, history: History, *, monitor: str = "val/loss", best_step: int | None = None
) -> Path:
    """Draws figures/learning_curves.png: the losses, the monitored metric, the gradient's norm.

    Args:
        folder: the run's folder.
        history: for each metric the pairs (optimizer step, value). Those that have a panel are
            `train/loss`, `val/loss`, the monitored one with its `train/` partner, and
            `grad_norm/total`; the others are passed over.
        monitor: the metric by which the best model was chosen.
        best_step: the optimizer step of the best model, marked in every panel.
    """
    measured = monitor.removeprefix("val/")
    panels = {"loss": ["train/loss", "val/loss"], measured: [f"train/{measured}", monitor]}
    panels["gradient norm before clipping"] = ["grad_norm/total"]
    shown = {
        title: [name for name in wanted if history.get(name)]
        for title, wanted in panels.items()
        if any(history.get(name) for name in wanted)
    }
    with figure(8, 0.5 + 2.3 * max(1, len(shown))) as drawn:
        grid = drawn.subplots(max(1, len(shown)), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (title, names) in zip(grid, shown.items(), strict=False):
            for name in names:
                _draw_curve(axes, name, history[name])
            axes.set_title(plain(title, _LONGEST_TITLE))
            if title.startswith("gradient") and any(value > 0 for _, value in history[names[0]]):
                axes.set_yscale("log")
            _mark_best(axes, best_step, history[monitor] if monitor in names else ())
            if len(names) > 1 or monitor in names:
                axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        grid[-1].set_xlabel("optimizer step")
        return save(drawn, folder / "figures" / "learning_curves.png")


def write(path: Path, text: str) -> Path:
    """Writes a text that ends in one line end, and the folder above it."""
    with replacing(path) as made:
        made.write_text(text.rstrip("\n") + "\n", encoding="utf-8")
    return path


@contextmanager
def style() -> Iterator[None]:
    """Our style inside, whatever the user's matplotlibrc says; their own again outside."""
    import matplotlib  # half a second that a refused configuration need not wait

    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # the backend stays
        matplotlib.rcParams.update(STYLE)
        yield


@contextmanager
def figure(width: float, height: float) -> Iterator["Figure"]:
    """An empty figure, in inches. It is not pyplot's, so nothing has to be closed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with style(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)  # a box will do
        drawn = Figure(figsize=(width, height), dpi=130, layout="constrained")
        FigureCanvasAgg(drawn)
        yield drawn


def save(drawn: "Figure", path: Path) -> Path:
    """Writes a picture, and the folder above it."""
    with replacing(path) as made:
        drawn.savefig(made, facecolor="white")
    return path


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


def _draw_curve(axes: "Axes", name: str, points: Sequence[tuple[int, float]]) -> None:
    """A line; where there are many points, a faint one with its running mean over it."""
    colour = TRAIN if name.startswith("train/") else VALID
    label = plain(name, _LONGEST_TITLE)
    steps, values = [step for step, _ in points], [value for _, value in points]
    window = len(points) // 40
    if window < 3:
        mark = "o" if len(points) <= 40 else ""
        axes.plot(
            steps,
            values,
            color=colour,
            marker=mark,
            markersize=3,
            label=label,
        )
        return
    axes.plot(steps, values, color=colour, alpha=0.25, linewidth=0.8)
    ends = range(window, len(values) + 1)
    means = [sum(values[end - window : end]) / window for end in ends]
    axes.plot(steps[window - 1 :], means, color=colour, linewidth=1.6, label=label)


def _mark_best(axes: "Axes", step: int | None, monitored: Sequence[tuple[int, float]]) -> None:
    if step is None:
        return
    axes.axvline(step, color=GREY, linestyle=(0, (4, 3)), linewidth=1)
    for at, value in monitored:
        if at == step:
            label = f"best: {number(value)}\nat step {step:,}"
            axes.plot([at], [value], "o", color="#b91c1c", markersize=6, label=label, zorder=3)


def plain(name: str, longest: int = _LONGEST_NAME) -> str:
    """A name as an axis can show it: short, one line, no control characters, no mathematics."""
    text = visible(" ".join(str(name).split())) or repr(str(name))
    short = text if len(text) <= longest else text[: longest - 1] + "…"
    return short.replace("$", r"\$")
