"""task.monitor=auto chooses the metric by the training split, before anything else reads it."""

import json

import numpy as np
import pytest
import yaml

from seqpipe.bounds import AUTO
from seqpipe.data.base import FieldSpec
from seqpipe.errors import ConfigError
from seqpipe.tasks.class_weights import chosen_monitor
from seqpipe.tasks.classification import Classification
from seqpipe.tasks.tagging import Tagging

QUICK = ("preflight=none", "diagnostics=none", "data.cache=null", "trainer.max_epochs=1")


def counted(*counts, kind="category", **more):
    names = tuple(f"c{n}" for n in range(len(counts)))
    return FieldSpec(kind, len(counts), names, counts=np.array(counts), **more)


@pytest.mark.parametrize(
    ("counts", "metric"),
    [
        ((50, 50), "accuracy"),
        ((75, 25), "accuracy"),
        ((77, 23), "macro_f1"),
        ((77, 23, 0), "macro_f1"),  # a class that does not occur balances nothing
        ((10, 9, 8, 30), "accuracy"),
        ((64, 14, 9, 8, 5), "macro_f1"),
        ((7, 0), "accuracy"),
    ],
)
def test_the_entropy_of_the_classes_decides(counts, metric):
    chosen, why = chosen_monitor(AUTO, counted(*counts))
    assert chosen == f"val/{metric}"
    assert why
    assert Classification(y=counted(*counts)).monitor == chosen
    assert Tagging(y=counted(*counts, kind="tags")).monitor == chosen


def test_spans_and_a_metric_that_is_given_go_first():
    spans = FieldSpec("tags", 3, ("B-X", "I-X", "O"), scheme="bio", counts=np.array([1, 1, 98]))
    assert Tagging(y=spans).monitor == "val/entity_f1"
    given = Classification(y=counted(99, 1), monitor="val/accuracy")
    assert (given.monitor, given.why_monitored) == ("val/accuracy", "")
    with pytest.raises(ConfigError, match="wrong form"):
        Classification(y=counted(99, 1), monitor="auto/accuracy")


def table(path, share):
    rows = [{"text": f"a{n} b", "label": "yes" if n % 100 < share else "no"} for n in range(200)]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def config_of(result):
    return yaml.safe_load((result.output_dir / "config.yaml").read_text())


def test_a_run_records_the_choice_and_every_callback_follows_it(launch, tmp_path, capsys):
    rare = table(tmp_path / "in.jsonl", 10)
    data = ("table", f"data.path={rare}", "data.x.min_count=1", *QUICK)
    result = launch(*data)
    config = config_of(result)
    monitors = [config["task"]["monitor"], *(c["monitor"] for c in config["callbacks"].values())]
    assert monitors == ["val/macro_f1"] * 3
    assert "best/val/macro_f1" in result.metrics
    assert "monitor: val/macro_f1, because the classes are unbalanced" in capsys.readouterr().err
    last = result.output_dir / "checkpoints" / "last.ckpt"
    resumed = launch(*data[:-1], "trainer.max_epochs=2", f"resume={last}")
    assert config_of(resumed)["task"]["monitor"] == "val/macro_f1"
    typed = launch(*data, "task.monitor=val/accuracy")
    assert config_of(typed)["task"]["monitor"] == "val/accuracy"
