"""Every data set runs end to end and leaves what the documentation promises."""

import csv
import json

import pytest
import torch
from omegaconf import OmegaConf

from seqpipe.config.compose import compose
from seqpipe.errors import ConfigError
from seqpipe.inference.model_format import ABOUT, FILES

FEW = (
    "trainer.max_epochs=1",
    "trainer.limit_train_batches=2",
    "trainer.limit_val_batches=1",
    "trainer.limit_test_batches=1",
)
DATA = {
    "digits": ("test/accuracy", "test/macro_f1", "test/f1/7"),
    "digits_flat": ("test/accuracy", "test/macro_f1", "test/f1/7"),
    "adding": ("test/mse", "test/mae"),
    "copy_memory": ("test/accuracy", "test/macro_f1"),
    "python_tokens": ("test/accuracy", "test/macro_f1"),
    "python_docs": ("test/perplexity", "test/bits_per_character"),
    "dates": ("test/exact_match", "test/error_rate"),
}
OPTIONS = {
    "python_tokens": ("data.source.files=6",),
    "python_docs": ("task.sample_length=30", "data.window=20"),
}


def files_of(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("data", DATA)
def test_every_data_set_runs_end_to_end_and_leaves_its_files(launch, data):
    # The pictures of two are painted: of classes, and of what a decoder wrote.
    result = launch(data, *FEW, *OPTIONS.get(data, ()), painted=data in ("digits", "dates"))
    folder = result.output_dir
    promised = {
        "config.yaml",
        "provenance.json",
        "metrics.json",
        "report.md",
        "report.html",
        "history.csv",
        "examples.csv",
        "figures/learning_curves.png",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
        *(f"model/data/seqpipe/{name}" for name in (ABOUT, *FILES)),
    }
    if any(name.endswith("macro_f1") for name in DATA[data]):
        promised |= {"figures/confusion_matrix.png", "per_class.csv"}
    if data != "digits_flat":  # it has no recurrence to look into
        promised |= {"gradients.parquet", "cells.parquet", "figures/gradient_through_time.png"}
        promised |= {"figures/gradient_over_training.png", "figures/inside_the_cells.png"}
    if data in ("python_docs", "dates"):
        promised |= {"loss_by_position.csv", "figures/loss_by_position.png"}
    if data == "dates":
        promised |= {"figures/attention.png"}
    if data == "python_docs":
        promised |= {"sample.txt"}
        assert len((folder / "sample.txt").read_text()) > 10
    assert files_of(folder) == promised
    assert all((folder / name).stat().st_size > 50 for name in promised - {"sample.txt"})
    metrics = json.loads((folder / "metrics.json").read_text())
    assert {*DATA[data], "test/loss", "val/loss"} <= set(metrics)
    with (folder / "examples.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert 1 <= len(rows) <= 100
    assert {"truth", "prediction"} <= set(rows[0])
    assert OmegaConf.load(folder / "config.yaml").data.batch_size == 16
    checkpoint = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)
    assert checkpoint["seqpipe"]["config"]["data"]["batch_size"] == 16
    for name in DATA[data]:
        assert f"| {name} |" in (folder / "report.md").read_text()


def test_the_page_says_what_the_curves_show_and_what_it_was_made_with(launch):
    result = launch("digits", *FEW, "trainer.max_epochs=2", "data.source.valid=0.2")
    page = (result.output_dir / "report.md").read_text()
    assert "`val/accuracy` is best at" in page
    assert "| training | " in page
    assert "| version.torch |" in page
    assert " predictions are right (" in page
    html = (result.output_dir / "report.html").read_text()
    assert html.count("<img ") == page.count("](figures/") >= 2
    assert str(result.output_dir) not in html + page
    with (result.output_dir / "history.csv").open() as file:
        points = [row for row in csv.DictReader(file) if row["metric"] == "val/loss"]
    assert [row["step"] for row in points] == ["2", "4"]


def test_words_are_counted_in_perplexity_and_not_in_bits(launch):
    words = ("data.by=words", "data.y.max_vocabulary=200", "data.window=20")
    result = launch("python_docs", *FEW, *words, "task.sample_length=5")
    assert "test/perplexity" in result.metrics
    assert "test/bits_per_character" not in result.metrics
    assert (result.output_dir / "sample.txt").read_text().strip()


def test_no_sample_is_written_where_none_is_wanted(launch):
    result = launch("python_docs", *FEW, "task.sample_length=0", "data.window=20")
    assert not (result.output_dir / "sample.txt").exists()


def test_the_closing_lines_say_what_ran_what_came_of_it_and_how_to_repeat_it(launch):
    result = launch("digits", *FEW, "cell=gru", "bidirectional=true")
    lines = dict(line.split(":", 1) for line in result.summary.splitlines())
    names = ["data", "model", "best epoch", "test", "baselines", "threads", "folder", "mlflow run"]
    assert list(lines) == [*names, "again", "advice"]  # it has seen few batches
    assert "train 1,439" in lines["data"]
    assert "parameters" in lines["model"]
    assert f"accuracy {result.metrics['test/accuracy']:.4g}" in lines["test"]
    assert "OMP_NUM_THREADS" in lines["threads"]
    assert lines["folder"].strip() == str(result.output_dir)
    assert "python -m seqpipe data=digits" in lines["again"]
    assert "cell=gru bidirectional=true" in lines["again"]


def test_a_second_run_in_the_same_second_gets_a_folder_of_its_own(launch):
    first, second, third = (launch("adding", *FEW, f"seed={seed}") for seed in (0, 1, 2))
    names = [result.output_dir.name for result in (first, second, third)]
    assert names == ["run", "run-2", "run-3"]
    for result in (first, second, third):
        kept = result.output_dir / "checkpoints"
        assert {path.name for path in kept.iterdir()} == {"best.ckpt", "last.ckpt"}
    assert OmegaConf.load(first.output_dir / "config.yaml").seed == 0
    assert OmegaConf.load(second.output_dir / "config.yaml").seed == 1
    assert files_of(first.output_dir) == files_of(second.output_dir)


@pytest.mark.parametrize(
    ("data", "override", "message"),
    [
        ("digits", "task.monitor=val/mse", "task.monitor=val/mse: .*no such metric"),
        ("digits", "task.mode=min", "task.mode=min: would treat a worse val/"),
        ("dates", "architecture.encoder.bidirectional=true", "architecture.attention=dot: .*wide"),
    ],
)
def test_a_refused_configuration_leaves_nothing(launch, tmp_path, data, override, message):
    more = ["architecture.attention=dot"] if data == "dates" else []
    with pytest.raises(ConfigError, match=message):
        launch(data, override, *more)
    assert list(tmp_path.iterdir()) == []


def test_the_configuration_that_was_saved_composes_the_same_run(launch):
    result = launch("adding", *FEW, "cell=gru", "depth=2")
    written = OmegaConf.load(result.output_dir / "config.yaml")
    again = result.summary.split("python -m seqpipe ")[1].splitlines()[0].split()
    cfg, _ = compose(again)
    assert OmegaConf.to_container(written) == OmegaConf.to_container(cfg, resolve=True)
