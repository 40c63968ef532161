"""What people type when they guess: each is refused in our own words, before anything runs."""

import pytest

from seqpipe.config.commandline import check
from seqpipe.config.compose import compose
from seqpipe.errors import ConfigError

A_MAPPING = "wrong type; allowed: a mapping with _target_"
CELLS = "gru, gru_simplified, irnn, lstm, lstm_peephole, none, rnn"
NEEDED = "the run needs this key; allowed: leave"
STORES = "sqlite:///path/to/mlflow.db for a file, http://host:port for a server"


def problems(*overrides, folders=()):
    with pytest.raises(ConfigError) as caught:
        compose(overrides, folders)
    return caught.value.problems


@pytest.mark.parametrize("value", ["{a:1}", "{}"])
def test_a_mapping_is_refused_where_a_value_belongs(value):
    message = f"optim.lr={value}: wrong type; allowed: a number > 0"
    assert problems(f"optim.lr={value}") == [message]


@pytest.mark.parametrize(
    "override",
    [
        "architecture.encoder=gru",
        "architecture.encoder.cell=gru",
        "data.source=digits",
        "data.y=digit",
        "data.x=3",
    ],
)
def test_a_value_is_refused_where_an_object_is_built(override):
    assert problems(override) == [f"{override}: {A_MAPPING}"]


def test_a_mapping_that_builds_nothing_is_refused_where_an_object_is_built():
    message = f"architecture.encoder.cell={{foo:x}}: {A_MAPPING}"
    assert problems("+architecture.encoder.cell.foo=x") == [message]
    (refused,) = problems("data=python_docs", "+data.x.column=text")
    assert refused.startswith("+data.x.column=text: this data has no x; allowed: ")


def test_several_options_of_one_group_are_refused_rather_than_merged():
    message = f"cell=[lstm,gru]: several options; allowed: one of {CELLS}"
    assert problems("cell=[lstm,gru]") == [message]
    assert compose(["experiment=[first]"])[0].depth == 3


@pytest.mark.parametrize(
    "key", ["data.batch_size", "trainer.max_epochs", "trainer.overfit_batches", "data.seed"]
)
def test_a_key_that_the_run_reads_cannot_be_deleted(key):
    assert problems(f"~{key}") == [f"~{key}: {NEEDED} ~{key} out"]


@pytest.mark.parametrize(
    "key",
    [
        "architecture.head",
        "architecture.encoder.hidden_size",
        "callbacks.checkpoint.monitor",
        "logger.tracking_uri",
    ],
)
def test_what_a_partial_object_needs_cannot_be_deleted(key):
    assert problems(f"~{key}") == [f"~{key}: {NEEDED} ~{key} out"]


def test_a_plus_before_a_key_that_exists_is_refused_in_our_own_words():
    message = "+depth=3: is in the configuration already; allowed: without the plus: depth=3"
    assert problems("+depth=3") == [message]
    assert compose(["++depth=3"])[0].depth == 3


@pytest.mark.parametrize("override", ["=3", "~"])
def test_an_override_without_a_key_cannot_be_read(override):
    (message,) = problems(override)
    assert message.startswith(f"{override}: cannot be read (no key); allowed: key=value")


@pytest.mark.parametrize(
    "uri", ["", "mlruns", "file:///tmp/mlruns", "sqlite://x.db", "sqlite:///:memory:", "host:5000"]
)
def test_a_store_that_mlflow_cannot_write_to_is_refused_before_anything_runs(uri):
    why = "MLflow no longer writes to plain folders"
    message = f"logger.tracking_uri={uri}: wrong form; allowed: {STORES} ({why})"
    assert problems(f"logger.tracking_uri='{uri}'") == [message]


