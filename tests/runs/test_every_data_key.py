"""Every key of every kind of data has an effect: another value changes the batches, or is refused.

As test_every_key.py for the whole configuration; here for each reader, on little files that hold
what its options act on: blank lines, two writings of a tune, gaps in time, ... Music, sounds and
pictures are in test_every_media_key.py.
"""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet as pq

AT = "data.path={folder}"
CASES = {
    "labelled_lines": (f"{AT}/labels.txt", "data.max_length=2"),
    "class_folders": (f"{AT}/classes",),
    "documents": (f"{AT}/stream.txt", "data.source.start=Start", "data.bptt=8"),
    "documents by blank lines": (
        "data=documents",
        f"{AT}/stream.txt",
        "data.source.blank_lines=true",
    ),
    "stream": (f"{AT}/stream.txt", "data.bptt=8"),
    "lines by subwords": ("data=lines", f"{AT}/lines.txt", "data.y.by=subwords"),
    "table of Parquet": ("data=table", f"{AT}/table.parquet", "data.x.by=characters"),
    "dictionary": (f"{AT}/words.dict",),
    "parallel": (AT, "data.train=lines.*", "data.x.by=words", "data.y.by=words"),
    "hub": (
        *("data.source.name=csv", AT, "data.source.train=hub_train.csv"),
        *("data.source.valid=hub_validation.csv", "data.source.test=hub_test.csv"),
    ),
    "hub with shares": (
        *("data=hub", "data.source.name=csv", AT, "data.source.train=hub_train.csv"),
        *("data.source.valid=0.2", "data.source.test=0.2"),
    ),
    "series_csv": (
        *(f"{AT}/wide.csv", "data.source.features=2", "data.source.missing=zero"),
        *("data.source.keep=[kind]", "data.source.group=kind", "data.source.valid=0.3"),
        "data.source.test=0.3",
    ),
    "long_csv": (
        *(f"{AT}/long.csv", "data.source.time=time", "data.source.time_order=sort"),
        "data.source.missing=zero",
    ),
    "long_csv of tags": (
        *("data=long_csv", f"{AT}/long.csv", "data.source.tags=kind", "data.source.missing=zero"),
        *("data.source.label=null", "data.y.column=tags", "architecture=many_to_many"),
        *("task=tagging", "data.y._target_=seqpipe.data.fields.labels.Tags"),
    ),
    "long_csv of targets": (
        *("data=long_csv", f"{AT}/long.csv", "data.source.targets=[other]"),
        *("data.source.missing=zero", "data.source.label=null", "data.y.column=targets"),
        *("architecture=many_to_many", "task=regression"),
        "data.y._target_=seqpipe.data.fields.series.Series",
    ),
    "npz": (f"{AT}/arrays.npz", "data.source.missing=zero"),
    "forecast": (
        *(f"{AT}/steps.csv", "data.source.time=time", "data.source.missing=previous"),
        *("data.source.past=3", "data.source.values=[value,other,'höhe']"),
    ),
    "ucr": (AT, "data.source.local.missing=zero"),
    "mnist_pixels": (AT,),
    "fasta": (
        *(AT, "data.source.train=[a.fa,b.fa]", "data.source.case=keep", "data.x.rna=true"),
        *("data.x.codes=symbols", "data.x.masked=true", "data.source.group=[id,item]"),
    ),
    "fasta with labels": (
        *("data=fasta", AT, "data.source.train=[a.fa,b.fa]", "data.source.labels=classes.csv"),
        "data.x.rna=true",
    ),
    "splice": (AT, "data.x.rna=true"),
    "names": (AT,),
    "ud_ewt": (AT,),
    "celegans": (AT,),
    "celegans_gff": (AT, "data.length=6"),
    "identifiers": (),
    "python_tokens": ("data.source.files=6",),
    "python_docs": (),
}

