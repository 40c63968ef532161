"""Unknown symbols of a translation, replaced by the symbols of x that they attend to.

Source: Luong et al. (2015), "Addressing the rare word problem in neural machine translation",
section 3.3, and Jean et al. (2015), section 3.3.
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from seqpipe.data.base import Field, FieldSpec, SequenceBatch
from seqpipe.data.vocabulary import EOS, UNK
from seqpipe.models.architecture import attends

UnknownWords = Literal["keep", "ban", "copy"]


def copying_problem(network: nn.Module, x: FieldSpec | None) -> str | None:
    """Return why unknown symbols of an answer cannot be copied from x; None: they can.

    Args:
        network: that answers.
        x: of the input.
    """
    if x is None or not (x.is_text or x.is_spelled):
        return "x has no symbols to copy; allowed: keep or ban"
    if not attends(network):
        return "without attention no symbol of x is found; allowed: keep or ban"
    return None


@torch.inference_mode()
def decoded_with_copies(
    network: Any,
    y: Field,
    batch: SequenceBatch,
    answers: Sequence[Sequence[Tensor]],
    sources: Sequence[Sequence[str]],
) -> list[list[str]]:
    """The texts of answers; for <UNK> the symbol of x with the highest weight of attention.

    Args:
        network: with attention, in eval mode.
        y: the field of the answers, fitted.
        batch: with x of B inputs.
        answers: to each input, symbols (T,) before <EOS>.
        sources: the symbols of each input as its text spells them; empty where they are not known.
    """
    asked = [
        (row, ids)
        for row, found in enumerate(answers)
        for ids in found
        if bool((ids == UNK).any()) and len(sources[row])
    ]
    places = iter(_attended(network, batch, asked, sources) if asked else ())
    texts: list[list[str]] = []
    for row, found in enumerate(answers):
        texts.append([])
        for ids in found:
            if bool((ids == UNK).any()) and len(sources[row]):
                texts[row].append(_joined(y, ids, sources[row], next(places)))
            else:
                texts[row].append(y.decode(ids))
    return texts


def _attended(
    network: Any,
    batch: SequenceBatch,
    asked: Sequence[tuple[int, Tensor]],
    sources: Sequence[Sequence[str]],
) -> list[list[int]]:
    """The step of x, one with a known symbol, that each step of each answer attends to most."""
    assert batch.x is not None and batch.x_lengths is not None
    rows = torch.tensor([row for row, _ in asked], device=batch.x.device)
    lengths = torch.tensor([len(ids) + 1 for _, ids in asked])
    y = torch.full((len(asked), int(lengths.max())), EOS)
    for place, (_, ids) in enumerate(asked):
        y[place, : len(ids)] = ids
    x = batch.x.index_select(0, rows), batch.x_lengths.index_select(0, rows)
    weights = network.attention_of(*x, y.to(rows.device), lengths.to(rows.device)).cpu()
    pairs = zip(weights, asked, strict=True)
    return [one[:, : len(sources[row])].argmax(dim=-1).tolist() for one, (row, _) in pairs]


def _joined(y: Field, ids: Tensor, source: Sequence[str], places: Sequence[int]) -> str:
    names, join = y.spec.names or (), y.steps("")[1]
    steps = enumerate(ids.tolist())
    return join([source[places[step]] if id_ == UNK else names[id_] for step, id_ in steps])
