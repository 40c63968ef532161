"""A run folder of somebody else's: its configuration, its command, its links, its addresses."""

import json
import shutil

import pytest
from omegaconf import OmegaConf

from seqpipe.commands.dispatch import call
from seqpipe.commands.options import Rerun
from seqpipe.errors import ConfigError
from seqpipe.runs.find_run import find_run
from seqpipe.runs.restore_config import restore_run

MAKE = "_target_: os.mkdir, path: 'CANARY'"
IN_CONFIG = {
    # name: (key, value), or the whole text; what the message says
    "a resolver that makes an object": ("optim.lr", "${oc.create:{" + MAKE + "}}", "interpol"),
    "a resolver in a list": ("optim.betas", [0.9, "${oc.env:HOME}"], "optim.betas.1: has an int"),
    "a resolver as a key": ("optim", {"${oc.env:HOME}": 1}, "optim: has an interpolation as a key"),
    "a nested resolver": ("seed", "${oc.decode:${oc.env:SEED}}", "seed: has an interpolation"),
    "a resolver inside text": ("data.path", "/data/${oc.env:HOME}/x", "data.path: has an interpol"),
    "a plain interpolation": ("seed", "${hidden_size}", "seed: has an interpolation"),
    "a missing value": ("seed", "???", "seed: has no value"),
    "a tag of Python": "seed: !!python/object/apply:os.mkdir ['CANARY']\n",
    "a tag of one's own": "seed: !evil 1\n",
    "aliases": "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n",
    "a key twice": "seed: 0\nseed: 1\n",
    "two documents": "seed: 0\n---\nseed: 1\n",
    "a list": "- seed\n",
    "deep nesting": "seed: " + "[" * 100_000,
    "cut short": "optim: {lr: [0.1, ",
    "too large": "seed: 0 #" + "x" * 2**24,
    "no text": b"\xff\xfe\x00",
    "a number of many digits": "seed: " + "9" * 5000,
}
COMMANDS = {
    "rerun": ("run=theirs",),
    "rerun, own_data": ("run=theirs", "own_data=true"),
    "evaluate": ("run=theirs", "own_data=true"),
    "evaluate, other data": ("run=theirs", "data.path=mine.jsonl"),
    "predict": ("run=theirs", "input=mine.jsonl"),
    "translate": ("run=theirs", "text=a"),
    "sample": ("run=theirs",),
    "score": ("run=theirs", "text=a"),
    "serve": ("run=theirs", "port=0"),
    "register": ("run=theirs", "name=x"),
    "export": ("run=theirs", "format=onnx", "output=x.onnx"),
}


def tell(folder, **told):
    """Other entries in its provenance.json."""
    path = folder / "provenance.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **told}))


@pytest.mark.parametrize("case", IN_CONFIG)
def test_a_configuration_is_plain_data(theirs, canary, change, refused, case):
    """For one command, and one or two of the others, which read it by the same function."""
    spoiled = IN_CONFIG[case]
    if isinstance(spoiled, tuple):
        key, value, text = spoiled
        change(theirs, key, value)
    else:
        text = "config.yaml: cannot be read ("
        made = str(canary).encode()
        content = spoiled if isinstance(spoiled, bytes) else spoiled.encode()
        (theirs / "config.yaml").write_bytes(content.replace(b"CANARY", made))
    others = [*COMMANDS][1 + [*IN_CONFIG].index(case) % 5 :: 5]
    for command in ("rerun", *others):
        assert text in refused(command.partition(",")[0], *COMMANDS[command]), command


@pytest.mark.parametrize("file", ["config.yaml", "provenance.json", "metrics.json", "model"])
def test_a_link_that_leads_out_is_not_followed(theirs, tmp_path, refused, file):
    (theirs / file).rename(tmp_path / "elsewhere")
    (theirs / file).symlink_to(tmp_path / "elsewhere")
    for command, words in COMMANDS.items():
        if file == "model" and command.startswith("rerun"):
            continue  # it reads no model
        message = refused(command.partition(",")[0], *words)
        assert "leads out of its folder" in message or "is a link" in message, command


