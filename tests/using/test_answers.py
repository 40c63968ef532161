"""What an answer is: its words, units, scores and errors, and what is refused."""

import pytest

from seqpipe.data.base import PlacedRecord
from seqpipe.errors import ConfigError, DataError
from seqpipe.inference.outputs import columns_of


def test_spans_have_their_words(made):
    model = made("tags of spans").model
    (answer,) = model.predict([{"tokens": "cat very sat the dog not on".split()}])
    assert answer["spans"], "of these weights"
    words = "cat very sat the dog not on".split()
    for span in answer["spans"]:
        assert span["text"] == " ".join(words[span["start"] : span["end"]])
    assert model.predict(["cat very sat the dog not on"])[0] == answer  # tokens, as text


def test_spans_are_counted_from_the_first_word_where_the_last_ones_were_kept(made):
    words = "on on on cat very sat the dog not on".split()
    for keep, kept in (("first", slice(5)), ("last", slice(-5, None))):
        cut = made("tags of spans", "data.max_length=5", f"data.keep={keep}").model
        (answer,) = cut.predict([{"tokens": words}])
        (alone,) = cut.predict([{"tokens": words[kept]}])
        assert answer["prediction"] == alone["prediction"]
        assert answer["spans"], "of these weights"
        before = 0 if keep == "first" else 5
        assert [span["start"] for span in answer["spans"]] == [
            span["start"] + before for span in alone["spans"]
        ]
        assert [span["text"] for span in answer["spans"]] == [one["text"] for one in alone["spans"]]


@pytest.mark.parametrize(
    ("longer", "text"),
    [
        ("drop", "has more than 4 steps, which data.longer=drop left out; allowed: a shorter one"),
        ("refuse", "x has 5 steps; allowed: data.max_length=4, or data.longer=drop or truncate"),
    ],
)
def test_what_training_did_not_take_is_not_answered(made, longer, text):
    cut = ("data.max_length=4", f"data.longer={longer}", "data.on_error=skip")
    model = made("category of text", *cut).model
    with pytest.raises(DataError) as caught:
        model.predict(["the cat", "the cat sat on a", "mat"])
    assert caught.value.problems == [f"inputs[1]: {text}"]


def test_a_forecast_of_differences_is_in_the_units_of_its_series(made):
    relative = made("numbers, differences")
    model, source = relative.model, relative.data.source
    record = next(iter(source.read().test))
    (answer,) = model.predict([record])
    (differences,) = model.predict([{"past": record["past"], "last": [0.0]}])
    assert answer["prediction"] == [d + float(record["last"][0]) for d in differences["prediction"]]
    with pytest.raises(DataError) as caught:
        model.predict([{"past": record["past"]}])
    (problem,) = caught.value.problems
    assert problem.startswith("inputs[0]: last: is missing; allowed: the last step of the past")


def test_records_that_cannot_be_read_are_told_with_their_places(made):
    model = made("category of text").model
    with pytest.raises(DataError) as caught:
        model.predict([{"text": "cat"}, {"txet": "cat"}, {"text": 3}, ""])
    assert caught.value.problems == [
        "inputs[1]: column=text: not in the record; it has txet; did you mean 'txet'?",
        "inputs[2]: text=3: not text",
        "inputs[3]: text: is empty, x has no steps; allowed: one or more",
    ]
    for one in ("cat", {"text": "cat"}, b"cat"):
        with pytest.raises(DataError, match=r"^inputs: is one \w+; allowed: a list of inputs"):
            model.predict(one)


def test_what_is_wrong_does_not_change_what_is_right(made, near):
    model = made("tags of spans in windows").model
    records = made("tags of spans in windows").records
    found = [records[0], DataError("rows.csv:2: broken"), records[1], PlacedRecord({}, "a", 4)]
    answers = list(model.answers(found, chunk=3))
    assert near([answers[0].answer, answers[2].answer], model.predict(records[:2]))
    assert [one.error for one in answers][::2] == [None, None]
    assert answers[1].error == "rows.csv:2: broken"
    assert answers[3].place == "a:4"
    assert "column=tokens: not in the record" in answers[3].error


