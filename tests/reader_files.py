"""Small files for every reader of text, series, images and DNA, and overrides that read them."""

import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet as pq

AT = "data.path={folder}"
# name, which starts with that of the option where no override chooses one -> overrides
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


def write_files(folder: Path) -> None:
    """Write a small file, or several, for each reader."""
    for write in (lines_of, series_of, bases_of, trees_of):
        write(folder)


def overrides_of(name: str, words: tuple[str, ...], folder: Path) -> tuple[str, ...]:
    """The overrides of a case, on the files in a folder, with batches of four."""
    chosen = () if any(word.startswith("data=") for word in words) else (f"data={name}",)
    small = ("hidden_size=4", "data.cache=null", "data.batch_size=4")
    return (*small, *chosen, *(word.format(folder=folder) for word in words))
