"""Changes of training examples: their formulas, and what they may depend on."""

import numpy as np
import pytest
import torch

from seqpipe.data.augmented import _STREAM
from seqpipe.data.dataset import SequenceData
from seqpipe.data.fields.audio import LogMel
from seqpipe.data.fields.augmentation import (
    masked_bands,
    masked_steps,
    replaced,
    time_warped,
    with_noise,
)
from seqpipe.data.fields.dna import Nucleotides
from seqpipe.data.fields.labels import Category, Tags
from seqpipe.data.fields.series import Series
from seqpipe.data.fields.spelling import Spelled
from seqpipe.data.fields.text import Text
from seqpipe.data.vocabulary import UNK
from seqpipe.errors import ConfigError


def rng(seed=0):
    return np.random.default_rng(seed)


def test_noise_is_gaussian_and_of_the_given_size():
    values = rng(1).normal(size=(500, 40)).astype(np.float32)
    noise = with_noise(values, 0.3, rng()) - values
    assert noise.dtype == np.float32
    np.testing.assert_allclose(
        noise, np.float32(0.3) * rng().standard_normal((500, 40), dtype=np.float32), atol=1e-6
    )
    assert noise.std() == pytest.approx(0.3, rel=0.02)
    assert noise.mean() == pytest.approx(0, abs=0.01)


def test_a_time_warp_reads_the_series_at_other_times_and_keeps_its_ends():
    T = 60
    steps = np.arange(T, dtype=np.float32)
    warped = time_warped(np.stack([steps, 2 * steps + 1], axis=1), 0.4, rng())
    speeds = np.exp(
        np.interp(np.linspace(0, 5, T - 1), np.arange(6), 0.4 * rng().standard_normal(6))
    )
    times = np.concatenate([[0], np.cumsum(speeds)])
    times *= (T - 1) / times[-1]
    np.testing.assert_allclose(warped[:, 0], times, atol=1e-4)  # a straight line shows the times
    np.testing.assert_allclose(warped[:, 1], 2 * times + 1, atol=2e-4)
    assert (np.diff(warped[:, 0]) > 0).all()
    assert np.abs(warped[:, 0] - steps).max() > 1


def test_the_strongest_time_warp_reads_no_step_that_is_not_there():
    values = np.arange(1000, dtype=np.float32)[:, None]
    for seed in range(100):
        warped = time_warped(values, 2.0, rng(seed))[:, 0]
        assert (warped[0], warped[-1]) == (0, 999)
        assert (np.diff(warped) >= 0).all()


def test_the_most_noise_is_finite():
    assert np.isfinite(with_noise(np.zeros((500, 40), np.float32), 1e37, rng())).all()


@pytest.mark.parametrize("T", [1, 2])
def test_a_series_with_nothing_between_its_ends_is_not_warped(T):
    values = rng(1).normal(size=(T, 3)).astype(np.float32)
    assert np.array_equal(time_warped(values, 0.5, rng()), values)


def test_masks_hide_runs_of_steps_or_of_bands_with_all_that_was_derived_from_them():
    values = np.ones((100, 2 * 3 * 10), dtype=np.float32)  # 2 frames, each with 2 derivatives
    widths, lengths = set(), set()
    for seed in range(200):
        hidden = masked_steps(values, 1, 15, rng(seed)) == 0
        rows = np.flatnonzero(hidden.any(axis=1))
        assert hidden[rows].all()
        assert len(rows) == 0 or rows[-1] - rows[0] + 1 == len(rows)
        lengths.add(len(rows))
        hidden = masked_bands(values, 10, 1, 4, rng(seed)) == 0
        bands = hidden.reshape(100, 6, 10)
        assert (bands == bands[0, 0]).all()
        widths.add(int(bands[0, 0].sum()))
    assert lengths == set(range(16))
    assert widths == set(range(5))
    assert (masked_steps(values[:10], 1, 15, rng(3)) == 0).any(axis=1).sum() <= 2  # a fifth


def test_two_masks_hide_more_than_one():
    values = np.ones((100, 5), dtype=np.float32)
    hidden = [
        sum((masked_steps(values, n, 20, rng(s)) == 0).mean() for s in range(99)) for n in (1, 3)
    ]
    assert hidden[1] > 2 * hidden[0]


def test_words_become_unknown_at_the_given_rate():
    ids = rng(1).integers(4, 50, 20_000)
    changed = replaced(ids, 0.25, UNK, rng())
    chosen = rng().random(20_000) < 0.25
    assert np.array_equal(changed, np.where(chosen, UNK, ids))
    assert changed.dtype == ids.dtype


