"""MIDI files written byte by byte, as events and as rolls."""

import struct
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import small_files
from seqpipe.data.sources.midi import MidiEvents, MidiRolls
from small_files import roll_of


def quantity(number):
    """A MIDI variable-length quantity."""
    out = [number & 0x7F]
    while number := number >> 7:
        out.append(0x80 | number & 0x7F)
    return bytes(reversed(out))


def track(*events):
    """events: (ticks since the last, bytes)."""
    body = b"".join(quantity(delta) + event for delta, event in events)
    body += b"\x00\xff\x2f\x00"
    return b"MTrk" + struct.pack(">I", len(body)) + body


def midi(*tracks, type_=0, ticks=480):
    header = b"MThd" + struct.pack(">IHHH", 6, type_, len(tracks), ticks)
    return header + b"".join(tracks)


def on(pitch, velocity=64, channel=0):
    return bytes([0x90 | channel, pitch, velocity])


def off(pitch, channel=0):
    return bytes([0x80 | channel, pitch, 0])


TEMPO = b"\xff\x51\x03" + (500_000).to_bytes(3, "big")  # 120 beats a minute
# C4 for a beat, E4 for half a beat from the second on; note ends as note_on of velocity 0
TYPE_0 = midi(
    track((960, TEMPO), (0, on(60)), (480, on(60, 0)), (0, on(64, 100)), (240, on(64, 0)))
)
TYPE_1 = midi(
    track((0, TEMPO)),
    track((960, on(60)), (480, off(60))),
    track((1440, on(64, 100)), (240, off(64))),
    track((0, on(35, channel=9)), (480, off(35, channel=9))),  # drums
    type_=1,
)


@pytest.fixture
def file_of(tmp_path):
    return partial(small_files.write, tmp_path, "tune.mid")


def events(file, **options):
    (record,) = MidiEvents(train="tune.mid", **options).parse(file)
    return record["events"]


@pytest.mark.parametrize("content", [TYPE_0, TYPE_1], ids=["type 0", "type 1"])
def test_both_types_of_midi_file_give_the_same_events_and_rolls(file_of, content):
    file = file_of(content)
    assert events(file) == [
        *("NOTE_ON_60", "TIME_50", "NOTE_OFF_60", "NOTE_ON_64", "TIME_25", "NOTE_OFF_64"),
    ]
    (record,) = MidiRolls(train="tune.mid", steps=2, per="beat").parse(file)
    assert np.array_equal(record["roll"], roll_of([60], [60], [64]))
    (record,) = MidiRolls(train="tune.mid", steps=4, per="second").parse(file)
    assert np.array_equal(record["roll"], roll_of([60], [60], [64]))


def test_a_beat_is_counted_by_the_score_and_a_second_by_the_tempo(file_of):
    slow = b"\xff\x51\x03" + (1_000_000).to_bytes(3, "big")
    file = file_of(midi(track((0, slow), (0, on(60)), (480, off(60)))))
    assert events(file, steps=10) == ["NOTE_ON_60", "TIME_10", "NOTE_OFF_60"]
    assert events(file, steps=12, per="beat") == ["NOTE_ON_60", "TIME_12", "NOTE_OFF_60"]


def test_a_long_wait_takes_several_and_velocities_are_told_where_they_change(file_of):
    notes = [(0, on(60, 10)), (480, off(60)), (1440, on(60, 12)), (0, on(62, 127))]
    file = file_of(midi(track(*notes, (48, off(60)), (0, off(62)))))
    assert events(file, longest_wait=64, velocity_bins=4) == [
        *("VELOCITY_0", "NOTE_ON_60", "TIME_50", "NOTE_OFF_60"),
        *("TIME_64", "TIME_64", "TIME_22"),
        *("NOTE_ON_60", "VELOCITY_3", "NOTE_ON_62", "TIME_5", "NOTE_OFF_60", "NOTE_OFF_62"),
    ]


def test_a_key_struck_again_ends_before_and_two_voices_in_unison_are_one(file_of):
    one = track((0, on(60)), (960, off(60)))
    other = track((0, on(60)), (480, off(60)), (0, on(60)), (960, off(60)))
    assert events(file_of(midi(one, other, type_=1))) == [
        *("NOTE_ON_60", "TIME_50", "NOTE_OFF_60", "NOTE_ON_60", "TIME_100", "NOTE_OFF_60"),
    ]


voices = st.lists(
    st.tuples(st.integers(0, 30), st.integers(1, 9), st.integers(21, 108)), min_size=1, max_size=20
)


@given(voices)
def test_events_tell_the_same_notes_as_the_roll(tmp_path_factory, notes):
    changes = [(start, 1, pitch) for start, _, pitch in notes]
    changes += [(start + length, 0, pitch) for start, length, pitch in notes]
    body, now = [], 0
    for tick, is_on, pitch in sorted(changes):
        body.append((480 * (tick - now), on(pitch) if is_on else off(pitch)))
        now = tick
    file = tmp_path_factory.getbasetemp() / "hypothesis.mid"
    file.write_bytes(midi(track(*body)))
    (record,) = MidiRolls(train="x", steps=1).parse(file)
    sounding, steps = set(), []
    for event in events(file, steps=1, per="beat"):
        kind, _, number = event.rpartition("_")
        if kind == "TIME":
            steps += [sorted(sounding)] * int(number)
        elif kind == "NOTE_ON":
            assert int(number) not in sounding
            sounding.add(int(number))
        else:
            sounding.remove(int(number))
    assert not sounding
    assert np.array_equal(record["roll"], roll_of(*steps))


@pytest.mark.parametrize(
    "content", [b"", b"RIFF but not MIDI at all", TYPE_0[:20], TYPE_0[:40], b"MThd"]
)
def test_a_file_that_is_no_midi_is_named(file_of, content):
    (problem,) = small_files.problems_in(MidiEvents, file_of(content))
    assert problem.startswith("tune.mid: not a MIDI file (")


def test_midi_without_notes_and_notes_without_a_key_are_named(file_of):
    file = file_of(midi(track((0, on(35, channel=9)), (480, off(35, channel=9)))))
    told = "tune.mid: holds no notes; allowed: some, drums do not count"
    assert small_files.problems_in(MidiRolls, file) == [told]
    file = file_of(midi(track((0, on(12)), (480, off(12)))))
    assert events(file) == ["NOTE_ON_12", "TIME_50", "NOTE_OFF_12"]
    told = "tune.mid: note 12 is no key of a piano; allowed: 21 to 108"
    assert small_files.problems_in(MidiRolls, file) == [told]


@pytest.mark.realdata
def test_the_piano_pieces_hold_their_notes(shared_data):
    source = MidiEvents(
        train=".", valid=0.1, test=0.1, path=str(shared_data / "music_midi_giantmidi")
    )
    splits = [list(split) for split in source.read().by_name().values()]
    assert [len(split) for split in splits] == [20, 2, 2]
    on = [sum(e.startswith("NOTE_ON") for e in r["events"]) for s in splits for r in s]
    off = [sum(e.startswith("NOTE_OFF") for e in r["events"]) for s in splits for r in s]
    assert on == off
    assert 0.99 * 36_667 < sum(on) <= 36_667  # some are struck twice within 10 ms
