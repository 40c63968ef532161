import tracemalloc
from functools import partial

import pytest

import small_files
from seqpipe.data.base import SPLITS
from seqpipe.data.nucleotides import reverse_complement
from seqpipe.data.sources.genbank import GenBank, location
from seqpipe.data.sources.gff import FastaGff
from seqpipe.errors import ConfigError, DataError
from small_files import in_every_split, problems

SHORT = {"coding": "c", "noncoding": "-", "exon": "e", "intron": "i", "intergenic": "-"}
GENE = {"features": {"CDS": "exon"}, "between": "intron", "background": "intergenic"}
ALLOWED = "12..34, <12..>34, 12, complement(...), join(...), order(...)"


@pytest.fixture
def write(tmp_path):
    return partial(small_files.write, tmp_path)


def tags(record):
    return "".join(SHORT[tag] for tag in record["tags"])


def origin(sequence):
    blocks = [sequence[i : i + 10] for i in range(0, len(sequence), 10)]
    rows = [" ".join(blocks[i : i + 6]) for i in range(0, len(blocks), 6)]
    return "".join(f"{60 * i + 1:>9} {row}\n" for i, row in enumerate(rows))


def genbank(name, sequence, *places, size=None, definition="a gene\n            of a worm"):
    features = "".join(f'     {place}\n                     /gene="g"\n' for place in places)
    return (
        f"LOCUS       {name}   {len(sequence) if size is None else size} bp  DNA\n"
        f"DEFINITION  {definition}\n"
        f"FEATURES             Location/Qualifiers\n"
        f"     source          1..{len(sequence)}\n{features}"
        f"BASE COUNT     1 a\nORIGIN\n{origin(sequence)}//\n"
    )


parsed = partial(small_files.parsed, GenBank)
TEN = "aaccggttac"


@pytest.mark.parametrize(
    ("place", "plain", "gene"),
    [
        ("3..5", "--ccc-----", "--eee-----"),
        ("<1..>2", "cc--------", "ee--------"),
        ("7", "------c---", "------e---"),
        ("join(1..2,5..6,9..10)", "cc--cc--cc", "eeiieeiiee"),
        ("order(1..2,5..6)", "cc--cc----", "eeiiee----"),
        ("complement(join(1..2,5..6))", "cc--cc----", "eeiiee----"),
        ("join(complement(5..6),complement(1..2))", "cc--cc----", "eeiiee----"),
        ("join(9..10,1..2)", "cc------cc", "ee------ee"),  # over the end of a circle
        ("complement(join(9..10,1..2))", "cc------cc", "ee------ee"),
        ("join(1..2,complement(5..6))", "cc--cc----", "ee--ee----"),  # spliced of two strands
        ("join(1..2,J00194.1:5..6)", "cc--------", "ee--------"),
        ("join(1..2,4^5)", "cc--------", "ee--------"),
    ],
)
def test_the_places_of_features_are_understood(write, place, plain, gene):
    file = write("a.gb", genbank("g1", TEN, f"CDS             {place}"))
    assert tags(parsed(file)[0]) == plain
    assert tags(parsed(file, **GENE)[0]) == gene


@pytest.mark.parametrize("name", ["a.gb", "a.gbk.gz"])
def test_several_records_and_places_over_several_lines_are_read(write, name):
    long = TEN * 13
    gap = "\n" + " " * 21
    wrapped = f"CDS             complement(join(1..3,11.{gap}.12{gap},21..22))"
    other = genbank("g2", TEN, "gene            1")
    file = write(name, genbank("g1", long, wrapped) + "\n" + other)
    one, two = parsed(file)
    assert (one["id"], one["description"]) == ("g1", "a gene of a worm")
    assert one["sequence"] == long.upper()
    assert [i + 1 for i, tag in enumerate(one["tags"]) if tag == "coding"] == [
        *(1, 2, 3),
        *(11, 12, 21, 22),
    ]
    assert (two["id"], tags(two)) == ("g2", "-" * 10)
    assert one.place == f"{file}:1"
    assert two.place == f"{file}:17"


def test_text_before_the_first_record_is_left_out(write):
    file = write("a.gb", "GBBCT1.SEQ  a release\n\n" + genbank("g1", TEN, "CDS             1"))
    assert [r["id"] for r in parsed(file)] == ["g1"]


FORWARD, COMPLEMENT = "CDS             1..2", "CDS             complement(5..8)"


