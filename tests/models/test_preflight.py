"""The pre-flight passes what works, and names what does not: what it is and where."""

import math
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from seqpipe.data.base import FieldSpec, SequenceBatch, SequenceSpec
from seqpipe.diagnostics import learning_checks
from seqpipe.diagnostics.preflight import preflight
from seqpipe.models.many_to_many import ManyToMany
from seqpipe.models.one_to_many import OneToMany
from seqpipe.nn.head import Head
from seqpipe.nn.masks import length_mask
from seqpipe.nn.pooling import MeanPooling
from seqpipe.nn.recurrent import RecurrentStack
from seqpipe.tasks.classification import Classification
from seqpipe.tasks.language_modeling import LanguageModeling
from seqpipe.tasks.regression import Regression
from seqpipe.tasks.tagging import Tagging
from seqpipe.tasks.transcription import Transcription

QUICK = ["shapes", "finite loss", "loss at initialisation", "gradients", "padding", "causality"]


def results(checked):
    return {check.name: check.result for check in checked.checks}


def detail(checked, name):
    return next(check.detail for check in checked.checks if check.name == name)


def test_every_model_of_ours_passes(build, ragged, case):
    cell, shape, bidirectional = case
    if cell == "rnn relu":
        pytest.skip("relus may start dead, which is told")
    changes = {"depth": 2, "bidirectional": bidirectional, "dropout": 0.2}
    if shape.startswith("encoder_decoder"):
        changes["architecture.decoder.bidirectional"] = False
        changes["architecture.teacher_forcing"] = 0.5
    model, task, spec, _ = build(shape, cell, **changes)
    checked = preflight(model, task, spec, ragged(spec))
    found = results(checked)
    assert list(found) == QUICK
    causal = shape.startswith(("one_to_many", "encoder_decoder")) or (
        shape.startswith("many_to_many") and not bidirectional
    )
    assert found.pop("causality") == ("passed" if causal else "does not apply")
    assert set(found.values()) == {"passed"}, checked.checks


def test_shapes_are_those_of_the_batch_with_both_directions_side_by_side(build, ragged):
    model, task, spec, _ = build("many_to_one last", depth=2, bidirectional=True)
    shapes = preflight(model, task, spec, ragged(spec)).shapes
    assert shapes["encoder.layers.0"] == shapes["encoder.layers.1"] == (4, 5, 16)
    assert shapes["head"] == (4, 4)


def test_a_model_that_reads_both_ways_promises_nothing(build, ragged):
    model, task, spec, _ = build("many_to_many", bidirectional=True)
    assert (
        detail(preflight(model, task, spec, ragged(spec)), "causality")
        == "the model reads in both directions"
    )


def test_nothing_is_changed(build, ragged):
    """Not the weights, the mode, the gradients, buffers, nor what chance draws next."""
    model, task, spec, _ = build("many_to_many", dropout=0.5)
    model.head.norm = nn.BatchNorm1d(4)
    model.head.register_forward_hook(lambda head, args, y: head.norm(y.mT).mT)
    model.train()
    model.head.train(False)
    next(model.parameters()).grad = torch.ones_like(next(model.parameters()))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    batch = ragged(spec)
    kept = batch.x.clone(), batch.y.clone()
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    drawn = random.random(), np.random.rand(), torch.rand(()).item()
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    checked = preflight(model, task, spec, batch, batch)
    assert (random.random(), np.random.rand(), torch.rand(()).item()) == drawn
    assert "not checked" not in results(checked).values()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert (model.training, model.head.training) == (True, False)
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    assert len(grads) == 1
    assert grads[0].eq(1).all()
    assert torch.equal(batch.x, kept[0])
    assert torch.equal(batch.y, kept[1])


class PoolsPadding(MeanPooling):
    """The mean over all steps, padding included."""

    def forward(self, outputs, real):
        return outputs.mean(dim=1)


class CountsPadding(ManyToMany):
    """Adds how many steps there are."""

    def forward(self, x, x_lengths, y=None, y_lengths=None):
        return super().forward(x, x_lengths) + x.shape[1]


def test_a_model_that_reads_padding_is_refused_by_its_part(build, ragged):
    model, task, spec, _ = build("many_to_one mean")
    model.pooling.__class__ = PoolsPadding
    checked = preflight(model, task, spec, ragged(spec))
    assert results(checked)["padding"] == "failed"
    told = detail(checked, "padding")
    assert told.startswith("3 extra padded steps change the answer: pooling is the first part")
    assert "example " in told


