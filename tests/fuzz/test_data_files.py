"""Damaged files of every reader: each is read, or refused with clear messages.

More of them, and other ones each time: make fuzz
"""

import re
import sys
import types
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

import media_files
import reader_files
from mutations import MUTATIONS, Mutation
from reader_files import overrides_of
from seqpipe.build import build_data
from seqpipe.config.compose import compose
from seqpipe.errors import ConfigError, DataError
from time_limits import time_limit

SECONDS = 30  # for a few kilobytes
pytestmark = [  # a library may leave a file open that it could not read
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
WITHOUT_FILES = ("identifiers", "python_tokens", "python_docs")  # they read installed packages
READ_BY = {  # patterns of the files that a case reads, where its overrides name a folder alone
    "parallel": "lines.*",
    "hub": "hub_*.csv",
    "hub with shares": "hub_train.csv",
    "ucr": "GunPoint_*",
    "mnist_pixels": "*ubyte",
    "fasta": "*.fa",
    "fasta with labels": "classes.csv",
    "splice": "splice.data",
    "names": "names.txt",
    "ud_ewt": "*.conllu",
    "celegans": "traingenes.gb",
    "celegans_gff": "traingenes.gff",
    "piano_rolls of MATLAB": "rolls.mat",
    "audio_folders in a list": "sounds.txt",
    "audio_table": "sounds.csv",
    "frame_folders in a table": "clips.csv",
}


class Readers:
    """Readers, and what lies in the files of each.

    Args:
        folder: with the files.
        cases: the overrides of each reader, by its name.
    """

    def __init__(self, folder: Path, cases: Mapping[str, tuple[str, ...]]) -> None:
        self.configurations, self.files = {}, dict[str, list[Path]]()
        for name, words in cases.items():
            overrides = overrides_of(name, words, folder)
            self.configurations[name] = compose(overrides)[0]
            named = [Path(path) for path in re.findall(rf"{folder}/\S+", " ".join(overrides))]
            found = [
                path for one in named for path in ([one] if one.is_file() else one.rglob("*.*"))
            ]
            found += folder.glob(READ_BY[name]) if name in READ_BY else ()
            self.files[name] = sorted(path for path in found if path.is_file())
            assert self.files[name], name
            assert self.problems(name) is None, name

    def problems(self, name: str) -> list[str] | None:
        """Reads all data of a reader; returns why it is refused, or None."""
        with warnings.catch_warnings(), time_limit(SECONDS):
            warnings.simplefilter("ignore")
            try:
                data = build_data(self.configurations[name])
                for split in ("train", "valid", "test"):
                    for _ in data.loader(split):
                        pass
            except (ConfigError, DataError) as error:
                return error.problems
        return None

    def damages(self) -> st.SearchStrategy[tuple[str, Path, list[Mutation]]]:
        """A reader, one of its files, and what happens to it."""
        changes = st.lists(MUTATIONS, min_size=1, max_size=3)
        return st.sampled_from(sorted(self.files)).flatmap(
            lambda name: st.tuples(st.just(name), st.sampled_from(self.files[name]), changes)
        )

    def check(self, name: str, path: Path, mutations: list[Mutation]) -> bool:
        """Read a file that was damaged; return whether it was refused."""
        whole = path.read_bytes()
        try:
            raw = whole
            for mutation in mutations:
                raw = mutation(raw)
            note(f"{name}: {path.name} holds {raw[:3000]!r}")
            path.write_bytes(raw)
            problems = self.problems(name)
        finally:
            path.write_bytes(whole)
        for problem in problems or []:
            assert problem == problem.strip() != "", problem
            assert "Traceback" not in problem
            assert len(problem) < 2000, f"{len(problem)} {problem[:200]}"
        return problems is not None


@pytest.fixture(scope="module")
def text_readers(tmp_path_factory: pytest.TempPathFactory) -> Readers:
    """Of texts, series, images and DNA."""
    folder = tmp_path_factory.mktemp("texts")
    reader_files.write_files(folder)
    cases = {k: words for k, words in reader_files.CASES.items() if k not in WITHOUT_FILES}
    return Readers(folder, cases)


@pytest.fixture(scope="module")
def media_readers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Readers]:
    """Of music, sounds, pictures and videos."""
    folder = tmp_path_factory.mktemp("media")
    media_files.write_files(folder)
    found = types.ModuleType("backbones")
    found.__dict__.update(backbone=media_files.backbone)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "backbones", found)
        yield Readers(folder, media_files.CASES)


def fuzz(readers: Readers, times: int) -> int:
    """Damage files again and again; return how often the data was refused."""
    refused = 0

    @settings(max_examples=times * settings.default.max_examples)
    @given(damage=readers.damages())
    def read(damage: tuple[str, Path, list[Mutation]]) -> None:
        nonlocal refused
        refused += readers.check(*damage)

    read()
    return refused


def test_damaged_texts_series_and_dna_are_read_or_refused(text_readers):
    assert fuzz(text_readers, 10) > 100


def test_damaged_music_sounds_and_pictures_are_read_or_refused(media_readers):
    assert fuzz(media_readers, 5) > 50
