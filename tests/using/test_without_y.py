"""What is to be predicted is read as the training read its files, with or without its y."""

import gzip
import json
import os
import threading
import time

import numpy as np
import pytest
import yaml
from omegaconf import OmegaConf

from packaged import data_node
from seqpipe.config.adjustments import settle
from seqpipe.data.kinds import KINDS
from seqpipe.errors import DataError
from seqpipe.inference import readers
from seqpipe.inference.instantiate import Maker
from seqpipe.inference.readers import Reader

GB = """LOCUS       S1 12 bp DNA
DEFINITION  x.
FEATURES             Location/Qualifiers
{feature}ORIGIN
        1 acgtacgtac gt
//
"""
CDS = "     CDS             complement(2..7)\n"


def text(content):
    return lambda file: file.write_text(content)


def npz(**arrays):
    return lambda file: np.savez(file, **arrays)


def folder(*names):
    def write(place):
        for name in names:
            file = place / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"text {file.name}")

    return write


def sounds(*names):
    def write(place):
        import soundfile

        for name in names:
            file = place / name
            file.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(file, np.linspace(0, 0.1, 800), 8000)

    return write


X = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
# option, overrides, classes, file, with y, without y, column of x, its values
CASES = {
    "table": (
        ("table", (), "a b", "n.csv"),
        (text("text,label\nw x,a\ny,b\n"), text("text\nw x\ny\n")),
        ("text", ["w x", "y"]),
    ),
    "table, headerless": (
        ("table", ("data.source.header=[label,text]", "data.source.format=tsv"), "a b", "n.tsv"),
        (text("a\tw x\nb\ty\n"), text("w x\ny\n")),
        ("text", ["w x", "y"]),
    ),
    "table, headerless, now with a header": (
        ("table", ("data.source.header=[label,text]", "data.source.format=tsv"), "a b", "n.tsv"),
        (text("label\ttext\na\tw x\nb\ty\n"), text("text\nw x\ny\n")),
        ("text", ["w x", "y"]),
    ),
    "table, headerless, called .txt": (
        ("table", ("data.source.header=[text,label]", "data.source.format=tsv"), "a b", "n.txt"),
        (text("w x\ta\ny\tb\n"), text("w x\ny\n")),
        ("text", ["w x", "y"]),
    ),
    "pairs": (
        ("pairs", (), "", "n.tsv"),
        (text("w x\ta\ny\tb\n"), text("w x\ny\n")),
        ("x", ["w x", "y"]),
    ),
    "pairs, called .txt": (
        ("pairs", (), "", "n.txt"),
        (text("w x\ta\ny\tb\n"), text("w x\ny\n")),
        ("x", ["w x", "y"]),
    ),
    "labelled lines": (
        ("labelled_lines", (), "1 5", "n.txt"),
        (text("5 How far is it\n1 Who\n"), text("How far is it\nWho\n")),
        ("text", ["How far is it", "Who"]),
    ),
    "labelled lines, prefix, called .csv": (
        ("labelled_lines", ("data.source.prefix=__label__",), "a b", "n.csv"),
        (text("__label__a How far, is it\n__label__c Who\n"), text("How far, is it\nWho\n")),
        ("text", ["How far, is it", "Who"]),
    ),
    "dictionary": (
        ("dictionary", (), "", "n.dict"),
        (text("CAT  K AE T\nDOG  D AO G\n"), text("CAT\nDOG\n")),
        ("word", ["CAT", "DOG"]),
    ),
    "conll": (
        ("conll", (), "O B-PER I-PER", "n.txt"),
        (text("Jane B-PER\nran O\n\nOK O\n"), text("Jane\nran\n\nOK\n")),
        ("tokens", [["Jane", "ran"], ["OK"]]),
    ),
    "conll, four columns": (
        ("conll", (), "O B-PER I-PER", "n.conll"),
        (text("Jane N B-PER\nran V O\n\nOK X O\n"), text("Jane N\nran V\n\nOK X\n")),
        ("tokens", [["Jane", "ran"], ["OK"]]),
    ),
    "conll, another notation": (
        ("conll", (), "O B-PER I-PER", "n.txt"),
        (text("Jane U-PER\nran O\n\nOK O\n"), text("Jane\nran\n\nOK\n")),
        ("tokens", [["Jane", "ran"], ["OK"]]),
    ),
    "long csv, label": (
        (
            "long_csv",
            (
                "data.source.id=id",
                "data.source.features=[v]",
                "data.source.label=c",
            ),
            "a b",
            "n.csv",
        ),
        (text("id,v,c\n1,2,a\n1,3,a\n2,4,b\n"), text("id,v\n1,2\n1,3\n2,4\n")),
        ("series", [[[2], [3]], [[4]]]),
    ),
    "long csv, labels of their own": (
        (
            "long_csv",
            (
                "data.source.id=id",
                "data.source.features=[v]",
                "data.source.label=c",
                "data.source.labels=gone.csv",
            ),
            "a b",
            "n.csv",
        ),
        (text("id,v\n1,2\n1,3\n2,4\n"), text("id,v\n1,2\n1,3\n2,4\n")),
        ("series", [[[2], [3]], [[4]]]),
    ),
    "series csv": (
        ("series_csv", (), "a b", "n.csv"),
        (text("label,p,q\na,1,2\nb,3,4\n"), text("p,q\n1,2\n3,4\n")),
        ("series", [[[1], [2]], [[3], [4]]]),
    ),
    "series csv, headerless": (
        ("series_csv", ("data.source.header=false", "data.source.label=0"), "a b", "n.csv"),
        (text("a,1,2\nb,3,4\n"), text("1,2\n3,4\n")),
        ("series", [[[1], [2]], [[3], [4]]]),
    ),
    "npz": (
        ("npz", (), "0 1", "n.npz"),
        (npz(X=X, y=np.array([0, 1])), npz(X=X)),
        ("series", X.tolist()),
    ),
    "ucr": (
        ("ucr", ("data.path=.",), "a b", "n.ts"),
        (
            text("@univariate true\n@classLabel true a b\n@data\n1,2:a\n3,4:b\n"),
            text("@univariate true\n@classLabel true a b\n@data\n1,2\n3,4\n"),
        ),
        ("series", [[[1], [2]], [[3], [4]]]),
    ),
    "fasta, a class in the header": (
        ("fasta", ("data.source.header=class=(\\w+)",), "a b", "n.fa"),
        (text(">s1 class=a\nACGT\n>s2 class=b\nAC\n"), text(">s1\nACGT\n>s2\nAC\n")),
        ("sequence", ["ACGT", "AC"]),
    ),
    "fasta, a class a file": (
        ("fasta", ("data.source.classes={a: x, b: y}",), "x y", "n.fa"),
        (text(">s1\nACGT\n"), text(">s1\nACGT\n")),
        ("sequence", ["ACGT"]),
    ),
    "class folders": (
        ("class_folders", (), "a b", "n"),
        (folder("a/1.txt", "b/2.txt"), folder("1.txt", "2.txt")),
        ("text", ["text 1.txt", "text 2.txt"]),
    ),
    "genbank": (
        ("celegans", ("data.path=.",), "coding noncoding", "n.gb"),
        (text(GB.format(feature=CDS)), text(GB.format(feature=""))),
        ("sequence", ["ACGTACGTACGT"]),
    ),
    "gff": (
        ("celegans_gff", ("data.path=.",), "coding noncoding", "n.fa"),
        (text(">s1\nACGTACGT\n"), text(">s1\nACGTACGT\n")),
        ("sequence", ["ACGTACGT"]),
    ),
    "forecast": (
        ("forecast", ("data.source.values=[v]", "data.source.past=2"), "", "n.csv"),
        (text("v\n1\n2\n3\n"), text("v\n1\n2\n3\n")),
        ("past", [[[-1], [0]]]),
    ),
}


