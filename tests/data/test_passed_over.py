"""Files of a folder that are of another type are counted, in every source of files."""

import pytest

from seqpipe.data.dataset import SequenceData
from seqpipe.data.fields.labels import Category
from seqpipe.data.fields.text import Text
from seqpipe.data.sources.abc import Abc
from seqpipe.data.sources.audio import Audio
from seqpipe.data.sources.conll import Conll
from seqpipe.data.sources.fasta import Fasta
from seqpipe.data.sources.folders import ClassFolders
from seqpipe.data.sources.midi import MidiEvents
from seqpipe.data.sources.named import Named
from seqpipe.data.sources.stream import Documents
from seqpipe.data.sources.table import Table
from seqpipe.data.sources.video import FrameFolders, Video

SOURCES = {
    "abc": (Abc, "t.abc"),
    "audio": (Audio, "s.wav"),
    "midi": (MidiEvents, "m.mid"),
    "table": (Table, "t.csv"),
    "conll": (Conll, "t.conll"),
    "fasta": (Fasta, "s.fa"),
    "video": (Video, "v.mp4"),
    "frames": (FrameFolders, "clip/1.png"),
}


@pytest.mark.parametrize("name", SOURCES)
def test_files_of_other_types_are_counted(tmp_path, name):
    source, file = SOURCES[name]
    inside = [file, "notes.doc", "deep/more.doc", "deep/LICENSE", ".hidden", ".git/x.doc"]
    for one in inside:
        (tmp_path / "all" / one).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "all" / one).write_text("text,label\na,b\n")
    made = source(train="all", path=str(tmp_path))
    assert len(made.files_of("train")) == 1
    (told,) = made.passed_over()
    assert told.startswith(
        "data.source.train=all: 3 of 4 files are of other types and not read "
        "(2 .doc, 1 without an ending); read are *."
    )


def test_nothing_is_said_of_a_folder_that_is_read_whole(tmp_path):
    (tmp_path / "t.csv").write_text("text,label\na,b\n")
    source = Table(train=".", path=str(tmp_path))
    source.files_of("train")
    assert source.passed_over() == []
    documents = Documents(train=".", path=str(tmp_path))
    documents.files_of("train")
    assert documents.passed_over() == []


def classes(folder):
    for n in range(20):
        file = folder / "ab"[n % 2] / f"{n}.txt"
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"text {n}")
    return ClassFolders(train=".", path=str(folder))


def test_files_beside_class_folders_are_counted_also_when_nothing_is_prepared_again(tmp_path):
    (tmp_path / "set").mkdir()
    kept = {"cache": str(tmp_path / "kept"), "recipe": {"any": "source"}}
    for count in (1, 2):
        (tmp_path / "set" / f"README{count}").write_text("not of a class")
        source = Named(str(tmp_path / "set"), "folders", lambda path: classes(tmp_path / "set"))
        data = SequenceData(source, Category("label"), Text("text"), **kept)
        (note,) = data.notes
        told = f"data.source.train=.: {count} of {20 + count} files lie beside the folders"
        assert note.startswith(told)
