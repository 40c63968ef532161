"""Classes of other libraries and of the user's own: refused in words before a run has its folder.

What they cannot do is found out with the parts, by a step or by one batch; what works is trained.
"""

import re

import pytest
import torch
from pytorch_lightning import callbacks

from seqpipe.errors import ConfigError

QUICK = ("preflight=none", "diagnostics=none", "trainer.max_epochs=1")
SCHEDULES = "torch.optim.lr_scheduler"
LIGHTNING = "pytorch_lightning.callbacks"
MINE = """
import torch
from pytorch_lightning import Callback
from torch import nn

from seqpipe.data.sources.generated import Adding
from seqpipe.nn.cells import Cell
from seqpipe.nn.head import Head
from seqpipe.tasks.regression import Regression


class Leaky(Cell):
    gate_names = ("a",)

    def recur(self, projected_t, state):
        return (torch.tanh(projected_t + state[0]),)


class Bare(Leaky):
    def recur(self, projected_t, state):
        return projected_t


class Crooked(Leaky):
    def recur(self, projected_t, state):
        return (projected_t @ torch.ones(3, 3),)


class Nameless(Cell):
    def recur(self, projected_t, state):
        return state


def linear(input_size, hidden_size):
    return nn.Linear(input_size, hidden_size)


def leaky(input_size, hidden_size):
    return Leaky(input_size, hidden_size)


class Wide(nn.Module):
    def __init__(self, input_size, output_size, more=2):
        super().__init__()
        self.inner = nn.Linear(input_size, output_size + more)

    def forward(self, x):
        return self.inner(x)


class Unsummed(Regression):
    def loss(self, outputs, batch, training=True):
        return outputs


class Divides(Adding):
    def read(self):
        return 1 / 0


class Starts(Callback):
    def setup(self, trainer, pl_module, stage):
        raise ZeroDivisionError("too early")


class Tracker:
    def __init__(self, root, output_dir): ...


def sgd(params, lr, **others):
    return torch.optim.SGD(params, lr=lr)


def decays(optimizer, *, total_steps, monitor, mode):
    return torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)


def three(optimizer, *, total_steps, monitor, mode):
    return 3
"""


