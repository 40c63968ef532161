"""Parts of MLflow that its documentation does not promise, and the only module that names them.

tests/config/test_private_apis.py fails where a new version of MLflow changes one of them.
"""

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, INVALID_PARAMETER_VALUE
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.store.db import utils
from mlflow.utils import environment

__all__ = ["INTERNAL_ERROR", "INVALID_PARAMETER_VALUE"]

ARTIFACT_ROOT = "_MLFLOW_SERVER_ARTIFACT_ROOT"
"""Environment variable: the artifacts of an experiment that MLflow makes by itself."""
DATABASE_LOGGER = "mlflow.store.db.utils"
"""The logger that writes a traceback for each attempt at a database that is locked or full."""
USER, SOURCE_TYPE, SOURCE_NAME = "mlflow.user", "mlflow.source.type", "mlflow.source.name"
GIT_COMMIT, TABLES = "mlflow.source.git.commit", "mlflow.loggedArtifacts"
PARENT_RUN = "mlflow.parentRunId"
"""Tags of a run that MLflow's pages show; `TABLES`: JSON with the path of each table; `PARENT_RUN`:
the run below which it is listed."""
IMAGES = "images"
"""The folder of a run's pictures in its artifacts."""
SPLIT = "mlflow.data.context"
"""The tag of a dataset that names its split."""
SERVED_EXAMPLE = "serving_input_example.json"
"""The file in a model's folder that holds an example as its server takes it."""
MODEL_KEYS = {
    *("artifact_path", "flavors", "is_signature_from_type_hint", "mlflow_version", "model_id"),
    *("model_size_bytes", "model_uuid", "prompts", "run_id", "saved_input_example_info"),
    *("signature", "type_hint_from_example", "utc_time_created"),
}
"""The keys of the `MLmodel` that MLflow writes for a pyfunc."""
FLAVOR_KEYS = {"loader_module", "data", "env", "python_version", "code", "streamable"}
"""The keys of its flavor `python_function`."""


def image_prefix(*, key: str, step: int, timestamp: int) -> str:
    """The beginning of the names of the two files that `MlflowClient.log_image` writes."""
    return f"{IMAGES}/{key.replace('/', '~')}+step+{step}+timestamp+{timestamp}+"


def make_tables(uri: str) -> None:
    """Makes MLflow's tables in a new sqlite file, and closes it.

    MLflow itself makes them in place, by sixty migrations that sqlite does not undo: a disk that is
    full, or a process that is killed, would leave a file that can never be opened again.
    """
    engine = utils.create_sqlalchemy_engine(uri)  # type: ignore[no-untyped-call]
    try:
        utils._initialize_tables(engine)  # type: ignore[no-untyped-call]
    finally:
        engine.dispose()


def artifact_repository(artifact_uri: str, tracking_uri: str) -> Any:
    """The repository of a run's artifacts, with `list_artifacts`."""
    return get_artifact_repository(artifact_uri, tracking_uri)


def download_file(repository: Any, remote: str, local: Path) -> None:
    """Downloads one file to exactly this place; the public way decides the place itself."""
    repository._download_file(remote, str(local))


def refuse_deep_json(refusal: Callable[[], Exception]) -> None:
    """Lets MLflow's server refuse JSON that is nested too deeply for Python.

    MLflow takes the RecursionError for a fault of its own: status 500, a closed connection.

    Args:
        refusal: makes the error that is raised instead.
    """
    server = sys.modules.get("mlflow.pyfunc.scoring_server")
    decode = getattr(server, "_decode_json_input", None)
    if server is None or decode is None or hasattr(decode, "__wrapped__"):
        return

    @functools.wraps(decode)
    def decode_or_refuse(json_input: Any) -> Any:
        try:
            return decode(json_input)
        except RecursionError:
            raise refusal() from None

    vars(server)["_decode_json_input"] = decode_or_refuse


def system_monitors() -> tuple[list[Any], str]:
    """MLflow's monitors of the machine, which `mlflow.log_system_metrics` uses.

    Each has `collect_metrics`, `aggregate_metrics` and `clear_metrics`. Its own thread for them is
    not used: it asks the store at each measurement, and waits for it.

    Returns:
        the monitors, and why there is none of the GPUs that torch sees; else an empty text.

    Raises:
        ImportError: psutil is not installed.
    """
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor
    from mlflow.system_metrics.metrics.rocm_monitor import ROCMMonitor

    kinds: list[Any] = [CPUMonitor, DiskMonitor, NetworkMonitor]
    monitors = [kind() for kind in kinds]
    if not torch.cuda.is_available():
        return monitors, ""
    of_gpus: Any = ROCMMonitor if torch.version.hip else GPUMonitor
    try:
        monitors.append(of_gpus())
    except (ImportError, RuntimeError) as error:
        return monitors, str(error)
    return monitors, ""


@contextlib.contextmanager
def unchecked_requirements() -> Iterator[None]:
    """Lets MLflow write a model without a comparison of its requirements and what is installed.

    The comparison reads the list of files of every installed package, half a second, for a warning
    that cannot come: the requirements name the packages that run.
    """
    names, name = vars(environment), "warn_dependency_requirement_mismatches"
    check, names[name] = names[name], _no_check
    try:
        yield
    finally:
        names[name] = check


def _no_check(model_requirements: list[str]) -> None:
    """Stands in for MLflow's comparison."""
