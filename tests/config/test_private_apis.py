"""What seqpipe uses of its dependencies' internals: in one module each, and still there."""

import ast
import inspect
import logging
import re
import sys
import warnings
from pathlib import Path

import pytest
import torch
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from hydra.utils import get_class
from joblib.externals.loky import process_executor
from joblib.externals.loky.backend import resource_tracker
from joblib.externals.loky.backend import utils as loky_utils
from mlflow.models.model import MLMODEL_FILE_NAME, Model
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
from mlflow.store.db import utils as database
from mlflow.utils import mlflow_tags
from omegaconf import OmegaConf
from pytorch_lightning import LightningModule, Trainer
from sacrebleu import BLEU, CHRF
from torch.utils.data import DataLoader
from torchmetrics import MeanMetric

import seqpipe
from seqpipe.config import hydra_internals
from seqpipe.config.paths import conf_dir
from seqpipe.launchers import loky_internals
from seqpipe.tasks.sacrebleu_internals import score_of, signature_of, statistics_of
from seqpipe.tasks.torchmetrics_internals import set_state
from seqpipe.tracking import mlflow_internals, serving
from seqpipe.training.lightning_internals import (
    Progress,
    batch_index,
    begin_with_the_next_epoch,
    loop_states,
    progress_of,
    seconds_trained,
)

SRC = Path(seqpipe.__file__).parent
SOURCES = {file.relative_to(SRC).as_posix(): file.read_text("utf-8") for file in SRC.rglob("*.py")}
OWN = set(
    re.findall(r"(?:def |class |self\.|^ *)(_\w+)", "\n".join(SOURCES.values()), re.MULTILINE)
)
OF_NAMEDTUPLES = {"_replace", "_asdict", "_fields", "_make"}
TESTED_BY_USE = {  # of torch and argparse: without them our tests of these modules fail
    "_exit",  # of os, which documents it
    *("_NormBase", "_foreach_div", "_foreach_sub", "_foreach_norm", "_forward_hooks"),
}