def test_a_spelled_word_that_is_dropped_keeps_its_characters(source_of):
    field = Spelled("x", min_count=1, word_dropout=0.9)
    field.fit([{"x": ["some", "words"]}])
    values = field.encode({"x": ["some", "words"] * 50}).numpy()
    changed = field.augment(values, rng())
    assert np.array_equal(changed[:, 1:], values[:, 1:])
    assert 75 < (changed[:, 0] == UNK).sum() < 100


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("codes", ["symbols", "shares"])
def test_a_substituted_base_is_another_base_and_codes_of_several_stay(codes, masked):
    field = Nucleotides("x", codes=codes, masked=masked, substitutions=0.5)
    text = "ACGTN" * 400 + "acgtr" * 400
    values = field.encode({"x": text}).numpy()
    before, after = field.decode(values), field.decode(field.augment(values, rng()))
    pairs = {(a, b) for a, b in zip(before, after, strict=True) if a != b}
    upper = {(a, b) for a in "ACGT" for b in "ACGT" if a != b}
    lower = {(a.lower(), b.lower()) for a, b in upper}
    if codes == "shares":  # whose letters are shown without their case, see `decode`
        assert {(a.upper(), b.upper()) for a, b in pairs} == upper
    else:
        assert pairs == (upper | lower if masked else upper)
    share = np.mean([a != b for a, b in zip(before, after, strict=True) if a.upper() in "ACGT"])
    assert share == pytest.approx(0.5, abs=0.05)


def series(n=40, T=12):
    draw = rng(5)
    return [{"series": draw.normal(size=(T - i % 5, 2)), "label": "ab"[i % 2]} for i in range(n)]


def data_of(source_of, records=None, **options):
    x = options.pop("x", None) or Series("series", noise=0.5, time_warp=0.2)
    y = options.pop("y", None) or Category("label")
    return SequenceData(source_of(records or series()), y, x, **options)


def read(loader):
    """Example -> its x in the next epoch, without padding; the padding is checked."""
    found = {}
    for batch in loader:
        for row, (index, length) in enumerate(
            zip(batch.index.tolist(), batch.x_lengths.tolist(), strict=True)
        ):
            assert not batch.x[row, length:].any()
            found[index] = batch.x[row, :length].clone()
    return found


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[i], other[i]) for i in one)


def epoch(loader, number):
    loader.set_epoch(number)
    return read(loader)


def test_training_reads_changed_examples_and_nothing_else_does(source_of):
    data = data_of(source_of)
    plain = {i: example.x for i, example in enumerate(data.examples("train"))}
    changed = epoch(data.loader("train"), 3)
    for i in plain:
        values = np.random.default_rng([_STREAM, 0, 3, i, 0])
        expected = with_noise(time_warped(plain[i].numpy(), 0.2, values), 0.5, values)
        np.testing.assert_array_equal(changed[i].numpy(), expected)
    for split in ("valid", "test"):
        assert same(read(data.loader(split)), plain)
    assert same(read(data.loader("train", shuffle=False)), plain)
    assert torch.equal(data.batch("train", [0]).x[0], plain[0])


def test_each_epoch_and_each_seed_changes_examples_in_another_way(source_of):
    loader = data_of(source_of).loader("train")
    first, second = epoch(loader, 0), epoch(loader, 1)
    assert not any(torch.equal(first[i], second[i]) for i in first)
    assert same(epoch(loader, 0), first)
    other = epoch(data_of(source_of, seed=1).loader("train"), 0)
    assert not any(torch.equal(first[i], other[i]) for i in first)
    assert not torch.equal(first[0], first[5])  # examples of one length


@pytest.mark.parametrize(
    "options", [{"num_workers": 2}, {"batch_size": 7}, {"batch_tokens": 60}], ids=str
)
def test_a_changed_example_depends_on_no_process_and_no_batch(source_of, options):
    alone = data_of(source_of, batch_size=1).loader("train")
    loader = data_of(source_of, **options).loader("train")
    for number in (0, 1):  # loader processes stay from epoch to epoch
        assert same(epoch(loader, number), epoch(alone, number))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_resumed_epoch_reads_the_rest_of_the_changed_examples(source_of, num_workers):
    data = data_of(source_of, batch_size=4, num_workers=num_workers)
    whole, rest = data.loader("train"), data.loader("train")
    whole.set_epoch(2)
    rest.set_epoch(2)
    rest.load_state_dict({"batches": 3})
    assert [b.x.tolist() for b in rest] == [b.x.tolist() for b in whole][3:]


