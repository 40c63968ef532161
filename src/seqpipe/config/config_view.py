"""Reading a composed configuration: its leaves, where a value is written, its flat parameters."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

Param = str | int | float | bool | None
_KEY = re.compile(r"\bdata\.[\w.]+(?==)")
REFERENCE = re.compile(r"\$\{\s*(\.*)([\w.]+)\s*\}")


def leaves(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) of all values; a list and an empty mapping are one value."""
    if isinstance(node, Mapping) and node:
        for name, value in node.items():
            yield from leaves(value, f"{key}.{name}" if key else str(name))
    else:
        yield key, node


class Tree:
    """A configuration as written, interpolations not resolved.

    Args:
        cfg: the composed configuration.
    """

    def __init__(self, cfg: DictConfig) -> None:
        self.cfg = cfg
        written = OmegaConf.to_container(cfg, resolve=False)
        assert isinstance(written, dict)
        self.written: dict[Any, Any] = written

    def raw(self, key: str) -> Any:
        """Return the value written at a dotted key; None if there is no such key."""
        node: Any = self.written
        for part in key.split(".") if key else ():
            node = node.get(part) if isinstance(node, dict) else None
        return node

    def value(self, key: str) -> Any:
        """The resolved value at a dotted key, lists and mappings as plain Python.

        Raises:
            OmegaConfBaseException: an interpolation in it leads nowhere.
        """
        plain = self.raw(key)
        if isinstance(plain, (bool, int, float)) or (isinstance(plain, str) and _is_plain(plain)):
            return plain  # as `select` finds it, in a tenth of the time
        found = OmegaConf.select(self.cfg, key)
        return OmegaConf.to_container(found, resolve=True) if OmegaConf.is_config(found) else found

    def get(self, key: str) -> Any:
        """Return the value; None if an interpolation has no target, which `leaves` reports."""
        try:
            return self.value(key)
        except OmegaConfBaseException:
            return None

    def origin(self, key: str) -> str:
        """The key where the value of `key` is written, following `${...}` as far as it leads."""
        seen: list[str] = []
        while key not in seen:
            seen.append(key)
            raw = self.raw(key)
            found = REFERENCE.fullmatch(raw) if isinstance(raw, str) else None
            if found is None or not self.has(_absolute(key, *found.groups())):
                return key
            key = _absolute(key, *found.groups())
        return key

    def as_written(self, message: str) -> str:
        """A message of a part, its keys named where their values are written: data.path=..."""
        return _KEY.sub(lambda found: self.origin(self._nested(found[0])), message)

    def _nested(self, key: str) -> str:
        """`data.source.path`, where only a source within that source has a path: its key."""
        parent, _, name = key.rpartition(".")
        inner = [one for one, _ in self.leaves(parent) if one.endswith(f".{name}")]
        return inner[0] if len(inner) == 1 and not self.has(key) else key

    def has(self, key: str) -> bool:
        """Return True if a value, null included, is written at a dotted key."""
        parent, _, name = key.rpartition(".")
        node = self.raw(parent)
        return isinstance(node, dict) and name in node

    def leaves(self, key: str = "") -> Iterator[tuple[str, Any]]:
        """Every dotted key that holds no mapping, and what is written there."""
        return (leaf for leaf in leaves(self.raw(key), key) if leaf[1] != {})

    def mappings(self, key: str = "") -> Iterator[tuple[str, dict[Any, Any]]]:
        """Every dotted key that holds a mapping, and that mapping."""
        node = self.raw(key)
        if isinstance(node, dict):
            yield key, node
            for name in node:
                yield from self.mappings(f"{key}.{name}" if key else str(name))

    def references(self, below: str = "") -> set[str]:
        """Every key that some `${...}` reads, of those written at or below a key."""
        return {
            _absolute(key, *found.groups())
            for key, raw in self.leaves(below)
            for found in REFERENCE.finditer(str(raw))
        }


def _is_plain(text: str) -> bool:
    """Return True if a text is neither an interpolation nor a missing value."""
    return "$" not in text and text != "???"


def _absolute(key: str, dots: str, name: str) -> str:
    """The key that `${name}`, `${.name}` or `${..name}`, written at `key`, stands for."""
    if not dots:
        return name
    return ".".join([*key.split(".")[: -len(dots)], name])


def flat_params(cfg: DictConfig, choices: Mapping[str, str]) -> dict[str, Param]:
    """Return the choices of a run, each named by the override that sets it: `cell`, `optim.lr`, ...

    A value that only repeats another through an interpolation is left out, and so are the
    targets behind the options: their choice is named already.

    Args:
        cfg: the whole configuration, interpolations unresolved.
        choices: the option chosen in each group.
    """
    params: dict[str, Param] = {
        group.replace("/", "."): option
        for group, option in choices.items()
        if option is not None and "@" not in group and group.split("/")[0] != "hydra"
    }
    for key, value in Tree(cfg).leaves():
        is_target = key.rpartition(".")[2] in ("_target_", "_partial_")
        if not is_target and not (isinstance(value, str) and value.startswith("${")):
            params[key] = str(value).replace("'", "") if isinstance(value, list) else value
    return params


def is_kernel(key: str) -> bool:
    """True of `kernel` of any cell: all kernels give the same answers, up to rounding."""
    return key == "cell.kernel" or key.endswith(".cell.kernel")
