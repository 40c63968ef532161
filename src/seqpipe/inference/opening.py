"""Trained models into folders and out of them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from seqpipe.data.base import Field, FieldSpec, SequenceSpec
from seqpipe.errors import ConfigError
from seqpipe.inference import saved
from seqpipe.inference.making import Maker, informed, sized, writes_crf
from seqpipe.inference.model import Model


def kept(
    config: Mapping[str, Any],
    fields: Mapping[str, Field],
    spec: SequenceSpec,
    network: nn.Module,
    facts: Mapping[str, Any],
) -> saved.Saved:
    """What `saved.write` is given of a trained model.

    Args:
        config: what it was trained with, resolved, plain containers.
        fields: by role, fitted.
        spec: what the data is like, with its counts.
        network: with the trained weights.
        facts: more that is known of the training.
    """
    specs = {"x": spec.x, "y": spec.y}
    counts = {role: s.counts for role, s in specs.items() if s is not None and s.counts is not None}
    states = {role: fld.state() for role, fld in fields.items()}
    return saved.Saved(dict(config), network.state_dict(), states, counts, dict(facts))


def opened(folder: Path, trust: Sequence[str] = ()) -> Model:
    """The model in a folder that `saved.write` wrote, on the CPU.

    Args:
        folder: of the model.
        trust: modules outside of seqpipe that its configuration may use, see `Maker`.

    Raises:
        ConfigError: it cannot be read, or not by this version.
    """
    found = saved.read(folder)
    data, maker = found.config["data"], Maker(trust)
    fields: dict[str, Field] = {}
    specs: dict[str, FieldSpec] = {}
    for role, state in found.fields.items():
        fields[role] = maker.make(data[role], f"data.{role}")
        fields[role].restore(state)
        specs[role] = replace(fields[role].spec, counts=found.counts.get(role))
    spec = SequenceSpec(specs.get("x"), specs["y"])
    made = maker.make(found.config["architecture"], "architecture")
    make_task, longest_y = maker.make(found.config["task"], "task"), found.facts["longest_y"]
    task = informed(make_task, spec.y, longest_y=longest_y, crf=writes_crf(made))
    network = sized(made, spec, task.output_size)
    try:
        network.load_state_dict(found.weights)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip()
        text = f"the weights are not those of its config.yaml ({reason})"
        raise ConfigError(f"{folder}: {text}; allowed: both of one run") from None
    return Model(found.config, fields.get("x"), fields["y"], spec, task, network, found.facts)
