"""What is prepared from files is kept, mapped, and made anew when anything changes."""

import gzip
import importlib
import json
import os
import sys
import time
from types import ModuleType

import pyarrow as pa
import pytest

from packaged import data_node
from seqpipe.build import recipe_of
from seqpipe.config.paths import conf_dir
from seqpipe.data.base import PlacedRecord
from seqpipe.data.cache import Cache
from seqpipe.data.dataset import SequenceData
from seqpipe.data.fields.labels import Category
from seqpipe.data.fields.text import Text
from seqpipe.data.hashing import code_digests
from seqpipe.data.prepare import ExampleCheck
from seqpipe.data.sources.files import FileSource
from seqpipe.data.sources.named import Named
from seqpipe.data.sources.text_lines import lines
from seqpipe.errors import ConfigError, DataError


class Labelled(FileSource):
    """`label text` lines, counted as they are read."""

    def __init__(self, **options):
        super().__init__(**options)
        self.read_lines = 0

    def parse(self, file):
        for number, line in lines(file, self.encoding):
            self.read_lines += 1
            if isinstance(line, DataError):
                yield line
                continue
            label, _, text = line.partition(" ")
            if not text:
                yield DataError(f"{file}:{number}: no text; allowed: label text")
            else:
                yield PlacedRecord({"label": label, "text": text}, file, number)


@pytest.fixture
def folder(tmp_path):
    """Forty labelled lines, written long ago."""
    file = tmp_path / "all.txt"
    file.write_text("".join(f"{n % 2} {'ab'[n % 2] * (n + 1)}\n" for n in range(40)))
    old = time.time() - 100
    os.utime(file, (old, old))
    return tmp_path


def data_of(folder, source=None, recipe="r", **options):
    source = source or Labelled(train="all.txt", path=str(folder))
    fields = {"y": Category("label"), "x": Text("text")}
    cache = str(folder / "cache")
    made = None if recipe is None else {"is": recipe}
    return SequenceData(source, cache=cache, recipe=made, **fields, **options)


def told(data):
    batches = [b for split in ("train", "valid", "test") for b in data.loader(split)]
    rows = [
        (b.index.tolist(), None if b.x is None else b.x.tolist(), b.y.tolist()) for b in batches
    ]
    return rows, data.spec, data.description, data.digests, data.facts["train"].repeated


def kept(folder):
    return sorted(f.name for f in (folder / "cache").iterdir() if f.is_dir())


def test_a_second_start_reads_no_line_and_gives_the_same(folder):
    first = data_of(folder)
    assert first.source.read_lines > 0
    second = data_of(folder)
    assert second.source.read_lines == 0
    assert told(first) == told(second)
    assert second.x.spec.names == first.x.spec.names
    assert second.y.names == ("0", "1")


def test_what_is_kept_is_the_same_as_what_is_prepared_in_memory(folder):
    mapped = data_of(folder)
    in_memory = SequenceData(
        Labelled(train="all.txt", path=str(folder)), y=Category("label"), x=Text("text")
    )
    assert told(mapped)[0] == told(in_memory)[0]
    assert mapped.digests == in_memory.digests


def test_columns_are_arrow_that_any_reader_opens(folder):
    data_of(folder)
    [name] = kept(folder)
    table = pa.ipc.open_file(folder / "cache" / name / "train.arrow").read_all()
    assert table.num_rows == 32
    assert table.schema.names == ["x", "y", "goes_on"]
    assert {len(row) for row in table.column("y").to_pylist()} == {1}


@pytest.mark.parametrize("change", ["byte", "recipe", "name", "on_error"])
def test_anything_else_is_prepared_anew(folder, change):
    data_of(folder)
    options, name = {}, "all.txt"
    if change == "byte":
        (folder / "all.txt").write_text((folder / "all.txt").read_text().replace("1 b", "1 c", 1))
    elif change == "name":
        name = "other.txt"
        (folder / "all.txt").rename(folder / name)
    elif change == "recipe":
        options["recipe"] = "other"
    else:
        options["on_error"] = "skip"
    again = data_of(folder, Labelled(train=name, path=str(folder)), **options)
    assert again.source.read_lines > 0
    assert len(kept(folder)) == 2


def test_a_file_that_moved_with_its_folder_is_known(folder):
    data_of(folder)
    (folder / "there").mkdir()
    (folder / "all.txt").rename(folder / "there" / "all.txt")
    moved = data_of(folder, Labelled(train="all.txt", path=str(folder / "there")))
    assert moved.source.read_lines == 0


