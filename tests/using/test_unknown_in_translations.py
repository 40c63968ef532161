"""<UNK> in a translation: kept, never written, or copied from x."""

import copy

import pytest
import torch

from seqpipe.data.base import FieldSpec
from seqpipe.data.vocabulary import EOS, SPECIALS, UNK
from seqpipe.errors import ConfigError
from seqpipe.tasks.transduction import Transduction

INPUTS = ["the zebra sat", "a cat", "Quagga zebra Emu", "Quagga dog the cat sat"]
UNKNOWN = SPECIALS[UNK]


@pytest.fixture
def unsure(made):
    """A model that writes <UNK> often."""
    model = copy.deepcopy(made("translation").model)
    with torch.no_grad():
        model.network.head.output.bias[UNK] += 2.0
        model.network.head.output.bias[EOS] -= 3.0
    return model


def batch_of(model, texts):
    records = [(row, {"x": text}) for row, text in enumerate(texts)]
    pieces = [model.encoder.pieces(*one, labelled=False) for one in records]
    return model.encoder.batch([piece for some in pieces for piece in some])


def words_of(answers):
    return [answer["prediction"].split() for answer in answers]


def test_it_is_kept_unless_another_choice_is_made(unsure):
    kept = unsure.predict(INPUTS, unknown="keep")
    assert kept == unsure.predict(INPUTS, unknown=None)
    assert any(UNKNOWN in words for words in words_of(kept))


def test_the_attention_of_a_kept_one_is_that_of_one_symbol(unsure):
    answers = zip(INPUTS, unsure.predict(INPUTS), strict=True)
    asked = [(x, one["prediction"]) for x, one in answers if UNKNOWN in one["prediction"]]
    assert asked
    for text, written in asked:
        weights, _, y = unsure.attention({"x": text}, written)
        assert y == [*written.split(), "<EOS>"]
        batch = batch_of(unsure, [text])
        ids = torch.tensor([[*map(unsure.spec.y.names.index, written.split()), EOS]])
        length = torch.tensor([ids.shape[1]])
        (same,) = unsure.network.attention_of(batch.x, batch.x_lengths, ids, length)
        assert torch.equal(torch.tensor(weights), same.detach())


@pytest.mark.parametrize("beam_size", [1, 3])
def test_a_banned_one_is_never_written_and_the_score_is_of_what_is(unsure, beam_size):
    answers = unsure.predict(INPUTS, unknown="ban", beam_size=beam_size)
    for text, answer in zip(INPUTS, answers, strict=True):
        assert UNKNOWN not in answer["prediction"]
        ids = unsure.y.encode_target({"y": answer["prediction"]}).long()
        if len(ids) <= unsure.task.max_length:
            (score,) = unsure.score([{"x": text, "y": answer["prediction"]}])
            cut = ids if len(ids) < unsure.task.max_length else ids[:-1]
            total = sum(score.log_probabilities[: len(cut)])
            assert answer["score"] == pytest.approx(total, rel=1e-4)


@pytest.mark.parametrize("n_best", [1, 3])
def test_a_copied_one_is_the_word_of_x_with_the_highest_weight(unsure, n_best):
    copied = unsure.predict(INPUTS, unknown="copy", beam_size=3, n_best=n_best)
    network, names, replaced = unsure.network, unsure.spec.y.names, set()
    for text, answer in zip(INPUTS, copied, strict=True):
        batch = batch_of(unsure, [text])
        (found,) = unsure.task.search(
            network, batch, beam_size=3, n_best=n_best, length_penalty=None
        )
        for (ids, score), row in zip(found, answer.get("n_best", [answer]), strict=True):
            assert row["score"] == pytest.approx(score, rel=1e-5)
            if not len(ids):
                continue
            given = ids[None], torch.tensor([len(ids)])
            (weights,) = network.attention_of(batch.x, batch.x_lengths, *given)
            source = [text.split()[place] for place in weights.argmax(-1).tolist()]
            written = [
                word if id_ == UNK else names[id_]
                for id_, word in zip(ids.tolist(), source, strict=True)
            ]
            assert row["prediction"].split() == written
            replaced |= {w for id_, w in zip(ids.tolist(), source, strict=True) if id_ == UNK}
    assert {"zebra", "Quagga", "Emu"} & replaced  # as x spells it, though x does not know it


def test_the_task_bans_it_in_validation_and_test(unsure):
    names = (*SPECIALS, "a", "b")
    task = Transduction(y=FieldSpec("symbols", 6, names, unit="words"), longest_y=4, unknown="ban")
    plain = Transduction(y=FieldSpec("symbols", 6, names, unit="words"), longest_y=4)
    network, batch = unsure.network, batch_of(unsure, INPUTS)
    assert (plain.predict(network, None, batch)[0] == UNK).any()
    assert not (task.predict(network, None, batch)[0] == UNK).any()
    banned = task.search(network, batch, beam_size=2, n_best=1, length_penalty=None)
    assert not any((ids == UNK).any() for row in banned for ids, _ in row)
    kept = task.search(network, batch, beam_size=2, n_best=1, length_penalty=None, banned=())
    assert any((ids == UNK).any() for row in kept for ids, _ in row)


def test_a_choice_without_effect_is_refused(made, unsure):
    with pytest.raises(ConfigError, match="unknown=ban: task=transcription has no such choice"):
        made("transcript").model.predict(INPUTS, unknown="ban")
    with pytest.raises(ConfigError, match="unknown=copy: without attention no symbol of x is"):
        made("translation", "architecture.attention=none").model.predict(INPUTS, unknown="copy")
    with pytest.raises(ConfigError, match="unknown=drop: "):
        unsure.predict(INPUTS, unknown="drop")
    with pytest.raises(ConfigError, match="unknown=ban: no symbol of y is unknown; allowed: leave"):
        made("translation", "data.y.by=bytes", "data.y.min_count=null").model.predict(
            INPUTS, unknown="ban"
        )
    with pytest.raises(ConfigError, match=r"task\.unknown=ban: no symbol of y is unknown"):
        Transduction(y=FieldSpec("symbols", 6), longest_y=4, unknown="ban")