def test_a_model_that_counts_padding_outside_its_parts_is_refused(build, ragged):
    model, task, spec, _ = build("many_to_many")
    model.__class__ = CountsPadding
    checked = preflight(model, task, spec, ragged(spec))
    told = "the output of no part differs, but the answer does, example 1 of the batch, time"
    assert told in detail(checked, "padding")


class ForgetsLengths(RecurrentStack):
    def forward(self, x, lengths=None, state=None, **options):
        return super().forward(x, None, state, **options)


def test_a_stack_that_is_not_told_the_lengths_is_named(build, ragged):
    model, task, spec, _ = build("many_to_many", bidirectional=True, depth=2)
    model.encoder.__class__ = ForgetsLengths
    told = detail(preflight(model, task, spec, ragged(spec)), "padding")
    assert "encoder.layers.0.backwards is the first part that differs" in told


class Peeks(ManyToMany):
    """Step t reads x_{t+1}, too."""

    def _run(self, x, *args, **options):
        return super()._run(x + torch.roll(x, -1, dims=1), *args, **options)


class ReadsAhead(OneToMany):
    """Forgets to shift y by a step."""

    def _run(self, y, y_lengths, before, state, **options):
        outputs, final_state = self.decoder(self.input(y), y_lengths, state, **options)
        return self.head(outputs), final_state


@pytest.mark.parametrize(
    ("shape", "fault", "part"),
    [("many_to_many", Peeks, "input"), ("one_to_many", ReadsAhead, "input.embedding")],
)
def test_a_model_that_sees_what_comes_later_is_refused_by_part_and_step(
    build, ragged, shape, fault, part
):
    model, task, spec, _ = build(shape)
    model.__class__ = fault
    checked = preflight(model, task, spec, ragged(spec))
    assert results(checked)["causality"] == "failed"
    told = detail(checked, "causality")
    assert told.startswith("the answer at time step 1 depends on later steps: ")
    assert f"{part} is the first part that differs, example " in told


def test_dead_parameters_are_named(build, ragged):
    model, task, spec, _ = build("many_to_many", **{"architecture.head.hidden": [6]})
    model.spare = nn.Linear(2, 2)
    with torch.no_grad():
        model.head.layers[0].bias.fill_(-100.0)
    checked = preflight(model, task, spec, ragged(spec))
    assert results(checked)["gradients"] == "warning"
    told = detail(checked, "gradients")
    assert "spare.weight, spare.bias: not used by the loss" in told
    assert "head.layers.0.weight, head.layers.0.bias: gradient exactly 0" not in told
    assert "head.layers.0.weight" in told
    assert "head.output.bias" not in told


def test_a_model_that_cuts_its_own_gradient_is_told(build, ragged):
    model, task, spec, _ = build("many_to_many")
    model.head.register_forward_hook(lambda head, args, y: y.detach())
    told = detail(preflight(model, task, spec, ragged(spec)), "gradients")
    assert told == "the loss depends on no parameter; look for detach() or no_grad()"


@pytest.mark.parametrize("shape", ["many_to_one last", "encoder_decoder additive"])
def test_sequences_of_one_step_are_no_fault(build, ragged, shape):
    model, task, spec, _ = build(shape)
    batch = ragged(spec)
    batch.x, batch.x_lengths = batch.x[:, :1], torch.ones(4, dtype=torch.long)
    checked = preflight(model, task, spec, batch)
    assert results(checked)["gradients"] == "passed"
    assert "between steps, as each sequence has one step" in detail(checked, "gradients")


def test_tags_of_one_step_leave_nothing_to_learn_of_what_follows_what(build, ragged):
    model, task, spec, _ = build("many_to_many crf")
    batch, ones = ragged(spec), torch.ones(4, dtype=torch.long)
    batch = replace(batch, x=batch.x[:, :1], y=batch.y[:, :1], x_lengths=ones, y_lengths=ones)
    checked = preflight(model, task, spec, batch)
    assert results(checked)["gradients"] == "passed"
    stack = sum(1 for name, _ in model.named_parameters() if "hidden" in name)
    told = detail(checked, "gradients")
    assert f"except {stack + 1} between steps, as each sequence has one step" in told


def test_a_head_out_of_scale_is_told_and_the_run_goes_on(build, ragged):
    model, task, spec, _ = build("many_to_one last")
    with torch.no_grad():
        model.head.output.weight.mul_(300)
    checked = preflight(model, task, spec, ragged(spec))
    assert results(checked)["loss at initialisation"] == "warning"
    told = detail(checked, "loss at initialisation")
    assert "expected ln 4 = 1.386: over 1.5 times the expectation; the last layer's " in told
    assert "times as long as torch's; check the scale of the head's initial weights" in told


