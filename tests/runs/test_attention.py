"""A run with attention leaves a picture of it; others do not."""

import pytest

from seqpipe.report.examples import draw_attention
from seqpipe.runs import examples

SHORT = ["trainer.max_epochs=1", "preflight=none", "diagnostics=none"]


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["task.decoding=beam", "architecture.attention=general"],
        ["trainer.overfit_batches=1", "callbacks=none"],
    ],
)
def test_examples_are_drawn_with_the_names_of_their_steps(launch, monkeypatch, overrides):
    drawn = []

    def watched(path, shown, title):
        drawn.extend(shown)
        return draw_attention(path, shown, title)

    monkeypatch.setattr(examples, "draw_attention", watched)
    result = launch("dates", *SHORT, *overrides, painted=True)
    assert (result.output_dir / "figures" / "attention.png").stat().st_size > 5000
    assert "## Attention" in (result.output_dir / "report.md").read_text()
    assert len(drawn) == examples.SHOWN
    rows = (result.output_dir / "examples.csv").read_text()
    for looks in drawn:
        assert "".join(looks.x) in rows  # a test example, by characters
        assert looks.weights.shape == (len(looks.y), len(looks.x))
        assert looks.weights.sum(axis=1) == pytest.approx(1.0, abs=1e-5)


def test_a_model_without_attention_leaves_none(launch):
    result = launch("dates", *SHORT, "architecture.attention=none")
    assert not (result.output_dir / "figures" / "attention.png").exists()
    assert "## Attention" not in (result.output_dir / "report.md").read_text()
