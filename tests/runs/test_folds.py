"""Cross-validation as the command line starts it: a run for each fold, and all of them pooled."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from forking import SEQPIPE
from seqpipe.config.commandline import check
from seqpipe.data.base import SequenceBatch
from seqpipe.data.kinds import FieldSpec
from seqpipe.inference.evaluation import Evaluation
from seqpipe.report.fold_comparison import FoldGroup, Pooled, best_group
from seqpipe.report.sweep_jobs import FINISHED, Job
from seqpipe.tasks.classification import Classification

TABLE = [
    f"{'good' if i % 3 else 'bad'} w{i} w{i % 5},{'ab'[i % 3 == 0]},p{i % 4}" for i in range(30)
]
SMALL = (
    *("data=table", "data.path=all.csv", "data.x.column=text", "data.y.column=label"),
    *("data.batch_size=8", "hidden_size=4", "trainer.max_epochs=1", "trainer.accelerator=cpu"),
    *("trainer.enable_progress_bar=false", "trainer.log_every_n_steps=1", "logger=none"),
    "preflight=none",
)
# A thousand samples take longer than to train a fold.
QUICKLY = "import seqpipe.runs.folds\nseqpipe.runs.folds._RESAMPLES = 20\n" + SEQPIPE
BREAKS = """
import pytorch_lightning

class InFold(pytorch_lightning.Callback):
    def __init__(self, fold: int, kind: str) -> None:
        self.fold, self.kind = fold, kind

    def on_train_epoch_end(self, trainer, module) -> None:
        if module.saved_config["config"]["fold"] == self.fold:
            raise {"error": RuntimeError, "interrupt": KeyboardInterrupt}[self.kind]("broken")
"""


@pytest.fixture(scope="module")
def folds_in(warm):
    """folds_in(folder, "folds=3"): the process, and what it says of the folds, of a table there."""

    def run(folder, *typed, code=QUICKLY):
        (folder / "all.csv").write_text("\n".join(["text,label,who", *TABLE]) + "\n")
        (folder / "breaks.py").write_text(BREAKS)
        done = warm.run(code, *typed, *SMALL, cwd=folder)
        found = sorted((folder / "outputs" / "sweeps").glob("*/folds.json"))
        return done, json.loads(found[-1].read_text()) if found else None

    return run


@pytest.fixture
def folds(folds_in, tmp_path):
    """folds("folds=3"): as `folds_in`, in the test's own folder."""
    return lambda *typed: folds_in(tmp_path, *typed, "baselines=false")


@pytest.fixture(scope="module")
def three(folds_in, tmp_path_factory):
    """The folder, the process and the folds of three folds."""
    folder = tmp_path_factory.mktemp("three")
    done, (found,) = folds_in(folder, "folds=3", code=SEQPIPE)
    assert done.returncode == 0, done.stderr
    return folder, done, found


def _sweep(folder):
    (sweep,) = (folder / "outputs" / "sweeps").iterdir()
    return sweep


def _metrics(sweep, number):
    return json.loads((sweep / str(number) / "metrics.json").read_text())


def test_one_command_trains_a_run_for_each_fold_and_pools_their_answers(three):
    folder, done, found = three
    sweep = _sweep(folder)
    each = [_metrics(sweep, k) for k in range(3)]
    pooled = found["pooled"]
    assert (found["folds"], found["finished"], pooled["examples"]) == (3, 3, 30)
    for name in ("loss", "accuracy"):  # the folds are equally large
        mean = sum(metrics[f"test/{name}"] for metrics in each) / 3
        assert pooled["metrics"][name] == pytest.approx(mean, abs=1e-6)
        assert pooled["low"][name] <= pooled["metrics"][name] <= pooled["high"][name]
        assert found["of each fold"][name] == [metrics[f"test/{name}"] for metrics in each]
    errors = round(sum(10 * (1 - metrics["test/accuracy"]) for metrics in each))
    assert (pooled["errors"], pooled["decisions"]) == (errors, 30)
    lines = done.stdout.splitlines()
    places = [f"run {k + 1} of 3, fold {k}" for k in range(3)]
    assert [line.split(":")[0] for line in lines[:3]] == places
    title = f"3 of 3 folds finished, 30 records, each tested once, {errors} errors of 30"
    assert title in lines
    page = (sweep / "comparison.md").read_text()
    assert f"### {title}" in page
    assert "**best**" not in page, "folds are no candidates"
    assert done.stderr.count("what it is") == 1, "the model is shown once"
    assert done.stderr.count("monitor: ") == 1
    assert not list(sweep.glob("*/figures/gradient*")), "the probe is left out"


