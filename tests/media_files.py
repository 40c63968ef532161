"""Small files for every reader of music, sounds, pictures and videos, and the overrides."""

import json
import struct
from pathlib import Path

import numpy as np
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


def write_files(folder: Path) -> None:
    """Write a small file, or several, for each reader."""
    for write in (music_of, media_of):
        write(folder)
