"""Finds a recorded run by the value of `run=`: latest, best, an id, a registered model."""

import contextlib
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mlflow import MlflowClient, entities
from mlflow.exceptions import MlflowException

from seqpipe.errors import ConfigError, did_you_mean
from seqpipe.rules import best_of, is_of_one_class
from seqpipe.tracking.base import PRUNED
from seqpipe.tracking.metric_names import decoded
from seqpipe.tracking.mlflow_internals import SPLIT, artifact_repository, download_file
from seqpipe.tracking.run_record import RunRecord, is_folder_of, read_run_folder
from seqpipe.tracking.store import require_store, resolve_uri, short_timeouts, store_access

KEY = "tracking_uri"
ALLOWED = (
    "latest, best, an MLflow run id or its first characters, models:/name@alias, models:/name/3, "
    "a run folder, or an exported model"
)
_ID = r"[0-9a-f]{4,32}"
_SHOWN = 5  # runs in a message
_LIMITS = {  # values with which runs without the tag `partial` used all of each split
    "overfit_batches": ("0", "0.0"),
    "limit_train_batches": ("1.0",),
    "limit_val_batches": ("1.0",),
    "limit_test_batches": ("1.0",),
    "fast_dev_run": ("false", "0"),
}
_PAGE = 200  # runs read at a time


def look_up_run(
    run: str,
    *,
    root: Path,
    tracking_uri: str,
    better: Callable[[str], str],
    experiment: str | None = None,
    metric: str | None = None,
    needs: str | None = None,
) -> RunRecord:
    """Finds a run.

    Args:
        run: `latest` (the newest that finished), `best` (by `metric`), an MLflow run id or the
            beginning of one, `runs:/<id>`, `models:/name@alias`, `models:/name/3`, or the folder
            of a run, for which no store is needed.
        root: the folder the user works in; relative paths start there.
        tracking_uri: the store, see `resolve_uri`.
        better: returns `min` or `max` for a metric.
        experiment: the experiment in which `latest` and `best` search; None: all.
        metric: the metric of `best`, a `val/` one at its value for the weights that were kept;
            None: the metric that the runs monitored.
        needs: a file or folder that the run must have, such as `model`.

    Raises:
        ConfigError: there is no such run; the message lists those there are.
        DataError: a run folder cannot be read.
    """
    folder = _folder(run, root)
    if folder is not None:
        return _complete(_without_foreign_store(read_run_folder(folder, run), root), run, needs)
    uri = resolve_uri(tracking_uri, root, KEY)
    require_store(uri, KEY)
    with store_access(uri, KEY):
        store = _Store(MlflowClient(uri), uri, experiment, needs)
        if run == "latest":
            return store.first_complete(store.finished(), "run=latest")
        if run == "best":
            return store.first_complete(store.ranked(metric, better), "run=best")
        is_model = run.startswith("models:")
        found = store.registered(run) if is_model else store.by_id(run.removeprefix("runs:/"))
        return _complete(store.read_run(found), run, needs)


def _without_foreign_store(found: RunRecord, root: Path) -> RunRecord:
    """The run of a folder; the store that a foreign record names is not connected to.

    Raises:
        DataError: its configuration cannot be read.
    """
    logger = found.config.get("logger")
    if found.tracking_uri is None:
        return found
    written = logger.get("tracking_uri") if isinstance(logger, dict) else None
    if isinstance(written, str) and found.is_own(root):
        if resolve_uri(written, root) == found.tracking_uri:
            return found
    return replace(found, tracking_uri=None, foreign_store=found.tracking_uri)


