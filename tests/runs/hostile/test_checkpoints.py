"""A checkpoint of somebody else's to resume from, and a batch of theirs to replay."""

import copy
import functools
import shutil
import zipfile

import pytest
import torch

from seqpipe.commands import replay
from seqpipe.commands.train import run
from seqpipe.config.compose import Launch, compose
from seqpipe.errors import ConfigError

QUICK = (
    *("data=adding", "data.length=6", "data.source.train=60", "data.source.valid=16"),
    *("data.source.test=16", "hidden_size=8", "dropout=0.0", "data.batch_size=16"),
    "logger=none",
    *("trainer.accelerator=cpu", "trainer.enable_progress_bar=false", "preflight=none"),
    *("diagnostics=none", "data.cache=null", "trainer.log_every_n_steps=1"),
)


def packed(path):
    """The same archive, deflated: a few bytes could unfold to anything."""
    with zipfile.ZipFile(path) as archive:
        entries = [(one.filename, archive.read(one)) for one in archive.infolist()]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            archive.writestr(name, content)


def entry(*keys, value):
    """Another value in what a checkpoint holds; EARLY is its callback EarlyStopping."""

    def spoil(path, evil):
        saved = torch.load(path, weights_only=True)
        node = saved
        early = next((key for key in saved.get("callbacks", ()) if key.startswith("Early")), None)
        for key in keys[:-1]:
            node = node[early if key == "EARLY" else key]
        node[keys[-1]] = value
        torch.save(saved, path)

    return spoil


def grown(path, evil):
    """A weight of another shape."""
    saved = torch.load(path, weights_only=True)
    name = next(iter(saved["state_dict"]))
    saved["state_dict"][name] = torch.zeros(1).expand(10**12)
    torch.save(saved, path)


FIT = ("loops", "fit_loop")
SPOILED = {
    "a pickle": lambda path, evil: path.write_bytes(evil[0]),
    "a pickle in an archive": lambda path, evil: torch.save({"seqpipe": evil[1]}, path),
    "a pickled archive of old": lambda path, evil: torch.save(
        {"seqpipe": evil[1]}, path, _use_new_zipfile_serialization=False
    ),
    "packed": lambda path, evil: packed(path),
    "half": lambda path, evil: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "empty": lambda path, evil: path.write_bytes(b""),
    "a list": lambda path, evil: torch.save([1], path),
    "no configuration": entry("seqpipe", value={}),
    "another configuration": entry("seqpipe", "config", value=[["a"]]),
    "a resolver in the configuration": entry(
        *("seqpipe", "config", "optim", "lr"), value="${oc.env:HOME}"
    ),
    "code in the configuration": entry(
        *("seqpipe", "config", "optim"), value={"_target_": "os.mkdir", "path": "CANARY"}
    ),
    "other loops": entry(*FIT, "epoch_progress", value=3),
    "text for a number": entry(*FIT, "epoch_progress", "current", "processed", value="one"),
    "other callbacks": entry("callbacks", value=[1]),
    "text for the state of a callback": entry("callbacks", "x", value="y"),
    "another history": entry("callbacks", "History", value={"series": {"a": [1]}, "last": None}),
    "another best": entry("callbacks", "BestAndLast", value={"best": {"x": 1}}),
    "text for a version": entry("pytorch-lightning_version", value="x"),
    "no version": entry("pytorch-lightning_version", value=None),
    "text for the optimizers": entry("optimizer_states", value="x"),
    "no schedules": entry("lr_schedulers", value=None),
    "other weights": entry("state_dict", value={"x": torch.zeros(3)}),
    "weights that are none": entry("state_dict", value={"x": "y"}),
    "a weight beyond memory": grown,
}


@functools.cache
def composed():
    return compose(QUICK)


def again(root, checkpoint):
    cfg, choices = copy.deepcopy(composed())
    cfg.resume, cfg.trainer.max_epochs = str(checkpoint), 2
    return run(cfg, Launch(root / "runs" / "new", root, choices, ()))


def replayed(root, file):
    cfg, choices = copy.deepcopy(composed())
    launch = Launch(root / "runs" / "new", root, choices, (), command="replay", file=str(file))
    return replay.run(cfg, launch)


