"""Class names and words that would steer a terminal or a page, through whole commands."""

import re

STEERING = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
NASTY = ("[/red]", "[bold]x", "$\\frac{$", "\x1b[31mred", "\u202eevil", "<b>", "a|`b`", "=1+1")


def test_any_class_name_goes_through_describing_training_and_the_page(launch, tmp_path, capfd):
    rows = "".join(f"w{k % 5} {NASTY[k % 8]},{NASTY[k % 8]}\n" for k in range(96))
    (tmp_path / "t.csv").write_text(f"text,label\n{rows}", encoding="utf-8")
    typed = ["table", f"data.path={tmp_path}/t.csv", "data.cache=null", "logger=csv"]
    described = launch(*typed, folder="look", painted=True, command="describe")
    trained = launch(*typed, "trainer.max_epochs=1", "diagnostics=none", painted=True)
    out, err = capfd.readouterr()
    shown = f"{described.summary} {out} {err}"
    assert not STEERING.search(shown)
    assert all(name in shown for name in ("[/red]", "[bold]x", r"\x1b[31mred", r"\u202eevil"))
    pages = [described.output_dir / "data.md", trained.output_dir / "report.md"]
    pages.append(trained.output_dir / "report.html")
    for page in pages:
        assert not STEERING.search(page.read_text(encoding="utf-8"))
    assert "<td>test/f1/&lt;b&gt;</td>" in pages[-1].read_text(encoding="utf-8")
    assert (trained.output_dir / "figures" / "confusion_matrix.png").stat().st_size > 5_000
    examples = (trained.output_dir / "examples.csv").read_text(encoding="utf-8")
    assert not re.search(r"(^|,)=1\+1", examples, flags=re.MULTILINE)