def reader(name, overrides, classes, labelled=False):
    node = data_node(name)
    cfg = OmegaConf.create({"seed": 0, "folds": None, "fold": None, "data": node})
    for one in overrides:
        key, _, value = one.partition("=")
        OmegaConf.update(cfg, key, yaml.safe_load(value))
    if cfg.data.get("path", None) is None:
        cfg.data.path = "old"
    settle(cfg)
    data = OmegaConf.to_container(cfg, resolve=True)["data"]
    kinds = {
        "text": "symbols",
        "tokens": "symbols",
        "word": "symbols",
        "x": "symbols",
        "de": "symbols",
    }
    x, y = data["x"]["column"], data["y"]["column"]
    kind = "symbols" if name.startswith("celegans") else kinds.get(x, "values")
    return Reader(data, x, KINDS[kind], Maker(), labelled=labelled, y=y, known=classes.split())


def plain(value):
    return value.tolist() if isinstance(value, np.ndarray) else value


@pytest.mark.parametrize("case", CASES)
def test_x_is_read_alike_whether_or_not_the_file_holds_y(tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    (name, overrides, classes, file), writers, (column, values) = CASES[case]
    for place, write in zip(("with", "without"), writers, strict=True):
        (tmp_path / place).mkdir()
        write(tmp_path / place / file)
        found = list(reader(name, overrides, classes).read(f"{place}/{file}"))
        assert [one for one in found if isinstance(one, DataError)] == [], place
        assert [plain(one[column]) for one in found] == values, place


def test_sound_needs_no_name_that_fits_a_pattern(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sounds("a_1.wav", "other.wav")(tmp_path / "n")
    overrides = ("data.source.pattern='(?P<word>[a-z])_.*'", "data.y.column=word")
    found = list(reader("audio_folders", overrides, "a b").read("n"))
    assert [one["file"] for one in found] == ["a_1.wav", "other.wav"]


def test_plain_text_is_still_text_for_a_model_of_columns(tmp_path):
    file = tmp_path / "n.txt"
    file.write_text("Jane visited Rome\nBo ran\n")
    found = list(reader("conll", (), "O B-PER I-PER").read(str(file)))
    assert [one["tokens"] for one in found] == ["Jane visited Rome", "Bo ran"]


def test_a_model_of_marked_bases_reads_fasta_and_says_that_no_strand_is_known(tmp_path):
    file = tmp_path / "n.fa"
    file.write_text(">s1\nACGTAA\n")
    made = reader("celegans", ("data.path=.",), "coding noncoding")
    assert made.describe(str(file)) == (
        f"input={file}: read as the training's files were (GenBank), without annotation, each "
        "sequence in the direction of the file, and not by strand=coding; "
        "format=... changes this"
    )
    found = list(made.read(str(file)))
    assert [(one["sequence"], one["strand"]) for one in found] == [("ACGTAA", "+")]


def test_a_strand_is_taken_from_the_annotation_only_to_evaluate(tmp_path):
    file = tmp_path / "n.gb"
    file.write_text(GB.format(feature=CDS))
    (labelled,) = reader("celegans", ("data.path=.",), "coding noncoding", labelled=True).read(
        str(file)
    )
    assert (labelled["strand"], labelled["tags"].count("coding")) == ("-", 6)


def test_labelled_lines_are_read_with_their_labels_to_evaluate(tmp_path):
    file = tmp_path / "n.txt"
    file.write_text("5 How far is it\n")
    (one,) = reader("labelled_lines", (), "1 5", labelled=True).read(str(file))
    assert (one["label"], one["text"]) == ("5", "How far is it")
    made = reader("labelled_lines", (), "1 5")
    assert made.describe(str(file)).startswith(
        f"input={file}: read as the training's files were (LabelledLines); "
    )
    assert (
        reader("table", (), "a b")
        .describe(str(file))
        .startswith(f"input={file}: read as one text per line; ")
    )


def test_a_table_without_the_column_is_refused_by_its_name(tmp_path):
    file = tmp_path / "n.csv"
    file.write_text("dee,en\na,b\n")
    with pytest.raises(
        DataError, match=r"n.csv: has no column 'de', which the model reads; it has"
    ):
        list(reader("parallel", (), "").read(str(file)))


GFF = "s{0}\tx\tCDS\t{1}\t{2}\t.\t+\t0\tID=a\n"


def of_gff(place, name="n.fa", annotation="traingenes.gff", first=2, last=4):
    place.mkdir(parents=True, exist_ok=True)
    (place / name).write_text(">s1\nACGTACGT\n")
    (place / annotation).write_text(GFF.format(1, first, last))


@pytest.mark.parametrize("annotation", ["n.gff3", "n.gff", "n.gtf", "traingenes.gff", "n.gff.gz"])
def test_the_annotation_of_an_input_stands_beside_it(tmp_path, monkeypatch, annotation):
    monkeypatch.chdir(tmp_path)
    of_gff(tmp_path, annotation="traingenes.gff", first=1, last=1)  # of other examples
    of_gff(tmp_path / "new", annotation="traingenes.gff", first=1, last=8)
    packed = gzip.open if annotation.endswith(".gz") else open
    with packed(tmp_path / "new" / annotation, "wt") as opened:
        opened.write(GFF.format(1, 2, 4))
    made = reader("celegans_gff", ("data.path=.",), "coding noncoding", labelled=True)
    (one,) = made.read("new/n.fa")
    assert one["tags"] == ["noncoding", *["coding"] * 3, *["noncoding"] * 4]
    assert f"annotation from new/{annotation}" in made.describe("new/n.fa")


def test_a_file_that_holds_its_annotation_needs_none_beside_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "n.gff3").write_text(GFF.format(1, 2, 4) + "##FASTA\n>s1\nACGTACGT\n")
    made = reader("celegans_gff", ("data.path=.",), "coding noncoding", labelled=True)
    (one,) = made.read("n.gff3")
    assert one["tags"].count("coding") == 3


def test_without_an_annotation_beside_it_only_ones_own_training_lends_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    of_gff(tmp_path / "old")
    (tmp_path / "n.fa").write_text(">s1\nACGTACGT\n")
    made = reader("celegans_gff", ("data.path=old",), "coding noncoding", labelled=True)
    with pytest.raises(DataError, match=r"annotation=traingenes\.gff: no such file in"):
        list(made.read("n.fa"))
    made.own = True
    assert next(iter(made.read("n.fa")))["tags"].count("coding") == 3


def test_labels_and_names_of_classes_stand_beside_an_input(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    new = tmp_path / "new"
    new.mkdir()
    (new / "n.fa").write_text(">s1\nACGT\n")
    (new / "labels.tsv").write_text("id\tlabel\ns1\tb\n")
    (tmp_path / "labels.tsv").write_text("id\tlabel\ns1\ta\n")
    made = reader("fasta", ("data.source.labels=labels.tsv",), "a b", labelled=True)
    assert [one["label"] for one in made.read("new/n.fa")] == ["b"]
    (new / "n.csv").write_text("id,v\n1,2\n")
    (new / "l.csv").write_text("id,c\n1,b\n")
    more = ("data.source.id=id", "data.source.features=[v]", "data.source.label=c")
    made = reader("long_csv", (*more, "data.source.labels=l.csv"), "a b", labelled=True)
    assert [one["label"] for one in made.read("new/n.csv")] == ["b"]
    (new / "s.csv").write_text("label,p,q\n0,1,2\n1,3,4\n")
    (new / "names.txt").write_text("red\nblue\n")
    made = reader("series_csv", ("data.source.names=names.txt",), "red blue", labelled=True)
    assert [one["label"] for one in made.read("new/s.csv")] == ["red", "blue"]


# as in CASES, with an y that means nothing, or in another order, quoted, packed
OTHERS = {
    "table, y of nonsense": ("table", text('text,label\nw x,"?,\n"\ny,\n')),
    "table, another order, quoted": ("table", text('label,"text"\n"a","w x"\n,"y"\n')),
    "labelled lines, labels in a folder of others": (
        "labelled lines",
        text("1 How far is it\n5 Who\n"),
    ),
    "pairs, y of nonsense": ("pairs", text("w x\t<<>>\ny\t\n")),
    "dictionary, other sounds": ("dictionary", text("CAT  ?? 0\nDOG  \u20ac\n")),
    "conll, tags of nonsense in some": ("conll", text("Jane B-PER\nran ???\n\nOK I-LOC\n")),
    "long csv, y of nonsense": ("long csv, label", text("c,v,id\n?,2,1\n!,3,1\n,4,2\n")),
    "series csv, y of nonsense": ("series csv", text("p,label,q\n1,???,2\n3,,4\n")),
    "series csv, headerless, y of nonsense": (
        "series csv, headerless",
        text("zz,1,2\n?,3,4\n"),
    ),
    "series csv, headerless, unknown numbers": (
        "series csv, headerless",
        text("7,1.0,2.0\n7,3.0,4.0\n"),
    ),
    "npz, y of nonsense": ("npz", npz(X=X, y=np.array(["?", "!"]))),
    "npz, y of another length": ("npz", npz(X=X, y=np.zeros((5, 2)))),
    "ucr, labels that are unknown": (
        "ucr",
        text("@univariate true\n@classLabel true q\n@data\n1,2:q\n3,4:?\n"),
    ),
    "fasta, other headers": (
        "fasta, a class in the header",
        text(">s1 class=?\nACGT\n>s2 klass\nAC\n"),
    ),
    "genbank, features of nonsense": (
        "genbank",
        text(GB.format(feature="     CDS             join(99..1234,q\n")),
    ),
}


def packed_in_turn(cases):
    """(case, packed): every other case is compressed, but for .npz, which is an archive."""
    return [(one, n % 2 == 1 and "npz" not in one) for n, one in enumerate(cases)]


@pytest.mark.parametrize(("case", "packed"), packed_in_turn(OTHERS))
def test_a_y_that_means_nothing_does_not_matter(tmp_path, monkeypatch, case, packed):
    monkeypatch.chdir(tmp_path)
    name, write = OTHERS[case]
    (option, overrides, classes, file), _, (column, values) = CASES[name]
    write(tmp_path / file)
    if packed:
        (tmp_path / f"{file}.gz").write_bytes(gzip.compress((tmp_path / file).read_bytes()))
        file = f"{file}.gz"
    found = list(reader(option, overrides, classes).read(file))
    assert [one for one in found if isinstance(one, DataError)] == []
    assert [plain(one[column]) for one in found] == values


FROM_A_PIPE = [c for c in CASES if "folder" not in c and "gff" not in c and "their own" not in c]


@pytest.mark.parametrize(("case", "packed"), packed_in_turn(FROM_A_PIPE))
def test_standard_input_is_read_as_a_file_of_the_training(tmp_path, monkeypatch, case, packed):
    monkeypatch.chdir(tmp_path)
    (option, overrides, classes, file), writers, (column, values) = CASES[case]
    for write in writers:
        write(tmp_path / file)
        raw = (tmp_path / file).read_bytes()
        (tmp_path / "pipe").write_bytes(gzip.compress(raw) if packed else raw)
        monkeypatch.setattr(readers, "STANDARD_INPUT", tmp_path / "pipe")
        made = reader(option, overrides, classes)
        assert made.describe("-").startswith("input=-: read as ")
        found = list(made.read("-"))
        assert [one for one in found if isinstance(one, DataError)] == []
        assert [plain(one[column]) for one in found] == values
        assert all(str(one.file) == "input" for one in found)


LONG = json.dumps({"series": [[n] for n in range(5000)]})  # more than a pipe holds at once


@pytest.mark.parametrize("packed", [False, True])
def test_a_long_first_line_of_standard_input_is_json(tmp_path, monkeypatch, packed):
    raw = f"{LONG}\n{LONG}\n".encode()
    (tmp_path / "pipe").write_bytes(gzip.compress(raw) if packed else raw)
    monkeypatch.setattr(readers, "STANDARD_INPUT", tmp_path / "pipe")
    (option, overrides, classes, _), *_ = CASES["long csv, label"]
    made = reader(option, overrides, classes)
    assert made.format_of("-") == "jsonl"
    assert [len(one["series"]) for one in made.read("-")] == [5000, 5000]


@pytest.mark.parametrize(
    ("at", "encoding"),
    [(1, "utf-8"), (6, "utf-8"), (6, "utf-16"), (14, "utf-16"), (99, "utf-16")],
)
def test_a_first_line_that_comes_in_pieces_is_one_line(tmp_path, monkeypatch, at, encoding):
    """Written by a slow program; the lines after it come as they did."""
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    monkeypatch.setattr(readers, "STANDARD_INPUT", tmp_path / "pipe")
    raw = "w x a\ny\nb\n".encode(encoding)

    def write():
        with open("pipe", "wb", buffering=0) as pipe:
            pipe.write(raw[:at])
            time.sleep(0.05)
            pipe.write(raw[at:])

    (option, _, _, _), *_ = CASES["table"]
    node = data_node(option)
    writer = threading.Thread(target=write)
    writer.start()
    made = Reader(
        node, "text", KINDS["symbols"], Maker(), encoding=encoding, y="label", known=["a"]
    )
    found = [(one["text"], one.line) for one in made.read("-")]
    writer.join()
    assert found == [("w x a", 1), ("y", 2), ("b", 3)]
