"""Losses and metrics are those of the split: the batch size has no say in them."""

from collections.abc import Sequence
from functools import partial

import pytest
import torch
from pytorch_lightning import Trainer

from seqpipe.build import build_model
from seqpipe.config.compose import compose
from seqpipe.data.base import FieldSpec, SequenceSpec
from seqpipe.data.batching import Batches, Examples, ResumableLoader
from seqpipe.data.columns import Column
from seqpipe.data.sampling import BucketBatchSampler
from seqpipe.data.vocabulary import EOS
from seqpipe.tasks.classification import Classification
from seqpipe.tasks.language_modeling import LanguageModeling
from seqpipe.tasks.multi_label import MultiLabel
from seqpipe.tasks.ordinal import Ordinal
from seqpipe.tasks.regression import Regression
from seqpipe.tasks.tagging import Tagging
from seqpipe.tasks.transcription import Transcription
from seqpipe.tasks.transduction import Transduction
from seqpipe.training.module import SequenceModule
from seqpipe.training.schedules import constant

TEXT = FieldSpec("symbols", 9, unit="characters")
VALUES = FieldSpec("values", 3)
TRANSCRIBED = SequenceSpec(VALUES, TEXT)
CASES = {
    "digits": (Classification, SequenceSpec(VALUES, FieldSpec("category", 4, tuple("abcd")))),
    "adding": (Regression, SequenceSpec(VALUES, FieldSpec("number", 2))),
    "copy_memory task=regression data.y._target_=seqpipe.data.fields.series.Series": (
        Regression,
        SequenceSpec(TEXT, FieldSpec("values", 2, mean=(1.0, -2.0), scale=(3.0, 0.5))),
    ),
    "digits task=ordinal data.y._target_=seqpipe.data.fields.labels.Ordinal": (
        Ordinal,
        SequenceSpec(VALUES, FieldSpec("ordinal", 4, tuple("abcd"))),
    ),
    "copy_memory": (Tagging, SequenceSpec(TEXT, FieldSpec("tags", 4, tuple("abcd")))),
    "python_docs": (LanguageModeling, SequenceSpec(None, TEXT)),
    "jsb_chorales": (MultiLabel, SequenceSpec(None, FieldSpec("roll", 5))),
    "digits task=multi_label data.y._target_=seqpipe.data.fields.multilabel.MultiLabel": (
        MultiLabel,
        SequenceSpec(VALUES, FieldSpec("multi_label", 4, tuple("abcd"))),
    ),
    "dates": (partial(Transduction, longest_y=6), SequenceSpec(TEXT, TEXT)),
    "dates architecture=many_to_many task=transcription": (Transcription, TRANSCRIBED),
}
N = 23


def examples_of(spec: SequenceSpec) -> Examples:
    """Ragged, of 1 to 8 steps."""
    generator = torch.Generator().manual_seed(2)

    def column(field: FieldSpec, lengths: Sequence[int]) -> Column:
        rows = []
        for n in lengths:
            if field.kind in ("values", "number"):
                shape = (n, field.size) if field.has_time else (field.size,)
                rows.append(torch.randn(shape, generator=generator))
            elif field.kind in ("roll", "multi_label"):
                shape = (n, field.size) if field.has_time else (field.size,)
                rows.append(torch.randint(0, 2, shape, generator=generator, dtype=torch.uint8))
            elif field.kind == "symbols":
                ids = torch.randint(4, field.size, (n,), generator=generator)
                rows.append(torch.cat([ids[:-1], torch.tensor([EOS])]))
            else:
                shape = (n,) if field.has_time else ()
                rows.append(torch.randint(0, field.size, shape, generator=generator))
        return Column.of(rows, field.has_time)

    lengths = torch.randint(1, 9, (N,), generator=generator).tolist()
    assert len(set(lengths)) > 3
    x = None if spec.x is None else column(spec.x, lengths)
    if spec == TRANSCRIBED:  # an x long enough to say y, and a symbol before <EOS>
        return Examples(
            column(spec.x, [2 * n for n in lengths]), column(spec.y, [n + 1 for n in lengths])
        )
    other = spec.y.kind == "symbols" and spec.x is not None
    return Examples(x, column(spec.y, lengths[::-1] if other else lengths))


def evaluated(data: str, batch_size: int) -> dict[str, float]:
    make_task, spec = CASES[data]
    examples = examples_of(spec)
    torch.manual_seed(0)
    task = make_task(y=spec.y)
    cfg, _ = compose([*f"data={data}".split(), "hidden_size=6"])
    model = build_model(cfg, spec, task.output_size)
    module = SequenceModule(model, task, torch.optim.SGD, constant, {})
    loader = ResumableLoader(
        Batches(examples, spec), BucketBatchSampler(examples.lengths, batch_size, shuffle=False)
    )
    trainer = Trainer(
        accelerator="cpu",
        precision="64-true",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    trainer.test(module, loader, verbose=False)
    tested = {name: value.item() for name, value in trainer.callback_metrics.items()}
    trainer.validate(module, loader, verbose=False)
    return {**tested, **{name: value.item() for name, value in trainer.callback_metrics.items()}}


@pytest.mark.parametrize("data", CASES)
def test_no_loss_and_no_metric_depends_on_the_batch_size(data):
    whole = evaluated(data, N)
    assert {"test/loss", "val/loss"} < set(whole)
    for batch_size in (1, 7):
        assert evaluated(data, batch_size) == pytest.approx(whole, rel=1e-5), batch_size
    # What a task says it measures is what a validation logs.
    make_task, spec = CASES[data]
    names = {f"val/{name}" for name in make_task(y=spec.y).metric_names()}
    assert {name for name in whole if name.startswith("val/")} == names
    assert {name.replace("val/", "test/") for name in names} <= set(whole)
