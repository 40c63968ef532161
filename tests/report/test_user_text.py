"""Text of the user's data in a terminal, a figure, a page and a file for a spreadsheet."""

import csv
import html
import io
import logging
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import matplotlib
import pytest
from markdown_it import MarkdownIt
from rich.table import Table as RichTable

import seqpipe
from seqpipe.console import PlainConsole
from seqpipe.display import PlainFormatter, visible
from seqpipe.report import run_files as report
from seqpipe.report.classes import draw_confusion
from seqpipe.report.comparison import write_comparison
from seqpipe.report.curves import draw_curves
from seqpipe.report.figures import style
from seqpipe.report.markdown import code, heading, table
from seqpipe.report.page import write_page
from seqpipe.report.run_files import write_rows
from seqpipe.report.sweep_jobs import FAILED, FINISHED, Job, note_job, read_jobs
from seqpipe.terminal import print_error, print_text

NASTY = (
    *("[/red]", "[bold]x", "[link=http://e]y", ":smile:", "\x1b[31mred", "\x9b2J", "\u202eevil"),
    *("$\\frac{$", "a$b$c", "\\$5", "_under", "{0}%s", "漢字🎉", "NUL\x00", "half\ud800"),
    *("<b>&amp;\"'", "<script>x</script>", "pipe|`tick`", "![x](http://e)", "[y](http://e)"),
    *("*emph*", "__strong__", "a\\|b", "- item", "# head", "> quote", "~~gone~~", "line\u2028end"),
    *("=1+1", "+x", "-x", "@cmd", "../up", "a/b", "CON", " "),
)
STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def test_a_terminal_shows_the_text_and_obeys_nothing_in_it(capsys):
    stream = io.StringIO()
    console = PlainConsole(file=stream, width=200)
    table = RichTable(title=NASTY[0])
    table.add_column("name")
    for name in NASTY:
        table.add_row(name)
    console.print(table)
    console.print(NASTY[1])
    print_text(" ".join(NASTY))
    print_error(" ".join(NASTY))
    captured = capsys.readouterr()
    for shown in (stream.getvalue(), captured.out, captured.err):
        assert not STEERING.search(shown)
        assert all(visible(name).rstrip() in shown for name in NASTY if name != "line\u2028end")


def test_a_figure_shows_any_class(tmp_path):
    counts = [[i + j for j in range(len(NASTY))] for i in range(len(NASTY))]
    assert draw_confusion(tmp_path, counts, NASTY, title=NASTY[0]).stat().st_size > 5_000


def test_a_log_shows_what_it_warns_about_and_obeys_nothing_in_it():
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(PlainFormatter("%(levelname)s %(message)s"))
    record = logging.LogRecord("x", logging.WARNING, "x.py", 1, "left out: %s", (NASTY[4],), None)
    handler.emit(record)
    assert stream.getvalue() == "WARNING left out: \\x1b[31mred\n"


@pytest.mark.parametrize("text", ["$\\frac{$", "_under", "\x1b[31mred"])
def test_a_figure_shows_any_metric(tmp_path, text):
    monitor, points = f"val/f1/{text}", [(step, 1.0) for step in range(3)]
    assert draw_curves(tmp_path, {monitor: points}, monitor=monitor).stat().st_size > 5_000


def test_figures_are_drawn_the_same_whatever_the_users_settings_are(tmp_path):
    def drawn(folder: str) -> bytes:
        return draw_confusion(tmp_path / folder, [[3, 1], [0, 2]], ["a", "b"]).read_bytes()

    usual = drawn("usual")
    with matplotlib.rc_context({"text.usetex": True, "savefig.dpi": 30, "font.size": 30}):
        matplotlib.rcParams["backend"] = "svg"
        assert drawn("other") == usual
        assert matplotlib.rcParams["font.size"] == 30
        assert matplotlib.get_backend() == "svg"
    matplotlib.rcParams["backend"] = "agg"
    with style():
        assert matplotlib.rcParams["text.usetex"] is False


