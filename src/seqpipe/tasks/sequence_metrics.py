"""Sequences that a model writes: how they are compared with the truth, and their metrics."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from rapidfuzz.distance import Levenshtein
from torch import Tensor

from seqpipe.data.base import FieldSpec, SequenceBatch
from seqpipe.data.vocabulary import SPECIALS, UNK
from seqpipe.tasks.metric_sums import ByExample, added_up

NO_ANSWER = "\N{REPLACEMENT CHARACTER}"
"""Stands in the text of a truth for a symbol that is not in the vocabulary."""
NEVER = -1
"""Stands in a truth for a symbol that is not in the vocabulary: no prediction equals it."""


class Written(list[int]):
    """Ids of a sequence, and the text that they are compared by.

    Args:
        ids: of its symbols.
        text: None where only the ids are compared.
        spelled: what the ids spell, <UNK> included, where they spell anything; of a truth the raw
            text, where it is known.

    Attributes:
        others: of a truth, further truths that are as right: references.
        repeated: of a truth, an earlier example of the same x has counted for this one too.
    """

    def __init__(self, ids: Sequence[int], text: str | None = None, spelled: str = "") -> None:
        super().__init__(ids)
        self.text, self.spelled = text, spelled
        self.others: tuple[Written, ...] = ()
        self.repeated = False

    @property
    def every(self) -> "tuple[Written, ...]":
        """The truth and its further references."""
        return (self, *self.others)


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
        predictions.append(Written(written, answer, answer or _spelled(prediction.tolist(), y)))
        raw = text or _spelled(truth.tolist(), y).replace(SPECIALS[UNK], NO_ANSWER)
        truths.append(Written(wanted, text, raw))
    return predictions, truths


def _spelled(ids: list[int], y: FieldSpec) -> str:
    """The text that ids spell, <UNK> included; "" where they spell none."""
    return "" if y.text is None else y.text(ids)


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
    """True where an answer is a truth: as a text, where that of the truth is known."""
    return any(_is_same(prediction, one) for one in every_of(truth))


def _is_same(prediction: list[int], truth: list[int]) -> bool:
    if not isinstance(truth, Written) or truth.text is None:
        return prediction == truth
    return isinstance(prediction, Written) and prediction.text == truth.text


def every_of(truth: list[int]) -> "Sequence[list[int]]":
    """A truth and its further references."""
    return truth.every if isinstance(truth, Written) else (truth,)


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


class WrittenSums(ByExample):
    """Sums over sequences, each compared with its references.

    Updated with two lists, of `Written` or of plain id lists; a repeated truth adds nothing.
    A subclass names its states and how many numbers each has, and computes what one adds.

    Args:
        states: name -> how many numbers.
        kwargs: of torchmetrics' Metric.
    """

    def __init__(self, states: Mapping[str, int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.widths = dict(states)
        for name, width in states.items():
            zeros = torch.zeros(width, dtype=torch.long) if width > 1 else torch.tensor(0)
            self.add_state(name, zeros, dist_reduce_fx="sum")

    @abstractmethod
    def terms(self, prediction: Any, truth: Any) -> Sequence[int]:
        """The numbers that one sequence adds, those of all states after each other."""

    def of_examples(
        self, predictions: list[Any], truths: list[Any], examples: Tensor, count: int
    ) -> dict[str, Tensor]:
        """See `ByExample`."""
        nothing = [0] * sum(self.widths.values())
        pairs = zip(predictions, truths, strict=True)
        rows = [nothing if _is_repeated(t) else self.terms(p, t) for p, t in pairs]
        numbers = torch.tensor([*map(list, rows)], dtype=torch.long).reshape(-1, len(nothing))
        summed = added_up(numbers, examples, count)
        parts = zip(self.widths.items(), summed.split([*self.widths.values()], dim=1), strict=True)
        return {name: part if width > 1 else part.squeeze(1) for (name, width), part in parts}


def _is_repeated(truth: object) -> bool:
    return isinstance(truth, Written) and truth.repeated


class ExactMatch(WrittenSums):
    """Share of sequences that are right: as texts, where these are known, else in every symbol."""

    right: Tensor
    total: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__({"right": 1, "total": 1}, **kwargs)

    def terms(self, prediction: list[int], truth: list[int]) -> Sequence[int]:
        """1 where it is right, and 1."""
        return is_right(prediction, truth), 1

    def compute(self) -> Tensor:
        """Right of all, in [0, 1]."""
        return self.right / self.total


class ErrorRate(WrittenSums):
    """Edit distance to the truth per true symbol: the word, character or phoneme error rate.

    Summed over the whole split before the division, so that long sequences weigh more, as is
    usual; may pass 1. Of several references the closest counts, by its own length. Updated with
    two lists of id lists, without <EOS>.

    Source: Levenshtein (1966); unit costs of insertion, deletion and substitution.
    """

    edits: Tensor
    symbols: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__({"edits": 1, "symbols": 1}, **kwargs)

    def terms(self, prediction: list[int], truth: list[int]) -> Sequence[int]:
        """Edits, and true symbols."""
        return best_edits(prediction, every_of(truth))

    def compute(self) -> Tensor:
        """Edits per true symbol."""
        return self.edits / self.symbols.clamp(min=1)


def best_edits(answer: Sequence[Any], references: Iterable[Sequence[Any]]) -> tuple[int, int]:
    """The edits from an answer to the closest reference, and its length; the first of several."""
    found = ((Levenshtein.distance(answer, one), len(one)) for one in references)
    return min(found, key=lambda pair: pair[0])


class SameX:
    """The truths of each x, of the splits that were learned.

    An x with several examples counts once, with the first of them, and every truth of it is right.
    """

    def __init__(self) -> None:
        self.splits: list[dict[bytes, dict[int, Written]]] = []

    def learn(self, batches: Iterable[tuple[SequenceBatch, Sequence[Written]]]) -> None:
        """Gathers the truths of a split.

        Args:
            batches: all of its examples, with their truths; `index` numbers the examples.
        """
        groups: dict[bytes, dict[int, Written]] = {}
        for batch, truths in batches:
            for key, index, truth in zip(_keys(batch), batch.index.tolist(), truths, strict=True):
                groups.setdefault(key, {})[index] = truth
        self.splits.append(groups)

    def add_to(self, batch: SequenceBatch, truths: Sequence[Written]) -> None:
        """Gives truths their further references, and marks those that count with an earlier one.

        batch: of a split that was learned; truths: of its examples.
        """
        for key, index, truth in zip(_keys(batch), batch.index.tolist(), truths, strict=True):
            own = [groups[key] for groups in self.splits if index in groups.get(key, {})]
            for group in own[:1]:
                truth.others = tuple(one for number, one in group.items() if number != index)
                truth.repeated = index != min(group)


def _keys(batch: SequenceBatch) -> Iterator[bytes]:
    """The x of each example without padding, as bytes."""
    assert batch.x is not None, "references of a model without x"
    x = batch.x.cpu().numpy()
    lengths = [None] * len(x) if batch.x_lengths is None else batch.x_lengths.tolist()
    return (row[:steps].tobytes() for row, steps in zip(x, lengths, strict=True))
