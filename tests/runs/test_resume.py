"""A training that was stopped and resumed ends where one that was not stopped ends."""

import functools

import pytest
import torch

from seqpipe import build
from seqpipe.config.compose import compose
from seqpipe.errors import ConfigError
from seqpipe.tasks.metrics import WeightedMean
from seqpipe.training.carried_state import Carried
from seqpipe.training.module import SequenceModule

# What looks at a training is resumed in test_probe.py.
STEADY = (
    *("scheduler=none", "dropout=0.3", "callbacks.early_stopping.patience=99"),
    *("diagnostics=none", "preflight=none"),
)
LANES = (
    *("data.window=null", "data.bptt=32", "data.eval_window=256", "data.batch_size=64"),
    *("task.sample_length=0", "trainer.limit_val_batches=2", "trainer.limit_test_batches=2"),
)


@pytest.fixture(scope="module")
def once(launch_in, tmp_path_factory):
    """once("adding", "trainer.max_epochs=3"): that run, trained at the first call; read only."""

    @functools.cache
    def result(data, *overrides):
        return launch_in(tmp_path_factory.mktemp("once"), data, *STEADY, *overrides)

    return result


def last(result):
    return result.output_dir / "checkpoints" / "last.ckpt"


def state_of(path):
    saved = torch.load(path, weights_only=True)
    return [saved["state_dict"], saved["optimizer_states"]], saved["lr_schedulers"]


def assert_same_end(one, other):
    assert one.metrics == other.metrics
    assert one.monitored == other.monitored
    assert_same_state(last(one), last(other))


def assert_same_state(one, other):
    (tensors, schedule), (other_tensors, other_schedule) = state_of(one), state_of(other)
    torch.testing.assert_close(tensors, other_tensors, rtol=0, atol=0)
    assert schedule == other_schedule


CLIPPED = ("trainer.gradient_clip_val=0.2",)
STEPWISE = ("scheduler=step", "scheduler.step_size=1")
WARMED = ("scheduler=decay", "scheduler.start_epoch=1", "scheduler.warmup_steps=10")
NOISY = ("weight_noise=0.05", "trainer.accumulate_grad_batches=2")
PLATEAU = ("scheduler=plateau", "scheduler.patience=0", "optim.lr=0.2")
LONG = ("trainer.max_epochs=9",)
AUGMENTED = ("+data.x.noise=0.3", "+data.x.time_warp=0.2")
WORKER = "data.num_workers=1"
DROPPED = ("cell.weight_drop=0.3", "cell.hidden_dropout=0.3", "cell.zoneout=0.2")
STOPS = [  # the data, what all runs share, the end of the whole, the first end and its update
    ("adding", STEPWISE, "trainer.max_epochs=4", "trainer.max_epochs=2", 8),
    ("adding", PLATEAU, "trainer.max_epochs=4", "trainer.max_epochs=2", 8),
    ("adding", NOISY, "trainer.max_epochs=4", "trainer.max_steps=3", 3),
    ("adding", WARMED, "trainer.max_epochs=4", "trainer.max_epochs=2", 8),
    ("adding", CLIPPED, "trainer.max_epochs=3", "trainer.max_steps=3", 3),
    ("adding", LONG, "trainer.max_steps=12", "trainer.max_epochs=1", 4),
    ("adding", LONG, "trainer.max_steps=12", "trainer.max_steps=4", 4),
    ("adding", (*AUGMENTED, WORKER), "trainer.max_epochs=3", "trainer.max_steps=6", 6),
    ("adding", DROPPED, "trainer.max_epochs=3", "trainer.max_steps=6", 6),
    ("python_docs", (*LANES, *DROPPED), "trainer.max_steps=6", "trainer.max_steps=3", 3),
    ("python_docs", (*LANES, WORKER), "trainer.max_steps=6", "trainer.max_steps=3", 3),
]
# The same without what the cases above add.
PLAINER = [
    ("adding", (), "trainer.max_epochs=4", "trainer.max_epochs=2", 8),
    ("adding", CLIPPED, "trainer.max_epochs=3", "trainer.max_steps=6", 6),
    ("adding", AUGMENTED, "trainer.max_epochs=3", "trainer.max_steps=6", 6),
    ("python_docs", LANES, "trainer.max_steps=6", "trainer.max_steps=3", 3),
]
STOPS += [pytest.param(*case, marks=pytest.mark.full) for case in PLAINER]


