"""Averages of the weights against the formulas, and when they begin."""

from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning import Callback

from seqpipe.training.averaging import MovingAverage, TriggeredMean

LOSS = {"monitor": "val/loss", "mode": "min"}


def flat(weights):
    return torch.nn.utils.parameters_to_vector(weights).detach()


def moving(weights, decay):
    """The average after each of some weights, as the formula has it."""
    average = weights[0]
    for t, newest in enumerate(weights[1:], start=1):
        d = min(decay, (1 + t) / (10 + t))
        average = d * average + (1 - d) * newest
    return average


class ValidatedWeights(Callback):
    """The weights in the model at each validation, and after it."""

    def __init__(self):
        self.during, self.after = [], []

    def on_validation_epoch_start(self, trainer, pl_module):
        self.during.append(flat(pl_module.parameters()).clone())

    def on_train_epoch_start(self, trainer, pl_module):
        self.after.append(flat(pl_module.parameters()).clone())


@pytest.mark.parametrize("decay", [0.0, 0.3, 0.9])
def test_a_moving_average_follows_its_formula_and_the_training_does_not(
    decay, module, trainer, loader, watch
):
    plain = trainer(max_epochs=3)
    plain.fit(module(), loader(), loader())
    raw, watch.weights = watch.weights, []
    seen, trained = ValidatedWeights(), module()
    trainer(MovingAverage(decay=decay), seen, max_epochs=3).fit(trained, loader(), loader())
    torch.testing.assert_close(watch.weights, raw, rtol=0, atol=0)  # all 12 updates are the same
    for epoch, during in enumerate(seen.during, start=1):
        wanted = moving(raw[1 : 4 * epoch + 1], decay)
        torch.testing.assert_close(during, wanted)
    assert torch.equal(seen.after[1], raw[4])
    torch.testing.assert_close(flat(trained.parameters()), moving(raw[1:], decay))


def test_a_mean_from_an_epoch_on_is_the_mean_of_all_weights_since(module, trainer, loader, watch):
    seen, trained = ValidatedWeights(), module()
    average = TriggeredMean(**LOSS, start_epoch=2)
    trainer(average, seen, max_epochs=3).fit(trained, loader(), loader())
    raw = watch.weights
    assert torch.equal(seen.during[0], raw[4])  # not begun
    torch.testing.assert_close(seen.during[1], torch.stack(raw[5:9]).mean(dim=0))
    torch.testing.assert_close(flat(trained.parameters()), torch.stack(raw[5:13]).mean(dim=0))
    assert (average.count, average.begun) == (8, 5)


def trigger(values, patience):
    """The number of validations before which algorithm 1 of Merity et al. (2018) begins."""
    logs = []
    for t, v in enumerate(values):
        if t > patience and v > min(logs[: t - patience]):
            return t + 1
        logs.append(v)
    return None


STALLS = [
    [5, 4, 3, 2, 3, 3, 3, 3],
    [5, 4, 6, 6, 6, 6, 6],
    [5, 4, 3, 2, 1, 0],
    [1, 1, 1, 1, 1, 1],  # not worse
    [1, 2, 3],
    [3, 4, 2, float("inf"), 5, 5, 5],
]


@pytest.mark.parametrize("values", STALLS)
@pytest.mark.parametrize("patience", [1, 2, 5])
@pytest.mark.parametrize("mode", ["min", "max"])
def test_a_mean_begins_where_the_algorithm_of_the_paper_does(values, patience, mode, module):
    average, begun = TriggeredMean(monitor="val/x", mode=mode, patience=patience), None
    model = module()
    for number, value in enumerate(values, start=1):
        shown = torch.tensor(float(value if mode == "min" else -value))
        state = {"state": SimpleNamespace(fn="fit"), "sanity_checking": False}
        now = {"callback_metrics": {"val/x": shown}, "current_epoch": 0, "global_step": number}
        average.on_validation_end(SimpleNamespace(**state, **now), model)
        if begun is None and average.average:
            begun = average.begun
            assert average.count == 1
    assert begun == trigger(values, patience)


def nan_in_the_second(x):
    y = x.sum(dim=1, keepdim=True) + 3.0
    y[4] = torch.nan
    return y


def test_an_update_that_is_skipped_adds_nothing(module, trainer, loader, watch):
    trained, average = module(), MovingAverage(decay=0.5)
    trainer(average, max_epochs=2).fit(trained, loader(target=nan_in_the_second), loader())
    assert trained.bad_steps.count == 2
    good = [watch.weights[n] for n in (1, 3, 4, 5, 7, 8)]
    assert average.count == 6
    torch.testing.assert_close(flat(trained.parameters()), moving(good, 0.5))


def test_the_batches_of_one_update_count_once(module, trainer, loader, watch):
    trained, average = module(), MovingAverage(decay=0.5)
    run = trainer(average, max_epochs=2, accumulate_grad_batches=2)
    run.fit(trained, loader(), loader())
    assert average.count == 4
    updates = [watch.weights[n] for n in (2, 4, 6, 8)]
    torch.testing.assert_close(flat(trained.parameters()), moving(updates, 0.5))


def test_an_average_that_never_began_is_reported(module, trainer, loader, tmp_path, caplog):
    average = TriggeredMean(**LOSS, patience=2)
    trainer(average, max_epochs=1).fit(module(), loader(), loader())
    assert "never began" in caplog.text
    assert "val/loss never stalled for 2 validations" in average.findings(tmp_path, "")[0].text
