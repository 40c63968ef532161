"""The data of a run: a source, an x and a y, prepared and batched."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np

from seqpipe.bounds import Count, Folds, Seed, WholeNumber, checked
from seqpipe.data.augmented import Augmented, InEpoch
from seqpipe.data.base import (
    SPLITS,
    Field,
    FieldSpec,
    SequenceBatch,
    SequenceSpec,
    Source,
)
from seqpipe.data.batching import Batches, Example, Examples, ResumableLoader
from seqpipe.data.cache import Cache
from seqpipe.data.columns import Column, Integers
from seqpipe.data.error_collector import MOST_PROBLEMS
from seqpipe.data.field_checks import check_fields, item_role, step_faults
from seqpipe.data.folds import Fold
from seqpipe.data.hashing import code_digests, weights_digest
from seqpipe.data.kinds import KINDS, Kind
from seqpipe.data.prepare import ExampleCheck, Prepared, prepare
from seqpipe.data.progress import Progress
from seqpipe.data.sampling import BatchSampler, BucketBatchSampler
from seqpipe.data.tbptt_sampler import LaneBatches, LaneSampler, documents
from seqpipe.data.truncation import MaxLength
from seqpipe.errors import ConfigError, DataError, counted
from seqpipe.rules import refusal, text, whole

Cut = Annotated[int, whole(2)]  # in pieces of one step there is no recurrence


class SequenceData:
    """Reads a source, fits the fields on the training split, encodes records and makes batches.

    Args:
        source: of the records.
        y: the field of the answers.
        x: the field of the input; None for a language model.
        batch_size: examples in a batch.
        batch_tokens: instead of `batch_size`, most steps in a batch, padding included.
        num_workers: loader processes; 0 loads in this one.
        seed: of the batch order.
        window: cut longer sequences into consecutive pieces of at most this many steps, each an
            example of its own; only without x, or with one y for each step of x.
        eval_window: the same for valid and test; None: as `window`. A longer window measures
            better, since each piece starts in the initial state.
        bptt: read the sequences in `batch_size` lanes, this many steps at a time; each batch
            starts in the final state of the one before (truncated back-propagation through
            time). Possible under the same conditions as `window`. Valid and test then carry the
            state as well, `eval_window` steps at a time.
        max_length: most steps of an example, before it is cut into windows or lanes; None: any.
        longer: `truncate`, `drop` or `refuse` longer examples, see `MaxLength`.
        keep: which steps are kept of a truncated example, the `first` or the `last`.
        folds: instead of shares for test, so many folds of all that is not validated on files of
            its own, or `leave_one_out`: one for each item (or group, see the source). None: shares.
        fold: the one to test, from 0; the others are trained and validated on. None: no folds.
        on_error: `stop` at records that cannot be used, or `skip` and count them.
        cache: folder where data prepared from files are kept; None: each run prepares them in
            memory.
        recipe: the arguments of source and fields, as JSON can write them: part of the key of
            the cache.
        show_progress: whether preparing may draw a bar on a terminal.
        fitted: the state of fields fitted in another training, by role, instead of fitting them
            here; then data are prepared in memory.
        only: the one split to encode, where the fields are fitted; None: all.
        check: the task's check of single examples, see `ExampleCheck`.

    Attributes:
        spec: the properties that a model must know.
        facts: counts and digests of each split.
        sizes: examples of each split, pieces of a window each counted.

    Raises:
        ConfigError: the fields cannot be used so.
        DataError: a split is empty, or records are; all problems at once.
    """

    kinds: ClassVar[Mapping[str, Kind]] = KINDS
    """The kinds of entries that x and y can have, by name."""

    @checked("data.", step_faults)
    def __init__(
        self,
        source: Source,
        y: Field,
        x: Field | None = None,
        *,
        batch_size: Count = 32,
        batch_tokens: Count | None = None,
        num_workers: WholeNumber = 0,
        seed: Seed = 0,
        window: Cut | None = None,
        eval_window: Cut | None = None,
        bptt: Cut | None = None,
        max_length: Count | None = None,
        longer: Literal["truncate", "drop", "refuse"] = "truncate",
        keep: Literal["first", "last"] = "first",
        folds: Folds | None = None,
        fold: WholeNumber | None = None,
        on_error: Literal["stop", "skip"] = "stop",
        cache: Annotated[str, text(r".+", "a folder")] | None = None,
        recipe: Mapping[str, Any] | None = None,
        show_progress: bool = False,
        fitted: Mapping[str, Mapping[str, Any]] | None = None,
        only: str | None = None,
        check: ExampleCheck | None = None,
    ) -> None:
        check_fields(x, y)
        self.source, self.x, self.y = source, x, y
        self.fold = None if folds is None or fold is None else choose_fold(source, y, folds, fold)
        self.batch_size, self.batch_tokens = batch_size, batch_tokens
        self.num_workers, self.seed, self.window, self.bptt = num_workers, seed, window, bptt
        self.on_error, self.show_progress = on_error, show_progress
        self.trim: MaxLength | None = None
        if max_length is not None:
            x_form = None if x is None else x.form
            self.trim = MaxLength(max_length, x_form, y.form, longer=longer, keep=keep)
        cut = window if bptt is None else bptt
        longest = cut if eval_window is None else eval_window
        self._windows = {"train": cut, "valid": longest, "test": longest}
        self._fitted, self.check = fitted, check
        self._only = SPLITS if only is None else (_known(only),)
        assert only is None or fitted is not None, "fields are fitted on the training split"
        for role, state in (fitted or {}).items():
            known = {"x": x, "y": y}[role]
            assert known is not None, "learned by a field that is not there"
            known.restore(state)
        prepared = self._prepared(cache if fitted is None else None, recipe)
        self.facts = prepared.facts
        self.spec = SequenceSpec(None if x is None else self._spec("x", x), self._spec("y", y))
        self._examples = {s: self._cut(s, prepared.columns[s]) for s in self._only}
        self._lanes = {s: _documents(prepared.columns[s]) for s in self._only} if bptt else {}
        self.sizes = {split: len(examples) for split, examples in self._examples.items()}
        self.sizes |= {split: len(bounds) - 1 for split, (_, bounds) in self._lanes.items()}

    @property
    def fields(self) -> dict[str, Field]:
        """The fields by role, x first; only y for a language model."""
        return {"y": self.y} if self.x is None else {"x": self.x, "y": self.y}

    @property
    def digests(self) -> dict[str, str]:
        """sha256 of the raw records of each split."""
        return {split: facts.digest for split, facts in self.facts.items()}

    def examples(self, split: str) -> Sequence[Example]:
        """The encoded examples of a split, unpadded."""
        examples = self._examples[_known(split)]
        return [examples[index] for index in range(len(examples))]

    def batch(self, split: str, indices: Sequence[int]) -> SequenceBatch:
        """Some examples of a split as one batch."""
        return self._examples[_known(split)].batch(indices, self.spec)

    def columns(self, split: str) -> Examples:
        """The encoded examples of a split, without a copy."""
        return self._examples[_known(split)]

    def longest_y(self, split: str) -> int:
        """Steps of the longest y of a split, T_y; 0 where y has no time axis."""
        return self._examples[_known(split)].y.longest

    def origin(self, split: str, index: int) -> tuple[int, int]:
        """The record that an example was cut from, and the step of it at which it starts."""
        return self._examples[_known(split)].y.origin(index)

    def refuse_by(self, rule: Callable[[Any, Any], str | None]) -> None:
        """Refuse examples of any split by a rule about (x, y), encoded.

        Raises:
            DataError: with the first ten examples of it.
        """
        problems = list(islice(self._refusals(rule), MOST_PROBLEMS))
        if problems:
            raise DataError(problems)

    def _refusals(self, rule: Callable[[Any, Any], str | None]) -> Iterator[str]:
        for split in SPLITS:
            examples = self.columns(split)
            for number in range(len(examples)):
                x = None if examples.x is None else examples.x.array(number)
                problem = rule(x, examples.y.array(number))
                if problem is not None:
                    yield f"{split}[{number}]: {problem}"

    def loader(self, split: str, shuffle: bool | None = None) -> ResumableLoader:
        """Padded batches of similar length.

        Args:
            split: "train", "valid" or "test".
            shuffle: a new order each epoch, of x as its field augments it; None shuffles the
                training split only.
        """
        examples = self._examples[_known(split)]
        shuffle = split == "train" if shuffle is None else shuffle
        if self.bptt is not None:
            steps = self._windows[split]
            assert steps is not None
            rows, bounds = self._lanes[split]
            lanes = LaneSampler(bounds, self.batch_size, steps, shuffle=shuffle, seed=self.seed)
            return self._loader(LaneBatches(rows, self.spec), lanes, shuffle)
        sampler = BucketBatchSampler(
            examples.lengths,
            self.batch_size,
            shuffle=shuffle,
            seed=self.seed,
            batch_tokens=self.batch_tokens,
            steps=examples.longer,
        )
        return self._loader(Batches(examples, self.spec), sampler, shuffle)

    def _loader(self, batches: Batches, order: BatchSampler, shuffle: bool) -> ResumableLoader:
        if not shuffle or self.x is None or not self.x.augments:
            return ResumableLoader(batches, order, self.num_workers)
        changed = Augmented(batches, self.x.augment, self.seed)
        return ResumableLoader(changed, order, self.num_workers, InEpoch(order))

    @cached_property
    def description(self) -> str:
        """One line: how many examples, what is read, what is answered."""
        sizes = ", ".join(f"{split} {size:,}" for split, size in self.sizes.items())
        text = self.y.describe(self.counts("y"))
        if self.x is not None:
            text = f"{self.x.describe(self.counts('x'))} -> {text}"
        examples = self._examples["train"]
        lengths = examples.y if examples.x is None else examples.x
        name = type(_sources(self.source)[-1]).__name__
        if lengths.has_time:
            steps = np.diff(self._lanes["train"][1]) if self._lanes else lengths.lengths
            low, high = int(steps.min()), int(steps.max())
            many = counted(low, "step") if low == high else f"{low:,} to {high:,} steps"
            text = f"{many}; {text}"
        every = self.facts.values()
        left_out = {
            "bad records left out": sum(facts.skipped for facts in every),
            "longer ones dropped": sum(facts.dropped for facts in every),
            "truncated": sum(facts.truncated for facts in every),
        }
        rest = "".join(f"; {count:,} {what}" for what, count in left_out.items() if count)
        return f"{name}: {sizes}; {text}{rest}"

    @property
    def notes(self) -> list[str]:
        """The warnings of fields and source: `data.x.by=words: ...`."""
        notes = [note for role, fld in self.fields.items() for note in fld.notes(f"data.{role}")]
        notes += [one for facts in self.facts.values() for one in facts.warnings]
        return [*notes, *self.source.passed_over()]

    def counts(self, role: str) -> dict[str, Integers]:
        """Counts of each class or symbol of `x` or `y`, (size,), by split; {} for floats."""
        return {s: f.counts[role] for s, f in self.facts.items() if role in f.counts}

    def _prepared(self, cache: str | None, recipe: Mapping[str, Any] | None) -> Prepared:
        fields = self.fields

        def make(folder: Path | None) -> Prepared:
            with Progress(self.show_progress) as progress:
                return prepare(
                    self.source,
                    self.x,
                    self.y,
                    folder=folder,
                    skip=self.on_error == "skip",
                    progress=progress,
                    trim=self.trim,
                    fit=self._fitted is None,
                    only=self._only,
                    check=self.check,
                    windows=self._windows,
                )

        files = self.source.inputs() if cache is not None and recipe is not None else []
        if cache is None or recipe is None or not files:
            return make(None)
        files += [file for fld in fields.values() for file in fld.inputs()]
        kept = Cache(Path(cache))
        parts = (*_sources(self.source), *fields.values())
        prepared_by: dict[str, Any] = {"recipe": self._recipe(recipe), "on_error": self.on_error}
        prepared_by |= {"trim": repr(self.trim), "warnings": self.source.warnings()}
        prepared_by |= {} if self.fold is None else {"fold": asdict(self.fold)}
        code = [code_digests(type(part)) for part in parts]
        if self.check is not None:
            prepared_by |= {"check": self.check.name, "windows": self._windows}
            code.append(code_digests(self.check.of))
        prepared_by |= {
            "code": code,
            "weights": [weights_digest(fld.weights()) for fld in fields.values()],
        }
        key = kept.key(prepared_by, files)
        with kept.held(key):
            return kept.load(key, fields) or kept.make(key, fields, make)

    def _recipe(self, recipe: Mapping[str, Any]) -> dict[str, Any]:
        """The recipe without what changes training batches only: the examples are the same."""
        fields = {
            role: {name: v for name, v in recipe[role].items() if name not in fld.augmentations}
            for role, fld in self.fields.items()
            if isinstance(recipe.get(role), Mapping)
        }
        return {**recipe, **fields}

    def _spec(self, role: str, fld: Field) -> FieldSpec:
        train = self.facts.get("train")
        return replace(fld.spec, counts=None if train is None else train.counts.get(role))

    def _cut(self, split: str, columns: Mapping[str, Column]) -> Examples:
        window = self._windows[split]
        x, y = columns.get("x"), columns["y"]
        if window is not None:
            x, y = None if x is None else x.cut(window), y.cut(window)
        return Examples(x, y, columns.get("text"))


def choose_fold(source: Source, y: Field, folds: Folds, fold: int) -> Fold:
    """Choose a fold of a source, its classes spread evenly if y is one of them.

    Raises:
        ConfigError: the source cannot be split into folds.
    """
    chosen = Fold(fold, folds, stratify=y.column if y.form.axes == () else None)
    source.choose_fold(chosen)
    return chosen


def count_folds(source: Source, y: Field, x: Field | None = None, *, folds: Folds) -> int:
    """Count the folds of a source, whose records are read once.

    Args:
        source: of the records.
        y: see `SequenceData`, as x.
        x: the field of the input, which identifies the items.
        folds: a number, or `leave_one_out`.

    Raises:
        ConfigError: the source cannot be split into folds.
        DataError: there are too few items.
    """
    check_fields(x, y)
    choose_fold(source, y, folds, 0)
    items = y if x is None or item_role(x, y) == "y" else x
    source.keep_together([items.column])
    return source.count_folds()


def _documents(columns: Mapping[str, Column]) -> tuple[Examples, Integers]:
    """Uncut rows, and the step at which each document starts."""
    rows = Examples(columns.get("x"), columns["y"])
    goes_on = np.concatenate([chunk.values for chunk in columns["goes_on"].chunks])
    return rows, documents(rows, goes_on)


def _sources(source: Source) -> list[Source]:
    """A source and those that it reads from, the innermost last."""
    return [source, *([] if source.wrapped is None else _sources(source.wrapped))]


def _known(split: str) -> str:
    if split not in SPLITS:
        raise ConfigError(refusal("split", split, "no such split", ", ".join(SPLITS), SPLITS))
    return split