def test_models_that_write_answer_nothing(made):
    for name in ("lines", "piano rolls"):
        with pytest.raises(ConfigError) as caught:
            made(name).model.predict(["a"])
        text = "writes new sequences and cannot predict; allowed: sample or score"
        assert caught.value.problems == [f"architecture=one_to_many: {text}"]


@pytest.mark.parametrize("name", ["translation", "transcript"])
def test_an_answer_is_searched_for_as_the_test_did_or_as_asked(made, name, near):
    """Both models have the same weights."""
    greedily, beam = made(name).model, made(f"{name} by beam").model
    records = made(name).records
    greedy = greedily.predict(records)
    assert near(beam.predict(records, beam_size=1), greedy)
    assert near(greedily.predict(records, beam_size=3), beam.predict(records))
    assert [one["prediction"] for one in greedy] != [
        one["prediction"] for one in beam.predict(records)
    ]


@pytest.mark.parametrize("name", ["translation by beam", "transcript by beam"])
def test_the_best_answers_come_with_their_scores(made, name):
    model, records = made(name).model, made(name).records
    greedy = model.predict(records, beam_size=1)
    options = {"length_penalty": 0.0} if name.startswith("translation") else {}
    wide = model.predict(records, beam_size=4, n_best=3, **options)
    for row, alone in zip(wide, greedy, strict=True):
        scores = [one["score"] for one in row["n_best"]]
        assert scores == sorted(scores, reverse=True)
        assert row["n_best"][0] == {"prediction": row["prediction"], "score": row["score"]}
        assert len({one["prediction"] for one in row["n_best"]}) == 3
        assert row["score"] >= alone["score"] - 1e-5


def test_options_of_a_search_are_refused_where_nothing_is_searched_for(made):
    def problems(name, **options):
        with pytest.raises(ConfigError) as caught:
            made(name).model.predict(["cat"], **options)
        return caught.value.problems

    text = "task=classification does not search for sequences; allowed: leave it out"
    assert problems("category of text", beam_size=2, n_best=3, length_penalty=0.5) == [
        f"beam_size=2: {text}",
        f"length_penalty=0.5: {text}",
        f"n_best=3: {text}",
    ]
    assert problems("translation", n_best=2) == [
        "n_best=2: out of range; allowed: an integer from 1 to 1 (which beam_size=1 finds)"
    ]
    assert problems("translation", beam_size=0, length_penalty=-1.0) == [
        "beam_size=0: out of range; allowed: an integer from 1 to 10000 or null",
        "length_penalty=-1.0: out of range; allowed: a number in [0, 10] or null",
    ]
    assert problems("transcript", beam_size=2, length_penalty=0.5) == [
        "length_penalty=0.5: task=transcription ranks answers by probability only;"
        " allowed: leave it out"
    ]


@pytest.mark.parametrize(
    ("name", "records", "wanted"),
    [
        ("category of text", ["the zebra sat, zebra", "the cat"], [3, 0]),
        ("category of words and characters", ["the zebra", "cat"], [1, 0]),
        ("tags of spans", ["cat zebra dog"], [1]),
        ("tags of spans in windows", ["zebra " * 7], [7]),
        ("translation", ["the zebra sat", "a cat"], [1, 0]),
        ("translation by beam", ["the zebra sat"], [1]),
        ("transcript", ["zebra the"], [1]),
    ],
)
def test_unknown_symbols_of_an_input_are_counted_in_its_answer(made, name, records, wanted):
    model = made(name).model
    assert [answer["unknown"] for answer in model.predict(records)] == wanted
    columns = [*columns_of(model.task, 1, model.spec.x)]
    assert columns[-1] == "unknown"
    assert {key.partition(".")[0] for key in columns} == set(model.predict(records)[0])


def test_where_nothing_can_be_unknown_nothing_is_counted(made):
    for name in ("category of series", "number", "tags"):
        model, records = made(name).model, made(name).records[:1]
        assert "unknown" not in model.predict(records)[0]
