"""The gradient's norms by part, the size of the steps, what clipping did, and advice on it."""

import math

import pytest
import torch
from pytorch_lightning.loggers.logger import DummyLogger
from torch import nn

from seqpipe.training.gradient_stats import GradientFlow, group_of, norms_by_group


class Recorder(DummyLogger):
    """Keeps (step, metrics)."""

    def __init__(self):
        super().__init__()
        self.rows = []

    def log_metrics(self, metrics, step=None):
        self.rows.append((step, dict(metrics)))

    def of(self, name):
        return [(step, row[name]) for step, row in self.rows if name in row]


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("encoder.layers.0.forwards.cell.weight_hidden", "encoder.0.forwards"),
        ("encoder.layers.11.backwards.initial.h", "encoder.11.backwards"),
        ("decoder.layers.1.forwards.cell.bias", "decoder.1.forwards"),
        ("tower.stack.layers.1.forwards.cell.bias", "tower.stack.1.forwards"),
        ("head.layers.0.weight", "head"),
        ("head.output.weight", "head"),
        ("input.embedding.weight", "input"),
        ("scale", "scale"),
    ],
)
def test_a_part_is_named_as_a_person_names_it(name, group):
    assert group_of(name) == group


def test_norms_of_parts_add_up_to_the_norm_of_the_whole():
    model = nn.ModuleDict({"a": nn.Linear(3, 4), "b": nn.Linear(4, 2), "idle": nn.Linear(2, 2)})
    flow = GradientFlow(dict(model.named_parameters()))
    model["b"](model["a"](torch.randn(5, 3))).square().sum().backward()
    total = flow.measure()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert total == pytest.approx(nn.utils.get_total_norm(gradients).item(), rel=1e-6)
    assert set(flow.groups) == {"a", "b"}
    assert math.hypot(*flow.groups.values()) == pytest.approx(total)
    by_hand = torch.cat([p.grad.flatten() for p in model["a"].parameters()]).norm().item()
    assert flow.groups["a"] == pytest.approx(by_hand, rel=1e-6)


def test_the_norm_of_a_part_is_the_root_of_its_squares():
    assert norms_by_group(["a", "b", "a"], [3.0, 7.0, 4.0]) == {"a": 5.0, "b": 7.0}


@pytest.mark.parametrize("size", [1e20, 1e30, 3e38])
def test_a_gradient_whose_squares_overflow_is_finite_and_is_clipped(size):
    weights = [nn.Parameter(torch.zeros(4)), nn.Parameter(torch.zeros(2))]
    weights[0].grad, weights[1].grad = torch.full((4,), size), torch.tensor([0.0, -size])
    flow = GradientFlow({"head.w": weights[0], "tail.w": weights[1]})
    assert flow.measure() == pytest.approx(math.sqrt(5) * size, rel=1e-6)
    assert flow.groups == pytest.approx({"head": 2 * size, "tail": size}, rel=1e-6)
    flow.clip(1.0, "norm")
    torch.testing.assert_close(weights[0].grad, torch.full((4,), 1 / math.sqrt(5)))
    torch.testing.assert_close(weights[1].grad, torch.tensor([0.0, -1 / math.sqrt(5)]))


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
def test_a_gradient_with_a_number_that_is_not_finite_is_not(number):
    weight = nn.Parameter(torch.zeros(4))
    weight.grad = torch.tensor([1e30, 1e30, number, 0.0])
    assert not math.isfinite(GradientFlow({"weight": weight}).measure())


def test_a_training_whose_squares_overflow_goes_on_clipped(module, trainer, loader, watch):
    made = module(scale=1e12)
    run = trainer(max_epochs=1, gradient_clip_val=1.0)
    run.fit(made, loader(target=lambda x: 1e12 * x[:, :1]), loader())
    assert made.bad_steps.count == 0
    steps = [(b - a).norm().item() for a, b in zip(watch.weights, watch.weights[1:], strict=False)]
    assert steps == pytest.approx([0.1] * 4, rel=1e-4)


def test_every_update_that_is_logged_says_how_far_it_went(module, trainer, loader, watch):
    recorder = Recorder()
    run = trainer(max_epochs=2, logger=recorder, log_every_n_steps=2, gradient_clip_val=0.5)
    run.fit(module(), loader(), loader())
    logged = recorder.of("update_ratio/linear")
    assert [step for step, _ in logged] == [1, 3, 5, 7]
    totals, parts = recorder.of("grad_norm/total"), recorder.of("grad_norm/linear")
    assert dict(parts) == pytest.approx(dict(totals))
    for step, ratio in logged:
        before, after = watch.weights[step], watch.weights[step + 1]
        wanted = ((after - before).norm() / before.norm()).item()
        assert ratio == pytest.approx(wanted, rel=1e-4)


def test_the_size_of_a_step_counts_all_the_batches_of_its_update(module, trainer, loader, watch):
    recorder = Recorder()
    run = trainer(max_epochs=2, logger=recorder, accumulate_grad_batches=2)
    run.fit(module(), loader(), loader())
    logged = recorder.of("update_ratio/linear")
    assert [step for step, _ in logged] == [1, 2, 3]  # from zero weights there is no ratio
    for step, ratio in logged:
        before, after = watch.weights[2 * step], watch.weights[2 * step + 2]
        assert ratio == pytest.approx(((after - before).norm() / before.norm()).item(), rel=1e-4)


