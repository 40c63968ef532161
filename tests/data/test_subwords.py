"""Text by subwords, which the library `tokenizers` learns."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqpipe.data.base import PlacedRecord
from seqpipe.data.dataset import SequenceData
from seqpipe.data.fields.subwords import Subwords, default_size
from seqpipe.data.fields.text import Text
from seqpipe.data.vocabulary import EOS, PAD, UNK
from seqpipe.errors import DataError

SENTENCES = ["the lower the better", "the newest is the widest", "lowest and newest, lower <EOS>"]


def fitted(texts=SENTENCES, **options):
    field = Text("text", by="subwords", **options)
    field.fit({"text": text} for text in texts)
    return field


FITTED = fitted()


@given(st.text())
def test_any_text_comes_back_as_it_was(text):
    ids = FITTED.encode_target({"text": text})
    assert FITTED.decode(ids) == text
    assert FITTED.decode(FITTED.encode({"text": text})) == text
    assert all(id_ > EOS for id_ in ids.tolist()[:-1])


def test_frequent_runs_of_bytes_become_symbols_and_every_byte_is_one():
    names = FITTED.spec.names
    assert names[:4] == ("<PAD>", "<UNK>", "<BOS>", "<EOS>")
    assert {"\u0120the", "lowe", "west"} & set(names) >= {"\u0120the"}
    assert len(names) == len(set(names)) == FITTED.spec.size > 260
    assert FITTED.spec.unit == "subwords"
    assert len(FITTED.encode({"text": " the the"})) == 2


def test_a_text_that_spells_a_special_symbol_does_not_become_one():
    ids = FITTED.encode({"text": "<EOS><PAD>"})
    assert ids.min() > EOS
    assert FITTED.decode(ids) == "<EOS><PAD>"


def test_the_vocabulary_stays_within_its_bound_and_rare_pairs_are_not_joined():
    assert fitted(max_vocabulary=264).spec.size == 264
    assert fitted(max_vocabulary=260).spec.size == 260
    assert fitted(["abab"], min_count=3).spec.size == 260
    assert fitted(["abab"], min_count=2).spec.names[260:] == ("ab",)


def test_no_end_is_put_where_a_text_goes_on():
    record = PlacedRecord({"text": "the lower"}, goes_on=True)
    assert EOS not in FITTED.encode_target(record).tolist()
    assert FITTED.decode(FITTED.encode(record)) == "the lower"


def test_what_a_model_may_write_is_shown():
    t, e = FITTED.encode({"text": "$"})[0], FITTED.encode({"text": "%"})[0]
    half = FITTED.encode({"text": "\u00e9"})[:1]
    assert FITTED.decode([PAD, t, UNK, e, EOS, t]) == "$\ufffd%"
    assert FITTED.decode([UNK]) == FITTED.decode(half) == "\ufffd"
    assert FITTED.decode([]) == ""


def test_lowercase_makes_all_letters_small():
    field = fitted(lowercase=True)
    assert field.decode(field.encode({"text": "The"})) == "the"


def test_the_same_texts_give_the_same_symbols_in_every_process_and_nothing_is_printed():
    code = (
        "import os, hashlib, random; from seqpipe.data.fields.subwords import Subwords\n"
        "draw = random.Random(0)\n"
        "words = [''.join(draw.choices('abcde', k=draw.randint(1, 4))) for _ in range(4000)]\n"
        "way = Subwords(max_vocabulary=500)\n"
        "way.fit(' '.join(words[n : n + 20]) for n in range(0, 4000, 20))\n"
        "child = os.fork()\n"  # as a loader does
        "way.encode('abc')\n"
        "if child == 0: os._exit(0)\n"
        "os.waitpid(child, 0)\n"
        "print(hashlib.sha256(way.state()['tokenizer'].encode()).hexdigest())"
    )
    environment = {k: v for k, v in os.environ.items() if k != "TOKENIZERS_PARALLELISM"}
    runs = [
        subprocess.run(
            [sys.executable, "-W", "error", "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env=environment | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        for seed in ("1", "2")
    ]
    assert runs[0].stdout == runs[1].stdout
    assert [run.stderr for run in runs] == ["", ""]
    assert len(runs[0].stdout.splitlines()) == 1


def test_a_bad_record_is_told_as_it_is_while_the_library_reads():
    with pytest.raises(DataError) as error:
        fitted(["a", 3])
    assert str(error.value) == "text=3: not text"


def test_a_bad_record_is_left_out_where_that_is_asked_for(source_of):
    records = [{"text": text} for text in (*SENTENCES, 3)]
    field = Text("text", by="subwords")
    data = SequenceData(source_of(records), field, on_error="skip")
    assert data.sizes["train"] == 3
    assert field.decode(data.batch("train", [1]).y[0]) == SENTENCES[1]


@pytest.mark.parametrize(
    ("characters", "size"),
    [(0, 500), (10_000, 500), (122_066, 1048), (1_800_000, 4025), (10**9, 8000)],
)
def test_a_larger_text_gets_more_subwords(characters, size):
    assert default_size(characters) == size


def test_the_default_is_what_training_to_that_size_gives():
    draw = np.random.default_rng(0)
    stems = ["".join(map(chr, row)) for row in draw.integers(97, 123, (300, 6))]
    words = [stem + end for stem in stems for end in ("", "s", "ed", "ing")]
    texts = [" ".join(draw.choice(words, 12)) for _ in range(700)]
    chosen, given = Subwords(), Subwords(default_size(sum(map(len, texts))))
    for way in (chosen, given):
        way.fit(iter(texts))
    assert 500 < len(chosen.names) == len(given.names) < 1000
    assert chosen.names == given.names
    for text in texts[:20]:
        assert chosen.encode(text) == given.encode(text)
        assert chosen.decode(chosen.encode(text)[0]) == text
    restored = Subwords()
    restored.restore(chosen.state())
    assert restored.encode(texts[0]) == chosen.encode(texts[0])


def test_few_texts_have_as_many_subwords_as_they_have_pairs():
    way = Subwords()
    way.fit(["ab ab"])
    assert len(way.names) < 270
