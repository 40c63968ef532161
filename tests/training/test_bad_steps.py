"""An update that would not be finite is skipped, named, kept and counted."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from seqpipe.data.base import FieldSpec, SequenceSpec
from seqpipe.data.batching import Batches, Examples, ResumableLoader
from seqpipe.data.columns import Column
from seqpipe.data.sampling import BucketBatchSampler
from seqpipe.errors import TrainingError
from seqpipe.nn.cells import LSTM
from seqpipe.nn.recurrent import RecurrentStack
from seqpipe.tasks.regression import Regression
from seqpipe.training.module import SequenceModule
from seqpipe.training.nonfinite_guard import read_kept_batch, repeat_kept_batch
from seqpipe.training.schedules import constant

SPEC = SequenceSpec(FieldSpec("values", 2), FieldSpec("number", 1))
BAD = 7  # the example that holds it, the second of the third of four batches


LARGE = 50.0


class _Wrong(torch.autograd.Function):
    """The same numbers forwards; backwards a NaN for each row that holds a large one."""

    @staticmethod
    def forward(context, scaled: Tensor, x: Tensor) -> Tensor:
        context.save_for_backward(x)
        return scaled.clone()

    @staticmethod
    def backward(context, gradient: Tensor) -> tuple[Tensor, None]:
        (x,) = context.saved_tensors
        large = (x > LARGE).flatten(1).any(dim=1)
        return torch.where(large[:, None, None], torch.nan, gradient), None


class Middle(nn.Module):
    """At a large number it does what it is told to: nothing, Inf, or NaN on the way back."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault, self.scale = fault, nn.Parameter(torch.ones(2))

    def forward(self, x: Tensor) -> Tensor:
        scaled = x * self.scale
        if self.fault == "forwards":
            return torch.where(x > LARGE, torch.inf, scaled)
        if self.fault == "backwards":
            return _Wrong.apply(scaled, x)
        return scaled