def spiking(x):
    """One large y among 60 in the fifth of 20 batches."""
    y = x.sum(dim=1, keepdim=True)
    y[13] = 1e4
    return y


def test_a_spike_between_two_logged_updates_is_seen_in_its_window(module, trainer, loader):
    recorder = Recorder()
    run = trainer(max_epochs=1, logger=recorder, log_every_n_steps=8, gradient_clip_val=1e-3)
    run.fit(module(), loader(n=60, target=spiking), loader())
    assert max(norm for _, norm in recorder.of("grad_norm/total")) < 100
    largest, p99 = recorder.of("grad_norm/window_max"), recorder.of("grad_norm/window_p99")
    assert [step for step, _ in largest] == [step for step, _ in p99] == [7, 15, 19]
    assert largest[0][1] > 1e3 > p99[1][1]
    assert largest[1][1] < 100
    assert all(high >= near for (_, high), (_, near) in zip(largest, p99, strict=True))


def test_windows_are_as_long_as_the_page_of_the_tracker_can_show(module, trainer, loader):
    made = module()
    trainer(max_epochs=1000, max_steps=4).fit(made, loader(), loader())
    assert made.flow.window == 1
    trainer(max_epochs=700, max_time="00:00:00:01").fit(made, loader(), loader())
    assert made.flow.window == math.ceil(700 * 4 / 300)


@pytest.mark.parametrize("algorithm", ["norm", "value"])
def test_the_scale_of_clipping_is_the_mean_of_the_norm_after_over_that_before(
    module, trainer, loader, watch, algorithm
):
    limit = 5.0
    run = trainer(max_epochs=1, gradient_clip_val=limit, gradient_clip_algorithm=algorithm)
    run.fit(
        module(lambda parameters: torch.optim.SGD(parameters, lr=0.03)),
        loader(target=lambda x: 10 * x[:, :1]),
        loader(),
    )
    scales = []
    for weights, batch in zip(watch.weights, watch.batches, strict=False):
        ones = torch.cat([batch.x, torch.ones(len(batch), 1)], dim=1)
        gradient = 2 * ((ones @ weights - batch.y[:, 0]).unsqueeze(1) * ones).mean(dim=0)
        after = gradient.clamp(-limit, limit)
        if algorithm == "norm":
            after = gradient * min(1.0, limit / gradient.norm().item())
        scales.append((after.norm() / gradient.norm()).item())
    assert len(scales) == 4
    assert 0.1 < sum(scales) / 4 < 0.99
    logged = run.callback_metrics["grad_norm/clip_scale"].item()
    assert logged == pytest.approx(sum(scales) / 4, rel=1e-5)


def told(norms, limit=None, algorithm="norm"):
    """Advice after a training with these norms."""
    weight = nn.Parameter(torch.zeros(1))
    flow = GradientFlow({"weight": weight})
    for norm in norms:
        weight.grad = torch.tensor([norm])
        flow.measure()
        if limit is not None:
            flow.clip(limit, algorithm)
        flow.count_update()
    other = GradientFlow({"weight": weight})
    other.load_state_dict(flow.state_dict())
    other._limit, other._by_value = flow._limit, flow._by_value
    assert other.advice() == flow.advice()
    return flow.advice()


HALVES = [0.5, 0.25] * 100
ADVICE = {
    "never acts": (
        *(HALVES, 1.0, "norm", "trainer.gradient_clip_val=1 never acted in 200 updates: "),
        "the largest norm of the gradient was 0.5",
    ),
    "never acts on a number": (
        *(HALVES, 1.0, "value", "trainer.gradient_clip_val=1 never acted in 200 updates: "),
        "the largest entry of the gradient was 0.5",
    ),
    "always acts": (
        *([2.0] * 190 + [0.1] * 10, 1.0, "norm"),
        "trainer.gradient_clip_val=1 acted in 95% of 200 updates, so it acts like a smaller",
        " learning rate: the median norm of the gradient was 2",
    ),
    "a spike that nothing clips": (
        *([1.0] * 199 + [500.0], None, "norm"),
        "nothing was clipped, and the largest norm of the gradient was 500, 500 times the median",
        " of 1: trainer.gradient_clip_val would bound such steps",
    ),
    "no update": ([], 1.0, "norm", "no update was made, ", "so the weights are the initial ones"),
    "does its work": ([2.0, 0.5] * 100, 1.0, "norm"),
    "nothing to clip": ([1.0] * 200, None, "norm"),
    "a small spike": ([1.0] * 199 + [90.0], None, "norm"),
    "too few updates": ([0.1] * 99, 1.0, "norm"),
}


@pytest.mark.parametrize("case", ADVICE)
def test_advice_on_clipping(case):
    norms, limit, algorithm, *sentence = ADVICE[case]
    assert told(norms, limit, algorithm) == (["".join(sentence)] if sentence else [])
