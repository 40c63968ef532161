"""Loading of trained models from their folders, and packing into them."""

import contextlib
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.nn.parameter import UninitializedParameter

from seqpipe.data.base import Field, FieldSpec, SequenceSpec
from seqpipe.data.field_checks import check_fields
from seqpipe.errors import ConfigError, DataError
from seqpipe.inference import model_format
from seqpipe.inference.instantiate import Maker, make_informed_task, make_sized_model, writes_crf
from seqpipe.inference.model import Model

_TIMES = 4
"""A network may make this many times the parameters it keeps: some are replaced or shared."""
TRUST = "SEQPIPE_TRUST"
"""Environment variable: modules outside of seqpipe that a served model may use, by commas."""

FILES_OF_FIELDS = ("vectors", "weights")
"""Arguments of fields that name files with numbers to start from."""
_ABOUT_FILES = (*FILES_OF_FIELDS, "lowercase_vectors")
_BOTH = "allowed: configuration and weights of one run"


def trusted_modules() -> list[str]:
    """List the modules that the environment of a server trusts."""
    return [name for name in os.environ.get(TRUST, "").split(",") if name]


def pack_model(
    config: Mapping[str, Any],
    fields: Mapping[str, Field],
    spec: SequenceSpec,
    network: nn.Module,
    facts: Mapping[str, Any],
) -> model_format.Saved:
    """Collect the contents of a trained model's folder.

    Args:
        config: the configuration of the training, resolved, plain containers.
        fields: by role, fitted.
        spec: the properties of the data, with counts.
        network: with the trained weights.
        facts: more facts about the training.
    """
    specs = {"x": spec.x, "y": spec.y}
    counts = {role: s.counts for role, s in specs.items() if s is not None and s.counts is not None}
    states = {role: fld.state() for role, fld in fields.items()}
    weights = network.state_dict()
    for role, fld in fields.items():
        weights |= {_weight_name(role, name): value for name, value in fld.weights().items()}
    return model_format.Saved(dict(config), weights, states, counts, dict(facts))


def _weight_name(role: str, name: str) -> str:
    return f"data.{role}.{name}"


def usable_device(asked: str | torch.device) -> torch.device:
    """Return the device to compute on; `auto` is a GPU if torch can use one, else the CPU.

    Raises:
        ConfigError: torch knows no such device, or there is no GPU.
    """
    gpu = torch.cuda.is_available()
    try:
        device = torch.device(("cuda" if gpu else "cpu") if asked == "auto" else asked)
    except (RuntimeError, TypeError):
        text = "no device of torch; allowed: auto, cpu, cuda"
        raise ConfigError(f"device={asked}: {text}") from None
    if device.type == "cuda" and not gpu:
        text = "there is no GPU that torch can use; allowed: auto, cpu"
        raise ConfigError(f"device={asked}: {text}")
    return device


def load_model(folder: Path, trust: Sequence[str] = ()) -> Model:
    """Load the model in a folder that `model_format.write` wrote, on the CPU.

    Args:
        folder: of the model.
        trust: modules outside of seqpipe that its configuration may use, see `Maker`.

    Raises:
        ConfigError: the folder cannot be read, or not by this version.
    """
    found = model_format.read(folder)
    try:
        return _build_model(found, Maker(trust))
    except (ConfigError, DataError) as error:
        raise ConfigError([_with_folder(folder, problem) for problem in error.problems]) from error
    except Exception as error:  # forged files may cause any error
        lines = str(error).strip().splitlines() or [type(error).__name__]
        text = f"its files do not form a model ({lines[0]})"
        raise ConfigError(f"{folder}: {text}; allowed: those of one run, unchanged") from error


def _with_folder(folder: Path, problem: str) -> str:
    return problem if str(folder) in problem else f"{folder}: {problem}"


def _build_model(found: model_format.Saved, maker: Maker) -> Model:
    data, own = found.config["data"], dict(found.weights)
    fields: dict[str, Field] = {}
    specs: dict[str, FieldSpec] = {}
    for role, state in found.fields.items():
        field = maker.make(without_files(data[role]), f"data.{role}")
        start = _weight_name(role, "")
        names = [name for name in own if name.startswith(start)]
        if not isinstance(field, Field) or not isinstance(field.column, str):
            raise ConfigError(f"data.{role}: is no field with a column; allowed: one of them")
        field.restore_weights({name.removeprefix(start): own.pop(name) for name in names})
        field.restore(state)
        fields[role], specs[role] = field, replace(field.spec, counts=found.counts.get(role))
    check_fields(fields.get("x"), fields["y"])
    spec = SequenceSpec(specs.get("x"), specs["y"])
    made = maker.make(found.config["architecture"], "architecture")
    make_task, longest_y = maker.make(found.config["task"], "task"), found.facts["longest_y"]
    task = make_informed_task(make_task, spec.y, longest_y=longest_y, crf=writes_crf(made))
    with _no_larger_than(own):
        longest_x = data.get("max_length")
        network = make_sized_model(made, spec, task.output_size, longest_x)
    try:
        network.load_state_dict(own)
    except RuntimeError as error:
        reason = f"the weights do not fit its config.yaml ({str(error).splitlines()[1].strip()})"
        raise ConfigError(f"model.safetensors: {reason}; {_BOTH}") from None
    return Model(found.config, fields.get("x"), fields["y"], spec, task, network, found.facts)


@contextlib.contextmanager
def _no_larger_than(weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Stop the construction of a network as soon as it is far larger than its weights.

    A configuration of a few bytes can name a depth or a width that takes hours or all memory.

    Raises:
        ConfigError: the network is too large.
    """
    left, owner = _TIMES * sum(value.numel() for value in weights.values()), threading.get_ident()

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal left
        mine = threading.get_ident() == owner  # the hook runs in all threads
        if mine and parameter is not None and not isinstance(parameter, UninitializedParameter):
            left -= parameter.numel()
            if left < 0:
                text = "its network is far larger than its weights"
                raise ConfigError(f"config.yaml: {text}; {_BOTH}")

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()


def without_files(node: Any) -> Any:
    """Remove the files that a field starts from: what it learned is in the model's folder."""
    if isinstance(node, list):
        return [without_files(value) for value in node]
    if not isinstance(node, Mapping):
        return node
    ours = str(node.get("_target_")).startswith("seqpipe.")
    files = _ABOUT_FILES if ours else ()
    return {name: without_files(value) for name, value in node.items() if name not in files}
