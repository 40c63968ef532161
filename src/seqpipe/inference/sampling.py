"""New sequences from a model of one_to_many, as text or as a piano roll."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seqpipe.data.base import Field
from seqpipe.data.vocabulary import BOS, EOS, PAD, UNK
from seqpipe.errors import ConfigError, DataError
from seqpipe.models.one_to_many import OneToMany
from seqpipe.tasks.base import Task

Sample = str | np.ndarray[Any, np.dtype[np.uint8]]


@torch.inference_mode()
def sample(
    network: nn.Module,
    task: Task,
    x: Field | None,
    y: Field,
    data: Mapping[str, Any],
    *,
    n: int,
    prompt: str,
    condition: Any,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    max_length: int,
    seed: int,
    allow_unknown: bool,
) -> list[Sample]:
    """See `Model.sample`.

    Args:
        network: a OneToMany, in eval mode.
        task: it was trained for.
        x: field of the condition, fitted; None where there is none.
        y: field of what is written, fitted.
        data: the configuration of the data: how its sequences were cut.
        n: see there, as for the rest.
        prompt: see there.
        condition: see there.
        temperature: see there.
        top_k: see there.
        top_p: see there.
        max_length: see there.
        seed: see there.
        allow_unknown: see there.
    """
    if not isinstance(network, OneToMany):
        text = "answers its x and makes up nothing; allowed: a model of one_to_many"
        raise ConfigError(f"{type(network).__name__}: {text}")
    _check(n=n, max_length=max_length, temperature=temperature, top_k=top_k, top_p=top_p)
    device = next(network.parameters()).device
    given = _condition(x, condition, n, device)
    options: dict[str, Any] = {"generator": torch.Generator(device).manual_seed(seed)}
    if y.spec.kind == "roll":
        _refuse_for_rolls(prompt=prompt, top_k=top_k, top_p=top_p, allow_unknown=allow_unknown)
        roll, _ = network.sample(
            given, count=n, max_length=max_length, temperature=temperature, **options
        )
        return [row.to(torch.uint8).cpu().numpy() for row in roll]
    stop, banned = endings(task, data)
    if allow_unknown:
        banned = tuple(id_ for id_ in banned if id_ != UNK)
    ids, lengths = network.sample(
        given,
        count=n,
        max_length=max_length,
        temperature=temperature,
        banned=banned,
        stop=stop,
        prompt=_prompt(y, prompt, n, device, allow_unknown),
        top_k=top_k,
        top_p=top_p,
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


def _check(
    *, n: int, max_length: int, temperature: float, top_k: int | None, top_p: float | None
) -> None:
    problems = []
    for name, count in (("n", n), ("max_length", max_length), ("top_k", top_k)):
        if count is not None and count < 1:
            problems.append(f"{name}={count}: must be at least 1")
    if not temperature > 0:
        text = "must be above 0; towards 0 the likeliest symbol is drawn, top_k=1 draws no other"
        problems.append(f"temperature={temperature}: {text}")
    if top_p is not None and not 0 < top_p <= 1:
        problems.append(f"top_p={top_p}: must lie in (0, 1]")
    if problems:
        raise ConfigError(problems)


def _refuse_for_rolls(**given: Any) -> None:
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
    if condition is None:
        raise ConfigError(f"condition=null: the model needs one; allowed: a value of {x.column}")
    record = condition if isinstance(condition, Mapping) else {x.column: condition}
    encoded = x.encode(record).to(x.spec.dtype)
    return encoded.expand(n, *encoded.shape).to(device)


def _prompt(
    y: Field, prompt: str, n: int, device: torch.device, allow_unknown: bool
) -> Tensor | None:
    """(n, P) ids that are read before the first is drawn."""
    if not prompt:
        return None
    ids = y.encode({y.column: prompt}).long()
    if not allow_unknown and bool((ids == UNK).any()):
        place = int((ids == UNK).nonzero()[0])
        known = y.decode(ids[:place])
        text = f"what comes after {known!r} was never met in training"
        raise DataError(f"prompt={prompt}: {text}; allowed: known symbols, or allow_unknown=true")
    return ids.expand(n, -1).to(device)