def test_on_the_coding_strand_every_gene_reads_forward(write):
    file = write("a.gb", genbank("g1", TEN, COMPLEMENT))
    given = parsed(file, strand="both")[0]
    assert (given["sequence"], tags(given), given["strand"]) == (TEN.upper(), "----cccc--", "+")
    read = parsed(file, strand="coding")[0]
    assert read["sequence"] == reverse_complement(TEN.upper())
    assert (tags(read), read["strand"]) == ("--cccc----", "-")
    assert read["item"] == given["item"]
    assert tags(parsed(file, strand="forward")[0]) == "-" * 10


def test_genes_on_both_strands_are_read_once_on_each(write):
    file = write("a.gb", genbank("g1", TEN, FORWARD, COMPLEMENT))
    assert [tags(r) for r in parsed(file, strand="both")] == ["cc--cccc--"]
    assert [tags(r) for r in parsed(file, strand="forward")] == ["cc--------"]
    found = parsed(file, strand="coding")
    assert [(r["strand"], tags(r)) for r in found] == [("+", "cc--------"), ("-", "--cccc----")]


def test_where_features_meet_the_first_kind_decides(write):
    places = ("mRNA            1..6", "CDS             join(1..2,5..8)")
    file = write("a.gb", genbank("g1", TEN, *places))
    first = parsed(file, features={"CDS": "exon", "mRNA": "intron"}, background="intergenic")
    assert tags(first[0]) == "eeiieeee--"
    other = parsed(file, features={"mRNA": "intron", "CDS": "exon"}, background="intergenic")
    assert tags(other[0]) == "iiiiiiee--"
    unread = parsed(file, features={"mRNA": None, "CDS": "exon"}, background="intergenic")
    assert tags(unread[0]) == "ee--eeee--"


def test_the_case_is_folded_or_kept(write):
    file = write("a.gb", genbank("g1", "aaccggNtac", FORWARD))
    assert parsed(file)[0]["sequence"] == "AACCGGNTAC"
    assert parsed(file, case="keep")[0]["sequence"] == "aaccggNtac"


GOOD = genbank("g1", TEN, FORWARD)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a.gb: holds no record; allowed: LOCUS ... ORIGIN ... //"),
        (GOOD.replace("//", ""), "a.gb:1: g1 does not end; allowed: // after its last line"),
        (
            GOOD.replace("//", "") + GOOD.replace("g1", "g2"),
            "a.gb:1: g1 does not end; allowed: // after its last line",
        ),
        (genbank("g1", TEN, FORWARD, size=11), "a.gb:1: g1 holds 10 bases; its LOCUS line says 11"),
        (
            "LOCUS       g1\nORIGIN\n//\n",
            "a.gb:1: g1 holds no bases; allowed: ORIGIN and lines of bases",
        ),
        ("LOCUS\nORIGIN\n//\n", "a.gb:1: the locus has no name; allowed: LOCUS name size bp"),
        (
            GOOD.replace("ggtt", "g!tt"),
            "a.gb:10: base 1 and after it: '!' is no nucleotide; allowed: "
            "A C G T U R Y S W K M B D H V N",
        ),
        (
            GOOD.replace("        1 aa", "        7 aa"),
            "a.gb:10: the line starts at base 7; allowed: 1, a line is lost or too many",
        ),
        (
            GOOD.replace("1..2", ""),
            "a.gb:6: 'CDS' is no feature; allowed: its kind, blanks, its place",
        ),
        (
            GOOD.replace("1..2", "1..11"),
            f"a.gb:6: CDS 1..11: 1..11 is no place in 1..10; allowed: {ALLOWED}",
        ),
        (
            GOOD.replace("1..2", "5..2"),
            f"a.gb:6: CDS 5..2: 5..2 is no place in 1..10; allowed: {ALLOWED}",
        ),
        (
            GOOD.replace("1..2", "join(1..2"),
            f"a.gb:6: CDS join(1..2: a bracket is not closed; allowed: {ALLOWED}",
        ),
        (
            GOOD.replace("1..2", "1..2)"),
            f"a.gb:6: CDS 1..2): ')' is left over; allowed: {ALLOWED}",
        ),
        (
            GOOD.replace("1..2", "jion(1..2)"),
            f"a.gb:6: CDS jion(1..2): 'jion' is not known; allowed: {ALLOWED}",
        ),
        (GOOD.replace("1..2", "a..b"), f"a.gb:6: CDS a..b: 'a..b' is no place; allowed: {ALLOWED}"),
    ],
)  # fmt: skip
def test_a_broken_genbank_file_is_told(write, text, message):
    assert small_files.problems_in(GenBank, write("a.gb", text)) == [message]


