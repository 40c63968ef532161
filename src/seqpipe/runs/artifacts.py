"""Files that a run leaves in its folder: configuration, metrics, figures, examples, a sample."""

import contextlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from seqpipe.build import build_tracker
from seqpipe.config.compose import Launch
from seqpipe.data.base import Field, FieldSpec, SequenceBatch
from seqpipe.data.dataset import SequenceData
from seqpipe.data.sampling import evenly_spread
from seqpipe.inference.generate import endings
from seqpipe.models.encoder_decoder import EncoderDecoder
from seqpipe.models.one_to_many import OneToMany
from seqpipe.records import SEALS, note_seal
from seqpipe.report import run_files as report
from seqpipe.report.attention import Looks, attention_finding, draw_attention
from seqpipe.report.findings import Finding
from seqpipe.report.music import draw_roll
from seqpipe.report.page import write_report
from seqpipe.report.sentences import confusion_finding, curves_advice, curves_finding
from seqpipe.runs import artifacts, summary
from seqpipe.runs.summary import RunFacts
from seqpipe.tasks.base import Task
from seqpipe.tasks.language_modeling import LanguageModeling
from seqpipe.tasks.metrics import compared, is_right
from seqpipe.tasks.multi_label import MultiLabel
from seqpipe.tracking.base import Tracker
from seqpipe.tracking.provenance import environment_tags
from seqpipe.tracking.run_record import write_provenance
from seqpipe.training.checkpoints import History
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


SHOWN = 4  # examples


@torch.no_grad()
def attention(facts: RunFacts, batch: SequenceBatch, name: str) -> list[Finding]:
    """Draws the attention of a model that has it; nothing of others.

    Args:
        facts: of the run.
        batch: the examples, where the model is and in its precision.
        name: of the run.
    """
    module, spec = facts.module, facts.data.spec
    model = module.model
    if not isinstance(model, EncoderDecoder) or model.attention is None:
        return []
    assert batch.x is not None and batch.x_lengths is not None and spec.x is not None
    module.eval()
    ids, lengths = module.task.predict(model, module(batch), batch)
    weights = model.attention_of(batch.x, batch.x_lengths, ids, lengths).float().cpu()
    looks = []
    for b, (T_x, T_y) in enumerate(zip(batch.x_lengths.tolist(), lengths.tolist(), strict=True)):
        x = _names(batch.x[b, :T_x], spec.x)
        looks.append(Looks(x, _names(ids[b, :T_y], spec.y), weights[b, :T_y, :T_x].numpy()))
    path = facts.folder / "figures" / "attention.png"
    draw_attention(path, looks, title=f"{name}: attention")
    return [attention_finding(looks, path.name)]


def _names(steps: Tensor, field: FieldSpec) -> Sequence[str]:
    """Of each step, where it is a symbol; of spelled words the words. steps: (T,) or (T, ...)."""
    if steps.is_floating_point() or field.names is None:
        return ()
    ids = steps if steps.ndim == 1 else steps[:, 0]
    return [field.names[id_] for id_ in ids.tolist()]


log = logging.getLogger(__name__)

EXAMPLES = 100  # of the test split, in examples.csv


def claim_folder(wanted: Path) -> Path:
    """A run folder of one's own: two runs that start in the same second do not share one.

    Returns:
        `wanted`, or `wanted-2`, `wanted-3`, ... where it is taken.
    """
    for number in range(1, 1000):
        folder = wanted if number == 1 else wanted.with_name(f"{wanted.name}-{number}")
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            (folder / "config.yaml").touch(exist_ok=False)  # atomic: only one run creates it
            return folder
    raise AssertionError(f"{wanted}: a thousand runs have this name")


def claim(cfg: DictConfig, launch: Launch) -> tuple[Path, Tracker]:
    """The run's folder, and what records it; leaves no folder where that cannot be made."""
    folder = claim_folder(launch.output_dir)
    try:
        return folder, build_tracker(cfg, launch.root, folder)
    except BaseException:
        _leave(folder)
        raise


def _leave(folder: Path) -> None:
    """Gives back a folder in which nothing was written yet."""
    (folder / "config.yaml").unlink()
    folder.rmdir()


def start(
    tracker: Tracker, cfg: DictConfig, launch: Launch, data: SequenceData, folder: Path
) -> None:
    """Writes the configuration and opens the record; leaves nothing if that cannot be opened."""
    OmegaConf.save(cfg, folder / "config.yaml", resolve=True)
    try:
        identity = summary.identity(cfg, launch, data, folder)
        tracker.start(**identity)
    except BaseException:
        _leave(folder)
        raise
    _note(launch.root, cfg)
    tracker.log_artifact(folder / "config.yaml")
    tracker.log_artifact(write_provenance(folder, tracker.run_id, tracker.location, identity))


def _note(root: Path, cfg: DictConfig) -> None:
    """Notes that the configuration is the user's own: what it names is read again unasked."""
    written: Any = OmegaConf.to_container(cfg, resolve=True)
    try:
        note_seal(root, written)
    except OSError as error:
        text = "cannot be written (%s): for this run evaluate and rerun will want own_data=true"
        log.warning(f"%s: {text}", root / SEALS, error.strerror)


def write_history(folder: Path, series: Mapping[str, Sequence[tuple[int, float]]]) -> None:
    """Writes history.csv, the numbers of each epoch; a training without any leaves none."""
    rows = [
        {"metric": name, "step": step, "value": value}
        for name, points in sorted(series.items())
        for step, value in points
    ]
    if rows:
        report.write_rows(folder / "history.csv", rows)