def private_uses(source: str) -> set[str]:
    """Names with an underscore that are imported or accessed, and not defined by seqpipe."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.ImportFrom) and not str(node.module).startswith("seqpipe"):
            found |= {*(node.module or "").split("."), *(alias.name for alias in node.names)}
    private = {name for name in found if name.startswith("_") and not name.endswith("_")}
    return private - OWN - OF_NAMEDTUPLES - TESTED_BY_USE


def test_loops_of_lightning_are_named_in_one_module():
    naming = [name for name, source in SOURCES.items() if re.search("fit_loop|epoch_loop", source)]
    assert naming == ["training/lightning_internals.py"]


def test_private_names_are_used_only_in_the_modules_of_internals():
    others = [name for name in SOURCES if not name.endswith("_internals.py")]
    used = {name: private_uses(SOURCES[name]) for name in others}
    assert {name: names for name, names in used.items() if names} == {}


@pytest.mark.parametrize(
    "source",
    ["trainer.loop._done = 1", "self._defaults", "from torch import _C", "import x; x._theirs"],
)
def test_a_private_name_is_seen(source):
    assert private_uses(source)
    assert not private_uses("self._buffer.add()\nitem._replace(a=1)\nx.__name__")


class Line(LightningModule):
    def __init__(self, folder):
        super().__init__()
        self.slope, self.folder = torch.nn.Linear(1, 1), folder

    def training_step(self, batch, batch_idx):
        assert batch_index(self.trainer) == batch_idx
        return self.slope(batch).sum()

    def on_train_batch_end(self, *_):
        self.trainer.save_checkpoint(self.folder / f"{self.trainer.global_step}.ckpt")

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer_of(folder, **options):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    return Trainer(accelerator="cpu", default_root_dir=folder, **quiet, **options)


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
def test_a_checkpoint_of_lightning_says_how_far_it_is(tmp_path):
    for steps in (4, 6):
        options = {"max_steps": steps, "max_time": "00:01:00:00"}
        trainer = trainer_of(tmp_path, **options, enable_checkpointing=False)
        trainer.fit(Line(tmp_path), DataLoader(torch.ones(4, 1)))
        trainer.save_checkpoint(tmp_path / f"end {steps}.ckpt")
    saved = {file.stem: torch.load(file, weights_only=True) for file in tmp_path.glob("*.ckpt")}
    assert progress_of(saved["3"]) == Progress(epochs=0, batches=3, is_last_batch=False)
    assert progress_of(saved["6"]) == Progress(epochs=1, batches=2, is_last_batch=False)
    assert progress_of(saved["end 4"]) == Progress(epochs=1, batches=0, is_last_batch=True)
    assert progress_of(saved["end 6"]) == Progress(epochs=2, batches=0, is_last_batch=False)
    assert 0 < seconds_trained(saved["3"]) < 60
    state, fresh = loop_states(saved["3"], trainer_of(tmp_path))
    assert state["fit_loop"].keys() == fresh["fit_loop"].keys()


def test_lightning_would_enter_a_finished_epoch_again_and_can_be_kept_from_it(tmp_path):
    trainer = trainer_of(tmp_path, max_steps=3)
    trainer.fit_loop.restarting = True
    assert trainer.fit_loop.restarting
    begin_with_the_next_epoch(trainer)
    trainer.fit_loop.restarting = True
    assert not trainer.fit_loop.restarting


def test_the_state_of_a_metric_can_be_set_and_computed_without_a_warning():
    metric = MeanMetric()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        set_state(metric, {"mean_value": torch.tensor(6.0, dtype=torch.float64), "other": None})
        set_state(metric, {"weight": torch.tensor(4)})
        assert metric.compute() == torch.tensor(1.5)
    assert metric.update_called


def test_mlflow_names_its_tags_files_and_keys_as_we_do(tmp_path):
    ours = mlflow_internals
    assert ours.USER == mlflow_tags.MLFLOW_USER
    assert (ours.SOURCE_TYPE, ours.SOURCE_NAME) == (
        mlflow_tags.MLFLOW_SOURCE_TYPE,
        mlflow_tags.MLFLOW_SOURCE_NAME,
    )
    assert ours.GIT_COMMIT == mlflow_tags.MLFLOW_GIT_COMMIT
    assert ours.TABLES == mlflow_tags.MLFLOW_LOGGED_ARTIFACTS
    assert ours.SPLIT == mlflow_tags.MLFLOW_DATASET_CONTEXT
    assert serving.MLMODEL == MLMODEL_FILE_NAME
    assert set(Model("x", "y", "z").to_dict()) <= ours.MODEL_KEYS
    assert database._logger is logging.getLogger(ours.DATABASE_LOGGER)
    repository = ours.artifact_repository(tmp_path.as_uri(), "sqlite:///unused.db")
    assert isinstance(repository, LocalArtifactRepository)
    (tmp_path / "a").write_text("it")
    ours.download_file(repository, "a", tmp_path / "b")
    assert (tmp_path / "b").read_text() == "it"


def test_hydra_composes_with_the_folders_of_the_user(tmp_path):
    (tmp_path / "cell").mkdir()
    (tmp_path / "cell" / "mine.yaml").write_text("size: 3\n")
    loader = hydra_internals.config_loader(conf_dir(), [str(tmp_path)])
    repository = hydra_internals.repository_of(loader, "config", [])
    assert {"mine", "lstm"} <= set(repository.get_group_options("cell"))
    cfg = loader.load_configuration("config", ["cell=mine"], RunMode.RUN)
    assert cfg.cell.size == 3
    found = [source.path for source in repository.get_sources() if source.scheme() == "file"]
    assert {str(tmp_path), str(conf_dir())} <= {*found}


def test_hydra_lists_no_option_whose_name_starts_with_an_underscore():
    loader = hydra_internals.config_loader(conf_dir(), [])
    offered = hydra_internals.repository_of(loader, "config", []).get_group_options("data")
    assert "digits" in offered
    assert not [name for name in offered if name.startswith("_")]


@pytest.mark.parametrize("kind", [ObjectType.CONFIG, ObjectType.GROUP])
@pytest.mark.parametrize("group", ["", "data", "cell", "hydra", "hydra/launcher"])
def test_hydra_lists_the_same_options_without_a_copy_of_its_repository(monkeypatch, group, kind):
    loader = hydra_internals.config_loader(conf_dir(), [])
    theirs = hydra_internals._options_by_command(loader, group, kind)
    monkeypatch.setattr(loader, "_parse_overrides_and_create_caching_repo", None)
    assert loader.get_group_options(group, kind) == theirs
    assert loader.list_groups(group) == loader.get_group_options(group, ObjectType.GROUP)


def test_hydra_lists_the_options_of_folders_that_a_command_adds(tmp_path):
    (tmp_path / "cell").mkdir()
    (tmp_path / "cell" / "mine.yaml").write_text("size: 3\n")
    loader = hydra_internals.config_loader(conf_dir(), [])
    added = [f"hydra.searchpath=[file://{tmp_path}]"]
    assert "mine" in loader.get_group_options("cell", overrides=added)
    assert "mine" not in loader.get_group_options("cell")


def test_hydra_applies_one_override_to_a_composed_configuration():
    cfg = OmegaConf.create({"depth": 1, "trainer": {"max_epochs": 3}})
    OmegaConf.set_struct(cfg, True)
    for line in ("depth=2", "+seed=4", "~trainer.max_epochs"):
        override = OverridesParser.create().parse_override(line)
        hydra_internals.apply_override(override, cfg)
    assert cfg == {"depth": 2, "trainer": {}, "seed": 4}


def test_hydra_parses_its_flags_and_names_their_actions():
    parser = hydra_internals.flags_parser()
    flags = parser.parse_args(["--config-dir=mine", "--multirun", "depth=2"])
    assert (flags.config_dir, flags.multirun, flags.overrides) == ("mine", True, ["depth=2"])
    assert hydra_internals.action_of(parser, "--config-dir").dest == "config_dir"


@pytest.mark.parametrize("plugin", ["BASIC_LAUNCHER", "BASIC_SWEEPER"])
def test_the_plugins_of_hydra_have_these_names(plugin):
    assert get_class(getattr(hydra_internals, plugin))
    group = plugin.removeprefix("BASIC_").lower()
    loader = hydra_internals.config_loader(conf_dir(), [])
    cfg = loader.load_configuration("config", [f"hydra/{group}=basic"], RunMode.RUN)
    assert cfg.hydra[group]._target_ == getattr(hydra_internals, plugin)


@pytest.mark.parametrize("scorer", [BLEU(lowercase=True), CHRF()], ids=["bleu", "chrf"])
def test_counts_of_sacrebleu_are_those_of_its_score(scorer):
    answers, truths = ["The cat sat on a mat .", "a dog barks"], ["the cat sat on the mat.", "Dogs"]
    pairs = zip(answers, truths, strict=True)
    each = [statistics_of(scorer, answer, [truth]) for answer, truth in pairs]
    summed = [sum(column) for column in zip(*each, strict=True)]
    whole = scorer.corpus_score(answers, [truths])
    assert score_of(scorer, summed) == pytest.approx(whole.score)
    assert whole.score > 1
    assert signature_of(scorer) == scorer.get_signature().format()
    assert signature_of(scorer, 0).startswith("nrefs:var|")


COMPOSED = """
import sys
from omegaconf import OmegaConf
from seqpipe.config.loader import Loader, parse

