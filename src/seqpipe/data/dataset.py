"""A source, an x and a y, put together: everything that training needs of the data."""

from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np
from torch import Tensor

from seqpipe.data.base import (
    ALIGNED_KINDS,
    SPLITS,
    X_KINDS,
    Y_KINDS,
    Field,
    Found,
    Record,
    SequenceBatch,
    SequenceSpec,
    Source,
)
from seqpipe.data.batching import (
    BucketBatchSampler,
    Column,
    Counts,
    Example,
    Examples,
    ResumableLoader,
    collate,
)
from seqpipe.data.digests import digest
from seqpipe.errors import ConfigError, DataError, did_you_mean

_MOST_PROBLEMS = 10  # shown at once


class SequenceData:
    """Reads a source, fits its fields on the training split, encodes, and gives out batches.

    Args:
        source: where the records come from; read once.
        y: what a model has to answer.
        x: what it reads; None for a language model.
        batch_size: examples in a batch.
        num_workers: loader processes; 0 loads in this one.
        seed: of the batch order.
        window: cut longer sequences in consecutive pieces of at most this many steps, each an
            example of its own; only where there is no x, or one y for each step of x.
        eval_window: the same for valid and test; None: as `window`. Longer pieces cost nothing
            there and say more: each starts without a memory of what stood before.

    Raises:
        ConfigError: the fields cannot be used so.
        DataError: a split is empty, or records are; all problems at once.
    """

    def __init__(
        self,
        source: Source,
        y: Field,
        x: Field | None = None,
        *,
        batch_size: int = 32,
        num_workers: int = 0,
        seed: int = 0,
        window: int | None = None,
        eval_window: int | None = None,
    ) -> None:
        _check_use(x, y, batch_size=batch_size, num_workers=num_workers, window=window)
        if eval_window is not None and window is None:
            text = "there is nothing to cut in training either; null, or also data.window"
            raise ConfigError(f"data.eval_window={eval_window}: {text}")
        self.source, self.x, self.y = source, x, y
        self.batch_size, self.num_workers = batch_size, num_workers
        self.seed, self.window = seed, window
        longest = window if eval_window is None else eval_window
        self._windows = {"train": window, "valid": longest, "test": longest}
        source.keep_together([(x or y).column])
        self._records = {split: _usable(found) for split, found in source.read().by_name().items()}
        empty = [f"{split}: holds no records" for split in SPLITS if not self._records[split]]
        if empty:
            raise DataError(empty)
        self._fit("y", y)
        if x is not None:
            self._fit("x", x)
        self.spec = SequenceSpec(x=None if x is None else x.spec, y=y.spec)
        self.digests = {split: digest(records) for split, records in self._records.items()}
        self._origins: dict[str, np.ndarray] = {}
        self._examples = {split: self._encode(split) for split in SPLITS}
        self.sizes = {split: len(examples) for split, examples in self._examples.items()}

    def records(self, split: str) -> list[Record]:
        """The raw records of a split."""
        return self._records[_known(split)]

    def examples(self, split: str) -> Sequence[Example]:
        """The encoded examples of a split, unpadded."""
        examples = self._examples[_known(split)]
        return [examples[index] for index in range(len(examples))]

    def batch(self, split: str, indices: Sequence[int]) -> SequenceBatch:
        """Some examples of a split as one batch."""
        examples = self._examples[_known(split)]
        return collate([examples[index] for index in indices], self.spec)

    def counts(self, split: str) -> tuple[Counts | None, Counts | None]:
        """How often each class or symbol occurs in x and in y, (size,); None for floats."""
        return self._examples[_known(split)].counts(self.spec)

    def longest_y(self, split: str) -> int:
        """Steps of the longest y of a split, T_y; 0 where y has no time axis."""
        return int(self._examples[_known(split)].y.lengths.max())

    def origin(self, split: str, index: int) -> tuple[int, int]:
        """Which record an example was cut from, and at which of its steps it starts."""
        firsts = self._origins[_known(split)]  # the first example of each record
        record = int(np.searchsorted(firsts, index, side="right")) - 1
        return record, (index - int(firsts[record])) * (self._windows[split] or 0)

    def loader(self, split: str, shuffle: bool | None = None) -> ResumableLoader:
        """Padded batches of similar length.

        Args:
            split: "train", "valid" or "test".
            shuffle: a new order each epoch; None shuffles the training split only.
        """
        examples = self._examples[_known(split)]
        shuffle = split == "train" if shuffle is None else shuffle
        sampler = BucketBatchSampler(
            examples.lengths, self.batch_size, shuffle=shuffle, seed=self.seed
        )
        return ResumableLoader(examples, sampler, self.spec, self.num_workers)

    @cached_property
    def description(self) -> str:
        """One line: how many examples, what is read, what is answered."""
        sizes = ", ".join(f"{split} {size:,}" for split, size in self.sizes.items())
        counts = {split: self.counts(split) for split in SPLITS}
        xs = {split: x for split, (x, _) in counts.items() if x is not None}
        ys = {split: y for split, (_, y) in counts.items() if y is not None}
        y = self.y.describe(ys)
        told = y if self.x is None else f"{self.x.describe(xs)} -> {y}"
        lengths = self._examples["train"].x or self._examples["train"].y
        if lengths.bounds is None:
            return f"{type(self.source).__name__}: {sizes}; {told}"
        low, high = int(lengths.lengths.min()), int(lengths.lengths.max())
        steps = f"{low} steps" if low == high else f"{low} to {high} steps"
        return f"{type(self.source).__name__}: {sizes}; {steps}; {told}"

    def _fit(self, role: str, field: Field) -> None:
        try:
            field.fit(self._records["train"])
        except DataError as error:
            raise DataError([f"train, {role}: {problem}" for problem in error.problems]) from None

    def _encode(self, split: str) -> Examples:
        xs: list[Tensor] = []
        ys: list[Tensor] = []
        problems: list[str] = []
        for number, record in enumerate(self._records[split]):
            try:
                x, y = self._encode_record(record)
            except DataError as error:
                problems += [f"{split}[{number}]: {problem}" for problem in error.problems]
                if len(problems) >= _MOST_PROBLEMS:
                    break
            else:
                ys.append(y)
                if x is not None:
                    xs.append(x)
        if problems:
            raise DataError(problems)
        y_column = Column.of(ys, self.spec.y.has_time)
        x_column = None if self.spec.x is None else Column.of(xs, self.spec.x.has_time)
        pieces = np.ones(len(ys), dtype=np.int64)
        window = self._windows[split]
        if window is not None:
            pieces = -(-y_column.lengths // window)
            y_column = y_column.cut(window)
            x_column = None if x_column is None else x_column.cut(window)
        self._origins[split] = np.cumsum(pieces) - pieces
        return Examples(x_column, y_column)

    def _encode_record(self, record: Record) -> tuple[Tensor | None, Tensor]:
        y = self.y.encode_target(record)
        if self.spec.y.has_time and len(y) == 0:
            raise DataError(f"{self.y.column}: y has no steps")
        if self.x is None or self.spec.x is None:
            return None, y
        x = self.x.encode(record)
        if self.spec.x.has_time and len(x) == 0:
            raise DataError(f"{self.x.column}: x has no steps")
        aligned = self.spec.y.kind in ALIGNED_KINDS and self.spec.x.has_time
        if aligned and len(x) != len(y):
            lengths = f"{self.y.column} has {len(y)} steps, {self.x.column} has {len(x)}"
            raise DataError(f"{lengths}; each step of x needs one of y")
        return x, y


def _known(split: str) -> str:
    if split not in SPLITS:
        allowed = ", ".join(SPLITS)
        raise ConfigError(f"split={split}: no such split; {allowed}{did_you_mean(split, SPLITS)}")
    return split


def _check_use(
    x: Field | None, y: Field, *, batch_size: int, num_workers: int, window: int | None
) -> None:
    """Refuse what cannot work before anything is read."""
    problems = []
    if batch_size < 1:
        problems.append(f"data.batch_size={batch_size}: must be at least 1")
    if num_workers < 0:
        problems.append(f"data.num_workers={num_workers}: must be at least 0")
    if x is not None and x.kind not in X_KINDS:
        name = type(x).__name__
        problems.append(f"data.x={name}: {x.kind} cannot be read; {', '.join(X_KINDS)}")
    if y.kind not in Y_KINDS:
        name = type(y).__name__
        problems.append(f"data.y={name}: {y.kind} cannot be answered; {', '.join(Y_KINDS)}")
    if y.kind == "tags" and (x is None or x.kind not in ("values", "symbols")):
        problems.append("data.y=Tags: needs an x with steps to tag; Series, Text or Symbols")
    if window is not None and window < 1:
        problems.append(f"data.window={window}: must be at least 1, or null not to cut")
    elif window is not None and y.kind != "tags" and (y.kind != "symbols" or x is not None):
        allowed = "null, or a y for each step (Tags), or text without an x"
        problems.append(f"data.window={window}: x and y cannot be cut together; {allowed}")
    if problems:
        raise ConfigError(problems)


def _usable(found: Iterable[Found]) -> list[Record]:
    everything = list(found)
    problems = [p for one in everything if isinstance(one, DataError) for p in one.problems]
    if problems:
        raise DataError(problems[:_MOST_PROBLEMS])
    return [one for one in everything if not isinstance(one, DataError)]
