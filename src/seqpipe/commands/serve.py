"""Serve the model over HTTP by MLflow's scoring server: `python -m seqpipe serve run=latest`."""

import json
from pathlib import Path

from seqpipe.commands.dispatch import Answer
from seqpipe.commands.options import Serve
from seqpipe.commands.register import registered
from seqpipe.errors import ConfigError, SeqpipeError
from seqpipe.inference.load import load_model, trusted_modules
from seqpipe.inference.model_format import LOGGED
from seqpipe.runs.find_run import find_run
from seqpipe.runs.saved_model import FOLDER
from seqpipe.terminal import print_text
from seqpipe.tracking.registry import check_names
from seqpipe.tracking.serving import (
    MLMODEL,
    check_model,
    curl,
    example_of,
    free_port,
    serving,
)

_LONGEST_ANSWER = 500  # characters of an answer, as it is shown


def run(options: Serve, root: Path) -> Answer:
    """Serve until interrupted; print a request and its answer once the server runs.

    Raises:
        ConfigError: there is no such run, or the port cannot be opened.
        DataError: the model would run code, or cannot be read.
        SeqpipeError: the server does not start, or ends by itself.
    """
    if options.register is not None:
        check_names(options.register, options.alias, "register")
    found = find_run(options, root, needs=FOLDER)
    if not found.has(f"{FOLDER}/{MLMODEL}"):
        text = "its model was written without MLflow, which serves it"
        raise ConfigError(f"run={options.run}: {text}; allowed: a run of logger=mlflow")
    folder = found.local(FOLDER)
    check_model(folder)
    load_model(folder / LOGGED, trusted_modules())  # a server would only fail to start
    example, port = example_of(folder), free_port(options.host, options.port)
    lines = [f"run:        {found.typed.removeprefix('run=')}, {found.name}"]
    if options.register is not None:
        lines.append(registered(found, options.register, options.alias, "register"))
    with serving(folder, host=options.host, port=port, workers=options.workers) as server:
        answer = json.dumps(server.ask(example))
        lines.append(f"serving:    {server.url}, until Ctrl-C; a request and its answer:")
        lines.append(curl(server, folder, example))
        lines.append(answer[:_LONGEST_ANSWER] + "..." * (len(answer) > _LONGEST_ANSWER))
        print_text("\n".join(lines))
        code = server.process.wait()
    raise SeqpipeError(f"MLflow's server ended with code {code}; its messages are above")