loader = Loader()
for line in sys.argv[1:]:
    found = loader.compose(parse(line.split())[0])
    nodes = [OmegaConf.to_container(node) for node in (found.cfg, found.hydra)]
    del nodes[1]["runtime"]["cwd"]
    print(nodes, found.choices, found.problems)
"""


def test_what_tests_compose_quickly_is_what_hydra_composes(forked, capsys, monkeypatch):
    """See `prepared.compose_once`; the forked program composes without it."""
    lines = ("", "cell=gru depth=2 ~scheduler", "experiment=jsb_chorales optim=sgd data=dates")
    plain = forked(COMPOSED, *lines)
    assert (plain.returncode, plain.stderr) == (0, "")
    for _ in range(2):  # read, and a copy of what was read
        monkeypatch.setattr(sys, "argv", ["-c", *lines])
        exec(COMPOSED, {})
        assert capsys.readouterr().out == plain.stdout


def test_loky_ends_grown_workers_by_psutil_and_names_exit_codes_in_its_errors():
    assert isinstance(process_executor._USE_PSUTIL, bool)  # False: memory is not looked at
    assert callable(resource_tracker.ensure_running)
    error = loky_utils._format_exitcodes([-9])
    text = f"The exit codes of the workers are {error}"
    assert "The exit codes of the workers are" in inspect.getsource(process_executor)
    assert loky_internals.exit_code_in(RuntimeError(text)) == -9
    assert loky_internals.exit_code_in(RuntimeError("no codes")) is None
