"""Music: from what a model writes to MIDI files that play, and from a file to its continuation."""

import struct
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from seqpipe.commands import sample as command
from seqpipe.commands.dispatch import COMMANDS
from seqpipe.config.command_options import read
from seqpipe.data.music import disjoint, notes_of_roll, roll_of
from seqpipe.data.sources.midi import MidiEvents, MidiRolls, tempo_of
from seqpipe.data.sources.music import PianoRolls
from seqpipe.errors import ConfigError, DataError
from seqpipe.inference.music import write_midi

pytest.importorskip("symusic")
BEAT = SimpleNamespace(steps=4, per="beat")


def varied(data: bytes, at: int) -> tuple[int, int]:
    """A number of variable length, and the place after it."""
    value = 0
    while True:
        value = value << 7 | data[at] & 127
        at += 1
        if data[at - 1] < 128:
            return value, at


def played(path) -> tuple[float, list[tuple[float, float, int, int]]]:
    """A MIDI file read byte by byte: beats a minute, and (start, end, pitch, velocity) in beats.

    Source: Standard MIDI Files 1.0, of the MIDI Manufacturers Association.
    """
    data, at, tempo = path.read_bytes(), 14, 120.0
    assert data[:8] == b"MThd\0\0\0\6"
    _, tracks, division = struct.unpack(">hhh", data[8:14])
    notes, sounding = [], {}
    for _ in range(tracks):
        assert data[at : at + 4] == b"MTrk"
        end = at + 8 + struct.unpack(">i", data[at + 4 : at + 8])[0]
        at, now, status = at + 8, 0, 0
        while at < end:
            wait, at = varied(data, at)
            now += wait
            if data[at] >= 128:
                status, at = data[at], at + 1
            if status == 255:
                size, start = varied(data, at + 1)
                if data[at] == 81:
                    tempo = 60e6 / int.from_bytes(data[start : start + size], "big")
                at = start + size
            elif status >> 4 in (8, 9):
                pitch, velocity, at = data[at], data[at + 1], at + 2
                if status >> 4 == 9 and velocity:
                    assert pitch not in sounding
                    sounding[pitch] = now / division, velocity
                else:
                    first, velocity = sounding.pop(pitch)
                    notes.append((first, now / division, pitch, velocity))
            else:
                assert status >> 4 in (11, 12), "no other events are written"
                at += 1 + (status >> 4 == 11)
    assert not sounding
    return tempo, sorted(notes)


def some_notes(seed: int, steps: int = 40) -> np.ndarray:
    rng = np.random.default_rng(seed)
    starts, lengths = rng.integers(0, steps, 30), rng.integers(1, 9, 30)
    pitches, loud = rng.integers(50, 60, 30), rng.integers(1, 128, 30)
    notes = disjoint(np.stack([starts, starts + lengths, pitches, loud], axis=1))
    notes[:, :2] -= notes[0, 0]
    return notes


@pytest.mark.parametrize("seed", range(5))
def test_the_notes_of_events_are_those_that_the_events_were_made_of(seed):
    notes = some_notes(seed)
    plain, loud = (MidiEvents(train="", velocity_bins=bins, longest_wait=3) for bins in (None, 128))
    found = plain.notes_of(plain._events(notes))
    np.testing.assert_array_equal(found[:, :3], notes[:, :3])
    assert set(found[:, 3].tolist()) == {80}
    np.testing.assert_array_equal(loud.notes_of(loud._events(notes)), notes)


def test_strange_events_make_notes_that_can_be_played():
    source = MidiEvents(train="")
    events = "NOTE_OFF_60 NOTE_ON_60 NOTE_OFF_60 TIME_5 NOTE_ON_62 TIME_2 NOTE_ON_62 TIME_3 <UNK>"
    assert source.notes_of(events.split())[:, :3].tolist() == [[0, 1, 60], [5, 7, 62], [7, 10, 62]]
    assert source.notes_of(["NOTE_ON_60", "NOTE_ON_60"])[:, :3].tolist() == [[0, 1, 60]]
    assert source.notes_of([]).shape == (0, 4)
    events = ["VELOCITY_0", "NOTE_ON_60", "VELOCITY_3", "NOTE_ON_61"]
    notes = MidiEvents(train="", velocity_bins=4).notes_of(events)
    assert notes[:, 3].tolist() == [16, 112]


