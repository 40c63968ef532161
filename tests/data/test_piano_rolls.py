"""Piano rolls: files of every kind, good and broken, and what the field makes of them."""

import json
import pickle
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import savemat

import small_files
from seqpipe.data.base import FieldSpec
from seqpipe.data.fields.rolls import PianoRoll, PianoRollSeries
from seqpipe.data.piano_roll import note_name
from seqpipe.data.sources.music import PianoRolls
from seqpipe.errors import DataError
from small_files import roll_of

C, E, G = (note - 21 for note in (60, 64, 67))


def cell(*pieces):
    """A MATLAB cell array."""
    cells = np.empty((1, len(pieces)), dtype=object)
    cells[0, :] = pieces
    return cells


@pytest.fixture
def mat(tmp_path):
    """rolls.mat with three splits of 2, 1 and 1 pieces of different lengths."""
    pieces = {
        "traindata": cell(roll_of([60], [60, 64]), roll_of([21, 108])),
        "validdata": cell(roll_of([60], [], [67])),
        "testdata": cell(roll_of([64])),
    }
    savemat(tmp_path / "rolls.mat", pieces)
    return tmp_path / "rolls.mat"


def in_mat(folder, **options):
    names = {"train": "rolls.mat/traindata", "valid": "rolls.mat/validdata"}
    return PianoRolls(**{**names, "test": "rolls.mat/testdata", "path": str(folder), **options})


def test_matlab_cells_of_different_length_are_pieces(mat):
    source = in_mat(mat.parent)
    splits = source.read()
    train, valid, test = (list(split) for split in splits.by_name().values())
    assert [len(r["roll"]) for r in (*train, *valid, *test)] == [2, 1, 3, 1]
    assert train[0]["roll"].dtype == np.uint8
    assert np.argwhere(train[0]["roll"]).tolist() == [[0, C], [1, C], [1, E]]
    assert np.argwhere(train[1]["roll"]).tolist() == [[0, 0], [0, 87]]
    assert train[1].place == f"{mat}: piece 2 of traindata"
    assert source.inputs() == [mat]
    assert [r["roll"].tolist() for r in splits.train] == [r["roll"].tolist() for r in train]


def test_matlab_structs_and_matrices_hold_pieces_too(tmp_path):
    held = {"a": {"first": roll_of([60]), "rest": cell(roll_of([64], [64]))}, "b": roll_of([67])}
    savemat(tmp_path / "m.mat", held)
    pieces = PianoRolls(train="m.mat", path=str(tmp_path)).parse(tmp_path / "m.mat")
    assert [np.argwhere(r["roll"]).tolist() for r in pieces] == [
        [[0, C]],
        [[0, E], [1, E]],
        [[0, G]],
    ]


def test_json_holds_the_midi_numbers_of_each_step(tmp_path):
    held = {"train": [[[60, 64], []]], "valid": [[[67]]], "test": [[[60]], [[64]]]}
    (tmp_path / "r.json").write_text(json.dumps(held))
    names = {split: f"r.json/{split}" for split in held}
    splits = PianoRolls(**names, path=str(tmp_path)).read().by_name()
    assert [len(list(split)) for split in splits.values()] == [1, 1, 2]
    (record,) = splits["train"]
    assert np.array_equal(record["roll"], roll_of([60, 64], []))


def test_an_array_of_an_npz_is_a_piece_and_a_share_is_tested(tmp_path):
    pieces = [roll_of([60 + i], [60]) for i in range(8)]
    np.savez(tmp_path / "r.npz", *pieces, twice=pieces[0])
    source = PianoRolls(train="r.npz", valid=0.25, test=0.25, path=str(tmp_path))
    splits = source.read().by_name()
    rolls = {k: {r["roll"].tobytes() for r in split} for k, split in splits.items()}
    assert {k: len(v) for k, v in rolls.items()} == {"train": 4, "valid": 2, "test": 2}
    assert len(set.union(*rolls.values())) == 8  # what stands there twice is in one split


def test_an_array_of_many_pieces_of_one_length_and_all_128_notes_are_taken(tmp_path):
    wide = roll_of([60], [64], width=128, lowest=0)
    np.savez(tmp_path / "r.npz", stacked=np.stack([wide, wide]).astype(bool), one=wide * 1.0)
    found = list(PianoRolls(train="r.npz").parse(tmp_path / "r.npz"))
    assert len(found) == 3
    assert all(np.array_equal(r["roll"], roll_of([60], [64])) for r in found)


