"""Many processes start at once where nothing exists yet: no store, no cache, no folder of runs."""

import csv
import json
import os
from pathlib import Path

import pytest
from mlflow import MlflowClient

from seqpipe.records import SEALS

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")]

COUNT = 8
TYPED = (
    *("data=table", "data.path=texts.csv", "data.x.column=text", "data.y.column=label"),
    *("hidden_size=8", "data.batch_size=16", "trainer.max_epochs=1", "trainer.accelerator=cpu"),
    *("trainer.enable_progress_bar=false", "trainer.log_every_n_steps=1", "preflight=none"),
    *("diagnostics=none", "baselines=false", "data.source.valid=0.3", "data.source.test=0.3"),
)
TOGETHER = """
import os, sys
from seqpipe import cli
count, typed = int(sys.argv[1]), sys.argv[2:]
waiting, start = os.pipe()
children = []
for seed in range(count):
    children.append(os.fork())
    if children[-1] == 0:
        os.close(start)
        os.read(waiting, 1)  # until all are there
        sys.argv = ["seqpipe", *typed, f"seed={seed}"]
        code = cli.main()
        sys.stdout.flush()
        os._exit(code)
os.close(start)
print([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
"""


def artifacts_of(client, run_id, folder=None) -> set[str]:
    found: set[str] = set()
    for entry in client.list_artifacts(run_id, folder):
        found |= artifacts_of(client, run_id, entry.path) if entry.is_dir else {entry.path}
    return found


def test_eight_processes_that_start_at_once_leave_eight_complete_runs(warm, tmp_path):
    with (tmp_path / "texts.csv").open("w") as file:
        rows = [(f"{'good' if k % 3 else 'bad'} text {k % 7}", k % 3 > 0) for k in range(120)]
        csv.writer(file).writerows([("text", "label"), *rows])
    done = warm.run(TOGETHER, str(COUNT), *TYPED, cwd=tmp_path)
    assert f"[{', '.join(['0'] * COUNT)}]" in done.stdout, done.stderr
    assert "cannot be written" not in done.stderr
    assert "could not be recorded" not in done.stderr

    folders = sorted((tmp_path / "outputs" / "runs").iterdir())
    assert len(folders) == COUNT
    # Of those that started in the same second, all but one have a number.
    assert any(folder.name[-2:] in ("-2", "-3") for folder in folders)
    client = MlflowClient(f"sqlite:///{tmp_path}/outputs/mlflow.db")
    experiment = client.get_experiment_by_name("table")
    runs = client.search_runs([experiment.experiment_id])
    assert {run.data.tags["folder"] for run in runs} == {str(folder) for folder in folders}
    assert {run.data.params["seed"] for run in runs} == {str(seed) for seed in range(COUNT)}
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert len({frozenset(run.data.params) for run in runs}) == 1
    for run in runs:
        folder = Path(run.data.tags["folder"])
        metrics = json.loads((folder / "metrics.json").read_text())
        known = {name: value for name, value in metrics.items() if value is not None}
        assert "test/accuracy" in known
        assert {name: run.data.metrics[name] for name in known} == pytest.approx(known)
        files = {path.relative_to(folder).as_posix() for path in folder.rglob("*.*")}
        files -= {"checkpoints/last.ckpt"}
        assert {"config.yaml", "report.html", "checkpoints/best.ckpt"} <= files
        assert files <= {*artifacts_of(client, run.info.run_id)}
        assert len(client.get_metric_history(run.info.run_id, "val/loss")) == 1
        assert {one.tags[0].value for one in run.inputs.dataset_inputs} == {"train", "val", "test"}
    # The data was prepared once, and no process left a part of it.
    kept = [path for path in (tmp_path / "data" / "prepared").iterdir() if path.is_dir()]
    assert len(kept) == 1
    assert not list(tmp_path.rglob(".new-*"))
    assert len((tmp_path / SEALS).read_text().split()) == COUNT
