"""A model of somebody else's, in a run folder, exported, or logged for MLflow; and its cache."""

import contextlib
import hashlib
import json
import shutil
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import seqpipe
from seqpipe.commands.dispatch import call
from seqpipe.data.cache import Cache
from seqpipe.errors import ConfigError
from seqpipe.inference import model_format

COMMANDS = {
    "predict": ("input=mine.jsonl",),
    "translate": ("text=a",),
    "sample": (),
    "score": ("text=a",),
    "evaluate": ("input=mine.jsonl",),
    "export": ("format=onnx", "output=x.onnx"),
    "export, folder": ("format=safetensors", "output=x"),
    "serve": ("port=0",),
}


@pytest.fixture(params=["run", "exported"])
def place(request, theirs, work) -> tuple[str, Path]:
    """What `run=` is, and where the model's files are."""
    kept = theirs / "model" / model_format.LOGGED
    if request.param == "run":
        return "theirs", kept
    return "exported", Path(shutil.copytree(kept, work / "exported"))


def sign(folder: Path) -> None:
    """Renews the hashes: who changed a file can do that, too."""
    about = json.loads((folder / model_format.ABOUT).read_text())
    about["sha256"] = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in model_format.FILES
    }
    (folder / model_format.ABOUT).write_text(json.dumps(about))


def pickled(name):
    return lambda folder, canary, evil: torch.save({"x": evil}, folder / name)


def objects(folder, canary, evil):
    np.savez(folder / "fields.npz", x=np.array([evil], dtype=object))


def packed_arrays(folder, canary, evil):
    np.savez_compressed(folder / "fields.npz", x=np.zeros(2**20))


def absurd_array(folder, canary, evil):
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }\n"
    with zipfile.ZipFile(folder / "fields.npz", "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)


def absurd_header(folder, canary, evil):
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 2**62) + b"{}")


def absurd_tensor(folder, canary, evil):
    header = json.dumps({"x": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4]}}).encode()
    content = struct.pack("<Q", len(header)) + header + b"\0\0\0\0"
    (folder / "model.safetensors").write_bytes(content)


def nested_json(folder, canary, evil):
    (folder / "fields.json").write_text('{"fields": ' + "[" * 100_000)


def facts(folder, canary, evil):
    about = json.loads((folder / model_format.ABOUT).read_text())
    (folder / model_format.ABOUT).write_text(json.dumps({**about, "facts": {"longest_y": "many"}}))


def linked_file(folder, canary, evil):
    shutil.move(folder / "config.yaml", folder.parents[3] / "elsewhere")
    (folder / "config.yaml").symlink_to(folder.parents[3] / "elsewhere")


def cut_short(folder, canary, evil):
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:-9])


MAKE = {"_target_": "os.mkdir", "path": "CANARY"}
SPOILED = {
    "a resolver": (("data.x.column", "${oc.env:HOME}"), "has an interpolation"),
    "a resolver in a list": (("task.more", [["${oc.create:x}"]]), "has an interpolation"),
    "a resolver as a key": (("task", {"${oc.env:HOME}": 1}), "interpolation as a key"),
    "code": (("architecture.head", MAKE), "os.mkdir: is no part of seqpipe"),
    "code in a list": (("data.x.more", [[MAKE]]), "os.mkdir: is no part of seqpipe"),
    "a class of ours elsewhere": (
        ("architecture.head._target_", "seqpipe.data.sources.hub.Hub"),
        "is no model, field, source or task",
    ),
    "a pickle as weights": (pickled("model.safetensors"), "cannot be read"),
    "a pickle as arrays": (pickled("fields.npz"), "cannot be read"),
    "pickled arrays": (objects, "pickled objects, which are not opened"),
    "packed arrays": (packed_arrays, "is packed; files of seqpipe are not"),
    "an array beyond memory": (absurd_array, "claims to be (1000000000000,), and holds 0 bytes"),
    "a header beyond memory": (absurd_header, "cannot be read"),
    "a tensor beyond memory": (absurd_tensor, "cannot be read"),
    "JSON without an end": (nested_json, "fields.json: is damaged (is nested too deeply)"),
    "other facts": (facts, "facts hold no longest_y"),
    "a depth beyond time": (("architecture.encoder.depth", 10**8), "is far larger than"),
    "a width beyond memory": (
        ("architecture.encoder.hidden_size", 20_000),
        "is far larger than its weights",
    ),
    "a head beyond its weights": (
        ("architecture.head.hidden", [100] * 9),
        "is far larger than its weights",
    ),
    "a link": (linked_file, "is a link"),
    "weights cut short": (cut_short, "cannot be read"),
}