VALUES = {
    "a seed below zero": ("seed", -1, "seed=-1: "),
    "a seed in a list": ("seed", [1], "seed=[1]: "),
    "a seed of many digits": ("seed", 10**30, "seed=1000"),
    "updates in words": ("trainer.max_steps", "many", "max_steps"),
    "no source": ("data.source", None, "lacks data.source._target_"),
    "a source in a word": ("data.source", "x", "lacks data.source._target_"),
    "a source of no class": ("data.source", {"a": 1}, "lacks data.source._target_"),
    "a batch in words": ("data.batch_size", "x", "data.batch_size=x: "),
    "a window in a mapping": ("data.window", {"a": 1}, "data.window="),
    "a column that is a number": ("data.x.column", -1, "data.x.column=-1: wrong type"),
    "a field in a word": ("data.x", "x", "data.x=x: wrong type"),
    "an unknown format": ("data.source.format", "x", "data.source.format=x: "),
    "files that are mappings": ("data.source.train", [{"a": 1}], "data.source.train="),
    "no y": ("data.y", None, "lacks data.y._target_"),
}


@pytest.mark.parametrize("case", VALUES)
def test_a_value_that_no_run_has_is_no_traceback(theirs, change, refused, case):
    key, value, text = VALUES[case]
    change(theirs, key, value)
    reading = ("rerun, own_data", "evaluate", "evaluate, other data")
    for command in reading if key.startswith("data.") else reading[:1]:
        assert text in refused(command.partition(",")[0], *COMMANDS[command]), command


CODE = {
    "in a list": ("callbacks.more", [{"_target_": "os.mkdir", "path": "CANARY"}], "os.mkdir"),
    "deep": ("data.y.more", {"a": [[{"_target_": "os.mkdir", "path": "CANARY"}]]}, "os.mkdir"),
    "in place of a part": ("optim", {"_target_": "hostile_code.Optimizer"}, "hostile_code.Optim"),
    "what a module of ours imports": ("data.x._target_", "seqpipe.data.cache.os.mkdir", "os.mkdir"),
    "what writes a file": (
        *("optim", {"_target_": "seqpipe.data.columns.ColumnsWriter", "sink": "SECRET"}),
        "ColumnsWriter",
    ),
    "what makes a folder": (
        *("optim", {"_target_": "seqpipe.data.cache.Cache", "folder": "CANARY"}),
        "seqpipe.data.cache.Cache",
    ),
    "a source as a cell": ("cell._target_", "seqpipe.data.sources.hub.Hub", "sources.hub.Hub"),
    "a checkpoint elsewhere": (
        "callbacks.more",
        {
            "_target_": "seqpipe.training.checkpoints.BestAndLast",
            **{"dirpath": "CANARY", "monitor": "val/loss", "mode": "min"},
        },
        "BestAndLast",
    ),
    "a folder for the checkpoints": (
        "callbacks.checkpoint.dirpath",
        "CANARY",
        "checkpoint.dirpath",
    ),
    "positional arguments": ("data.x._args_", ["CANARY"], "data.x._args_"),
}


@pytest.mark.parametrize("case", CODE)
def test_code_that_a_configuration_names_is_not_run(theirs, change, refused, case):
    key, value, text = CODE[case]
    change(theirs, key, value)
    assert text in refused("rerun", "run=theirs", "own_data=true")
    if key.startswith("data."):
        assert "data." in refused("evaluate", "run=theirs", "own_data=true")


PLACES = {
    "path": ("data.path", "SECRET", "data.source.path=SECRET"),
    "train": ("data.source.train", "SECRET", "data.source.train=SECRET"),
    "valid": ("data.source.valid", ["SECRET"], "data.source.valid=SECRET"),
    "vectors": ("data.x.vectors", "SECRET", "data.x.vectors=SECRET"),
    "hub": (
        "data.source",
        {"_target_": "seqpipe.data.sources.hub.Hub", "name": "evil.invalid/set"},
        "data.source.name=evil.invalid/set",
    ),
    "checkpoint": ("resume", "SECRET", "resume=SECRET"),
}