BAD_PIECES = [
    (np.zeros((2, 87)), "has shape (2, 87); allowed: one row per step, of 88 columns, 21 and up, "
     "or 128, 0 and up"),
    (np.zeros(88), "has shape (88,); allowed: one row per step, of 88 columns, 21 and up, or 128, "
     "0 and up"),
    (np.full((1, 88), 2), "holds 2; allowed: 0 and 1"),
    (np.full((1, 88), 0.5), "holds 0.5; allowed: 0 and 1"),
    (np.full((1, 88), np.nan), "holds nan; allowed: 0 and 1"),
    (np.full((1, 88), "1"), "holds <U1; allowed: 0 and 1"),
    (np.zeros((0, 88)), "has no steps"),
    (roll_of([20], width=128, lowest=0), "note 20 is no key of a piano; allowed: 21 to 108"),
]  # fmt: skip


@pytest.mark.parametrize(("piece", "problem"), BAD_PIECES)
def test_a_bad_piece_is_named_in_its_place(tmp_path, piece, problem):
    np.savez(tmp_path / "r.npz", good=roll_of([60]), bad=piece, last=roll_of([64]))
    found = list(PianoRolls(train="r.npz").parse(tmp_path / "r.npz"))
    assert len(found) == 3
    assert small_files.problems(found) == [f"{tmp_path / 'r.npz'}: piece 2: {problem}"]


BAD_STEPS = [
    ([[109]], "step 1: note 109 is no key of a piano; allowed: 21 to 108"),
    ([[60], [20]], "step 2: note 20 is no key of a piano; allowed: 21 to 108"),
    ([[60], 61], "step 2 is 61; allowed: a list of MIDI numbers"),
    ([["C4"]], "step 1 is ['C4']; allowed: a list of MIDI numbers"),
    ([[True]], "step 1 is [True]; allowed: a list of MIDI numbers"),
    ([], "has no steps"),
    (5, "is int; allowed: a list of notes for each step"),
]


@pytest.mark.parametrize(("piece", "problem"), BAD_STEPS)
def test_a_bad_step_of_json_is_named_in_its_place(tmp_path, piece, problem):
    file = tmp_path / "r.json"
    file.write_text(json.dumps({"train": [[[60]], piece]}))
    found = list(PianoRolls(train="r.json").parse(file / "train"))
    assert small_files.problems(found) == [f"{file}: piece 2 of train: {problem}"]


parsed = partial(small_files.parsed, PianoRolls)


def test_a_pickle_is_not_read(tmp_path):
    file = tmp_path / "r.npz"
    np.savez(file, train=np.array([roll_of([60]), roll_of([60], [64])], dtype=object))
    with pytest.raises(DataError) as error:
        parsed(file)
    assert str(error.value) == (
        f"{file}: train is pickled or broken; what is pickled may run code, and is not read; "
        "allowed: numpy.savez(file, *pieces), one array (T, 88) per piece"
    )
    file.write_bytes(pickle.dumps([1]))
    with pytest.raises(DataError, match=r"r\.npz: not an \.npz file \("):
        parsed(file)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("r.mat", b"not a matrix at all" * 20, "r.mat: not a MATLAB file ("),
        ("r.mat", b"", "r.mat: not a MATLAB file ("),
        ("r.npz", b"PK\x03\x04 cut off", "r.npz: not an .npz file ("),
        ("r.npz", b"", "r.npz: not an .npz file ("),
        ("r.json", b"[[[60]", "r.json: not JSON ("),
        ("r.json", b"\xff\xfe[", "r.json: not JSON ("),
        ("r.json", b"", "r.json: not JSON ("),
        ("r.json", b'{"train": 3}', "r.json: train is int; allowed: a list of pieces"),
        ("r.json", b"7", "r.json: it is int; allowed: a list of pieces"),
        ("r.json", b"[]", "r.json: it holds no pieces"),
        (
            "r.txt",
            b"x",
            "r.txt: not a file of piano rolls; allowed: .mat, .npz, .json, .mid, .midi",
        ),
    ],
)
def test_a_broken_file_of_rolls_is_named(tmp_path, name, content, message):
    (shown,) = small_files.problems_in(PianoRolls, small_files.write(tmp_path, name, content))
    assert shown.startswith(message) if message.endswith("(") else shown == message


