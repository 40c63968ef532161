"""Models of bases, sound, pictures and subwords: saved, opened, and asked about files."""

import functools
import json

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from seqpipe.commands import predict

draw = np.random.default_rng(0)


def bases(folder):
    """A FASTA file a class, one rich in GC."""
    for name, often in (("coding", [0.1, 0.4, 0.4, 0.1]), ("other", [0.4, 0.1, 0.1, 0.4])):
        rows = [
            f">{name}{n}\n{''.join(draw.choice(list('ACGT'), length, p=often))}\n"
            for n, length in enumerate((1, 12, *draw.integers(2, 13, 16)))
        ]
        (folder / f"{name}.fa").write_text("".join(rows))


def sounds(folder):
    """A folder of tones for each class, 0.1 to 0.3 s at 8 kHz."""
    for name, hertz in (("high", 1_000), ("low", 200)):
        (folder / name).mkdir()
        for number in range(10):
            time = np.arange(800 + 160 * number) / 8_000
            tone = np.sin(2 * np.pi * hertz * time) / 2 + draw.normal(size=len(time)) / 100
            soundfile.write(folder / name / f"{number}.wav", tone, 8_000)


def clips(folder):
    """A folder of pictures for each clip, below one for each class: they grow light, or dark."""
    for name in ("dark", "light"):
        for number in range(10):
            clip = folder / name / f"{name}{number}"
            clip.mkdir(parents=True)
            for step in range(1, 3 + number % 4):
                value = 40 * step if name == "light" else 250 - 40 * step
                shade = draw.integers(value - 5, value + 5, (6, 8), dtype=np.uint8)
                Image.fromarray(shade).save(clip / f"{step}.png")


def texts(folder):
    """Good and bad words."""
    rows = [
        {"text": " ".join(draw.choice(["it", "was", name, "not"], 5)), "label": name, "n": n}
        for n, name in enumerate(["good", "bad"] * 24)
    ]
    (folder / "table.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


TEXT = ("data=table", "data.path={folder}/table.jsonl", "data.x.by=subwords")
KINDS = {
    "bases": (("data=fasta", "data.path={folder}"), bases),
    "bases as symbols": (("data=fasta", "data.path={folder}", "data.x.codes=symbols"), bases),
    "sound": (("data=audio_folders", "data.path={folder}"), sounds),
    "pictures": (
        ("data=frame_folders", "data.path={folder}", "data.source.height=3", "data.source.width=4"),
        clips,
    ),
    "subwords": ((*TEXT, "data.x.max_vocabulary=280", "data.x.min_count=null"), texts),
}
FILES = {
    "bases": "coding.fa",
    "bases as symbols": "*.fa",
    "sound": "low/*.wav",
    "pictures": "light",
    "subwords": "table.jsonl",
}


@pytest.fixture(scope="module")
def made_of(making, tmp_path_factory):
    @functools.cache
    def of(name):
        return making(tmp_path_factory.mktemp("media"), *KINDS[name])

    return of


@pytest.fixture(params=KINDS)
def name(request):
    return request.param


def chances(answers):
    return torch.tensor([list(one["probabilities"].values()) for one in answers])


@torch.inference_mode()
def test_raw_records_are_answered_as_the_test_did_however_many_and_once_opened(made_of, name):
    made = made_of(name)
    records = made.records
    found = chances(made.model.predict(records))
    assert torch.equal(found, chances(made.opened.predict(records)))
    tested = torch.empty_like(found)
    for batch in made.data.loader("test"):
        outputs = made.model.network(batch.x, batch.x_lengths, batch.y, batch.y_lengths)
        tested[batch.index] = made.model.task.probabilities(outputs, batch).float()
    assert len(found) > 1
    torch.testing.assert_close(found, tested, rtol=1e-5, atol=1e-5)
    one_by_one = chances(made.model.predict(records, batch_size=1))
    torch.testing.assert_close(found, one_by_one, rtol=1e-5, atol=1e-5)


def test_files_are_answered_as_the_records_of_the_training_were(made_of, name, tmp_path):
    made = made_of(name)
    input = str(made.source / FILES[name])
    output = tmp_path / "out.jsonl"
    options = predict.Predict(run=str(made.folder), input=input, output=str(output))
    predict.run(options, tmp_path)
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    splits = made.data.source.read()
    every = [*splits.train, *splits.valid, *splits.test]
    expected = made.model.predict(every)
    assert 2 < len(rows) <= len(every)
    assert [row["error"] for row in rows] == [None] * len(rows)
    known = {round(one["probability"], 4) for one in expected}
    assert len(known) > 2
    assert {round(row["probability"], 4) for row in rows} <= known
