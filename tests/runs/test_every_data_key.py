"""Every key of every kind of data has an effect: another value changes the batches, or is refused.

As test_every_key.py for the whole configuration; here for each reader, on little files that hold
what its options act on: blank lines, two writings of a tune, gaps in time, ...
"""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import DictConfig

from seqpipe.build import build_data

SMALL = ("hidden_size=4", "data.cache=null", "data.batch_size=4")
AT = "data.path={folder}"
CASES = {
    "labelled_lines": (f"{AT}/labels.txt", "data.max_length=2"),
    "class_folders": (f"{AT}/classes",),
    "documents": (f"{AT}/stream.txt", "data.source.start=Start", "data.bptt=8"),
    "stream": (f"{AT}/stream.txt", "data.bptt=8"),
    "dictionary": (f"{AT}/words.dict",),
    "parallel": (AT, "data.train=lines.*"),
    "series_csv": (
        *(f"{AT}/wide.csv", "data.source.features=2", "data.source.missing=zero"),
        *("data.source.keep=[kind]", "data.source.group=kind"),
    ),
    "long_csv": (
        *(f"{AT}/long.csv", "data.source.time=time", "data.source.time_order=sort"),
        "data.source.missing=zero",
    ),
    "npz": (f"{AT}/arrays.npz", "data.source.missing=zero"),
    "forecast": (
        *(f"{AT}/steps.csv", "data.source.time=time", "data.source.missing=previous"),
        *("data.source.past=3", "data.source.values=[value,other]"),
    ),
    "ucr": (AT, "data.source.local.missing=zero"),
    "fasta": (
        *(AT, "data.source.train=[a.fa,b.fa]", "data.source.case=keep", "data.x.rna=true"),
        "data.x.codes=symbols",
        "data.x.masked=true",
    ),
    "abc": (f"{AT}/tunes.abc",),
    "piano_rolls": (f"{AT}/rolls.json",),
    "midi": (f"{AT}/midi",),
    "midi_rolls": (f"{AT}/midi",),
    "audio_folders": (f"{AT}/sounds", "data.x.n_mels=8"),
    "audio_table": (AT, "data.source.source.train=sounds.csv", "data.x.n_mels=8"),
    "frame_folders": (f"{AT}/pictures", "data.y.column=folder"),
    "video": (f"{AT}/clips",),
    "splice": (AT, "data.x.rna=true"),
    "names": (AT,),
    "ud_ewt": (AT,),
    "celegans": (AT,),
    "celegans_gff": (AT, "data.length=6"),
    "identifiers": (),
    "python_tokens": ("data.source.files=6",),
    "python_docs": (),
}

# key, or its end -> why another value need not change anything that is compared here
EXEMPT = {
    "data.cache": "where prepared data is kept; tests/data/test_cache.py",
    "data.num_workers": "the same batches from other processes; tests/data/test_batching.py",
    "data.on_error": "acts on bad records only; tests/data/test_tables.py",
    "data.path": "names the data itself",
    "data.source.path": "names the data itself",
    "data.source.get": "what is said where the files are missing; tests/data/test_named.py",
    "data.source.hub": "read where no folder is named; tests/data/test_named.py",
}

# a key's last name -> values to try first
MORE: dict[str, list[Any]] = {
    "encoding": ["latin-1"],
    "min_count": [20],
    "max_length": [1],
    "channel_mean": [[0.5, 0.5, 0.5]],
    "channel_deviation": [[0.5, 0.5, 0.5]],
    "horizon": [2],
    "values": [["other"]],
    "prefix": ["l"],
    "start": ["word"],
    "classes": [["a"], {"a": "one", "b": "one"}],
    "columns": [["x1", "x2"], {"tokens": "lemma", "tags": "upos"}],
    "names": ["{folder}/names.txt"],
    "labels": ["{folder}/labels.csv"],
    "header": ["'s(.)'"],
    "targets": [["value"], ["other"]],
    "tags": ["kind"],
    "lengths": ["L"],
    "id": ["id"],
    "keep": [["M"]],
    "pattern": ["'(?P<folder>.).*'"],
    "replace": [{"folder": {"a": "b"}}],
    "leave_out": ["a/1*"],
    "stratify": ["kind", "label", "rhythm", "folder"],
    "group": [["kind"], ["number"], ["id"], ["label"], ["folder"]],
    "rate": [4000],
    "ending": [".wav"],
    "features": [{"gene": "coding"}],
    "between": ["inner"],
    "background": ["other"],
    "column": ["kind"],
}