@pytest.fixture(autouse=True)
def mine(tmp_path, monkeypatch):
    """A module of the user's own."""
    (tmp_path / "own_parts_for_tests.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)


def _case(overrides, message):
    return pytest.param(overrides, message, id=overrides.replace("own_parts_for_tests", "mine"))


OWN = "own_parts_for_tests"
REFUSED = [
    *[
        _case(
            f"scheduler._target_={SCHEDULES}.{name}",
            rf"{name}: takes no .*, which the run gives it; allowed: .*schedules.cosine$",
        )
        for name in ("ExponentialLR +scheduler.gamma=0.9", "OneCycleLR", "ReduceLROnPlateau")
        for name in [name.split()[0]]
    ],
    _case("scheduler._target_=collections.Counter", "scheduler._target_=collections.Counter: can"),
    _case(
        "scheduler._target_=torch.nn.Identity",
        "Identity: returns no learning rate schedule .*scheduler=plate",
    ),
    _case(
        f"scheduler._target_={OWN}.three",
        "three: returns no learning rate schedule that Lightning can step",
    ),
    *[
        _case(f"cell._target_={name}", rf"^cell._target_={name}: makes no cell; allowed: .*Cell$")
        for name in ("torch.nn.LSTM", "torch.nn.LSTMCell", "collections.Counter")
    ],
    _case("cell._target_=torch.nn.Linear", "takes no input_size, hidden_size, which the run gives"),
    _case(f"cell._target_={OWN}.linear", rf"^cell._target_={OWN}.linear: cannot be used here"),
    _case(f"cell._target_={OWN}.Nameless", "'Nameless' object has no attribute 'gate_names'"),
    _case(f"cell._target_={OWN}.Bare", r"Bare: .*recur returns a Tensor; expected a tuple of sha"),
    _case(f"cell._target_={OWN}.Crooked", rf"cannot be multiplied.*, {OWN}.py:26\); allowed: "),
    _case("architecture.head._target_=torch.nn.Linear", "Linear: takes no input_size, output_size"),
    _case(
        "architecture.head._target_=torch.nn.Identity", "an answer is 8 numbers wide; expected 1"
    ),
    _case(f"architecture.head._target_={OWN}.Wide", "an answer is 3 numbers wide; expected 1"),
    _case("architecture.encoder._target_=torch.nn.LSTM", "unexpected keyword argument 'cell'"),
    _case(
        "architecture._target_=torch.nn.Identity", "^architecture._target_=torch.nn.Identity: ca"
    ),
    _case("task._target_=collections.Counter", "^task._target_=collections.Counter: makes no task"),
    _case(f"task._target_={OWN}.Unsummed", r"the loss is no single number, but of shape \(16, 1\)"),
    _case(f"data.source._target_={OWN}.Divides", rf"ZeroDivisionError: .*, {OWN}.py:58\); allowed"),
    _case("optim._target_=collections.Counter", "makes no optimizer; allowed: .*optim.Optimizer$"),
    _case("optim._target_=torch.optim.SparseAdam", "does not support dense gradients"),
    _case(
        "optim=sgd +optim.differentiable=true", "^optim._target_=torch.optim.SGD: cannot be used"
    ),
    _case("trainer._target_=collections.Counter", "makes no trainer; allowed: .*Trainer$"),
    _case(
        "logger._target_=pytorch_lightning.loggers.CSVLogger +logger.save_dir=logs",
        "takes no root, output_dir, which the run gives it; allowed: .*CsvTracker$",
    ),
    _case(f"logger._target_={OWN}.Tracker", "makes no tracker; allowed: a class with the methods "),
    *[
        _case(
            f"+callbacks.a._target_={name}", rf"^callbacks.a._target_={name}: makes no callback; "
        )
        for name in ("collections.Counter", "builtins.print", "torch.nn.Identity")
    ],
]


@pytest.mark.parametrize(("overrides", "message"), REFUSED)
def test_what_cannot_stand_where_it_is_named_is_refused_before_a_run_has_its_folder(
    launch, tmp_path, overrides, message
):
    with pytest.raises(ConfigError, match=message) as refused:
        launch("adding", *QUICK, *overrides.split())
    assert overrides.split("=")[0].lstrip("+").split(".")[0] in str(refused.value)
    assert not (tmp_path / "runs").exists()


NO_LOGGER = "needs a logger, but there is none; allowed: logger=csv or logger=mlflow"
IMPOSSIBLE = {
    "BackboneFinetuning": "freezes model.backbone, which no architecture here has",
    "BaseFinetuning": "does not define what it freezes",
    "BasePredictionWriter": "but training makes none; allowed: python -m seqpipe predict",
    "BatchSizeFinder": "a run batches its data itself; allowed: data.batch_size=N",
    "DeviceStatsMonitor": NO_LOGGER,
    "LearningRateFinder": "another rate than the run records; allowed: -m optim.lr=",
    "LearningRateMonitor": NO_LOGGER,
    "ModelPruning +callbacks.a.pruning_fn=l1_unstructured": "a hook that the kernels of cells do",
    "OnExceptionCheckpoint": r"is missing; allowed: \+callbacks.a._partial_=true, and the run",
    "ProgressBar": "Trainer was configured with `enable_progress_bar=False`",
    "RichProgressBar": "Trainer was configured with `enable_progress_bar=False`",
    "StochasticWeightAveraging +callbacks.a.swa_lrs=-1": "The `swa_lrs` should a positive float",
    "ThroughputMonitor +callbacks.a.batch_size_fn=3": "allowed: a mapping with _target_",
    "ModelCheckpoint +callbacks.a.train_time_interval=3": "allowed: a mapping with _target_",
    "EMAWeightAveraging +callbacks.a.decay=2": "Invalid decay value 2",
    "Timer +callbacks.a.duration=long": r"`Timer\(duration='long'\)` is not a valid duration",
}
POSSIBLE = {
    "Callback": "",
    "Checkpoint": "",
    "EMAWeightAveraging": "",
    "EarlyStopping": "+callbacks.a.monitor=val/loss",
    "GradientAccumulationScheduler": "+callbacks.a.scheduling={0:2}",
    "LambdaCallback": "",
    "LearningRateMonitor": "logger=csv",
    "ModelCheckpoint": "",
    "ModelSummary": "",
    "OnExceptionCheckpoint": "+callbacks.a._partial_=true",
    "ProgressBar": "trainer.enable_progress_bar=true",
    "RichModelSummary": "",
    "RichProgressBar": "trainer.enable_progress_bar=true",
    "SpikeDetection": "",
    "StochasticWeightAveraging": "+callbacks.a.swa_lrs=0.01",
    "TQDMProgressBar": "trainer.enable_progress_bar=true",
    "ThroughputMonitor": "logger=csv "
    "+callbacks.a.batch_size_fn={_target_:hydra.utils.get_method,path:builtins.len}",
    "Timer": "+callbacks.a.duration=00:00:01:00",
    "WeightAveraging": "",
}


def test_every_callback_of_lightning_is_tried():
    tried = {name.split()[0] for name in (*IMPOSSIBLE, *POSSIBLE)}
    assert tried == set(callbacks.__all__)


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_a_callback_that_cannot_work_is_refused_before_a_run_has_its_folder(launch, tmp_path, name):
    typed = f"+callbacks.a._target_={LIGHTNING}.{name}".split()
    with pytest.raises(ConfigError, match=IMPOSSIBLE[name]) as refused:
        launch("adding", *QUICK, *typed)
    assert re.match(r"\+?callbacks", str(refused.value))
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow  # nineteen trainings
@pytest.mark.filterwarnings("ignore")  # each says what Lightning thinks of it
@pytest.mark.parametrize("name", POSSIBLE)
def test_every_other_callback_of_lightning_works(launch, name):
    typed = f"+callbacks.a._target_={LIGHTNING}.{name} {POSSIBLE[name]}".split()
    result = launch("adding", *QUICK, *typed)
    assert (result.output_dir / "checkpoints" / "best.ckpt").is_file()
    assert result.metrics["test/mse"] > 0


@pytest.mark.parametrize(
    "overrides",
    [
        f"cell._target_={OWN}.Leaky",
        f"cell._target_={OWN}.leaky depth=2 bidirectional=true",
        f"architecture.head._target_={OWN}.Wide +architecture.head.more=0",
        f"optim._target_={OWN}.sgd",
        f"scheduler._target_={OWN}.decays",
        "optim._target_=torch.optim.Adagrad",
    ],
)
def test_parts_of_the_users_own_are_trained(launch, overrides):
    result = launch("adding", *QUICK, *overrides.split())
    assert result.metrics["test/mse"] > 0


def test_trying_a_part_of_the_users_own_changes_no_number(launch):
    """The same head by its own name and below another, which is tried on a batch before."""
    ours = launch("adding", *QUICK, folder="ours")
    theirs = launch("adding", *QUICK, f"architecture.head._target_={OWN}.Head", folder="theirs")
    assert theirs.metrics["test/mse"] == ours.metrics["test/mse"]


def test_a_callback_that_fails_as_it_is_set_up_is_named_with_its_line(launch):
    message = rf"^callbacks.a: ZeroDivisionError: too early, {OWN}.py:63; allowed: .*~callbacks.a$"
    with pytest.raises(ConfigError, match=message):
        launch("adding", *QUICK, f"+callbacks.a._target_={OWN}.Starts")


def test_describing_refuses_such_callbacks_too(launch, tmp_path):
    typed = f"+callbacks.a._target_={LIGHTNING}.LearningRateFinder"
    with pytest.raises(ConfigError, match=r"^callbacks.a._target_=.*: would train at another rate"):
        launch("adding", typed, command="describe")
    assert not (tmp_path / "runs").exists()


@pytest.mark.filterwarnings("ignore:.*fit.ckpt_path=")
def test_a_checkpoint_of_an_exception_lies_in_the_runs_folder(launch, tmp_path, monkeypatch):
    def breaks(*args, **kwargs):
        raise ZeroDivisionError("late")

    monkeypatch.setattr(callbacks.EarlyStopping, "on_validation_end", breaks)
    typed = f"+callbacks.a._target_={LIGHTNING}.OnExceptionCheckpoint +callbacks.a._partial_=true"
    with pytest.raises(ZeroDivisionError):
        launch("adding", *QUICK, *typed.split())
    (kept,) = (tmp_path / "runs").rglob("on_exception.ckpt")
    assert torch.load(kept, weights_only=True)["global_step"] > 0