def test_the_notes_of_a_roll_are_its_runs_of_ones():
    rng = np.random.default_rng(0)
    roll = (rng.random((30, 5)) < 0.6).astype(np.uint8)
    roll[-1] = 1
    notes = notes_of_roll(roll, lowest=40)
    for start, end, pitch, _ in notes.tolist():
        column = roll[:, pitch - 40].tolist()
        assert column[start:end] == [1] * (end - start)
        assert start == 0 or column[start - 1] == 0
        assert end == 30 or column[end] == 0
    assert notes[:, 1].sum() - notes[:, 0].sum() == roll.sum()
    np.testing.assert_array_equal(roll_of(notes)[:, 40:45], roll)


@pytest.mark.parametrize(
    ("steps", "per", "tempo", "beats"),
    [(4, "beat", 90, 0.25), (1, "beat", 120, 1.0), (100, "second", 120, 0.02)],
)
def test_a_midi_file_plays_each_note_when_and_as_long_as_it_should(
    tmp_path, steps, per, tempo, beats
):
    notes = some_notes(1)
    path = write_midi(tmp_path / "a.mid", notes, SimpleNamespace(steps=steps, per=per), tempo)
    found, heard = played(path)
    assert found == pytest.approx(tempo, abs=0.01)
    expected = sorted((s * beats, e * beats, p, v) for s, e, p, v in notes.tolist())
    assert [one[2:] for one in heard] == [one[2:] for one in expected]
    times = [one[:2] for one in heard]
    np.testing.assert_allclose(times, [one[:2] for one in expected], atol=0.51 / 480)
    assert all(end > start for start, end in times)
    source = MidiEvents(train=str(path), steps=steps, per=per)
    np.testing.assert_array_equal(source.notes(path), notes)


def test_a_named_midi_file_is_a_piano_roll_with_a_step_for_each_quarter_note(tmp_path):
    notes = notes_of_roll(roll_of(some_notes(2)))
    path = write_midi(tmp_path / "a.mid", notes, SimpleNamespace(steps=1, per="beat"), 100.0)
    (record,) = PianoRolls(train=str(path)).parse(path)
    np.testing.assert_array_equal(record["roll"], roll_of(notes)[:, 21:109])


@pytest.fixture
def tune(tmp_path):
    """A file of six quarter notes between C4 and G4, at 75 beats a minute, and its roll."""
    roll = np.zeros((6, 88), dtype=np.uint8)
    for step, pitch in enumerate([60, 62, 64, 64, 67, 65]):
        roll[step, pitch - 21] = 1
    path = tmp_path / "tune.mid"
    write_midi(path, notes_of_roll(roll), PianoRolls(train=""), 75.0)
    return path, roll


def test_a_roll_is_continued_from_the_state_after_all_its_steps(made, tune):
    """The next step is drawn from what the network expects after the whole prompt."""
    _, roll = tune
    model = made("piano rolls").model
    y = torch.from_numpy(np.concatenate([roll, roll[:1]])[:, 39:47]).float().unsqueeze(0)
    with torch.inference_mode():
        expected = model.network(None, None, y, torch.tensor([7]))[0, -1].sigmoid()
    drawn = np.stack(model.sample(4000, prompt=roll, max_length=1))
    assert drawn.shape == (4000, 1, 8)
    np.testing.assert_allclose(drawn.mean(axis=(0, 1)), expected, atol=0.035)
    other = np.stack(model.sample(4000, max_length=1)).mean(axis=(0, 1))
    assert np.abs(other - drawn.mean(axis=(0, 1))).max() > 0.05


def test_notes_that_depend_on_each_other_continue_a_roll_as_well(made, tune):
    """The lowest note depends on the steps before alone, so its probability is known."""
    _, roll = tune
    model = made("piano rolls", "architecture.keys=autoregressive").model
    y = torch.from_numpy(np.concatenate([roll, roll[:1]])[:, 39:47]).float().unsqueeze(0)
    with torch.inference_mode():
        expected = float(model.network(None, None, y, torch.tensor([7]))[0, -1, 0].sigmoid())
    drawn = np.stack(model.sample(4000, prompt=roll, max_length=1))
    assert drawn[:, 0, 0].mean() == pytest.approx(expected, abs=0.035)


