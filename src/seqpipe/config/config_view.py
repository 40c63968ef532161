"""Reading a composed configuration: its leaves, and where an interpolated value is written."""

import re
from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

_KEY = re.compile(r"\bdata\.[\w.]+(?==)")
REFERENCE = re.compile(r"\$\{\s*(\.*)([\w.]+)\s*\}")


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
        node = self.raw(key)
        if isinstance(node, dict):
            for name in node:
                yield from self.leaves(f"{key}.{name}" if key else str(name))
        else:
            yield key, node

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
