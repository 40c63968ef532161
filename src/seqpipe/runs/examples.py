"""Examples of what a trained model does: predictions, samples, attention."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqpipe.data.base import Field, FieldSpec, SequenceBatch
from seqpipe.data.dataset import SequenceData
from seqpipe.data.sampling import evenly_spread
from seqpipe.models.architecture import Samples as CanSample
from seqpipe.models.architecture import attends
from seqpipe.report.examples import AttentionMap, attention_finding, draw_attention
from seqpipe.report.findings import Finding
from seqpipe.runs.training_run import TrainingRun
from seqpipe.training.module import SequenceModule

EXAMPLES, SHOWN = 100, 4  # examples in examples.csv; in the attention figure
CLASSES, VECTORS = 10, 5  # conditions that are shown at most
EACH = 5  # samples of a condition, where samples end


@dataclass(frozen=True)
class Samples:
    """Sequences that a model generated.

    Args:
        condition: as `sample condition=...` takes it; None where the model has none.
        drawn: ids (T,) without <UNK>, or rolls (T, K).
    """

    condition: str | None
    drawn: list[Tensor]


def draw_samples(module: SequenceModule, data: SequenceData, seed: int) -> list[Samples]:
    """Generates sequences: from nothing, or from each of some conditions.

    Conditions are the most frequent classes of the training split, or numbers of the test split.
    A roll is as long as the first test example. Empty for other models and for a task without
    samples.
    """
    model, task = module.model, module.task
    if not isinstance(model, CanSample):
        return []
    steps = data.batch("test", [0]).y.shape[1]
    in_pieces = data.window is not None or data.bptt is not None
    options = task.run_sample(steps, in_pieces=in_pieces)
    if options is None:
        return []
    options["generator"] = torch.Generator(module.device).manual_seed(seed)
    module.eval()
    if data.x is None:
        return [Samples(None, _cut(*model.sample(**options)))]
    chosen = list(_conditions(data))
    each = EACH if options.get("stop", True) else 1
    dtype = data.x.spec.dtype
    rows = torch.stack([x for x in chosen for _ in range(each)]).to(module.device, dtype)
    weight = next(model.parameters()).dtype
    rows = rows.to(weight) if rows.is_floating_point() else rows
    drawn = _cut(*model.sample(rows, count=len(rows), **options))
    return [
        Samples(typed_condition(data.x, x.to(dtype)), drawn[each * place : each * (place + 1)])
        for place, x in enumerate(chosen)
    ]


def samples_as_text(found: list[Samples], y: Field) -> str:
    """All samples as text, each condition with a heading."""
    parts = []
    for one in found:
        texts = "\n".join(y.decode(drawn) for drawn in one.drawn)
        parts.append(texts if one.condition is None else f"condition={one.condition}\n{texts}\n")
    return "\n".join(parts).rstrip("\n") if len(found) > 1 else "".join(parts)


def typed_condition(x: Field, condition: Tensor) -> str:
    """A condition as typed on the command line: a class, a number, or a list of numbers."""
    shown = x.decode(condition)
    if condition.is_floating_point():
        numbers = [float(number) for number in shown.split()]
        return json.dumps(numbers[0] if len(numbers) == 1 else numbers, separators=(",", ":"))
    return shown


def _conditions(data: SequenceData) -> Iterator[Tensor]:
    counts = data.counts("x").get("train")
    if counts is not None:
        frequent = np.argsort(-counts, kind="stable")[:CLASSES]
        yield from (torch.tensor(int(id_)) for id_ in sorted(frequent) if counts[id_])
        return
    rows = data.batch("test", evenly_spread(4 * VECTORS, data.sizes["test"])).x
    assert rows is not None
    distinct = dict.fromkeys(tuple(row) for row in rows.tolist())
    yield from (torch.tensor(row) for row in list(distinct)[:VECTORS])


def _cut(drawn: Tensor, lengths: Tensor) -> list[Tensor]:
    return [one[:length].cpu() for one, length in zip(drawn, lengths.tolist(), strict=True)]


@torch.no_grad()
def attention_findings(run: TrainingRun) -> list[Finding]:
    """Draws the attention of a model that has it, on a few examples; nothing of others."""
    module, spec = run.module, run.data.spec
    model = module.model
    if not attends(model):
        return []
    batch = _test_batch(run, SHOWN)
    assert batch.x is not None and batch.x_lengths is not None and spec.x is not None
    module.eval()
    ids, lengths = module.task.predict(model, module(batch), batch)
    weights = model.attention_of(batch.x, batch.x_lengths, ids, lengths).float().cpu()
    maps = []
    for b, (T_x, T_y) in enumerate(zip(batch.x_lengths.tolist(), lengths.tolist(), strict=True)):
        x = _step_names(batch.x[b, :T_x], spec.x)
        maps.append(
            AttentionMap(x, _step_names(ids[b, :T_y], spec.y), weights[b, :T_y, :T_x].numpy())
        )
    path = run.folder / "figures" / "attention.png"
    draw_attention(path, maps, title=f"{run.name}: attention")
    return [attention_finding(maps, path.name)]


def _step_names(steps: Tensor, field: FieldSpec) -> Sequence[str]:
    """The symbol of each step, or its word; empty for numbers. steps: (T,) or (T, ...)."""
    if steps.is_floating_point() or field.names is None:
        return ()
    ids = steps if steps.ndim == 1 else steps[:, 0]
    return [field.names[id_] for id_ in ids.tolist()]


@torch.no_grad()
def example_rows(run: TrainingRun) -> list[dict[str, Any]]:
    """Some test examples in readable form: x, truth, prediction, and whether it is right."""
    module, data, y = run.module, run.data, run.data.y
    module.eval()
    batch = _test_batch(run, EXAMPLES)
    predictions = module.task.predict(module.model, module(batch), batch)
    rows = []
    texts = batch.texts or ("",) * len(batch)
    for b, (predicted, truth) in enumerate(module.task.decoded(predictions, batch)):
        row: dict[str, Any] = {}
        if data.x is not None and batch.x is not None:
            x = batch.x[b].cpu()  # a condition has no steps
            row["x"] = data.x.decode(x if batch.x_lengths is None else x[: batch.x_lengths[b]])
        row |= {"truth": texts[b] or y.decode(truth), "prediction": y.decode(predicted)}
        correct = module.task.correct(data.y, predicted, truth, texts[b])
        if correct is not None:
            row["correct"] = correct
        rows.append(row)
    return rows


def _test_batch(run: TrainingRun, most: int) -> SequenceBatch:
    """Test examples, evenly spread, on the model's device and in its precision.

    With `trainer.overfit_batches`, of the first training batch: it was trained on and tested.
    """
    split, data = "test", run.data
    chosen = evenly_spread(most, data.sizes[split])
    if run.cfg.trainer.overfit_batches > 0:
        split = "train"
        chosen = next(iter(data.loader(split, shuffle=False))).index.tolist()[:most]
    batch = data.batch(split, chosen).to(run.module.device)
    converted: SequenceBatch = run.trainer.precision_plugin.convert_input(batch)
    return converted