def test_a_kind_of_feature_that_is_nowhere_is_told(write):
    file = write("a.gb", GOOD)
    assert problems(parsed(file, features={"cds": "coding"})) == [
        f"{file}: data.source.features: no feature is called cds; allowed: source, CDS"
    ]


def test_a_bad_record_costs_no_other(write):
    file = write("a.gb", GOOD.replace("ggtt", "g!tt") + genbank("g2", TEN, FORWARD))
    found = parsed(file)
    assert [r["id"] for r in found if not isinstance(r, DataError)] == ["g2"]
    assert len(problems(found)) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": {"CDS": None}}, "data.source.features={'CDS': None}: no feature has a class; "
         "allowed: one or more, as {CDS: coding}"),
        ({"stride": 5}, "data.source.stride=5: nothing is cut; allowed: null, or also "
         "data.source.length"),
        ({"length": 9, "region": 5}, "data.source.region=5: shorter than a window; allowed: "
         "data.source.length=9 or more, or null"),
    ],
)  # fmt: skip
def test_options_that_cannot_work_are_refused(options, message):
    with pytest.raises(ConfigError) as caught:
        GenBank(train="a.gb", **options)
    assert caught.value.problems == [message]


def gff_row(kind, start, end, strand="+", phase=".", attributes="Parent=m1", name="chr1"):
    return f"{name}\tx\t{kind}\t{start}\t{end}\t.\t{strand}\t{phase}\t{attributes}\n"


def annotated(file, annotation=None, **options):
    return small_files.parsed(FastaGff, file, annotation=annotation, **options)


def test_gff_features_are_laid_on_their_sequences(write):
    fa = write("a.fa", ">chr1 one\nAACCG\nGTTAC\n>chr2\nACGT\n")
    write(
        "a.gff",
        "##gff-version 3\n# a comment\n\n"
        + gff_row("gene", 1, 10)
        + gff_row("CDS", 5, 6, phase="2")
        + gff_row("CDS", 1, 2, phase="0")
        + gff_row("CDS", 2, 4, name="chr2", attributes="Parent=m2")
        + "##FASTA\n>chr1\nnot read here\n",
    )
    one, two = annotated(fa, "a.gff")
    assert (one["id"], one["description"], tags(one)) == ("chr1", "one", "cc--cc----")
    assert (two["id"], tags(two)) == ("chr2", "-ccc")
    assert tags(annotated(fa, "a.gff", **GENE)[0]) == "eeiiee----"


def test_bases_between_parts_are_those_of_one_transcript(write):
    fa = write("a.fa", ">chr1\nAACCGGTTAC\n")
    rows = [(1, 2, "m1"), (9, 10, "m1"), (1, 2, "m2"), (5, 6, "m2")]
    write("a.gff", "".join(gff_row("CDS", a, b, "-", attributes=f"Parent={m}") for a, b, m in rows))
    # 5 and 6 lie in an exon of m2, and in an intron of m1: the exon decides
    assert tags(annotated(fa, "a.gff", **GENE)[0]) == "eeiieeiiee"
    gtf = [
        gff_row("CDS", a, b, attributes=f'gene_id "g"; transcript_id "{m}";') for a, b, m in rows
    ]
    write("a.gtf.gz", "".join(gtf))
    assert tags(annotated(fa, "a.gtf.gz", **GENE)[0]) == "eeiieeiiee"
    shared = gff_row("CDS", 1, 2, attributes="ID=x;Parent=m1,m2")
    write("b.gff", shared + gff_row("CDS", 5, 6, attributes="Parent=m2"))
    assert tags(annotated(fa, "b.gff", **GENE)[0]) == "eeiiee----"


def test_features_and_sequences_may_stand_in_one_file(write):
    file = write("a.gff", gff_row("CDS", 1, 2) + "##FASTA\n>chr1\nAACC\n")
    assert [tags(r) for r in annotated(file)] == ["cc--"]
    none = write("b.gff", gff_row("CDS", 1, 2))
    assert problems(annotated(none)) == [
        f"{none}: holds no line ##FASTA; allowed: one, and sequences below it"
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("chr1 x CDS 1 2 . + . a\n", "1 column; allowed: 9, separated by tabs: seqid source type "
         "start end score strand phase attributes"),
        (gff_row("CDS", "1.5", 2), "1.5..2 is no place; allowed: whole numbers, start and end"),
        (gff_row("CDS", 0, 2), "0..2 is no place; allowed: 1 <= start <= end"),
        (gff_row("CDS", 3, 2), "3..2 is no place; allowed: 1 <= start <= end"),
        (gff_row("CDS", 1, 2, "*"), "strand '*'; allowed: + - . ?"),
        (gff_row("CDS", 1, 2, phase="3"), "phase '3'; allowed: 0 1 2 or a point"),
    ],
)  # fmt: skip
def test_a_broken_row_of_a_gff_file_is_told(write, row, message):
    fa = write("a.fa", ">chr1\nAACCGGTTAC\n")
    gff = write("a.gff", gff_row("CDS", 1, 2) + row)
    source = in_every_split(FastaGff, fa.parent, "a.fa", annotation="a.gff")
    splits = source.read()
    assert problems(splits.train) == [f"{gff}:2: {message}"]
    assert problems(splits.valid) == []
    assert source.inputs() == [fa, fa, fa, gff]


