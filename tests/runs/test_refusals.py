"""What only building can find out is refused all the same: in words, leaving no folder."""

import pytest

from seqpipe.errors import ConfigError, DataError


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "trainer.accelerator=tpu",
            r"^trainer.accelerator=tpu: is not available here \(.*; allowed:",
        ),
        (
            "callbacks.early_stopping.monitor=val/msee",
            r"^callbacks.early_stopping.monitor=val/msee: no such metric; "
            r"allowed: val/loss, val/mse, .*did you mean 'val/mse'\?$",
        ),
        (
            "callbacks.early_stopping.mode=max",
            r"^callbacks.early_stopping.mode=max: would treat a worse val/mse as better; "
            r"allowed: callbacks.early_stopping.mode=min$",
        ),
        (
            "data.batch_tokens=64",
            r"^data.batch_size=16: has no effect with data.batch_tokens, which sets the size of "
            r"a batch; ",
        ),
        (
            "optim=sgd +optim.dampening=0.5 optim.nesterov=true",
            r"optim.nesterov=true, .*: torch.optim.SGD refuses them \(Nesterov momentum requires",
        ),
        (
            "optim=sgd ~optim.momentum ~optim.weight_decay ~optim.nesterov"
            " optim._target_=torch.optim.LBFGS",
            r"^optim._target_=torch.optim.LBFGS: computes the loss more than once in a step; "
            r"allowed: an optimizer that does so once, as optim=adamw$",
        ),
        (
            "trainer.val_check_interval=5",
            r"^trainer.val_check_interval=5: an epoch has 4 batches, so there would be no "
            r"validation; allowed: at most 4, or a share$",
        ),
        (
            "trainer.limit_train_batches=2 trainer.val_check_interval=3",
            r"^trainer.val_check_interval=3: an epoch has 2 batches",
        ),
        (
            "trainer.limit_train_batches=0.2",
            r"^trainer.limit_train_batches=0.2: is less than one batch of train, which has 4",
        ),
        (
            "trainer.limit_val_batches=0.9",
            r"^trainer.limit_val_batches=0.9: is less than one batch of valid, which has 1",
        ),
        (
            "trainer.overfit_batches=0.01",
            r"^trainer.overfit_batches=0.01: is less than one batch of train, which has 4",
        ),
        (
            "trainer=ddp trainer.devices=17 trainer.accelerator=cpu",
            r"trainer.devices=17: valid has 16 examples, each process needs one; allowed: at most",
        ),
        (
            "data.x._target_=collections.Counter",
            r"^data.x._target_=collections.Counter: makes no field; allowed: a subclass of ",
        ),
        (
            "data.source._target_=collections.Counter",
            r"^data.source._target_=collections.Counter: makes no source; allowed: a subclass of ",
        ),
        (
            "+callbacks.a._target_=builtins.dict",
            r"^\+callbacks.a._target_=builtins.dict: what it takes is not known; allowed: a class",
        ),
        ("hidden_size=10000000", r"^hidden_size=10000000: the model does not fit in memory"),
        ("hidden_size=99999999999999999999", r"^hidden_size=9+: the model does not fit in memory"),
    ],
)
def test_what_cannot_be_built_is_named_by_its_key_and_leaves_nothing(
    launch, tmp_path, override, message
):
    with pytest.raises(ConfigError, match=message):
        launch("adding", *override.split())
    assert not (tmp_path / "runs").exists()


def test_what_a_constructor_finds_wrong_is_not_wrapped_by_hydra(launch, tmp_path):
    with pytest.raises(
        ConfigError,
        match=r"^data.source.header=\[a,a\]: a name comes twice; allowed: a name of its own",
    ):
        launch("table", "data.path=x.csv", "data.source.header=[a,a]")
    assert not (tmp_path / "runs").exists()


def test_describing_refuses_what_training_would_refuse(launch, tmp_path):
    with pytest.raises(ConfigError, match=r"^task.monitor=val/recall: .*allowed: val/loss"):
        launch("adding", "task.monitor=val/recall", command="describe")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("data=table data.path=nowhere.csv", r"^data.path=nowhere.csv: no such file in "),
        (
            "data=table data.path=here.csv data.source.valid=v.csv",
            r"^data.source.valid=v.csv: no such file in .*here.csv",
        ),
        ("data=audio_folders data.path=clipz", r"^data.path=clipz: no such folder .*'clips'\?$"),
        ("data=audio_table data.path=clipz", r"^data.path=clipz: no such folder .*'clips'\?$"),
    ],
)
def test_a_place_that_is_not_there_is_named_as_it_was_typed(
    launch, tmp_path, monkeypatch, typed, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clips").mkdir()
    (tmp_path / "here.csv").write_text("text,label\na,b\n")
    data, *overrides = typed.removeprefix("data=").split()
    with pytest.raises(DataError, match=message):
        launch(data, *overrides)
