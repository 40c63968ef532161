from functools import partial

import numpy as np
import pytest

import small_files
from seqpipe.data.nucleotides import reverse_complement
from seqpipe.data.sources.fasta import Fasta
from seqpipe.data.sources.fasta_records import fasta
from seqpipe.errors import ConfigError, DataError
from small_files import in_every_split, problems

CODES = "A C G T U R Y S W K M B D H V N"


@pytest.fixture
def write(tmp_path):
    return partial(small_files.write, tmp_path)


parsed = partial(small_files.parsed, Fasta)


@pytest.mark.parametrize("name", ["donor.fa", "donor.fa.gz"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_wrapped_and_unwrapped_sequences_are_read(write, name, end):
    lines = [">one first of two", "ACGT", "acg", "", ">two", "TTTTT"]
    file = write(name, end.join(lines))
    one, two = parsed(file)
    assert (one["id"], one["description"], one["sequence"]) == ("one", "first of two", "ACGTACG")
    assert (two["id"], two["description"], two["sequence"]) == ("two", "", "TTTTT")
    assert [one["label"], two["label"]] == ["donor", "donor"]
    assert one.place == f"{file}:1"
    assert two.place == f"{file}:5"


def test_soft_masking_is_kept_where_it_is_asked_for(write):
    file = write("a.fa", ">one\nACgtN\n")
    assert parsed(file)[0]["sequence"] == "ACGTN"
    assert parsed(file, case="keep")[0]["sequence"] == "ACgtN"


def test_comments_and_blanks_between_letters_are_left_out(write):
    file = write("a.fa", "; a comment\n>one\nACGT ACGT\n;another\nAC\n")
    assert [r["sequence"] for r in parsed(file)] == ["ACGTACGTAC"]


def test_a_fault_costs_the_sequence_it_is_in_and_no_other(write):
    file = write("a.fa", ">one\nACGT\nAC!T\nACGT\n>two\n>three\nAC\n>\nAC\n>five\nGG\n")
    found = parsed(file)
    assert [r["id"] for r in found if not isinstance(r, DataError)] == ["three", "five"]
    assert problems(found) == [
        f"{file}:3: letter 3 is '!', no nucleotide; allowed: {CODES}",
        f"{file}:5: two holds no letters; allowed: one or more",
        f"{file}:8: the header is empty; allowed: an id",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a.fa: holds no sequences; allowed: >id, and letters below it"),
        ("ACGT\nAC\n", "a.fa:1: letters without a header; allowed: >id first"),
        (
            b">a\nAC\xff\n",
            "a.fa:2: byte 0xff at column 3 is not utf-8; allowed: "
            "data.source.encoding=latin-1, cp1252, ... as the file was written",
        ),
    ],
)
def test_a_broken_fasta_file_is_told(write, text, message):
    assert small_files.problems_in(Fasta, write("a.fa", text)) == [message]


def test_a_protein_has_letters_of_its_own(write):
    file = write("a.faa", ">p\nMKLE\n")
    assert parsed(file, alphabet="protein")[0]["sequence"] == "MKLE"
    assert problems(parsed(file)) == [f"{file}:2: letter 3 is 'L', no nucleotide; allowed: {CODES}"]
    with pytest.raises(ConfigError, match="strands=both: a protein has no other strand"):
        parsed(file, alphabet="protein", strands="both")


def test_a_long_sequence_comes_in_pieces_that_join_to_the_whole(write):
    file = write("a.fa", ">one x\n" + "ACGTA\n" * 5 + ">two\nACGT\n>three\nACGTACGT\n")
    pieces = list(fasta(file, "utf-8", "dna", size=4))
    ids = [(p.id, p.start, len(p.sequence), p.last) for p in pieces]
    assert ids == [
        *(("one", 4 * i, 4, False) for i in range(6)),
        ("one", 24, 1, True),
        ("two", 0, 4, True),
        ("three", 0, 4, False),
        ("three", 4, 4, True),
    ]
    assert "".join(p.sequence for p in pieces if p.id == "one") == "ACGTA" * 5


READ = "@r1 first\nACGN\n+\n!I~5\n"


@pytest.mark.parametrize("name", ["reads.fq", "reads.fastq.gz"])
def test_fastq_has_a_score_for_each_base(write, name):
    file = write(name, READ + "\n@r2\nA\n+r2\n@\n")
    one, two = parsed(file)
    assert (one["id"], one["description"], one["sequence"]) == ("r1", "first", "ACGN")
    assert one["quality"].tolist() == [0, 40, 93, 20]
    assert one["quality"].dtype == np.uint8
    assert (two["sequence"], two["quality"].tolist()) == ("A", [31])
    assert two.place == f"{file}:6"


FOUR = "four lines per read: @id, letters, +, quality"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("@r\nACG\n+\nII\n", "a.fq:4: 2 letters of quality, 3 of sequence; allowed: one for each"),
        ("@r\nAC\n+\nI\x7f\n", "a.fq:4: quality holds a letter that is no score; allowed: ! to ~"),
        ("@r\nAXC\n+\nIII\n", f"a.fq:2: letter 2 is 'X', no nucleotide; allowed: {CODES}"),
        ("@r\nAC\n", f"a.fq:1: the file ends within this read; allowed: {FOUR}"),
        ("@\nAC\n+\nII\n", "a.fq:1: the header is empty; allowed: an id"),
        ("@r\n\n+\n\n", "a.fq:1: r holds no letters; allowed: one or more"),
        (
            READ + "@r\nAC\nGT\n+\nII\nII\n",
            "a.fq:7: does not start with +, so that no read after it can be found; "
            f"allowed: {FOUR}",
        ),
        (
            READ + "r\nAC\n+\nII\n",
            "a.fq:5: does not start with @, so that no read after it can be found; "
            f"allowed: {FOUR}",
        ),
    ],
)
def test_a_broken_fastq_file_is_told(write, text, message):
    assert small_files.problems_in(Fasta, write("a.fq", text)) == [message]