def test_terms_that_are_joined_measure_all_examples_as_one_evaluation_does():
    spec = FieldSpec("category", 3, names=("a", "b", "c"))
    task, generator = Classification(y=spec), torch.Generator().manual_seed(0)
    outputs, y = torch.randn(11, 3, generator=generator), torch.arange(11) % 3

    def evaluation(chosen):
        made, rows = Evaluation(task, [()] * len(chosen)), torch.tensor(chosen)
        index = torch.arange(len(rows))
        batch = SequenceBatch(None, None, y[rows], None, index)
        made.add(torch.nn.Identity(), batch, outputs[rows])
        return made

    parts = [evaluation(range(4)), evaluation(range(4, 11))]
    joined = Evaluation.of_terms(task, [part.terms() for part in parts], 11).results(0, 0.95)[0]
    whole = evaluation(range(11)).results(0, 0.95)[0]
    assert joined.examples == 11
    assert joined.metrics == pytest.approx(whole.metrics)
    means = [part.results(0, 0.95)[0].metrics["macro_f1"] for part in parts]
    assert joined.metrics["macro_f1"] != pytest.approx(np.mean(means)), "no mean over folds"
    other = {**parts[1].terms(), "more.total": np.zeros((7, 1))}
    with pytest.raises(ValueError, match="the metrics are not the same"):
        Evaluation.of_terms(task, [parts[0].terms(), other], 11)


def test_with_several_settings_and_seeds_everything_but_the_fold_is_kept_apart(folds, tmp_path):
    done, found = folds("-m", "folds=2", "cell=gru,rnn", "seed=1,2")
    assert done.returncode == 0, done.stderr
    assert [(g["overrides"]["cell"], g["overrides"]["seed"], g["finished"]) for g in found] == [
        ("gru", "1", 2), ("gru", "2", 2), ("rnn", "1", 2), ("rnn", "2", 2)
    ]  # fmt: skip
    sweep = _sweep(tmp_path)
    page = (sweep / "comparison.md").read_text()
    assert "### gru seed=1: 2 of 2 folds finished, 30 records, each tested once" in page
    repeats = page.split("## Repeats\n")[1].split("\n## ")[0]
    (row,) = (line for line in repeats.splitlines() if line.startswith("| gru"))
    pooled = [group["pooled"]["metrics"]["accuracy"] for group in found[:2]]
    assert row.startswith(f"| gru | 2 | {sum(pooled) / 2:.4g}")
    assert re.search(r"By the mean of `best/val/\w+` over the folds, [\d.]+, `\w+ seed=\d`", page)
    facts = [json.loads((sweep / "jobs" / f"{k}.json").read_text()) for k in range(4)]
    hashes = [fact["judged_on"] for fact in facts]
    assert hashes[:2] == hashes[2:], "the seed changes no fold"
    assert hashes[0] != hashes[1]
    assert _metrics(sweep, 0) != _metrics(sweep, 2)


def test_jobs_of_a_sweep_read_in_the_directions_that_auto_means(three):
    recorded = OmegaConf.load(_sweep(three[0]) / "0" / "config.yaml")
    assert recorded.bidirectional is True, "data=table has bidirectional=auto"


