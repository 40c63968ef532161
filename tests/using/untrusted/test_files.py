"""Somebody else's folder: what is wrong with it is told, and nothing in it is run or written."""

import json
import zipfile
from collections.abc import Callable

import pytest
import yaml

import seqpipe
from seqpipe.inference import model_format


@pytest.fixture
def change(folder, sign) -> Callable[..., None]:
    """change("data", "x", value=None, file="config.yaml"): another value, signed."""

    def replace(*path: str, value: object, file: str = "config.yaml") -> None:
        told = yaml.safe_load((folder / file).read_text())
        inner = told
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value
        (folder / file).write_text(json.dumps(told))
        sign()

    return replace


@pytest.mark.parametrize("name", ["fields.npz", "model.safetensors", "fields.json", "seqpipe.json"])
def test_a_pickle_is_not_opened(folder, canary, name, sign, refused, evil):
    (folder / name).write_bytes(evil)
    if name != "seqpipe.json":
        sign()
    assert str(folder) in refused()
    assert not canary.exists()


PLACES = [("data", "x"), ("data", "y"), ("architecture",), ("task",)]
NO_PARTS = (
    *("os.system", "subprocess.Popen", "builtins.eval", "eval", "torch.load", "pickle.loads"),
    *("seqpipe.cli.main", "seqpipe.commands.train.run", "seqpipe.inference.load.load_model"),
    *("torch.nn.Linear", "seqpipe", "", ".", "seqpipe.", "seqpipe.nnx.head.Head"),
)


@pytest.mark.parametrize(
    ("target", "place"), [(one, PLACES[n % len(PLACES)]) for n, one in enumerate(NO_PARTS)]
)
def test_what_is_no_part_of_seqpipe_is_not_made(folder, canary, target, place, refused, change):
    arguments = {"command": f"mkdir {canary}", "args": ["mkdir", str(canary)]}
    change(*place, value={"_target_": target, **arguments})
    problem = refused()
    key = ".".join(place)
    assert problem.startswith(
        f"{folder}: {key}._target_={target}: is no part of seqpipe, and what comes"
    )
    assert not canary.exists()


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("seqpipe.nn.head.torch.hub.load", "cannot be found"),
        ("seqpipe.nn.head.nn.Linear", "cannot be found"),
        ("seqpipe.nn.head.torch", "is no model, field, source or task"),
        ("seqpipe.data.sources.idx.gzip", "is no model, field, source or task"),
        ("seqpipe.data.sources.text_lines.at_least_one", "is no model, field, source or task"),
        ("seqpipe.nn.head.__loader__", "is no model, field, source or task"),
        ("seqpipe.nn.no_such_module.Head", "cannot be found"),
        ("seqpipe.nn.head.NoSuchClass", "cannot be found"),
    ],
)
def test_what_is_no_class_of_a_part_is_not_made(folder, target, text, refused, change):
    change("architecture", "head", "_target_", value=target)
    problem = refused()
    assert problem.startswith(f"{folder}: architecture.head._target_={target}: {text}; allowed: ")


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.mkdir ['CANARY']",
        "data: !!python/object/new:os.mkdir ['CANARY']",
        "data: !!python/name:os.system ''",
        "x: !!python/module:os ''",
        "a: &a [x, x]\narchitecture: *a\ndata: *a",
        "data: [1, 2",
        "- a\n- b",
        "",
        "just text",
    ],
)
def test_a_configuration_that_is_none_is_refused(folder, canary, text, sign, refused):
    (folder / "config.yaml").write_text(text.replace("CANARY", str(canary)))
    sign()
    assert str(folder) in refused()
    assert not canary.exists()


SHARES = {"config.yaml": 0.5, "model.safetensors": 0.99, "fields.json": 0.0, "fields.npz": 0.5}


@pytest.mark.parametrize("name", [*model_format.FILES, model_format.ABOUT])
def test_a_file_that_was_cut_short_is_refused_also_with_its_hash(folder, name, sign, refused):
    file = folder / name
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * SHARES.get(name, 0.99))])
    assert str(folder) in refused()
    if name != model_format.ABOUT:
        sign()
        assert str(folder) in refused()


@pytest.mark.parametrize("name", model_format.FILES)
def test_a_byte_that_was_changed_is_seen(folder, name, refused):
    file = folder / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    text = "is damaged or was changed; allowed: a folder that seqpipe wrote, unchanged"
    assert refused().startswith(f"{file}: {text}")


