"""Learning curves: the figure, a description in sentences, and advice."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from seqpipe.report.figures import GREY, LONGEST_TITLE, TRAIN, VALID, figure, plain, save
from seqpipe.report.findings import Finding
from seqpipe.report.markdown import in_code, number
from seqpipe.report.run_files import History

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_STILL_BETTER = 0.02  # share by which the last validation beats all before it
_OVERFITTED = 1.2  # val/loss at the end, over its lowest


def draw_curves(
    folder: Path, history: History, *, monitor: str = "val/loss", best_step: int | None = None
) -> Path:
    """Draws figures/learning_curves.png: the losses, the monitored metric, the gradient's norm.

    Args:
        folder: the run's folder.
        history: for each metric the pairs (optimizer step, value). Those that have a panel are
            `train/loss`, `val/loss`, the monitored one with its `train/` partner, and
            `grad_norm/total`; the others are not drawn.
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
            axes.set_title(plain(title, LONGEST_TITLE))
            if title.startswith("gradient") and any(value > 0 for _, value in history[names[0]]):
                axes.set_yscale("log")
            _mark_best(axes, best_step, history[monitor] if monitor in names else ())
            if len(names) > 1 or monitor in names:
                axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        grid[-1].set_xlabel("optimizer step")
        return save(drawn, folder / "figures" / "learning_curves.png")


def _draw_curve(axes: "Axes", name: str, points: Sequence[tuple[int, float]]) -> None:
    """Draws a line; where there are many points, a faint one and its running mean."""
    colour = TRAIN if name.startswith("train/") else VALID
    label = plain(name, LONGEST_TITLE)
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


def curves_finding(
    history: History, *, monitor: str, mode: str, best_step: int | None, figure: str | None
) -> Finding:
    """Describes the learning curves: the best validation, and the losses at that step.

    Args:
        history: for each metric the pairs (optimizer step, value).
        monitor: the metric by which the best weights are chosen.
        mode: `min` or `max`, what is better.
        best_step: optimizer step of the tested weights; None where they are the last.
        figure: name of the picture, if it was drawn.
    """
    sentences = [*_about_best(history.get(monitor, ()), monitor, mode, best_step)]
    sentences += _about_losses(history, best_step)
    sentences += _about_broken(history, monitor)
    text = " ".join(sentences) or "Nothing was measured during this training."
    return Finding("Learning curves", text, figure=figure, group="Learning curves")


def _about_best(
    points: Sequence[tuple[int, float]], monitor: str, mode: str, best_step: int | None
) -> Iterator[str]:
    name = in_code(monitor)
    finite = [(step, value) for step, value in points if math.isfinite(value)]
    if not finite:
        return
    best = _best(finite, mode)
    step, value = next((p for p in finite if p[0] == best_step), best)
    later = [at for at, _ in finite if at > step]
    if best_step is None and value != finite[-1][1]:
        last = f"{name} is {number(finite[-1][1])} at the end; the test uses the last weights"
        yield f"{last}. It was best after update {step:,}: {number(value)}."
    elif len(finite) == 1:
        yield f"{name} was measured once, after update {step:,}: {number(value)}."
    elif later:
        many = "once" if len(later) == 1 else f"{len(later)} times"
        yield f"{name} is best after update {step:,}: {number(value)}."
        yield f"It was measured {many} more and did not improve."
    else:
        yield f"{name} is best at the last validation, after update {step:,}: {number(value)}."


def _about_losses(history: History, best_step: int | None) -> Iterator[str]:
    """Compares the losses of training and validation at the tested weights."""
    train, valid = dict(history.get("train/loss", ())), dict(history.get("val/loss", ()))
    shared = sorted(train.keys() & valid.keys())
    if not shared:
        return
    step = best_step if best_step in shared else shared[-1]
    ours, theirs = train[step], valid[step]
    if not (math.isfinite(ours) and math.isfinite(theirs)):
        return
    where = "At this update" if step == best_step else "At the end"
    losses = f"{where}, `train/loss`, the mean over the epoch, is {number(ours)}"
    losses += f" and `val/loss` {number(theirs)}"
    if ours > 0 and theirs > 1.05 * ours:
        yield f"{losses}, {number(round(theirs / ours, 2))} times as much."
    elif theirs > ours:
        yield f"{losses}, slightly higher."
    else:
        yield f"{losses}, no higher."


def _about_broken(history: History, monitor: str) -> Iterator[str]:
    for name in dict.fromkeys(("train/loss", "val/loss", monitor)):
        broken = [step for step, value in history.get(name, ()) if not math.isfinite(value)]
        if broken:
            yield f"At update {broken[0]:,} {in_code(name)} was not finite."


def _best(points: Sequence[tuple[int, float]], mode: str) -> tuple[int, float]:
    """The best point; the last of equal ones."""
    sign = 1 if mode == "max" else -1
    return max(points, key=lambda point: (sign * point[1], point[0]))


def curves_advice(history: History, *, monitor: str, mode: str) -> Iterator[Finding]:
    """Suggestions that follow from the curves, if any."""
    points = [(s, v) for s, v in history.get(monitor, ()) if math.isfinite(v)]
    if len(points) > 2 and _best(points, mode) == points[-1]:
        before, last = _best(points[:-1], mode)[1], points[-1][1]
        if abs(last - before) > _STILL_BETTER * abs(before):
            text = f"{in_code(monitor)} went from {number(before)} to {number(last)}"
            text += " in the last validation, so it was still improving."
            text += " A larger `trainer.max_epochs` may help."
            yield Finding("Train for longer", text, group="Advice")
    losses = [value for _, value in history.get("val/loss", ()) if math.isfinite(value)]
    train = [value for _, value in history.get("train/loss", ()) if math.isfinite(value)]
    if len(losses) > 2 and train and 0 < _OVERFITTED * min(losses) < losses[-1]:
        if train[-1] < min(losses):
            text = f"`val/loss` rose from {number(min(losses))} to {number(losses[-1])} while "
            text += f"`train/loss` fell to {number(train[-1])}: the model overfits. "
            text += "More data, `dropout=0.3` or a smaller `hidden_size` may help."
            yield Finding("Overfitting", text, group="Advice")