def write(cfg: DictConfig, facts: RunFacts, history: History) -> list[dict[str, Any]]:
    """Everything a person looks at afterwards, into the run's folder. Returns the examples."""
    folder, data, module = facts.folder, facts.data, facts.module
    name = summary.run_name(cfg, facts.launch)
    best_step = None if facts.checkpoint is None else facts.chosen.step
    shown = curves(folder, module.task, history, best_step)
    found = [*shown, *gradient_flow(module), *facts.findings, *_confusion(facts, name)]
    # With overfit_batches the first batch is what was trained on, validated and tested.
    overfit = cfg.trainer.overfit_batches > 0
    split = "train" if overfit else "test"
    rows = examples(module, data, split, first=overfit)
    report.write_examples(folder, rows)
    looked_at = _chosen(data, split, artifacts.SHOWN, first=overfit)
    found += artifacts.attention(facts, _batch(module, data, looked_at, split), name)
    drawn = artifacts.samples(module, data, cfg.seed)
    text = artifacts.as_text(drawn, data.y)
    if text:
        report.write_sample(folder, text)
    if drawn and data.spec.y.is_roll:
        path = folder / "figures" / "sample.png"
        first = drawn[0]
        title = f"{name}: a sample" + (f", {first.condition}" if first.condition else "")
        draw_roll(path, first.drawn[0].tolist(), data.spec.y.names or (), title=title)
    digests: dict[str, object] = {f"sha256 {k}": v[:16] for k, v in data.digests.items()}
    write_report(
        folder,
        title=name,
        command=summary.command(facts.launch),
        data={"data": data.description, **digests},
        model=summary.model_rows(module.model, facts.checked),
        metrics=facts.metrics,
        numbers=summary.key_numbers(facts),
        findings=found,
        examples=rows,
        sample=text,
        versions=environment_tags(facts.launch.root),
    )
    return rows


def curves(folder: Path, task: Task, history: History, best_step: int | None) -> list[Finding]:
    """The learning curves drawn, what they show, and what they suggest."""
    series = history.series
    path = report.draw_curves(folder, series, monitor=task.monitor, best_step=best_step)
    figure = None if path is None else path.name
    told = {"monitor": task.monitor, "mode": task.mode}
    shown = curves_finding(series, **told, best_step=best_step, figure=figure)
    return [shown, *curves_advice(series, **told)]


def gradient_flow(module: SequenceModule) -> list[Finding]:
    """How large the gradient was, part by part in the last update, and what clipping did."""
    flow = module.flow
    rows = [
        {"part": part, "norm in the last update": f"{norm:.3g}"}
        for part, norm in flow.groups.items()
    ]
    advice = [Finding("Clipping", text, group="Advice") for text in flow.advice()]
    return [Finding("Gradient flow", flow.told(), rows=rows, group="Gradient flow"), *advice]


def _confusion(facts: RunFacts, name: str) -> list[Finding]:
    """The confusion matrix of the test, where there are classes."""
    confusion = facts.module.test_report.get("confusion")
    if confusion is None:
        return []
    counts = confusion.int().tolist()
    names = facts.data.spec.y.names or tuple(map(str, range(len(counts))))
    path = report.draw_confusion(facts.folder, counts, names, title=name)
    return [confusion_finding(counts, names, None if path is None else path.name)]


@torch.no_grad()
def examples(
    module: SequenceModule, data: SequenceData, split: str = "test", *, first: bool = False
) -> list[dict[str, Any]]:
    """Some examples, as people read them: x, truth, prediction.

    Args:
        module: the trained model.
        data: what it was trained on.
        split: where they come from.
        first: those of the first batch; False: evenly spread over the split.
    """
    module.eval()
    batch = _batch(module, data, _chosen(data, split, EXAMPLES, first=first), split)
    predictions = module.task.predict(module.model, module(batch), batch)
    rows = []
    answers = module.task.decoded(predictions, batch)
    texts = batch.texts or ("",) * len(batch)
    for b, (predicted, truth) in enumerate(answers):
        row: dict[str, Any] = {}
        if data.x is not None and batch.x is not None:
            x = batch.x[b].cpu()  # a condition has no steps
            row["x"] = data.x.decode(x if batch.x_lengths is None else x[: batch.x_lengths[b]])
        row |= {"truth": texts[b] or data.y.decode(truth), "prediction": data.y.decode(predicted)}
        if data.spec.y.is_text:
            (written,), (wanted,) = compared([(predicted, truth)], data.spec.y, texts[b : b + 1])
            row["correct"] = is_right(written, wanted)
        elif not data.spec.y.holds_floats:
            row["correct"] = row["truth"] == row["prediction"]
        rows.append(row)
    return rows


def _chosen(data: SequenceData, split: str, most: int, *, first: bool) -> Sequence[int]:
    """Examples of the first batch of a split, or evenly spread over it."""
    if first:
        index: list[int] = next(iter(data.loader(split, shuffle=False))).index.tolist()
        return index[:most]
    return evenly_spread(most, data.sizes[split])


def _batch(
    module: SequenceModule, data: SequenceData, chosen: Sequence[int], split: str = "test"
) -> SequenceBatch:
    """Examples where the model is, and in its precision."""
    batch = data.batch(split, chosen).to(module.device)
    converted: SequenceBatch = module.trainer.precision_plugin.convert_input(batch)
    return converted