def test_a_file_that_is_the_same_is_not_hashed_again(folder, monkeypatch):
    monkeypatch.setattr("seqpipe.data.cache._YOUNG", -1)
    data_of(folder)
    monkeypatch.setattr("seqpipe.data.cache.sha256_of", lambda file: pytest.fail("read again"))
    assert data_of(folder).source.read_lines == 0


def test_a_file_that_changed_just_now_is_not_trusted(folder):
    text = (folder / "all.txt").read_text()
    (folder / "all.txt").write_text(text)
    data_of(folder)
    status = (folder / "all.txt").stat()
    (folder / "all.txt").write_text(text.replace("0 a\n", "0 c\n", 1))
    os.utime(folder / "all.txt", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert data_of(folder).source.read_lines > 0


def test_a_file_that_changed_under_its_old_time_is_read_again(folder, monkeypatch):
    monkeypatch.setattr("seqpipe.data.cache._YOUNG", -1)
    data_of(folder)
    status, text = (folder / "all.txt").stat(), (folder / "all.txt").read_text()
    time.sleep(0.02)  # the clock of the file system is coarse
    (folder / "all.txt").write_text(text.replace("0 a\n", "0 c\n", 1))
    os.utime(folder / "all.txt", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert data_of(folder).source.read_lines > 0


def leaves(node, at=()):
    """Every value of a configuration, with its place."""
    if isinstance(node, dict) and node:
        for key, value in node.items():
            yield from leaves(value, (*at, key))
    else:
        yield at, node


def with_other(node, at):
    """The configuration with another value at one place."""
    if not at:
        return "other" if node != "other" else "another"
    return {**node, at[0]: with_other(node[at[0]], at[1:])}


OPTIONS = sorted(file.stem for file in (conf_dir() / "data").glob("*.yaml"))


@pytest.mark.parametrize("name", OPTIONS)
def test_no_option_of_source_and_fields_finds_what_another_value_made(folder, name):
    """Each key but where files lie; what holds no files is kept in memory."""
    written = data_node(name)
    cache, files = Cache(folder / "cache"), [folder / "all.txt"]
    before = cache.key(recipe_of(written), files)
    walked = 0
    for at, value in leaves({name: written[name] for name in ("source", "x", "y")}):
        same = cache.key(recipe_of(with_other(written, at)), files) == before
        assert same == (at[0] == "source" and at[-1] == "path"), (at, value)
        walked += 1
    assert walked > 3


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"features": {"CDS": "a", "exon": "b"}}, {"features": {"exon": "b", "CDS": "a"}}),
        ({"columns": {"path": 0}}, {"columns": {"path": 1}}),
        ({"replace": {"a": {"b": "c", "c": "d"}}}, {"replace": {"a": {"c": "d", "b": "c"}}}),
        ({"steps": 1}, {"steps": True}),
        ({"classes": ["a", "b"]}, {"classes": ["b", "a"]}),
    ],
)
def test_the_order_of_a_mapping_and_a_column_called_path_count(folder, one, other):
    def key(options):
        source = {"_target_": "a.B", "path": "x", **options}
        written = {"source": source, "x": None, "y": {"_target_": "a.C", "column": "label"}}
        return Cache(folder / "cache").key(recipe_of(written), [folder / "all.txt"])

    assert key(one) != key(other)
    assert key(one) == key({**one, "path": "elsewhere"})


RULES = {
    "short": ExampleCheck("short", lambda spec: lambda x, y: "long" if len(y) > 35 else None),
    "shorter": ExampleCheck("shorter", lambda spec: lambda x, y: "long" if len(y) > 31 else None),
}


def written_of(folder, recipe="r", **options):
    """The texts alone, to be written."""
    source = Labelled(train="all.txt", path=str(folder))
    made = None if recipe is None else {"is": recipe}
    return SequenceData(source, Text("text"), cache=str(folder / "cache"), recipe=made, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"max_length": 31},
        {"max_length": 31, "keep": "last"},
        {"max_length": 31, "longer": "drop"},
        {"max_length": 32, "longer": "drop"},
        {"on_error": "skip"},
        {"on_error": "skip", "check": RULES["short"]},
        {"on_error": "skip", "check": RULES["shorter"]},
    ],
)
def test_an_option_of_preparing_gives_with_what_was_kept_what_it_gives_without(folder, options):
    """Whatever the folder holds of other options."""
    written_of(folder)
    for others in ({"max_length": 31}, {"on_error": "skip"}, {"max_length": 35, "longer": "drop"}):
        written_of(folder, **others)
    written_of(folder, on_error="skip", check=RULES["short"])
    assert told(written_of(folder, **options)) == told(written_of(folder, None, **options))


