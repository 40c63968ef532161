"""What decoding without a beam excludes."""

from collections.abc import Iterator

from seqpipe.config.tree import Tree
from seqpipe.rules import Problem


def decoding_problems(tree: Tree) -> Iterator[Problem]:
    """Options of a beam where decoding is greedy, which would do nothing.

    Args:
        tree: of the configuration.
    """
    if tree.get("task.decoding") != "greedy":
        return
    for name in ("beam_size", "length_penalty"):
        value = tree.get(f"task.{name}")
        if value is not None:
            text = "greedy decoding has no beam; allowed: null, or also task.decoding=beam"
            yield Problem(f"task.{name}", value, text)
