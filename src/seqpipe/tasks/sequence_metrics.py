"""Sequences that a model writes: how they are compared with the truth, and their metrics."""

from collections.abc import Sequence
from typing import Any

import torch
from rapidfuzz.distance import Levenshtein
from torch import Tensor

from seqpipe.data.base import FieldSpec
from seqpipe.data.vocabulary import UNK
from seqpipe.tasks.metric_sums import ByExample, added_up

NEVER = -1
"""Stands in a truth for a symbol that is not in the vocabulary: no prediction equals it."""


class Written(list[int]):
    """Ids of a sequence, and the text that they are compared by.

    Args:
        ids: of its symbols.
        text: None where only the ids are compared.
    """

    def __init__(self, ids: Sequence[int], text: str | None = None) -> None:
        super().__init__(ids)
        self.text = text


def compared(
    decoded: Sequence[tuple[Tensor, Tensor]], y: FieldSpec, texts: Sequence[str] | None = None
) -> tuple[list[Written], list[Written]]:
    """Predictions and truths in the form in which they are compared: by the text that they spell.

    <UNK> written for an unknown symbol is an error, since the text has another symbol there.
    Different symbols that spell the same text are equal: subwords can be combined in several ways.

    Args:
        decoded: (prediction, truth) of each example, ids.
        y: whose symbols they are.
        texts: the raw truth of each example, see `SequenceBatch`; None: what its ids spell.

    Returns:
        two lists, of the predictions and of the truths.
    """
    predictions, truths = [], []
    for place, (prediction, truth) in enumerate(decoded):
        written, wanted = prediction.tolist(), truth.tolist()
        text = (texts[place] if texts and y.text else "") or _text_of(wanted, y)
        answer = _text_of(written, y)
        if text is not None and answer == text:
            written = wanted
        elif y.unknown in wanted:
            unknown = _never_written(wanted, text, y)
            wanted = [NEVER if one else id_ for id_, one in zip(wanted, unknown, strict=True)]
        predictions.append(Written(written, answer))
        truths.append(Written(wanted, text))
    return predictions, truths


def _text_of(ids: list[int], y: FieldSpec) -> str | None:
    """The text that ids spell; None where <UNK> is among them and the texts have no such symbol."""
    if y.text is None or (y.unknown in ids and y.cut is None):
        return None
    return y.text(ids)


def _never_written(ids: list[int], text: str | None, y: FieldSpec) -> list[bool]:
    """True for each symbol of a truth that stands for an unknown one, which no answer can write."""
    unknown = [id_ == y.unknown for id_ in ids]
    if y.cut is None or text is None or y.names is None:
        return unknown
    symbols = y.cut(text)
    if len(symbols) != len(ids):
        return unknown
    own = y.names[UNK]
    return [one and symbol != own for one, symbol in zip(unknown, symbols, strict=True)]


def is_right(prediction: list[int], truth: list[int]) -> bool:
    """True where an answer is the truth: as a text, where that of the truth is known."""
    if not isinstance(truth, Written) or truth.text is None:
        return prediction == truth
    return isinstance(prediction, Written) and prediction.text == truth.text


def is_same_text(y: FieldSpec, predicted: Tensor, truth: Tensor, text: str) -> bool:
    """True where a decoded answer is right, as `compared` compares it.

    Args:
        y: whose symbols they are.
        predicted: (T,) ids.
        truth: (T_y,) ids.
        text: the raw truth; "" where it is not known.
    """
    (written,), (wanted,) = compared([(predicted, truth)], y, [text])
    return is_right(written, wanted)


class ExactMatch(ByExample):
    """Share of sequences that are right: as texts, where these are known, else in every symbol.

    Updated with two lists, of `Written` or of plain id lists.
    """

    right: Tensor
    total: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("right", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("total", torch.tensor(0), dist_reduce_fx="sum")

    def of_examples(
        self, predictions: list[list[int]], truths: list[list[int]], examples: Tensor, count: int
    ) -> dict[str, Tensor]:
        """See `ByExample`."""
        right = torch.tensor([*map(is_right, predictions, truths)])
        return {
            "right": added_up(right.long(), examples, count),
            "total": added_up(torch.ones_like(examples), examples, count),
        }

    def compute(self) -> Tensor:
        """Right of all, in [0, 1]."""
        return self.right / self.total


class ErrorRate(ByExample):
    """Edit distance to the truth per true symbol: the word, character or phoneme error rate.

    Summed over the whole split before the division, so that long sequences weigh more, as is
    usual; may pass 1. Updated with two lists of id lists, without <EOS>.

    Source: Levenshtein (1966); unit costs of insertion, deletion and substitution.
    """

    edits: Tensor
    symbols: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("edits", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("symbols", torch.tensor(0), dist_reduce_fx="sum")

    def of_examples(
        self, predictions: list[list[int]], truths: list[list[int]], examples: Tensor, count: int
    ) -> dict[str, Tensor]:
        """See `ByExample`."""
        edits = [Levenshtein.distance(p, t) for p, t in zip(predictions, truths, strict=True)]
        return {
            "edits": added_up(torch.tensor(edits, dtype=torch.long), examples, count),
            "symbols": added_up(torch.tensor([*map(len, truths)]).long(), examples, count),
        }

    def compute(self) -> Tensor:
        """Edits per true symbol."""
        return self.edits / self.symbols.clamp(min=1)
