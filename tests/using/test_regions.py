"""Regions of tagged sequences as GFF3 and BED: coordinates, strands, joined windows."""

import io

import pytest

from seqpipe.commands.dispatch import COMMANDS
from seqpipe.errors import ConfigError
from seqpipe.inference.regions import Reading, Regions, check_regions, reading_of

Predict = COMMANDS["predict"].options
PLAIN = Reading(scheme=None, background="none", stranded=True)


def written(format, rows, reading=PLAIN):
    sink = io.StringIO()
    regions = Regions(sink, format, reading)
    for row in rows:
        regions.write([row])
    regions.close()
    return sink.getvalue().splitlines()


def row(tags, **columns):
    tags = tags.split()
    return {**columns, "prediction": tags, "probability": [0.5] * len(tags), "error": None}


def test_gff_counts_from_1_and_bed_from_0():
    rows = [row("none cds cds none utr", id="chr1")]
    assert written("gff3", rows) == [
        "##gff-version 3",
        "chr1\tseqpipe\tcds\t2\t3\t0.5000\t+\t.\tID=region1",
        "chr1\tseqpipe\tutr\t5\t5\t0.5000\t+\t.\tID=region2",
    ]
    assert written("bed", rows) == ["chr1\t1\t3\tcds\t500\t+", "chr1\t4\t5\tutr\t500\t+"]


def test_windows_count_from_their_start_and_a_region_goes_on_in_the_next():
    rows = [
        row("none cds cds", id="a", start=101),
        row("cds none none", id="a", start=104),
        row("none none cds", id="a", start=107),
        row("cds none", id="b", start=110),
    ]
    assert written("bed", rows) == [
        "a\t101\t104\tcds\t500\t+",
        "a\t108\t109\tcds\t500\t+",
        "b\t109\t110\tcds\t500\t+",
    ]


def test_the_complement_is_read_backwards_and_an_unknown_strand_is_a_point():
    rows = [row("cds cds none utr", id="a", start=11, strand="-")]
    assert written("bed", rows) == ["a\t10\t11\tutr\t500\t-", "a\t12\t14\tcds\t500\t-"]
    unstranded = Reading(None, "none", stranded=False)
    assert written("bed", rows, unstranded)[0].endswith("\t.")


def test_spans_of_a_scheme_signs_in_names_and_rows_without_an_answer():
    bio = Reading("bio", None, stranded=True)
    rows = [
        {"id": "bad", "error": "too short"},
        row("B-a;b I-a;b B-a;b O", id="se q>1"),
        row("O B-x"),
    ]
    assert [line.split("\t") for line in written("gff3", rows, bio)[1:]] == [
        ["se%20q%3E1", "seqpipe", "a%3Bb", "1", "2", "0.5000", "+", ".", "ID=region1"],
        ["se%20q%3E1", "seqpipe", "a%3Bb", "3", "3", "0.5000", "+", ".", "ID=region2"],
        ["3", "seqpipe", "x", "2", "2", "0.5000", "+", ".", "ID=region3"],
    ]


def test_regions_of_other_models_and_without_columns_are_refused():
    with pytest.raises(ConfigError, match="this model tags no steps"):
        check_regions("x.bed", tagged=False)
    options = Predict(run="latest", input="a.fa", output="x.gff3", columns=False)
    assert any("columns=false: regions need" in problem for problem in options.problems())


def test_the_background_is_that_of_the_source_or_of_the_task():
    local = {"data": {"source": {"local": {"background": "noncoding", "strand": "both"}}}}
    assert reading_of(local, None) == Reading(None, "noncoding", stranded=False)
    own = {"data": {"source": {"strand": "coding"}}, "task": {"background": "none"}}
    assert reading_of(own, "bio") == Reading("bio", "none", stranded=True)
