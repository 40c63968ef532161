"""What a search found: the best values, the results trial by trial, and what they depend on."""

import math
from collections.abc import Iterator
from pathlib import Path

from seqpipe.errors import counted
from seqpipe.report.figures import (
    GREY,
    LONGEST_TITLE,
    TRAIN,
    VALID,
    figure,
    plain,
    save,
)
from seqpipe.report.findings import Finding, Row
from seqpipe.report.markdown import code, in_code, number
from seqpipe.report.search_trials import Study, Trial, best_trial, read_study
from seqpipe.report.sweep_jobs import FINISHED, PRUNED

_GROUP = "Search"
_LONGEST_KEY = 40
_WIDE_RANGE = 50.0  # results on a logarithmic axis: the largest is this many times the smallest


def search_findings(folder: Path) -> list[Finding]:
    """Draws figures/search_history.png and figures/search_importance.png.

    Args:
        folder: of a sweep.

    Returns:
        findings; none of a sweep that is no search, or of which no trial has finished.
    """
    study = read_study(folder)
    if study is None or study.best is None:
        return []
    return [_best(study, study.best, folder), *_history(folder, study), *_importance(folder, study)]


def _best(study: Study, best: Trial, folder: Path) -> Finding:
    counts = [one.status for one in study.trials]
    parts = [f"{counts.count(status)} {status}" for status in dict.fromkeys(counts)]
    text = (
        f"{counted(len(counts), 'trial').capitalize()} of the study {in_code(study.name)}: "
        f"{', '.join(parts)}. Trial {best.number} has the best {in_code(study.monitor)}, "
        f"{number(best.value)}."
    )
    if best.folder != str(folder):  # else the page has its command already
        text += f" Another sweep ran it; this command repeats it:\n\n{code(study.command, 'sh')}"
    rows: list[Row] = [{"key": key, "value": value} for key, value in best.values.items()]
    return Finding("The best values", text, rows=rows, group=_GROUP)


def _history(folder: Path, study: Study) -> Iterator[Finding]:
    """The result of each trial, and the best one so far."""
    shown = [
        one for one in study.trials if one.status in (FINISHED, PRUNED) and math.isfinite(one.value)
    ]
    if len(shown) < 2:
        return
    with figure(8, 3.2) as drawn:
        axes = drawn.add_subplot()
        for status, marker, colour in ((FINISHED, "o", VALID), (PRUNED, "x", GREY)):
            points = [(one.number, one.value) for one in shown if one.status == status]
            if points:
                x, y = zip(*points, strict=True)
                axes.plot(x, y, marker, color=colour, label=status, markersize=5)
        steps = list(_best_so_far(study))
        axes.step(*zip(*steps, strict=True), where="post", color=TRAIN, label="best so far")
        values = [one.value for one in shown]
        if min(values) > 0 and max(values) > _WIDE_RANGE * min(values):
            axes.set_yscale("log")
        axes.set_xlabel("trial")
        axes.locator_params(axis="x", integer=True)
        axes.set_title(plain(study.monitor, LONGEST_TITLE))
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
        path = save(drawn, folder / "figures" / "search_history.png")
    text = "Results on the validation split; of a pruned trial the last one before it was stopped."
    yield Finding("Trials", text, figure=path.name, group=_GROUP)


def _best_so_far(study: Study) -> Iterator[tuple[int, float]]:
    """(number, value) where a trial is better than all before it, and at the last trial."""
    best: Trial | None = None
    for place, trial in enumerate(study.trials):
        found = best_trial(study.trials[: place + 1], study.mode)
        if found is not None and (found is not best or trial is study.trials[-1]):
            best = found
            yield trial.number, found.value


def _importance(folder: Path, study: Study) -> Iterator[Finding]:
    shares = sorted(study.importance.items(), key=lambda pair: pair[1])
    if not shares:
        return
    with figure(8, 1.0 + 0.32 * len(shares)) as drawn:
        axes = drawn.add_subplot()
        places = range(len(shares))
        axes.barh(places, [100 * share for _, share in shares], color=VALID, height=0.6)
        axes.set_yticks(places, [plain(key, _LONGEST_KEY) for key, _ in shares])
        axes.set_xlim(0, 100)
        axes.set_xlabel("% of the variance of the results")
        axes.grid(visible=False, axis="y")
        axes.set_title(plain(f"what {study.monitor} depends on", LONGEST_TITLE))
        path = save(drawn, folder / "figures" / "search_importance.png")
    text = (
        "The share of each key in the variance of the results of the finished trials, alone and "
        "together with others (fANOVA of a random forest). With few trials it is a rough estimate."
    )
    rows: list[Row] = [
        {"key": key, "share": f"{100 * share:.0f} %"} for key, share in reversed(shares)
    ]
    yield Finding("Importance of the keys", text, figure=path.name, rows=rows, group=_GROUP)
