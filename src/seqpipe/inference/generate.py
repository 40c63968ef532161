"""Generation of sequences: search for translations and transcripts, samples of one_to_many."""

import copy
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor, nn

from seqpipe import rules
from seqpipe.bounds import SAMPLING, SEARCH, within_beam
from seqpipe.data.base import Field, SequenceBatch
from seqpipe.data.kinds import Answer
from seqpipe.data.vocabulary import UNK
from seqpipe.errors import ConfigError, DataError, first_of
from seqpipe.inference.copying import UnknownWords, decoded_with_copies
from seqpipe.models.architecture import Samples
from seqpipe.rules import faults, or_null
from seqpipe.tasks.base import Task

_RULES = {
    **SEARCH,
    "beam_size": or_null(SEARCH["beam_size"]),
    "length_penalty": or_null(SEARCH["length_penalty"]),
    "unknown": or_null(rules.choice(*get_args(UnknownWords))),
}


@dataclass(frozen=True)
class Decoding:
    """Options of a search for answers.

    Args:
        beam_size: hypotheses at each step; None: as in the test, which is greedy unless the
            task has a beam.
        n_best: answers of each x, at most `beam_size`.
        length_penalty: of a translation, see `seqpipe.models.beam.length_norm`; None: the task's.
        unknown: what becomes of <UNK> in a translation: `keep`, `ban` (it is never written) or
            `copy` (see `seqpipe.inference.copying`); None: as in the test.
    """

    beam_size: int | None = None
    n_best: int = 1
    length_penalty: float | None = None
    unknown: UnknownWords | None = None

    def check(self, task: Task) -> None:
        """Refuse options that would not change the answers of this task.

        Raises:
            ConfigError: names each such option.
        """
        given: dict[str, Any] = {"beam_size": self.beam_size, "unknown": self.unknown}
        given["length_penalty"] = self.length_penalty
        given["n_best"] = self.n_best if self.n_best != 1 else None
        asked = {name: value for name, value in given.items() if value is not None}
        if not task.search_options:
            text = f"task={task.name} does not search for sequences; allowed: leave it out"
            problems = [f"{name}={value}: {text}" for name, value in asked.items()]
        else:
            problems = self._problems(task)
        if problems:
            raise ConfigError(problems)

    def _problems(self, task: Task) -> list[str]:
        problems = faults(_RULES, vars(self))
        if problems:
            return problems
        size = self.size(task)
        if self.n_best > size:
            problems += faults({"n_best": within_beam(size)}, {"n_best": self.n_best})
        if self.length_penalty is not None and "length_penalty" not in task.search_options:
            text = f"task={task.name} ranks answers by probability only"
            problems.append(f"length_penalty={self.length_penalty}: {text}; allowed: leave it out")
        elif self.length_penalty is not None and size == 1:
            text = "greedy decoding has no beam; allowed: also beam_size=2 or more"
            problems.append(f"length_penalty={self.length_penalty}: {text}")
        if self.unknown is not None and "unknown" not in task.search_options:
            text = f"task={task.name} has no such choice; allowed: leave it out"
            problems.append(f"unknown={self.unknown}: {text}")
        elif self.unknown is not None and not task.y.can_be_unknown:
            text = "no symbol of y is unknown; allowed: leave it out"
            problems.append(f"unknown={self.unknown}: {text}")
        return problems

    def size(self, task: Task) -> int:
        """Return the number of hypotheses at each step; 1 is greedy."""
        own: int = getattr(task, "beam_size", None) or 1
        return own if self.beam_size is None else self.beam_size


def search_answers(
    network: nn.Module,
    task: Task,
    y: Field,
    batch: SequenceBatch,
    how: Decoding,
    sources: Sequence[Sequence[str]] | None = None,
) -> list[Answer]:
    """Search for y of each x: `prediction` and its `score`, log p(y | x) in nats.

    With n_best > 1, an answer also lists the `n_best`.

    Args:
        network: in eval mode.
        task: one with `search_options`.
        y: the field of the answers, fitted.
        batch: with x.
        how: options of the search.
        sources: the symbols of each x as its text spells them, where they are copied.
    """
    more = {} if how.unknown is None else {"banned": (UNK,) if how.unknown == "ban" else ()}
    found = task.search(
        network,
        batch,
        beam_size=how.size(task),
        n_best=how.n_best,
        length_penalty=how.length_penalty,
        **more,
    )
    found = [[one for one in best if one[1] > float("-inf")] for best in found]
    written = [[ids for ids, _ in best] for best in found]
    if sources is None:
        texts = [[y.decode(ids) for ids in best] for best in written]
    else:
        texts = decoded_with_copies(network, y, batch, written, sources)
    answers = []
    for best, spelled in zip(found, texts, strict=True):
        rows: list[dict[str, Any]] = [
            {"prediction": text, "score": score}
            for text, (_, score) in zip(spelled, best, strict=True)
        ]
        answer: Answer = dict(rows[0])
        if how.n_best > 1:
            answer["n_best"] = rows
        answers.append(answer)
    return answers


RULES = {
    **SAMPLING,
    "top_k": rules.or_null(SAMPLING["top_k"]),
    "top_p": rules.or_null(SAMPLING["top_p"]),
    "allow_unknown": rules.flag(),
}
"""Bounds of the options of `Drawing`."""

ENTRY = "[...]"
"""A prompt that is no text, as messages show it."""

_MOST_NAMED = 20  # classes in a message
_MOST_SHOWN = 40  # characters of a prompt in a message
Sample = str | np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True)
class Drawing:
    """Options of samples; see `Model.sample`."""

    n: int
    prompt: Any
    condition: Any
    temperature: float
    top_k: int | None
    top_p: float | None
    max_length: int
    seed: int
    allow_unknown: bool


