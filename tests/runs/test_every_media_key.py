"""Every key of music, sounds, pictures and videos has an effect; as test_every_data_key.py."""

import sys
import types
from pathlib import Path
from typing import Any

import pytest

from media_files import CASES, backbone, write_files

# a case, and keys or their last names -> values to try first
OTHERS: dict[str, dict[str, list[Any]]] = {
    "abc": {"keep": [["M"]], "group": [["number"]], "stratify": ["rhythm"]},
    "piano_rolls": {"highest": [104]},
    "piano_rolls of MATLAB": {"train": ["rolls.mat/other"]},
    "audio_folders": {
        "pattern": ["'(?P<take>\\d+)[cd](?P<who>[ef]).*'"],
        "replace": [{"who": {"c": "x"}}],
        "leave_out": ["a/1*"],
        "group": [["take"]],
        "stratify": ["who"],
        "channel": [0],
    },
    "audio_table": {
        "data.source.source.train": ["more_sounds.csv"],
        "data.source.source.group": [["kind", "path"]],
        "data.source.source.stratify": ["kind"],
        "data.source.source.quote": ["null"],
        "channel": [1],
    },
    "frame_folders": {
        "pattern": ["'[cd](?P<who>[ef])(?P<take>.+)'"],
        "group": [["take"]],
        "stratify": ["who"],
    },
    "frame_folders in a table": {
        "group": [["file"]],
        "stratify": ["label"],
        "pattern": ["'(?P<take>.+)'"],
        "layer": ["'2'"],
        "weights": ["{folder}/weights.pt"],
    },
    "video": {
        "group": [["file"]],
        "stratify": ["folder"],
        "pattern": ["'[cd](?P<who>[ef])(?P<take>.+)'"],
    },
}
ANYWHERE: dict[str, list[Any]] = {
    "encoding": ["latin-1"],
    "min_count": [20],
    "max_length": [1],
    "rate": [4000],
    "f_max": [3000],
    "time_masks": [[2, 20]],
    "channel_mean": [[0.5, 0.5, 0.5]],
    "channel_deviation": [[0.5, 0.5, 0.5]],
}

# key, or its end -> why another value need not change anything that is compared here
EXEMPT = {
    "data.folds": "acts together with a fold; tests/data/test_folds.py",
    "data.fold": "acts together with folds; tests/data/test_folds.py",
    "data.x.frequency_masks": "of LogMel, not of Mfcc; tests/data/test_augmentation.py",
    "data.cache": "where prepared data is kept; tests/data/test_cache.py",
    "data.num_workers": "the same batches from other processes; tests/data/test_batching.py",
    "data.on_error": "acts on bad records only; tests/data/test_tables.py",
    "data.path": "names the data itself",
    "data.x": "null where nothing is read; a field is walked where there is one",
    "data.x.backbone": "names a network; its parts and weights are walked",
    "data.source.source.columns": "which columns are read; those of x and y always are",
    "data.source.source.format": "names what the file's end says; tests/data/test_tables.py",
    "data.source.path": "names the data itself",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small file, or several, for each reader."""
    made = tmp_path_factory.mktemp("every_media_key")
    write_files(made)
    return made


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_another_value_of_every_key_of_media_changes_the_batches(
    folder, inert_data_keys, monkeypatch
):
    found = types.ModuleType("backbones")
    found.__dict__.update(backbone=backbone)
    monkeypatch.setitem(sys.modules, "backbones", found)
    inert = []  # in one test: a key that was seen to act is not walked again in the cases below
    for name, words in CASES.items():
        found = inert_data_keys(name, words, folder, EXEMPT, ANYWHERE | OTHERS.get(name, {}))
        inert += [f"{name}: {one}" for one in found]
    assert not inert, "\n".join(inert)
