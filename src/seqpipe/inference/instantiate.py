"""Objects from the nodes of a configuration, without Hydra, and only of known classes.

A configuration that comes with a model is another person's file: a `_target_` in it may name
anything that Python can import and call. This module is the one list of classes that may be used:
those of seqpipe's own parts, each at its own place, and of modules that the caller trusts by name.
(`seqpipe.records` has the one list of values that a record may hold, `seqpipe.runs.trust` that of
files and data sets that a record may name.)
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
"""Base classes of the objects at a place of a configuration, or below it."""
_SOURCE = "data.source"


def part(target: str, key: str) -> type | None:
    """Return seqpipe's own class behind a `_target_`; None if it is none, or not for this place.

    Only modules of seqpipe are imported. For a class that this version does not have, the base
    class of its place is returned: naming it runs nothing.

    Args:
        target: `module.Class`.
        key: its place in the configuration.
    """
    bases = next((PARTS[place] for place in PARTS if _inside(key, place)), None)
    module, _, name = target.rpartition(".")
    if bases is None or not _is_ours(module):
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
            called as well, with the modules inside them.
    """

    def __init__(self, trust: Sequence[str] = ()) -> None:
        self.trust = (trust,) if isinstance(trust, str) else tuple(trust)

    def trusts(self, target: str) -> bool:
        """True for a part of seqpipe, and for a class of a trusted module."""
        module = target.rpartition(".")[0]
        return _is_ours(module) or any(_inside(module, one) for one in self.trust)

    def source_class(self, node: Mapping[str, Any]) -> type[Source] | None:
        """Return the class of a source; None if it is no source, or not trusted.

        Args:
            node: the source, as the configuration has it.

        Raises:
            ConfigError: there is no such class.
        """
        target = str(node.get("_target_"))
        is_other = target.startswith("seqpipe.") and not target.startswith("seqpipe.data.sources.")
        if is_other or not self.trusts(target):
            return None
        found: Any = self.find(target, _SOURCE)
        return found if isinstance(found, type) else None

    def inner_key(self, node: Mapping[str, Any]) -> str | None:
        """Return the argument of a source that holds another one; None if none does."""
        made = self.source_class(node)
        key = "source" if made is None else getattr(made, "inner", None)
        return key if key is not None and isinstance(node.get(key), Mapping) else None

    def make(self, node: Any, key: str) -> Any:
        """Make the object of a node: plain values stay, a `_target_` is called or made partial.

        Args:
            node: plain containers.
            key: its place in the configuration, for messages.

        Raises:
            ConfigError: a `_target_` is not allowed, does not exist, or refuses its arguments.
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
            raise ConfigError(f"{key}: {error}; allowed: arguments of this version") from None

    def find(self, target: str, key: str) -> Callable[..., Any]:
        """Find the class or function behind a `_target_`.

        Args:
            target: `module.Class`.
            key: its place in the configuration.

        Raises:
            ConfigError: it is not allowed at this place, or does not exist.
        """
        module, _, name = target.rpartition(".")
        shown = f"{key}._target_={target}"
        ours = _is_ours(module)
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


def _is_ours(module: str) -> bool:
    return any(_inside(module, f"seqpipe.{one}") for one in OUR_PARTS)


def make_sized_model(
    make_model: Callable[..., nn.Module],
    spec: SequenceSpec,
    output_size: int | None = None,
    longest_x: int | None = None,
) -> nn.Module:
    """Make the model of an architecture for the sizes of x and y.

    Args:
        make_model: the architecture, with all arguments that do not depend on the data.
        spec: the properties of the data.
        output_size: K, width of one prediction, as the task needs it; None: the size of y.
        longest_x: most steps of an x, `data.max_length`; None: any number.

    Raises:
        ConfigError: the architecture cannot read x or write y.
    """
    sizes: dict[str, Any] = {}
    if spec.x is not None:
        sizes |= {"x_kind": spec.x.form.read_as, "x_size": spec.x.size}
        if spec.x.characters is not None:
            sizes["x_characters"] = spec.x.characters
    taken = signature(make_model).parameters
    if "longest_x" in taken:
        sizes["longest_x"] = longest_x
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


def make_informed_task(
    make_task: Callable[..., Task], y: FieldSpec, *, longest_y: int, crf: bool
) -> Task:
    """Make a task, with those of these facts that its constructor takes.

    Args:
        make_task: the task, with all arguments that do not depend on the data.
        y: the properties of y.
        longest_y: steps of the longest y of the training split.
        crf: the outputs of the model are the potentials of a CRF.
    """
    taken = signature(make_task).parameters
    facts = {"longest_y": longest_y, "crf": crf}
    return make_task(y=y, **{name: value for name, value in facts.items() if name in taken})


def writes_crf(make_model: Callable[..., nn.Module]) -> bool:
    """True if an architecture, made partial, has a CRF as its head."""
    head: Any = getattr(make_model, "keywords", {}).get("head")
    return bool(getattr(getattr(head, "func", None), "whole_sequences", False))
