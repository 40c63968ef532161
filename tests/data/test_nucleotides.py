import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seqpipe.data.fields.dna import Nucleotides
from seqpipe.data.nucleotides import CODES, STANDS_FOR, item, reverse_complement
from seqpipe.errors import ConfigError

DNA = st.text(alphabet=CODES, min_size=1, max_size=50)
MASKED = st.text(alphabet=CODES + CODES.lower(), min_size=1, max_size=50)


@given(MASKED, st.sampled_from(["symbols", "shares"]))
def test_what_is_encoded_is_decoded_to_the_same(sequence, codes):
    plain = Nucleotides("s", codes=codes)
    assert plain.decode(plain.encode({"s": sequence})) == sequence.upper()
    masked = Nucleotides("s", codes=codes, masked=True)
    assert masked.decode(masked.encode({"s": sequence})) == sequence


@given(MASKED)
def test_merged_every_code_of_several_bases_comes_back_as_n(sequence):
    field = Nucleotides("s", ambiguity="merged")
    wanted = "".join(letter if letter in "ACGT" else "N" for letter in sequence.upper())
    assert field.decode(field.encode({"s": sequence})) == wanted
    assert field.spec.names == tuple("ACGTN")


@given(st.text(alphabet="ACGTUacgu", max_size=30))
def test_rna_reads_u_as_t(sequence):
    field = Nucleotides("s", rna=True, masked=True)
    expected = sequence.replace("U", "T").replace("u", "t")
    assert field.decode(field.encode({"s": sequence})) == expected


def test_shares_are_how_much_of_each_base_a_code_stands_for():
    field = Nucleotides("s", codes="shares")
    shares = field.encode({"s": "AcRBN"})
    expected = [
        [1, 0, 0, 0],
        [0, 1, 0, 0],
        [0.5, 0, 0.5, 0],
        [0, 1 / 3, 1 / 3, 1 / 3],
        [0.25, 0.25, 0.25, 0.25],
    ]
    assert torch.equal(shares, torch.tensor(expected))
    assert (field.spec.kind, field.spec.size) == ("values", 4)
    every = Nucleotides("s", codes="shares").encode({"s": CODES})
    assert torch.allclose(every.sum(dim=1), torch.ones(len(CODES)))


def test_masked_tells_small_letters_from_large_ones():
    symbols = Nucleotides("s", masked=True)
    assert symbols.encode({"s": "Aa"}).tolist() == [0, 15]
    shares = Nucleotides("s", codes="shares", masked=True)
    assert shares.encode({"s": "Aa"}).tolist() == [[1, 0, 0, 0, 0], [1, 0, 0, 0, 1]]
    assert shares.spec.size == 5


def test_symbols_take_one_byte_a_base_and_the_four_bases_come_first():
    field = Nucleotides("s")
    ids = field.encode({"s": "ACGTN"})
    assert ids.dtype == torch.uint8
    assert ids.tolist() == [0, 1, 2, 3, 14]
    assert (field.spec.kind, field.spec.size, field.spec.unit) == ("symbols", 15, "bases")
    assert field.describe({}) == "DNA, 15 codes"
    assert Nucleotides("s", codes="shares").describe({}) == "DNA, 4 numbers a base"


NO_CODE = "no code of DNA; allowed: A C G T R Y S W K M B D H V N"


def test_nucleotides_are_not_written_by_a_model():
    with pytest.raises(ConfigError, match=r"data.y=Nucleotides: has no end of sequence"):
        Nucleotides("s").encode_target({"s": "A"})


@given(MASKED)
def test_the_complement_of_the_complement_is_the_sequence(sequence):
    assert reverse_complement(reverse_complement(sequence)) == sequence


@given(DNA)
def test_the_other_strand_pairs_each_base_a_code_stands_for(sequence):
    pairs = dict(zip("ACGT", "TGCA", strict=True))
    for code, other in zip(sequence, reversed(reverse_complement(sequence)), strict=True):
        assert sorted(pairs[base] for base in STANDS_FOR[code]) == sorted(STANDS_FOR[other])


@given(MASKED)
def test_both_strands_in_either_case_are_one_item(sequence):
    assert item(sequence) == item(reverse_complement(sequence).lower())
    assert len(item(sequence)) == 16
    assert item("AAAC") != item("AAAG")
    assert item("AAAC", one_strand=True) != item("GTTT", one_strand=True)


def test_the_shares_of_a_complement_are_the_shares_mirrored():
    field = Nucleotides("s", codes="shares")
    forward = field.encode({"s": "ARNGT"}).numpy()
    other = field.encode({"s": reverse_complement("ARNGT")}).numpy()
    assert np.array_equal(other, forward[::-1, ::-1])


def test_a_base_may_know_where_it_stands():
    field = Nucleotides("s", codes="shares", position=True, masked=True)
    encoded = field.encode({"s": "ACgTN"})
    assert encoded[:, -1].tolist() == [-1.0, -0.5, 0.0, 0.5, 1.0]
    assert encoded.shape[1] == field.spec.size == 6
    assert field.decode(encoded) == "ACgTN"
    without = Nucleotides("s", codes="shares", masked=True).encode({"s": "ACgTN"})
    assert torch.equal(encoded[:, :-1], without)
    with pytest.raises(ConfigError, match="position=true: ids have no room for it"):
        Nucleotides("s", position=True)
