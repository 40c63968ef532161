"""run=best: only trainings that came to their end on whole splits compete."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from seqpipe.config.compose import compose
from seqpipe.errors import ConfigError
from seqpipe.runs.identity import partial_setting
from seqpipe.tracking import run_lookup
from seqpipe.tracking.run_lookup import look_up_run
from seqpipe.tracking.run_record import RunRecord

PLAIN = {"task.monitor": "val/accuracy"}
WHOLE = {
    "trainer.overfit_batches": "0.0",
    "trainer.limit_train_batches": "1.0",
    "trainer.limit_val_batches": "1.0",
    "trainer.limit_test_batches": "1.0",
}


@pytest.mark.parametrize(
    ("typed", "part"),
    [
        ([], None),
        (["trainer=debug"], "trainer.limit_train_batches=5"),
        (["trainer=overfit"], "trainer.overfit_batches=1"),
        (["trainer.limit_val_batches=0.5"], "trainer.limit_val_batches=0.5"),
        (["trainer.limit_val_batches=1"], "trainer.limit_val_batches=1"),
        (["trainer.limit_test_batches=9"], "trainer.limit_test_batches=9"),
        (["trainer.limit_test_batches=10"], None),  # no split of 10 has more batches
        (["trainer.max_steps=3"], None),
    ],
)
def test_a_run_notes_whether_it_sees_whole_splits(typed, part):
    cfg, _ = compose(["data=adding", *typed])
    data = SimpleNamespace(sizes={"train": 40, "valid": 10, "test": 10})
    assert partial_setting(cfg, data) == part


@pytest.fixture
def look(store_root, client) -> Callable[..., RunRecord]:
    def found(run: str, experiment: str, **options) -> RunRecord:
        better = lambda name: "max" if "accuracy" in name else "min"  # noqa: E731
        options = {"tracking_uri": "sqlite:///outputs/mlflow.db", **options}
        return look_up_run(run, root=store_root, better=better, experiment=experiment, **options)

    return found


@pytest.fixture
def record(make_tracker, a_run, client) -> Callable[..., str]:
    def made(name: str, status: str, best: float, last: float, **facts) -> str:
        tracker = make_tracker()
        facts = {**a_run, "run_name": name, "experiment": "parts", "params": PLAIN, **facts}
        tracker.start(**facts)
        tracker.log_metrics({"best/val/accuracy": best, "val/accuracy": last}, 1)
        if status != "RUNNING":
            tracker.end(status)
        return tracker.run_id

    return made


@pytest.mark.parametrize(
    ("tags", "params", "setting"),
    [
        ({"partial": "trainer.limit_val_batches=3"}, {}, "trainer.limit_val_batches=3"),
        ({"partial": "no"}, {"trainer.fast_dev_run": "true"}, None),
        *(
            ({}, {**WHOLE, **dict([setting.split("=")])}, setting)
            for setting in (
                *("trainer.overfit_batches=1", "trainer.limit_train_batches=0.5"),
                *("trainer.limit_val_batches=3", "trainer.limit_test_batches=1"),
                "trainer.fast_dev_run=true",
            )
        ),
        ({}, {**WHOLE, "trainer.fast_dev_run": "false"}, None),
        ({}, {"trainer.limit_val_batches": "null"}, None),
    ],
)
def test_the_setting_that_limited_a_run_follows_from_its_tag_or_its_params(tags, params, setting):
    run = SimpleNamespace(data=SimpleNamespace(tags=tags, params=params))
    assert run_lookup._partial_setting(run) == setting


def test_a_run_on_a_part_of_a_split_is_never_the_best(look, record):
    part = record("part", "FINISHED", 1, 1, params={**PLAIN, "trainer.limit_val_batches": "3"})
    for status in ("FAILED", "KILLED", "RUNNING"):
        record(status, status, 1, 1)
    with pytest.raises(ConfigError) as caught:
        look("best", "parts")
    assert caught.value.problems == [
        f"run=best: no run trained and tested on whole splits: {part[:8]} "
        "(trainer.limit_val_batches=3); not finished: 1 failed, 1 killed, 1 running; allowed: "
        f"train one first, or name one of them, run={part[:8]}"
    ]
    assert look("latest", "parts").name == "part"
    record("whole", "FINISHED", 0.2, 0.2, params=PLAIN | WHOLE)
    assert look("best", "parts").name == "whole"


def test_the_best_is_that_of_the_kept_weights(look, record):
    for name, best, last in (("good", 0.9, 0.1), ("fair", 0.5, 0.5)):
        record(name, "FINISHED", best, last, experiment="kept")
    assert look("best", "kept").name == "good"
    assert look("best", "kept", metric="best/val/accuracy").name == "good"