@pytest.mark.parametrize("case", SPOILED)
def test_a_model_is_plain_data(place, canary, evil_object, change, refused, harmless, case):
    name, folder = place
    spoil, text = SPOILED[case]
    if isinstance(spoil, tuple):
        change(folder, *spoil)
    else:
        spoil(folder, canary, evil_object)
    if case not in ("a link", "other facts"):
        sign(folder)
    for command, words in list(COMMANDS.items())[: None if name == "theirs" else 2]:
        message = refused(command.partition(",")[0], f"run={name}", *words)
        assert text in message or (case == "a link" and "leads out of its folder" in message)
    with harmless(), pytest.raises(ConfigError) as caught:
        seqpipe.load(name)
    assert text in str(caught.value)


def test_a_folder_of_a_model_that_is_a_link_is_not_followed(theirs, tmp_path, refused, harmless):
    (theirs / "model" / "data").rename(tmp_path / "elsewhere")
    (theirs / "model" / "data").symlink_to(tmp_path / "elsewhere")
    for command, words in COMMANDS.items():
        message = refused(command.partition(",")[0], "run=theirs", *words)
        assert "leads out of its folder" in message or "is a link" in message
    with harmless(), pytest.raises(ConfigError, match="leads out of its folder"):
        seqpipe.load("theirs")


def test_files_beside_the_input_are_not_read(theirs, secret, change, refused):
    folder = theirs / "model" / model_format.LOGGED
    change(folder, "data.source.annotation", "SECRET")
    sign(folder)
    for command in ("predict", "evaluate"):
        message = refused(command, "run=theirs", "input=mine.jsonl")
        assert f"names other files to read (data.source.annotation={secret})" in message


FLAVOR = {
    "another loader": {"loader_module": "hostile_code"},
    "code beside it": {"code": "code"},
    "a pickled model": {"python_model": "model.pkl", "loader_module": "mlflow.pyfunc.model"},
    "data elsewhere": {"data": "../../elsewhere"},
    "data by an absolute path": {"data": "/etc"},
}
MLMODEL = {
    "prompts": {"prompts": ["prompts:/evil/1"]},
    "resources": {"resources": {"databricks": {}}},
    "an example elsewhere": {"saved_input_example_info": {"artifact_path": "../../../x"}},
    "another flavor": {"flavors": {"sklearn": {"pickled_model": "model.pkl"}}},
    "an interpolation": {"run_id": "${oc.env:HOME}"},
}
LINES = {
    "a tag": "x: !!python/object/apply:os.mkdir ['CANARY']",
    "aliases": "a: &a 1",
    "a key twice": "flavors: {}",
}


@pytest.mark.parametrize("case", [*FLAVOR, *MLMODEL, *LINES, "a link"])
def test_what_mlflow_would_load_is_ours_alone(theirs, tmp_path, refused, canary, case):
    path = theirs / "model" / "MLmodel"
    text = path.read_text()
    model = yaml.safe_load(text)
    model["flavors"]["python_function"] |= FLAVOR.get(case, {})
    text = text if case in LINES else yaml.safe_dump(model | MLMODEL.get(case, {}))
    path.write_text(text + LINES.get(case, "").replace("CANARY", str(canary)) + "\n")
    if case == "a link":
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
    for command, word in (("serve", "port=0"), ("register", "name=x")):
        message = refused(command, "run=theirs", word)
        allowed = "allowed: the file that training wrote, unchanged"
        assert allowed in message or "leads out of its folder" in message


@pytest.fixture
def cached(work, monkeypatch):
    """A folder of prepared data, and its one entry."""
    # Hashes of files that changed lately are not kept, and this one is new.
    monkeypatch.setattr("seqpipe.data.cache._YOUNG", -1)
    from seqpipe.build import build_data
    from seqpipe.config.compose import compose

    cfg, _ = compose(
        [
            *("data=table", "data.path=mine.jsonl", "data.cache=cache", "data.x.min_count=1"),
            "trainer.enable_progress_bar=false",
        ]
    )
    build_data(cfg)
    (entry,) = [path for path in (work / "cache").iterdir() if path.is_dir()]
    return entry, lambda: build_data(cfg)


