"""The module of a run: built, and checked before anything is written."""

from omegaconf import DictConfig
from pytorch_lightning import seed_everything

from seqpipe.build import build_model, build_module, build_task
from seqpipe.checks import (
    check_answers,
    check_kernels,
    check_limits,
    check_monitors,
    check_optimizer,
    check_schedule,
)
from seqpipe.config.compose import Launch
from seqpipe.diagnostics.preflight import Preflight, batch_of, few_of, preflight
from seqpipe.runs import resume_states
from seqpipe.runs.load_data import Loaded
from seqpipe.runs.matched_size import settle_hidden_size
from seqpipe.runs.observers import check_diagnostics
from seqpipe.training.freezing import freeze
from seqpipe.training.module import SequenceModule


def build_checked_module(
    cfg: DictConfig, launch: Launch, loaded: Loaded
) -> tuple[SequenceModule, Preflight]:
    """Model, task, optimizer and schedule, and the pre-flight of the model.

    In every process, so that all refuse alike. The pre-flight of a resumed run is of the model as
    it was built, before the checkpoint is read.

    Args:
        cfg: the whole configuration.
        launch: how the run was started.
        loaded: the data and the trainer.

    Raises:
        ConfigError: one of them cannot work, or does not fit the checkpoint.
        DataError: the task cannot take what the data holds.
    """
    data, trainer = loaded.data, loaded.trainer
    check_limits(cfg, data, trainer.world_size)
    task = build_task(cfg, data)
    check_monitors(cfg, task)
    settle_hidden_size(cfg, data.spec, task.output_size)
    # After the data: the weights must not depend on how many numbers it drew.
    seed_everything(cfg.seed, workers=True, verbose=False)
    model = build_model(cfg, data.spec, task.output_size)
    freeze(model, cfg.freeze)
    check_kernels(model, trainer)
    check_diagnostics(launch.overrides, model)
    module = build_module(cfg, model, task, data.digests)
    check_answers(cfg, module, data)
    check_optimizer(cfg, module)
    check_schedule(cfg, module)
    resume_states.check_states(cfg, loaded.resumed, module, trainer)
    if cfg.preflight == "none":
        return module, Preflight()
    few = few_of(data) if cfg.preflight == "full" else None
    bar = cfg.trainer.enable_progress_bar and trainer.is_global_zero
    checked = preflight(model, task, data.spec, batch_of(data), few, bar=bar)
    checked.refuse_failed(f"preflight={cfg.preflight}")
    return module, checked
