"""Registers models of runs under a name, in the registry of their store."""

import re

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from seqpipe.errors import ConfigError
from seqpipe.tracking.run_lookup import KEY
from seqpipe.tracking.run_record import RunRecord
from seqpipe.tracking.store import require_store, store_access

_ALIAS = r"[A-Za-z][\w\-]{0,254}"


def check_names(name: str, alias: str | None, key: str) -> None:
    """Refuses names that the registry, or `run=models:/name@alias`, cannot hold.

    Args:
        name: of the model.
        alias: of the version.
        key: what was typed to give the name.

    Raises:
        ConfigError: with each problem.
    """
    problems = []
    if not re.fullmatch(r"[^/:@]+", name) or not name.strip():
        problems.append(f"{key}={name}: wrong form; allowed: a name without / : and @")
    taken = alias is not None and re.fullmatch(r"latest|v\d+", alias, re.IGNORECASE)
    if alias is not None and (taken or not re.fullmatch(_ALIAS, alias)):
        text = "wrong form; allowed: letters, digits, _ and -, but neither latest nor v1"
        problems.append(f"alias={alias}: {text}")
    if problems:
        raise ConfigError(problems)


def register_model(found: RunRecord, model: str, name: str, alias: str | None, key: str) -> int:
    """Registers the model of a run; a run that is registered already keeps its version.

    Args:
        found: the run.
        model: the folder of its artifacts that holds the model.
        name: the registered model, made where it is new.
        alias: moved to this version; None for no alias.
        key: the option that gave the name, for messages.

    Returns:
        the version.

    Raises:
        ConfigError: the run or its model is not in a store.
    """
    check_names(name, alias, key)
    if found.foreign_store is not None:
        text = f"{found.typed} was not trained from this folder, and its record names another store"
        allowed = f"tracking_uri={found.foreign_store} with run={found.run_id}, if you trust it"
        raise ConfigError(f"{key}={name}: {text}; allowed: {allowed}")
    if found.run_id is None or found.tracking_uri is None:
        text = f"{found.typed} is not recorded in MLflow; allowed: a run of logger=mlflow"
        raise ConfigError(f"{key}={name}: {text}")
    require_store(found.tracking_uri, KEY)
    with store_access(found.tracking_uri, KEY):
        client = MlflowClient(found.tracking_uri)
        run = client.get_run(found.run_id)
        kept = {entry.path for entry in client.list_artifacts(found.run_id, model)}
        if f"{model}/MLmodel" not in kept:
            text = f"{found.typed} has no {model}/MLmodel in {found.tracking_uri}"
            raise ConfigError(f"{key}={name}: {text}; allowed: a run that has one")
        try:
            client.get_registered_model(name)
        except MlflowException:
            client.create_registered_model(name)
        versions = client.search_model_versions(f"run_id='{found.run_id}'")
        mine = [int(version.version) for version in versions if version.name == name]
        if mine:
            version = max(mine)
        else:
            source = f"{run.info.artifact_uri}/{model}"
            version = int(client.create_model_version(name, source, found.run_id).version)
        if alias is not None:
            client.set_registered_model_alias(name, alias, str(version))
    return version
