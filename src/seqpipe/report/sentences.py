"""What a figure shows, in a sentence that is computed from the same numbers."""

import math
from collections.abc import Iterator, Mapping, Sequence

from seqpipe.report.findings import Finding
from seqpipe.report.markdown import in_code, number

History = Mapping[str, Sequence[tuple[int, float]]]

_STILL_BETTER = 0.02  # share by which the last validation beats all before it
_LEARNT_BY_HEART = 1.2  # val/loss at the end, over its lowest


def curves_finding(
    history: History, *, monitor: str, mode: str, best_step: int | None, figure: str | None
) -> Finding:
    """The learning curves: where the best validation was, and how the losses stood there.

    Args:
        history: for each metric the pairs (optimizer step, value).
        monitor: the metric by which the best weights are chosen.
        mode: `min` or `max`, what is better.
        best_step: of the weights that were tested; None where they are the last.
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
        last = f"{name} is {number(finite[-1][1])} at the end; the weights tested are the last"
        yield f"{last}. It was best at update {step:,}: {number(value)}."
    elif len(finite) == 1:
        yield f"{name} was measured once, at update {step:,}: {number(value)}."
    elif later:
        many = "once" if len(later) == 1 else f"{len(later)} times"
        yield f"{name} is best at update {step:,}: {number(value)}."
        yield f"It was measured {many} more without getting better."
    else:
        yield f"{name} is best at the last validation, update {step:,}: {number(value)}."


def _about_losses(history: History, best_step: int | None) -> Iterator[str]:
    """The gap between training and validation, where the weights that count were validated."""
    train, valid = dict(history.get("train/loss", ())), dict(history.get("val/loss", ()))
    shared = sorted(train.keys() & valid.keys())
    if not shared:
        return
    step = best_step if best_step in shared else shared[-1]
    ours, theirs = train[step], valid[step]
    if not (math.isfinite(ours) and math.isfinite(theirs)):
        return
    where = "There" if step == best_step else "At the end"
    losses = f"{where} `train/loss`, the mean of the epoch, is {number(ours)}"
    losses += f" and `val/loss` {number(theirs)}"
    if ours > 0 and theirs > 1.05 * ours:
        yield f"{losses}, {number(round(theirs / ours, 2))} times as high."
    elif theirs > ours:
        yield f"{losses}, slightly higher."
    else:
        yield f"{losses}, no higher."


def _about_broken(history: History, monitor: str) -> Iterator[str]:
    for name in dict.fromkeys(("train/loss", "val/loss", monitor)):
        broken = [step for step, value in history.get(name, ()) if not math.isfinite(value)]
        if broken:
            yield f"At update {broken[0]:,} {in_code(name)} was not a finite number."


def _best(points: Sequence[tuple[int, float]], mode: str) -> tuple[int, float]:
    """The best point; of equal ones the last."""
    sign = 1 if mode == "max" else -1
    return max(points, key=lambda point: (sign * point[1], point[0]))


def curves_advice(history: History, *, monitor: str, mode: str) -> Iterator[Finding]:
    """What the curves suggest to try; nothing where they suggest nothing."""
    points = [(s, v) for s, v in history.get(monitor, ()) if math.isfinite(v)]
    if len(points) > 2 and _best(points, mode) == points[-1]:
        before, last = _best(points[:-1], mode)[1], points[-1][1]
        if abs(last - before) > _STILL_BETTER * abs(before):
            text = f"{in_code(monitor)} went from {number(before)} to {number(last)}"
            text += " in the last validation: it was still getting better."
            text += " A larger `trainer.max_epochs` may help."
            yield Finding("Train for longer", text, group="Advice")
    losses = [value for _, value in history.get("val/loss", ()) if math.isfinite(value)]
    train = [value for _, value in history.get("train/loss", ()) if math.isfinite(value)]
    if len(losses) > 2 and train and 0 < _LEARNT_BY_HEART * min(losses) < losses[-1]:
        if train[-1] < min(losses):
            text = f"`val/loss` rose from {number(min(losses))} to {number(losses[-1])} while "
            text += f"`train/loss` fell to {number(train[-1])}: the training examples are learnt "
            text += "by heart. More data, `dropout=0.3` or a smaller `hidden_size` may help."
            yield Finding("Learnt by heart", text, group="Advice")


def confusion_finding(
    matrix: Sequence[Sequence[int]], names: Sequence[str], figure: str | None
) -> Finding:
    """What is right, and which class is most often mistaken for which.

    Args:
        matrix: counts, a row for each true class, a column for each predicted one.
        names: the classes, in the same order.
        figure: name of the picture, if it was drawn.
    """
    n, total = len(names), sum(map(sum, matrix))
    right = sum(matrix[k][k] for k in range(n))
    text = f"{right:,} of {total:,} are right ({right / max(1, total):.2%})."
    wrong = [(matrix[i][j], -i, -j) for i in range(n) for j in range(n) if i != j]
    count, i, j = max(wrong, default=(0, 0, 0))
    rows = []
    if count > 0:
        text += " The table has the mistake made most often."
        share = f"{count / sum(matrix[-i]):.1%}"
        rows = [{"true": names[-i], "predicted": names[-j], "times": count, "of that class": share}]
    return Finding("Which class is taken for which", text, figure, rows, group="Examples")
