"""The configuration as flat parameters, each named as typed on the command line."""

from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

Param = str | int | float | bool | None


def flat_params(cfg: DictConfig, choices: Mapping[str, str]) -> dict[str, Param]:
    """Return the choices of a run, each named by the override that sets it: `cell`, `optim.lr`, ...

    A value that only repeats another through an interpolation is left out, and so are the
    targets behind the options: their choice is named already.

    Args:
        cfg: the whole configuration, interpolations unresolved.
        choices: the option chosen in each group.
    """
    chosen: dict[str, Param] = {
        group.replace("/", "."): option
        for group, option in choices.items()
        if option is not None and "@" not in group and group.split("/")[0] != "hydra"
    }
    written = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(written, dict)
    return {**chosen, **dict(_leaves(written, ""))}


def _leaves(node: Mapping[Any, Any], prefix: str) -> Iterator[tuple[str, Param]]:
    for key, value in node.items():
        name = f"{prefix}{key}"
        if key in ("_target_", "_partial_") or _interpolated(value):
            continue
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{name}.")
        elif isinstance(value, list):
            yield name, str(value).replace("'", "")
        else:
            yield name, value


def _interpolated(value: object) -> bool:
    return isinstance(value, str) and value.startswith("${")