def test_the_first_batches_are_those_that_training_reads(source_of):
    loader = data_of(source_of).loader("train")
    shown = [batch.x.tolist() for batch in loader.first(1)]
    assert shown == [batch.x.tolist() for batch in loader][:1]
    assert loader.state_dict() == {"batches": 0}


def test_changes_leave_the_order_and_the_global_random_numbers_alone(source_of):
    torch.manual_seed(0)
    np.random.seed(0)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    plain = data_of(source_of, x=Series("series")).loader("train")
    changed = data_of(source_of).loader("train")
    assert [b.index.tolist() for b in plain] == [b.index.tolist() for b in changed]
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])


def tagged(n=6):
    return [{"words": list("abcdefgh") * 3, "tags": list("xyxyxyxy") * 3} for _ in range(n)]


@pytest.mark.parametrize("options", [{"window": 5}, {"bptt": 5, "batch_size": 2}], ids=str)
def test_pieces_of_a_sequence_are_changed_each_in_its_own_way(source_of, options):
    x = Text("words", by="tokens", min_count=1, word_dropout=0.5)
    loader = data_of(source_of, tagged(), x=x, y=Tags("tags"), **options).loader("train")
    rows = [(x[x != 0] == UNK).tolist() for batch in loader for x in batch.x]
    assert len({tuple(row) for row in rows}) > len(rows) // 2
    dropped = np.mean([one for row in rows for one in row])
    assert 0.3 < dropped < 0.7


def test_what_is_augmented_is_prepared_once(source_of, write):
    write(a_csv=b"label,v1,v2\na,1,2\nb,3,5\na,2,2\nb,4,4\na,9,1\nb,7,7\n")
    from seqpipe.data.sources.wide_csv import WideCsv

    def facts(**options):
        x = Series("series", **options)
        recipe = {"source": {}, "x": {"standardize": False, **options}, "y": {}}
        source = WideCsv(train="a.csv", valid=0.2, test=0.2, label="label")
        return SequenceData(source, Category("label"), x, cache="kept", recipe=recipe)

    facts()
    facts(noise=0.5)
    from pathlib import Path

    kept = {file.name for file in Path("kept").iterdir() if file.is_dir()}
    assert len(kept) == 1
    facts(difference=True)
    assert len({file.name for file in Path("kept").iterdir() if file.is_dir()}) == 2


ONLY_X = "only x is augmented, since y is what is to be learned; allowed: leave it out"
UNITS = "answers could not be returned in the units of the data; allowed:"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"noise": 0.1}, f"data.y.noise=0.1: {ONLY_X}"),
        ({"standardize": "example"}, f"data.y.standardize=example: {UNITS} true or false"),
        ({"difference": True}, f"data.y.difference=true: {UNITS} false"),
        ({"reference": [0]}, f"data.y.reference=[0]: {UNITS} null"),
    ],
)
def test_a_y_of_changed_or_other_numbers_is_refused(source_of, options, problem):
    records = [{"a": [[1.0], [2.0]], "b": [[1.0], [3.0]]}]
    with pytest.raises(ConfigError) as refused:
        SequenceData(source_of(records), Series("b", **options), Series("a"))
    assert refused.value.problems == [problem]


def test_a_warped_x_with_a_y_for_each_step_is_refused(source_of):
    records = [{"a": [[1.0], [2.0]], "b": ["x", "y"]}]
    with pytest.raises(ConfigError) as refused:
        SequenceData(source_of(records), Tags("b"), Series("a", time_warp=0.1))
    text = "data.x.time_warp=0.1: moves x, and the y of each step stays; allowed: 0"
    assert refused.value.problems == [text]


def test_a_language_model_drops_no_words_of_its_y(source_of):
    records = [{"text": "to be or not"}]
    with pytest.raises(ConfigError) as refused:
        SequenceData(source_of(records), Text("text", word_dropout=0.1))
    assert refused.value.problems == [f"data.y.word_dropout=0.1: {ONLY_X}"]


def test_spectra_are_masked_in_training_only(source_of):
    draw = rng(2)
    records = [
        {"audio": draw.uniform(-1, 1, 9000), "rate": 8000, "label": "ab"[i % 2]} for i in range(6)
    ]
    x = LogMel(time_masks=[2, 10], frequency_masks=[1, 8], deltas=1, stack=2)
    data = data_of(source_of, records, x=x)
    plain = {i: example.x for i, example in enumerate(data.examples("train"))}
    changed = epoch(data.loader("train"), 0)
    assert same(read(data.loader("valid")), plain)
    for i, values in changed.items():
        kept = values != 0
        assert torch.equal(values[kept], plain[i][kept])
        assert kept.float().mean() > 0.3
    assert sum((values == 0).sum() for values in changed.values()) > 0
