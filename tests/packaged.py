"""Packaged options, composed."""

from typing import Any

from omegaconf import OmegaConf

from seqpipe.config.loader import Loader, parse


def data_node(name: str) -> dict[str, Any]:
    """The node `data` of an option, with its interpolations as written."""
    cfg = Loader().compose(parse([f"data={name}"])[0]).cfg
    node: Any = OmegaConf.to_container(cfg.data)
    return node
