"""New sequences from a model of one_to_many, as text or as a piano roll."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seqpipe import rules
from seqpipe.data.base import Field
from seqpipe.data.vocabulary import BOS, EOS, PAD, UNK
from seqpipe.errors import ConfigError, DataError
from seqpipe.inference.limits import SAMPLING
from seqpipe.models.one_to_many import OneToMany
from seqpipe.tasks.base import Task

RULES = {
    **SAMPLING,
    "top_k": rules.or_null(SAMPLING["top_k"]),
    "top_p": rules.or_null(SAMPLING["top_p"]),
    "allow_unknown": rules.flag(),
    "prompt": rules.text(),
}
"""What the options of `Drawing` may be."""

_MOST_NAMED = 20  # classes in a message
Sample = str | np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True)
class Drawing:
    """What is to be drawn; see `Model.sample`."""

    n: int
    prompt: str
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
        task: it was trained for.
        x: field of the condition, fitted; None where there is none.
        y: field of what is written, fitted.
        data: the configuration of the data: how its sequences were cut.
        asked: how much, from where, and how.
    """
    if not isinstance(network, OneToMany):
        text = "answers its x and makes up nothing; allowed: a model of one_to_many"
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
    if y.spec.kind == "roll":
        _refuse_for_rolls(asked)
        roll, _ = network.sample(given, **options)
        return [row.to(torch.uint8).cpu().numpy() for row in roll]
    stop, banned = endings(task, data)
    if asked.allow_unknown:
        banned = tuple(id_ for id_ in banned if id_ != UNK)
    ids, lengths = network.sample(
        given,
        banned=banned,
        stop=stop,
        prompt=_prompt(y, asked, device),
        top_k=asked.top_k,
        top_p=asked.top_p,
        **options,
    )
    cut = zip(ids.cpu(), lengths.tolist(), strict=True)
    return [y.decode(row[:length]) for row, length in cut]


def endings(task: Task, data: Mapping[str, Any]) -> tuple[bool, tuple[int, ...]]:
    """Whether a sample ends at <EOS>, and the symbols that are never drawn.

    Pieces of a text seldom end: then neither does the sample. By words an <EOS> is in the midst
    of a text, too, at the end of each paragraph.

    Args:
        task: says what a symbol is.
        data: the configuration of the data: `window`, `bptt`.
    """
    stop = data["window"] is None and data["bptt"] is None
    paragraphs = task.y.unit == "words"
    return stop, (PAD, UNK, BOS) if stop or paragraphs else (PAD, UNK, BOS, EOS)


def _refuse_for_rolls(asked: Drawing) -> None:
    names = ("prompt", "top_k", "top_p", "allow_unknown")
    given = {name: getattr(asked, name) for name in names}
    problems = [
        f"{name}={value}: is not of a piano roll, whose notes are drawn each on its own;"
        " allowed: leave it out"
        for name, value in given.items()
        if value
    ]
    if problems:
        raise ConfigError(problems)


def _condition(x: Field | None, condition: Any, n: int, device: torch.device) -> Tensor | None:
    """(n,) or (n, D): the condition of each sample."""
    if x is None:
        if condition is not None:
            text = "the model was trained without one; allowed: leave it out"
            raise ConfigError(f"condition={condition}: {text}")
        return None
    encoded = encoded_condition(x, condition)
    return encoded.expand(n, *encoded.shape).to(device)


def encoded_condition(x: Field, condition: Any) -> Tensor:
    """A condition as the model reads it, () or (D,).

    Args:
        x: its field, fitted.
        condition: an entry of x, or a record with one.

    Raises:
        ConfigError: there is none.
        DataError: it cannot be read.
    """
    if condition is None:
        names = ", ".join((x.spec.names or ())[:_MOST_NAMED])
        more = ", ..." if len(x.spec.names or ()) > _MOST_NAMED else ""
        allowed = f"{names}{more}" if names else f"{x.describe({})}, {x.column}"
        if x.spec.has_time:  # its names are those of single steps
            allowed = f"an entry of the column {x.column}"
        raise ConfigError(f"condition=null: the model needs one; allowed: {allowed}")
    if isinstance(condition, Mapping):
        return x.encode(condition).to(x.spec.dtype)
    asked = copy.copy(x)
    asked.column = "condition"  # what messages name
    return asked.encode({"condition": condition}).to(x.spec.dtype)


def typed_condition(x: Field | None, typed: str | None) -> Any:
    """A condition that was typed on a command line, as an entry of x.

    Raises:
        DataError: it is none.
    """
    if x is None or typed is None:
        return typed
    try:
        return x.typed(typed)
    except DataError as error:
        raise DataError([f"condition={problem}" for problem in error.problems]) from None


def _prompt(y: Field, asked: Drawing, device: torch.device) -> Tensor | None:
    """(n, P) ids that are read before the first is drawn."""
    prompt = asked.prompt
    if not prompt:
        return None
    ids = y.encode({y.column: prompt}).long()
    if not asked.allow_unknown and bool((ids == UNK).any()):
        place = int((ids == UNK).nonzero()[0])
        steps, _ = y.steps(prompt)
        unknown = repr(steps[place]) if len(steps) == len(ids) else "what comes"
        text = f"{unknown} after {y.decode(ids[:place])!r} was never met in training"
        raise DataError(f"prompt={prompt}: {text}; allowed: known symbols, or allow_unknown=true")
    return ids.expand(asked.n, -1).to(device)
