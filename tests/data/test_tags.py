"""Tags that mark spans: schemes, from one to another, and the field that knows them."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqpipe.data.base import PlacedRecord
from seqpipe.data.fields.labels import Tags
from seqpipe.data.tag_notation import Survey
from seqpipe.data.tags import (
    SCHEMES,
    Span,
    all_tags,
    convert,
    faults,
    rules,
    spans,
    tags_of,
)
from seqpipe.errors import DataError

# Japan | Tokyo | New York City, two of LOC touching, and a person
WRITTEN = {
    "io": "I-LOC I-LOC O I-LOC I-LOC I-LOC I-PER",
    "iob1": "I-LOC B-LOC O I-LOC I-LOC I-LOC I-PER",
    "bio": "B-LOC B-LOC O B-LOC I-LOC I-LOC B-PER",
    "bioes": "S-LOC S-LOC O B-LOC I-LOC E-LOC S-PER",
}
FOUND = [Span("LOC", 0, 1), Span("LOC", 1, 2), Span("LOC", 3, 6), Span("PER", 6, 7)]


@st.composite
def marked(draw, types=("PER", "LOC", "a-b")):
    """Spans in their order and the length of the sequence."""
    found, place = [], 0
    for gap, length, type_ in draw(
        st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3), st.sampled_from(types)))
    ):
        found.append(Span(type_, place + gap, place + gap + length))
        place = found[-1].end
    return found, place + draw(st.integers(0, 2))


ANY_TAGS = st.lists(
    st.sampled_from(["O", *(f"{prefix}-{type_}" for prefix in "BIES" for type_ in ("X", "Y"))])
)


@pytest.mark.parametrize("scheme", ["iob1", "bio", "bioes"])
def test_spans_are_read_and_written_in_every_scheme(scheme):
    assert spans(WRITTEN[scheme].split()) == FOUND
    assert " ".join(tags_of(FOUND, 7, scheme)) == WRITTEN[scheme]
    assert faults(WRITTEN[scheme].split(), scheme) == []


def test_in_io_spans_of_one_type_that_touch_are_one():
    assert " ".join(tags_of(FOUND, 7, "io")) == WRITTEN["io"]
    assert spans(WRITTEN["io"].split())[0] == Span("LOC", 0, 2)


@pytest.mark.parametrize("scheme", ["iob1", "bio", "bioes"])
@given(marked())
def test_what_is_written_is_valid_and_is_read_again(scheme, case):
    found, length = case
    tags = tags_of(found, length, scheme)
    assert len(tags) == length
    assert spans(tags) == found
    assert faults(tags, scheme) == []


@pytest.mark.parametrize("scheme", ["iob1", "bio", "bioes"])
@given(marked(types=("",)))
def test_spans_of_one_type_need_no_name(scheme, case):
    found, length = case
    tags = tags_of(found, length, scheme)
    assert set(tags) <= set("OBIES")
    assert spans(tags) == found


@pytest.mark.parametrize("scheme", ["iob1", "bio", "bioes"])
@given(ANY_TAGS)
def test_converting_keeps_every_span_of_any_tags(scheme, tags):
    converted = convert(tags, scheme)
    assert spans(converted) == spans(tags)
    assert faults(converted, scheme) == []


@given(ANY_TAGS)
def test_converting_to_io_joins_only_spans_of_one_type_that_touch(tags):
    inside = [tag[2:] for tag in convert(tags, "io")]
    assert inside == [tag[2:] for tag in tags]


@pytest.mark.parametrize(
    ("tags", "read"),
    [
        ("", []),
        ("O", []),
        ("I-X", [Span("X", 0, 1)]),
        ("I-X I-Y", [Span("X", 0, 1), Span("Y", 1, 2)]),
        ("O E-X O", [Span("X", 1, 2)]),
        ("E-X I-X", [Span("X", 0, 1), Span("X", 1, 2)]),
        ("S-X I-X", [Span("X", 0, 1), Span("X", 1, 2)]),
        ("B-X E-X E-X", [Span("X", 0, 2), Span("X", 2, 3)]),
        ("B-X I-Y E-X", [Span("X", 0, 1), Span("Y", 1, 2), Span("X", 2, 3)]),
    ],
)
def test_tags_that_break_a_scheme_are_read_as_conlleval_does(tags, read):
    assert spans(tags.split()) == read


@pytest.mark.parametrize(
    ("scheme", "tags", "found"),
    [
        ("bio", "O I-X", (1, "continues no span after O; allowed in bio: B-X")),
        ("bio", "I-X", (0, "continues no span at the start; allowed in bio: B-X")),
        ("bio", "B-X I-Y", (1, "continues no span after B-X; allowed in bio: B-Y")),
        ("bio", "E-X", (0, "no tag of bio; allowed: O, B-TYPE, I-TYPE")),
        ("bio", "O B_X", (1, "no tag of bio; allowed: O, B-TYPE, I-TYPE")),
        ("io", "O B-X", (1, "no tag of io; allowed: O, I-TYPE")),
        ("iob1", "O B-X", (1, "separates no spans after O; allowed in iob1: I-X")),
        ("iob1", "I-Y B-X", (1, "separates no spans after I-Y; allowed in iob1: I-X")),
        ("bioes", "B-X O", (1, "leaves a span open after B-X; allowed in bioes: I-X, E-X")),
        ("bioes", "B-X I-Y E-Y", (1, "leaves a span open after B-X; allowed in bioes: I-X, E-X")),
        ("bioes", "E-X", (0, "continues no span at the start; allowed in bioes: B-X, S-X")),
        ("bioes", "S-X I-X E-X", (1, "continues no span after S-X; allowed in bioes: B-X, S-X")),
        ("bioes", "O B-X", (1, "leaves its span open; allowed in bioes: S-X")),
        ("bioes", "B-X I-X", (1, "leaves its span open; allowed in bioes: E-X")),
    ],
)
def test_what_breaks_a_scheme_is_told_with_its_step(scheme, tags, found):
    assert faults(tags.split(), scheme) == [found]


@pytest.mark.parametrize("types", [("",), ("X", "Y")])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_rules_of_a_scheme_allow_what_has_no_fault(scheme, types):
    names = all_tags(types, scheme)
    start, follow, end = rules(names, scheme)
    for length in (1, 2, 3):
        for ids in itertools.product(range(len(names)), repeat=length):
            kept = all(follow[i][j] for i, j in itertools.pairwise(ids))
            kept = kept and start[ids[0]] and end[ids[-1]]
            assert kept == (faults([names[i] for i in ids], scheme) == [])


def detect(sequences):
    """The scheme that a survey finds."""
    found = Survey(sequences).convention()
    return None if found is None else found.scheme


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_scheme_is_known_by_its_tags(scheme):
    assert detect([WRITTEN[scheme].split()]) == scheme
    assert detect([["O"], WRITTEN[scheme].split(), ["O"]]) == scheme


@pytest.mark.parametrize("tags", ["NOUN O", "O O", "", "B I O", "B-X NOUN", "E I"])
def test_what_is_not_sure_to_mark_spans_is_no_scheme(tags):
    assert detect([tags.split()]) is None


@pytest.mark.parametrize("scheme", ["io", "iob1", "bio", "bioes"])
@given(marked())
def test_what_is_detected_fits(scheme, case):
    found, length = case
    tags = tags_of(found, length, scheme)
    detected = detect([tags])
    assert (detected is None) == (not found)
    assert not found or faults(tags, detected) == []


def fitted(*sequences, scheme="auto"):
    field = Tags("tags", scheme=scheme)
    field.fit({"tags": tags.split()} for tags in sequences)
    return field


def test_a_field_of_spans_knows_all_prefixes_of_the_types_it_has_met():
    field = fitted("O B-LOC", "B-PER I-PER", scheme="bio")
    assert field.spec.names == ("B-LOC", "B-PER", "I-LOC", "I-PER", "O")
    assert field.spec.scheme == "bio"
    assert field.describe({}) == "one of 5 tags a step (bio: LOC, PER)"
    tags = "B-LOC I-LOC O"
    assert field.decode(field.encode({"tags": tags.split()})) == tags


def test_the_scheme_is_found_out_only_where_that_is_asked_for():
    assert fitted("O B-X").spec.scheme == "bio"
    assert fitted("O S-X").spec.names == ("B-X", "E-X", "I-X", "O", "S-X")
    plain = fitted("O B-X", scheme=None)
    assert (plain.spec.scheme, plain.spec.names) == (None, ("B-X", "O"))
    assert plain.encode({"tags": ["B-X"]}).tolist() == [0]
    words = fitted("NOUN", "VERB ADJ", "B-X")
    assert (words.spec.scheme, words.spec.names) == (None, ("ADJ", "B-X", "NOUN", "VERB"))


@given(marked(types=("PER", "LOC")))
def test_tags_come_back_as_they_were(case):
    found, length = case
    field = fitted("B-PER B-LOC")
    tags = tags_of(found, length, "bio")
    assert field.decode(field.encode({"tags": tags})) == " ".join(tags)


def test_all_that_breaks_the_scheme_of_a_field_is_told():
    field = fitted("O B-X I-X", scheme="bio")
    with pytest.raises(DataError) as error:
        field.encode(PlacedRecord({"tags": ["O", "I-X", "O", "I-X"]}, "a.conll", 3))
    assert error.value.problems == [
        "tags[1]=I-X: continues no span after O; allowed in bio: B-X, or data.y.scheme=null",
        "tags[3]=I-X: continues no span after O; allowed in bio: B-X, or data.y.scheme=null",
    ]


def test_a_tag_of_another_scheme_is_refused_when_it_is_learned():
    with pytest.raises(DataError) as error:
        fitted("O S-X", scheme="bio")
    assert str(error.value) == "tags='S-X': no tag of bio; allowed: O, B-TYPE, I-TYPE"


def test_a_type_that_training_never_showed_is_refused():
    with pytest.raises(DataError) as error:
        fitted("O B-X", scheme="bio").encode({"tags": ["B-Y"]})
    assert str(error.value) == (
        "tags='B-Y': not a class of the training split; it has B-X, I-X, O; did you mean 'B-X'?"
    )


def test_a_field_reads_other_notations_as_the_tags_of_its_scheme():
    field = fitted("O U-PER B-LOC L-LOC", "O O")
    assert field.spec.scheme == "bioes"
    assert field.decode(field.encode({"tags": ["U-PER", "O"]})) == "S-PER O"
    after = Tags("tags", scheme="auto")
    after.restore(field.state())
    assert after.encode({"tags": ["U-PER"]}).tolist() == field.encode({"tags": ["U-PER"]}).tolist()


def test_a_field_reads_prefixes_joined_in_another_way_and_knows_what_was_meant():
    field = fitted(*["o PER/b LOC/b LOC/i"] * 20)
    assert field.spec.names == ("B-LOC", "B-PER", "I-LOC", "I-PER", "O")
    after = Tags("tags", scheme="auto")
    after.restore(field.state())
    for one in (field, after):
        assert one.decode(one.encode({"tags": ["LOC/b", "LOC/i", "o"]})) == "B-LOC I-LOC O"
        with pytest.raises(DataError, match=r"tags\[0\]=B-PER: no tag of bio.*mean '.*PER.*'"):
            one.encode({"tags": ["B-PER"]})
        with pytest.raises(DataError, match=r"tags\[0\]=0: no tag of bio.*did you mean 'o'"):
            one.encode({"tags": ["0"]})


def test_a_field_refuses_one_odd_tag_and_keeps_the_scheme():
    field = fitted(*["O B-PER I-PER"] * 20, "O B_PER", "O B-PER.")
    assert (field.spec.scheme, field.spec.names) == ("bio", ("B-PER", "I-PER", "O"))
    for odd in ("B_PER", "B-PER."):
        with pytest.raises(DataError) as error:
            field.encode({"tags": ["O", odd]})
        assert str(error.value) == (
            f"tags[1]={odd}: no tag of bio; allowed: O, B-TYPE, I-TYPE, or data.y.scheme=null; "
            "did you mean 'B-PER'?"
        )
