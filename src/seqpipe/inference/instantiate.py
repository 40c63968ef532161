"""Objects from the nodes of a configuration, without Hydra, and only of classes that are known.

A configuration that comes with a model is another person's file: a `_target_` in it may name
anything that Python can import and call. So only classes of seqpipe's own parts are made, and
those of modules that the caller trusts by name.
"""

import functools
import importlib
from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from typing import Any

import torch
from torch import nn

from seqpipe.data.base import Field, FieldSpec, SequenceSpec, Source
from seqpipe.data.vocabulary import BOS, EOS
from seqpipe.errors import ConfigError
from seqpipe.tasks.base import Task

OUR_PARTS = ("nn", "models", "tasks", "data.fields", "data.sources")
PARTS: dict[str, tuple[type, ...]] = {
    "architecture": (nn.Module,),
    "cell": (nn.Module,),
    "task": (Task,),
    "data.source": (Source,),
    "data.x": (Field, nn.Module),
    "data.y": (Field, nn.Module),
}
"""What may stand where in a configuration, or below."""


def part(target: str, key: str) -> type | None:
    """The class of seqpipe's own behind a `_target_`; None where it is none, or not for this place.

    Only modules of seqpipe's own are imported. A class that this version does not have is given
    back as the base of what may stand there: naming it runs nothing.

    Args:
        target: `module.Class`.
        key: its place in the configuration.
    """
    bases = next((PARTS[place] for place in PARTS if _inside(key, place)), None)
    module, _, name = target.rpartition(".")
    if bases is None or not any(_inside(module, f"seqpipe.{one}") for one in OUR_PARTS):
        return None
    try:
        found = getattr(importlib.import_module(module), name, None)
    except (ImportError, ValueError):  # `seqpipe.data.fields.os` is no module of ours
        return None
    if found is None:
        return bases[0]
    ours = isinstance(found, type) and found.__module__.startswith("seqpipe.")
    return found if ours and issubclass(found, bases) else None


class Maker:
    """Makes objects of nodes with a `_target_`, as Hydra's `instantiate` would.

    Args:
        trust: modules (`my_cells`, `torchvision.models`) whose classes and functions may be
            called, too, and those of the modules inside them.
    """

    def __init__(self, trust: Sequence[str] = ()) -> None:
        self.trust = (trust,) if isinstance(trust, str) else tuple(trust)

    def trusts(self, target: str) -> bool:
        """True for a part of seqpipe, and for what the caller trusts."""
        module = target.rpartition(".")[0]
        trusted = (*(f"seqpipe.{one}" for one in OUR_PARTS), *self.trust)
        return any(_inside(module, one) for one in trusted)

    def make(self, node: Any, key: str) -> Any:
        """The object of a node: plain values as they are, `_target_`s called or made partial.

        Args:
            node: plain containers.
            key: its place in the configuration, for messages.

        Raises:
            ConfigError: a `_target_` that is not allowed or not there, or refuses its arguments.
        """
        if isinstance(node, list):
            return [self.make(value, f"{key}[{place}]") for place, value in enumerate(node)]
        if not isinstance(node, Mapping):
            return node
        rest = {
            name: self.make(value, f"{key}.{name}")
            for name, value in node.items()
            if name not in ("_target_", "_partial_", "_convert_")
        }
        if "_target_" not in node:
            return rest
        target = self.find(str(node["_target_"]), key)
        if node.get("_partial_", False):
            return functools.partial(target, **rest)
        try:
            return target(**rest)
        except TypeError as error:
            raise ConfigError(f"{key}: {error}; allowed: what this version of it takes") from None

    def find(self, target: str, key: str) -> Callable[..., Any]:
        """The class or function behind a `_target_`.

        Args:
            target: `module.Class`.
            key: its place in the configuration.

        Raises:
            ConfigError: it is not allowed there, or not there.
        """
        module, _, name = target.rpartition(".")
        shown = f"{key}._target_={target}"
        ours = any(_inside(module, f"seqpipe.{one}") for one in OUR_PARTS)
        if not self.trusts(target):
            first = module.partition(".")[0] or target
            raise ConfigError(
                f"{shown}: is no part of seqpipe, and what comes with a model is not run"
                f" unasked; allowed: trust={first}, if you know what is in it"
            )
        try:
            found = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            text = "cannot be found" if ours else f"cannot be found ({error})"
            raise ConfigError(f"{shown}: {text}; allowed: a class of this version") from None
        if ours and part(target, key) is None:
            raise ConfigError(f"{shown}: is no model, field, source or task; allowed: one of them")
        assert callable(found)
        return found  # type: ignore[no-any-return]


def _inside(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def sized(
    make_model: Callable[..., nn.Module], spec: SequenceSpec, output_size: int | None = None
) -> nn.Module:
    """The model that an architecture makes for the sizes of x and y.

    Args:
        make_model: the architecture, with all that does not depend on the data.
        spec: what the data is like.
        output_size: K, width of one prediction, as the task wants it; None: the size of y.

    Raises:
        ConfigError: the architecture cannot read or write what the data has.
    """
    sizes: dict[str, Any] = {}
    if spec.x is not None:
        sizes |= {"x_kind": spec.x.form.read_as, "x_size": spec.x.size}
        if spec.x.characters is not None:
            sizes["x_characters"] = spec.x.characters
    taken = signature(make_model).parameters
    for role, field in (("x", spec.x), ("y", spec.y)):
        if field is not None and field.vectors is not None:
            if f"{role}_vectors" not in taken:
                key, wrong = f"data.{role}.vectors", f"the architecture does not read {role}"
                raise ConfigError(f"{key}: {wrong}; allowed: {key}=null")
            sizes[f"{role}_vectors"] = torch.tensor(field.vectors)
    if spec.y.is_text and "bos" in taken:  # it writes them
        sizes |= {"y_size": spec.y.size, "bos": BOS, "eos": EOS}
    elif spec.y.has_time and not (spec.x is not None and spec.x.has_time):
        sizes |= {"y_size": spec.y.size, "y_kind": spec.y.kind}  # each step reads its own last y
    else:
        sizes["output_size"] = spec.y.size if output_size is None else output_size
    return make_model(**sizes)


def informed(make_task: Callable[..., Task], y: FieldSpec, *, longest_y: int, crf: bool) -> Task:
    """The task, given those of these facts that it takes.

    Args:
        make_task: the task, with all that does not depend on the data.
        y: what the data says of y.
        longest_y: steps of the longest y of the training split.
        crf: the model answers with the potentials of a CRF.
    """
    taken = signature(make_task).parameters
    facts = {"longest_y": longest_y, "crf": crf}
    return make_task(y=y, **{name: value for name, value in facts.items() if name in taken})


def writes_crf(make_model: Callable[..., nn.Module]) -> bool:
    """True for an architecture, made partial, with a CRF as its head."""
    head: Any = getattr(make_model, "keywords", {}).get("head")
    return bool(getattr(getattr(head, "func", None), "whole_sequences", False))