@pytest.mark.parametrize(("kind", "code"), [("error", 1), ("interrupt", 130)])
def test_a_fold_that_fails_is_said_and_the_others_count(folds, kind, code):
    broken = ("+callbacks.b._target_=breaks.InFold", "+callbacks.b.fold=1")
    done, (found,) = folds("folds=3", *broken, f"+callbacks.b.kind={kind}")
    assert done.returncode == code
    left = {"error": (3, 2, 20), "interrupt": (3, 1, 10)}[kind]
    assert (found["folds"], found["finished"], found["pooled"]["examples"]) == left
    text = f"{left[1]} of {left[0]} folds finished, {left[2]} records, each tested once"
    assert text in done.stdout
    assert ("1 of 3 jobs failed: #1" in done.stderr) == (kind == "error")


def test_a_fold_is_a_run_like_any_other(three, warm):
    folder = three[0]
    fold = _sweep(folder) / "1"
    again = warm.run(QUICKLY, "rerun", f"run={fold}", cwd=folder)
    assert again.returncode == 0, again.stderr + again.stdout
    assert "bit for bit" in again.stdout
    evaluate = ("evaluate", f"run={fold}", "log=false", "resamples=20")
    measured = warm.run(SEQPIPE, *evaluate, cwd=folder)
    assert measured.returncode == 0, measured.stderr
    accuracy = _metrics(fold.parent, 1)["test/accuracy"]
    assert re.search(rf"accuracy\s+│\s+{accuracy:.4g}\b", measured.stdout), measured.stdout
    whole = warm.run(SEQPIPE, *evaluate, "data.path=all.csv", cwd=folder)
    assert whole.returncode == 0, whole.stderr
    assert "records read: 30 of all.csv" in whole.stdout
    refused = warm.run(SEQPIPE, *evaluate, "data.fold=2", cwd=folder)
    assert refused.returncode == 2
    assert "data.fold=2: the run was trained on other folds than its own" in refused.stderr


def test_one_fold_alone_is_a_single_run(folds, tmp_path):
    done, found = folds("folds=3", "fold=2")
    assert done.returncode == 0, done.stderr
    assert found is None
    (run,) = (tmp_path / "outputs" / "runs").iterdir()
    assert (run / "figures" / "gradient_through_time.png").is_file()
    assert done.stdout.startswith("data:")


def test_leave_one_out_of_groups_has_as_many_folds_as_groups(folds):
    done, (found,) = folds("folds=leave_one_out", "data.source.group=[who]")
    assert done.returncode == 0, done.stderr
    assert (found["folds"], found["pooled"]["examples"]) == (4, 30)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (
            ("folds=31",),
            "folds=31: there are 30 distinct items; allowed: 2 to 30, or leave_one_out: one to "
            "test, one to validate and one to train on",
        ),
        (
            ("folds=3", "data.source.test=all.csv"),
            "folds=3: the test is given, data.source.test=all.csv; allowed: null, or "
            "data.source.test=0.1 for folds of data.source.train",
        ),
        (
            ("folds=2", "data.source.group=[label]"),
            "folds=2: there are 2 distinct groups; allowed: data with 3 or more, one to test, "
            "one to validate and one to train on",
        ),
        (
            ("describe", "folds=3"),
            "folds=3: a run is tested on one fold; allowed: null, or also fold=0",
        ),
    ],
)
def test_folds_that_cannot_be_made_are_refused_before_anything_is_written(
    folds, tmp_path, typed, message
):
    done, _ = folds(*typed)
    assert done.returncode == 2, done.stdout
    assert done.stderr.splitlines()[-1] == f"seqpipe: {message}"
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("folds=1", "folds=1: out of range; allowed: an integer >= 2 or leave_one_out or null"),
        ("folds=0", "folds=0: out of range; allowed: an integer >= 2 or leave_one_out or null"),
        ("fold=1", "fold=1: nothing is split in folds; allowed: null, or also folds=10"),
        ("folds=3 fold=3", "fold=3: there are folds=3; allowed: 0 to 2"),
        (
            "folds=3 cell=gru,rnn",
            "cell=gru,rnn: several values; allowed: one value, or a job for each with -m",
        ),
    ],
)
def test_folds_that_cannot_be_are_refused_before_data_are_read(typed, message):
    assert check(typed.split(), each_fold=True).problems == [message]


