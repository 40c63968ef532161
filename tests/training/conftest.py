"""Small trainings without a configuration: a linear model on numbers."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, Trainer
from torch import Tensor, nn

from seqpipe.data.base import FieldSpec, SequenceBatch, SequenceSpec
from seqpipe.data.batching import Batches, Examples, ResumableLoader
from seqpipe.data.columns import Column
from seqpipe.data.sampling import BucketBatchSampler
from seqpipe.tasks.regression import Regression
from seqpipe.training.module import SequenceModule
from seqpipe.training.schedules import constant

SPEC = SequenceSpec(FieldSpec("vector", 2), FieldSpec("number", 1))


class Line(nn.Module):
    """y = scale * (w x + b), from w = 0 and b = 0."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.linear, self.scale = nn.Linear(2, 1), scale
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor, x_lengths: None, y: Tensor, y_lengths: None) -> Tensor:
        return self.scale * self.linear(x)


class InOrder(BucketBatchSampler):
    """Batches as the examples stand, so that a test knows which one comes when."""

    def batches(self) -> Iterator[list[int]]:
        return iter(sorted(super().batches()))


@pytest.fixture
def loader() -> Callable[..., ResumableLoader]:
    """n examples in batches; y is what `target` makes of x."""

    def make(
        n: int = 12,
        batch_size: int = 3,
        target: Callable[[Tensor], Tensor] = lambda x: x.sum(dim=1, keepdim=True) + 3.0,
    ) -> ResumableLoader:
        x = torch.randn(n, 2, generator=torch.Generator().manual_seed(0))
        examples = Examples(Column.of(list(x), False), Column.of(list(target(x)), False))
        sampler = InOrder(examples.lengths, batch_size, shuffle=False)
        return ResumableLoader(Batches(examples, SPEC), sampler)

    return make


@pytest.fixture
def module() -> Callable[..., SequenceModule]:
    def make(
        make_optimizer: Callable[..., Any] = lambda parameters: torch.optim.SGD(parameters, lr=0.1),
        make_schedule: Callable[..., Any] = constant,
        *,
        scale: float = 1.0,
        **task: Any,
    ) -> SequenceModule:
        task = Regression(y=SPEC.y, **task)
        return SequenceModule(
            Line(scale), task, make_optimizer, make_schedule, {"config": {"of": "the run"}}
        )

    return make


class Watch(Callback):
    """What was seen at each update and at the end of each epoch."""

    def __init__(self) -> None:
        self.weights: list[Tensor] = []
        self.lrs: list[float] = []
        self.epochs: list[dict[str, float]] = []
        self.batches: list[SequenceBatch] = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        self.weights.append(nn.utils.parameters_to_vector(pl_module.parameters()).detach().clone())
        self.lrs.append(trainer.optimizers[0].param_groups[0]["lr"])
        self.batches.append(batch)

    def on_train_end(self, trainer, pl_module) -> None:
        self.weights.append(nn.utils.parameters_to_vector(pl_module.parameters()).detach().clone())

    def on_train_epoch_start(self, trainer, pl_module) -> None:
        if trainer.current_epoch:
            self._note(trainer)

    def _note(self, trainer) -> None:
        self.epochs.append({k: v.item() for k, v in trainer.callback_metrics.items()})


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def trainer(tmp_path: Path, watch: Watch) -> Callable[..., Trainer]:
    def make(*callbacks: Callback, **options: Any) -> Trainer:
        settings = {
            "accelerator": "cpu",
            "logger": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "enable_checkpointing": False,
            "default_root_dir": tmp_path,
            "log_every_n_steps": 1,
            "num_sanity_val_steps": 0,
            "use_distributed_sampler": False,
        }
        if any(isinstance(callback, Callback) for callback in callbacks):
            settings.pop("enable_checkpointing")
        return Trainer(**{**settings, **options}, callbacks=[watch, *callbacks])

    return make