class Reader(nn.Module):
    """Two numbers a step, an LSTM in two layers, dropout, one number in the end."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.first, self.middle = nn.Linear(2, 2), Middle(fault)
        nn.init.eye_(self.first.weight)
        self.encoder = RecurrentStack(2, cell=LSTM, hidden_size=3, depth=2, dropout=0.3)
        self.head = nn.Linear(3, 1)

    def forward(self, x: Tensor, x_lengths: Tensor, y: Tensor, y_lengths: None) -> Tensor:
        outputs, _ = self.encoder(self.middle(self.first(x)), x_lengths)
        return self.head(outputs.sum(dim=1))


class InOrder(BucketBatchSampler):
    """Batches as the examples stand, so that a test knows which one holds the bad example."""

    def batches(self) -> Iterator[list[int]]:
        return iter(sorted(super().batches()))


def loader_of(x: list[Tensor], y: list[Tensor]) -> ResumableLoader:
    examples = Examples(Column.of(x, True), Column.of(y, False))
    sampler = InOrder([1] * len(x), 3, shuffle=False)
    return ResumableLoader(Batches(examples, SPEC), sampler)


def sequences(n: int = 12) -> tuple[list[Tensor], list[Tensor]]:
    """Of 3 to 5 steps, and their sums."""
    generator = torch.Generator().manual_seed(0)
    x = [torch.randn(3 + i % 3, 2, generator=generator) for i in range(n)]
    return x, [one.sum().reshape(1) for one in x]


def valid() -> ResumableLoader:
    return loader_of(*sequences())


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, weight_decay=0.1),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.9),
}


def made(fault: str = "", optimizer: str = "adamw", **options) -> SequenceModule:
    torch.manual_seed(0)
    task = Regression(y=SPEC.y)
    return SequenceModule(
        Reader(fault), task, OPTIMIZERS[optimizer], constant, {"config": {}}, **options
    )


def state_of(module: SequenceModule, trainer) -> tuple[list[Tensor], dict]:
    weights = [p.detach().clone() for p in module.parameters()]
    return weights, trainer.optimizers[0].state_dict()["state"]


def same(one, other) -> bool:
    torch.testing.assert_close(one, other, rtol=0, atol=0)
    return True


PLANTS = {
    "nan in x": "x holds nan at time step 2; example 7 of train",
    "inf in y": "y holds inf; example 7 of train",
    "large y": "the loss is inf but the outputs of the model are finite; example 7 of train",
    "forwards": "middle puts out inf at time step 3 from finite input; example 7 of train",
    "backwards": (
        "the gradient of first, middle is not finite but the loss is, it arises in middle;"
        " example 7 of train"
    ),
}


def planted(plant: str) -> tuple[list[Tensor], list[Tensor]]:
    x, y = sequences()
    if plant == "nan in x":
        x[BAD][1, 0] = torch.nan
    if plant == "inf in y":
        y[BAD][0] = torch.inf
    if plant == "large y":
        y[BAD][0] = 1e30
    if plant == "forwards":
        x[BAD][2, 0] = 2 * LARGE
    if plant == "backwards":
        x[BAD][0, 0] = 2 * LARGE
    return x, y


def fault_of(plant: str) -> str:
    return plant if plant in ("forwards", "backwards") else ""


@pytest.mark.parametrize(
    ("plant", "optimizer"),
    sorted({*((plant, "adamw") for plant in PLANTS), *(("large y", one) for one in OPTIMIZERS)}),
)
def test_a_bad_update_leaves_everything_as_it_was_and_is_named(
    plant, optimizer, trainer, watch, caplog, tmp_path, monkeypatch
):
    before, after = [], []
    training = made(fault_of(plant), optimizer)
    run = trainer(max_epochs=1)
    step = training.optimizer_step

    def watched(*arguments):
        before.append(state_of(training, run))
        step(*arguments)
        after.append(state_of(training, run))

    monkeypatch.setattr(training, "optimizer_step", watched)
    run.fit(training, loader_of(*planted(plant)), valid())
    assert same(before[2], after[2])
    assert not torch.equal(watch.weights[1], watch.weights[2])
    assert not torch.equal(watch.weights[3], watch.weights[4])
    assert watch.weights[4].isfinite().all()
    assert training.bad_steps.count == 1
    (record,) = [r for r in caplog.records if r.name.startswith("seqpipe")]
    assert record.getMessage() == (
        f"update 3 is skipped, 1 so far: {PLANTS[plant]}; kept in bad_steps/step_3_rank0.pt"
    )
    assert (tmp_path / "bad_steps" / "step_3_rank0.pt").is_file()


def without(x: list[Tensor], y: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """All but the third batch."""
    return x[:6] + x[9:], y[:6] + y[9:]


@pytest.mark.parametrize("plant", list(PLANTS))
def test_a_training_goes_on_as_if_the_bad_batch_had_not_been(plant, trainer, watch):
    def trained(loader):
        training = made(fault_of(plant), "adam")
        for drop in training.model.encoder.drops:
            drop.p = 0.0  # its numbers are drawn for the bad batch, too
        run = trainer(max_epochs=2)
        run.fit(training, loader, valid())
        return training, run

    bad, bad_run = trained(loader_of(*planted(plant)))
    good, good_run = trained(loader_of(*without(*planted(plant))))
    assert bad.bad_steps.count == 2
    assert same(state_of(bad, bad_run), state_of(good, good_run))
    for name in ("train/loss", "train/mae", "val/loss", "grad_norm/total"):
        assert bad_run.callback_metrics[name] == good_run.callback_metrics[name], name


def test_looking_for_the_culprit_draws_no_random_numbers(trainer, monkeypatch):
    def trained():
        training = made()
        trainer(max_epochs=2).fit(training, loader_of(*planted("large y")), valid())
        return [p.detach() for p in training.parameters()]

    looked = trained()
    monkeypatch.setattr("seqpipe.training.nonfinite_guard.find_nonfinite", lambda *a: None)
    assert same(looked, trained())


def test_all_batches_of_a_bad_update_are_left_out(trainer, watch, caplog):
    training = made()
    run = trainer(max_epochs=1, accumulate_grad_batches=2)
    run.fit(training, loader_of(*planted("nan in x")), valid())
    assert same(watch.weights[2], watch.weights[4])
    assert not torch.equal(watch.weights[1], watch.weights[2])
    assert "update 2 is skipped, 1 so far: x holds nan at time step 2; example 7" in caplog.text
    mae = run.callback_metrics["train/mae"]
    again = made()
    second = trainer(max_epochs=1, accumulate_grad_batches=2, limit_train_batches=2)
    second.fit(again, loader_of(*planted("nan in x")), valid())
    assert mae == second.callback_metrics["train/mae"]


def test_dropout_is_that_of_the_step_when_the_culprit_is_looked_for(trainer, caplog, tmp_path):
    """Which of the rows is too large depends on what dropout left of it."""
    seen = []

    class Watched(Middle):
        def forward(self, x):
            dropped = nn.functional.dropout(x * self.scale, 0.5, self.training)
            seen.append(dropped.detach().clone())
            return torch.where(dropped > LARGE, torch.inf, dropped)

    x, y = sequences()
    for example in range(6, 9):
        x[example][:, 0] = 2 * LARGE
    training = made()
    training.model.middle = Watched()
    trainer(max_epochs=1).fit(training, loader_of(x, y), valid())
    assert torch.equal(seen[2], seen[3])
    rows = (seen[2] > LARGE).flatten(1).any(dim=1)
    first = 1 + int((seen[2] > LARGE).any(dim=2).any(dim=0).int().argmax())
    named = ", ".join(str(6 + row) for row in range(3) if rows[row])
    assert f"at time step {first} from finite input; example" in caplog.text
    assert f" {named} of train" in caplog.text


def test_weights_that_are_not_finite_end_the_training_at_once(trainer):
    training = made(optimizer="sgd")

    class Bursting(torch.optim.SGD):
        def step(self, closure=None):
            closure()
            with torch.no_grad():
                training.model.head.weight.fill_(torch.inf)

    training.make_optimizer = lambda parameters: Bursting(parameters, lr=0.1)
    with pytest.raises(TrainingError) as caught:
        trainer(max_epochs=1).fit(training, loader_of(*sequences()), valid())
    assert str(caught.value).startswith(
        "update 2 is not possible: the weights of head are not finite; a lower optim.lr, "
    )


@pytest.mark.parametrize("options", [{"max_epochs": 1}, {"max_steps": 3, "max_epochs": 2}])
def test_weights_that_the_last_update_made_not_finite_are_told(trainer, options):
    training = made(optimizer="sgd")
    updates = options.get("max_steps", 4)

    class Bursting(torch.optim.SGD):
        def step(self, closure=None):
            closure()
            with torch.no_grad():
                if training.global_step == updates - 1:
                    training.model.head.weight.fill_(torch.nan)

    training.make_optimizer = lambda parameters: Bursting(parameters, lr=0.1)
    with pytest.raises(TrainingError) as caught:
        trainer(**options).fit(training, loader_of(*sequences()), valid())
    assert str(caught.value).startswith(
        f"after update {updates} the weights of head are not finite; a lower optim.lr, "
    )


@pytest.mark.parametrize("limit", [0, 2])
def test_a_training_survives_so_many_bad_updates_and_no_more(trainer, limit, watch, tmp_path):
    training = made(max_bad_steps=limit)
    with pytest.raises(TrainingError) as caught:
        trainer(max_epochs=9).fit(training, loader_of(*planted("nan in x")), valid())
    update = 4 * limit + 3
    assert str(caught.value) == (
        f"update {update} is not finite and trainer.max_bad_steps={limit}: x holds nan at time"
        " step 2; example 7 of train; a lower optim.lr, trainer.gradient_clip_val (1.0 is usual)"
        " or trainer.precision=32 may help; trainer.detect_anomaly=true names the operation"
    )
    assert len(list((tmp_path / "bad_steps").iterdir())) == limit + 1
    weights = nn.utils.parameters_to_vector(training.parameters())
    assert torch.equal(weights, watch.weights[-1])


def test_an_epoch_of_nothing_but_bad_updates_is_no_number(trainer):
    training = made()
    x, y = planted("inf in y")
    run = trainer(max_epochs=2, gradient_clip_val=1.0)
    run.fit(training, loader_of(x[6:9], y[6:9]), valid())
    assert training.bad_steps.count == 2
    assert "train/loss" not in run.callback_metrics
    assert run.callback_metrics["val/loss"].isfinite()


def test_buffers_get_back_what_they_held(trainer):
    training = made()
    training.model.first = nn.Sequential(nn.Flatten(0, 1), nn.BatchNorm1d(2), nn.Linear(2, 2))
    forward = training.model.first.forward
    training.model.first.forward = lambda x: forward(x).view(*x.shape)
    training.flow = type(training.flow)(dict(training.model.named_parameters()))
    trainer(max_epochs=1).fit(training, loader_of(*planted("nan in x")), valid())
    held = dict(training.model.named_buffers())
    assert training.bad_steps.count == 1
    assert held["first.1.running_mean"].isfinite().all()
    assert held["first.1.num_batches_tracked"] == 3


class Scaler:
    """As the scaler of 16-mixed: it skips steps whose gradients overflow."""


@pytest.mark.parametrize(("plant", "count"), [("large y", 1), ("backwards", 0)])
def test_where_gradients_are_scaled_only_a_loss_counts(plant, count, trainer, monkeypatch):
    training = made(fault_of(plant), "sgd")
    run = trainer(max_epochs=1)
    held = []

    class Skipping(torch.optim.SGD):
        def step(self, closure=None):
            closure()
            held.append(all(p.grad is not None for p in training.parameters()))
            if all(p.grad.isfinite().all() for p in training.parameters()):
                super().step()

    training.make_optimizer = lambda parameters: Skipping(parameters, lr=0.01)
    monkeypatch.setattr(run.precision_plugin, "scaler", Scaler(), raising=False)
    run.fit(training, loader_of(*planted(plant)), valid())
    assert training.bad_steps.count == count
    assert held == [True] * 4  # a scaler asks for gradients
    assert run.callback_metrics["train/loss"].isfinite()


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["32-true", "16-mixed"])
def test_on_a_gpu_a_bad_loss_is_skipped_and_named(precision, trainer, watch, caplog, tmp_path):
    training = made(optimizer="sgd")
    run = trainer(max_epochs=1, accelerator="gpu", devices=1, precision=precision)
    run.fit(training, loader_of(*planted("nan in x")), valid())
    assert training.bad_steps.count == 1
    assert "x holds nan at time step 2; example 7 of train" in caplog.text
    assert torch.equal(watch.weights[2], watch.weights[3])
    assert watch.weights[4].isfinite().all()
    assert read_kept_batch(tmp_path / "bad_steps" / "step_3_rank0.pt")["random"].keys() == {
        "cpu",
        "cuda",
    }


def test_what_is_kept_runs_again_and_shows_the_same(trainer, tmp_path):
    for plant, text in PLANTS.items():
        training = made(fault_of(plant))
        trainer(max_epochs=1).fit(training, loader_of(*planted(plant)), valid())
        saved = read_kept_batch(tmp_path / "bad_steps" / "step_3_rank0.pt")
        assert (saved["update"], saved["text"]) == (3, text)
        assert saved["batch"]["index"].tolist() == [6, 7, 8]
        again = Reader(fault_of(plant)).train()
        again.load_state_dict(saved["model"])
        cpu = torch.device("cpu")
        assert str(repeat_kept_batch(again, training.task, saved, cpu)) == text
        saved["batch"] |= {"x": torch.zeros(3, 5, 2), "y": torch.zeros(3, 1)}
        assert repeat_kept_batch(again, training.task, saved, cpu) is None


def test_what_is_not_ours_is_not_read(tmp_path):
    torch.save({"model": {}}, tmp_path / "foreign.pt")
    (tmp_path / "broken.pt").write_bytes(b"PK nothing")
    with pytest.raises(ValueError, match="not a batch that seqpipe kept"):
        read_kept_batch(tmp_path / "foreign.pt")
    with pytest.raises(ValueError, match="not a readable file of torch"):
        read_kept_batch(tmp_path / "broken.pt")


def test_anomaly_detection_names_the_operation_and_its_line(trainer):
    training = made("backwards")
    with pytest.raises(TrainingError) as caught:
        trainer(max_epochs=1, detect_anomaly=True).fit(
            training, loader_of(*planted("backwards")), valid()
        )
    assert str(caught.value).startswith(
        "update 3: Function '_WrongBackward' returned nan values in its 0th output, in "
    )
    assert "return _Wrong.apply(scaled, x); a lower optim.lr" in str(caught.value)


def test_a_bad_loss_without_a_nan_on_the_way_back_ends_anomaly_detection_too(trainer):
    x, y = planted("large y")
    with pytest.raises(TrainingError, match="update 3: the loss is inf, but no operation"):
        trainer(max_epochs=1, detect_anomaly=True).fit(made(), loader_of(x, y), valid())
