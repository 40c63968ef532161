"""One name, one number, one step: in the history, the tracker, metrics.json and the last lines."""

import csv
import json
import re

import pytest

PLAIN = ["trainer.max_epochs=3", "scheduler=none", "logger=csv", "preflight=none"]
PLAIN += ["diagnostics=none", "optim=sgd", "optim.lr=0.5"]


def rows_of(path) -> list[tuple[str, int, float]]:
    with path.open(newline="", encoding="utf-8") as file:
        return [(r["metric"], int(r["step"]), float(r["value"])) for r in csv.DictReader(file)]


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["trainer.accumulate_grad_batches=3", "trainer.val_check_interval=2"],
        ["trainer.max_steps=6"],
        ["trainer.check_val_every_n_epoch=2"],
        ["callbacks=none"],
    ],
    ids=" ".join,
)
def test_every_place_has_the_same_value_at_the_same_update(launch, overrides):
    result = launch("adding", *PLAIN, *overrides)
    folder = result.output_dir
    logged = rows_of(folder / "metrics.csv")
    stages = ("train/", "val/", "grad_norm/window")
    for name, step, value in rows_of(folder / "history.csv"):
        if name.startswith(stages):
            # Within an update there may be more than one validation.
            near = {round(v, 6) for n, s, v in logged if (n, s) == (name, step)}
            assert near == {round(value, 6)}, (name, step)
    last = {name: value for name, _, value in logged}
    numbers = json.loads((folder / "metrics.json").read_text())
    for name, value in numbers.items():
        assert last[name] == pytest.approx(value, rel=1e-6), name
    if overrides != ["callbacks=none"]:
        (step,) = {s for n, s, _ in logged if n.startswith("best/")}
        series = {s: v for n, s, v in logged if n == "val/mse"}
        assert series[step] == pytest.approx(numbers["best/val/mse"])
    told = re.search(r"epoch: (\d+) \(([\w/]+) ([\d.e-]+)\)", result.summary)
    assert float(told[3]) == pytest.approx(numbers[told[2]], rel=1e-3)
    page = (folder / "report.md").read_text()
    for name in ("val/mse", told[2], "test/mse"):
        (shown,) = set(re.findall(rf"\| {name} \| ([\d.e-]+) \|", page))
        assert float(shown) == pytest.approx(numbers[name], rel=1e-3)


def test_epochs_are_counted_from_one_and_a_resumed_run_goes_on_with_its_steps(launch):
    first = launch("adding", *PLAIN, "trainer.max_epochs=2", folder="first")
    checkpoint = first.output_dir / "checkpoints" / "last.ckpt"
    second = launch("adding", *PLAIN, f"resume={checkpoint}", folder="second")
    steps, epochs = [], []
    for result in (first, second):
        rows = rows_of(result.output_dir / "metrics.csv")
        validated = [s for n, s, _ in rows if n == "val/mse"]
        steps += validated
        epochs += sorted({(s, v) for n, s, v in rows if n == "epoch" and s in validated})
    assert steps == [4, 8, 12]
    assert [epoch for step, epoch in epochs if step in (4, 8, 12)] == [1.0, 2.0, 3.0]
