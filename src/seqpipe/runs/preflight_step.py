"""What a run does before its first step: it looks the model over, `preflight=quick`."""

import copy
import logging

import torch
from omegaconf import DictConfig

from seqpipe.data.dataset import SequenceData
from seqpipe.diagnostics.preflight import Preflight, batch_of, few_of, preflight
from seqpipe.errors import ConfigError
from seqpipe.nn.cell import Cell
from seqpipe.report.findings import Finding
from seqpipe.targets import foreign_in, refusing
from seqpipe.training.carried_state import Carried, answer
from seqpipe.training.module import SequenceModule

log = logging.getLogger(__name__)


def check(
    cfg: DictConfig, module: SequenceModule, data: SequenceData, *, first: bool
) -> Preflight | None:
    """Looks the model over before anything is written.

    Every process does, so that all refuse alike. A run that goes on from a checkpoint is looked
    over as it was built, before that is read.

    Args:
        cfg: the whole configuration.
        module: with the model, before its first update; nothing of it is changed.
        data: it is to be trained on.
        first: this process prints.

    Raises:
        ConfigError: answers depend on padding or on what is to come, or are not finite.
    """
    if cfg.preflight == "none":
        return None
    few = few_of(data) if cfg.preflight == "full" else None
    bar = cfg.trainer.enable_progress_bar and first
    checked = preflight(module.model, module.task, data.spec, batch_of(data), few, bar=bar)
    allowed = "allowed: a model without that, or preflight=none to train it as it is"
    if failed := checked.of("failed"):
        told = [f"preflight={cfg.preflight}: {c.name}: {c.detail}; {allowed}" for c in failed]
        raise ConfigError(told)
    if first:
        for each in checked.of("warning"):
            log.warning("preflight: %s: %s", each.name, each.detail)
    return checked


def check_answers(cfg: DictConfig, module: SequenceModule, data: SequenceData) -> None:
    """Makes networks and tasks of the user's answer one batch, whatever `preflight` says.

    Raises:
        ConfigError: they raise, or the task cannot judge what they answer.
    """
    groups = ("architecture", "cell", "task")
    if not foreign_in(cfg, *groups):
        return
    batch, wanted = batch_of(data), module.task.output_size
    wanted = data.spec.y.size if wanted is None else wanted
    with refusing(cfg, *groups), torch.random.fork_rng(devices=[]), torch.no_grad():
        trial = copy.deepcopy(module)
        for cell in [part for part in trial.modules() if isinstance(part, Cell)]:
            _check_step(cell)
        outputs = answer(trial.model, batch, Carried())
        if outputs.shape[-1] != wanted:
            raise TypeError(f"an answer is {outputs.shape[-1]} numbers wide; expected {wanted}")
        loss = trial.task.loss(outputs, batch, training=False)
        if loss.shape != ():
            raise TypeError(f"the loss is no single number, but of shape {tuple(loss.shape)}")
        trial.task.pairs(trial.task.predict(trial.model, outputs, batch), batch)


def _check_step(cell: Cell) -> None:
    """Raises where a step gives no state that the next one could start from."""
    before = cell.initial_state(1)
    after = cell.recur(cell.project(torch.zeros(1, cell.input_size)), before)
    wanted = [tuple(part.shape) for part in before]
    shapes = [tuple(part.shape) for part in after] if isinstance(after, tuple) else None
    if shapes != wanted:
        found = f"a {type(after).__name__}" if shapes is None else f"a tuple of shapes {shapes}"
        raise TypeError(f"recur returns {found}; expected a tuple of shapes {wanted}")


def findings(checked: Preflight | None) -> tuple[Finding, ...]:
    """What the page of the run says of it."""
    if checked is None:
        return ()
    rows = [{"check": c.name, "result": c.result, "found": c.detail} for c in checked.checks]
    warned = ", ".join(each.name for each in checked.of("warning"))
    text = f"{len(checked.of('passed'))} checks of one training batch passed before the first step"
    text += f"; to be looked at: **{warned}**." if warned else "."
    return (Finding("Pre-flight", text, rows=rows, group="Pre-flight"),)
