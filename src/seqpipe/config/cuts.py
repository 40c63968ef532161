"""How sequences are cut: what can be cut at all, and which ways exclude each other."""

from collections.abc import Iterator

from seqpipe.config.tree import Tree
from seqpipe.rules import Problem

CARRY = ("one_to_many", "many_to_many")  # architectures that pass their state to the next batch


def cut_problems(tree: Tree, *, aligned: bool, architecture: str | None) -> Iterator[Problem]:
    """Cuts that cannot be made.

    Args:
        tree: of the configuration.
        aligned: there is a text alone, or one y for each step of x.
        architecture: the packaged one that was chosen; None for the user's own.
    """
    window, bptt = tree.get("data.window"), tree.get("data.bptt")
    for name, value in (("window", window), ("bptt", bptt)):
        if value is not None and not aligned:
            text = "only a text alone, or one y for each x, can be cut"
            yield Problem(f"data.{name}", value, f"{text}; allowed: data.{name}=null")
    longer = tree.get("data.eval_window")
    if longer is not None and window is None and bptt is None:
        text = "nothing is cut in training; allowed: null, or also data.window"
        yield Problem("data.eval_window", longer, text)
    if bptt is not None:
        yield from _lane_problems(tree, bptt, architecture)


def _lane_problems(tree: Tree, bptt: object, architecture: str | None) -> Iterator[Problem]:
    if tree.get("data.window") is not None:
        text = "what is read in lanes is not cut in windows; allowed: data.window=null"
        yield Problem("data.bptt", bptt, f"{text}, or data.bptt=null")
    if tree.get("data.batch_tokens") is not None:
        text = "lanes are as many as data.batch_size; allowed: null, or data.bptt=null"
        yield Problem("data.batch_tokens", tree.get("data.batch_tokens"), text)
    if architecture == "many_to_many" and tree.get("architecture.encoder.bidirectional"):
        origin = tree.origin("architecture.encoder.bidirectional")
        text = "a state is carried forwards only (data.bptt); allowed"
        yield Problem(origin, True, f"{text}: {origin}=false, or data.window for data.bptt")
    if tree.raw("data.x") is not None and architecture == "one_to_many":
        text = "a condition stands at the start of each example, lanes have none; allowed: null"
        yield Problem("data.bptt", bptt, text)