def _folder(run: str, root: Path) -> Path | None:
    """The run folder; None where `run` is an id, a model, `latest` or `best`."""
    if run in ("latest", "best") or re.match(r"(models|runs):", run):
        return None
    path = root / Path(run).expanduser()
    if path.is_dir():
        return path
    if path.is_file():
        parents = (path.parent, path.parent.parent)
        near = next((p for p in parents if (p / "config.yaml").is_file()), None)
        hint = "" if near is None else f"; did you mean '{near}'?"
        raise ConfigError(f"run={run}: a file; allowed: {ALLOWED}{hint}")
    if re.fullmatch(_ID, run):
        return None
    runs = root / "outputs" / "runs"
    names = [entry.name for entry in runs.iterdir()] if runs.is_dir() else []
    if run in names:
        there = Path("outputs/runs") / run
        hint = f"did you mean '{there}'?"
        raise ConfigError(f"run={run}: no such folder; allowed: run={there}; {hint}")
    hint = did_you_mean(run, ["latest", "best"]) or did_you_mean(Path(run).name, names)
    raise ConfigError(f"run={run}: neither a folder nor a run id; allowed: {ALLOWED}{hint}")


def _complete(found: RunRecord, run: str, needs: str | None) -> RunRecord:
    if needs is not None and not found.has(needs):
        raise ConfigError(f"run={run}: it has no {needs}; allowed: a finished run that has one")
    return found


