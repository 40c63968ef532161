"""run=best: only trainings that came to their end on whole splits compete."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from seqpipe.config.compose import compose
from seqpipe.errors import ConfigError
from seqpipe.runs.identity import part_of
from seqpipe.tracking.run_lookup import look_up_run
from seqpipe.tracking.run_record import RunRecord

PLAIN = {"task.monitor": "val/accuracy"}
WHOLE = {
    "trainer.overfit_batches": 0.0,
    "trainer.limit_train_batches": 1.0,
    "trainer.limit_val_batches": 1.0,
    "trainer.limit_test_batches": 1.0,
}
PARTS = {
    "a tag": ("trainer.limit_val_batches=3", {"partial": "trainer.limit_val_batches=3"}, {}),
    **{
        value: (f"trainer.{value}", {}, dict([f"trainer.{value}".split("=")]))
        for value in (
            *("overfit_batches=1", "limit_train_batches=0.5", "limit_val_batches=3"),
            *("limit_test_batches=1", "fast_dev_run=true"),
        )
    },
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
    assert part_of(cfg, data) == part


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
        facts = {**a_run, "run_name": name, "params": PLAIN, **facts}
        tracker.start(**facts)
        tracker.log_metrics({"best/val/accuracy": best, "val/accuracy": last}, 1)
        if status != "RUNNING":
            tracker.end(status)
        return tracker.run_id

    return made


@pytest.mark.parametrize(("setting", "tags", "params"), PARTS.values(), ids=PARTS)
def test_a_run_on_a_part_of_a_split_is_never_the_best(look, record, setting, tags, params):
    here = f"only {setting}{len(tags)}"
    common = {"experiment": here}
    part = record("part", "FINISHED", 1, 1, tags=tags, params=PLAIN | params, **common)
    for status in ("FAILED", "KILLED", "RUNNING"):
        record(status, status, 1, 1, **common)
    with pytest.raises(ConfigError) as caught:
        look("best", here)
    assert caught.value.problems == [
        f"run=best: no run trained and tested on whole splits: {part[:8]} ({setting}); not "
        f"finished: 1 failed, 1 killed, 1 running; allowed: train one first, or name one of them,"
        f" run={part[:8]}"
    ]
    assert look("latest", here).name == "part"
    record("whole", "FINISHED", 0.2, 0.2, params=PLAIN | WHOLE, **common)
    assert look("best", here).name == "whole"


def test_the_best_is_that_of_the_kept_weights_also_in_older_records(look, record, make_tracker):
    for name, best, last in (("good", 0.9, 0.1), ("fair", 0.5, 0.5)):
        record(name, "FINISHED", best, last, experiment="kept")
    assert look("best", "kept").name == "good"
    assert look("best", "kept", metric="best/val/accuracy").name == "good"
