"""What usually helps where a model is no better than a simple one."""

import copy
from collections.abc import Iterable, Iterator, Mapping

import yaml
from omegaconf import DictConfig, OmegaConf, read_write

from seqpipe.config.config_view import Tree
from seqpipe.config.validate import problems_of

_RAISED = ("hidden_size", "depth", "dropout")


def usual_remedies(
    candidates: Iterable[str], cfg: DictConfig, choices: Mapping[str, str]
) -> list[str]:
    """Overrides that change a configuration and usually help; "more data" always does.

    Args:
        candidates: those of the task, as typed. One that this configuration does not allow is left
            out, as is one that makes a model smaller.
        cfg: the whole configuration, with interpolations.
        choices: the option chosen in each group.
    """
    tree = Tree(cfg)
    typed = map(tree.as_written, candidates)  # data.source.local.relative_to_last=
    own = [text for text in typed if _is_taken(text, tree, choices)]
    return [*own, *_longer_and_slower(cfg), "more data"]


def _is_taken(override: str, tree: Tree, choices: Mapping[str, str]) -> bool:
    """True if the configuration allows the override, and becomes another one by it."""
    key, _, written = override.partition("=")
    value = yaml.safe_load(written)
    if not tree.has(key) or _is_against(key, value, tree):
        return False
    if isinstance(tree.raw(key), dict):  # an option of a group
        return choices.get(key.replace(".", "/")) != written
    if tree.get(key) == value:
        return False
    changed = copy.deepcopy(tree.cfg)
    with read_write(changed):
        OmegaConf.update(changed, key, value)
    return not problems_of(changed, dict(choices))


def _is_against(key: str, value: object, tree: Tree) -> bool:
    """True if a value is against what was chosen for a reason, or makes the model smaller."""
    if key == "hidden_size" and tree.get("match_parameters") is not None:
        return True
    now = tree.get(key)
    if key == "data.bptt" and now is not None:
        return True
    if key == "architecture.pooling" and now == "flatten":  # the places of the steps mean something
        return True
    if key not in _RAISED or not isinstance(now, (int, float)):
        return False
    return isinstance(value, (int, float)) and 0 < value < now


def _longer_and_slower(cfg: DictConfig) -> Iterator[str]:
    epochs, lr = cfg.trainer.max_epochs, OmegaConf.select(cfg, "optim.lr")
    if epochs and epochs > 0:
        yield f"trainer.max_epochs={2 * epochs}"
    if lr:
        yield f"optim.lr={lr / 3:.1g}"
