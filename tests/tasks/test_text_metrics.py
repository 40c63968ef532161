"""Error rates by words and characters, BLEU, chrF, and several right answers to one x."""

import dataclasses
import sys
from itertools import pairwise

import pytest
import sacrebleu
import torch
from rapidfuzz.distance import Levenshtein

from seqpipe.data.base import PlacedRecord, Source, Splits
from seqpipe.data.dataset import SequenceData
from seqpipe.data.fields.text import Text
from seqpipe.data.vocabulary import EOS, UNK
from seqpipe.errors import ConfigError
from seqpipe.tasks.torchmetrics_internals import set_state
from seqpipe.tasks.transcription import Transcription
from seqpipe.tasks.transduction import Transduction

TRUTHS = ["a cat sat on a mat.", "the dog, not a cat!", "dogs sat", "a mat on the dog"]
ANSWERS = ["a cat on a mat.", "the cat, not a dog!", "dogs sat", "the mat on a mat on the dog"]


class Given(Source):
    """Pairs (x, y) in every split."""

    def __init__(self, pairs):
        self.pairs = pairs

    def read(self):
        records = [PlacedRecord({"x": x, "y": y}) for x, y in self.pairs]
        return Splits(records, records, records)


def data_of(pairs, **options):
    return SequenceData(Given(pairs), Text("y", **options), Text("x"))


def data_of_texts(by="words"):
    known = [(f"x{n}", text) for n, text in enumerate([*TRUTHS, *ANSWERS])]
    return data_of(known, by=by, min_count=1)


def predicted(data, texts):
    """The ids that a model writes which answers with these texts."""
    ids = [data.y.encode_target({"y": text}).long() for text in texts]
    padded = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=EOS)
    return padded, torch.tensor([len(one) - 1 for one in ids])


def measured(task, data, texts, parts=((0, 4),)):
    metrics = task.metrics("test")
    for start, end in parts:
        batch = data.batch("test", range(start, end))
        metrics.update(*task.pairs(predicted(data, texts[start:end]), batch))
    return {name: value.item() for name, value in metrics.compute().items()}


def edits(cut):
    pairs = [(cut(a), cut(t)) for a, t in zip(ANSWERS, TRUTHS, strict=True)]
    return sum(Levenshtein.distance(*pair) for pair in pairs) / sum(len(t) for _, t in pairs)


@pytest.mark.parametrize("by", ["characters", "graphemes", "words", "bytes", "subwords"])
def test_rates_by_words_and_characters_are_those_of_the_texts_whatever_a_symbol_is(by):
    options = {} if by == "bytes" else {"min_count": 1}
    known = [(f"x{n}", text) for n, text in enumerate([*TRUTHS, *ANSWERS])]
    data = data_of(known, by=by, **options)
    for task in (Transduction(y=data.spec.y, longest_y=60), Transcription(y=data.spec.y)):
        found = measured(task, data, ANSWERS)
        assert found["word_error_rate"] == pytest.approx(edits(str.split))
        assert found["character_error_rate"] == pytest.approx(edits(list))
        assert set(task.metric_names()) == {"loss", *found}
        hidden = "word_error_rate" if by in ("characters", "graphemes") else "character_error_rate"
        assert task.details == {hidden}


def test_an_unknown_word_is_wrong_in_the_rates_of_texts_too():
    data = data_of([("x", "a b"), ("z", "a b")], by="words", min_count=1)
    task = Transduction(y=data.spec.y, longest_y=9)
    batch = dataclasses.replace(data.batch("test", [0]), texts=None)
    batch.y[0, 0] = UNK
    metrics = task.metrics("test")
    ids = torch.tensor([[UNK, data.y.way.names.index("b"), EOS]])
    metrics.update(*task.pairs((ids, None), batch))
    assert metrics.compute()["word_error_rate"] == 1 / 2


def test_phonemes_have_a_rate_of_their_own_and_a_word_is_right_or_wrong():
    pairs = [("cat", "K AE T"), ("dog", "D AO G"), ("a", "AH")]
    data = data_of(pairs, by="tokens", min_count=1)
    task = Transduction(y=data.spec.y, longest_y=9, symbols="phonemes")
    found = measured(task, data, ["K AE T", "D AE G G", "AH"], [(0, 3)])
    wanted = {"phoneme_error_rate": 2 / 7, "error_rate": 2 / 7}
    assert found == pytest.approx({**wanted, "word_error_rate": 1 / 3, "exact_match": 2 / 3})
    spoken = Transcription(y=data.spec.y, symbols="phonemes")
    assert spoken.metric_names() == ["loss", "exact_match", "error_rate", "phoneme_error_rate"]


@pytest.mark.parametrize(("bleu", "lowercase"), [("13a", False), ("none", True), ("char", False)])
def test_bleu_and_chrf_are_those_of_sacrebleu_however_batches_are_cut(bleu, lowercase):
    data = data_of_texts()
    options = {"bleu": bleu, "bleu_lowercase": lowercase}
    task = Transduction(y=data.spec.y, longest_y=30, **options, monitor="val/bleu")
    options = {"tokenize": bleu, "lowercase": lowercase, "force": True}
    wanted = {
        "bleu": sacrebleu.BLEU(**options).corpus_score(ANSWERS, [TRUTHS]).score,
        "chrf": sacrebleu.CHRF(lowercase=lowercase).corpus_score(ANSWERS, [TRUTHS]).score,
    }
    assert 1 < wanted["bleu"] < 99
    for parts in ([(0, 4)], [(0, 1), (1, 4)], [(0, 1), (1, 2), (2, 3), (3, 4)]):
        found = measured(task, data, ANSWERS, parts)
        assert {name: found[name] for name in wanted} == pytest.approx(wanted), parts
    assert f"tok:{bleu}|" in task.signatures["bleu"]
    assert "case:lc" in task.signatures["bleu"] or not lowercase
    assert task.signatures["bleu"].startswith("nrefs:1|")
    assert Transduction(y=data.spec.y, longest_y=30).signatures == {}