def test_a_module_beside_that_of_a_source_counts(folder, monkeypatch):
    monkeypatch.syspath_prepend(folder / "code")
    (folder / "code").mkdir()
    (folder / "code" / "own_helper.py").write_text("SIGN = '+'\n")
    (folder / "code" / "own_source.py").write_text(
        "from own_helper import SIGN\nclass Own:\n    pass\n"
    )
    own = importlib.import_module("own_source").Own
    before = code_digests(own)
    assert code_digests(own) == before
    library = folder / "code" / ".venv" / "site-packages"
    library.mkdir(parents=True)
    (library / "some_library.py").write_text("")
    (folder / "code" / "train_own.py").write_text("")
    monkeypatch.syspath_prepend(library)
    importlib.import_module("some_library")
    script = ModuleType("__main__")
    script.__file__ = str(folder / "code" / "train_own.py")
    monkeypatch.setitem(sys.modules, "__main__", script)
    assert code_digests(own) == before, "of libraries the version counts, and scripts only use it"
    (folder / "code" / "own_helper.py").write_text("SIGN = '-'\n")
    assert code_digests(own) != before


def test_a_warning_about_files_beside_is_not_an_old_one(folder):
    (folder / "all.txt").rename(folder / "train.txt")
    assert data_of(folder, Labelled(train="train.txt", path=str(folder))).notes == []
    (folder / "test.txt").write_text("0 a\n")
    (note,) = data_of(folder, Labelled(train="train.txt", path=str(folder))).notes
    assert "test.txt beside it is not read" in note
    (folder / "test.txt").unlink()
    assert data_of(folder, Labelled(train="train.txt", path=str(folder))).notes == []


class Interrupted(Labelled):
    def parse(self, file):
        for number, found in enumerate(super().parse(file)):
            if self.read_lines > 100 and number == 5:
                raise KeyboardInterrupt
            yield found


def test_an_interruption_leaves_nothing_half_written(folder):
    with pytest.raises(KeyboardInterrupt):
        data_of(folder, Interrupted(train="all.txt", path=str(folder)))
    assert kept(folder) == []
    assert data_of(folder).sizes == {"train": 32, "valid": 4, "test": 4}


def test_what_a_killed_process_left_is_cleared_away(folder):
    data_of(folder)
    [name] = kept(folder)
    (folder / "cache" / name).rename(folder / "cache" / f"{name}.tmp1")
    (folder / "cache" / f"{name}.tmp1" / "prepared.json").unlink()
    data_of(folder)
    assert kept(folder) == [name]


def test_bad_records_are_told_by_file_and_line_and_nothing_is_kept(folder):
    with (folder / "all.txt").open("ab") as file:
        file.write(b"1\n0 caf\xe9\n2 once\n")
    with pytest.raises(DataError) as caught:
        data_of(folder)
    assert caught.value.problems == [
        f"{folder}/all.txt:41: no text; allowed: label text",
        f"{folder}/all.txt:42: byte 0xe9 at column 6 is not utf-8; allowed: "
        "data.source.encoding=latin-1, cp1252, ... as the file was written",
    ]
    assert kept(folder) == []


def test_bad_records_are_left_out_and_counted_where_that_was_asked(folder):
    with (folder / "all.txt").open("ab") as file:
        file.write(b"1\n0 caf\xe9\n")
    for _ in range(2):  # prepared, and kept
        data = data_of(folder, on_error="skip")
        assert sum(data.sizes.values()) == 40
        assert data.facts["train"].skipped == 2
        assert data.facts["train"].problems[0].startswith(f"{folder}/all.txt:41: no text")
        assert data.description.endswith("; 2 bad records left out")


def test_a_label_that_training_never_had_is_bad_in_test(folder):
    (folder / "test.txt").write_text("0 a\n7 b\n")
    source = Labelled(train="all.txt", test="test.txt", path=str(folder))
    with pytest.raises(DataError) as caught:
        data_of(folder, source)
    assert caught.value.problems == [
        f"{folder}/test.txt:2: label='7': not a class of the training split; it has 0, 1"
    ]