@dataclass(frozen=True)
class _Store:
    """One MLflow store, in which runs are searched."""

    client: MlflowClient
    uri: str
    experiment: str | None
    needs: str | None

    def read_run(self, run: entities.Run) -> RunRecord:
        """The record of a run, with its folder if that is on this machine."""
        tags, inputs = dict(run.data.tags), run.inputs.dataset_inputs if run.inputs else []
        folder = Path(tags["folder"]) if "folder" in tags else None
        if folder is not None and not is_folder_of(folder, run.info.run_id):
            folder = None
        return RunRecord(
            name=run.info.run_name or run.info.run_id,
            run_id=run.info.run_id,
            folder=folder,
            experiment=self.client.get_experiment(run.info.experiment_id).name,
            tracking_uri=self.uri,
            params={decoded(key, tags): value for key, value in run.data.params.items()},
            tags={decoded(key, {}): value for key, value in tags.items()},
            metrics=_metrics(run),
            datasets=dict(_split_and_digest(entry) for entry in inputs),
            artifacts=_Artifacts(artifact_repository(run.info.artifact_uri, self.uri)),
        )

    def first_complete(self, runs: Iterator[entities.Run], typed: str) -> RunRecord:
        """The first run that has the needed file."""
        for run in runs:
            found = self.read_run(run)
            if self.needs is None or found.has(self.needs):
                return found
        where = "" if self.experiment is None else f" of experiment={self.experiment}"
        what = "" if self.needs is None else f" left a {self.needs}"
        text = f"no finished run{where} in {self.uri}{what}; allowed: train one first"
        raise ConfigError(f"{typed}: {text}{self._newest()}")

    def finished(self) -> Iterator[entities.Run]:
        """Finished trainings, the newest first; without those that their search stopped."""
        for run in self._search("attributes.status = 'FINISHED'"):
            # Up to version 0.1.0 `describe=true` was a parameter of the run.
            trains = run.data.tags.get("trains", "yes") == "yes"
            untested = run.data.params.get("describe") == "true" or PRUNED in run.data.tags
            if trains and not untested:
                yield run

    def ranked(self, metric: str | None, better: Callable[[str], str]) -> Iterator[entities.Run]:
        """Runs finished on whole splits, the best first, then the newest."""
        finished = list(self.finished())
        runs = [run for run in finished if _partial_setting(run) is None]
        if not runs and finished:
            raise ConfigError(f"run=best: {self._no_whole_run(finished)}")
        if self.experiment is None and len({run.info.experiment_id for run in runs}) > 1:
            ids = {run.info.experiment_id for run in runs}
            names = ", ".join(sorted(n for n, id_ in self._experiments().items() if id_ in ids))
            text = "runs on different data cannot be compared; allowed: also experiment=NAME"
            raise ConfigError(f"run=best: {text}, one of {names}")
        if metric is None and runs:
            monitors = sorted({run.data.params.get("task.monitor", "val/loss") for run in runs})
            if len(monitors) > 1:
                text = f"the runs monitored different metrics ({', '.join(monitors)})"
                raise ConfigError(f"run=best: {text}; allowed: also metric={monitors[0]}")
            (metric,) = monitors
        values = [(_value(run, metric or ""), run) for run in runs]
        ranked = [(value, run) for value, run in values if value is not None]
        if runs and not ranked:
            known = sorted({name for run in runs for name in _metrics(run)})
            shown = [name for name in known if name.startswith(("test/", "val/"))]
            near = [name for name in shown if not is_of_one_class(name)]
            text = f"no finished run has it; allowed: {', '.join(near or known)}"
            raise ConfigError(f"metric={metric}: {text}{did_you_mean(metric or '', known)}")
        sign = -1 if better(metric or "") == "max" else 1
        yield from (run for _, run in sorted(ranked, key=lambda pair: sign * pair[0]))

    def _no_whole_run(self, finished: list[entities.Run]) -> str:
        """The message where all finished runs used parts of a split."""
        parts = [f"{run.info.run_id[:8]} ({_partial_setting(run)})" for run in finished[:_SHOWN]]
        shown = ", ".join(parts) + ", ..." * (len(finished) > _SHOWN)
        counts = Counter(run.info.status for run in self._search(""))
        others = [
            f"{count} {status.lower()}" for status, count in counts.items() if status != "FINISHED"
        ]
        text = f"no run trained and tested on whole splits: {shown}"
        left = f"; not finished: {', '.join(sorted(others))}" if others else ""
        return f"{text}{left}; allowed: train one first, or name one of them, run={parts[0][:8]}"

    def by_id(self, run_id: str) -> entities.Run:
        """The run of an id, or of a unique beginning of one."""
        if not re.fullmatch(_ID, run_id):
            raise ConfigError(f"run={run_id}: no MLflow run id; allowed: {ALLOWED}{self._newest()}")
        with contextlib.suppress(MlflowException):  # raised if there is none
            run = self.client.get_run(run_id)
            if run.info.lifecycle_stage == "deleted":
                text = "was deleted; allowed: a run that exists"
                raise ConfigError(f"run={run_id}: {text}{self._newest()}")
            return run
        alike = list(self._search(f"attributes.run_id LIKE '{run_id}%'", everywhere=True))
        if len(alike) > 1:
            shown = ", ".join(run.info.run_id[:12] for run in alike[:_SHOWN])
            text = f"{len(alike)} runs begin with it; allowed: more characters, as {shown}"
            raise ConfigError(f"run={run_id}: {text}")
        if not alike:
            ids = [run.info.run_id for run in self._search("", everywhere=True)]
            hint = did_you_mean(run_id, [*ids, *(one[: len(run_id)] for one in ids)])
            text = f"no such run in {self.uri}; allowed: {ALLOWED}{self._newest()}"
            raise ConfigError(f"run={run_id}: {text}{hint}")
        return alike[0]

    def registered(self, name: str) -> entities.Run:
        """The run behind a version of a registered model."""
        match = re.fullmatch(r"models:/([^/@]+)(?:@([^/@]+)|/(\d+|latest))?", name)
        if match is None:
            raise ConfigError(
                f"run={name}: wrong form; allowed: models:/name@alias, models:/name/3"
            )
        model, alias, number = match.groups()
        try:
            aliases = dict(self.client.get_registered_model(model).aliases)
        except MlflowException:
            names = [one.name for one in self.client.search_registered_models()]
            shown = f"allowed: {', '.join(names) or 'none is registered yet'}"
            hint = did_you_mean(model, names)
            raise ConfigError(f"run={name}: no such model is registered; {shown}{hint}") from None
        versions = {int(v.version): v for v in self.client.search_model_versions(f"name='{model}'")}
        if number == "latest" and versions:
            number = str(max(versions))
        wanted = int(aliases.get(alias, -1)) if alias is not None else int(number or -1)
        if wanted not in versions:
            forms = [f"models:/{model}@{alias}" for alias in sorted(aliases)]
            forms += [f"models:/{model}/{version}" for version in sorted(versions)]
            hint = did_you_mean(name, forms)
            what = "no version" if alias is None and number is None else "no such version"
            raise ConfigError(f"run={name}: {what}; allowed: {', '.join(forms) or 'none'}{hint}")
        run_id = versions[wanted].run_id
        if not run_id:
            text = "was not registered from a run; allowed: a version that was"
            raise ConfigError(f"run={name}: {text}")
        return self.by_id(run_id)

    def _experiments(self) -> dict[str, str]:
        found = self.client.search_experiments(max_results=1000)
        return {one.name: one.experiment_id for one in found}

    def _search(self, which: str, *, everywhere: bool = False) -> Iterator[entities.Run]:
        """Runs, the newest first."""
        known = self._experiments()
        if self.experiment is None or everywhere:
            ids = list(known.values())
        elif self.experiment in known:
            ids = [known[self.experiment]]
        else:
            hint = did_you_mean(self.experiment, known)
            text = f"no such experiment in {self.uri}; allowed: {', '.join(sorted(known))}"
            raise ConfigError(f"experiment={self.experiment}: {text}{hint}")
        order, token = ["attributes.start_time DESC"], None
        while True:
            page = self.client.search_runs(
                ids, which, max_results=_PAGE, order_by=order, page_token=token
            )
            yield from page
            token = page.token
            if not token:
                return

    def _newest(self) -> str:
        """The newest runs, for a message."""
        runs = [
            run for run, _ in zip(self._search("", everywhere=True), range(_SHOWN), strict=False)
        ]
        lines = [
            f"{run.info.run_id[:8]} {run.info.run_name} ({run.info.status.lower()})" for run in runs
        ]
        return f"; the newest: {', '.join(lines)}" if lines else "; the store has no runs"