def test_a_file_cut_off_is_named(mat):
    mat.write_bytes(mat.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"rolls\.mat: not a MATLAB file \("):
        parsed(mat)


def test_a_matlab_7_3_file_is_told_apart(tmp_path):
    file = tmp_path / "r.mat"  # what HDF5 files of MATLAB start with, up to their version
    file.write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(400))
    with pytest.raises(DataError) as error:
        parsed(file)
    assert str(error.value) == (
        f"{file}: a MATLAB 7.3 file, which is another format; allowed: save(..., '-v7')"
    )


def test_a_variable_that_is_not_there_names_those_that_are(mat):
    with pytest.raises(DataError) as error:
        list(in_mat(mat.parent, train="rolls.mat/trainData").read().train)
    assert str(error.value) == (
        f"{mat}/trainData: no such variable; it has traindata, validdata, testdata; "
        "did you mean 'traindata'?"
    )
    (mat.parent / "r.json").write_text("[]")
    with pytest.raises(DataError) as error:
        list(PianoRolls(train="r.json").parse(mat.parent / "r.json" / "train"))
    wanted = f"{mat.parent / 'r.json'}/train: no such variable; the file is one list"
    assert str(error.value) == wanted


def test_a_file_of_rolls_that_is_not_there_names_those_that_are(mat):
    with pytest.raises(DataError) as error:
        in_mat(mat.parent, train="roll.mat/traindata").read()
    assert str(error.value) == (
        f"data.source.train=roll.mat: no such file in {mat.parent}; it holds rolls.mat; "
        "allowed: a file, a folder or a pattern; did you mean 'rolls.mat'?"
    )


# --- the field --------------------------------------------------------------------------------

chords = st.lists(st.sets(st.integers(40, 80), max_size=5), min_size=1, max_size=9)


@given(chords)
def test_a_roll_comes_back_by_the_names_of_its_notes(steps):
    field = PianoRoll("r", lowest=40, highest=80)
    encoded = field.encode({"r": roll_of(*steps)})
    assert encoded.shape == (len(steps), field.spec.size)
    assert encoded.dtype == torch.uint8
    names = {note_name(note): note for note in range(128)}
    read = [
        [] if step == "-" else [names[name] for name in step.split()]
        for step in field.decode(encoded).split(" | ")
    ]
    assert [set(step) for step in read] == steps
    assert torch.equal(field.encode({"r": read}), encoded)
    assert torch.equal(field.encode({"r": roll_of(*steps, width=128, lowest=0)}), encoded)


def test_a_roll_is_read_as_names_from_low_to_high():
    field = PianoRoll("r")
    assert field.spec.kind == "roll"
    assert (field.spec.size, field.spec.names[0], field.spec.names[-1]) == (88, "A0", "C8")
    assert field.decode(field.encode({"r": [[67, 60, 64], [], [61]]})) == "C4 E4 G4 | - | C#4"
    assert field.describe({}) == "any of 88 notes a step (A0 to C8)"
    x = PianoRollSeries("r", lowest=60, highest=64)
    assert x.spec == FieldSpec("values", 5, ("C4", "C#4", "D4", "D#4", "E4"))


def test_a_note_out_of_the_chosen_range_is_named_with_its_step():
    with pytest.raises(DataError) as error:
        PianoRoll("r", lowest=60, highest=72).encode({"r": roll_of([60], [64, 40])})
    assert str(error.value) == "r: E2 (40) at step 2 is not one of lowest=60 to highest=72"


@pytest.mark.realdata
def test_both_files_of_the_chorales_hold_the_same_pieces(shared_data):
    folder = str(shared_data / "music_jsb_chorales")
    names = {"train": "traindata", "valid": "validdata", "test": "testdata"}
    of_mat = {split: f"JSB_Chorales.mat/{name}" for split, name in names.items()}
    of_json = {split: f"jsb-chorales-quarter.json/{split}" for split in names}
    splits = [PianoRolls(**of, path=folder).read().by_name() for of in (of_mat, of_json)]
    rolls = [{k: [r["roll"] for r in split] for k, split in found.items()} for found in splits]
    assert {k: len(v) for k, v in rolls[0].items()} == {"train": 229, "valid": 76, "test": 77}
    lengths = [len(roll) for split in rolls[0].values() for roll in split]
    assert (min(lengths), max(lengths)) == (25, 160)
    for split, found in rolls[0].items():
        same = zip(found, rolls[1][split], strict=True)
        assert all(np.array_equal(a, b) for a, b in same)
