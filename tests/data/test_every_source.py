"""Rules that hold for every source of the package: arguments, bounds, shares, missing files."""

import importlib
import inspect
import pkgutil
import re
import sys
import typing
from dataclasses import MISSING, fields, is_dataclass

import pytest

from seqpipe.bounds import bounds_of
from seqpipe.data import sources
from seqpipe.data.base import SPLITS, Source
from seqpipe.data.sources.argument_checks import MissingFiles, check_use
from seqpipe.data.sources.audio import Audio
from seqpipe.data.sources.digits import Digits
from seqpipe.data.sources.files import FileSource
from seqpipe.data.sources.hub_documents import HubDocuments
from seqpipe.data.sources.idx import Mnist
from seqpipe.data.sources.midi import MidiRolls
from seqpipe.data.sources.named_files import NamedFiles
from seqpipe.data.sources.table import Table
from seqpipe.data.sources.video import FrameFolders, Video
from seqpipe.errors import ConfigError
from seqpipe.rules import Problem

MODULES = [importlib.import_module(f"{sources.__name__}.{module.name}")
           for module in pkgutil.iter_modules(sources.__path__)]  # fmt: skip
EVERY = sorted(
    (
        made
        for module in MODULES
        for name, made in vars(module).items()
        if inspect.isclass(made) and made.__module__ == module.__name__
        if issubclass(made, Source) and not inspect.isabstract(made) and name[0] != "_"
    ),
    key=lambda made: made.__name__,
)
OF_FILES = [made for made in EVERY if issubclass(made, FileSource)]
NAMED = [made for made in OF_FILES if made not in (HubDocuments, Mnist)]  # by `train`
SHARED = [
    made
    for made in EVERY
    if is_dataclass(made)
    if any(f.name == "test" and f.init and isinstance(f.default, float) for f in fields(made))
]
NEEDED = {str: "x", int: 10, list[str]: ["x", "y"], Source: Digits()}
WRONG = (-5, 0, 1, 2, 129, 1.5, "no such choice")


def required(made):
    """The least that a source can be made of."""
    needed = [f for f in fields(made) if f.init and f.default is MISSING]
    types = {f.name: typing.get_type_hints(made)[f.name] for f in needed}
    return {name: NEEDED.get(type_, "x.*") for name, type_ in types.items()}


def by_name(made):
    return made.__name__


def test_the_sources_are_found():
    assert len(OF_FILES) > 20
    assert len(EVERY) > len(OF_FILES) + 5


@pytest.mark.parametrize("made", OF_FILES, ids=by_name)
def test_a_source_of_files_is_made_by_keywords(made):
    parameters = list(inspect.signature(made).parameters.values())
    assert {parameter.kind for parameter in parameters} == {inspect.Parameter.KEYWORD_ONLY}
    assert "valid" in {parameter.name for parameter in parameters}


BOUNDED = [
    (made, f.name)
    for made in EVERY
    if is_dataclass(made)
    for f in fields(made)
    if f.init and f.name in bounds_of(made)
]


@pytest.mark.parametrize(("made", "name"), BOUNDED, ids=lambda one: getattr(one, "__name__", one))
def test_a_value_outside_its_bounds_is_refused_by_its_rule(made, name):
    rule = bounds_of(made)[name]
    value = next(value for value in WRONG if not rule.accepts(value))
    with pytest.raises(ConfigError) as refused:
        made(**{**required(made), name: value})
    expected = str(Problem(f"data.source.{name}", value, rule.fault(value)))
    assert refused.value.problems == [expected]


@pytest.mark.parametrize("made", SHARED, ids=by_name)
def test_shares_that_leave_nothing_to_train_on_are_refused(made):
    with pytest.raises(ConfigError) as refused:
        made(**required(made), valid=0.6, test=0.4)
    assert str(refused.value) == (
        "data.source.test=0.4: leaves nothing to train on, with data.source.valid=0.6; "
        "allowed: shares that together are less than 1"
    )
    for share in (0.0, 1.5):
        with pytest.raises(ConfigError) as refused:
            made(**required(made), valid=share)
        assert str(refused.value).startswith(
            f"data.source.valid={share}: out of range; "
            "allowed: a number in (0, 1) (a share of the data)"
        )