@pytest.mark.parametrize(("data", "shared", "end", "first_end", "step"), STOPS)
def test_stopping_and_resuming_is_training_straight_through(
    launch, once, data, shared, end, first_end, step
):
    straight = once(data, *(key for key in shared if "num_workers" not in key), end)
    first = launch(data, *STEADY, *shared, end, first_end, folder="first")
    assert torch.load(last(first), weights_only=True)["global_step"] == step
    resumed = launch(data, *STEADY, *shared, end, f"resume={last(first)}", folder="resumed")
    assert_same_end(resumed, straight)
    # The training numbers of the resumed epoch are of all of it.
    for name, points in series_of(straight).items():
        if name.startswith(("train/", "grad_norm/clip")):
            assert series_of(resumed)[name] == points, name


def test_a_crashed_training_goes_on_from_its_last_whole_epoch(launch, monkeypatch, tmp_path):
    overrides = [*STEADY, "scheduler=warmup_cosine", "trainer.max_epochs=4"]
    straight = launch("adding", *overrides, folder="straight")
    step = SequenceModule.training_step
    steps = []

    def crash(self, batch, batch_idx):
        steps.append(batch_idx)
        if len(steps) == 11:  # the third batch of the third of four epochs
            raise RuntimeError("planted")
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(SequenceModule, "training_step", crash)
        with pytest.raises(RuntimeError, match="planted"):
            launch("adding", *overrides, folder="crashed")
    saved = tmp_path / "runs" / "crashed" / "checkpoints" / "last.ckpt"
    resumed = launch("adding", *overrides, f"resume={saved}", folder="resumed")
    assert_same_end(resumed, straight)


def test_out_of_time_within_an_update_and_resuming_is_training_straight_through(
    launch, monkeypatch, stop_after
):
    overrides = [*STEADY, "trainer.max_epochs=3", "trainer.accumulate_grad_batches=2"]
    straight = launch("adding", *overrides, folder="straight")
    make = build.build_callbacks
    with monkeypatch.context() as patch:  # four batches an epoch: the first of a second update
        patch.setattr(build, "build_callbacks", lambda *a: [stop_after(7), *make(*a)])
        first = launch("adding", *overrides, folder="first")
    assert torch.load(last(first), weights_only=True)["global_step"] == 4
    resumed = launch("adding", *overrides, f"resume={last(first)}", folder="resumed")
    assert_same_end(resumed, straight)


def series_of(result):
    callbacks = torch.load(last(result), weights_only=True)["callbacks"]
    (history,) = (state for name, state in callbacks.items() if name.startswith("History"))
    return {k: v for k, v in history["series"].items() if k != "examples_per_second"}


def test_the_best_weights_of_a_closing_validation_survive_a_resume(launch):
    worse = ["seed=2", "optim.lr=0.6", "trainer.max_epochs=3", "scheduler=none"]
    worse += ["architecture.pooling=last"]
    first = launch("adding", *worse, "trainer.max_steps=6", folder="first")
    assert "best epoch: 2 " in first.summary  # inside it
    best = last(first).with_name("best.ckpt")
    assert torch.load(best, weights_only=True)["global_step"] == 6
    resumed = launch("adding", *worse, f"resume={last(first)}", folder="resumed")
    assert resumed.monitored == first.monitored  # what came after was worse
    tested = {k: v for k, v in first.metrics.items() if k.startswith(("best/", "test/"))}
    assert {k: resumed.metrics[k] for k in tested} == tested
    again = launch("adding", *worse, f"resume={best}", folder="again")
    assert_same_state(last(again), last(resumed))


def test_a_checkpoint_that_closed_an_epoch_it_had_not_finished_is_refused(launch):
    overrides = [*STEADY, "callbacks.checkpoint.save_last=false", "trainer.max_epochs=3"]
    first = launch("adding", *overrides, "trainer.max_steps=6", folder="first")
    best = last(first).with_name("best.ckpt")
    assert not last(first).exists()
    with pytest.raises(ConfigError, match=r"best.ckpt: was written by a training that ended"):
        launch("adding", *overrides, f"resume={best}", folder="refused")


