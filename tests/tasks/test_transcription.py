"""CTC: the loss by enumeration of all paths, greedy decoding, what is refused, invariances."""

import itertools
import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from seqpipe.build import build_model, build_task
from seqpipe.config.compose import compose
from seqpipe.data.base import FieldSpec, SequenceBatch, SequenceSpec, Source, Splits
from seqpipe.data.dataset import SequenceData
from seqpipe.data.fields.series import Series
from seqpipe.data.fields.text import Text
from seqpipe.data.sources.table import Table
from seqpipe.data.vocabulary import EOS, PAD
from seqpipe.errors import DataError
from seqpipe.nn.ctc import best_path, ctc_loss, steps_needed
from seqpipe.tasks.transcription import Transcription

V = 3


def said_by(path, blank=PAD):
    """What a path stands for, from the definition."""
    return [symbol for symbol, _ in itertools.groupby(path) if symbol != blank]


def enumerated(logits, y):
    """-log of the summed probability of every path that says y; logits: (T, V)."""
    log_p = logits.log_softmax(dim=-1)
    paths = itertools.product(range(logits.shape[1]), repeat=len(logits))
    scores = [log_p[range(len(path)), path].sum() for path in paths if said_by(path) == y]
    return -torch.stack(scores).logsumexp(dim=0).item() if scores else math.inf


@pytest.mark.parametrize("y", [[1], [2, 1], [1, 1], [1, 1, 2], [2, 2, 2], [1, 2, 1, 2]])
@pytest.mark.parametrize("T", [1, 3, 5])
def test_the_loss_is_that_of_all_paths_together(T, y):
    logits = torch.randn(T, V, generator=torch.Generator().manual_seed(T), dtype=torch.float64)
    loss = ctc_loss(
        logits[None], torch.tensor([T]), torch.tensor([y]), torch.tensor([len(y)]), blank=PAD
    )
    wanted = enumerated(logits, y)
    assert loss.dtype == torch.float64
    assert loss.item() == (math.inf if T < steps_needed(torch.tensor(y)) else pytest.approx(wanted))
    assert math.isinf(wanted) == (T < steps_needed(torch.tensor(y)))


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.integers(0, 4))
def test_greedy_decoding_merges_repeats_and_leaves_out_blanks(path, padding):
    logits = torch.nn.functional.one_hot(torch.tensor([path + [3] * padding]), 4).float()
    ids, lengths = best_path(logits, torch.tensor([len(path)]), blank=PAD)
    said = said_by(path)
    assert ids.shape == (1, len(path) + padding)
    assert ids[0].tolist() == said + [PAD] * (len(path) + padding - len(said))
    assert lengths.tolist() == [len(said)]


