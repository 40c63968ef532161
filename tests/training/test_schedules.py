"""The optimizer of a training, and the learning rate of every step against the formula."""

import copy
import math

import pytest
import torch

from seqpipe.training import schedules

ABOUT = {"monitor": "val/loss", "mode": "min"}


def lrs_of(make_schedule, steps, lr=0.5, **options):
    """The learning rate at each step, for a schedule that moves every `interval`."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    schedule = make_schedule(optimizer, total_steps=steps, **ABOUT, **options)
    seen = []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule["scheduler"].step()
    return seen, schedule


def test_cosine_falls_along_half_a_wave_to_its_ratio():
    seen, schedule = lrs_of(schedules.cosine, 10, min_lr_ratio=0.1)
    wanted = [0.5 * (0.1 + 0.9 * (1 + math.cos(math.pi * step / 10)) / 2) for step in range(10)]
    assert seen == pytest.approx(wanted)
    assert schedule["interval"] == "step"
    optimizer = schedule["scheduler"].optimizer
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.05)  # after the last step
    schedule["scheduler"].step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.05)  # it does not rise again


def test_warmup_cosine_rises_in_a_line_then_falls_along_half_a_wave():
    seen, schedule = lrs_of(schedules.warmup_cosine, 20, warmup_ratio=0.2, min_lr_ratio=0.5)
    rise = [0.5 * k / 5 for k in (1, 2, 3, 4)]
    fall = [0.5 * (0.5 + 0.5 * (1 + math.cos(math.pi * k / 16)) / 2) for k in range(16)]
    assert seen == pytest.approx(rise + fall)
    assert schedule["interval"] == "step"


def test_step_halves_after_every_so_many_epochs():
    seen, schedule = lrs_of(schedules.step, 7, step_size=3, gamma=0.5)
    assert seen == pytest.approx([0.5] * 3 + [0.25] * 3 + [0.125])
    assert schedule["interval"] == "epoch"


@pytest.mark.parametrize("mode", ["min", "max"])
def test_plateau_waits_for_patience_then_lowers_down_to_the_least(mode):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.8)
    schedule = schedules.plateau(
        optimizer,
        total_steps=100,
        monitor="val/x",
        mode=mode,
        factor=0.5,
        patience=2,
        min_lr=0.2,
    )
    assert (schedule["monitor"], schedule["interval"]) == ("val/x", "epoch")
    seen = []
    for value in [5.0, 4.0, 4.0, 4.0, 4.0, 3.0, 3.5, 3.5, 3.5, 3.5, 3.5, 3.5]:
        schedule["scheduler"].step(value if mode == "min" else 9.0 - value)
        seen.append(optimizer.param_groups[0]["lr"])
    assert seen == [0.8, 0.8, 0.8, 0.8, 0.4, 0.4, 0.4, 0.4, 0.2, 0.2, 0.2, 0.2]


@pytest.mark.parametrize(("start_epoch", "gamma"), [(4, 0.5), (6, 1 / 1.2), (1, 0.9)])
def test_decay_keeps_the_rate_up_to_an_epoch_and_then_multiplies_it_at_each(start_epoch, gamma):
    seen, schedule = lrs_of(schedules.decay, 9, start_epoch=start_epoch, gamma=gamma)
    wanted = [0.5 * gamma ** max(0, epoch - start_epoch) for epoch in range(1, 10)]
    assert seen == pytest.approx(wanted)
    assert schedule["interval"] == "epoch"


EPOCHWISE = {
    "none": (schedules.constant, {}, lambda epoch: 1.0),
    "step": (schedules.step, {"step_size": 2, "gamma": 0.25}, lambda e: 0.25 ** (e // 2)),
    "decay": (schedules.decay, {"start_epoch": 1}, lambda epoch: 0.5**epoch),
    "plateau": (schedules.plateau, {"patience": 0}, lambda epoch: 0.5 ** max(0, epoch - 1)),
}


@pytest.mark.parametrize("name", EPOCHWISE)
def test_a_warm_up_multiplies_what_the_schedule_says(name, module, trainer, loader, watch):
    """Ten updates of 16, while the schedule by epochs acts in the middle of them."""
    make, options, factor = EPOCHWISE[name]

    def schedule(optimizer, **about):
        return make(optimizer, **options, **about, warmup_steps=10)

    never_better = module(make_schedule=schedule, scale=0.0)
    trainer(max_epochs=4).fit(never_better, loader(), loader())
    risen = [min(1.0, (update + 1) / 11) for update in range(16)]
    wanted = [0.1 * risen[update] * factor(update // 4) for update in range(16)]
    assert watch.lrs == pytest.approx(wanted, rel=1e-12)
    assert watch.lrs[12:] == [0.1 * factor(3)] * 4  # exactly, once it is over


def test_a_warm_up_before_a_cosine_ends_where_the_cosine_begins():
    seen, _ = lrs_of(schedules.cosine, 20, warmup_steps=4)
    by_ratio, _ = lrs_of(schedules.warmup_cosine, 20, warmup_ratio=0.2)
    assert seen == by_ratio
    assert max(seen) == seen[4] == 0.5


@pytest.mark.parametrize("make", [schedules.constant, schedules.step, schedules.decay])
def test_without_a_warm_up_there_is_no_second_schedule(make):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    assert not isinstance(make(optimizer, total_steps=9, **ABOUT), list)


@pytest.mark.parametrize(("warmup", "said"), [(9, False), (10, True)])
@pytest.mark.parametrize("name", ["constant", "cosine", "step", "decay", "plateau"])
def test_a_warm_up_as_long_as_the_run_is_said(name, warmup, said, caplog):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    getattr(schedules, name)(optimizer, total_steps=10, **ABOUT, warmup_steps=warmup)
    text = "a warm-up of 10 updates: the run has 10 and never reaches optim.lr"
    assert caplog.messages == [text] * said


def test_no_schedule_leaves_the_learning_rate(module, trainer, loader, watch):
    assert (
        schedules.constant(torch.optim.SGD([torch.zeros(1)], lr=1), total_steps=1, **ABOUT) is None
    )
    trainer(max_epochs=3).fit(module(), loader(), loader())
    assert watch.lrs == [0.1] * 12


def test_a_schedule_by_steps_is_moved_at_each_step_of_a_run(module, trainer, loader, watch):
    trainer(max_epochs=3).fit(module(make_schedule=schedules.cosine), loader(), loader())
    wanted = [0.1 * (1 + math.cos(math.pi * step / 12)) / 2 for step in range(12)]
    assert watch.lrs == pytest.approx(wanted)


def test_a_schedule_knows_of_accumulated_batches(module, trainer, loader, watch):
    run = trainer(max_epochs=2, accumulate_grad_batches=2)
    run.fit(module(make_schedule=schedules.cosine), loader(), loader())
    wanted = [0.1 * (1 + math.cos(math.pi * update / 4)) / 2 for update in range(4)]
    assert watch.lrs[::2] == pytest.approx(wanted)


def test_a_schedule_by_epochs_is_moved_at_each_epoch_of_a_run(module, trainer, loader, watch):
    def halve(optimizer, **about):
        return schedules.step(optimizer, step_size=1, gamma=0.5, **about)

    trainer(max_epochs=3).fit(module(make_schedule=halve), loader(), loader())
    assert watch.lrs == [0.1] * 4 + [0.05] * 4 + [0.025] * 4


def test_plateau_reacts_to_a_validation_that_does_not_get_better(module, trainer, loader, watch):
    def reduce(optimizer, **about):
        return schedules.plateau(optimizer, patience=0, **about)

    never_better = module(make_schedule=reduce, scale=0.0)
    trainer(max_epochs=4).fit(never_better, loader(), loader())
    assert watch.lrs[::4] == pytest.approx([0.1, 0.1, 0.05, 0.025])


def test_a_training_takes_the_optimizer_that_the_check_made(trainer, module, loader):
    checked, run = module(), trainer(max_epochs=1)
    made, of_copy = checked.optimizer(), copy.deepcopy(checked).optimizer()
    run.fit(checked, loader(), loader())
    assert run.optimizers[0] is made
    assert made.param_groups[0]["params"][0] is checked.model.linear.weight
    assert of_copy.param_groups[0]["params"][0] is not checked.model.linear.weight


def test_the_state_of_an_optimizer_is_made_in_the_precision_of_the_training(
    trainer, module, loader
):
    """Adagrad has sums of squares from the start: 0.1 of float32 is another number in float64."""

    def adagrad(parameters):
        return torch.optim.Adagrad(parameters, lr=0.1, initial_accumulator_value=0.1)

    checked, unchecked = module(adagrad), module(adagrad)
    checked.optimizer()
    sums = []
    for one in (checked, unchecked):
        torch.manual_seed(0)
        run = trainer(precision="64-true", max_epochs=1)
        run.fit(one, loader(), loader())
        sums.append([state["sum"] for state in run.optimizers[0].state.values()])
    assert {value.dtype for value in sums[0]} == {torch.float64}
    assert all(map(torch.equal, *sums))
    assert run.optimizers[0].param_groups[0]["params"][0] is unchecked.model.linear.weight


class Outer(torch.optim.Optimizer):
    """An optimizer that steps another one, with which it shares its groups."""

    def __init__(self, params, lr, weight_decay):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})
        self.inner = torch.optim.SGD(self.param_groups, lr=lr, weight_decay=weight_decay)
        self.param_groups = self.inner.param_groups

    def step(self, closure=None):
        return self.inner.step(closure)


def test_groups_of_decay_are_given_to_the_optimizer_when_it_is_made(module):
    """One that steps another would go on decaying every parameter."""
    made = module(lambda groups: Outer(groups, lr=0.1, weight_decay=0.5))
    made.bias = torch.nn.Parameter(torch.zeros(1))
    optimizer = made.optimizer()
    assert [group["weight_decay"] for group in optimizer.inner.param_groups] == [0.5, 0.0]
    assert optimizer.param_groups is optimizer.inner.param_groups