def test_what_each_run_of_a_fold_is_given_is_what_was_not_typed():
    def settings(*typed):
        found = check(typed, each_fold=True)
        return found.problems, None if found.folds is None else found.folds.settings

    quiet, no_bar = "diagnostics=none", "trainer.enable_progress_bar=false"
    assert settings("folds=3") == ([], (quiet,))
    assert settings("folds=leave_one_out") == ([], (quiet, no_bar))
    assert settings("folds=leave_one_out", "trainer.enable_progress_bar=true") == ([], (quiet,))
    assert settings("folds=3", "diagnostics=default") == ([], ())
    assert settings("folds=3", "diagnostics.examples=4") == ([], ())
    assert settings("folds=3", "fold=1") == ([], None)
    assert settings() == ([], None)


def _job(number, monitor="val/accuracy", **metrics):
    named = {name.replace("__", "/"): value for name, value in metrics.items()}
    facts = {"status": FINISHED, "monitor": monitor, "mode": "max", "metrics": named}
    return Job(number, {"fold": str(number)}, **facts)


def test_the_best_baseline_of_folds_is_the_one_with_the_best_mean():
    values = [(0.8, 0.5, 0.9), (0.6, 0.7, 0.1)]
    jobs = [
        _job(n, test__accuracy=own, test__f1=1.0, baseline__a__accuracy=a, baseline__b__accuracy=b)
        for n, (own, a, b) in enumerate(values)
    ]
    group = FoldGroup(jobs, Pooled(20, {"accuracy": 0.7, "f1": 0.9}))
    f1_row, row = sorted(group.rows(), key=lambda row: row["metric"], reverse=True)
    assert row["best baseline"] == "0.6 (a)", "b has the best fold, not the best mean"
    assert (row["over folds"], f1_row["best baseline"]) == ("0.7 ± 0.14", "")
    mixed = FoldGroup([jobs[0], replace(jobs[1], monitor="val/macro_f1")])
    assert mixed.best_baseline == "", "means of several metrics"


def test_of_folds_of_one_record_only_what_is_pooled_is_shown():
    names = {"test__macro_f1": 1.0, "baseline__a__macro_f1": 1.0, "baseline__a__accuracy": 0.0}
    jobs = [_job(n, test__accuracy=n / 1, **names) for n in range(2)]
    group = FoldGroup(jobs, Pooled(2, {"accuracy": 0.5, "macro_f1": 0.33}))
    rows = {row["metric"]: row for row in group.rows()}
    assert rows["accuracy"] == {"metric": "accuracy", "pooled": "0.5", "best baseline": "0 (a)"}
    assert rows["macro_f1"] == {"metric": "macro_f1", "pooled": "0.33", "best baseline": ""}
    judged = [replace(job, monitor="val/macro_f1") for job in jobs]
    assert replace(group, jobs=judged).best_baseline == "", "a mean over single records"


def test_groups_whose_folds_are_judged_by_several_metrics_have_no_best():
    def group(second):
        kept = {"best__val__accuracy": 0.5, "best__val__macro_f1": 0.5}
        return FoldGroup([_job(0, **kept), _job(1, second, **kept)])

    assert best_group([group("val/accuracy"), group("val/accuracy")]) is not None
    assert best_group([group("val/accuracy"), group("val/macro_f1")]) is None


@pytest.mark.realdata
@pytest.mark.parametrize(("name", "records"), [("promoters", 106), ("splice", 3190)])
def test_recipes_of_dna_are_tested_on_all_records_in_three_folds(
    warm, tmp_path, shared_data, name, records
):
    path = f"data.path={shared_data / f'dna_{name}_uci'}"
    few = ("trainer.max_epochs=1", "data.batch_size=128", "hidden_size=8", "logger=none")
    quiet = ("trainer.enable_progress_bar=false", "preflight=none", "baselines=false")
    typed = (f"experiment={name}", path, "folds=3", *few, *quiet)
    done = warm.run(QUICKLY, *typed, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (found,) = json.loads((_sweep(tmp_path) / "folds.json").read_text())
    assert (found["finished"], found["pooled"]["examples"]) == (3, records)
    assert found["pooled"]["decisions"] == records
