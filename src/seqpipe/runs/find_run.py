"""Look-up of the run that the options of a command name."""

from pathlib import Path

from omegaconf import OmegaConf

from seqpipe.config.paths import conf_dir
from seqpipe.errors import ConfigError
from seqpipe.inference.model_format import ABOUT
from seqpipe.runs.options import RunOptions
from seqpipe.tasks.direction import better
from seqpipe.tracking.run_lookup import look_up_run
from seqpipe.tracking.run_record import RunRecord


def find_run(options: RunOptions, root: Path, *, needs: str | None = "model") -> RunRecord:
    """The run that `run`, `tracking_uri`, `experiment` and `metric` name.

    Args:
        options: of the command.
        root: the folder the user works in.
        needs: a file or folder that the run must have; None: nothing.

    Raises:
        ConfigError: there is no such run; the message lists similar ones.
        DataError: its folder cannot be read.
    """
    if needs is not None and exported_folder(options, root) is not None:
        text = "is an exported model without the record of its run; allowed: the run"
        raise ConfigError(f"run={options.run}: {text}")
    found = look_up_run(
        options.run,
        root=root,
        tracking_uri=options.tracking_uri or training_store(),
        better=better,
        experiment=options.experiment,
        metric=options.metric,
        needs=needs,
    )
    if options.tracking_uri is not None and found.artifacts is None:
        text = f"has no effect where run={options.run} is a folder; allowed: one of them"
        raise ConfigError(f"tracking_uri={options.tracking_uri}: {text}")
    return found


def exported_folder(options: RunOptions, root: Path) -> Path | None:
    """The folder that `run` names, if `export` wrote it."""
    folder = root / Path(options.run).expanduser()
    named = options.run not in ("latest", "best") and (folder / ABOUT).is_file()
    return folder if named else None


def training_store() -> str:
    """The default store of training."""
    return str(OmegaConf.load(conf_dir() / "logger" / "mlflow.yaml").tracking_uri)