@torch.inference_mode()
def sample(
    network: nn.Module,
    task: Task,
    x: Field | None,
    y: Field,
    data: Mapping[str, Any],
    asked: Drawing,
) -> list[Sample]:
    """See `Model.sample`.

    Args:
        network: a OneToMany, in eval mode.
        task: the task it was trained for.
        x: field of the condition, fitted; None if there is none.
        y: field of the samples, fitted.
        data: the configuration of the data, for how its sequences were cut.
        asked: the options.

    Raises:
        ConfigError: the network samples nothing, or an option does not fit it.
        DataError: a prompt or a condition cannot be read.
    """
    if not isinstance(network, Samples):
        text = "writes no new sequences; allowed: a model with architecture=one_to_many"
        raise ConfigError(f"{type(network).__name__}: {text}")
    problems = rules.faults(RULES, vars(asked))
    if problems:
        raise ConfigError(problems)
    device = next(network.parameters()).device
    given = _condition(x, asked.condition, asked.n, device)
    options: dict[str, Any] = {
        "count": asked.n,
        "max_length": asked.max_length,
        "temperature": asked.temperature,
        "generator": torch.Generator(device).manual_seed(int(asked.seed)),
    }
    _refuse_unread(task, asked)
    options |= task.ending(in_pieces=is_in_pieces(data))
    if "prompt" in task.drawing_options:
        options["prompt"] = _prompt(y, asked, next(network.parameters()))
    if "top_k" in task.drawing_options:
        options |= {"top_k": asked.top_k, "top_p": asked.top_p}
    if asked.allow_unknown:
        options["banned"] = tuple(id_ for id_ in options["banned"] if id_ != UNK)
    drawn, lengths = network.sample(given, **options)
    cut = zip(drawn.cpu(), lengths.tolist(), strict=True)
    return [task.drawn(y, row[:length]) for row, length in cut]


def is_in_pieces(data: Mapping[str, Any]) -> bool:
    """True if training cut its sequences into pieces. data: its configuration."""
    return data["window"] is not None or data["bptt"] is not None


def _refuse_unread(task: Task, asked: Drawing) -> None:
    if not isinstance(asked.prompt, Sized):
        text = "wrong type; allowed: text, or another entry of y"
        raise ConfigError(f"prompt={asked.prompt}: {text}")
    values: dict[str, Any] = {
        "prompt": asked.prompt if len(asked.prompt) else None,
        "top_k": asked.top_k,
    }
    values |= {"top_p": asked.top_p, "allow_unknown": asked.allow_unknown or None}
    given = {name: one for name, one in values.items() if name not in task.drawing_options}
    problems = [
        f"{name}={value}: has no effect for a piano roll, whose notes are drawn one by one;"
        " allowed: leave it out"
        for name, value in given.items()
        if value is not None
    ]
    if problems:
        raise ConfigError(problems)


def _condition(x: Field | None, condition: Any, n: int, device: torch.device) -> Tensor | None:
    """(n,) or (n, D): the condition of each sample."""
    if x is None:
        if condition is not None:
            text = "the model has no condition; allowed: leave it out"
            raise ConfigError(f"condition={condition}: {text}")
        return None
    encoded = encoded_condition(x, condition)
    return encoded.expand(n, *encoded.shape).to(device)


def encoded_condition(x: Field, condition: Any) -> Tensor:
    """Encode a condition, () or (D,).

    Args:
        x: its field, fitted.
        condition: an entry of x, or a record with one.

    Raises:
        ConfigError: the condition is None; the message lists conditions.
        DataError: it cannot be read.
    """
    if condition is None:
        names = first_of(x.spec.names or (), _MOST_NAMED)
        allowed = names or f"{x.describe({})}, {x.column}"
        if x.spec.has_time:  # its names are those of single steps
            allowed = f"an entry of the column {x.column}"
        raise ConfigError(f"condition=null: the model needs a condition; allowed: {allowed}")
    if isinstance(condition, Mapping):
        return x.encode(condition).to(x.spec.dtype)
    asked = copy.copy(x)
    asked.column = "condition"  # what messages name
    return asked.encode({"condition": condition}).to(x.spec.dtype)


def typed_condition(x: Field | None, typed: str | None) -> Any:
    """Convert a condition typed on a command line to an entry of x.

    Raises:
        DataError: it means none.
    """
    if x is None or typed is None:
        return typed
    try:
        return x.typed(typed)
    except DataError as error:
        raise DataError([f"condition={problem}" for problem in error.problems]) from None


def _prompt(y: Field, asked: Drawing, weight: Tensor) -> Tensor | None:
    """The prompt of each sample, (n, P) ids or (n, P, K) of a roll; None without a prompt."""
    prompt = asked.prompt
    if len(prompt) == 0:
        return None
    shown = prompt if isinstance(prompt, str) else ENTRY
    if y.spec.is_roll:
        try:
            return y.encode({y.column: prompt}).to(weight).expand(asked.n, -1, -1)
        except DataError as error:
            raise DataError([f"prompt={shown}: {text}" for text in error.problems]) from None
    ids = y.encode({y.column: prompt}).long()
    if not asked.allow_unknown and bool((ids == UNK).any()):
        place = int((ids == UNK).nonzero()[0])
        steps, _ = y.steps(prompt)
        unknown = repr(steps[place]) if len(steps) == len(ids) else "the text"
        before = y.decode(ids[:place])
        before = before if len(before) <= _MOST_SHOWN else f"...{before[-_MOST_SHOWN:]}"
        text = f"{unknown}{f' after {before!r}' if place else ''} never occurred in training"
        raise DataError(f"prompt={shown}: {text}; allowed: known symbols, or allow_unknown=true")
    return ids.expand(asked.n, -1).to(weight.device)