GROUP = ("optimizer_states", 0, "param_groups", 0)
MOMENT = ("optimizer_states", 0, "state", 0)
ENDLESS = float("nan")
STATES = {
    "a weight that is not finite": lambda path, evil: spoil_weights(path, ENDLESS),
    "weights of whole numbers": lambda path, evil: spoil_weights(path, None),
    "an optimizer that goes uphill": entry(*GROUP, "maximize", value=True),
    "another weight decay": entry(*GROUP, "weight_decay", value=9.0),
    "a rate beyond the schedule": entry(*GROUP, "lr", value=9.0),
    "a rate of text": entry(*GROUP, "lr", value="fast"),
    "a rate below nothing": entry(*GROUP, "lr", value=-0.001),
    "betas that are none": entry(*GROUP, "betas", value=[0.9, "x"]),
    "no groups": entry("optimizer_states", 0, "param_groups", value=[]),
    "optimizers of nothing": entry("optimizer_states", value=[{}]),
    "two optimizers": entry("optimizer_states", value=[{}, {}]),
    "a moment of another shape": entry(*MOMENT, "exp_avg", value=torch.zeros(3)),
    "a moment that is not finite": entry(*MOMENT, "exp_avg", value=torch.full((32, 2), ENDLESS)),
    "a moment of text": entry(*MOMENT, "exp_avg_sq", value="x"),
    "a step of text": entry(*MOMENT, "step", value="x"),
    "a moment of no weight": entry("optimizer_states", 0, "state", 99, value={"step": 1.0}),
    "another base rate": entry("lr_schedulers", 0, "base_lrs", value=[5.0]),
    "a schedule with a method": entry("lr_schedulers", 0, "get_lr", value="x"),
    "a schedule that stands nowhere": entry("lr_schedulers", 0, "last_epoch", value="x"),
    "no schedule": entry("lr_schedulers", value=[]),
    "patience of text": entry("callbacks", "EARLY", "patience", value="x"),
    "a best score of text": entry("callbacks", "EARLY", "best_score", value="x"),
    "batches of text": entry(*FIT, "epoch_loop.batch_progress", "total", value={"ready": "x"}),
    "loops of nothing": entry(*FIT, "epoch_loop.automatic_optimization.optim_progress", value={}),
    "random numbers of another size": entry(
        *("seqpipe", "processes", 0, "cpu"), value=torch.zeros(3, dtype=torch.uint8)
    ),
    "random numbers of text": entry("seqpipe", "processes", 0, "cpu", value="x"),
    "a history of text": entry(
        *("callbacks", "History"), value={"series": {"a": [["x", 1.0]]}, "last": None}
    ),
}


def spoil_weights(path, value):
    """Weights that are not finite, or whole numbers in place of real ones."""
    saved = torch.load(path, weights_only=True)
    name = next(iter(saved["state_dict"]))
    weight = saved["state_dict"][name]
    saved["state_dict"][name] = weight.long() if value is None else weight.fill_(value)
    torch.save(saved, path)


@pytest.mark.parametrize("case", [*SPOILED, *STATES])
def test_a_checkpoint_is_plain_data_and_refused_before_a_run_has_its_folder(
    generated, work, evil, evil_object, harmless, case
):
    path = work / "last.ckpt"
    shutil.copy(generated / "checkpoints" / "last.ckpt", path)
    (SPOILED | STATES)[case](path, (evil, evil_object))
    with harmless(), pytest.raises(ConfigError) as caught:
        again(work, path)
    assert all(str(path) in one and "allowed: " in one for one in caught.value.problems)
    if case in SPOILED and case not in ("packed", "other weights"):
        with harmless(), pytest.raises(ConfigError, match="file="):
            replayed(work, path)


def test_the_same_checkpoint_unspoiled_is_resumed(generated, work):
    path = work / "last.ckpt"
    shutil.copy(generated / "checkpoints" / "last.ckpt", path)
    assert again(work, path).metrics["test/mse"] > 0


@pytest.fixture
def batch(work):
    """A batch as a run keeps it, which was not finite."""
    cfg, _ = copy.deepcopy(composed())
    from seqpipe.build import build_data, build_model

    data = build_data(cfg)
    whole = data.batch("train", [0, 1])
    parts = {name: getattr(whole, name) for name in whole.__dataclass_fields__}
    path = work / "step_1_rank0.pt"
    saved = {
        **{"seqpipe": "bad step", "update": 1, "text": "then", "batch": parts, "lanes": None},
        **{"random": {"cpu": torch.get_rng_state()}},
        "model": build_model(cfg, data.spec, 1).state_dict(),
    }
    torch.save(saved, path)
    return path


IN_BATCH = {
    "a good one": None,
    "a pickle": SPOILED["a pickle"],
    "a pickle in an archive": SPOILED["a pickle in an archive"],
    "packed": SPOILED["packed"],
    "half": SPOILED["half"],
    "no batch": entry("batch", value="x"),
    "another batch": entry("batch", value={"x": 1}),
    "text for a tensor": entry("batch", "x", value="x"),
    "lengths beyond the steps": entry("batch", "x_lengths", value=torch.tensor([10**9, -3])),
    "text for a number": entry("update", value="x"),
    "random numbers that are none": entry("random", value={"cpu": torch.zeros(3)}),
    "no random numbers": entry("random", value=3),
    "other weights": entry("model", value={"x": torch.zeros(3)}),
    "other lanes": entry("lanes", value="x"),
}


@pytest.mark.parametrize("case", IN_BATCH)
def test_a_batch_to_replay_is_plain_data(batch, work, evil, evil_object, harmless, case):
    if IN_BATCH[case] is None:
        assert "are finite" in replayed(work, batch).summary
        return
    IN_BATCH[case](batch, (evil, evil_object))
    with harmless(), pytest.raises(ConfigError, match="file="):
        replayed(work, batch)