@pytest.mark.parametrize("name", [*model_format.FILES, model_format.ABOUT])
def test_a_file_that_is_not_there_is_missed(folder, name, refused):
    (folder / name).unlink()
    problem = refused()
    assert problem.startswith(
        f"{folder}: holds no model"
        if name == model_format.ABOUT
        else f"{folder / name}: is missing; allowed: "
    )


@pytest.mark.parametrize("name", [*model_format.FILES, model_format.ABOUT])
def test_a_link_is_not_followed(folder, tmp_path, name, refused):
    elsewhere = tmp_path / "elsewhere"
    (folder / name).rename(elsewhere)
    (folder / name).symlink_to(elsewhere)
    assert refused().startswith(f"{folder / name}: is a link; allowed: ")


@pytest.mark.parametrize("version", [2, 0, "1", 1.0, True, None, [1]])
def test_another_format_is_told_with_who_wrote_it(folder, version, refused):
    about = json.loads((folder / "seqpipe.json").read_text())
    about |= {"format": version, "versions": {"seqpipe": "9.9"}}
    (folder / "seqpipe.json").write_text(json.dumps(about))
    assert refused() == (
        f"{folder}: is of format {version}, written by seqpipe 9.9; this is seqpipe"
        f" {seqpipe.__version__}; allowed: format 1, or a version of seqpipe that knows it"
    )


@pytest.mark.parametrize("key", ["facts", "versions", "sha256", "format"])
@pytest.mark.parametrize("value", [None, [], "text", {}])
def test_whatever_it_says_of_itself_is_no_traceback(folder, key, value, refused):
    about = json.loads((folder / "seqpipe.json").read_text())
    (folder / "seqpipe.json").write_text(json.dumps({**about, key: value}))
    if key == "versions":
        seqpipe.load(folder)  # only told
    else:
        assert str(folder) in refused()


@pytest.mark.parametrize(
    ("file", "path", "value"),
    [
        ("config.yaml", ("data",), None),
        ("config.yaml", ("data",), {}),
        ("config.yaml", ("data", "x"), None),
        ("config.yaml", ("data", "x"), "seqpipe.data.fields.text.Text"),
        ("config.yaml", ("data", "x", "column"), [1]),
        ("config.yaml", ("data", "x", "more"), 1),
        ("config.yaml", ("data", "x", "_target_"), ["a"]),
        ("config.yaml", ("data", "x", "_args_"), ["a"]),
        ("config.yaml", ("data", "max_length"), "many"),
        ("config.yaml", ("data", "bptt"), 3),
        ("config.yaml", ("data", "window"), "w"),
        ("config.yaml", ("architecture",), {}),
        ("config.yaml", ("architecture", "_partial_"), False),
        ("config.yaml", ("architecture", "more"), 1),
        ("config.yaml", ("architecture", "encoder", "more"), 1),
        ("config.yaml", ("architecture", "encoder", "hidden_size"), "six"),
        ("config.yaml", ("architecture", "encoder", "hidden_size"), -1),
        ("config.yaml", ("architecture", "encoder", "hidden_size"), 7),
        ("config.yaml", ("architecture", "encoder"), None),
        ("config.yaml", ("task",), None),
        ("config.yaml", ("task", "more"), 1),
        ("config.yaml", ("task", "_partial_"), False),
        ("fields.json", ("fields",), None),
        ("fields.json", ("fields", "z"), {}),
        ("fields.json", ("fields", "y"), {}),
        ("fields.json", ("fields", "y"), [1]),
        ("fields.json", ("fields", "x"), {"__array__": "nowhere"}),
        ("fields.json", ("counts",), None),
        ("fields.json", ("counts",), {"y": {"__array__": "../x"}}),
    ],
)
def test_whatever_it_holds_is_no_traceback(file, path, value, refused, change):
    change(*path, value=value, file=file)
    assert refused()


def test_an_array_with_a_name_that_climbs_out_is_written_nowhere(folder, tmp_path, sign, refused):
    with zipfile.ZipFile(folder / "fields.npz", "a") as opened:
        opened.writestr("../../climbed.npy", b"\x93NUMPY\x01\x00")
    sign()
    assert "cannot be read" in refused()
    assert not list(tmp_path.parent.rglob("climbed*"))


def test_what_is_deep_beyond_measure_is_refused(folder, sign, refused):
    for name in ("fields.json", "seqpipe.json", "config.yaml"):
        there = (folder / name).read_bytes()
        (folder / name).write_text("[" * 100_000)
        if name != "seqpipe.json":
            sign()
        assert str(folder) in refused()
        (folder / name).write_bytes(there)
