"""What is to be predicted is read as the training read its files, with or without its y."""

import numpy as np
import pytest
import yaml
from omegaconf import OmegaConf

from seqpipe.config.data_path import settle_path
from seqpipe.config.paths import conf_dir
from seqpipe.errors import DataError
from seqpipe.inference.making import Maker
from seqpipe.inference.reading import Reader

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
    node = yaml.safe_load((conf_dir() / "data" / f"{name}.yaml").read_text())["data"]
    cfg = OmegaConf.create({"seed": 0, "data": node})
    for one in overrides:
        key, _, value = one.partition("=")
        OmegaConf.update(cfg, key, yaml.safe_load(value))
    if cfg.data.get("path", None) is None:
        cfg.data.path = "old"
    settle_path(cfg)
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
    return Reader(data, x, kind, Maker(), labelled=labelled, y=y, known=classes.split())


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
    assert made.told(str(file)) == (
        f"input={file}: read as the training's files were (GenBank), without annotation, each "
        "sequence forward as it stands in the file, and not by strand=coding; "
        "format=... reads it otherwise"
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
    assert made.told(str(file)).startswith(
        f"input={file}: read as the training's files were (LabelledLines); "
    )
    assert (
        reader("table", (), "a b")
        .told(str(file))
        .startswith(f"input={file}: read as a text a line; ")
    )


def test_a_table_without_the_column_is_refused_by_its_name(tmp_path):
    file = tmp_path / "n.csv"
    file.write_text("dee,en\na,b\n")
    with pytest.raises(
        DataError, match=r"n.csv: has no column 'de', which the model reads; it has"
    ):
        list(reader("parallel", (), "").read(str(file)))