def words(k: int) -> str:
    names = "The cat sat on a café mat and saw no Dog".split()
    return " ".join(names[(k * m) % 11] for m in range(1, 3 + k % 5))


def lines_of(folder: Path) -> None:
    texts = [words(k) for k in range(40)]
    rows = "".join(f"l{'ab'[k % 2]} {text}\n\n" for k, text in enumerate(texts))
    (folder / "labels.txt").write_text(rows)
    for k, text in enumerate(texts):
        place = folder / "classes" / "ab"[k % 2]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{k}.txt").write_text(text)
    stream = "".join(f"Start {text}\nword {k}\n\n" for k, text in enumerate(texts))
    (folder / "stream.txt").write_text(stream)
    rows = "".join(f"é{k % 20}{'(2)' if k >= 20 else ''} A{k % 2} B{k % 3} C\n" for k in range(40))
    (folder / "words.dict").write_text(rows)
    (folder / "lines.de").write_text("".join(f"{text}\n" for text in texts))
    (folder / "lines.en").write_text("".join(f"{text} {k % 3}\n" for k, text in enumerate(texts)))
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
        rows.append(f"s{series}é,{k if series > 20 else k * 2},{cell},{time},{'ab'[series % 2]}")
    rows = [f"{row},k{k % 3}" for k, row in enumerate(rows)]
    (folder / "long.csv").write_text("id,other,value,time,label,kind\n" + "\n".join(rows) + "\n")
    ids = "".join(f"s{k}é,{'cd'[k // 3 % 2]}\n" for k in range(40))
    (folder / "labels.csv").write_text(f"id,label\n{ids}")
    rows = [
        f"{'pq'[k > 80]},{k + (k > 40)},{k * k % 11},{'' if k == 9 else k % 7},k{k % 3}\n"
        for k in range(160)
    ]
    (folder / "steps.csv").write_text("id,time,value,other,höhe\n" + "".join(rows))
    numbers = rng.normal(size=(40, 4, 1))
    numbers[3, 1] = np.nan
    lengths = np.arange(40) % 3 + 2
    np.savez(folder / "arrays.npz", X=numbers, y=np.arange(40) % 2, L=lengths, Z=lengths % 3)
    for split in ("TRAIN", "TEST"):
        head = "@problemName GunPoint\n@univariate true\n@classLabel true a b\n@data\n"
        rows = [f"{k},{'?' if k == 3 else k % 5},{k % 7}:{'ab'[k % 2]}\n" for k in range(30)]
        (folder / f"GunPoint_{split}.ts").write_text(head + "".join(rows))


def bases_of(folder: Path) -> None:
    rng = np.random.default_rng(0)
    sequences = ["".join(rng.choice(list("ACGTUacgRN"), 8)) for _ in range(40)]
    for name in "ab":
        rows = [f">s{k % 3}{name}{k}\n{one}\n" for k, one in enumerate(sequences[:20])]
        (folder / f"{name}.fa").write_text("".join(rows))
        sequences = sequences[20:] + sequences[:20]
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


