"""Recordings: which files, what their names say, what is refused; at any rate and of any width."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from seqpipe.data.base import SPLITS
from seqpipe.data.sources.audio import ENDINGS, Audio, Recordings, WithAudio, resampled
from seqpipe.data.sources.text import LabelledLines
from seqpipe.errors import ConfigError, DataError
from small_files import problems_of

RATE = 8000


def tone(hz, seconds=0.1, rate=RATE):
    return 0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)


def save(file, sound=None, rate=RATE, **options):
    file.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(file, tone(440) if sound is None else sound, rate, **options)
    return file


@pytest.fixture
def digits(tmp_path):
    """Two digits by three speakers, takes 0 to 3; every recording another tone."""
    names = [f"{d}_{s}_{take}" for d in (3, 7) for s in ("ann", "bo", "cy") for take in range(4)]
    for number, name in enumerate(names):
        save(tmp_path / "recordings" / f"{name}.wav", tone(200 + 50 * number))
    return tmp_path


PATTERN = r"(?P<digit>\d)_(?P<speaker>\w+)_(?P<take>\d+)"


def names_in(source):
    splits = source.read().by_name()
    return {split: sorted(r["file"] for r in splits[split]) for split in SPLITS}


@pytest.mark.parametrize("ending", [".wav", ".flac", ".ogg"])
def test_a_recording_comes_with_its_rate_its_folder_and_what_its_name_says(tmp_path, ending):
    save(tmp_path / "left" / f"3_ann_lee_12{ending}", tone(440))
    source = Audio(train="left", path=str(tmp_path), pattern=PATTERN)
    [file] = source.files_of("train")
    [record] = source.parse(file)
    assert {k: v for k, v in record.items() if k != "audio"} == {
        "rate": RATE,
        "file": f"3_ann_lee_12{ending}",
        "folder": "left",
        "digit": "3",
        "speaker": "ann_lee",
        "take": "12",
    }
    assert record.file == tmp_path / "left" / f"3_ann_lee_12{ending}"
    assert record["audio"].dtype == np.float32
    lossy = 0.1 if ending == ".ogg" else 1e-4
    assert np.abs(record["audio"] - tone(440)).max() < lossy


def test_what_valid_and_test_name_is_left_out_of_train(digits):
    source = Audio(
        train="recordings", valid="recordings/*_1.wav", test="recordings/*_0.wav", path=str(digits)
    )
    names = names_in(source)
    assert {name[-5] for name in names["train"]} == {"2", "3"}
    assert {name[-5] for name in names["valid"]} == {"1"}
    assert {name[-5] for name in names["test"]} == {"0"}
    assert sum(map(len, names.values())) == 24
    assert len(source.inputs()) == 24


def test_nobody_is_heard_in_two_splits_where_the_group_is_the_speaker(digits):
    source = Audio(
        train="recordings", valid=0.3, test=0.3, path=str(digits), pattern=PATTERN, group="speaker"
    )
    splits = source.read().by_name()
    speakers = [{record["speaker"] for record in splits[split]} for split in SPLITS]
    assert sorted(map(sorted, speakers)) == [["ann"], ["bo"], ["cy"]]
    again = Audio(
        train="recordings", valid=0.3, test=0.3, path=str(digits), pattern=PATTERN, group="speaker"
    )
    assert names_in(again) == names_in(source)


def test_lists_of_files_part_the_rest_and_noise_is_left_out(tmp_path):
    for name in ("yes/a", "yes/b", "no/a", "no/c", "_background_noise_/rain"):
        save(tmp_path / f"{name}.wav")
    (tmp_path / "validation_list.txt").write_text("yes/a.wav\n")
    (tmp_path / "testing_list.txt").write_text("no/a.wav\r\n\n")
    lists = {"valid": "validation_list.txt", "test": "testing_list.txt"}
    source = Audio(train=".", **lists, path=str(tmp_path), leave_out="_background_noise_/*")
    splits = source.read().by_name()
    found = {s: sorted((r["folder"], r["file"]) for r in splits[s]) for s in SPLITS}
    assert found == {
        "train": [("no", "c.wav"), ("yes", "b.wav")],
        "valid": [("yes", "a.wav")],
        "test": [("no", "a.wav")],
    }
    named = {file.relative_to(tmp_path).as_posix() for file in source.inputs()}
    assert named == {
        "validation_list.txt", "testing_list.txt", "yes/a.wav", "yes/b.wav", "no/a.wav", "no/c.wav",
    }  # fmt: skip


def test_a_listed_file_that_is_missing_is_told_with_its_line(tmp_path):
    save(tmp_path / "yes" / "a.wav")
    (tmp_path / "list.txt").write_text("yes/a.wav\nyes/b.wav\n")
    source = Audio(train="list.txt", valid=0.4, test=0.4, path=str(tmp_path))
    found = list(source.parse(source.files_of("train")[1]))
    missing = tmp_path / "yes" / "b.wav"
    assert [e.problems for e in found] == [
        [f"{tmp_path / 'list.txt'}:2: b.wav: no such file in {missing.parent}; it holds a.wav; "
         "allowed: a sound file; did you mean 'a.wav'?"]
    ]  # fmt: skip


def test_a_name_with_other_slashes_is_told_how_it_is_written_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "yes" / "a.wav")
    with pytest.raises(DataError, match=r"; did you mean 'yes/a\.wav'\?$"):
        Recordings().read(Path("yes\\a.wav"), "list.txt:1")


def test_a_transcript_in_the_name_is_rewritten(tmp_path):
    save(tmp_path / "0_1_1.wav")
    replace = {"words": {"_": " ", "0": "no", "1": "yes"}}
    source = Audio(train="0_1_1.wav", valid="*.wav", test="*.wav", path=str(tmp_path),
                   pattern="(?P<words>[01](_[01])*)", replace=replace)  # fmt: skip
    [record] = source.parse(tmp_path / "0_1_1.wav")
    assert record["words"] == "no yes yes"


def stereo(left, right):
    return np.stack([tone(left), tone(right)], axis=1)


def test_channels_are_averaged_or_one_is_taken(tmp_path):
    save(tmp_path / "a.wav", stereo(440, 880), subtype="FLOAT")

    def heard(channel):
        [record] = Audio(train="a.wav", path=str(tmp_path), channel=channel).parse(
            tmp_path / "a.wav"
        )
        return record if isinstance(record, DataError) else record["audio"]

    assert np.allclose(heard(None), (tone(440) + tone(880)) / 2, atol=1e-6)
    assert np.allclose(heard(1), tone(880), atol=1e-6)
    assert heard(2).problems == [
        f"{tmp_path / 'a.wav'}: has 2 channels, data.source.channel=2; allowed: 0 to 1, or null"
    ]


@pytest.mark.parametrize(("rate", "wanted"), [(16000, 8000), (44100, 8000), (8000, 16000)])
def test_a_tone_stays_a_tone_at_another_rate_and_what_would_fold_is_gone(rate, wanted):
    changed = resampled(tone(440, 0.5, rate).astype(np.float32), rate, wanted)
    assert (len(changed), changed.dtype) == (wanted // 2, np.float32)
    middle = slice(wanted // 10, -wanted // 10)  # the ends ring
    assert np.abs(changed - tone(440, 0.5, wanted))[middle].max() < 5e-3
    if rate > wanted:
        high = resampled(tone(wanted * 0.6, 0.5, rate).astype(np.float32), rate, wanted)
        assert np.abs(high[middle]).max() < 5e-3


def test_several_rates_are_refused_unless_they_are_made_one(tmp_path):
    save(tmp_path / "a.wav", tone(440, 0.2, 8000), 8000)
    save(tmp_path / "b.flac", tone(440, 0.2, 16000), 16000)
    parts = {"train": ".", "valid": 0.4, "test": 0.4, "path": str(tmp_path)}
    source = Audio(**parts)
    found = [next(source.parse(tmp_path / name)) for name in ("a.wav", "b.flac")]
    assert found[0]["rate"] == 8000
    assert found[1].problems == [
        f"{tmp_path / 'b.flac'}: has 16000 samples a second, {tmp_path / 'a.wav'} has 8000; "
        "allowed: data.source.rate=16000 to resample all"
    ]
    source = Audio(**parts, rate=8000)
    sounds = [next(source.parse(tmp_path / name)) for name in ("a.wav", "b.flac")]
    assert [(len(s["audio"]), s["rate"]) for s in sounds] == [(1600, 8000)] * 2


BROKEN = {
    "noise": (b"this is no sound", "cannot be read (Format not recognised); allowed: "
              + ", ".join(ENDINGS) + " as soundfile reads"),
    "empty": (b"", "cannot be read (Format not recognised); allowed: "
              + ", ".join(ENDINGS) + " as soundfile reads"),
    "silent": (np.zeros(0), "holds no samples; allowed: 1 or more"),
    "nan": (np.array([0.0, np.nan, 0.5]), "holds a NaN or infinite sample; allowed: finite ones"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_recording_is_told_in_its_place_and_the_others_are_read(tmp_path, name):
    content, told = BROKEN[name]
    save(tmp_path / "a.wav")
    bad = tmp_path / f"{name}.wav"
    if isinstance(content, bytes):
        bad.write_bytes(content)
    else:
        save(bad, content, subtype="FLOAT")
    save(tmp_path / "b.wav")
    source = Audio(train="*.wav", valid="a.wav", test="b.wav", path=str(tmp_path))
    assert problems_of(source) == [f"{bad}: {told}"]
    source = Audio(train=[f"{name}.wav", "a.wav"], valid=0.4, test=0.4, path=str(tmp_path))
    assert [type(next(source.parse(f))).__name__ for f in source.files_of("train")] == [
        "DataError",
        "PlacedRecord",
    ]


REFUSED = [
    ({"replace": {"word": {"a": "b"}}}, "data.source.replace.word: no such column; "
     "allowed: folder, file"),
    ({"pattern": "(?P<words>.+)", "replace": {"word": {}}}, "data.source.replace.word: no such "
     "column; allowed: words, folder, file; did you mean 'words'?"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "message"), REFUSED)
def test_options_that_cannot_work_are_refused(options, message):
    with pytest.raises(ConfigError) as refused:
        Audio(train="x", **options)
    assert str(refused.value) == message


def test_splits_that_overlap_or_leave_nothing_are_refused(digits):
    both = Audio(
        train="recordings", valid="recordings/*_1.wav", test="recordings/3*.wav", path=str(digits)
    )
    shared = digits / "recordings" / "3_ann_1.wav"
    with pytest.raises(DataError) as refused:
        both.read()
    assert str(refused.value) == (
        f"data.source.test=recordings/3*.wav: {shared} is in valid too; "
        "allowed: a file in one of them"
    )
    with pytest.raises(DataError) as refused:
        Audio(train="recordings", valid=0.1, test="recordings/*.wav", path=str(digits)).read()
    assert str(refused.value) == (
        "data.source.train=recordings: valid and test name all of its files; "
        "allowed: more than theirs"
    )
    (digits / "list.txt").write_text("\n")
    with pytest.raises(DataError) as refused:
        Audio(train="list.txt", path=str(digits)).read()
    assert str(refused.value) == (
        f"{digits / 'list.txt'}: lists no files; allowed: one per line, from its folder on"
    )


@pytest.fixture
def chapters(tmp_path):
    """Two folders as in LibriSpeech: recordings, and a list of their names and transcripts."""
    for chapter in ("11-a", "12-b"):
        folder = tmp_path / chapter
        for number in range(4):
            save(folder / f"{chapter}-{number}.flac", tone(200 + 30 * number))
        said = [f"{chapter}-{number} HELLO {chapter} {number}" for number in range(4)]
        (folder / f"{chapter}.trans.txt").write_text("\n".join(said) + "\n")
    return tmp_path


def transcribed(folder, **options):
    parts = {"path": str(folder), "valid": 0.25, "test": 0.25}
    return WithAudio(
        LabelledLines(train="*/*.trans.txt", **parts), "label", ending=".flac", **options
    )


def test_transcripts_in_lists_find_their_recordings_beside_them(chapters):
    source = transcribed(chapters)
    source.keep_together(["audio"])
    splits = source.read().by_name()
    assert {split: len(list(splits[split])) for split in SPLITS} == {
        "train": 4, "valid": 2, "test": 2,
    }  # fmt: skip
    records = [record for split in SPLITS for record in splits[split]]
    assert sorted(r["text"] for r in records) == sorted(
        f"HELLO {c} {n}" for c in ("11-a", "12-b") for n in range(4)
    )
    for record in records:
        number = int(record["text"][-1])
        assert np.abs(record["audio"] - tone(200 + 30 * number)).max() < 1e-4
        assert (
            record.place
            == f"{chapters / record['label'][:4] / record['label'][:4]}.trans.txt:{number + 1}"
        )
    assert sum(file.suffix == ".flac" for file in source.inputs()) == 8
    assert len(source.inputs()) == 10


def test_a_recording_that_a_table_names_and_that_is_missing_is_told_with_its_line(chapters):
    (chapters / "12-b" / "12-b-2.flac").unlink()
    (chapters / "11-a" / "11-a-1.flac").write_bytes(b"no sound")
    listed = chapters / "11-a" / "11-a.trans.txt"
    assert sorted(problems_of(transcribed(chapters))) == [
        f"{listed}:2: {chapters / '11-a' / '11-a-1.flac'} cannot be read (Format not recognised); "
        f"allowed: {', '.join(ENDINGS)} as soundfile reads",
        f"{chapters / '12-b' / '12-b.trans.txt'}:3: 12-b-2.flac: no such file in "
        f"{chapters / '12-b'}; it holds 12-b-0.flac, 12-b-1.flac, 12-b-3.flac, 12-b.trans.txt; "
        "allowed: a sound file; did you mean '12-b-3.flac'?",
    ]
    assert len(transcribed(chapters).inputs()) == 2 + 7


def test_a_column_that_names_no_file_is_told_with_those_there_are(chapters):
    source = WithAudio(LabelledLines(train="*/*.trans.txt", path=str(chapters)), "labels")
    first = problems_of(source)[0]
    place, _, told = first.partition(": ")
    assert place.endswith(".trans.txt:1")
    assert told == (
        "names no file in data.source.column=labels; allowed: one in label, text; "
        "did you mean 'label'?"
    )


@pytest.mark.realdata
def test_the_real_digits_are_all_read_and_takes_0_are_tested(shared_data):
    source = Audio(train="recordings", valid=0.15, test="recordings/*_[0-4].wav", pattern=PATTERN,
                   path=str(shared_data / "speech_fsdd"), stratify="digit")  # fmt: skip
    splits = {split: list(records) for split, records in source.read().by_name().items()}
    assert {split: len(records) for split, records in splits.items()} == {
        "train": 100, "valid": 20, "test": 40,
    }  # fmt: skip
    assert {r["take"] for r in splits["test"]} == {"0"}
    assert {r["take"] for r in splits["train"]} == {"5", "6", "7"}
    lengths = [len(r["audio"]) / r["rate"] for records in splits.values() for r in records]
    assert (round(min(lengths), 2), round(max(lengths), 2)) == (0.14, 1.31)


@pytest.mark.realdata
def test_the_real_yes_and_no_are_all_read_with_their_eight_words(shared_data):
    replace = {"words": {"_": " ", "0": "no", "1": "yes"}}
    folder = str(shared_data / "speech_yesno" / "waves_yesno")
    source = Audio(train="0_*.wav", valid=0.15, test="1_*.wav", path=folder, replace=replace,
                   pattern="(?P<words>[01](_[01]){7})")  # fmt: skip
    splits = {split: list(records) for split, records in source.read().by_name().items()}
    assert [len(splits[split]) for split in SPLITS] == [20, 3, 14]
    records = [record for records in splits.values() for record in records]
    assert {len(record["words"].split()) for record in records} == {8}
    assert round(sum(len(record["audio"]) / record["rate"] for record in records)) == 227
