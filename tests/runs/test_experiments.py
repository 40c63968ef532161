"""Experiments that end in a comparison; that all are accepted is tested with the options."""

import json
import re

import pytest
from matplotlib.image import imread

from forking import SEQPIPE

LITTLE = (
    *("data.source.train=20", "data.source.valid=10", "data.source.test=10", "hidden_size=8"),
    *("trainer.max_epochs=1", "trainer.enable_progress_bar=false", "trainer.accelerator=cpu"),
    *("logger=none", "trainer.log_every_n_steps=1"),
)


def page_named_in(printed: str) -> str:
    """The page that the closing lines of a sweep name."""
    (line,) = [line for line in printed.splitlines() if line.startswith("comparison: ")]
    return line.removeprefix("comparison: ")


def _run(warm, folder, *overrides):
    done = warm.run(SEQPIPE, *overrides, *LITTLE, cwd=folder)
    page = folder / page_named_in(done.stdout)
    return done, page


def _table(page, heading):
    section = page.with_suffix(".md").read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    head, _, *lines = [line for line in section.splitlines() if line.startswith("|")]
    names = [cell.strip() for cell in head.strip("|").split("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [dict(zip(names, row, strict=True)) for row in cells]


@pytest.mark.slow
def test_vanishing_ends_in_a_table_and_a_figure_of_every_cell_and_length(warm, tmp_path):
    done, page = _run(warm, tmp_path, "experiment=vanishing", "data.length=5,7")
    assert done.returncode == 0, done.stderr
    rows = _table(page, "Gradients")
    assert [(row["data.length"], row["cell"]) for row in rows] == [
        (length, cell) for length in ("5", "7") for cell in ("rnn", "gru", "lstm")
    ]
    for row in rows:
        assert 0 < float(row["horizon, steps"]) <= int(row["data.length"])
        assert row["gradient"] in ("vanishing", "healthy", "exploding")
        assert float(row["test/mse"].replace(",", "")) > 0.01
        assert row["solved"] == "no"
    assert imread(page.parent / "figures" / "gradients.png").shape[0] > 500
    assert page.read_text().count("<img ") == 1
    links = re.findall(r'<a href="(\d/[^"]+)"', page.read_text())
    assert len(links) == 6
    assert all((page.parent / link).is_file() for link in links)


@pytest.mark.slow
def test_exploding_ends_in_a_table_and_a_figure_of_every_way_to_clip(warm, tmp_path):
    done, page = _run(warm, tmp_path, "experiment=exploding", "data.length=5")
    assert done.returncode == 0, done.stderr
    rows = _table(page, "Exploding gradients")
    assert [row["trainer"] for row in rows] == ["unclipped", "clip_value", "clip_norm"]
    assert all(float(row["largest norm"].replace(",", "")) > 0 for row in rows)
    assert (page.parent / "figures" / "clipping.png").is_file()
    assert "<strong>best</strong>" in page.read_text()


FEW = (
    *("cell=rnn,gru", "seed=0,1", "match_parameters=2000", "match_parameters_count=recurrent"),
    *(f"trainer.limit_{stage}_batches=1" for stage in ("train", "val", "test")),
    *("trainer.max_epochs=1", "trainer.enable_progress_bar=false", "trainer.accelerator=cpu"),
    *("logger=none", "diagnostics=none", "preflight=none", "trainer.log_every_n_steps=1"),
)


@pytest.mark.slow
def test_cells_ends_in_means_over_seeds_for_each_task_that_has_its_data(warm, tmp_path):
    done = warm.run(SEQPIPE, "experiment=cells", *FEW, cwd=tmp_path)
    assert done.returncode == 2, done.stderr  # there are no files of the music
    assert "data.path=null: there are no files to read" in done.stderr
    page = tmp_path / page_named_in(done.stdout)
    rows = _table(page, "Comparison")
    assert [(row["on"], row["setting"], row["seeds"]) for row in rows] == [
        (task, cell, "2") for task in ("memory", "language") for cell in ("rnn", "gru")
    ]
    found = {}
    for note in (page.parent / "jobs").glob("*.json"):
        job = json.loads(note.read_text())
        if job["status"] != "finished":
            assert job["overrides"]["experiment.cells"] == "music"
            continue
        metrics = json.loads((page.parent / job["folder"] / "metrics.json").read_text())
        key = (job["overrides"]["experiment.cells"], job["overrides"]["cell"])
        name = "test/mse" if key[0] == "memory" else "test/loss"
        found.setdefault(key, []).append(metrics[name])
    for row in rows:
        values = found[row["on"], row["setting"]]
        assert len(values) == 2
        assert float(row["mean"]) == pytest.approx(sum(values) / 2, rel=1e-3)
        assert int(row["parameters"].replace(",", "")) > 1500
    text = page.with_suffix(".md").read_text()
    assert "Not drawn, for lack of a result: 4 of 12 runs (4: " in text
    assert imread(page.parent / "figures" / "means.png").shape[0] > 200