def test_a_feature_beyond_its_sequence_and_names_that_do_not_meet_are_told(write):
    fa = write("a.fa", ">chr1\nAACC\n")
    gff = write("a.gff", gff_row("CDS", 1, 2) + gff_row("CDS", 3, 5))
    assert problems(annotated(fa, "a.gff")) == [
        f"{gff}:2: ends at 5, but chr1 of {fa} has 4 bases; allowed: a place within it"
    ]
    other = write("b.fa", ">1\nAACC\n>2\nAA\n")
    assert problems(annotated(other, "a.gff")) == [
        f"{other}: none of its sequences (1, 2) has a feature in {gff}, which has chr1; "
        "allowed: the same names in both"
    ]
    with pytest.raises(DataError) as caught:
        annotated(fa, "a.gtf")
    assert caught.value.problems == [
        f"data.source.annotation=a.gtf: no such file in {fa.parent}; it holds a.fa, a.gff, b.fa; "
        "allowed: a GFF or GTF file of its genes; did you mean 'a.gff'?"
    ]
    same = {"train": "a.fa", "valid": "a.fa", "test": "a.fa", "path": str(fa.parent)}
    made = FastaGff(**same, annotation="a.gff", features={"cds": "x"})
    assert problems(made.read().train) == [
        f"{gff}: data.source.features: no feature is called cds; allowed: CDS"
    ]  # fmt: skip


LETTERS = "ACGTTGCA" * 30


@pytest.mark.parametrize("stride", [None, 4, 7, 15])
@pytest.mark.parametrize("wrap", [7, 60])
def test_windows_of_a_region_hold_what_the_whole_sequence_holds(write, stride, wrap):
    rows = [LETTERS[i : i + wrap] for i in range(0, len(LETTERS), wrap)]
    fa = write("a.fa", ">chr1\n" + "\n".join(rows) + "\n")
    places = [(3, 40), (75, 75), (100, 160), (238, 240)]
    write("a.gff", "".join(gff_row("CDS", a, b, "+-"[i % 2]) for i, (a, b) in enumerate(places)))
    whole = annotated(fa, "a.gff")[0]
    windows = annotated(fa, "a.gff", length=10, stride=stride, region=50)
    for window in windows:
        a = window["start"] - 1
        assert window["sequence"] == whole["sequence"][a : a + len(window["sequence"])]
        assert window["tags"] == whole["tags"][a : a + len(window["tags"])]
        first, last = map(int, window["region"].removeprefix("chr1:").split("-"))
        assert first <= a + 1
        assert a + len(window["sequence"]) <= last <= first + 49
    starts = [window["start"] for window in windows]
    step = stride or 10
    assert starts[:3] == [1, 1 + step, 1 + 2 * step]
    if step <= 10:
        covered = {p for w in windows for p in range(w["start"], w["start"] + len(w["tags"]))}
        assert covered == set(range(1, len(LETTERS) + 1))


@pytest.mark.parametrize("reader", ["gff", "genbank"])
def test_windows_that_overlap_are_in_one_split(write, reader):
    if reader == "gff":
        fa = write("a.fa", f">chr1\n{LETTERS}\n")
        write("a.gff", gff_row("CDS", 3, 40))
        make, options = FastaGff, {"annotation": "a.gff"}
    else:
        fa = write("a.gb", genbank("chr1", LETTERS, "CDS             3..40"))
        make, options = GenBank, {}
    shares = {"train": fa.name, "valid": 0.2, "test": 0.2, "path": str(fa.parent)}
    source = make(**shares, length=10, stride=5, region=24, **options)
    source.keep_together(["sequence"])
    splits = source.read().by_name()
    bases = {
        split: {p for r in found for p in range(r["start"], r["start"] + len(r["sequence"]))}
        for split, found in splits.items()
    }
    assert [len(found) for found in bases.values()] == [144, 48, 48]
    assert set.union(*bases.values()) == set(range(1, 241))