@pytest.fixture
def ctc():
    """A bidirectional model of random float64 weights, its task, and a ragged batch."""
    spec = SequenceSpec(FieldSpec("values", 3), FieldSpec("symbols", 8))
    overrides = ["data=dates", "architecture=many_to_many", "task=transcription"]
    cfg, _ = compose([*overrides, "bidirectional=true", "hidden_size=6"])
    torch.manual_seed(0)
    model = build_model(cfg, spec).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.uniform_(-0.7, 0.7)
    x_lengths, y_lengths = torch.tensor([12, 4, 7, 2]), torch.tensor([4, 3, 5, 2])
    x = torch.randn(4, 12, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    y = torch.tensor([[4, 4, 5, EOS, 0], [6, 7, EOS, 0, 0], [7, 6, 5, 4, EOS], [5, EOS, 0, 0, 0]])
    return (
        model,
        Transcription(y=spec.y),
        SequenceBatch(x, x_lengths, y, y_lengths, torch.arange(4)),
    )


def loss_and_answers(model, task, batch):
    outputs = model(batch.x, batch.x_lengths, batch.y, batch.y_lengths)
    loss = task.loss(outputs, batch, training=True)
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    return loss, gradients, task.pairs(task.predict(model, outputs, batch), batch)


@pytest.mark.parametrize("poison", [1e6, math.nan])
def test_padding_changes_neither_loss_nor_gradients_nor_what_is_decoded(ctc, poison):
    model, task, batch = ctc
    wanted = loss_and_answers(model, task, batch)
    x = torch.cat([batch.x, torch.full((4, 3, 3), 0.0).double()], dim=1)
    outputs = model(x, batch.x_lengths, batch.y, batch.y_lengths)
    real = torch.arange(15) < batch.x_lengths.unsqueeze(1)
    outputs = outputs.masked_fill(~real.unsqueeze(-1), poison)
    y = torch.cat([batch.y, torch.zeros(4, 2, dtype=torch.int64)], dim=1)
    y[torch.arange(7) >= batch.y_lengths.unsqueeze(1)] = 5
    longer = SequenceBatch(x, batch.x_lengths, y, batch.y_lengths, batch.index)
    loss = task.loss(outputs, longer, training=True)
    assert_close(loss, wanted[0], rtol=0, atol=1e-12)
    assert_close(torch.autograd.grad(loss, list(model.parameters())), wanted[1], rtol=0, atol=1e-12)
    predictions, truths = task.pairs(task.predict(model, outputs, longer), longer)
    assert (predictions, truths) == wanted[2]
    assert truths == [[4, 4, 5], [6, 7], [7, 6, 5, 4], [5]]
    assert any(predictions)


@pytest.mark.parametrize("poison", [1e6, math.nan])
def test_no_gradient_comes_from_padding_whatever_it_holds(poison):
    logits = torch.randn(2, 6, V, generator=torch.Generator().manual_seed(0))
    logits[1, 3:] = poison
    logits.requires_grad_()
    y = torch.tensor([[1, 2], [2, 0]])
    losses = ctc_loss(logits, torch.tensor([6, 3]), y, torch.tensor([2, 1]), blank=PAD)
    [gradient] = torch.autograd.grad(losses.sum(), logits)
    assert losses.isfinite().all()
    assert gradient.isfinite().all()
    assert not gradient[1, 3:].any()
    assert gradient[1, :3].any()


def test_an_example_alone_is_decoded_and_scored_as_in_company(ctc):
    model, task, batch = ctc
    loss, _, (predictions, truths) = loss_and_answers(model, task, batch)
    total = 0.0
    for b in range(4):
        rows = slice(b, b + 1)
        n, u = batch.x_lengths[b], batch.y_lengths[b]
        one = SequenceBatch(
            batch.x[rows, :n], batch.x_lengths[rows], batch.y[rows, :u], batch.y_lengths[rows],
            batch.index[rows],
        )  # fmt: skip
        alone, _, pairs = loss_and_answers(model, task, one)
        assert pairs == ([predictions[b]], [truths[b]])
        assert task.units(one) == len(truths[b])
        total += alone * task.units(one)
    assert_close(total / task.units(batch), loss, rtol=0, atol=1e-12)


def test_it_is_judged_by_edits_and_exact_match(ctc):
    _, task, batch = ctc
    ids = torch.tensor([[4, 4, 5, 0], [6, 7, 7, 0], [7, 6, 0, 0], [0, 0, 0, 0]])
    metrics = task.metrics("val")
    metrics.update(*task.pairs((ids, torch.tensor([3, 3, 2, 0])), batch))
    computed = {name: value.item() for name, value in metrics.compute().items()}
    # right; one too many; two missing; nothing said of one
    assert computed == pytest.approx({"exact_match": 1 / 4, "error_rate": (1 + 2 + 1) / 10})
    assert len(task.metrics("train")) == 0


class Given(Source):
    def __init__(self, records):
        self.records = records

    def read(self):
        return Splits(self.records, self.records[:1], self.records[:1])


def data_of(*pairs):
    records = [{"x": [0.5] * steps, "y": y} for steps, y in pairs]
    y = Text("y", by="tokens", min_count=1)
    return SequenceData(Given(records), y=y, x=Series("x"))


def test_an_x_too_short_for_its_y_is_refused_before_training():
    overrides = ["data=dates", "architecture=many_to_many", "task=transcription"]
    cfg, _ = compose(overrides)
    build_task(cfg, data_of((3, "a b a"), (4, "a b b")))  # just enough
    with pytest.raises(DataError) as refused:
        build_task(cfg, data_of((9, "a b"), (3, "a a b"), (1, "a b")))
    allowed = "allowed: a shorter y, or more steps of x (for sound, data.x.stack=1)"
    assert refused.value.problems == [
        f"train[1]: x has 3 steps, 3 symbols of y need 4 by CTC; {allowed}",
        f"train[2]: x has 1 step, 2 symbols of y need 2 by CTC; {allowed}",
    ]


def test_no_more_than_ten_of_them_are_named():
    with pytest.raises(DataError) as refused:
        Transcription(y=FieldSpec("symbols", 6)).check(data_of(*[(1, "a b")] * 30))
    assert len(refused.value.problems) == 10


def transcripts(folder, *pairs, **options):
    """Examples in a file, as a run reads them."""
    each = enumerate(pairs)
    lines = (json.dumps({"x": [n / 100] * steps, "y": y}) + "\n" for n, (steps, y) in each)
    (folder / "t.jsonl").write_text("".join(lines))
    source = Table(train="t.jsonl", path=str(folder), order="file")
    y = Text("y", by="tokens", min_count=1)
    check = Transcription.example_check()
    return SequenceData(source, y=y, x=Series("x"), check=check, **options)


def test_a_transcript_too_long_for_its_sound_is_named_by_file_and_line_or_skipped(tmp_path):
    pairs = [(9, f"a b{n}") for n in range(20)]
    pairs[2], pairs[7], pairs[19] = (3, "a a b0"), (9, ""), (1, "a b0")
    with pytest.raises(DataError) as refused:
        transcripts(tmp_path, *pairs)
    file = tmp_path / "t.jsonl"
    allowed = "allowed: a shorter y, or more steps of x (for sound, data.x.stack=1)"
    assert refused.value.problems == [
        f"{file}:3: x has 3 steps, 3 symbols of y need 4 by CTC; {allowed}",
        f"{file}:8: y: is empty, y has no steps; allowed: one or more",
        f"{file}:20: x has 1 step, 2 symbols of y need 2 by CTC; {allowed}",
    ]
    assert "data.on_error=skip" in str(refused.value)
    for _ in range(2):  # from the files, and as it was kept
        recipe = {"any": "source"}
        kept = {"cache": str(tmp_path / "kept"), "recipe": recipe}
        data = transcripts(tmp_path, *pairs, on_error="skip", **kept)
        assert sum(data.sizes.values()) == 17
        assert data.facts["train"].skipped == 2
        assert data.facts["train"].problems[0].startswith(f"{file}:3: x has 3 steps")
        Transcription(y=data.spec.y).check(data)


def test_what_another_task_kept_is_not_taken_up(tmp_path):
    kept = {"cache": str(tmp_path / "kept"), "recipe": {"any": "source"}}
    pairs = [(9, f"a b{n}") for n in range(20)]
    transcripts(tmp_path, *pairs, **kept)
    source = Table(train="t.jsonl", path=str(tmp_path), order="file")
    SequenceData(source, y=Text("y", by="tokens", min_count=1), x=Series("x"), **kept)
    assert len([*(tmp_path / "kept").glob("*/prepared.json")]) == 2


def test_a_loss_is_compared_with_baselines_by_the_error_rate_too():
    def compared(**options):
        return Transcription(y=FieldSpec("symbols", 5), **options).compared

    assert compared(monitor="val/loss") == ("loss", "error_rate")
    assert compared() == ("error_rate",)