def test_classes_are_named_by_file(write):
    file = write("ei.fa", ">a\nACGT\n")
    assert parsed(file, classes={"ei": "donor"})[0]["label"] == "donor"
    assert problems(parsed(file, classes={"ie": "acceptor"})) == [
        f"{file}:1: ei has no class; allowed: data.source.classes with ie and ei"
    ]


def test_the_class_may_stand_in_the_header(write):
    file = write("a.fa", ">a class=x y\nACGT\n>b\nAC\n")
    found = parsed(file, header=r"class=(\w+)")
    assert found[0]["label"] == "x"
    assert problems(found) == [
        f"{file}:3: the header 'b' holds no class; allowed: what matches "
        r"data.source.header=class=(\w+)"
    ]


def test_a_header_pattern_needs_a_group(write):
    allowed = r"allowed: one with a group in (), as class=(\w+)"
    with pytest.raises(ConfigError) as caught:
        Fasta(train="a.fa", header="class")
    assert caught.value.problems == [f"data.source.header=class: finds no class; {allowed}"]
    with pytest.raises(ConfigError, match=r"data.source.header=\(: not a regular expression"):
        Fasta(train="a.fa", header="(")


def test_one_way_to_find_the_class_is_enough():
    with pytest.raises(ConfigError) as caught:
        Fasta(train="a.fa", header="(x)", labels="a.tsv")
    assert caught.value.problems == [
        "data.source.header and data.source.labels: each says what the class is; "
        "allowed: one of them, the others null"
    ]


SEQUENCES = ">a\nACGT\n>b\nCCCC\n>c\nTTTA\n>d\nGGGA\n"


@pytest.mark.parametrize(("name", "sep"), [("y.tsv", "\t"), ("y.csv", ","), ("y.csv.gz", ",")])
def test_labels_may_stand_in_a_table(write, name, sep):
    rows = [["n", "id", "label"], *([str(i), id_, f"c{id_}"] for i, id_ in enumerate("abcd"))]
    write(name, "\n".join(sep.join(row) for row in rows))
    file = write("a.fa", SEQUENCES)
    source = Fasta(train="a.fa", valid=0.25, test=0.25, path=str(file.parent), labels=name)
    splits = source.read()
    found = [r for split in splits.by_name().values() for r in split]
    assert {r["id"]: r["label"] for r in found} == {i: f"c{i}" for i in "abcd"}
    assert source.inputs()[-1] == file.parent / name


