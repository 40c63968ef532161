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
from pytorch_lightning import Trainer
from torch import Tensor

from seqpipe.build import build_tracker, build_trainer
from seqpipe.config.compose import Launch
from seqpipe.data.base import Field, FieldSpec, SequenceBatch
from seqpipe.data.dataset import SequenceData
from seqpipe.data.sampling import evenly_spread
from seqpipe.errors import RecordError
from seqpipe.files import unwritable
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
from seqpipe.runs import identity, saved_model, summary
from seqpipe.runs.training_run import TrainingRun
from seqpipe.tasks.language_modeling import LanguageModeling
from seqpipe.tasks.metrics import compared, is_right
from seqpipe.tasks.multi_label import MultiLabel
from seqpipe.tracking.base import Tracker
from seqpipe.tracking.provenance import environment_tags
from seqpipe.tracking.run_record import write_provenance
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
def attention(run: TrainingRun, batch: SequenceBatch) -> list[Finding]:
    """Draws the attention of a model that has it; nothing of others.

    Args:
        run: with the trained model.
        batch: the examples, where the model is and in its precision.
    """
    module, spec = run.module, run.data.spec
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
    path = run.folder / "figures" / "attention.png"
    draw_attention(path, looks, title=f"{run.name}: attention")
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


def claim(
    cfg: DictConfig, launch: Launch, trainer: Trainer, tracker: Tracker
) -> tuple[Path, Trainer, Tracker]:
    """Makes the run's folder; where the name was taken, trainer and tracker are built for another.

    Args:
        cfg: the whole configuration.
        launch: how the run was started.
        trainer: built for `launch.output_dir`.
        tracker: likewise built for it.
    """
    if not trainer.is_global_zero:
        return launch.output_dir, trainer, tracker
    folder = claim_folder(launch.output_dir)
    if folder != launch.output_dir:
        tracker = build_tracker(cfg, launch.root, folder)
        trainer = build_trainer(cfg, folder, tracker)
    return folder, trainer, tracker


def start(
    tracker: Tracker, cfg: DictConfig, launch: Launch, data: SequenceData, folder: Path
) -> None:
    """Writes the configuration and opens the record; leaves nothing if that cannot be opened."""
    OmegaConf.save(cfg, folder / "config.yaml", resolve=True)
    try:
        facts = identity.identity(cfg, launch, data, folder)
        tracker.start(**facts)
    except BaseException:
        (folder / "config.yaml").unlink()
        folder.rmdir()
        raise
    _note(launch.root, cfg)
    tracker.log_artifact(folder / "config.yaml")
    tracker.log_artifact(write_provenance(folder, tracker.run_id, tracker.location, facts))


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


def write(run: TrainingRun) -> list[dict[str, Any]]:
    """Writes everything a person reads afterwards into the run's folder. Returns the examples."""
    data, module, folder = run.data, run.module, run.folder
    best_step = None if run.checkpoint is None else run.chosen.step
    found = [*curves(run, best_step), *run.findings(), *_confusion(run)]
    # With overfit_batches the first batch is what was trained on, validated and tested.
    overfit = run.cfg.trainer.overfit_batches > 0
    split = "train" if overfit else "test"
    rows = examples(module, data, split, first=overfit)
    report.write_examples(folder, rows)
    shown = _chosen(data, split, SHOWN, first=overfit)
    found += attention(run, _batch(module, data, shown, split))
    drawn = samples(module, data, run.cfg.seed)
    text = as_text(drawn, data.y)
    if text:
        report.write_sample(folder, text)
    if drawn and data.spec.y.is_roll:
        path, first = folder / "figures" / "sample.png", drawn[0]
        title = f"{run.name}: a sample" + (f", {first.condition}" if first.condition else "")
        draw_roll(path, first.drawn[0].tolist(), data.spec.y.names or (), title=title)
    write_page(run, run.name, found, numbers=summary.key_numbers(run), examples=rows, sample=text)
    return rows


def write_page(run: TrainingRun, title: str, found: Sequence[Finding], **more: Any) -> None:
    """Writes the report.

    Args:
        run: with what is known of it.
        title: the heading.
        found: the findings.
        more: of a run that ended: `numbers`, `examples`, `sample`.
    """
    digests = {f"sha256 {split}": digest[:16] for split, digest in run.data.digests.items()}
    write_report(
        run.folder,
        title=title,
        command=identity.command(run.launch),
        data={"data": run.data.description, **digests},
        model=summary.model_rows(run),
        metrics=run.metrics,
        findings=found,
        versions=environment_tags(run.launch.root),
        **more,
    )


def curves(run: TrainingRun, best_step: int | None = None) -> list[Finding]:
    """Draws the learning curves. Returns what they show, and what they suggest."""
    series, task = run.history.series, run.module.task
    path = report.draw_curves(run.folder, series, monitor=task.monitor, best_step=best_step)
    figure = None if path is None else path.name
    goal = {"monitor": task.monitor, "mode": task.mode}
    shown = curves_finding(series, **goal, best_step=best_step, figure=figure)
    return [shown, *curves_advice(series, **goal)]


def _confusion(run: TrainingRun) -> list[Finding]:
    """The confusion matrix of the test, where there are classes."""
    confusion = run.module.test_report.get("confusion")
    if confusion is None:
        return []
    counts = confusion.int().tolist()
    names = run.data.spec.y.names or tuple(map(str, range(len(counts))))
    path = report.draw_confusion(run.folder, counts, names, title=run.name)
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


def keep(run: TrainingRun) -> None:
    """Writes what the run leaves, the smallest and most wanted first, and records it.

    Raises:
        RecordError: the place takes no more; with the closing lines, which are not lost.
    """
    folder, tracker, best = run.folder, run.tracker, run.checkpoint
    try:
        report.write_metrics(folder, run.metrics)
        if best is not None:
            tracker.log_metrics(run.best_metrics(), step=run.chosen.step)
        saved_model.write(run)
        tracker.log_table("examples", write(run))
    except Exception as error:
        place = unwritable(error)
        if place is None:
            raise
        text = f"{place}: the run was trained and tested, but {folder} does not hold all of it"
        raise RecordError(text, summary.summary(run)) from error
    tracker.log_artifacts(folder)
    if best is not None:
        tracker.log_artifact(best.best_path, "checkpoints")
