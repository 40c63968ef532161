"""Private parts of loky: the only module that uses them; tests/config/test_private_apis.py.

Loky ends a worker whose memory has grown by 300 MB since its first call, which an import of torch
and MLflow does by itself: every worker would run one job. It has no option for that.
"""

import re

from joblib.externals.loky import process_executor
from joblib.externals.loky.backend import resource_tracker

_CODES = re.compile(r"exit codes of the workers are \{[^}(]*\((-?\d+)\)")


def keep_grown_workers() -> None:
    """Makes the worker that calls it live on, however much memory its jobs take."""
    process_executor._USE_PSUTIL = False


def start_tracker() -> None:
    """Starts the process that removes what killed workers leave, if it does not run yet.

    Its start ends a block of signals, so that it must not be part of the start of a worker.
    """
    resource_tracker.ensure_running()


def exit_code_in(error: BaseException) -> int | None:
    """The exit code of a worker that ended, negative for a signal.

    Args:
        error: of the future of its call.

    Returns:
        None if the error does not name it.
    """
    found = _CODES.search(str(error))
    return int(found[1]) if found else None
