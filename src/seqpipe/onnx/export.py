"""A trained model as one ONNX file, which answers without seqpipe and without torch."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seqpipe._version import __version__
from seqpipe.data.base import Field, FieldSpec
from seqpipe.data.optional_deps import need
from seqpipe.data.vocabulary import SPECIALS
from seqpipe.errors import ConfigError
from seqpipe.files import check_new, writing_output
from seqpipe.inference.model import Model
from seqpipe.models.architecture import Architecture
from seqpipe.nn.onnx_graph import Graph

LARGEST = 2**31 - 1
"""Bytes that one file of protobuf can hold."""
FORMAT = 1
"""Version of the metadata of a file."""


def export_onnx(model: Model, path: Path) -> list[str]:
    """Writes a model's ONNX file: any number of sequences, of any length that it reads.

    Inputs are `x` as the field of x encodes it, padded, and `lengths`; outputs are `logits` and
    `probabilities`, or the `prediction` in the data's units. A model of one_to_many reads
    `y_before` and a state in place of x, see `OneToMany.onnx`. The
    metadata of the file explain the numbers: see `metadata`. The file is written only when
    onnxruntime gives the answers of the model, see `seqpipe.onnx.checking`.

    Args:
        model: on any device.
        path: of the file, not there yet.

    Returns:
        lines that describe the file to the user.

    Raises:
        ConfigError: the model cannot be written so, onnx or onnxruntime is missing, the answers
            differ, or the file is there or cannot be written.
    """
    onnx = need("onnx", extra="onnx", what="format=onnx")
    onnxruntime = need("onnxruntime", extra="onnx", what="format=onnx")
    from seqpipe.onnx.checking import BATCHES, TOLERANCE, check

    check_new(path, path)
    network = model.network
    if not isinstance(network, Architecture):
        wrong = "cannot be written as ONNX: it is no seqpipe.models.architecture.Architecture"
        allowed = "allowed: format=safetensors"
        raise ConfigError(f"architecture={type(network).__name__}: {wrong}; {allowed}")
    graph = Graph()
    model.task.onnx(graph, *network.onnx(graph))
    if graph.weights > LARGEST:
        size = f"{graph.weights / 1e9:.1f} GB of weights, one ONNX file holds {LARGEST / 1e9:.1f}"
        raise ConfigError(f"format=onnx: {size}; allowed: format=safetensors")
    written = graph.model(type(network).__name__, ("seqpipe", __version__))
    onnx.helper.set_model_props(written, metadata(model))
    onnx.checker.check_model(written, full_check=True)
    made = _written(path, written.SerializeToString(deterministic=True))
    try:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors; it warns of its own optimisations
        session = onnxruntime.InferenceSession(made, options, providers=["CPUExecutionProvider"])
        differs = check(session, network, model.task, model.spec)
        made.rename(path)
    finally:
        made.unlink(missing_ok=True)
    checked = f"onnxruntime {onnxruntime.__version__} differs from the model by {differs.graph:.1e}"
    if differs.graph > TOLERANCE:
        checked += f" (the model's own float32 from its float64 by {differs.network:.1e})"
    rows, steps = (max(sizes) for sizes in zip(*BATCHES, strict=True))
    steps = min(steps, network.longest_x or steps)
    timed = any(value.name == "lengths" for value in session.get_inputs())
    tried = f"1 to {rows} " + (f"sequences of 1 to {steps} steps" if timed else "inputs")
    return [
        *(f"input: {_described(value)}" for value in session.get_inputs()),
        *(f"output: {_described(value)}" for value in session.get_outputs()),
        f"checked: {checked} at most, with {tried}",
    ]


def _written(path: Path, content: bytes) -> Path:
    """Write the content beside the file, under a name that no other process uses."""
    made = path.with_name(f".{path.name}.{os.getpid()}")
    with writing_output(path, "a new file"):
        made.parent.mkdir(parents=True, exist_ok=True)
        made.write_bytes(content)
    return made


def metadata(model: Model) -> dict[str, str]:
    """The metadata of a file, by name; values are text, most of them JSON.

    `seqpipe`: the version; `format`: of these metadata; `architecture`, `task`: names; `x`, `y`:
    of each field its kind, size, names by id (classes, symbols), mean and scale, what it learned,
    and its options; `data`: `max_length` and `window`, to which training cut sequences; `bos`,
    `eos`, `pad`, `blank`: ids, where they mean something.
    """
    data = model.config["data"]
    facts: dict[str, Any] = {
        "format": FORMAT,
        "data": {name: data.get(name) for name in ("max_length", "keep", "longer", "window")},
    }
    for role, field, spec in (("x", model.x, model.spec.x), ("y", model.y, model.spec.y)):
        if field is not None and spec is not None:
            facts[role] = _field(field, spec, data[role])
    facts |= model.task.special_ids
    names = {"architecture": type(model.network).__name__, "task": model.task.name}
    return {
        "seqpipe": __version__,
        **names,
        **{key: json.dumps(value, ensure_ascii=False) for key, value in facts.items()},
    }


def _field(field: Field, spec: FieldSpec, options: Mapping[str, Any]) -> dict[str, Any]:
    """Facts that another program needs to encode an entry of the field, or to decode an answer."""
    facts = {
        "kind": spec.kind,
        "size": spec.size,
        "names": spec.names,
        "mean": spec.mean,
        "scale": spec.scale,
        "scheme": spec.scheme,
        "options": dict(options),
    }
    if spec.characters is not None:
        facts["characters"] = (*SPECIALS, *field.state()["characters"])
    return {name: value for name, value in facts.items() if value is not None}


def _described(value: Any) -> str:
    """`x (batch, steps) int64`."""
    kind = value.type.removeprefix("tensor(").removesuffix(")")
    kind = {"float": "float32", "double": "float64"}.get(kind, kind)
    return f"{value.name} ({', '.join(str(axis) for axis in value.shape)}) {kind}"