def test_options_of_bleu_without_bleu_are_refused():
    data = data_of_texts()
    with pytest.raises(ConfigError, match=r"bleu_lowercase.*there is no BLEU"):
        Transduction(y=data.spec.y, longest_y=9, bleu_lowercase=True)


@pytest.mark.parametrize(
    ("name", "override"),
    [
        ("bleu", "task.bleu=13a"),
        ("chrf", "task.bleu=13a"),
        ("phoneme_error_rate", "task.symbols=phonemes"),
    ],
)
def test_a_monitor_that_needs_another_option_is_refused_with_it(name, override):
    y = data_of_texts().spec.y
    known = ", ".join(f"val/{one}" for one in Transduction(y=y, longest_y=9).metric_names())
    with pytest.raises(ConfigError) as refused:
        Transduction(y=y, longest_y=9, monitor=f"val/{name}")
    assert str(refused.value).startswith(
        f"task.monitor=val/{name}: no such metric without {override}; "
        f"allowed: also {override}, or {known}, "
    )
    assert str(refused.value).count(f"val/{name}") == 1
    option, _, value = override.removeprefix("task.").partition("=")
    mode = Transduction.better(name)
    given = {option: value, "monitor": f"val/{name}", "mode": mode}
    assert name in Transduction(y=y, longest_y=9, **given).metric_names()
    with pytest.raises(ConfigError, match=rf"{known}, .*val/{name} with {override}"):
        Transduction(y=y, longest_y=9, monitor="val/f1")


def test_bleu_without_its_library_names_what_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    with pytest.raises(ConfigError, match=r"task.bleu=13a: needs sacrebleu.*pip install"):
        Transduction(y=data_of_texts().spec.y, longest_y=9, bleu="13a")


PRONOUNCED = [("tomato", "T OW M"), ("tomato", "T AH M EY"), ("cat", "K AE T"), ("a", "AH")]


@pytest.mark.parametrize("parts", [[(0, 4)], [(0, 1), (1, 4)], [(0, 2), (2, 4)]])
def test_every_y_of_an_x_is_right_and_the_x_counts_once(parts):
    data = data_of(PRONOUNCED, by="tokens", min_count=1)
    task = Transduction(y=data.spec.y, longest_y=9, symbols="phonemes", references="same_x")
    task.check(data)
    answers = ["T AH M EY", "T AH M EY", "K AE", "AH"]
    found = measured(task, data, answers, parts)
    # tomato is right by its second y, with 4 phonemes; cat has one edit of 3
    assert found["word_error_rate"] == pytest.approx(1 / 3)
    assert found["phoneme_error_rate"] == pytest.approx(1 / (4 + 3 + 1))
    alone = Transduction(y=data.spec.y, longest_y=9, symbols="phonemes")
    alone.check(data)
    found = measured(alone, data, answers, parts)
    assert found["word_error_rate"] == pytest.approx(2 / 4)
    edits = Levenshtein.distance("T AH M EY".split(), "T OW M".split()) + 1
    assert found["phoneme_error_rate"] == pytest.approx(edits / (3 + 4 + 3 + 1))


def test_bleu_takes_all_references_of_an_x():
    pairs = [("x", TRUTHS[0]), ("x", "a cat was on the mat."), ("z", TRUTHS[1]), ("u", TRUTHS[2])]
    data = data_of(pairs + [(f"k{n}", text) for n, text in enumerate(ANSWERS)], min_count=1)
    task = Transduction(y=data.spec.y, longest_y=60, references="same_x", bleu="13a")
    task.check(data)
    answers = [ANSWERS[0], ANSWERS[0], ANSWERS[1], ANSWERS[2]]
    found = measured(task, data, answers)
    hypotheses, first = answers[1:], [TRUTHS[0], *TRUTHS[1:3]]
    references = [first, [pairs[1][1], None, None]]
    for name, scorer in (("bleu", sacrebleu.BLEU()), ("chrf", sacrebleu.CHRF())):
        wanted = scorer.corpus_score(hypotheses, references).score
        assert found[name] == pytest.approx(wanted), name
    assert task.signatures["bleu"].startswith("nrefs:var|")


def test_counts_of_several_processes_are_added():
    """What torchmetrics does with the states of two processes, done by hand."""
    data = data_of_texts()
    task = Transduction(y=data.spec.y, longest_y=30, bleu="13a")
    whole = measured(task, data, ANSWERS)
    for name, metric in task.metrics("test").items():
        added = dict.fromkeys(metric.metric_state, 0)
        for start, end in pairwise((0, 1, 4)):
            batch = data.batch("test", range(start, end))
            answers, truths = task.pairs(predicted(data, ANSWERS[start:end]), batch)
            own = metric.of_examples(answers, truths, torch.arange(end - start), end - start)
            added = {state: held + own[state].sum(dim=0) for state, held in added.items()}
        set_state(metric, added)
        assert metric.compute().item() == pytest.approx(whole[name]), name