# a case, and keys or their last names -> values to try first
OTHERS: dict[str, dict[str, list[Any]]] = {
    "labelled_lines": {"data.x.column": ["label"], "group": [["text", "label"]], "prefix": ["l"]},
    "class_folders": {"group": [["text", "label"]], "classes": [["a", "b"]], "stratify": ["null"]},
    "documents": {"start": ["word"], "piece": [12]},
    "lines by subwords": {"max_vocabulary": [264]},
    "table of Parquet": {"group": [["text", "label"]]},
    "parallel": {"data.train": ["more.*"], "group": [["de", "en"]], "languages": [["en", "de"]]},
    "hub": {
        "train": ["hub_more.csv"],
        "valid": ["hub_more.csv"],
        "test": ["hub_more.csv"],
        "columns": [{"text": "text", "kind": "label"}],
    },
    "hub with shares": {"group": [["kind"], ["text", "label"]], "stratify": ["kind"]},
    "series_csv": {
        "columns": [["x1", "x2"]],
        "label": ["x2"],
        "keep": [["kind", "x1", "x2"]],
        "group": [["label", "kind"]],
        "stratify": ["label"],
        "names": ["{folder}/names.txt"],
    },
    "long_csv": {
        "features": [["other"]],
        "time": ["other"],
        "group": [["id"]],
        "stratify": ["label"],
    },
    "long_csv of tags": {"tags": ["label"]},
    "long_csv of targets": {"targets": [["value"]]},
    "npz": {"x": ["W"], "y": ["Z"], "lengths": ["L"], "group": [["series", "label"]]},
    "forecast": {"values": [["other", "value"]], "targets": [["value"]], "id": ["id"]},
    "ucr": {"stratify": ["null"]},
    "fasta": {
        "classes": [{"a": "one", "b": "two"}],
        "header": ["'s(.)'"],
        "train": [["b.fa", "a.fa"]],
        "stratify": ["null"],
        "group": [["sequence"]],
        "labels": ["classes.csv"],
    },
    "fasta with labels": {
        "labels": ["others.csv"],
        "label_column": ["other"],
        "group": [["id"]],
        "stratify": ["null"],
    },
    "splice": {"stratify": ["null"], "group": [["label", "sequence"]]},
    "ud_ewt": {
        "data.source.local.columns.tokens": ["lemma"],
        "data.source.local.columns.tags": ["xpos"],
    },
    "celegans": {"features": [{"gene": "coding"}], "between": ["inner"], "background": ["other"]},
}
ANYWHERE: dict[str, list[Any]] = {
    "encoding": ["latin-1"],
    "min_count": [20],
    "max_length": [1],
    "horizon": [2],
    "reference": [[0]],
}

# key, or its end -> why another value need not change anything that is compared here
EXEMPT = {
    "data.folds": "acts together with a fold; tests/data/test_folds.py",
    "data.fold": "acts together with folds; tests/data/test_folds.py",
    "data.x.time_warp": "series of two steps are not warped; tests/data/test_augmentation.py",
    "data.cache": "where prepared data is kept; tests/data/test_cache.py",
    "data.num_workers": "the same batches from other processes; tests/data/test_batching.py",
    "data.on_error": "acts on bad records only; tests/data/test_tables.py",
    "data.path": "names the data itself",
    "data.x": "null where nothing is read; a field is walked where there is one",
    "data.source.columns": "which columns are read; those of x and y always are",
    "data.source.format": "names what the file's end says; tests/data/test_tables.py",
    "data.source.names": "of a set that holds the names of its classes; tests/data/test_hub.py",
    "data.source.streaming": "the same records, of which no copy is kept; tests/data/test_hub.py",
    "data.source.hub": "read where no folder is named; tests/data/test_named.py",
    "data.source.path": "names the data itself",
    "data.source.default_folder": "names the data itself; tests/runs/test_default_folder.py",
    "data.source.get": "what is said where the files are missing; tests/data/test_named.py",
}


def words(k: int) -> str:
    names = "The cat sat on a café mat and saw no Dog".split()
    return " ".join(names[(k * m) % 11] for m in range(1, 3 + k % 5))