def test_ids_without_a_label_and_labels_without_a_sequence_are_told(write):
    file = write("a.fa", SEQUENCES)
    table = write("y.csv", "id,label\na,1\nb,1\nd,2\nz,2\nb,2\nc\n\n")
    source = in_every_split(Fasta, file.parent, "a.fa", labels="y.csv")
    assert problems(source.read().train) == [
        f"{table}:6: b is 1 in line 3 and 2 here; allowed: one label per id",
        f"{table}:7: 1 cell, the header has 2; allowed: 2 cells",
        f"{table}:5: z is no sequence of data.source.train, valid or test; allowed: an id that "
        "one of their files holds",
        f"{file}:5: c has no label; allowed: an id of {table}",
    ]


def test_a_table_that_cannot_be_read_is_told(write, tmp_path):
    file = write("a.fa", SEQUENCES)
    write("y.csv", "name,label\na,1\n")
    write("empty.csv", "")
    for name, message in {
        "y.csv": f"{tmp_path / 'y.csv'}:1: has no column 'id' (data.source.id_column); "
        "it has name, label",
        "empty.csv": f"{tmp_path / 'empty.csv'}: is empty; allowed: a header, and rows below it",
        "x.csv": f"data.source.labels={tmp_path / 'x.csv'}: no such file in {tmp_path}; it holds "
        "a.fa, empty.csv, y.csv; allowed: a table of ids and labels; did you mean 'y.csv'?",
    }.items():
        source = in_every_split(Fasta, file.parent, "a.fa", labels=name)
        with pytest.raises(DataError) as caught:
            source.read()
        assert caught.value.problems == [message]


def random_sequences(count, length=30):
    letters = np.random.default_rng(0).choice(list("ACGT"), (count, length))
    return ["".join(row) for row in letters]


def test_a_sequence_and_its_complement_are_in_one_split(write):
    given = random_sequences(40)
    everything = [*given, *map(reverse_complement, given)]
    file = write("a.fa", "".join(f">s{i}\n{s}\n" for i, s in enumerate(everything)))
    source = Fasta(train="a.fa", valid=0.2, test=0.2, path=str(file.parent))
    source.keep_together(["sequence"])
    splits = source.read().by_name()
    items = {name: {r["item"] for r in split} for name, split in splits.items()}
    assert [len(found) for found in items.values()] == [24, 8, 8]
    assert not (items["train"] & items["valid"] | items["train"] & items["test"])
    assert [len(list(split)) for split in splits.values()] == [48, 16, 16]


def test_both_strands_are_trained_on_and_one_is_tested(write):
    file = write("a.fa", SEQUENCES)
    splits = Fasta(
        train="a.fa", valid=0.25, test=0.25, path=str(file.parent), strands="both"
    ).read()
    train = [r["sequence"] for r in splits.train]
    assert len(train) == 4
    assert train[1::2] == [reverse_complement(s) for s in train[::2]]
    assert len(list(splits.valid)) == len(list(splits.test)) == 1
    reads = write("r.fq", READ)
    one, other = in_every_split(Fasta, reads.parent, "r.fq", strands="both").read().train
    assert other["sequence"] == "NCGT"
    assert other["quality"].tolist() == one["quality"].tolist()[::-1]


def test_a_folder_gives_its_sequence_files(write, tmp_path):
    for name in ("b.fa", "a.fasta.gz", "c.fq"):
        write(name, READ if name == "c.fq" else SEQUENCES)
    write("notes.txt", "no sequences")
    source = Fasta(train=".", path=str(tmp_path))
    assert [file.name for file in source.files_of("train")] == ["a.fasta.gz", "b.fa", "c.fq"]
