"""The page about one run: report.md, and the same as one report.html with its pictures inside."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from seqpipe.report.blocks import Block, Code, Heading, Picture, Prose, Table, Tiles, number
from seqpipe.report.findings import Finding, Row
from seqpipe.report.html import to_html
from seqpipe.report.markdown import to_markdown
from seqpipe.report.run_files import write

# Sections in the order they are read; those not named here follow, in the order they come.
ENDED = "What ended the run"
GROUPS = (ENDED, "Pre-flight", "Learning curves", "Gradients", "Gradient flow", "Inside the cell")
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
        numbers: what is seen first: (name, value, a word about it).
        findings: what was found out, each with its sentence and picture.
        examples: predictions; where rows have a `correct` column (bool), some of each are shown.
        sample: text that the model made.
        versions: what it was made with.

    Returns:
        report.md.
    """
    blocks: list[Block] = [Heading(title, 1), Code(command, "sh")]
    blocks += [Tiles(numbers)] if numbers else []
    blocks += [Heading("Data"), Table([{"": name, " ": value} for name, value in data.items()])]
    blocks += [Heading("Model"), Table(model)]
    findings = _with_other_pictures(folder, findings)
    last = (EXAMPLES, ADVICE)
    blocks += sections(folder, [finding for finding in findings if finding.group not in last])
    blocks += _examples(folder, [f for f in findings if f.group == EXAMPLES], examples)
    blocks += [Heading("A sample"), Code(sample)] if sample else []
    blocks += sections(folder, [finding for finding in findings if finding.group == ADVICE])
    blocks += _metrics(metrics)
    if versions:
        blocks += [Heading("Made with"), Table([{"": k, " ": v} for k, v in versions.items()])]
    return write_page(folder / "report", blocks)


def _metrics(metrics: Mapping[str, float]) -> Iterator[Block]:
    """The test first, then the validation; of single layers their own tables have said enough."""
    yield Heading("Metrics")
    shown = sorted((name for name in metrics if not _of_a_layer(name)), key=_place)
    yield Table([{"metric": name, "value": number(metrics[name])} for name in shown])
    left = len(metrics) - len(shown)
    if left:
        yield Prose(f"`metrics.json` has {left} more, `gradient/` and `cell/` of single layers.")


def _of_a_layer(name: str) -> bool:
    """`cell/encoder.0.forwards/memory`, `gradient/encoder.0.forwards/decay`; the model's is not."""
    return name.startswith("cell/") or (name.startswith("gradient/") and name.count("/") > 1)


def _place(name: str) -> tuple[int, str]:
    first = ("test", "val")
    stage = name.partition("/")[0]
    return first.index(stage) if stage in first else len(first), name


def write_page(path: Path, blocks: Sequence[Block]) -> Path:
    """Writes `path`.html and `path`.md; pictures lie relative to them. Returns the Markdown."""
    write(path.with_suffix(".html"), to_html(blocks, path.parent))
    return write(path.with_suffix(".md"), to_markdown(blocks))


def told(folder: Path, finding: Finding) -> Iterator[Block]:
    """A heading, a sentence, a table, a picture; what is missing leaves no gap."""
    if finding.title and finding.title != finding.group:
        yield Heading(finding.title, 3)
    if finding.text:
        yield Prose(finding.text)
    if finding.rows:
        yield Table(finding.rows)
    if finding.figure is not None:
        path = Path("figures") / finding.figure
        yield Picture(path, "") if (folder / path).is_file() else Prose(f"(no `{path}`)")


def _with_other_pictures(folder: Path, findings: Iterable[Finding]) -> list[Finding]:
    """A picture that nobody says anything about is shown all the same."""
    found = list(findings)
    named = {finding.figure for finding in found}
    for path in sorted((folder / "figures").glob("*.png")):
        if path.name not in named:
            title = path.stem.replace("_", " ").capitalize()
            found.append(Finding(title, "", figure=path.name, group="More figures"))
    return found


def sections(folder: Path, findings: Sequence[Finding]) -> Iterator[Block]:
    """A section a group; a group of one finding that says no more than its name has one heading."""
    groups = list(dict.fromkeys(finding.group for finding in findings))
    groups.sort(key=lambda name: GROUPS.index(name) if name in GROUPS else len(GROUPS))
    for name in groups:
        yield Heading(name)
        for finding in findings:
            if finding.group == name:
                yield from told(folder, finding)


def _examples(
    folder: Path, findings: Sequence[Finding], examples: Sequence[Row]
) -> Iterator[Block]:
    if not (examples or findings):
        return
    yield Heading(EXAMPLES)
    for finding in findings:
        yield from told(folder, finding)
    if not all("correct" in row for row in examples):
        yield Table(examples[: 2 * _EXAMPLES_SHOWN])
        return
    for heading, is_right in (("Right", True), ("Wrong", False)) if examples else ():
        rows = [row for row in examples if bool(row["correct"]) is is_right][:_EXAMPLES_SHOWN]
        yield Heading(heading, 3)
        shown = [{key: row[key] for key in row if key != "correct"} for row in rows]
        yield Table(shown) if shown else Prose("None.")