def test_an_early_stop_within_an_update_finishes_it_first(launch):
    overrides = [*STEADY[:2], "trainer.accumulate_grad_batches=2", "trainer.val_check_interval=3"]
    never = ["callbacks.early_stopping.patience=0", "callbacks.early_stopping.min_delta=5"]
    first = launch("adding", *overrides, *never, "trainer.max_epochs=9", folder="first")
    saved = torch.load(last(first), weights_only=True)
    assert saved["global_step"] % 2 == 0
    assert saved["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]["processed"] % 2 == 0


def test_a_validation_that_is_not_a_number_is_told(launch, monkeypatch, caplog):
    monkeypatch.setattr(WeightedMean, "compute", lambda self: self.total / 0 * 0)
    result = launch("adding", "trainer.max_epochs=3", "task.monitor=val/loss")
    assert "advice:     val/loss is nan: the trained model is useless" in result.summary
    assert "val/loss is nan after epoch 1: the trained model is useless" in caplog.text


def test_another_end_of_a_cosine_is_told(launch, caplog):
    first = launch("adding", "scheduler=cosine", "trainer.max_epochs=1", folder="first")
    more = ["scheduler=cosine", "trainer.max_epochs=2", f"resume={last(first)}"]
    launch("adding", *more, folder="resumed")
    told = "trainer.max_epochs=2, was 1: the cosine of the learning rate now ends at the new value"
    assert told in caplog.text


def test_a_time_that_is_used_up_is_refused(launch, tmp_path):
    overrides = [*STEADY, "trainer.max_epochs=100000", "trainer.max_time=00:00:00:01"]
    first = launch("adding", *overrides, folder="first")
    message = r"trainer.max_time=00:00:00:01: .*last.ckpt was trained for \d+ s; allowed: a longer"
    with pytest.raises(ConfigError, match=message):
        launch("adding", *overrides, f"resume={last(first)}", folder="refused")
    assert not (tmp_path / "runs" / "refused").exists()


def test_a_checkpoint_within_an_update_is_refused(launch):
    overrides = [*STEADY, "optim=sgd", "optim.lr=1.0", "trainer.accumulate_grad_batches=2"]
    overrides += ["trainer.max_epochs=1", "trainer.val_check_interval=3"]
    best = last(launch("adding", *overrides, folder="first")).with_name("best.ckpt")
    assert torch.load(best, weights_only=True)["global_step"] == 1  # after it, all was worse
    with pytest.raises(
        ConfigError, match=r"best.ckpt: was written after 1 of the 2 batches of an update"
    ):
        launch("adding", *overrides, f"resume={best}", folder="refused")


def test_a_resumed_run_leaves_the_run_it_came_from_as_it_was(launch, trained):
    first = trained
    before = {p: p.read_bytes() for p in first.output_dir.rglob("*") if p.is_file()}
    assert len(before) >= 6
    launch("adding", *STEADY, "trainer.max_epochs=3", f"resume={last(first)}", folder="second")
    assert {p: p.read_bytes() for p in first.output_dir.rglob("*") if p.is_file()} == before


def of_an_older_version(checkpoint, copy):
    """The checkpoint as it was written when weight decay reached all parameters.

    There was no choice of a kernel then either.
    """
    saved = torch.load(checkpoint, weights_only=True)
    config = saved["seqpipe"]["config"]
    del config["optim"]["weight_decay_on"]
    del config["cell"]["kernel"], config["architecture"]["encoder"]["cell"]["kernel"]
    torch.save(saved, copy)
    return copy


def test_a_training_whose_decay_reached_all_parameters_goes_on_only_if_it_still_does(
    launch, tmp_path
):
    adamw = [*STEADY, "optim=adamw", "optim.weight_decay=0.1", "trainer.max_epochs=1"]
    first = launch("adding", *adamw, "optim.weight_decay_on=all", folder="first")
    old = of_an_older_version(last(first), tmp_path / "last.ckpt")
    more = [*adamw[:-1], "trainer.max_epochs=2", f"resume={old}"]
    text = r"optim.weight_decay_on=matrices: .*; allowed: optim.weight_decay_on=all"
    with pytest.raises(ConfigError, match=text):
        launch("adding", *more, folder="refused")
    launch("adding", *more, "optim.weight_decay_on=all", folder="second")


def test_where_nothing_decays_a_checkpoint_of_an_older_version_goes_on(launch, trained, tmp_path):
    old = of_an_older_version(last(trained), tmp_path / "last.ckpt")
    launch("adding", *STEADY, "trainer.max_epochs=3", f"resume={old}", folder="second")


@pytest.fixture
def trained(once):
    return once("adding", "trainer.max_epochs=2")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "hidden_size=9",
            "architecture.encoder.hidden_size=9: .*; allowed: architecture.encoder.hidden_size=8",
        ),
        ("cell=gru", "architecture.encoder.cell._target_=.*GRU: .* was trained with"),
        (
            "optim=sgd",
            r"optim.lr=0.1: .* was trained with another value; allowed: optim.lr=0.0[0-9]*\n",
        ),
        (
            "data.length=7",
            "data.length=7: .* was trained with another value; allowed: data.length=6\n",
        ),
        (
            "scheduler=cosine",
            "scheduler._target_=.*cosine: .* another value; allowed: scheduler._target_=.*",
        ),
        ("seed=1", "seed=1: .* was trained with another value; allowed: seed=0$"),
        ("trainer.max_epochs=2", "trainer.max_epochs=2: .* has 2 epochs already"),
        ("trainer.max_epochs=1", "trainer.max_epochs=1: .* has 2 epochs already"),
    ],
)
def test_what_could_not_go_on_is_refused_and_leaves_nothing(
    launch, trained, tmp_path, override, message
):
    overrides = [*STEADY, "trainer.max_epochs=3", f"resume={last(trained)}", override]
    with pytest.raises(ConfigError, match=message):
        launch("adding", *overrides, folder="refused")
    assert not (tmp_path / "runs" / "refused").exists()


