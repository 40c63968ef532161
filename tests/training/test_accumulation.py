"""An update is the gradient of the mean over all real steps of it, however it is cut.

Run as a program, this file is one of several processes: RANK and WORLD_SIZE say which; the first
writes the updates to the file that it is given.
"""

import copy
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import GradientAccumulationScheduler
from torch import Tensor
from torch.testing import assert_close

from seqpipe.build import build_model
from seqpipe.config.compose import compose
from seqpipe.data.base import FieldSpec, SequenceBatch, SequenceSpec
from seqpipe.data.batching import Batches, Examples, ResumableLoader
from seqpipe.data.columns import Column
from seqpipe.data.sampling import Repeated
from seqpipe.data.tbptt_sampler import LaneBatches, LaneSampler
from seqpipe.data.vocabulary import EOS
from seqpipe.tasks.classification import Classification
from seqpipe.tasks.language_modeling import LanguageModeling
from seqpipe.tasks.multi_label import MultiLabel
from seqpipe.tasks.ordinal import Ordinal
from seqpipe.tasks.regression import Regression
from seqpipe.tasks.tagging import Tagging
from seqpipe.tasks.transcription import Transcription
from seqpipe.tasks.transduction import Transduction
from seqpipe.training.carried_state import Carried, answer
from seqpipe.training.module import SequenceModule
from seqpipe.training.schedules import constant

NAMES = tuple("abcd")
COUNTS = torch.tensor([10, 1, 5, 3]).numpy()
TEXT, VALUES = FieldSpec("symbols", 9, unit="characters"), FieldSpec("values", 3)
CATEGORY = FieldSpec("category", 4, NAMES, counts=COUNTS)
TAGS = FieldSpec("tags", 4, NAMES, counts=COUNTS)
LENGTHS = [40, 1, 30, 2, 1, 10, 3, 25]
DATES = "data=dates architecture.attention=dot"
SPELT = "data=copy_memory"
CASES: dict[str, tuple[str, Any, SequenceSpec]] = {
    "classification": ("data=digits", Classification, SequenceSpec(VALUES, CATEGORY)),
    "class weights": (
        "data=digits",
        partial(Classification, class_weights="balanced"),
        SequenceSpec(VALUES, CATEGORY),
    ),
    "label smoothing": (
        "data=digits",
        partial(Classification, label_smoothing=0.1),
        SequenceSpec(VALUES, CATEGORY),
    ),
    "ordinal": (
        "data=digits task=ordinal data.y._target_=seqpipe.data.fields.labels.Ordinal",
        partial(Ordinal, class_weights="sqrt"),
        SequenceSpec(VALUES, FieldSpec("ordinal", 4, NAMES, counts=COUNTS)),
    ),
    "regression": ("data=adding", Regression, SequenceSpec(VALUES, FieldSpec("number", 2))),
    "regression of each step": (
        "data=copy_memory task=regression data.y._target_=seqpipe.data.fields.series.Series",
        Regression,
        SequenceSpec(TEXT, FieldSpec("values", 2)),
    ),
    "tagging": (SPELT, Tagging, SequenceSpec(TEXT, TAGS)),
    "tagging with weights": (
        SPELT,
        partial(Tagging, class_weights="balanced"),
        SequenceSpec(TEXT, TAGS),
    ),
    "tagging with a crf": (
        f"{SPELT} architecture/head=crf",
        partial(Tagging, crf=True),
        SequenceSpec(TEXT, TAGS),
    ),
    "crf with weights": (
        f"{SPELT} architecture/head=crf",
        partial(Tagging, crf=True, class_weights="sqrt"),
        SequenceSpec(TEXT, TAGS),
    ),
    "language modeling": (
        "data=python_docs",
        partial(LanguageModeling, label_smoothing=0.1),
        SequenceSpec(None, TEXT),
    ),
    "multi-label": (
        "data=digits task=multi_label data.y._target_=seqpipe.data.fields.multilabel.MultiLabel",
        MultiLabel,
        SequenceSpec(VALUES, FieldSpec("multi_label", 4, NAMES)),
    ),
    "piano roll": ("data=jsb_chorales", MultiLabel, SequenceSpec(None, FieldSpec("roll", 5))),
    "transduction": (DATES, partial(Transduction, longest_y=6), SequenceSpec(TEXT, TEXT)),
    "transcription": (
        "data=dates architecture=many_to_many task=transcription",
        Transcription,
        SequenceSpec(VALUES, TEXT),
    ),
}


