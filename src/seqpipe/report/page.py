"""The page about one run: report.md, and the same as one report.html with its pictures inside."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from seqpipe.display import visible
from seqpipe.files import write_text
from seqpipe.report.findings import Finding, Row
from seqpipe.report.html import to_html
from seqpipe.report.markdown import code, heading, number, picture, table

# Sections in the order they are read; those not named here follow, in the order they come.
ENDED = "What ended the run"
GROUPS = (
    ENDED,
    "Baselines",
    "Pre-flight",
    "Learning curves",
    "Gradients",
    "Gradient flow",
    "Inside the cell",
)
EXAMPLES, ADVICE = "Examples", "Advice"  # have places of their own, further down
_EXAMPLES_SHOWN = 5  # right ones and wrong ones on the page


def write_report(
    folder: Path,
    *,
    title: str,
    command: str,
    data: Mapping[str, object],
    model: Sequence[Row],
    metrics: Mapping[str, float],
    numbers: Sequence[tuple[str, str, str]] = (),
    findings: Sequence[Finding] = (),
    examples: Sequence[Row] = (),
    sample: str = "",
    versions: Mapping[str, str] | None = None,
) -> Path:
    """Writes report.md and report.html; call it after the figures are drawn.

    Args:
        folder: the run's folder. Pictures in its `figures/` that no finding names are shown too.
        title: the name of the run.
        command: repeats the run when typed in a shell.
        data: facts about the data, by name.
        model: a row for each part of the model, all with the same columns.
        metrics: the final numbers.
        numbers: the numbers shown first: (name, value, a comment).
        findings: what was found out, each with its sentence and picture.
        examples: predictions; where rows have a `correct` column (bool), some of each are shown.
        sample: text that the model generated.
        versions: the packages and the platform, by name.

    Returns:
        report.md.
    """
    parts = [heading(title, 1), code(command, "sh")]
    parts += [table([{"": name, " ": value, "  ": comment} for name, value, comment in numbers])]
    parts += [heading("Data"), _facts(data), heading("Model"), table(model)]
    findings = _with_other_pictures(folder, findings)
    last = (EXAMPLES, ADVICE)
    parts += sections(folder, [finding for finding in findings if finding.group not in last])
    parts += _examples(folder, [f for f in findings if f.group == EXAMPLES], examples)
    parts += [heading("A sample"), code(sample)] if sample else []
    parts += sections(folder, [finding for finding in findings if finding.group == ADVICE])
    parts += _metrics(metrics)
    if versions:
        parts += [heading("Made with"), _facts(versions)]
    return write_page(folder / "report", parts)


def write_page(path: Path, parts: Iterable[str]) -> Path:
    """Writes the Markdown parts of a page to `path`.md, and as HTML to `path`.html.

    Returns:
        the Markdown; pictures and links are relative to it.
    """
    markdown = visible("\n\n".join(part for part in parts if part))
    write_text(path.with_suffix(".html"), to_html(markdown, path.parent))
    return write_text(path.with_suffix(".md"), markdown)


def sections(folder: Path, findings: Sequence[Finding]) -> Iterator[str]:
    """A section for each group, with a heading for each finding whose title differs from it."""
    groups = list(dict.fromkeys(finding.group for finding in findings))
    groups.sort(key=lambda name: GROUPS.index(name) if name in GROUPS else len(GROUPS))
    for name in groups:
        yield heading(name)
        for finding in findings:
            if finding.group == name:
                yield from _finding(folder, finding)


def _finding(folder: Path, finding: Finding) -> Iterator[str]:
    if finding.title and finding.title != finding.group:
        yield heading(finding.title, 3)
    yield finding.text
    yield table(finding.rows)
    if finding.figure is not None:
        path = Path("figures") / finding.figure
        yield picture(path) if (folder / path).is_file() else f"(no `{path}`)"


def _facts(facts: Mapping[str, object]) -> str:
    return table([{"": name, " ": value} for name, value in facts.items()])


def _metrics(metrics: Mapping[str, float]) -> Iterator[str]:
    """The test first, then the validation; single layers have tables of their own."""
    yield heading("Metrics")
    shown = sorted((name for name in metrics if not _of_a_layer(name)), key=_place)
    yield table([{"metric": name, "value": number(metrics[name])} for name in shown])
    left = len(metrics) - len(shown)
    if left:
        yield f"`metrics.json` has {left} more: `gradient/` and `cell/` for each layer."


def _of_a_layer(name: str) -> bool:
    """`cell/encoder.0.forwards/memory`, `gradient/encoder.0.forwards/decay`; the model's is not."""
    return name.startswith("cell/") or (name.startswith("gradient/") and name.count("/") > 1)


def _place(name: str) -> tuple[int, str]:
    first = ("test", "val")
    stage = name.partition("/")[0]
    return first.index(stage) if stage in first else len(first), name


def _with_other_pictures(folder: Path, findings: Iterable[Finding]) -> list[Finding]:
    """The findings, and one for each picture that none of them names."""
    found = list(findings)
    named = {finding.figure for finding in found}
    for path in sorted((folder / "figures").glob("*.png")):
        if path.name not in named:
            title = path.stem.replace("_", " ").capitalize()
            found.append(Finding(title, "", figure=path.name, group="More figures"))
    return found


def _examples(folder: Path, findings: Sequence[Finding], examples: Sequence[Row]) -> Iterator[str]:
    if not (examples or findings):
        return
    yield heading(EXAMPLES)
    for finding in findings:
        yield from _finding(folder, finding)
    if not all("correct" in row for row in examples):
        yield table(examples[: 2 * _EXAMPLES_SHOWN])
        return
    for title, is_right in (("Right", True), ("Wrong", False)) if examples else ():
        rows = [row for row in examples if bool(row["correct"]) is is_right][:_EXAMPLES_SHOWN]
        yield heading(title, 3)
        yield table([{k: row[k] for k in row if k != "correct"} for row in rows]) or "None."
