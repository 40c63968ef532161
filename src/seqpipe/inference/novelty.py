"""Comparison of samples with the training split: which of them are copies, and how much of each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from seqpipe.data.columns import Array, Column, Integers
from seqpipe.data.vocabulary import EOS

BLOCK = 2**22  # places of the training text that are compared at once
_END = -1  # after each sample; no symbol has this id


@dataclass(frozen=True)
class Novelty:
    """How samples compare with the training split.

    Args:
        known: of each sample, whether it is an example of the training split; of a text that was
            read in pieces, whether it occurs anywhere in the text.
        copied: of each sample, the symbols of its longest passage that occurs there.
    """

    known: tuple[bool, ...]
    copied: tuple[int, ...]

    @property
    def share(self) -> float:
        """Share of the samples that are known, in [0, 1]."""
        return sum(self.known) / len(self.known)

    @property
    def longest(self) -> int:
        """Symbols of the longest copied passage of all samples."""
        return max(self.copied)

    @property
    def mean(self) -> float:
        """Mean over the samples of the longest copied passage of each, in symbols."""
        return sum(self.copied) / len(self.copied)


def compare(samples: Sequence[Array], column: Column, *, in_pieces: bool) -> Novelty:
    """Compare samples with the examples of the training split.

    Args:
        samples: the ids of each, (T,), without <EOS>; at least one.
        column: the encoded y of the training split; a text in it ends with <EOS>.
        in_pieces: training read one long text in pieces, so that a sample is no whole example.
    """
    copied = longest_copies(samples, column)
    if in_pieces:
        known = [0 < len(ids) == count for ids, count in zip(samples, copied, strict=True)]
    else:
        known = _equal_to_one(samples, column)
    return Novelty(tuple(known), tuple(copied))


def _equal_to_one(samples: Sequence[Array], column: Column) -> list[bool]:
    """True for each sample that equals a whole example."""
    sizes = {len(ids) for ids in samples}
    possible = np.flatnonzero(np.isin(column.lengths, [*sizes, *(size + 1 for size in sizes)]))
    rows = (column.array(int(place)) for place in possible)
    wholes = {_bytes(row[:-1] if len(row) and row[-1] == EOS else row) for row in rows}
    return [_bytes(ids) in wholes for ids in samples]


def _bytes(ids: Array) -> bytes:
    return ids.astype(np.int64).tobytes()


def longest_copies(samples: Sequence[Array], column: Column) -> list[int]:
    """Return for each sample the length of its longest passage that occurs in the examples.

    Exact. Passages that occur on both sides are made longer symbol by symbol, all at once: after L
    rounds, the places that are left are those of passages of L symbols that are on both sides. In
    a text this is a small part after a few rounds.

    Args:
        samples: see `compare`.
        column: see `compare`.
    """
    joined = np.concatenate([np.append(np.asarray(ids, np.int64), _END) for ids in samples])
    longest = np.zeros(len(joined), dtype=np.int64)  # of the passages that start at each place
    for text, starts in _blocks(column, max(map(len, samples))):
        np.maximum(longest, _matches(joined, text, starts), out=longest)
    ends = np.cumsum([len(ids) + 1 for ids in samples])
    return [int(part.max()) for part in np.split(longest, ends[:-1])]


def _blocks(column: Column, longest: int) -> Iterator[tuple[Integers, int]]:
    """Yield stretches of the text, and how many of its first places a passage may start at."""
    for start in range(0, column.steps, BLOCK):
        count = min(BLOCK, column.steps - start)
        end = min(column.steps, start + count + longest)
        yield column.span(start, end).astype(np.int64), count


def _matches(joined: Integers, text: Integers, starts: int) -> Integers:
    """Return at each place of the samples the longest passage from there that is in the text."""
    longest = np.zeros(len(joined), dtype=np.int64)
    symbols = int(max(joined.max(), text.max())) + 1
    here, there = np.arange(len(joined)), np.arange(starts)
    passage, same = np.zeros_like(here), np.zeros_like(there)  # the passage at each place
    size = 0
    while len(here) and len(there):
        is_inside = joined[here + size] != _END
        here, passage = here[is_inside], passage[is_inside]
        goes_on = there + size < len(text)
        there, same = there[goes_on], same[goes_on]
        longer = passage * symbols + joined[here + size]
        distinct, passage = np.unique(longer, return_inverse=True)
        asked = same * symbols + text[there + size]
        same = np.searchsorted(distinct, asked)
        is_shared = np.append(distinct, -1)[same] == asked
        there, same = there[is_shared], same[is_shared]
        on_both = np.zeros(len(distinct), dtype=bool)
        on_both[same] = True
        number = np.cumsum(on_both) - 1
        is_kept = on_both[passage]
        here, passage, same = here[is_kept], number[passage[is_kept]], number[same]
        size += 1
        longest[here] = size
    return longest
