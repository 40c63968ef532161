"""Findings: results of a run in words, with a figure and a table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

Row = Mapping[str, object]


@dataclass(frozen=True)
class Finding:
    """One result of a run: a heading, a sentence, perhaps a figure and a small table.

    Args:
        title: the heading, a few words.
        text: a sentence or three for a person, Markdown; text of the user's data does not
            belong here, only in `rows`.
        figure: name of its picture in the folder `figures/` of the run; None where there is none.
        rows: a small table, all rows with the same columns.
        group: the section it belongs to, such as "Gradients"; those of one group stand together.
    """

    title: str
    text: str
    figure: str | None = None
    rows: Sequence[Row] = ()
    group: str = "Findings"


class Observer:
    """Anything that watches a run and reports on it: pre-flight, probe, gradient statistics.

    The training command lists the observers of a run once; summary and report ask each of them.
    """

    def findings(self, folder: Path, title: str) -> tuple[Finding, ...]:
        """Findings so far, complete or not; figures and tables are written to the run's folder.

        Args:
            folder: the run's folder.
            title: the title of figures: the name of the run.
        """
        return ()

    def scalars(self) -> dict[str, float]:
        """Numbers of the finished training, for `metrics.json`."""
        return {}
