"""Files that a run leaves in its folder: configuration, metrics, figures, examples, a sample."""

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Trainer

from seqpipe.build import build_tracker, build_trainer
from seqpipe.config.compose import Launch
from seqpipe.data.dataset import SequenceData
from seqpipe.errors import ConfigError, RecordError, place_message
from seqpipe.files import write_text
from seqpipe.records import SEALS, note_seal
from seqpipe.report import run_files as report
from seqpipe.report.curves import curves_advice, curves_finding, draw_curves
from seqpipe.report.examples import draw_roll
from seqpipe.report.findings import Finding
from seqpipe.report.page import write_report
from seqpipe.runs import examples, identity, saved_model, summary
from seqpipe.runs.training_run import TrainingRun
from seqpipe.tracking.base import PARENT, NoTracker, Tracker
from seqpipe.tracking.provenance import environment_tags
from seqpipe.tracking.run_record import PROVENANCE, write_provenance

log = logging.getLogger(__name__)


def claim_folder(wanted: Path) -> Path:
    """Makes a run's folder; two runs that start in the same second do not share one.

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


def claim_run_folder(
    cfg: DictConfig,
    launch: Launch,
    trainer: Trainer,
    tracker: Tracker,
    folder_of_first: Callable[[], Path],
) -> tuple[Path, Trainer, Tracker]:
    """Makes the run's folder; where the name was taken, trainer and tracker are built for another.

    Of several processes the first one makes it, and the others get it from there.

    Args:
        cfg: the whole configuration.
        launch: how the run was started.
        trainer: built for `launch.output_dir`.
        tracker: built for it too.
        folder_of_first: called in the other processes.
    """
    first = trainer.is_global_zero
    with _refusing_place(launch.output_dir):
        folder = claim_folder(launch.output_dir) if first else folder_of_first()
    if folder != launch.output_dir:
        tracker = (
            build_tracker(cfg, launch.root, folder) if first else NoTracker(launch.root, folder)
        )
        trainer = build_trainer(cfg, folder, tracker)
    return folder, trainer, tracker


def open_record(
    tracker: Tracker, cfg: DictConfig, launch: Launch, data: SequenceData, folder: Path
) -> None:
    """Writes the configuration and opens the record; leaves nothing if that cannot be opened.

    Raises:
        ConfigError: the store cannot be opened, or the folder has no room.
    """
    config = folder / "config.yaml"
    try:
        with _refusing_place(folder):
            write_text(config, OmegaConf.to_yaml(cfg, resolve=True))
            facts = identity.start_facts(cfg, launch, data, folder)
            if launch.parent is not None and launch.parent[1] == tracker.location:
                facts["tags"][PARENT] = launch.parent[0]
            tracker.start(**facts)
            provenance = write_provenance(folder, tracker.run_id, tracker.location, facts)
    except BaseException:
        with contextlib.suppress(OSError):
            config.unlink()
            (folder / PROVENANCE).unlink(missing_ok=True)
            folder.rmdir()
        raise
    _note_seal(launch.root, cfg)
    tracker.log_artifact(config)
    tracker.log_artifact(provenance)


@contextlib.contextmanager
def _refusing_place(folder: Path) -> Iterator[None]:
    """Reports a full disk, or a folder that cannot be written to, before anything is computed."""
    try:
        yield
    except OSError as error:
        place = place_message(error)
        if place is None:
            raise
        text = f"cannot be written ({error.strerror}); allowed: a folder with room"
        raise ConfigError(f"{error.filename or folder}: {text}, or hydra.run.dir=...") from None


def _note_seal(root: Path, cfg: DictConfig) -> None:
    """Records that the configuration is the user's own: commands may read what it names."""
    written: Any = OmegaConf.to_container(cfg, resolve=True)
    try:
        note_seal(root, written)
    except OSError as error:
        text = "cannot be written (%s): evaluate and rerun will need own_data=true for this run"
        log.warning(f"%s: {text}", root / SEALS, error.strerror)


def write_history(folder: Path, series: Mapping[str, Sequence[tuple[int, float]]]) -> None:
    """Writes history.csv, the numbers of each epoch, unless there are none."""
    rows = [
        {"metric": name, "step": step, "value": value}
        for name, points in sorted(series.items())
        for step, value in points
    ]
    if rows:
        report.write_rows(folder / "history.csv", rows)


def write_results(run: TrainingRun) -> list[dict[str, Any]]:
    """Writes everything a person reads afterwards into the run's folder. Returns the examples."""
    data, folder = run.data, run.folder
    best_step = None if run.checkpoint is None else run.chosen.step
    found = [*curve_findings(run, best_step), *run.findings()]
    rows = examples.example_rows(run)
    report.write_rows(folder / "examples.csv", rows)
    found += examples.attention_findings(run)
    drawn = examples.draw_samples(run.module, data, run.cfg.seed)
    text = examples.samples_as_text(drawn, data.y)
    if text:
        write_text(folder / "sample.txt", text)
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
        command=run.launch.command_line,
        data={"data": run.data.description, **digests, **run.module.task.signatures},
        model=summary.model_rows(run),
        metrics=run.metrics,
        findings=found,
        versions=environment_tags(run.launch.root),
        **more,
    )


def curve_findings(run: TrainingRun, best_step: int | None = None) -> list[Finding]:
    """Draws the learning curves. Returns what they show, and what they suggest."""
    series, task = run.history.series, run.module.task
    path = draw_curves(run.folder, series, monitor=task.monitor, best_step=best_step)
    figure = None if path is None else path.name
    goal = {"monitor": task.monitor, "mode": task.mode}
    shown = curves_finding(series, **goal, best_step=best_step, figure=figure)
    return [shown, *curves_advice(series, **goal)]


def keep_results(run: TrainingRun) -> None:
    """Writes all results of the run, the smallest and most important first, and records them.

    Raises:
        RecordError: a file cannot be written; the error has the closing lines.
    """
    folder, tracker, best = run.folder, run.tracker, run.checkpoint
    try:
        report.write_metrics(folder, run.metrics)
        write_history(folder, run.history.series)
        if best is not None:
            tracker.log_metrics(run.best_metrics(), step=run.chosen.step)
        if run.compared is not None:
            tracker.log_metrics(run.compared.scalars(), step=run.trainer.global_step)
        saved_model.write(run)
        tracker.log_table("examples", write_results(run))
    except Exception as error:
        place = place_message(error)
        if place is None:
            raise
        text = f"{place}: the run was trained and tested, but {folder} does not hold all of it"
        raise RecordError(text, summary.closing_lines(run)) from error
    tracker.log_artifacts(folder)
    if best is not None:
        tracker.log_artifact(best.best_path, "checkpoints")