def no_columns(entry, canary, evil):
    import pyarrow as pa

    table = pa.table({"x": pa.array(["a"]), "y": pa.array([1])})
    with (
        pa.OSFile(str(entry / "test.arrow"), "wb") as sink,
        pa.ipc.new_file(sink, table.schema) as w,
    ):
        w.write_table(table)


def wild_offsets(entry, canary, evil):
    """A row that ends far outside of the file, as nothing but a check of each offset tells."""
    import pyarrow as pa

    kind = pa.large_list(pa.int64())
    schema = pa.schema([pa.field("y", kind, metadata={"shape": "", "time": "1"})])
    batch = pa.record_batch([pa.array([[1] * 77, [2]], kind)], schema=schema)
    path = entry / "test.arrow"
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        writer.write_batch(batch)
    content, offsets = path.read_bytes(), struct.pack("<3q", 0, 77, 78)
    assert content.count(offsets) == 1
    path.write_bytes(content.replace(offsets, struct.pack("<3q", 0, 2**40, 78)))


def packed_columns(entry, canary, evil):
    import pyarrow as pa

    kind = pa.large_list(pa.int64())
    schema = pa.schema([pa.field("y", kind, metadata={"shape": "", "time": "1"})])
    batch = pa.record_batch([pa.array([np.zeros(2**20, dtype=np.int64)], kind)], schema=schema)
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    sink = pa.OSFile(str(entry / "test.arrow"), "wb")
    with sink, pa.ipc.new_file(sink, schema, options=options) as writer:
        writer.write_batch(batch)


def half(name):
    def spoil(entry, canary, evil):
        content = (entry / name).read_bytes()
        (entry / name).write_bytes(content[: len(content) // 2])

    return spoil


def linked(name):
    def spoil(entry, canary, evil):
        place = entry.parent / name if name == "files.json" else entry / name
        place.rename(entry.parents[1] / "elsewhere")
        place.symlink_to(entry.parents[1] / "elsewhere")

    return spoil


def text_of(name, text):
    return lambda entry, canary, evil: (entry / name).write_text(text) and None


IN_CACHE = {
    "a pickle as arrays": lambda e, c, evil: torch.save({"x": evil}, e / "arrays.npz"),
    "pickled arrays": lambda e, c, evil: np.savez(
        e / "arrays.npz", x=np.array([evil], dtype=object)
    ),
    "half of the arrays": half("arrays.npz"),
    "half of the columns": half("train.arrow"),
    "half of the facts": half("prepared.json"),
    "facts without an end": text_of("prepared.json", "[" * 100_000),
    "other facts": text_of("prepared.json", '{"fields": [], "facts": {}}'),
    "no columns": no_columns,
    "offsets out of the file": wild_offsets,
    "packed columns": packed_columns,
    "a link": linked("train.arrow"),
    "a link as index": linked("files.json"),
}


@pytest.mark.parametrize("case", IN_CACHE)
def test_a_cache_is_plain_data(cached, work, canary, evil_object, harmless, case):
    entry, again = cached
    again()
    IN_CACHE[case](entry, canary, evil_object)
    with harmless(), pytest.raises(ConfigError) as caught:
        again()
    (problem,) = caught.value.problems
    assert problem.startswith("data.cache=cache")


def test_a_link_for_the_lock_is_not_written_through(work, secret, harmless):
    (work / "cache").mkdir()
    (work / "cache" / "files.lock").symlink_to(secret)
    with harmless(), pytest.raises(ConfigError, match=r"holds a link, files\.lock"):
        Cache(Path("cache"))


def test_a_good_model_passes_every_check(theirs, work, capfd):
    """Or the tests above could pass for another reason."""
    assert call("predict", ["run=theirs", "input=mine.jsonl", "output=out.csv"]) == 0
    assert call("export", ["run=theirs", "format=safetensors", "output=x"]) == 0
    assert call("evaluate", ["run=theirs", "input=mine.jsonl", "resamples=0"]) == 0
    with contextlib.chdir(work):
        assert seqpipe.load("x").predict(["the cat"])