def test_a_continued_file_holds_the_prompt_and_then_the_new_steps(
    made, run_of, options, tune, tmp_path
):
    path, roll = tune
    given = {"n": 2, "seed": 3, "max_length": 5, "output": "music"}
    drawn = made("piano rolls").model.sample(2, prompt=roll, seed=3, max_length=5)
    asked = options("sample", run=run_of("piano rolls"), prompt=str(path), **given)
    assert len(command.run(asked, tmp_path).text.splitlines()) == 2
    for number, new in enumerate(drawn, 1):
        tempo, notes = played(tmp_path / "music" / f"sample_3_{number}.mid")
        assert tempo == pytest.approx(75, abs=0.01)
        whole = np.zeros((11, 128), dtype=np.uint8)
        whole[:6, 21:109], whole[6:, 60:68] = roll, new
        heard = np.zeros_like(whole)
        for start, end, pitch, _ in notes:
            heard[round(start) : round(end), pitch] = 1
        np.testing.assert_array_equal(heard, whole)
    asked = options(
        "sample", run=run_of("piano rolls"), prompt=str(path), prompt_steps=2, tempo=60.0, **given
    )
    command.run(asked, tmp_path)
    tempo, notes = played(tmp_path / "music" / "sample_3_3.mid")
    assert tempo == pytest.approx(60, abs=0.01)
    assert max(end for _, end, *_ in notes) <= 7
    assert (0, 1, 60, 80) in notes or (0, 2, 60, 80) in notes


@pytest.fixture
def pianist(making, tmp_path):
    """A model of MIDI events with random weights; `sample` takes its folder as a run."""

    def write(folder):
        (folder / "midi").mkdir()
        music = SimpleNamespace(steps=100, per="second")
        for number in range(12):
            write_midi(folder / "midi" / f"{number}.mid", some_notes(number, 200), music, 120.0)

    folder = tmp_path / "pianist"
    folder.mkdir()
    few = ("data.y.min_count=1", "data.source.longest_wait=10", "data.source.velocity_bins=8")
    return making(folder, ("data=midi", "data.path={folder}/midi", *few), write)


def test_events_are_written_as_midi_and_continue_a_file(pianist, options, tmp_path):
    source = MidiEvents(train="", longest_wait=10, velocity_bins=8)
    path = pianist.source / "midi" / "3.mid"
    (record,) = source.parse(path)
    new = pianist.model.sample(1, prompt=record["events"], seed=7, max_length=60)[0].split()
    expected = source.notes_of([*record["events"], *new])
    given = {"run": str(pianist.folder), "seed": 7, "max_length": 60, "output": "m"}
    answer = command.run(options("sample", prompt=str(path), **given), tmp_path)
    end = expected[:, 1].max() / 100
    assert answer.text.endswith(f"{end:.1f} s, {len(expected)} notes")
    tempo, heard = played(tmp_path / "m" / "sample_7_1.mid")
    assert tempo == pytest.approx(120, abs=0.01)
    seconds = [(start / 2 * 100, end / 2 * 100, *rest) for start, end, *rest in heard]
    np.testing.assert_allclose(sorted(seconds), sorted(expected.tolist()), atol=0.06)
    before = source.notes_of(record["events"])
    assert len([one for one in expected if one[0] < before[-1, 0]]) >= len(before) - 1
    text = " ".join(record["events"])
    assert pianist.model.sample(1, prompt=text, seed=7, max_length=60)[0].split() == new
    assert pianist.model.sample(1, seed=7, max_length=60)[0].split() != new


def test_a_step_of_rolls_from_midi_is_as_long_as_in_the_training(making, options, tmp_path):
    def write(folder):
        (folder / "midi").mkdir()
        for number in range(12):
            write_midi(folder / "midi" / f"{number}.mid", some_notes(number), BEAT, 90.0)

    folder = tmp_path / "rolls"
    folder.mkdir()
    left = making(folder, ("data=midi_rolls", "data.path={folder}/midi"), write)
    path = folder / "midi" / "5.mid"
    given = {"run": str(left.folder), "max_length": 8, "output": "m", "prompt": str(path)}
    command.run(options("sample", **given), tmp_path)
    tempo, heard = played(tmp_path / "m" / "sample_0_1.mid")
    assert tempo == pytest.approx(90, abs=0.01)
    (record,) = MidiRolls(train="").parse(path)
    steps = len(record["roll"])
    expected = {tuple(one) for one in notes_of_roll(record["roll"])[:, :3].tolist()}
    found = {(round(4 * start), round(4 * end), pitch) for start, end, pitch, _ in heard}
    assert {one for one in expected if one[1] < steps} <= found
    assert max(end for _, end, _ in found) > steps