def examples_of(spec: SequenceSpec) -> Examples:
    """Eight of very uneven lengths."""
    generator = torch.Generator().manual_seed(2)

    def column(field: FieldSpec, lengths: Sequence[int]) -> Column:
        rows = []
        for n in lengths:
            shape = (n,) if field.has_time else ()
            wide = (*shape, field.size)
            if field.kind in ("values", "number"):
                rows.append(torch.randn(wide, generator=generator))
            elif field.kind in ("roll", "multi_label"):
                rows.append(torch.randint(0, 2, wide, generator=generator, dtype=torch.uint8))
            elif field.kind == "symbols":
                ids = torch.randint(4, field.size, (n,), generator=generator)
                rows.append(torch.cat([ids[:-1], torch.tensor([EOS])]))
            else:
                rows.append(torch.randint(0, field.size, shape, generator=generator))
        return Column.of(rows, field.has_time)

    if spec.x is VALUES and spec.y is TEXT:  # an x long enough to say y, a symbol before <EOS>
        said = [1 + n // 3 for n in LENGTHS]
        return Examples(
            column(spec.x, [3 * n + 2 for n in LENGTHS]), column(spec.y, [n + 1 for n in said])
        )
    other = spec.y.kind == "symbols" and spec.x is not None
    x = None if spec.x is None else column(spec.x, LENGTHS)
    return Examples(x, column(spec.y, LENGTHS[::-1] if other else LENGTHS))


class Cut:
    """The batches of an epoch, as they are given."""

    seed = 0

    def __init__(self, batches: Sequence[Sequence[int]]) -> None:
        self.given, self.skip, self.sampler = list(batches), 0, self

    def set_epoch(self, epoch: int) -> None:
        pass

    def __len__(self) -> int:
        return len(self.given)

    def __iter__(self):
        skip, self.skip = self.skip, 0
        yield from self.given[skip:]


@cache
def composed(overrides: str) -> DictConfig:
    return compose([*overrides.split(), "hidden_size=5", "dropout=0.0"])[0]


def made(case: str, lr: float = 1.0) -> tuple[SequenceModule, Examples, SequenceSpec]:
    overrides, make_task, spec = CASES[case]
    torch.manual_seed(0)
    task = make_task(y=spec.y)
    model = build_model(composed(overrides), spec, task.output_size)
    sgd = partial(torch.optim.SGD, lr=lr)
    return SequenceModule(model, task, sgd, constant, {}), examples_of(spec), spec


def update(case: str, cut: Sequence[Sequence[int]], **options: Any) -> dict[str, Tensor]:
    """What an epoch of batches adds to each parameter, by name."""
    module, examples, spec = made(case)
    before = {name: p.detach().clone() for name, p in module.model.named_parameters()}
    loader = ResumableLoader(Batches(examples, spec), Cut(cut))
    fitted(module, loader, **{"accumulate_grad_batches": len(cut), **options})
    after = dict(module.model.named_parameters())
    return {name: after[name].detach() - old for name, old in before.items()}


def fitted(module: SequenceModule, loader: ResumableLoader, **options: Any) -> None:
    """Trains for an epoch."""
    settings: dict[str, Any] = {
        "accelerator": "cpu",
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "max_epochs": 1,
        "limit_val_batches": 0,
        "use_distributed_sampler": False,
    }
    Trainer(**{**settings, **options}).fit(module, loader, loader)


WHOLE = [list(range(8))]
PROCESSES = {  # the batches of each of two processes
    "even": ([[0, 1], [2, 3]], [[4, 5], [6, 7]]),
    "one batch": ([[0, 2, 3, 5, 6, 7]], [[1, 4]]),
    "one comes once more": ([[0, 1], [2, 3]], [[4, 5], Repeated([0, 1])]),
    "last window incomplete": ([[0, 1], [2, 3], [5]], [[4], [6], [7]]),
}
exactly = {"rtol": 1e-5, "atol": 1e-6}


def norm_of(found: dict[str, Tensor]) -> float:
    return torch.cat([part.flatten() for part in found.values()]).norm().item()


@pytest.mark.parametrize("case", CASES)
def test_an_update_does_not_depend_on_how_it_is_cut_into_batches(case):
    whole = stepped(case, WHOLE)
    assert norm_of(whole) > 1e-3
    assert_close(update(case, WHOLE), whole, rtol=0, atol=1e-7)
    assert_close(update(case, [[0, 1, 2, 3, 5], [4, 6, 7]]), whole, **exactly)
    assert_close(update(case, [[1], [0, 2, 3], [4], [5, 6, 7]]), whole, **exactly)


PENALTIES = "activation_penalty=2.0 temporal_activation_penalty=0.7 hidden_size=5"
PENALISED = {
    "sequences": ("classification", "encoder"),
    "steps": ("language modeling", "decoder"),
    "an encoder and a decoder": ("transduction", "encoder decoder"),
    "input feeding": ("transduction", "encoder decoder", "architecture.input_feeding=true"),
    "own guesses": ("transduction", "encoder decoder", "architecture.teacher_forcing=0.0"),
}


def with_penalty_by_hand(module: SequenceModule, batch: SequenceBatch, stacks: str) -> Tensor:
    """The task's loss, and the penalty of each sequence, which counts as its steps do in it."""
    outputs: dict[str, Tensor] = {}
    model = module.model

    def watch(name: str) -> None:
        stack = getattr(model, name)

        def whole(plain: Tensor, dropped: Tensor, lengths: Tensor | None) -> None:
            outputs[name] = plain

        def one(plain: Tensor, dropped: Tensor) -> None:
            before = outputs.get(name, plain[:, None, :][:, :0])
            outputs[name] = torch.cat([before, plain[:, None]], dim=1)

        stack.penalty.keep, stack.penalty.keep_step = whole, one

    for name in stacks.split():
        watch(name)
    answers = model(batch.x, batch.x_lengths, batch.y, batch.y_lengths)
    loss = module.task.loss(answers, batch, training=True)
    units = module.task.unit_counts(batch)
    for name in stacks.split():
        lengths = batch.x_lengths if name == "encoder" else batch.y_lengths
        for h, n, count in zip(outputs[name], lengths, units, strict=True):
            size = h[:n].square().mean()
            change = (h[1:n] - h[: n - 1]).square().sum() / (max(1, n - 1) * h.shape[1])
            loss = loss + (2 * size + 0.7 * change) * count / units.sum()
    return loss


@pytest.mark.parametrize("penalised", PENALISED)
def test_penalties_do_not_depend_on_how_an_update_is_cut_into_batches(penalised, monkeypatch):
    case, stacks, *more = PENALISED[penalised]
    overrides, task, spec = CASES[case]
    monkeypatch.setitem(CASES, "now", (" ".join([overrides, *more]), task, spec))
    plain = update("now", WHOLE)
    monkeypatch.setitem(CASES, "now", (" ".join([overrides, PENALTIES, *more]), task, spec))
    module, examples, _ = made("now")
    with_penalty_by_hand(module, examples.batch(range(8), spec), stacks).backward()
    wanted = {n: -p.grad for n, p in module.model.named_parameters() if p.grad is not None}
    found = update("now", WHOLE)
    assert_close({name: found[name] for name in wanted}, wanted, **exactly)
    assert norm_of({name: found[name] - plain[name] for name in wanted}) > 1e-3
    assert_close(update("now", [[1], [0, 2, 3], [4], [5, 6, 7]]), found, **exactly)


@pytest.mark.parametrize("case", ["classification", "tagging", "transduction"])
def test_the_last_update_of_an_epoch_is_whole_though_its_window_is_not(case):
    straight = update(case, [[0, 1, 2, 3], [4, 5, 6, 7]], accumulate_grad_batches=1)
    cut = [[0, 1], [2], [3], [4, 5], [6, 7]]
    assert_close(update(case, cut, accumulate_grad_batches=3), straight, **exactly)


@pytest.mark.filterwarnings("ignore:When using `Trainer.accumulate_grad_batches:UserWarning")
def test_a_window_that_changes_its_size_in_training_still_weights_every_step_alike():
    grows = GradientAccumulationScheduler({0: 1, 1: 2})
    options = {"max_epochs": 2, "accumulate_grad_batches": 1}
    cut = [[0, 1, 2, 3], [4], [5, 6, 7]]  # three updates, then two
    found = update("tagging", cut, callbacks=[grows], **options)
    straight = stepped("tagging", [[0, 1, 2, 3], [4], [5, 6, 7], [0, 1, 2, 3, 4], [5, 6, 7]])
    assert_close(found, straight, **exactly)


def test_a_batch_that_comes_once_more_counts_in_no_update_and_no_metric():
    recorder = Recorder()
    cut = [[0, 1, 2, 3], Repeated([4, 5, 6, 7]), [4, 5, 6, 7]]
    found = update("classification", cut, accumulate_grad_batches=3, callbacks=[recorder])
    assert_close(found, update("classification", WHOLE, callbacks=[recorder]), **exactly)
    first, second = recorder.ended
    assert {"train/loss", "train/accuracy"} <= set(first)
    assert first["train/loss"] == pytest.approx(second["train/loss"], rel=1e-6)
    assert first["train/accuracy"] == second["train/accuracy"]


class Recorder(Callback):
    """What each training ended with."""

    def __init__(self) -> None:
        self.ended: list[dict[str, float]] = []

    def on_fit_end(self, trainer, pl_module) -> None:
        self.ended.append({k: v.item() for k, v in trainer.callback_metrics.items()})


def stepped(case: str, batches: Sequence[Sequence[int]]) -> dict[str, Tensor]:
    """SGD by hand, without Lightning: one update a batch."""
    module, examples, spec = made(case)
    model = module.model.train()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for indices in batches:
        batch = examples.batch(indices, spec)
        outputs = model(batch.x, batch.x_lengths, batch.y, batch.y_lengths)
        model.zero_grad()
        module.task.loss(outputs, batch, training=True).backward()
        with torch.no_grad():
            for p in model.parameters():
                p -= 0 if p.grad is None else p.grad
    return {name: p.detach() - before[name] for name, p in model.named_parameters()}


def test_lanes_that_end_early_weight_every_step_alike():
    """Truncated backpropagation: the state passes from batch to batch of an update."""
    module, _, spec = made("language modeling")
    texts = [torch.arange(4, 8).repeat(n)[:n] for n in (30, 1, 19, 7)]
    bounds = np.append(0, np.cumsum([len(text) for text in texts]))
    examples = Examples(None, Column.of(texts, True))
    batches = LaneBatches(examples, spec)
    sampler = LaneSampler(bounds, lanes=3, bptt=5, shuffle=False)
    assert len({sum(p.end - p.start for p in pieces) for pieces in sampler.batches()}) > 2
    by_hand, carried = copy.deepcopy(module), Carried()
    windows = [list(window) for window in batched(sampler.batches(), 3)]
    for window in windows:
        total, units = torch.zeros(()), 0
        for pieces in window:
            batch = batches.__getitems__(pieces)
            outputs = answer(by_hand.model, batch, carried)
            n = int(by_hand.task.units(batch))
            total, units = total + n * by_hand.task.loss(outputs, batch, training=True), units + n
        by_hand.model.zero_grad()
        (total / units).backward()
        with torch.no_grad():
            for p in by_hand.model.parameters():
                p -= p.grad
    fitted(module, ResumableLoader(batches, sampler), accumulate_grad_batches=3)
    assert_close(module.model.state_dict(), by_hand.model.state_dict(), **exactly)


def batched(items, size):
    """The items in lists of `size`, the last one shorter."""
    items = list(items)
    return [items[start : start + size] for start in range(0, len(items), size)]


@pytest.mark.slow
def test_an_update_does_not_depend_on_how_it_is_cut_into_processes(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    together = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    root = Path(__file__).resolve().parents[2]
    started = [
        subprocess.Popen(
            [sys.executable, __file__, str(tmp_path / "updates.pt")],
            env={
                **{**os.environ, **together, "PYTHONPATH": str(root / "src")},
                **{"RANK": str(rank), "LOCAL_RANK": str(rank), "TORCHELASTIC_RUN_ID": "test"},
            },
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for process in started:
        _, problems = process.communicate(timeout=400)
        assert process.returncode == 0, problems
    together = torch.load(tmp_path / "updates.pt")
    assert len(together) > len(CASES)
    for (case, cut), found in together.items():
        ranks, windows = PROCESSES[cut], []
        for start in range(0, len(ranks[0]), 2):
            batches = [batch for rank in ranks for batch in rank[start : start + 2]]
            batches = [batch for batch in batches if not isinstance(batch, Repeated)]
            windows.append([index for batch in batches for index in batch])
        alone = update(case, windows, accumulate_grad_batches=1)
        assert_close(found, alone, **exactly, msg=lambda text, of=(case, cut): f"{of}: {text}")


def main(path: str) -> None:
    rank = int(os.environ["RANK"])
    together = {"strategy": "ddp", "devices": int(os.environ["WORLD_SIZE"])}
    found = {
        (case, cut): update(case, ranks[rank], **together, accumulate_grad_batches=2)
        for cut, ranks in PROCESSES.items()
        for case in (CASES if cut == "even" else ["classification", "tagging", "transduction"])
    }
    if rank == 0:
        torch.save(found, path)
    # Else the threads of the group may abort the process as it exits.
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])
