"""The samples that a run ends with: from nothing, or for each of its conditions."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqpipe.data.base import Field
from seqpipe.data.dataset import SequenceData
from seqpipe.data.sampling import evenly_spread
from seqpipe.inference.sampling import endings
from seqpipe.models.one_to_many import OneToMany
from seqpipe.tasks.language_modeling import LanguageModeling
from seqpipe.tasks.multi_label import MultiLabel
from seqpipe.training.module import SequenceModule

CLASSES, VECTORS = 10, 5  # conditions that are shown at most
EACH = 5  # samples of a condition, where samples end


@dataclass(frozen=True)
class Samples:
    """What a model made up.

    Args:
        condition: of all, as `sample condition=...` takes it; None where the model has none.
        drawn: ids (T,) without <UNK>, or rolls (T, K).
    """

    condition: str | None
    drawn: list[Tensor]


def samples(module: SequenceModule, data: SequenceData, seed: int) -> list[Samples]:
    """What a model that writes a y makes up: from nothing, or from each of some conditions.

    Conditions are the most frequent classes of the training split, or numbers of the test split.
    A roll is as long as the first test example. Other models, and a task that wants no sample,
    give an empty list.
    """
    model, task = module.model, module.task
    if not isinstance(model, OneToMany):
        return []
    options: dict[str, Any] = {"generator": torch.Generator(module.device).manual_seed(seed)}
    module.eval()
    if isinstance(task, MultiLabel):
        options["max_length"] = data.batch("test", [0]).y.shape[1]
        ends = False
    elif isinstance(task, LanguageModeling) and task.sample_length > 0:
        ends, banned = endings(task, {"window": data.window, "bptt": data.bptt})
        options |= {"max_length": task.sample_length, "temperature": task.sample_temperature}
        options |= {"banned": banned, "stop": ends}
    else:
        return []
    if data.x is None:
        return [Samples(None, _cut(*model.sample(**options)))]
    chosen = list(_conditions(data))
    each = EACH if ends else 1
    dtype = data.x.spec.dtype
    rows = torch.stack([x for x in chosen for _ in range(each)]).to(module.device, dtype)
    weight = next(model.parameters()).dtype
    rows = rows.to(weight) if rows.is_floating_point() else rows
    drawn = _cut(*model.sample(rows, count=len(rows), **options))
    return [
        Samples(typed(data.x, x.to(dtype)), drawn[each * place : each * (place + 1)])
        for place, x in enumerate(chosen)
    ]


def as_text(found: list[Samples], y: Field) -> str:
    """All of them as text: what is made up from nothing alone, conditions each with a heading."""
    parts = []
    for one in found:
        texts = "\n".join(y.decode(drawn) for drawn in one.drawn)
        parts.append(texts if one.condition is None else f"condition={one.condition}\n{texts}\n")
    return "\n".join(parts).rstrip("\n") if len(found) > 1 else "".join(parts)


def typed(x: Field, condition: Tensor) -> str:
    """A condition as it is typed: a class, a number, or a list of numbers."""
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
    """Each sample, as long as it is."""
    return [one[:length].cpu() for one, length in zip(drawn, lengths.tolist(), strict=True)]