def test_the_same_fault_in_many_records_is_told_once_with_their_number(folder):
    with pytest.raises(DataError) as caught:
        SequenceData(Labelled(train="all.txt", path=str(folder)), Category("lable"), Text("text"))
    assert str(caught.value) == (
        f"{folder}/all.txt:1: column=lable: not in the record; it has label, text; "
        "did you mean 'label'? (and in 31 more)"
    )


def test_where_nothing_can_be_read_that_is_told_rather_than_that_shares_are_empty(folder):
    (folder / "all.txt").write_text("lonely\n" * 50)
    with pytest.raises(DataError) as caught:
        data_of(folder)
    assert len(caught.value.problems) == 10
    assert caught.value.problems[9] == f"{folder}/all.txt:10: no text; allowed: label text"


def test_prepared_data_holds_no_pickle(folder):
    data_of(folder)
    [name] = kept(folder)
    json.loads((folder / "cache" / name / "prepared.json").read_text())
    raw = (folder / "cache" / name / "arrays.npz").read_bytes()
    assert b"pickle" not in raw


def test_the_code_of_a_source_inside_another_counts(folder, monkeypatch):
    seen = []
    monkeypatch.setattr("seqpipe.data.dataset.code_digests", lambda part: seen.append(part) or [])
    source = Named(str(folder), "all.txt", lambda path: Labelled(train="all.txt", path=path))
    data = data_of(folder, source)
    assert seen == [Named, Labelled, Text, Category] or seen == [Named, Labelled, Category, Text]
    assert data.description.startswith("Labelled: train 32")


def test_a_file_that_a_field_reads_counts(folder):
    vectors = folder / "vectors.txt"
    vectors.write_text("aaa 1 2\na 3 4\n")

    def widths():
        source = Labelled(train="all.txt", path=str(folder))
        x = Text("text", by="tokens", min_count=1, vectors=str(vectors))
        cache = str(folder / "cache")
        data = SequenceData(source, Category("label"), x, cache=cache, recipe={"is": "r"})
        return data.spec.x.vectors.shape[1], source.read_lines > 0

    assert widths() == (2, True)
    assert widths() == (2, False)
    vectors.write_text("aaa 1 2 3\na 3 4 5\n")
    assert widths() == (3, True)


def test_a_damaged_cache_is_made_again(folder):
    first = told(data_of(folder))
    [name] = kept(folder)
    (folder / "cache" / name / "train.arrow").unlink()
    assert told(data_of(folder)) == first
    (folder / "cache" / "files.json").write_text('{"half')
    assert told(data_of(folder)) == first


@pytest.mark.parametrize("cache", ["all.txt", "all.txt/below"])
def test_a_cache_that_cannot_be_written_is_refused(folder, cache):
    with pytest.raises(ConfigError) as caught:
        Cache(folder / cache)
    assert str(caught.value).startswith(f"data.cache={folder}/{cache}: cannot be written (")


def test_a_file_that_grows_while_it_is_read_is_refused(folder):
    class Growing(Labelled):
        def parse(self, file):
            yield from super().parse(file)
            with file.open("a") as opened:
                opened.write("0 more\n")

    with pytest.raises(DataError) as caught:
        data_of(folder, Growing(train="all.txt", path=str(folder)))
    assert str(caught.value) == (
        f"{folder}/all.txt: changed while it was read; allowed: once it is finished"
    )


def test_hidden_files_and_folders_are_nobodys_data(folder):
    for hidden in (".git/all.txt", "sub/.ipynb_checkpoints/all.txt", ".hidden.txt"):
        (folder / hidden).parent.mkdir(parents=True, exist_ok=True)
        (folder / hidden).write_text("0 hidden\n")
    source = Labelled(train=".", path=str(folder))
    assert source.files_of("train") == [folder / "all.txt"]


def test_a_pattern_may_be_absolute(folder):
    assert Labelled(train=f"{folder}/a*.txt").files_of("train") == [folder / "all.txt"]


def test_a_name_in_capitals_is_packed_too(folder):
    (folder / "A.TXT.GZ").write_bytes(gzip.compress(b"0 packed\n"))
    source = Labelled(train="A.TXT.GZ", path=str(folder))
    assert [r["text"] for r in source.parse(folder / "A.TXT.GZ")] == ["packed"]
