"""The page about a run, as Markdown and as one HTML file."""

import base64
import re
from html.parser import HTMLParser

import pytest

from seqpipe.files import write_text
from seqpipe.report.curves import draw_curves
from seqpipe.report.findings import Finding
from seqpipe.report.html import to_html
from seqpipe.report.markdown import link, table
from seqpipe.report.page import write_report

HOSTILE = "<script>alert(1)</script> ![x](http://there/x.png) [y](javascript:1) a|b </td> <EOS>"


class Reader(HTMLParser):
    """What a browser would see: every tag with its attributes, and the text."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text, self.open = [], "", []
        self.feed(page)
        assert self.open == [], "every tag is closed"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.text += data


@pytest.fixture
def written(tmp_path):
    """Markdown and HTML of a run with everything."""
    draw_curves(tmp_path, {"val/loss": [(3, 1.0)]})
    write_text(tmp_path / "figures" / "flow.png", "picture")
    path = write_report(
        tmp_path,
        title="digits lstm",
        command="python -m seqpipe cell=lstm 'data.path=a b'",
        numbers=[("test/accuracy", "0.9877", ""), ("best epoch", "3", "val/loss 1")],
        data={"train": 1200, "kind": "a|b"},
        model=[{"part": "stack", "parameters": 123}],
        metrics={"test/perplexity": 1234.5, "test/accuracy": 0.98765, "test/mse": 0.0000123},
        findings=[
            Finding(
                "Through time", "**Vanishing**: `h_1` gets nothing.", "flow.png", (), "Gradients"
            ),
            Finding("Learning curves", "Best at 3.", "learning_curves.png", (), "Learning curves"),
            Finding("Train for longer", "It may help.", group="Advice"),
            Finding("By position", "It rises.", None, [{"t": 1, "loss": 0.5}], "Free running"),
        ],
        examples=[{"x": f"x{k}", "y": HOSTILE, "correct": k % 10 != 0} for k in range(20)],
        sample="some ``` <b>text</b>",
        versions={"version.torch": "2.13.0"},
    )
    assert path == tmp_path / "report.md"
    return path.read_text(), path.with_suffix(".html").read_text()


def test_both_pages_begin_with_the_command_that_repeats_the_run(written):
    markdown, page = written
    assert markdown.startswith(
        "# digits lstm\n\n```sh\npython -m seqpipe cell=lstm 'data.path=a b'\n```\n"
    )
    assert Reader(page).text.split()[:9] == [
        *(
            "digits",
            "lstm",
            "digits",
            "lstm",
            "python",
            "-m",
            "seqpipe",
            "cell=lstm",
            "'data.path=a",
        )
    ]


def test_both_pages_have_the_same_sections_in_the_order_they_are_read(written):
    markdown, page = written
    sections = [
        *("Data", "Model", "Learning curves", "Gradients", "Free running", "Examples"),
        *("A sample", "Advice", "Metrics", "Made with"),
    ]
    assert re.findall(r"^## (.*)", markdown, flags=re.MULTILINE) == sections
    assert re.findall(r"<h2[^>]*>(.*?)</h2>", page) == sections
    linked = {attrs["href"] for tag, attrs in Reader(page).tags if tag == "a"}
    assert linked == {f"#s{k}" for k in range(len(sections))}


def test_the_pages_hold_the_numbers(written):
    markdown, page = written
    rows = ["| train | 1200 |", r"| kind | a\|b |", "| stack | 123 |", "| test/accuracy | 0.9877 |"]
    rows += ["| test/mse | 1.23e-05 |", "| test/perplexity | 1,234.5 |", "| t | loss |"]
    assert [row for row in rows if row not in markdown] == []
    text = " ".join(Reader(page).text.split())
    for cells in ("best epoch 3 val/loss 1", "test/perplexity 1,234.5", "version.torch 2.13.0"):
        assert cells in text


def test_each_picture_stands_below_its_sentence_and_inside_the_file(written, tmp_path):
    markdown, page = written
    order = [
        "### Through time",
        "**Vanishing**: `h_1` gets",
        "![flow](figures/flow.png)",
        "## Free",
    ]
    assert sorted(order, key=markdown.index) == order
    shown = [attrs["src"] for tag, attrs in Reader(page).tags if tag == "img"]
    files = [tmp_path / "figures" / name for name in ("learning_curves.png", "flow.png")]
    assert shown == [
        "data:image/png;base64," + base64.b64encode(file.read_bytes()).decode() for file in files
    ]
    assert "<strong>Vanishing</strong>: <code>h_1</code> gets nothing." in page


def test_a_picture_that_nobody_speaks_of_is_shown_too(tmp_path):
    draw_curves(tmp_path, {})
    page = write_report(tmp_path, title="t", command="c", data={}, model=[], metrics={})
    assert "## More figures" in page.read_text()
    assert "<img" in page.with_suffix(".html").read_text()


def test_nothing_in_the_file_comes_from_outside_or_runs(written):
    seen = Reader(written[1])
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in seen.tags}
    for _, attrs in seen.tags:
        assert not [name for name in attrs if name.startswith("on")]
        assert attrs.get("src", "data:").startswith("data:")
        assert attrs.get("href", "#").startswith("#")
    assert not re.search(r"url\(|@import", written[1])


def test_text_of_the_users_data_is_text(written):
    markdown, page = written
    assert Reader(page).text.count(HOSTILE) == 7  # five right, two wrong
    assert "<script" not in page
    assert "some ``` <b>text</b>" in Reader(page).text
    escaped = re.sub(r"[<|[]", r"\\\g<0>", HOSTILE)
    assert markdown.count(f"| {escaped} |") == 7


def test_text_of_a_finding_brings_no_tags_and_no_pictures(tmp_path):
    findings = [Finding("<i>a</i>", HOSTILE)]
    page = write_report(
        tmp_path, title="<b>", command="c", data={}, model=[], metrics={}, findings=findings
    ).with_suffix(".html")
    tags = {tag for tag, _ in Reader(page.read_text()).tags}
    assert not {"script", "img", "b", "i", "a"} - {"a"} & tags
    assert 'href="javascript' not in page.read_text()


def test_a_few_examples_right_and_wrong_are_shown(written):
    right, wrong = written[0].split("### Right")[1].split("### Wrong")
    assert re.findall(r"\| x(\d+) ", right) == ["1", "2", "3", "4", "5"]
    assert re.findall(r"\| x(\d+) ", wrong) == ["0", "10"]


def test_a_sample_cannot_break_out_of_its_frame(written):
    assert "## A sample\n\n````text\nsome ``` <b>text</b>\n````\n" in written[0]


def test_a_page_without_examples_or_sample_has_no_empty_parts(tmp_path):
    page = write_report(
        tmp_path, title="t", command="c", data={"a": 1}, model=[{"b": 2}], metrics={"m": 1.0}
    ).read_text()
    assert re.findall(r"^## (.*)", page, flags=re.MULTILINE) == ["Data", "Model", "Metrics"]


def test_the_test_is_told_first_and_single_layers_only_where_they_have_tables(tmp_path):
    names = ["best/mse", "gradient/horizon", "test/mse", "val/loss", "grad_norm/total"]
    layers = ["gradient/encoder.0.forwards/horizon", "cell/encoder.0.forwards/memory"]
    metrics = dict.fromkeys([*names, *layers], 1.0)
    path = write_report(tmp_path, title="t", command="c", data={}, model=[], metrics=metrics)
    section = path.read_text().split("## Metrics\n")[1]
    assert re.findall(r"^\| (\S+/\S+) ", section, flags=re.MULTILINE) == [
        *("test/mse", "val/loss", "best/mse", "grad_norm/total", "gradient/horizon")
    ]
    line = "`metrics.json` has 2 more: `gradient/` and `cell/` for each layer."
    assert line in section


def test_columns_of_numbers_are_flush_right_and_long_text_has_room(tmp_path):
    markdown = table([{"a": 1.5, "b": "x"}, {"a": "", "b": link("2 <", "2 <")}, {"b": "y" * 61}])
    assert markdown.splitlines()[:2] == ["| a | b |", "| ---: | --- |"]
    assert r"|  | [2 \<](2%20%3C) |" in markdown
    page = to_html(markdown, tmp_path)
    cells = re.findall(r"<t[hd].*?</t[hd]>", page)
    assert cells[:3] == ['<th class="number">a</th>', "<th>b</th>", '<td class="number">1.5</td>']
    assert cells[5] == '<td><a href="2%20%3C">2 &lt;</a></td>'
    assert cells[7].startswith('<td class="long">yyy')


def test_a_picture_is_shown_only_from_the_figures_of_the_page(tmp_path):
    for place in ("figures/a b.png", "secret.png"):
        write_text(tmp_path / place, "picture")
    there = ["figures/a%20b.png", "figures/none.png", "secret.png", "figures/../secret.png"]
    there += [str(tmp_path / "secret.png"), "http://e/x.png"]
    page = to_html("\n\n".join(f"![one {place}]({place})" for place in there), tmp_path)
    shown = [attrs["alt"] for tag, attrs in Reader(page).tags if tag == "img"]
    assert shown == ["one figures/a%20b.png"]
    assert "<figure>one figures/none.png</figure>" in page
