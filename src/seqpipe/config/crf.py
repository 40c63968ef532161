"""What a CRF head excludes."""

from collections.abc import Iterator

from seqpipe.config.tree import Tree
from seqpipe.rules import Problem

HEAD = "architecture.head"
CRF = "seqpipe.nn.crf.CRFHead"


def crf_problems(tree: Tree, architecture: str | None, task: str | None) -> Iterator[Problem]:
    """What cannot be asked of a model that answers with a whole sequence of tags.

    Args:
        tree: of the configuration.
        architecture: the packaged one that was chosen; None for the user's own.
        task: likewise.
    """
    if tree.get(f"{HEAD}._target_") != CRF:
        return
    linear = f"allowed: {HEAD}=linear"
    for group, name, wanted in (
        ("architecture", architecture, "many_to_many"),
        ("task", task, "tagging"),
    ):
        if name is not None and name != wanted:
            text = f"scores sequences of tags, which {group}={name} has not"
            yield Problem(HEAD, "crf", f"{text}; {linear}, or data of task=tagging")
            return
    if tree.get("data.bptt") is not None:
        text = "a carried state does not hold the tag before, which architecture.head=crf needs"
        allowed = f"null, data.window in its place, or {HEAD}=linear"
        yield Problem("data.bptt", tree.get("data.bptt"), f"{text}; allowed: {allowed}")
    smoothing = tree.get("task.label_smoothing")
    if smoothing:
        text = f"spreads mass over the tags of one step, {HEAD}=crf answers with whole sequences"
        yield Problem("task.label_smoothing", smoothing, f"{text}; allowed: 0")
