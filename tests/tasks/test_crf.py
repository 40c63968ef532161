"""Tagging by a CRF: every sequence written out, the rules of each scheme, what is refused."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from seqpipe.build import build_data, build_task, has_crf
from seqpipe.config.compose import compose
from seqpipe.data.base import FieldSpec, PlacedRecord, SequenceBatch, Source, Splits
from seqpipe.data.dataset import SequenceData
from seqpipe.data.fields.labels import Tags
from seqpipe.data.fields.series import Series
from seqpipe.data.tags import SCHEMES, all_tags, faults, tag_of
from seqpipe.errors import ConfigError, DataError
from seqpipe.nn.crf import CRFHead
from seqpipe.tasks.tagging import Tagging

LENGTHS = [4, 1, 3]
B, T = len(LENGTHS), max(LENGTHS)


def spec_of(scheme, types=("X",)):
    names = tuple("abc") if scheme is None else tuple(all_tags(types, scheme))
    counts = np.arange(1, len(names) + 1)
    return FieldSpec("tags", len(names), names, scheme=scheme, counts=counts)


def potentials_of(K, seed=0):
    generator = torch.Generator().manual_seed(seed)
    potentials = 2 * torch.randn(B, T, K, K, generator=generator, dtype=torch.float64)
    potentials[:, 0] = potentials[:, 0, :1].clone()
    return potentials


def every_sequence(y, length):
    """Ids of all sequences of tags that break no rule."""
    found = []
    for ids in itertools.product(range(y.size), repeat=length):
        if y.scheme is None or not faults([y.names[i] for i in ids], y.scheme):
            found.append(list(ids))
    return found


def scores(potentials, sequences):
    """Of sequences of one length; potentials: (T, K, K)."""
    return torch.stack(
        [
            potentials[0, 0, ids[0]]
            + sum(potentials[t, ids[t - 1], ids[t]] for t in range(1, len(ids)))
            for ids in sequences
        ]
    )


@pytest.fixture(params=[None, *SCHEMES], ids=str)
def y(request):
    return spec_of(request.param, ("X",) if request.param == "bioes" else ("X", "Z"))


@pytest.fixture
def batch(y, batch_of):
    """True tags that break no rule, drawn from all such."""
    generator = torch.Generator().manual_seed(1)
    rows = []
    for length in LENGTHS:
        allowed = every_sequence(y, length)
        row = allowed[int(torch.randint(len(allowed), (), generator=generator))]
        rows.append(row + [0] * (T - length))
    return batch_of(rows, LENGTHS)


def test_the_loss_is_that_of_all_sequences_that_keep_the_rules(y, batch):
    potentials, total = potentials_of(y.size), 0.0
    for b, length in enumerate(LENGTHS):
        allowed = every_sequence(y, length)
        log_p = scores(potentials[b], allowed).log_softmax(dim=0)
        total -= log_p[allowed.index(batch.y[b, :length].tolist())]
    task = Tagging(y=y, crf=True)
    loss = task.loss(potentials, batch, training=False)
    assert_close(loss, total / sum(LENGTHS), rtol=0, atol=1e-12)
    assert task.units(batch) == sum(LENGTHS)


def test_what_is_predicted_is_the_best_that_keeps_the_rules(y, batch):
    task = Tagging(y=y, crf=True)
    for seed in range(10):
        potentials = potentials_of(y.size, seed)
        predictions = task.predict(None, potentials, batch)
        for b, length in enumerate(LENGTHS):
            allowed = every_sequence(y, length)
            best = allowed[int(scores(potentials[b], allowed).argmax())]
            assert predictions[b].tolist() == best + [0] * (T - length)


def test_probabilities_are_summed_over_all_sequences_that_keep_the_rules(y, batch):
    potentials = potentials_of(y.size)
    found = Tagging(y=y, crf=True).probabilities(potentials, batch)
    for b, length in enumerate(LENGTHS):
        allowed = torch.tensor(every_sequence(y, length))
        p = scores(potentials[b], allowed.tolist()).softmax(dim=0)
        for t in range(length):
            of_tag = [p[allowed[:, t] == k].sum() for k in range(y.size)]
            assert_close(found[b, t], torch.stack(of_tag))
            assert [value == 0 for value in of_tag] == found[b, t].eq(0).tolist()


def test_a_headless_softmax_has_probabilities_too(batch_of):
    logits = potentials_of(3)[:, :, 0]
    found = Tagging(y=spec_of(None)).probabilities(logits, batch_of([[0] * T] * B, LENGTHS))
    assert_close(found, logits.exp() / logits.exp().sum(dim=-1, keepdim=True))


def test_an_untrained_model_is_expected_to_find_all_sequences_as_likely(y, batch):
    task = Tagging(y=y, crf=True)
    total = sum(math.log(len(every_sequence(y, length))) for length in LENGTHS)
    value, words = task.untrained_loss(batch)
    assert value == pytest.approx(total / sum(LENGTHS), rel=1e-6)
    zeros = torch.zeros(B, T, y.size, y.size)
    assert task.loss(zeros, batch, training=True).item() == pytest.approx(value)
    scheme = y.scheme
    assert words == (f"ln of all sequences of {scheme} a step" if scheme else f"ln {y.size}")
    assert task.marginal_loss(batch) is None
    assert Tagging(y=y).marginal_loss(batch) is not None


def test_class_weights_weigh_each_steps_part_in_training_only(y, batch):
    potentials, total = potentials_of(y.size), 0.0
    task = Tagging(y=y, crf=True, class_weights="balanced")
    for b, length in enumerate(LENGTHS):
        allowed = torch.tensor(every_sequence(y, length))
        p = scores(potentials[b], allowed.tolist()).softmax(dim=0)
        truth = batch.y[b, :length]
        for t in range(length):
            before = (allowed[:, :t] == truth[:t]).all(dim=1)
            now = before & (allowed[:, t] == truth[t])
            total -= task.weights[truth[t]] * (p[now].sum() / p[before].sum()).log()
    plain = Tagging(y=y, crf=True).loss(potentials, batch, training=True)
    loss = task.loss(potentials, batch, training=True)
    assert_close(loss, total / sum(LENGTHS), rtol=0, atol=1e-6)  # weights are float32
    assert not math.isclose(loss, plain, rel_tol=1e-3)
    assert task.loss(potentials, batch, training=False) == plain


def test_one_step_is_judged_given_the_true_tag_next_to_it(y, batch):
    """Of the forward direction the last step, given all before it; of the other the first."""
    potentials, task = potentials_of(y.size), Tagging(y=y, crf=True)
    for first in (False, True):
        logits, one = task.one_step(potentials, batch, first=first)
        assert logits.shape == (B, 1, y.size)
        assert one.y_lengths.tolist() == [1] * B
        p_of = logits[:, 0].softmax(dim=-1)
        for b, length in enumerate(LENGTHS):
            allowed, truth = torch.tensor(every_sequence(y, length)), batch.y[b, :length]
            p = scores(potentials[b], allowed.tolist()).softmax(dim=0)
            rest, place = (slice(1, None), 0) if first else (slice(0, -1), -1)
            same = (allowed[:, rest] == truth[rest]).all(dim=1)
            wanted = [p[same & (allowed[:, place] == k)].sum() for k in range(y.size)]
            assert_close(p_of[b], torch.stack(wanted) / p[same].sum())
            assert one.y[b, 0] == truth[place]
        loss = task.loss(logits, one, training=False)
        assert_close(loss, -p_of.gather(1, one.y).log().mean())


def test_one_step_says_nothing_of_what_other_steps_answered(batch_of):
    y = spec_of(None)
    head = CRFHead(2, 3).double()
    said = torch.randn(B, T, 3, dtype=torch.float64, requires_grad=True)
    batch = batch_of([[1, 2, 2, 0], [1, 0, 0, 0], [0, 1, 2, 0]], LENGTHS)
    for first in (False, True):
        potentials = head.potentials(said, batch.y_lengths)
        task = Tagging(y=y, crf=True)
        loss = task.loss(*task.one_step(potentials, batch, first=first), training=False)
        (gradient,) = torch.autograd.grad(loss, said)
        touched = gradient.abs().gt(1e-12).any(dim=-1)
        steps = [0] * B if first else [length - 1 for length in LENGTHS]
        assert [row.nonzero().flatten().tolist() for row in touched] == [[t] for t in steps]


@pytest.mark.parametrize("poison", [1e6, math.nan])
def test_padding_may_hold_anything(y, batch, poison):
    task, answers = Tagging(y=y, crf=True, class_weights="sqrt"), []
    clean = potentials_of(y.size)
    longer = torch.cat([clean, clean[:, :2]], dim=1)
    padding = torch.arange(T + 2) >= batch.y_lengths.unsqueeze(1)
    bad_y = torch.cat([batch.y, batch.y[:, :2]], dim=1).masked_fill(padding, y.size - 1)
    bad = SequenceBatch(None, None, bad_y, batch.y_lengths, batch.index)
    for potentials, of in (
        (clean, batch),
        (longer.masked_fill(padding.view(B, T + 2, 1, 1), poison), bad),
    ):
        potentials.requires_grad_()
        loss = task.loss(potentials, of, training=True)
        (gradient,) = torch.autograd.grad(loss, potentials)
        predicted = task.predict(None, potentials.detach(), of)
        pairs = task.pairs(predicted, of)
        scored = task.metrics("test")
        scored.update(*pairs)
        answers.append((loss, gradient[:, :T], predicted[:, :T], task.scalars(scored.compute())))
    assert_close(answers[0], answers[1], rtol=0, atol=0)


def test_spans_of_one_type_without_a_name_keep_the_rules_too(batch_of):
    y = FieldSpec("tags", 3, tuple(tag_of(p, "") if p != "O" else p for p in "BIO"), scheme="bio")
    batch = batch_of([[2, 0, 1, 1]], [4])
    for seed in range(20):
        found = Tagging(y=y, crf=True).predict(None, potentials_of(3, seed)[:1], batch)[0]
        assert not faults([y.names[i] for i in found], "bio")


def test_label_smoothing_is_refused():
    with pytest.raises(ConfigError, match=r"task\.label_smoothing=0\.1: .*sequences; allowed: 0"):
        Tagging(y=spec_of(None), crf=True, label_smoothing=0.1)


class Given(Source):
    def __init__(self, rows):
        self.records = [{"x": [0.5] * len(row.split()), "y": row.split()} for row in rows]

    def read(self):
        return Splits(self.records, self.records[:1], self.records[:1])


class Held(Source):
    def __init__(self, splits):
        self.splits = splits

    def read(self):
        return self.splits


def data_of(*rows, scheme="bioes", **cut):
    y = Tags("y", scheme=scheme)
    return SequenceData(Given(rows), y=y, x=Series("x"), **cut)


CRF = ["data=copy_memory", "architecture.head=crf"]


@pytest.mark.parametrize(
    ("cut", "places"),
    [
        ({"window": 2}, ["train[0]: ends inside a span, with B-X", "train[1]: starts inside a"]),
        ({"max_length": 2}, ["train[0]: ends inside a span, with B-X"]),
        ({"max_length": 2, "keep": "last"}, ["train[0]: starts inside a span, with I-X"]),
    ],
)
def test_a_sequence_cut_in_mid_span_is_refused_before_training(cut, places):
    cfg, _ = compose(CRF)
    rows = ["O B-X I-X E-X", "O S-X"]
    build_task(cfg, data_of(*rows))
    with pytest.raises(DataError) as refused:
        build_task(cfg, data_of(*rows, **cut))
    ours = [problem for problem in refused.value.problems if problem.startswith("train")]
    assert len(ours) == len(places)
    for problem, place in zip(ours, places, strict=True):
        assert problem.startswith(place)
        assert problem.endswith(
            "so a CRF cannot answer it; "
            "allowed: data.window=null data.max_length=null, or architecture.head=linear"
        )


def test_a_sequence_cut_in_mid_span_is_named_by_file_and_line_or_skipped():
    rows = ["O B-X I-X E-X", "O S-X", "O O B-X E-X"]
    tags = [{"x": [0.5] * len(row.split()), "y": row.split()} for row in rows]
    placed = [PlacedRecord(record, "t.jsonl", n) for n, record in enumerate(tags, 1)]
    fields = {"y": Tags("y", scheme="bioes"), "x": Series("x"), "window": 2}
    source, check = Held(Splits(placed, placed[1:2], placed[1:2])), Tagging.example_check(crf=True)
    with pytest.raises(DataError) as refused:
        SequenceData(source, check=check, **fields)
    (problem,) = refused.value.problems
    assert problem.startswith("t.jsonl:1: ends inside a span, with B-X, so a CRF cannot")
    data = SequenceData(source, check=check, on_error="skip", **fields)
    assert data.sizes == {"train": 3, "valid": 1, "test": 1}


def test_cuts_between_spans_and_of_other_tags_are_none_of_a_crfs_business():
    cfg, _ = compose(CRF)
    linear, _ = compose(["data=copy_memory"])
    whole = build_task(cfg, data_of("O O B-X E-X", "O S-X", window=2))
    other = build_task(cfg, data_of("a b c", "b a a", scheme=None, window=2))
    cut = build_task(linear, data_of("O B-X I-X E-X", window=2))
    assert [whole.crf, other.crf, cut.crf] == [True, True, False]
    assert [task.allowed is None for task in (whole, other, cut)] == [False, True, False]


def test_the_task_is_told_what_the_head_says():
    for overrides, crf in ((CRF, True), (["data=copy_memory"], False)):
        cfg, _ = compose(overrides)
        assert has_crf(cfg) == build_task(cfg, data_of("a b", scheme=None)).crf == crf
    cfg.architecture.head._target_ = f"{__name__}.Mine"
    assert has_crf(cfg)
    cfg.architecture = {"_target_": f"{__name__}.Mine"}  # an architecture without a head
    assert not has_crf(cfg)


@pytest.mark.realdata
def test_no_answer_to_a_real_sentence_breaks_its_scheme(shared_data):
    """Which those of a model that was not trained would, one after the other, without the rules."""
    cfg, _ = compose(["data=wnut17", f"data.path={shared_data / 'ner_wnut17'}", "data.cache=null"])
    data = build_data(cfg)
    names, broken = data.spec.y.names, {}
    for crf in (True, False):
        task, broken[crf] = Tagging(y=data.spec.y, crf=crf), 0
        for start in range(0, 1287, 143):
            batch = data.batch("test", list(range(start, start + 143)))
            K, generator = len(names), torch.Generator().manual_seed(start)
            logits = torch.randn(*batch.y.shape, K, generator=generator)
            potentials = logits.unsqueeze(2).expand(-1, -1, K, -1)
            predictions = task.predict(None, potentials if crf else logits, batch)
            assert task.loss(potentials, batch, training=False) < 10
            rows = zip(predictions.tolist(), batch.y_lengths.tolist(), strict=True)
            told = (faults([names[i] for i in row[:length]], "bio") for row, length in rows)
            broken[crf] += sum(map(bool, told))
    assert broken[True] == 0
    assert broken[False] > 1000


class Mine(CRFHead):
    """A CRF of one's own."""