@pytest.mark.parametrize("case", PLACES)
def test_files_and_sets_that_a_record_names_are_not_read(theirs, secret, change, refused, case):
    key, value, text = PLACES[case]
    change(theirs, key, value)
    if case == "path":
        change(theirs, "data.source.path", "SECRET")
    text = text.replace("SECRET", str(secret))
    message = refused("rerun", "run=theirs")
    assert text in message or "data.source.train=" in message
    assert "allowed: own_data=true, if you trust them" in message
    if case != "checkpoint":
        assert "own_data=true, if you trust them" in refused("evaluate", "run=theirs")


def test_what_a_command_names_is_not_read_with_other_data(theirs, secret, harmless):
    command = f"python -m seqpipe data=table data.source.test={secret}"
    tell(theirs, tags={"command": command})
    with harmless(written=True):
        assert call("evaluate", ["run=theirs", "data.path=mine.jsonl", "resamples=0"]) == 0


WORDS = [
    "--config-dir=own optim=theirs",
    "--config-dir=own",
    "--config-dir=own data=theirs",
    "hydra.searchpath=[file://own] experiment=theirs",
    "hydra.searchpath=[file://own] optim=theirs",
    "'optim.lr=${oc.create:{_target_: os.mkdir, path: CANARY}}'",
    "optim._target_=hostile_code.Optimizer",
    "'+callbacks.x={_target_: hostile_code.Callback}'",
    "data=../../own/data/theirs",
    "--config-name=../own/config",
    "'data.y=[{_target_: hostile_code.Field}]'",
    "'unclosed",
]


@pytest.fixture
def own(work, canary):
    """A folder of options that name code, beside the code."""
    (work / "hostile_code.py").write_text(f"import os\nos.mkdir({str(canary)!r})\n")
    options = "_target_: hostile_code.Source\n"
    for group in ("optim", "data", "experiment", "."):
        place = work / "own" / group
        place.mkdir(parents=True, exist_ok=True)
        for name in ("theirs", "config"):
            (place / f"{name}.yaml").write_text(options)
    return work / "own"


@pytest.mark.parametrize("words", WORDS)
def test_the_command_of_a_record_is_not_composed(
    theirs_without_files, own, canary, harmless, words, monkeypatch
):
    """The run is trained as its configuration has it."""
    monkeypatch.syspath_prepend(own.parent)
    words = words.replace("CANARY", str(canary))
    tell(theirs_without_files, tags={"command": f"python -m seqpipe data=adding {words}"})
    with harmless():
        found = find_run(Rerun(run="theirs"), own.parent, needs="metrics.json")
        restored = restore_run(found, own.parent, tags={})
    assert OmegaConf.to_container(restored.cfg) == found.config
    if words == WORDS[0]:
        with harmless(written=True):
            assert call("rerun", ["run=theirs"]) == 0


@pytest.mark.parametrize("words", [WORDS[0], WORDS[5]])
def test_nor_for_other_data(theirs, own, canary, harmless, words, monkeypatch):
    """The source is made from the run's configuration, which is checked."""
    monkeypatch.syspath_prepend(own.parent)
    words = words.replace("CANARY", str(canary))
    tell(theirs, tags={"command": f"python -m seqpipe data=table {words}"})
    with harmless(written=True):
        assert call("evaluate", ["run=theirs", "data.path=mine.jsonl", "resamples=0"]) == 0


def test_a_run_that_could_not_be_read_again_is_not_started(launch, tmp_path):
    """An escaped interpolation is text, until somebody reads the record."""
    with pytest.raises(ConfigError) as caught:
        launch("adding", "logger=mlflow", r"logger.experiment_name='\${seed}'")
    assert "logger.experiment_name: has an interpolation, ${seed}, which" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