PATTERNS = [
    ("(?P<a", "not a regular expression (missing >, unterminated name at position 4); "
     r"allowed: as (?P<word>\w+)_(?P<take>\d+)"),
    (r"\d+", r"has no named group; allowed: as (?P<word>\w+)_(?P<take>\d+)"),
    ("(?P<file>.+)", "file is a column of every record; allowed: another name"),
]  # fmt: skip


@pytest.mark.parametrize("made", [m for m in OF_FILES if issubclass(m, NamedFiles)], ids=by_name)
@pytest.mark.parametrize(("pattern", "message"), PATTERNS)
def test_a_pattern_of_names_that_cannot_work_is_refused(made, pattern, message):
    with pytest.raises(ConfigError) as refused:
        made(**required(made), pattern=pattern)
    assert str(refused.value) == f"data.source.pattern={pattern}: {message}"


@pytest.mark.parametrize("made", OF_FILES, ids=by_name)
def test_an_unknown_encoding_is_refused_where_text_is_read(made):
    if "encoding" in inspect.signature(made).parameters:
        with pytest.raises(ConfigError) as refused:
            made(**required(made), encoding="utf8x")
        assert str(refused.value) == (
            "data.source.encoding=utf8x: no such encoding; "
            "allowed: utf-8, latin-1, cp1252, utf-16 and others that Python knows"
        )


@pytest.mark.parametrize("made", NAMED, ids=by_name)
def test_a_missing_file_is_refused_with_what_lies_beside_it(made, tmp_path):
    (tmp_path / "files.x").mkdir()
    named = dict.fromkeys(SPLITS, "files*" if "languages" in required(made) else "filez.x")
    with pytest.raises(MissingFiles) as refused:
        made(**{**required(made), **named}, path=str(tmp_path)).read()
    kinds = "no such (file|folder)"
    pattern = rf"data.source.train=file\S+: {kinds} in {tmp_path}; it holds files.x; allowed: a f"
    assert re.match(pattern, refused.value.problems[0])


IDLE = [
    (Table, ["a.parquet"], {"encoding": "latin-1"}, "Parquet says itself how its text is written"),
    (Table, ["a.json", "b.parquet"], {"quote": None},
     "is of csv and tsv, not of jsonl and parquet"),
    (Table, ["a.jsonl"], {"delimiter": ";"}, "is of csv and tsv, not of jsonl"),
    (Table, ["a.ndjson"], {"header": ["file"]}, "is of csv and tsv, not of jsonl"),
    (Audio, ["a.wav"], {"encoding": "latin-1"}, "no list of sound files is read"),
    (Video, ["a.mp4"], {"encoding": "latin-1"}, "no table of clips is read"),
    (FrameFolders, ["a/1.png"], {"encoding": "latin-1"}, "no table of clips is read"),
]  # fmt: skip
TEXTS = {Audio: ("list.txt", "a.wav"), Video: ("list.csv", "file\na.mp4\n")}


@pytest.mark.parametrize(("made", "names", "option", "why"), IDLE)
def test_an_option_of_text_that_no_file_makes_use_of_is_refused(made, names, option, why, tmp_path):
    text, content = TEXTS.get(made, ("list.csv", "file\na\n"))
    for name in (*names, text):
        (tmp_path / "all" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "all" / name).write_text(content)
    binary = [f"all/{name}" for name in names]
    check_use(made(train=[*binary, f"all/{text}"], path=str(tmp_path), **option))
    ((name, value),) = option.items()
    with pytest.raises(ConfigError) as refused:
        made(train=binary, path=str(tmp_path), **option).read()
    usual = {"encoding": "utf-8", "header": "true", "quote": '"', "delimiter": "null"}[name]
    text = f"{why}; allowed: {usual}"
    assert refused.value.problems == [str(Problem(f"data.source.{name}", value, text))]


LIBRARIES = [
    ("av", lambda: Video(train="x"), "data.source=Video", "av>=13"),
    ("soundfile", lambda: Audio(train="x"), "data.source=Audio", "soundfile>=0.12"),
    ("symusic", lambda: MidiRolls(train="x"), "data.source=MidiRolls", "symusic>=0.5"),
]


@pytest.mark.parametrize(("library", "make", "key", "version"), LIBRARIES)
def test_a_library_that_is_not_installed_is_named_with_the_way_to_install_it(
    monkeypatch, library, make, key, version
):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ConfigError) as refused:
        make()
    assert str(refused.value) == (
        f'{key}: needs {library}, which is not installed; allowed: pip install "{version}"'
    )