def test_the_memory_that_windows_take_does_not_grow_with_the_sequence(write):
    write("a.gff", gff_row("CDS", 3, 40))
    peaks = []
    for lines in (4000, 4000, 16000):  # the first fills what is kept for good
        fa = write("a.fa", ">chr1\n" + "ACGTTGCA\n" * lines)
        tracemalloc.start()
        source = FastaGff(train=fa.name, path=str(fa.parent), annotation="a.gff", length=100)
        assert sum(1 for _ in source.parse(fa)) == lines * 8 // 100
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 1.2 * peaks[1]


def test_uncut_records_are_parted_by_sequence_on_either_strand(write):
    letters = [f"{LETTERS[i:]}{'ACGT'[i % 4] * i}" for i in range(1, 9)]
    records = [*letters, *map(reverse_complement, letters)]
    text = "".join(genbank(f"g{i}", s, FORWARD) for i, s in enumerate(records))
    file = write("a.gb", text)
    source = GenBank(train="a.gb", valid=0.25, test=0.25, path=str(file.parent))
    source.keep_together(["sequence"])
    splits = [{r["item"] for r in split} for split in source.read().by_name().values()]
    assert [len(items) for items in splits] == [4, 2, 2]
    assert len(set.union(*splits)) == 8


def test_the_order_in_which_a_gene_is_read_is_that_of_its_parts():
    assert location("join(1..2,5..6)", 9) == [(0, 2, 1), (4, 6, 1)]
    assert location("complement(join(1..2,5..6))", 9) == [(4, 6, -1), (0, 2, -1)]


@pytest.fixture(scope="module")
def worm(shared_data):
    return str(shared_data / "dna_genes_celegans")


@pytest.mark.realdata
def test_every_gene_of_the_worm_starts_and_ends_as_genes_do(worm):
    same = dict.fromkeys(SPLITS, "traingenes.gb")
    source = GenBank(**same, path=worm, strand="coding", **GENE)
    records = list(source.read().train)
    assert len(records) == 54
    lengths = sorted(len(r["sequence"]) for r in records)
    assert (lengths[0], lengths[-1]) == (1361, 51262)
    assert sum(r["strand"] == "-" for r in records) == 29
    introns = 0
    for record in records:
        gene = "".join(
            base for base, tag in zip(record["sequence"], record["tags"], strict=True)
            if tag == "exon"
        )  # fmt: skip
        assert gene.startswith("ATG")
        assert gene[-3:] in ("TAA", "TAG", "TGA")
        assert len(gene) % 3 == 0
        for run in "".join(map(SHORT.get, record["tags"])).replace("e", "-").split("-"):
            introns += bool(run)
        joined = "".join(map(SHORT.get, record["tags"]))
        for i in range(1, len(joined)):
            if joined[i - 1 : i + 1] == "ei":
                assert record["sequence"][i : i + 2] == "GT"
            if joined[i - 1 : i + 1] == "ie":
                assert record["sequence"][i - 2 : i] == "AG"
    assert introns == 225
    exons = sum(tag == "exon" for r in records for tag in r["tags"])
    assert round(exons / sum(lengths), 3) == 0.185


@pytest.mark.realdata
def test_the_worms_megabase_and_its_gff_agree_with_its_genbank_file(worm):
    source = FastaGff(train="genome.fa", path=worm, annotation="traingenes.gff", length=1000)
    source.keep_together(["sequence"])
    splits = {split: list(found) for split, found in source.read().by_name().items()}
    assert {split: len(found) for split, found in splits.items()} == {
        "train": 800,
        "valid": 100,
        "test": 100,
    }
    windows = sorted((r for found in splits.values() for r in found), key=lambda r: r["start"])
    genome = "".join(r["sequence"] for r in windows)
    coding = [tag == "coding" for r in windows for tag in r["tags"]]
    assert len(genome) == 1_000_000
    genes = (
        GenBank(train="traingenes.gb", valid="traingenes.gb", test="traingenes.gb", path=worm)
        .read()
        .train
    )
    for gene in genes:
        start = int(gene["id"].removeprefix("chrI_").split("-")[0]) - 1
        assert genome[start : start + len(gene["sequence"])] == gene["sequence"]
        marked = [i for i, tag in enumerate(gene["tags"]) if tag == "coding"]
        assert all(coding[start + i] for i in marked)