def test_a_model_that_reads_the_answer_is_told_of_its_first_loss():
    class Copies(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = Head(4, 4)

        def forward(self, x, x_lengths, y, y_lengths):
            return 20 * nn.functional.one_hot(y, 4).float() + self.head(x)

    spec = SequenceSpec(FieldSpec("vector", 4), FieldSpec("category", 4))
    task = Classification(y=spec.y)
    batch = SequenceBatch(torch.randn(6, 4), None, torch.arange(6) % 4, None, torch.arange(6))
    told = detail(preflight(Copies(), task, spec, batch), "loss at initialisation")
    assert "under 0.5 times the expectation; the model may read its own answer" in told


def test_weights_that_are_not_numbers_are_refused_by_name(build, ragged):
    model, task, spec, _ = build("many_to_many", depth=2)
    with torch.no_grad():
        next(iter(model.encoder.layers[1].parameters()))[0, 0] = math.nan
    checked = preflight(model, task, spec, ragged(spec))
    assert list(results(checked)) == QUICK[:2]
    text = "the first loss is nan: the weights of encoder.1.forwards are not finite"
    assert detail(checked, "finite loss") == text


def test_the_first_module_that_puts_out_nan_is_named_with_its_time_step(build, ragged):
    model, task, spec, _ = build("many_to_many")

    def spoil(head, args, y):
        return y.index_fill(1, torch.tensor([1]), math.nan)

    model.head.register_forward_hook(spoil)
    text = "the first loss is nan: head puts out nan at time step 2 from finite input"
    assert detail(preflight(model, task, spec, ragged(spec)), "finite loss") == text


def test_a_model_that_draws_in_evaluation_is_not_blamed(build, ragged):
    model, task, spec, _ = build("many_to_many")
    model.head.register_forward_hook(lambda head, args, y: y + 0.1 * torch.rand_like(y))
    checked = preflight(model, task, spec, ragged(spec))
    assert results(checked)["padding"] == results(checked)["causality"] == "not checked"


def test_a_model_that_cannot_be_run_so_does_not_end_the_run(ragged):
    class Odd(nn.Module):
        def forward(self, x):
            return x

    spec = SequenceSpec(FieldSpec("values", 3), FieldSpec("category", 4))
    checked = preflight(Odd(), Classification(y=spec.y), spec, ragged(spec))
    assert results(checked) == {"shapes": "not checked"}
    assert detail(checked, "shapes").startswith("TypeError: ")
    assert checked.line.startswith("preflight: 0 checks passed, 1 not checked (shapes) in ")


def test_ctc_is_looked_over_with_the_time_of_x(build, ragged):
    model, _, _, _ = build("many_to_many", **{"architecture.head.hidden": []})
    spec = SequenceSpec(FieldSpec("values", 3), FieldSpec("symbols", 9))
    model.head = Head(8, 9)
    batch = ragged(spec)
    batch.y = torch.tensor([[4, 3, 0, 0, 0]] * 4)
    batch.y_lengths = torch.full((4,), 2)
    found = results(preflight(model, Transcription(y=spec.y), spec, batch))
    assert found.pop("loss at initialisation") == "does not apply"
    assert set(found.values()) == {"passed"}
    model.__class__ = Peeks
    assert results(preflight(model, Transcription(y=spec.y), spec, batch))["causality"] == "failed"


def test_a_few_examples_are_memorised_and_what_cannot_be_is_told(build, ragged):
    model, task, spec, _ = build("many_to_one last", hidden_size=16)
    batch = ragged(spec)
    checked = preflight(model, task, spec, batch, batch)
    assert results(checked)["memorising"] == "passed"
    batch.x[:] = batch.x[:1, :1]  # alike for all
    batch.x_lengths[:] = 2
    batch.y = torch.arange(4)
    checked = preflight(model, task, spec, batch, batch)
    assert results(checked)["memorising"] == "warning"
    told = detail(checked, "memorising")
    assert told.startswith("4 examples, loss 1.")
    assert "in 300 updates of Adam, not under 10% of its start" in told


def test_memorising_that_takes_too_long_is_no_reason_to_doubt_the_data(build, ragged, monkeypatch):
    model, task, spec, _ = build("many_to_one last", hidden_size=16)
    batch = ragged(spec)
    batch.x[:], batch.x_lengths[:], batch.y = batch.x[:1, :1], 2, torch.arange(4)
    monkeypatch.setattr(learning_checks, "UPDATES", 10**9)
    monkeypatch.setattr(learning_checks, "SECONDS", 0.2)
    checked = preflight(model, task, spec, batch, batch)
    assert results(checked)["memorising"] == "not checked"
    assert detail(checked, "memorising").endswith("updates of Adam, no more within 0.2 s")


@pytest.mark.parametrize("shape", ["many_to_many crf", "many_to_many crf spans"])
def test_a_crf_memorises_a_few_examples(build, ragged, shape):
    model, task, spec, _ = build(shape, hidden_size=16, bidirectional=True)
    batch = ragged(spec)
    assert results(preflight(model, task, spec, batch, batch))["memorising"] == "passed"


@pytest.mark.parametrize("shape", ["many_to_one last", "many_to_many crf"])
def test_a_head_out_of_scale_is_told_below_a_crf_too(build, ragged, shape):
    model, task, spec, _ = build(shape)
    with torch.no_grad():
        model.head.output.bias.zero_()
        model.head.output.weight.mul_(300)
    told = detail(preflight(model, task, spec, ragged(spec)), "loss at initialisation")
    assert "the last layer's weights are" in told


def test_the_expected_first_loss_of_a_crf_is_that_of_potentials_of_0(build, ragged):
    for shape in ("many_to_many crf", "many_to_many crf spans"):
        _, task, spec, _ = build(shape)
        batch = ragged(spec)
        zeros = torch.zeros(*batch.y.shape, spec.y.size, spec.y.size)
        value, words = task.untrained_loss(batch)
        assert value == pytest.approx(task.loss(zeros, batch, training=False).item(), rel=1e-6)
        assert (words == "ln 4") == (shape == "many_to_many crf")
        assert (value < math.log(spec.y.size)) == (shape == "many_to_many crf spans")


@pytest.mark.parametrize("shape", ["many_to_one last", "many_to_many", "many_to_one labels"])
def test_the_expected_first_loss_is_that_of_outputs_of_0(build, ragged, shape):
    _, task, spec, _ = build(shape)
    batch = ragged(spec)
    zeros = torch.zeros(*batch.y.shape[: 1 if spec.y.kind != "tags" else 2], spec.y.size)
    value, _ = task.untrained_loss(batch)
    assert value == pytest.approx(task.loss(zeros, batch, training=False).item(), rel=1e-6)


def test_what_is_expected_of_numbers_and_what_a_constant_would_get():
    spec = FieldSpec("values", 1)
    y = torch.tensor([[[1.0], [3.0], [-8.0], [9e9]]])
    batch = SequenceBatch(None, None, y, torch.tensor([3]), torch.tensor([0]))
    squared, absolute = Regression(y=spec), Regression(y=spec, loss="absolute")
    assert squared.untrained_loss(batch) == (pytest.approx(74 / 3), "mean of y^2")
    assert squared.marginal_loss(batch) == (pytest.approx(74 / 3 - 16 / 9), "variance of y")
    assert absolute.untrained_loss(batch) == (4.0, "mean of |y|")
    assert absolute.marginal_loss(batch) == (
        pytest.approx(11 / 3),
        "mean distance to the median of y",
    )


def test_the_marginal_is_the_entropy_of_the_training_labels():
    counts = np.array([3, 1, 0, 0])
    for make, kind in (
        (Classification, "category"),
        (Tagging, "tags"),
        (LanguageModeling, "symbols"),
    ):
        value, words = make(y=FieldSpec(kind, 4, counts=counts)).marginal_loss(None)
        assert value == pytest.approx(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
        assert words == "entropy of the training labels"
    assert Classification(y=FieldSpec("category", 4)).marginal_loss(None) is None


def test_padding_that_is_poisoned_is_all_of_it(ragged):
    from seqpipe.diagnostics.output_checks import poisoned

    spec = SequenceSpec(FieldSpec("values", 3), FieldSpec("symbols", 9))
    batch = ragged(spec)
    bad = poisoned(batch, spec)
    assert bad.x.shape[1] == 8
    assert bad.y.shape[1] == 9  # of another length: which time is whose can be told
    real = length_mask(batch.x_lengths, 8)
    assert bad.x[~real].eq(1e6).all()
    assert torch.equal(bad.x[:, :5][real[:, :5]], batch.x[real[:, :5]])
    assert bad.y[~length_mask(batch.y_lengths, 9)].eq(8).all()
