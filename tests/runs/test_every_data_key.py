"""Every key of every kind of data has an effect: another value changes the batches, or is refused.

As test_every_key.py for the whole configuration; here for each reader, on little files that hold
what its options act on: blank lines, two writings of a tune, gaps in time, ... Music, sounds and
pictures are in test_every_media_key.py.
"""

from pathlib import Path
from typing import Any

import pytest

from reader_files import CASES, write_files

# a case, and keys or their last names -> values to try first
OTHERS: dict[str, dict[str, list[Any]]] = {
    "labelled_lines": {"data.x.column": ["label"], "group": [["text", "label"]], "prefix": ["l"]},
    "class_folders": {"group": [["text", "label"]], "classes": [["a", "b"]], "stratify": ["null"]},
    "documents": {"start": ["word"], "piece": [12]},
    "lines by subwords": {"max_vocabulary": [264]},
    "table of Parquet": {"group": [["text", "label"]]},
    "parallel": {"data.train": ["more.*"], "group": [["de", "en"]], "languages": [["en", "de"]]},
    "hub": {
        "train": ["hub_more.csv"],
        "valid": ["hub_more.csv"],
        "test": ["hub_more.csv"],
        "columns": [{"text": "text", "kind": "label"}],
    },
    "hub with shares": {"group": [["kind"], ["text", "label"]], "stratify": ["kind"]},
    "series_csv": {
        "columns": [["x1", "x2"]],
        "label": ["x2"],
        "keep": [["kind", "x1", "x2"]],
        "group": [["label", "kind"]],
        "stratify": ["label"],
        "names": ["{folder}/names.txt"],
    },
    "long_csv": {
        "features": [["other"]],
        "time": ["other"],
        "group": [["id"]],
        "stratify": ["label"],
    },
    "long_csv of tags": {"tags": ["label"]},
    "long_csv of targets": {"targets": [["value"]]},
    "npz": {"x": ["W"], "y": ["Z"], "lengths": ["L"], "group": [["series", "label"]]},
    "forecast": {"values": [["other", "value"]], "targets": [["value"]], "id": ["id"]},
    "ucr": {"stratify": ["null"]},
    "fasta": {
        "classes": [{"a": "one", "b": "two"}],
        "header": ["'s(.)'"],
        "train": [["b.fa", "a.fa"]],
        "stratify": ["null"],
        "group": [["sequence"]],
        "labels": ["classes.csv"],
    },
    "fasta with labels": {
        "labels": ["others.csv"],
        "label_column": ["other"],
        "group": [["id"]],
        "stratify": ["null"],
    },
    "splice": {"stratify": ["null"], "group": [["label", "sequence"]]},
    "ud_ewt": {
        "data.source.local.columns.tokens": ["lemma"],
        "data.source.local.columns.tags": ["xpos"],
    },
    "celegans": {"features": [{"gene": "coding"}], "between": ["inner"], "background": ["other"]},
}
ANYWHERE: dict[str, list[Any]] = {
    "encoding": ["latin-1"],
    "min_count": [20],
    "max_length": [1],
    "horizon": [2],
    "reference": [[0]],
}

# key, or its end -> why another value need not change anything that is compared here
EXEMPT = {
    "data.folds": "acts together with a fold; tests/data/test_folds.py",
    "data.fold": "acts together with folds; tests/data/test_folds.py",
    "data.x.time_warp": "series of two steps are not warped; tests/data/test_augmentation.py",
    "data.cache": "where prepared data is kept; tests/data/test_cache.py",
    "data.num_workers": "the same batches from other processes; tests/data/test_batching.py",
    "data.on_error": "acts on bad records only; tests/data/test_tables.py",
    "data.path": "names the data itself",
    "data.x": "null where nothing is read; a field is walked where there is one",
    "data.source.columns": "which columns are read; those of x and y always are",
    "data.source.format": "names what the file's end says; tests/data/test_tables.py",
    "data.source.names": "of a set that holds the names of its classes; tests/data/test_hub.py",
    "data.source.streaming": "the same records, of which no copy is kept; tests/data/test_hub.py",
    "data.source.hub": "read where no folder is named; tests/data/test_named.py",
    "data.source.path": "names the data itself",
    "data.source.default_folder": "names the data itself; tests/runs/test_default_folder.py",
    "data.source.get": "what is said where the files are missing; tests/data/test_named.py",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small file, or several, for each reader."""
    made = tmp_path_factory.mktemp("every_data_key")
    write_files(made)
    return made


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_another_value_of_every_key_of_data_changes_the_batches(folder, inert_data_keys):
    inert = []  # in one test: a key that was seen to act is not walked again in the cases below
    for name, words in CASES.items():
        found = inert_data_keys(name, words, folder, EXEMPT, ANYWHERE | OTHERS.get(name, {}))
        inert += [f"{name}: {one}" for one in found]
    assert not inert, "\n".join(inert)
