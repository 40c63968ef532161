"""What is the same in every test and takes long is done once, here and in programs that fork."""

import contextlib
import functools
import os
import pickle
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra._internal import defaults_list
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from omegaconf import OmegaConf, _utils, base, open_dict, read_write
from PIL import Image

from seqpipe.config.loader import Loader
from seqpipe.config.paths import conf_dir

# Where it is called -> the file that it draws; "" where the file is given.
FIGURES = {
    "seqpipe.runs.artifacts.draw_curves": "learning_curves",
    "seqpipe.report.classes.draw_confusion": "confusion_matrix",
    "seqpipe.diagnostics.probe_findings.draw_profiles": "gradient_through_time",
    "seqpipe.diagnostics.probe_findings.draw_over_training": "gradient_over_training",
    "seqpipe.diagnostics.probe_findings.draw_cells": "inside_the_cells",
    "seqpipe.diagnostics.free_running.draw_positions": "loss_by_position",
    "seqpipe.runs.examples.draw_attention": "",
}


def leave_figures_white(patch: pytest.MonkeyPatch) -> None:
    """Make white pictures of a run's figures. A small training takes less time than they do."""
    for place, name in FIGURES.items():
        patch.setattr(place, functools.partial(_white, name))


def _white(name: str, place: Path, *data: Any, **options: Any) -> Path:
    path = place / "figures" / f"{name}.png" if name else place
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", (8, 8), "white").save(path)
    return path


def compose_once(patch: pytest.MonkeyPatch) -> None:
    """Compose the packaged options of a choice once, as a sweep does, and parse each file once.

    Hydra's composition takes ten times as long as all else of `compose`, and thousands of tests
    call it. A loader with folders or overrides of Hydra's own composes for itself.
    """
    plain, ready = Loader.__init__, dict[tuple[Path, str], dict[str, Any]]()
    parse, parsed = OmegaConf.load, dict[str, bytes]()

    def sharing(
        self: Loader, config_dirs: Any = (), hydra_overrides: Any = (), config_name: str = "config"
    ) -> None:
        place = (conf_dir(), config_name)
        if config_dirs or hydra_overrides or place not in ready:
            plain(self, config_dirs, hydra_overrides, config_name)
            if not (config_dirs or hydra_overrides or self.user_dirs()):
                ready[place] = vars(self)
        else:
            vars(self).update(ready[place])

    def load(file: Any) -> Any:
        if isinstance(file, (str, Path)):
            return parse(file)
        text = file.read()
        if text not in parsed:
            file.seek(0)
            parsed[text] = pickle.dumps(parse(file))
        return pickle.loads(parsed[text])

    copy_of = Loader._compose_groups

    def here(self: Loader, lines: tuple[str, ...]) -> Any:
        cfg = copy_of(self, lines)
        with contextlib.suppress(FileNotFoundError), read_write(cfg.hydra), open_dict(cfg.hydra):
            cfg.hydra.runtime.cwd = os.getcwd()  # not where it was composed first
        return cfg

    patch.setattr(Loader, "__init__", sharing)
    patch.setattr(Loader, "_compose_groups", here)
    patch.setattr(OmegaConf, "load", staticmethod(load))
    parse_texts_once(patch)
    read_options_once(patch)


def read_options_once(patch: pytest.MonkeyPatch) -> None:
    """Read each packaged option once for all compositions of Hydra, which reads it in each.

    A composition then takes half the time. What it reads it changes: each gets a copy.
    """
    single, results = ConfigLoaderImpl._load_single_config, dict[tuple[Any, ...], bytes]()
    of_file, files = ConfigRepository.load_config, dict[str, bytes]()
    choices = defaults_list._create_interpolation_map
    packaged = {f"file://{conf_dir()}", "pkg://hydra.conf", "structured://", None}

    def read(self: Any, config_path: str) -> Any:
        if not all(source.full_path() in packaged for source in self.sources):
            return of_file(self, config_path)
        if config_path not in files:
            files[config_path] = pickle.dumps(of_file(self, config_path))
        return pickle.loads(files[config_path])

    def placed(self: Any, default: Any, repo: Any) -> Any:
        key = (default.config_path, default.package, default.primary)
        if not all(source.full_path() in packaged for source in repo.get_sources()):
            return single(self, default, repo)
        if key not in results:
            results[key] = pickle.dumps(single(self, default, repo))
        return pickle.loads(results[key])

    def known(overrides: Any, listed: Any, self_added: bool) -> Any:
        """What interpolations in a list of defaults may name: for nothing where there are none."""
        if any(one.is_interpolation() for one in listed):
            return choices(overrides, listed, self_added)
        return OmegaConf.create()

    patch.setattr(ConfigRepository, "load_config", read)
    patch.setattr(ConfigLoaderImpl, "_load_single_config", placed)
    patch.setattr(defaults_list, "_create_interpolation_map", known)


def parse_texts_once(patch: pytest.MonkeyPatch) -> None:
    """Parse each interpolation, and each text of YAML that is read as plain data, once.

    Half of what `compose` takes after Hydra's composition is the parsing of the same texts.
    """
    grammar = functools.cache(base.parse)  # the tree of an interpolation is only visited
    patch.setattr(base, "parse", grammar)
    patch.setattr(_utils, "parse", grammar)
    load, loaded = yaml.safe_load, dict[str, bytes]()

    def safe_load(text: Any) -> Any:
        if not isinstance(text, str):
            return load(text)
        if text not in loaded:
            loaded[text] = pickle.dumps(load(text))
        return pickle.loads(loaded[text])

    patch.setattr(yaml, "safe_load", safe_load)


def copy_tables(patch: pytest.MonkeyPatch, template: Path) -> None:
    """Copy the tables of a new store of MLflow, which makes them by sixty migrations, a second.

    Args:
        patch: puts MLflow's own way back.
        template: the first store, made when it is needed.
    """
    import sqlalchemy
    from mlflow.store.db import utils

    make = utils._initialize_tables

    def copied(engine: sqlalchemy.engine.Engine) -> None:
        if not template.exists():
            first = sqlalchemy.create_engine(f"sqlite:///{template}")
            make(first)
            first.dispose()
        with (
            contextlib.closing(sqlite3.connect(template)) as made,
            contextlib.closing(sqlite3.connect(str(engine.url.database))) as store,
        ):
            made.backup(store)

    patch.setattr(utils, "_initialize_tables", copied)
