"""Connectionist temporal classification: symbols read off the steps of a longer sequence.

Every step of x says one of V symbols or nothing (the blank). A path, one of them for each step,
stands for the symbols that remain when repeats are merged and blanks are left out; the
probability of y is that of all its paths together.

Shapes: B sequences, T steps of x, U symbols of y, V outputs.
Source: Graves, Fernandez, Gomez & Schmidhuber (2006), "Connectionist temporal classification".
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from seqpipe.nn.masks import length_mask
from seqpipe.nn.precision import precise


def ctc_loss(
    logits: Float[Tensor, "B T V"],
    x_lengths: Int[Tensor, " B"],
    y: Int[Tensor, "B U"],
    y_lengths: Int[Tensor, " B"],
    *,
    blank: int,
) -> Float[Tensor, " B"]:
    """-log p(y | x) in nats of each sequence, infinite where x is too short for y (B,).

    Args:
        logits: (B, T, V); steps after the length are not read.
        x_lengths: (B,) real steps of x.
        y: (B, U) ids, the blank not among them.
        y_lengths: (B,) symbols of y.
        blank: the id that says nothing.

    Source: equations 5 to 8, in torch; summed in float32 at least.
    """
    # Padding may hold anything: NaN times the zero gradient of a step that is not read is NaN.
    mask = length_mask(x_lengths, logits.shape[1]).unsqueeze(-1)
    log_p = precise(logits).masked_fill(~mask, 0.0).log_softmax(dim=-1)
    losses: Tensor = nn.functional.ctc_loss(
        log_p.transpose(0, 1), y, x_lengths, y_lengths, blank=blank, reduction="none"
    )
    return losses


def best_path(
    logits: Float[Tensor, "B T V"], x_lengths: Int[Tensor, " B"], *, blank: int
) -> tuple[Int[Tensor, "B T"], Int[Tensor, " B"]]:
    """Greedy decoding: the likeliest symbol of each step, repeats merged, blanks left out.

    Args:
        logits: (B, T, V); steps after the length are not read.
        x_lengths: (B,) real steps of x.
        blank: the id that says nothing.

    Returns:
        (B, T) ids, filled up with the blank, and (B,) how many symbols each has; it may be 0.

    Source: section 3.2, best path decoding. It is not the likeliest y, which has many paths.
    """
    path = logits.argmax(dim=-1)
    before = nn.functional.pad(path, (1, 0), value=blank)[:, :-1]
    said = length_mask(x_lengths, path.shape[1]) & (path != blank) & (path != before)
    # A stable sort by "left out" moves what is said to the front, in its order.
    order = (~said).to(torch.uint8).argsort(dim=1, stable=True)
    lengths = said.sum(dim=1)
    ids = path.gather(1, order).masked_fill(~length_mask(lengths, path.shape[1]), blank)
    return ids, lengths


def steps_needed(ids: Int[Tensor, " U"]) -> int:
    """Fewest steps of x that can say `ids`: one each, and a blank between equal neighbours."""
    return len(ids) + int((ids[1:] == ids[:-1]).sum())