def test_a_file_that_is_no_checkpoint_of_ours_is_refused(launch, tmp_path):
    broken, foreign = tmp_path / "broken.ckpt", tmp_path / "foreign.ckpt"
    empty = tmp_path / "empty.ckpt"
    empty.touch()
    broken.write_bytes(b"PK not a checkpoint")
    torch.save({"state_dict": {}}, foreign)
    with pytest.raises(ConfigError, match=r"resume=.*broken.ckpt: no checkpoint that can be read"):
        launch("adding", f"resume={broken}")
    with pytest.raises(ConfigError, match=r"can be read \(is no archive, or is damaged\)"):
        launch("adding", f"resume={empty}")
    with pytest.raises(ConfigError, match=r"resume=.*foreign.ckpt: not a checkpoint of seqpipe"):
        launch("adding", f"resume={foreign}")
    with pytest.raises(ConfigError, match=r"resume=.*missing.ckpt: no such file"):
        compose(["resume=missing.ckpt"])
    assert not (tmp_path / "runs").exists()


def test_a_state_that_is_not_carried_over_a_resume_would_be_seen(launch, once, monkeypatch):
    straight = once("python_docs", *LANES, "trainer.max_steps=6")
    first = once("python_docs", *LANES, "trainer.max_steps=3")
    saved = torch.load(last(first), weights_only=True)["seqpipe"]["processes"][0]["carried"]
    assert saved[0].shape == (64,)
    monkeypatch.setattr(Carried, "load_state_dict", lambda self, lanes, device: None)
    more = ["trainer.max_steps=6", f"resume={last(first)}"]
    assert launch("python_docs", *STEADY, *LANES, *more).metrics != straight.metrics


def test_other_records_under_the_same_name_are_refused(launch, tmp_path):
    file = tmp_path / "lines.txt"

    def lines(good, bad):
        file.write_text("".join(f"{good} g{n} fine\n{bad} b{n} poor\n" for n in range(20)))

    data = [f"data.path={file}", "data.cache=null"]
    lines("pos", "neg")
    first = launch("labelled_lines", *data, "trainer.max_steps=1")
    lines("neg", "pos")
    again = [f"resume={last(first)}", "trainer.max_steps=3"]
    with pytest.raises(ConfigError) as caught:
        launch("labelled_lines", *data, *again, folder="resumed")
    assert str(caught.value) == (
        f"resume={last(first)}: was trained on other data, train, valid, test changed; "
        "allowed: the same records"
    )
    assert not (tmp_path / "runs" / "resumed").exists()


def test_a_checkpoint_of_a_version_without_an_option_is_continued_with_its_default(
    launch, tmp_path
):
    first = launch("adding", *STEADY, "trainer.max_epochs=1", folder="first")
    saved = torch.load(last(first), weights_only=True)
    del saved["seqpipe"]["config"]["scheduler"]["warmup_steps"]
    older = tmp_path / "last.ckpt"
    torch.save(saved, older)
    more = [*STEADY, "trainer.max_epochs=2", f"resume={older}"]
    with pytest.raises(ConfigError, match=r"allowed: scheduler\.warmup_steps=0$"):
        launch("adding", *more, "scheduler.warmup_steps=5", folder="refused")
    resumed = launch("adding", *more, folder="resumed")
    assert resumed.metrics == launch("adding", *STEADY, "trainer.max_epochs=2").metrics
