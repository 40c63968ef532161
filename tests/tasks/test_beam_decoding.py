"""Metrics of beam search: the options reach it, and it is judged as greedy decoding is."""

import pytest
import torch

from seqpipe.build import build_model
from seqpipe.config.compose import compose
from seqpipe.data.base import FieldSpec, SequenceBatch, SequenceSpec
from seqpipe.data.vocabulary import EOS, PAD
from seqpipe.errors import ConfigError
from seqpipe.nn.ctc import prefix_beam
from seqpipe.tasks.transcription import Transcription
from seqpipe.tasks.transduction import Transduction

TEXT = FieldSpec("symbols", 9)


@pytest.fixture
def translating():
    """An encoder-decoder of random weights, and a batch it can be judged on."""
    cfg, _ = compose(["data=dates", "hidden_size=8"])
    torch.manual_seed(0)
    model = build_model(cfg, SequenceSpec(TEXT, TEXT)).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.uniform_(-0.7, 0.7)
        model.head.output.weight.mul_(2.0)
    x = torch.randint(4, 9, (12, 6), generator=torch.Generator().manual_seed(2))
    y = torch.tensor([[4, 5, EOS]] * 12)
    lengths = torch.full((12,), 6), torch.full((12,), 3)
    return model, SequenceBatch(x, lengths[0], y, lengths[1], torch.arange(12))


def judged(task, model, batch):
    metrics = task.metrics("test")
    outputs = model(batch.x, batch.x_lengths, batch.y, batch.y_lengths)
    predictions = task.predict(model, outputs, batch)
    metrics.update(*task.pairs(predictions, batch))
    return predictions, {name: value.item() for name, value in metrics.compute().items()}


def test_transduction_is_judged_on_the_beam_it_is_told(translating):
    model, batch = translating
    seen = {}
    for name, options in {
        "greedy": {},
        "one": {"decoding": "beam", "beam_size": 1},
        "default": {"decoding": "beam"},
        "five": {"decoding": "beam", "beam_size": 5, "length_penalty": 0.6},
        "long": {"decoding": "beam", "beam_size": 5, "length_penalty": 4.0},
    }.items():
        task = Transduction(y=TEXT, longest_y=3, **options)
        (ids, lengths), metrics = judged(task, model, batch)
        rows = [row[:n].tolist() for row, n in zip(ids, lengths.tolist(), strict=True)]
        seen[name] = rows, metrics
        penalty = options.get("length_penalty", 0.6)
        width = options.get("beam_size", 5) if options else 1
        found = model.beam(batch.x, batch.x_lengths, 13, beam_size=width, length_penalty=penalty)
        best = zip(found.ids[:, 0], found.lengths[:, 0].tolist(), strict=True)
        assert rows == [row[:n].tolist() for row, n in best]
    assert seen["greedy"] == seen["one"]
    assert seen["default"] == seen["five"]
    assert seen["five"] != seen["greedy"]
    assert seen["long"] != seen["five"]
    assert {"exact_match", "error_rate"} == set(seen["five"][1])


def test_transcription_is_judged_on_the_beam_it_is_told():
    logits = torch.randn(6, 12, 9, generator=torch.Generator().manual_seed(1))
    logits[..., 2:4] += 3.0  # <BOS> and <EOS>, which no y holds, would be said
    x_lengths, y = torch.tensor([12, 4, 7, 9, 12, 3]), torch.tensor([[4, EOS]] * 6)
    batch = SequenceBatch(logits, x_lengths, y, torch.full((6,), 2), torch.arange(6))
    seen = {}
    for name, options in {"default": {}, "one": {"beam_size": 1}, "five": {"beam_size": 5}}.items():
        task = Transcription(y=TEXT, decoding="beam", **options)
        ids, lengths = task.predict(None, logits, batch)
        width = options.get("beam_size", 5)
        found = prefix_beam(logits, x_lengths, blank=PAD, beam_size=width, banned=(2, 3))
        assert ids.equal(found.ids[:, 0])
        assert not ((ids == 2) | (ids == 3)).any()
        seen[name] = task.pairs((ids, lengths), batch)[0]
    assert seen["default"] == seen["five"] != seen["one"]
    assert all(seen["five"])


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (Transcription, {"beam_size": 3}, "task.beam_size=3: greedy decoding has no beam"),
        (Transduction, {"beam_size": 3}, "task.beam_size=3: greedy decoding has no beam"),
        (Transduction, {"length_penalty": 0.0}, "task.length_penalty=0.0: greedy decoding has no"),
        (
            Transduction,
            {"decoding": "beem"},
            "task.decoding=beem: unknown choice; allowed: greedy, beam",
        ),
        (
            Transduction,
            {"decoding": "beam", "beam_size": 0},
            "task.beam_size=0: out of range; allowed: an integer from 1 to 10000 or null",
        ),
    ],
)
def test_options_of_a_beam_that_would_do_nothing_are_refused(make, options, message):
    sizes = {"longest_y": 3} if make is Transduction else {}
    with pytest.raises(ConfigError) as refused:
        make(y=TEXT, **sizes, **options)
    assert refused.value.problems[0].startswith(message)


def test_an_architecture_that_cannot_search_is_named(translating):
    class Own(torch.nn.Module):
        pass

    _, batch = translating
    task = Transduction(y=TEXT, longest_y=3, decoding="beam")
    with pytest.raises(ConfigError) as refused:
        task.predict(Own(), batch.y, batch)
    assert refused.value.problems == [
        "task.decoding=beam: Own has no method beam;"
        " allowed: task.decoding=greedy, or an architecture with it"
    ]
