"""Every key of music, sounds, pictures and videos has an effect; as test_every_data_key.py."""

import json
import struct
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import savemat
from torch import nn

AT = "data.path={folder}"
WHO = "data.source.pattern='(?P<take>\\d+)(?P<who>[cd]).*'"
CASES = {
    "abc": (f"{AT}/tunes.abc",),
    "piano_rolls": (f"{AT}/rolls.json", "data.y.highest=105"),
    "piano_rolls of MATLAB": (
        *("data=piano_rolls", "data.source.path={folder}"),
        "data.source.train=rolls.mat/traindata",
    ),
    "midi": (f"{AT}/midi",),
    "midi_rolls": (f"{AT}/midi",),
    "audio_folders": (f"{AT}/sounds", "data.x.n_mels=8", WHO, "data.y.column=who"),
    "audio_folders in a list": (
        *("data=audio_folders", AT, "data.source.train=sounds.txt", "data.x.n_mels=16"),
        "data.x._target_=seqpipe.data.fields.audio.Mfcc",
    ),
    "audio_table": (AT, "data.source.source.train=sounds.csv", "data.x.n_mels=8"),
    "frame_folders in a table": (
        *("data=frame_folders", AT, "data.source.train=clips.csv", "data.y.column=label"),
        *("data.x.backbone={{_target_:backbones.backbone}}", "data.x.channel_mean=[0.1,0.2,0.3]"),
        *("data.source.color=rgb", "data.source.valid=0.3", "data.source.test=0.3"),
    ),
    "frame_folders": (
        *(f"{AT}/pictures", "data.y.column=who"),
        "data.source.pattern='(?P<who>[cd])(?P<take>.+)'",
    ),
    "video": (
        *(f"{AT}/clips", "data.source.frames_per_second=null", "data.y.column=who"),
        "data.source.pattern='(?P<who>[cd])(?P<take>.+)'",
    ),
}

# a case, and keys or their last names -> values to try first
OTHERS: dict[str, dict[str, list[Any]]] = {
    "abc": {"keep": [["M"]], "group": [["number"]], "stratify": ["rhythm"]},
    "piano_rolls": {"highest": [104]},
    "piano_rolls of MATLAB": {"train": ["rolls.mat/other"]},
    "audio_folders": {
        "pattern": ["'(?P<take>\\d+)[cd](?P<who>[ef]).*'"],
        "replace": [{"who": {"c": "x"}}],
        "leave_out": ["a/1*"],
        "group": [["take"]],
        "stratify": ["who"],
        "channel": [0],
    },
    "audio_table": {
        "data.source.source.train": ["more_sounds.csv"],
        "data.source.source.group": [["kind", "path"]],
        "data.source.source.stratify": ["kind"],
        "data.source.source.quote": ["null"],
        "channel": [1],
    },
    "frame_folders": {
        "pattern": ["'[cd](?P<who>[ef])(?P<take>.+)'"],
        "group": [["take"]],
        "stratify": ["who"],
    },
    "frame_folders in a table": {
        "group": [["file"]],
        "stratify": ["label"],
        "pattern": ["'(?P<take>.+)'"],
        "layer": ["'2'"],
        "weights": ["{folder}/weights.pt"],
    },
    "video": {
        "group": [["file"]],
        "stratify": ["folder"],
        "pattern": ["'[cd](?P<who>[ef])(?P<take>.+)'"],
    },
}
ANYWHERE: dict[str, list[Any]] = {
    "encoding": ["latin-1"],
    "min_count": [20],
    "max_length": [1],
    "rate": [4000],
    "f_max": [3000],
    "time_masks": [[2, 20]],
    "channel_mean": [[0.5, 0.5, 0.5]],
    "channel_deviation": [[0.5, 0.5, 0.5]],
}

# key, or its end -> why another value need not change anything that is compared here
EXEMPT = {
    "data.folds": "acts together with a fold; tests/data/test_folds.py",
    "data.fold": "acts together with folds; tests/data/test_folds.py",
    "data.x.frequency_masks": "of LogMel, not of Mfcc; tests/data/test_augmentation.py",
    "data.cache": "where prepared data is kept; tests/data/test_cache.py",
    "data.num_workers": "the same batches from other processes; tests/data/test_batching.py",
    "data.on_error": "acts on bad records only; tests/data/test_tables.py",
    "data.path": "names the data itself",
    "data.x": "null where nothing is read; a field is walked where there is one",
    "data.x.backbone": "names a network; its parts and weights are walked",
    "data.source.source.columns": "which columns are read; those of x and y always are",
    "data.source.source.format": "names what the file's end says; tests/data/test_tables.py",
    "data.source.path": "names the data itself",
}


def backbone() -> nn.Module:
    """A network of frames, (N, 3, H, W), with the same weights each time."""
    torch.manual_seed(0)
    parts = nn.Conv2d(3, 4, 3, stride=2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    return nn.Sequential(*parts)


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
    cells = np.empty((1, 40), dtype=object)
    for k, roll in enumerate(rolls):
        cells[0, k] = np.zeros((3, 88), dtype=np.uint8)
        for t, notes in enumerate(roll):
            cells[0, k][t, [note - 21 for note in notes]] = 1
    savemat(folder / "rolls.mat", {"traindata": cells, "other": cells[:, ::-1]})
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
    rows, clips = ["path,sentence,kind"], ["file,label"]
    for k in range(20):
        name, of_class = f"{'cd'[k // 5 % 2]}{'ef'[k % 2]}{k}", "ab"[k % 2]
        for kind in ("sounds", "pictures", "clips"):
            (folder / kind / of_class).mkdir(parents=True, exist_ok=True)
        sound = rng.normal(size=(800 + 80 * k, 2)) * 0.1
        soundfile.write(folder / "sounds" / of_class / f"{k}{name}é.wav", sound, 8000)
        rows.append(f'sounds/{of_class}/{k}{name}é.wav," {"Éa"[k % 2]}",k{k % 3}')
        clips.append(f"pictures/{of_class}/{name},{'aab'[k % 3]}é")
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
    (folder / "more_sounds.csv").write_text("\n".join(rows[:1] + rows[:4:-1]) + "\n")
    (folder / "clips.csv").write_text("\n".join(clips) + "\n")
    (folder / "sounds.txt").write_text("\n".join(row.partition(",")[0] for row in rows[1:]) + "\n")
    torch.save(backbone().state_dict(), folder / "weights.pt")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small file, or several, for each reader."""
    made = tmp_path_factory.mktemp("every_media_key")
    for write in (music_of, media_of):
        write(made)
    return made


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_another_value_of_every_key_of_media_changes_the_batches(
    folder, inert_data_keys, monkeypatch
):
    found = types.ModuleType("backbones")
    found.__dict__.update(backbone=backbone)
    monkeypatch.setitem(sys.modules, "backbones", found)
    inert = []  # in one test: a key that was seen to act is not walked again in the cases below
    for name, words in CASES.items():
        found = inert_data_keys(name, words, folder, EXEMPT, ANYWHERE | OTHERS.get(name, {}))
        inert += [f"{name}: {one}" for one in found]
    assert not inert, "\n".join(inert)