def lines_of(folder: Path) -> None:
    texts = [words(k) for k in range(40)]
    rows = "".join(f"l{'ab'[k % 2]} {text}\n\n" for k, text in enumerate(texts))
    (folder / "labels.txt").write_text(rows)
    for k, text in enumerate(texts):
        place = folder / "classes" / "abc"[k % 3]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{k}.txt").write_text(text)
    stream = "".join(f"Start {text}\nword {k}\n\n" for k, text in enumerate(texts))
    (folder / "stream.txt").write_text(stream)
    rows = "".join(f"é{k % 20}{'(2)' if k >= 20 else ''} A{k % 2} B{k % 3} C\n" for k in range(40))
    (folder / "words.dict").write_text(rows)
    (folder / "lines.de").write_text("".join(f"{text}\n" for text in texts))
    (folder / "lines.en").write_text("".join(f"{text} {k % 3}\n" for k, text in enumerate(texts)))
    (folder / "lines.txt").write_text("".join(f"{text}\n\n" for text in [*texts, *texts[:9]]))
    for name in ("de", "en"):
        (folder / f"more.{name}").write_text("".join(f"more {text}\n" for text in texts))
    for name in ("train", "validation", "test", "more"):
        rows = [
            f"{name} {text},{'ab'[(k + len(name) + name.count('m')) % 3 > 1]},{k % 7}\n"
            for k, text in enumerate(texts)
        ]
        (folder / f"hub_{name}.csv").write_text("text,label,kind\n" + "".join(rows))
    table = {
        "text": [f"{text} {k} " for k, text in enumerate(texts)],
        "label": list("aab" * 13 + "b"),
    }
    pq.write_table(pa.table(table), folder / "table.parquet")
    (folder / "names.txt").write_text("".join(f"{'abc'[k % 3]}n{k % 30}é\n" for k in range(40)))


def series_of(folder: Path) -> None:
    rng = np.random.default_rng(0)
    wide = "".join(
        f"{k},{k % 7},{k * k % 5},{'' if k in (5, 7) else k % 3},{k % 2},k{k % 9}é\n"
        for k in range(40)
    )
    wide = wide.replace("7,0,4,,", "7,0,,,")
    (folder / "wide.csv").write_text(f"x1,x2,x3,x4,label,kind\n{wide}")
    rows = []
    for k in range(160):
        series, step = divmod(k, 4)
        cell = "" if k == 9 else f"{rng.normal():.3f}"
        time = step if k % 8 else 2.5
        label = "ab"[series % 5 > 1]
        rows.append(f"s{series}é,{k if series > 20 else k * 2},{cell},{time},{label}é")
    rows = [f"{row},k{k % 3}" for k, row in enumerate(rows)]
    (folder / "long.csv").write_text("id,other,value,time,label,kind\n" + "\n".join(rows) + "\n")
    ids = "".join(f"s{k}é,{'cd'[k // 3 % 2]}\n" for k in range(40))
    (folder / "labels.csv").write_text(f"id,label\n{ids}")
    rows = [
        f"{'pq'[k > 80]},{k + (k > 40)},{k * k % 11},{'' if k == 9 else k % 7},{k % 3}\n"
        for k in range(160)
    ]
    (folder / "steps.csv").write_text("id,time,value,other,höhe\n" + "".join(rows))
    numbers = rng.normal(size=(40, 4, 1))
    numbers[3, 1] = np.nan
    lengths = np.arange(40) % 3 + 2
    held = {"X": numbers, "W": numbers[:, ::-1] * 2}
    np.savez(folder / "arrays.npz", **held, y=np.arange(40) % 2, L=lengths, Z=lengths % 3)
    for split in ("TRAIN", "TEST"):
        head = "@problemName GunPoint\n@univariate true\n@classLabel true a b\n@data\n"
        rows = [f"{k},{'?' if k == 3 else k % 5},{k % 7}:{'ab'[k % 2]}\n" for k in range(30)]
        (folder / f"GunPoint_{split}.ts").write_text(head + "".join(rows))
    for part in ("train", "t10k"):
        images = rng.integers(0, 255, size=(40, 3, 4), dtype=np.uint8)
        head = struct.pack(">IIII", 2051, 40, 3, 4)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(head + images.tobytes())
        labels = (np.arange(40) % 4).astype(np.uint8)
        head = struct.pack(">II", 2049, 40)
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(head + labels.tobytes())