@pytest.mark.parametrize(("backend", "kept"), [("none-of-matplotlibs", "None"), ("svg", "svg")])
def test_the_backend_of_a_notebook_need_not_be_installed_here(backend, kept):
    code = (
        "import seqpipe, matplotlib, os\n"
        "print(matplotlib.get_backend(auto_select=False), os.environ['MPLBACKEND'])"
    )
    source = str(Path(seqpipe.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "MPLBACKEND": backend, "PYTHONPATH": source},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == (f"{kept} {backend}\n", "")


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """(Markdown, HTML) of a page with each text in every place that takes any text."""
    parts = [heading("page", 1)]
    for name in NASTY:
        parts += [heading(name), table([{"name": name, name: "x"}]), code(name)]
    path = write_page(tmp_path_factory.mktemp("page") / "page", [*parts, "ours"])
    return path.read_text(), path.with_suffix(".html").read_text()


def test_a_page_shows_the_text_and_holds_no_tag_link_or_picture_of_it(pages):
    markdown, page = pages
    rendered = MarkdownIt("gfm-like", {"linkify": False, "html": True}).render(markdown)
    for made in (rendered, page.partition("<main>")[2]):
        assert not STEERING.search(made)
        assert not re.search(r"<(b|script|em|strong|img|s|blockquote|ul)\b", made)
        assert not re.search(r'href="(?!#s\d)', made)
        cells = [html.unescape(cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", made)]
        assert {visible(" ".join(name.split())) for name in NASTY} <= set(cells)
        headings = [html.unescape(text) for text in re.findall(r"<h2[^>]*>(.*?)</h2>", made)]
        assert headings == [visible(" ".join(name.split())) for name in NASTY]
        shown = [html.unescape(text) for text in re.findall(r"<code[^>]*>(.*?)\n?</code>", made)]
        assert shown == [visible(name) for name in NASTY]


def test_a_file_for_a_spreadsheet_starts_no_formula(tmp_path):
    names = [name for name in NASTY if name.isprintable()]
    write_rows(tmp_path / "t.csv", [{"x": name, "y": -1.5} for name in [*names, "-0.25", "-1 -2"]])
    with (tmp_path / "t.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    found = [row["x"] for row in rows]
    assert found[-2:] == ["-0.25", "-1 -2"]
    assert {row["y"] for row in rows} == {"-1.5"}
    assert {"'=1+1", "'+x", "'-x", "'@cmd", "'- item"} <= set(found)
    assert [name.removeprefix("'") for name in found[:-2]] == names


TEXTS = [text for text in NASTY if text.strip() and "\ud800" not in text]


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory):
    """(Markdown, HTML) of sweeps with each text as a key, a value, a metric and a message."""

    def compared(text, values):
        folder = tmp_path_factory.mktemp("sweep")
        for number, value in enumerate(values):  # one that is not finite is not drawn
            facts = {"status": FINISHED, "seconds": 2.0, "monitor": f"val/{text}", "command": text}
            keys = {"experiment": text, text: TEXTS[number - 1] if number else "gru", "seed": "0"}
            report.write_metrics(folder / str(number), {f"val/{text}": value})
            note_job(folder, Job(number, keys, folder=str(number), **facts))
        note_job(folder, Job(len(values), {"cell": text}, status=FAILED, message=text))
        path = write_comparison(folder, read_jobs(folder), command=f"python -m seqpipe {text}")
        return path.read_text(), path.with_suffix(".html").read_text()

    drawn = [("$\\frac{$", compared("$\\frac{$", range(len(TEXTS) + 1)))]
    return drawn + [(text, compared(text, [1.0, math.nan])) for text in TEXTS]


def test_the_page_of_a_sweep_shows_the_text_and_obeys_nothing_in_it(sweeps):
    reader = MarkdownIt("gfm-like", {"linkify": False, "html": True})
    for text, (markdown, page) in sweeps:
        rendered = reader.render(markdown)
        for made in (rendered, page.partition("<main>")[2]):
            assert not STEERING.search(made), text
            assert not re.search(r"<(b|script|em|s|blockquote|ul)\b", made), text
            assert set(re.findall(r"<strong>(.*?)</strong>", made)) <= {"best"}, text
            ours = r"#s\d|\d+/report\.html|figures/\w+\.png|data:image/png"
            assert not re.search(rf'(src|href)="(?!{ours})', made), text
            cells = [html.unescape(cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", made)]
            assert visible(" ".join(text.split())) in cells, text
            short = " ".join(html.unescape(re.sub("<.*?>", "", made)).split())
            assert f"By {visible(' '.join(f'val/{text}'.split()))}, " in short, text