WRONG = [
    ("piano rolls", {"prompt": "C4 E4"}, "prompt=C4 E4: is no file of music; allowed: one that en"),
    ("piano rolls", {"prompt": "F/none.mid"}, "prompt=F/none.mid: no such file; did you mean '"),
    ("piano rolls", {"prompt": "F/text.mid"}, "prompt=F/text.mid: not a MIDI file ("),
    ("piano rolls", {"prompt": "F/empty.mid"}, "prompt=F/empty.mid: holds no notes; allowed: "),
    (
        *("piano rolls", {"prompt": "F/high.mid"}),
        "prompt=F/high.mid: roll: G#4 (68) at step 1 is not one of lowest=60 to highest=67",
    ),
    ("piano rolls", {"prompt": "F/folder.mid"}, "prompt=F/folder.mid: is a folder; allowed: a fil"),
    ("piano rolls", {"prompt": "F/two.json"}, "prompt=F/two.json: holds several pieces; allowed: "),
    ("lines", {"prompt": "F/text.mid"}, "prompt=F/text.mid: is a MIDI file, but the model writes"),
    ("lines", {"prompt": "the", "prompt_steps": 2}, "prompt_steps=2: has no effect without a prom"),
    ("lines", {"tempo": 60.0}, "tempo=60.0: is an option for music, but the model writes text;"),
]


@pytest.mark.parametrize(("name", "given", "message"), WRONG)
def test_what_cannot_be_continued_is_refused(run_of, options, tmp_path, name, given, message):
    (tmp_path / "text.mid").write_text("the cat")
    write_midi(tmp_path / "empty.mid", np.zeros((0, 4), dtype=np.int64), BEAT, 90.0)
    write_midi(tmp_path / "high.mid", np.array([[0, 4, 68, 80]]), BEAT, 90.0)
    (tmp_path / "folder.mid").mkdir()
    (tmp_path / "two.json").write_text("[[[60]], [[62]]]")
    if "prompt" in given:
        given = {**given, "prompt": given["prompt"].replace("F/", f"{tmp_path}/")}
    with pytest.raises((ConfigError, DataError)) as caught:
        command.run(options("sample", run=run_of(name), **given), tmp_path)
    (problem,) = caught.value.problems
    assert problem.startswith(message.replace("F/", f"{tmp_path}/"))
    assert not list(tmp_path.glob("sample_*"))


def test_a_text_that_ends_like_a_file_is_a_text_where_no_such_file_is(run_of, options, tmp_path):
    asked = options("sample", run=run_of("lines"), prompt="a.mid", allow_unknown=True, max_length=3)
    assert command.run(asked, tmp_path).text.startswith("a.mid")


def test_time_in_seconds_has_no_tempo(pianist, options, tmp_path):
    with pytest.raises(ConfigError) as caught:
        command.run(options("sample", run=str(pianist.folder), tempo=60.0), tmp_path)
    text = "has no effect, as the model writes time in seconds; allowed: leave it out"
    assert caught.value.problems == [f"tempo=60.0: {text}"]


def test_the_options_of_music_can_be_typed():
    words = ["run=latest", "prompt=a.mid", "prompt_steps=16", "tempo=72.5"]
    typed = read(COMMANDS["sample"].options, words, "sample")
    assert (typed.prompt, typed.prompt_steps, typed.tempo) == ("a.mid", 16, 72.5)


@pytest.mark.parametrize("tempo", ["3.9", "10001"])
def test_a_tempo_that_a_midi_file_cannot_hold_is_refused(tempo):
    with pytest.raises(ConfigError) as caught:
        read(COMMANDS["sample"].options, ["run=latest", f"tempo={tempo}"], "sample")
    allowed = "allowed: a number in [4, 10000] or null"
    assert caught.value.problems == [f"tempo={tempo}: out of range; {allowed}"]


@pytest.mark.parametrize("tempo", [4, 10_000])
def test_the_slowest_and_the_fastest_tempo_are_those_of_the_file(tmp_path, tempo):
    path = write_midi(tmp_path / "a.mid", np.array([[0, 4, 68, 80]]), BEAT, tempo)
    assert tempo_of(path) == pytest.approx(tempo, rel=1e-4)


def test_a_file_of_no_time_at_all_has_no_tempo(tmp_path):
    path = write_midi(tmp_path / "a.mid", np.array([[0, 4, 68, 80]]), BEAT, 120.0)
    written = b"\xff\x51\x03"
    before, found, after = path.read_bytes().partition(written)
    assert found
    path.write_bytes(before + written + bytes(3) + after[3:])
    assert tempo_of(path) is None
