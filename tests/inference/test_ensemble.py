"""Several models that answer as one: the mean of their probabilities, or of their numbers."""

import numpy as np
import pytest
import torch
from torch import nn

from seqpipe.data.base import FieldSpec, SequenceBatch
from seqpipe.inference.ensemble import Ensemble, _same
from seqpipe.tasks.averages import Averages
from seqpipe.tasks.classification import Classification
from seqpipe.tasks.language_modeling import LanguageModeling
from seqpipe.tasks.multi_label import MultiLabel
from seqpipe.tasks.ordinal import Ordinal
from seqpipe.tasks.regression import Regression
from seqpipe.tasks.tagging import Tagging
from seqpipe.tasks.transcription import Transcription
from seqpipe.tasks.transduction import Transduction
from seqpipe.training.carried_state import Carried, answer

NAMES = ("a", "b", "c")
TASKS = {
    "classification": Classification(y=FieldSpec("category", 3, names=NAMES)),
    "ordinal": Ordinal(y=FieldSpec("ordinal", 3, names=NAMES)),
    "multi_label": MultiLabel(y=FieldSpec("multi_label", 3, names=NAMES)),
    "tagging": Tagging(y=FieldSpec("tags", 3, names=NAMES)),
    "language_modeling": LanguageModeling(y=FieldSpec("symbols", 9)),
}


@pytest.fixture(autouse=True)
def nothing_is_trained():
    with torch.inference_mode():
        yield


class Fixed(nn.Module):
    """Gives the same outputs to every x; carried, it adds how many batches came before."""

    def __init__(self, outputs):
        super().__init__()
        self.outputs = nn.Parameter(outputs)

    def forward(self, x, x_lengths, y, y_lengths):
        return self.outputs

    def start(self, rows):
        return torch.zeros(rows, 1)

    def carry(self, x, x_lengths, y, y_lengths, carried):
        return self.outputs + carried.unsqueeze(1), carried + 1


@pytest.mark.parametrize("name", TASKS)
def test_the_probabilities_of_an_ensemble_are_the_mean_of_those_of_its_models(name):
    task, generator = TASKS[name], torch.Generator().manual_seed(0)
    steps = (4, 5) if name in ("tagging", "language_modeling") else (4,)
    shape = (*steps, task.output_size)
    outputs = [3 * torch.randn(shape, generator=generator) for _ in range(3)]
    batch = SequenceBatch(None, None, torch.zeros(shape[:-1], dtype=torch.int64), None, None)
    made = Ensemble(task, [Fixed(one) for one in outputs])(None, None, None, None)

    def chances(outputs):
        known = task.probabilities(outputs, batch)
        return outputs.softmax(dim=-1) if known is None else known

    mean = torch.stack([*map(chances, outputs)]).mean(dim=0)
    assert chances(made).numpy() == pytest.approx(mean.numpy(), abs=1e-6)
    if name != "multi_label":  # also where all models but one are certain
        sure = torch.full(shape, -200.0)
        sure[..., 0] = 0.0
        assert task.averaged([sure, sure, outputs[0]]).isfinite().all()


def test_the_numbers_of_an_ensemble_are_the_mean_of_those_of_its_models():
    task = Regression(y=FieldSpec("number", 1, mean=10.0, scale=2.0))
    models = [Fixed(torch.tensor([[one]])) for one in (1.0, 2.0, 6.0)]
    ensemble = Ensemble(task, models)
    assert ensemble(None, None, None, None).tolist() == [[3.0]]
    assert ensemble.has_numbers
    assert ensemble.agreement() == [4.0, 2.0, 6.0], "in the units of the data"


def test_agreement_counts_decisions_of_real_steps():
    right, wrong = (
        torch.tensor([[[5.0, 0, 0], [0, 5.0, 0]]]),
        torch.tensor([[[0, 1.0, 0], [0, 1.0, 0]]]),
    )
    ensemble = Ensemble(TASKS["tagging"], [Fixed(right), Fixed(wrong)])
    ensemble(None, None, None, torch.tensor([1]))
    assert ensemble.agreement() == [1.0, 0.0]
    ensemble(None, None, None, torch.tensor([2]))
    assert ensemble.agreement() == pytest.approx([1.0, 1 / 3])


def test_each_model_of_an_ensemble_carries_its_own_state():
    models = [Fixed(torch.zeros(2, 3, 9)), Fixed(torch.ones(2, 3, 9).cumsum(dim=-1))]
    ensemble, carried = Ensemble(TASKS["language_modeling"], models), Carried()
    y, lanes = torch.zeros(2, 3, dtype=torch.int64), torch.tensor([0, 1])
    fresh = torch.tensor([True, False])
    batch = SequenceBatch(None, None, y, torch.tensor([3, 3]), lanes, lane=lanes, fresh=fresh)
    for _ in range(3):
        answer(ensemble, batch, carried)
    first, second = carried.lanes
    assert first.flatten().tolist() == second.flatten().tolist() == [1.0, 3.0]


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ({"mean": np.array([1.0, np.nan])}, {"mean": np.array([1.0, np.nan])}, True),
        ({"mean": np.array([1.0, 2.0])}, {"mean": np.array([1.0, 2.5])}, False),
        ({"names": ("a", "b")}, {"names": ["a", "b"]}, True),
        ({"names": ["a", "b"]}, {"names": ["a"]}, False),
        ({"a": {"w": torch.ones(2)}}, {"a": {"w": torch.zeros(2)}}, False),
        ({"a": None}, {"b": None}, False),
    ],
)
def test_states_of_fields_are_compared_with_the_arrays_in_them(one, other, equal):
    assert _same(one, other) is equal


@pytest.mark.parametrize("task", [Transduction, Transcription])
def test_answers_that_are_written_have_no_average(task):
    assert not hasattr(task, "averaged")


def test_a_crf_says_why_it_has_no_average():
    crf = Tagging(y=FieldSpec("tags", 3, names=NAMES), crf=True)
    assert isinstance(crf, Averages)
    assert crf.why_no_average.startswith("a CRF judges whole sequences")
    assert not TASKS["tagging"].why_no_average