def bases_of(folder: Path) -> None:
    rng = np.random.default_rng(0)
    sequences = ["".join(rng.choice(list("ACGTUacgRN"), 8)) for _ in range(40)]
    for name in "ab":
        rows = [f">s{k % 3}é{name}{k}\n{one}\n" for k, one in enumerate(sequences[:20])]
        (folder / f"{name}.fa").write_text("".join(rows))
        sequences = sequences[20:] + sequences[:20]
    rows = [f"s{k % 3}é{at}{k},{'de'[k % 2]}é,{'fg'[k % 4 > 1]}" for at in "ab" for k in range(20)]
    (folder / "classes.csv").write_text("id,label,other\n" + "\n".join(rows) + "\n")
    rows = [row.replace(",dé,", ",eé,") if k < 20 else row for k, row in enumerate(rows)]
    (folder / "others.csv").write_text("id,label,other\n" + "\n".join(rows) + "\n")
    rows = [f"{'EI,IE,N'.split(',')[k % 3]}, n{k} ,  {s}\n" for k, s in enumerate(sequences)]
    (folder / "splice.data").write_text("".join(rows))
    pieces = []
    for k in range(20):
        bases = "".join(rng.choice(list("acgt"), 12))
        place = "join(2..4,7..9)" if k % 2 else "complement(join(2..4,7..9))"
        parts = f"     CDS             {place}\n     gene            2..5\n"
        pieces.append(
            f"LOCUS       S{k} 12 bp DNA\nDEFINITION  x.\n"
            f"FEATURES             Location/Qualifiers\n{parts}ORIGIN\n"
            f"        1 {bases[:10]} {bases[10:]}\n//\n"
        )
    (folder / "traingenes.gb").write_text("".join(pieces))
    bases = "".join(rng.choice(list("ACGT"), 600))
    (folder / "genome.fa").write_text(f">g\n{bases}\n")
    rows = [
        f"g\tx\t{kind}\t{at + low}\t{at + high}\t.\t{'+-'[at % 2]}\t.\t"
        f'gene_id "g{at}"; transcript_id "g{at}";\n'
        for at in range(1, 580, 21)
        for kind, low, high in (("CDS", 2, 5), ("CDS", 8, 12), ("gene", 2, 14))
    ]
    (folder / "traingenes.gff").write_text("".join(rows))


def trees_of(folder: Path) -> None:
    for split in ("train", "dev", "test"):
        blocks = []
        for k in range(20):
            names = words(k).split()
            rows = [
                f"{n}\t{word}\t{word.lower()}\t{'NV'[len(word) % 2]}\t{'XY'[len(word) % 3 > 0]}"
                "\t_\t0\t_\t_\t_\n"
                for n, word in enumerate(names, 1)
            ]
            blocks.append("".join(rows))
        (folder / f"en_ewt-ud-{split}.conllu").write_text("\n".join(blocks) + "\n")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small file, or several, for each reader."""
    made = tmp_path_factory.mktemp("every_data_key")
    for write in (lines_of, series_of, bases_of, trees_of):
        write(made)
    return made


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_another_value_of_every_key_of_data_changes_the_batches(folder, inert_data_keys):
    inert = []  # in one test: a key that was seen to act is not walked again in the cases below
    for name, words in CASES.items():
        found = inert_data_keys(name, words, folder, EXEMPT, ANYWHERE | OTHERS.get(name, {}))
        inert += [f"{name}: {one}" for one in found]
    assert not inert, "\n".join(inert)