@dataclass(frozen=True)
class _Artifacts:
    """The files of a run in MLflow; no call waits minutes for a server that is gone."""

    repository: Any

    def list_artifacts(self, path: str | None = None) -> list[Any]:
        with short_timeouts():
            return list(self.repository.list_artifacts(path))

    def download(self, remote: str, local: Path) -> None:
        with short_timeouts():
            download_file(self.repository, remote, local)


def _partial_setting(run: entities.Run) -> str | None:
    """The setting that limited a run to a part of a split; None where it used all."""
    setting = run.data.tags.get("partial")
    if setting is not None:
        return None if setting == "no" else setting
    params = {key: run.data.params.get(f"trainer.{key}") for key in _LIMITS}
    found = [key for key, value in params.items() if value not in (None, "null", *_LIMITS[key])]
    return f"trainer.{found[0]}={params[found[0]]}" if found else None


def _metrics(run: entities.Run) -> dict[str, float]:
    """The last value of each metric, under the name it was logged with."""
    return {decoded(name, run.data.tags): value for name, value in run.data.metrics.items()}


def _value(run: entities.Run, metric: str) -> float | None:
    """A metric of the weights that were kept; None where it is missing or not finite."""
    metrics = _metrics(run)
    older = f"best/{metric.removeprefix('val/')}"  # the name in older runs
    kept = [name for name in (best_of(metric), older) if name in metrics]
    name = kept[0] if metric.startswith("val/") and kept else metric
    value = metrics.get(name, math.nan)
    return value if math.isfinite(value) else None


def _split_and_digest(entry: entities.DatasetInput) -> tuple[str, str]:
    """The split and the whole sha256, of which the store's own field has only the beginning."""
    split = next((t.value for t in entry.tags if t.key == SPLIT), "")
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return split, str(json.loads(entry.dataset.source)["sha256"])
    return split, str(entry.dataset.digest)