ADDRESS = "http://evil.invalid:5000"


def test_no_server_that_a_record_names_is_asked(theirs, change, harmless, capfd):
    change(theirs, "logger.tracking_uri", ADDRESS)
    tell(theirs, tracking_uri=ADDRESS, run_id="0" * 32)
    with harmless(written=True):
        assert call("evaluate", ["run=theirs", "input=mine.jsonl", "resamples=0"]) == 0
    assert "mlflow run" not in capfd.readouterr().out
    with harmless():
        assert call("register", ["run=theirs", "name=x"]) == 2
        assert call("serve", ["run=theirs", "register=x", "port=0"]) == 2
    assert f"allowed: tracking_uri={ADDRESS} with run=" in capfd.readouterr().err


@pytest.mark.parametrize("address", [ADDRESS, "sqlite:///their.db"])
def test_a_rerun_is_recorded_here_and_not_where_the_record_says(
    theirs_without_files, change, work, tmp_path, harmless, caplog, address
):
    address = address.replace("their.db", str(tmp_path / "their.db"))
    node = {"_target_": "seqpipe.tracking.mlflow.MLflowTracker", "_partial_": True}
    node |= {"tracking_uri": address, "experiment_name": None, "flush_seconds": 2.0}
    change(theirs_without_files, "logger", node)
    tell(theirs_without_files, tracking_uri=address, run_id="0" * 32)
    change(theirs_without_files, "data.cache", str(tmp_path / "their cache"))
    with harmless(written=True):
        assert call("rerun", ["run=theirs"]) == 0
    assert f"not in {address}, which the record of the other run names" in caplog.text
    assert not (tmp_path / "their.db").exists()
    assert not (tmp_path / "their cache").exists()
    assert (work / "outputs" / "mlflow.db").is_file()


def test_names_of_a_record_lead_nowhere(theirs_without_files, work, tmp_path, harmless):
    tell(theirs_without_files, params={"data": "../../../../out", "cell": "/tmp/x"}, tags={})
    with harmless(written=True):
        assert call("rerun", ["run=theirs"]) == 0
    (made,) = (work / "outputs" / "runs").iterdir()
    assert made.name.endswith("_data_custom")


def test_an_evaluation_is_not_written_through_a_link(theirs, tmp_path, harmless):
    (tmp_path / "elsewhere").mkdir()
    (theirs / "evaluations").symlink_to(tmp_path / "elsewhere")
    with harmless():
        assert call("evaluate", ["run=theirs", "input=mine.jsonl", "resamples=0"]) == 2


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("metrics.json", '{"test/loss": "' + "x" * 10 + '"}'),
        ("metrics.json", "[" * 100_000),
        ("metrics.json", '{"test/loss": {}}'),
        ("provenance.json", '{"run_id": [' + "[" * 100_000),
        ("provenance.json", b"\x80\x04."),
    ],
)
def test_numbers_that_are_none_are_refused(theirs_without_files, refused, file, text):
    content = text if isinstance(text, bytes) else text.encode()
    (theirs_without_files / file).write_bytes(content)
    assert file in refused("rerun", "run=theirs")


def test_a_run_that_a_store_names_is_no_more_trusted(trained, work, change, refused):
    """Its configuration comes from the store; who trained it there is somebody else."""
    store = f"sqlite:///{trained.parents[1] / 'outputs' / 'mlflow.db'}"
    run_id = json.loads((trained / "provenance.json").read_text())["run_id"]
    message = refused("rerun", f"run={run_id}", f"tracking_uri={store}")
    assert "own_data=true, if you trust them" in message
    kept = trained.with_name("kept")
    shutil.copytree(trained, kept)
    try:
        change(trained, "optim.lr", "${oc.env:HOME}")
        message = refused("rerun", f"run={run_id}", f"tracking_uri={store}", "own_data=true")
        assert "optim.lr: has an interpolation" in message
    finally:
        shutil.rmtree(trained)
        kept.rename(trained)
