"""What a decay of teacher forcing excludes."""

from collections.abc import Iterator

from seqpipe.config.tree import Tree
from seqpipe.rules import Problem

DECAY = "architecture.teacher_forcing_decay"


def forcing_problems(tree: Tree) -> Iterator[Problem]:
    """A decay from where there is nothing to decay to.

    Args:
        tree: of the configuration.
    """
    start, target = tree.get("architecture.teacher_forcing"), tree.get(f"{DECAY}._target_")
    if not isinstance(start, (int, float)) or not isinstance(target, str):
        return
    if start == 0 and target != "seqpipe.models.forcing.Constant":
        text = f"is 0 from the start, {DECAY} has nothing to do; allowed: above 0, or {DECAY}=none"
        yield Problem("architecture.teacher_forcing", start, text)
        return
    end = tree.get(f"{DECAY}.end")
    if isinstance(end, (int, float)) and end >= start:
        text = f"starts at architecture.teacher_forcing={start} and decays; allowed: less than that"
        yield Problem(f"{DECAY}.end", end, text)