@pytest.mark.parametrize(
    "uri",
    [
        "sqlite:///mlflow.db",
        "sqlite:////tmp/a b/mlflow.db",
        "https://user:word@host/path",
        "postgresql+psycopg2://user@host/db",
        "databricks",
    ],
)
def test_any_other_store_is_left_to_mlflow(uri):
    assert compose([f"logger.tracking_uri='{uri}'"])[0].logger.tracking_uri == uri


def test_words_that_are_allowed_are_listed_once():
    (message,) = problems("trainer.precision=half")
    assert message.count("64") == 2  # 64, 64-true


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        (
            "depth=range(1,4,0)",
            "cannot be read (range() arg 3 must not be zero); allowed: key=value1,value2, "
            "range(1,4) or glob(*)",
        ),
        ("depth=range(3,1)", "no values; allowed: one value or more"),
        ("cell=glob(z*)", "no values; allowed: one value or more"),
        (
            "optim.lr=interval(0.1,0.2)",
            "has no end of values; allowed: a list, range(...), or a search: sweep=optuna",
        ),
    ],
)
def test_a_sweep_over_nothing_is_refused(override, reason):
    with pytest.raises(ConfigError) as caught:
        check([override], sweep=True)
    assert caught.value.problems == [f"{override}: {reason}"]


@pytest.mark.parametrize(
    ("body", "reason"), [("raise ValueError('one\\ntwo')", "one"), ("raise SystemExit", "Syst")]
)
def test_a_module_of_the_users_may_fail_in_any_way(tmp_path, monkeypatch, body, reason):
    name = f"failing_module_{reason}"
    (tmp_path / f"{name}.py").write_text(body)
    monkeypatch.syspath_prepend(tmp_path)
    (message,) = problems(f"data.source._target_={name}.Source")
    assert f"{name} cannot be imported: {reason}" in message
    assert "\n" not in message


@pytest.mark.parametrize(("flags", "below"), [([], "runs"), (["-m", "depth=1,2"], "sweeps")])
def test_a_folder_that_cannot_be_made_is_named_without_a_traceback(
    environment, command, flags, below
):
    (environment["cwd"] / "outputs").touch()
    done = command(*flags)
    assert done.code == 2
    assert done.err.startswith(f"seqpipe: outputs/{below}/")
    assert "cannot be made (Not a directory); allowed: " in done.err
    assert len(done.err.splitlines()) == 1


def test_a_grid_is_refused_where_one_job_runs():
    message = "sweep=cells: a job for each cell, depth; allowed: -m sweep=cells"
    assert problems("sweep=cells") == [message]
    assert compose(["sweep=cells", "cell=rnn", "depth=2"])[0].depth == 2  # one of its jobs


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "~optim._partial_",
            "~optim._partial_: the run needs this key; allowed: leave ~optim._partial_ out",
        ),
        (
            "scheduler._partial_=false",
            "scheduler._partial_=false: the run adds the missing arguments; allowed: true",
        ),
        (
            "callbacks.checkpoint.dirpath=x",
            "callbacks.checkpoint.dirpath=x: is set by the run; allowed: leave it out",
        ),
        ("optim.params=3", "optim.params=3: is set by the run; allowed: leave it out"),
        (
            "trainer.min_epochs=99",
            "trainer.min_epochs=99: training ends after 30; allowed: at most trainer.max_epochs=30",
        ),
        (
            "trainer.max_time=00:00:00:00",
            "trainer.max_time=00:00:00:00: wrong form; "
            "allowed: DD:HH:MM:SS, a second or more or null",
        ),
        (
            "callbacks.early_stopping.check_on_train_epoch_end=true",
            "callbacks.early_stopping.check_on_train_epoch_end=true: out of range; "
            "allowed: false, as an epoch may end without a validation",
        ),
        (
            "hydra.run.dir=",
            "hydra.run.dir=: names no folder; allowed: hydra.run.dir=outputs/runs/my_run",
        ),
    ],
)
def test_what_would_fail_later_or_do_nothing_is_refused(override, message):
    assert problems(override) == [message]