def music_of(folder: Path) -> None:
    keys = "CDEFGAB"
    tunes = [
        f"X:{k // 2}\nT:Tune é {k // 3}\nR:{'ab'[k % 2]}\nM:{k % 3 + 2}/4\nK:{keys[k % 7]}\n"
        f"{keys[k % 7]}{keys[k % 5]}2 | {keys[k % 3]}\n\n"
        for k in range(40)
    ]
    (folder / "tunes.abc").write_text("".join(tunes))
    rolls = [[[60 + k % 9], [62, 40 + k % 5], [100 + k % 3]] for k in range(40)]
    (folder / "rolls.json").write_text(json.dumps(rolls))
    (folder / "midi").mkdir()
    for k in range(20):
        body = b"".join(
            bytes([wait, 0x90, note, loud])
            for note in (60 + k, 62, 64 + k % 3)
            for wait, loud in ((0, 40 + 4 * k), (100 + k % 20, 0))
        )
        body = b"\x00\xff\x51\x03" + (400_000).to_bytes(3, "big") + body + b"\x00\xff\x2f\x00"
        head = b"MThd" + struct.pack(">IHHH", 6, 0, 1, 60)
        file = folder / "midi" / f"{k}.mid"
        file.write_bytes(head + b"MTrk" + struct.pack(">I", len(body)) + body)


def media_of(folder: Path) -> None:
    import av
    import soundfile
    from PIL import Image

    rng = np.random.default_rng(0)
    rows = ["path,sentence,kind"]
    for k in range(20):
        name, of_class = f"{'cd'[k // 5 % 2]}{k}", "ab"[k % 2]
        for kind in ("sounds", "pictures", "clips"):
            (folder / kind / of_class).mkdir(parents=True, exist_ok=True)
        sound = rng.normal(size=(800 + 80 * k, 2)) * 0.1
        soundfile.write(folder / "sounds" / of_class / f"{k}{name}.wav", sound, 8000)
        rows.append(f"sounds/{of_class}/{k}{name}.wav, {'Éa'[k % 2]},k{k % 3}")
        clip = folder / "pictures" / of_class / name
        clip.mkdir()
        shades = rng.integers(0, 255, size=(4, 6, 8, 3), dtype=np.uint8)
        for number, shade in enumerate(shades):
            Image.fromarray(shade).save(clip / f"{number}.png")
        with av.open(str(folder / "clips" / of_class / f"{name}.mkv"), "w") as container:
            stream = container.add_stream("mpeg4", rate=10)
            stream.width, stream.height, stream.pix_fmt = 32, 16, "yuv420p"
            for shade in shades.repeat(3, axis=0).repeat(2, axis=1).repeat(4, axis=2):
                picture = np.zeros((16, 32, 3), dtype=np.uint8)
                picture[:12] = shade
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
    (folder / "sounds.csv").write_text("\n".join(rows) + "\n")


def trees_of(folder: Path) -> None:
    for split in ("train", "dev", "test"):
        blocks = []
        for k in range(20):
            names = words(k).split()
            rows = [
                f"{n}\t{word}\t{word.lower()}\t{'NV'[len(word) % 2]}\t_\t_\t0\t_\t_\t_\n"
                for n, word in enumerate(names, 1)
            ]
            blocks.append("".join(rows))
        (folder / f"en_ewt-ud-{split}.conllu").write_text("\n".join(blocks) + "\n")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small file, or several, for each reader."""
    made = tmp_path_factory.mktemp("every_data_key")
    for write in (lines_of, series_of, bases_of, music_of, media_of, trees_of):
        write(made)
    return made


def numbers(part: Any) -> Any:
    return None if part is None else (tuple(part.shape), part.double().flatten().tolist())


def effects(cfg: DictConfig) -> Iterator[str]:
    """What the data of a configuration comes to."""
    data = build_data(cfg)
    batches = [one for split in ("train", "valid", "test") for one in data.loader(split)]
    yield repr(
        (data.description, [(b.index.tolist(), numbers(b.x), numbers(b.y)) for b in batches])
    )


WALKED: set[tuple[str, str]] = set()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", CASES)
def test_another_value_of_every_key_of_data_changes_the_batches_or_is_refused(
    name, folder, inert_keys
):
    case = (*SMALL, f"data={name}", *(word.format(folder=folder) for word in CASES[name]))
    more = {
        key: [one.format(folder=folder) if isinstance(one, str) else one for one in values]
        for key, values in MORE.items()
    }
    inert = inert_keys(case, effects, EXEMPT, WALKED, within="data.", more=more)
    assert not inert, "\n".join(inert)
