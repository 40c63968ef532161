"""The page and the figure about a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from seqpipe.display import visible
from seqpipe.files import write_text
from seqpipe.report.figures import GREY, TRAIN, VALID, add_title, figure, plain, save
from seqpipe.report.findings import Row
from seqpipe.report.markdown import escaped, heading, picture, table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = {"train": TRAIN, "valid": VALID, "test": GREY}
_WIDTHS = {"train": 3.0, "valid": 2.0, "test": 1.2}  # so that equal lines are all visible
_BINS = 40


class DataSummary(Protocol):
    """The parts of seqpipe.data.summary.Summary that the page shows."""

    splits: Any
    lengths: Any
    classes: Any
    numbers: Any
    unknown: Any
    examples: Any
    problems: Any


def write_data(folder: Path, *, title: str, text: str, summary: DataSummary) -> Path:
    """Writes data.md: counts, balance, coverage and examples."""
    parts = [heading(title, 1), escaped(text), heading("Splits"), table(summary.splits)]
    for role, rows in summary.classes.items():
        parts += [heading(f"Frequency of each {role}"), table(rows)]
    for role, rows in summary.numbers.items():
        parts += [
            heading(f"Statistics of the numbers in {role}, as the model reads them"),
            table(rows),
        ]
    if summary.unknown:
        parts.append(heading("Share of symbols that are not in the vocabulary"))
        parts.append(table([{"of": role, **rates} for role, rates in summary.unknown.items()]))
    parts += [heading("Examples of the training split, decoded"), table(summary.examples)]
    if summary.problems:
        parts += [heading("Records left out")]
        parts += [f"- {escaped(problem)}" for problem in summary.problems]
    parts.append(picture(Path("figures/data.png"), "lengths and balance"))
    return write_text(folder / "data.md", visible("\n\n".join(parts)))


def draw_data(folder: Path, summary: DataSummary, title: str = "") -> Path | None:
    """Draws figures/data.png: the lengths of the examples and the frequency of each class.

    Returns:
        the file; None where there is neither length nor class.
    """
    balances = {role: rows for role, rows in summary.classes.items() if len(rows) > 1}
    panels = len(summary.lengths) + len(balances)
    if panels == 0:
        return None
    tallest = max([14, *map(len, balances.values())]) if balances else 14
    from matplotlib.patches import Patch

    with figure(4.2 * panels, 0.9 + 0.19 * tallest) as drawn:
        axes = drawn.subplots(1, panels, squeeze=False)[0]
        for ax, (role, lengths) in zip(axes, summary.lengths.items(), strict=False):
            _draw_lengths(ax, role, lengths)
        rest = axes[len(summary.lengths) :]
        for ax, (role, rows) in zip(rest, balances.items(), strict=True):
            _draw_balance(ax, role, rows)
        names = [f"{row['split']} ({row['examples']:,})" for row in summary.splits]
        marks = [Patch(color=_COLOURS[row["split"]]) for row in summary.splits]
        drawn.legend(marks, names, loc="outside lower center", ncols=3)
        add_title(drawn, title)
        return save(drawn, folder / "figures" / "data.png")


def _draw_lengths(axes: Axes, role: str, lengths: Mapping[str, Any]) -> None:
    """Draws shares, not counts, so that a small split is visible beside a large one."""
    from matplotlib.ticker import MaxNLocator

    low = min(int(steps.min()) for steps in lengths.values())
    high = max(int(steps.max()) for steps in lengths.values())
    width = max(1, -(-(high - low + 1) // _BINS))
    edges = [low - 0.5 + width * n for n in range((high - low) // width + 2)]
    for split, steps in lengths.items():
        weights = [1 / len(steps)] * len(steps)
        axes.hist(
            steps,
            bins=edges,
            weights=weights,
            histtype="step",
            color=_COLOURS[split],
            linewidth=_WIDTHS[split],
        )
    if low == high:
        axes.set_xticks([low])
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.set_title(f"steps of {role}")
    axes.set_xlabel("steps")
    axes.set_ylabel("share of the examples")


def _draw_balance(axes: Axes, role: str, rows: Sequence[Row]) -> None:
    """Draws a bar for each class and split."""
    splits = [split for split in _COLOURS if f"{split}, share" in rows[0]]
    height = 0.8 / len(splits)
    for number, split in enumerate(splits):
        places = [place + height * (number - (len(splits) - 1) / 2) for place in range(len(rows))]
        shares = [float(str(row[f"{split}, share"])) for row in rows]
        axes.barh(places, shares, height=height, color=_COLOURS[split])
    axes.set_yticks(range(len(rows)), [plain(str(row["name"])) for row in rows], fontsize=7)
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.set_title(f"frequency of each {role}")
    axes.set_xlabel("share")
