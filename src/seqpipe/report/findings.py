"""One thing a run found out, said so that a person can read it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

Row = Mapping[str, object]


@dataclass(frozen=True)
class Finding:
    """One thing a run found out: a heading, a sentence, perhaps a picture and a small table.

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
        """What was found so far, complete or not; its figures and tables go into the run's folder.

        Args:
            folder: the run's folder.
            title: of figures: what ran.
        """
        return ()

    def scalars(self) -> dict[str, float]:
        """Numbers of the finished training, for `metrics.json`."""
        return {}
