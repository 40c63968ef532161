"""Parts of a model and their names: which parameters a word such as `encoder` or `layers.0` means.

The name of a parameter is its path in the model, `encoder.layers.0.forwards.cell.bias`.
"""

from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase

from torch import Tensor, nn

from seqpipe.errors import ConfigError, did_you_mean
from seqpipe.nn.wide_linear import TiedLinear
from seqpipe.rules import Problem

_LEVELS = 3  # of a path in a message: encoder.layers.0


def names(pattern: str, path: str) -> bool:
    """True if the words of a pattern stand side by side in the path of a parameter.

    Args:
        pattern: words with dots between; `*` and `?` stand for any characters of one word.
        path: of the parameter.

    >>> names("layers.0", "encoder.layers.0.forwards.cell.bias"), names("enc*", "encoder.layers.0")
    (True, True)
    >>> names("layer", "encoder.layers.0.forwards.cell.bias"), names("*.bias", "head.output.bias")
    (False, True)
    """
    words, parts = pattern.split("."), path.split(".")
    places = range(len(parts) - len(words) + 1)
    return any(
        all(fnmatchcase(part, word) for part, word in zip(parts[at:], words, strict=False))
        for at in places
    )


def part_names(model: nn.Module) -> list[str]:
    """Paths of the parts of a model that have parameters, for messages: `head`, `input.embedding`.

    Lists of layers are left out, the layers in them are there.
    """
    return [
        path
        for path, part in model.named_modules()
        if path
        and path.count(".") < _LEVELS
        and not isinstance(part, nn.ModuleList)
        and any(True for _ in part.parameters())
    ]


def parameters_of(model: nn.Module, patterns: Sequence[str], key: str) -> dict[str, nn.Parameter]:
    """The parameters of some parts of a model, by name.

    Args:
        model: with the parts.
        patterns: see `names`.
        key: that holds the patterns, for messages.

    Raises:
        ConfigError: a pattern fits no parameter, or a part that reads the weights of another one.
    """
    known = dict(model.named_parameters())
    found = {n: p for n, p in known.items() if any(names(pattern, n) for pattern in patterns)}
    problems = [*_unknown(model, patterns, key), *_tied(model, patterns, found, key)]
    if problems:
        raise ConfigError(list(map(str, problems)))
    return found


def _unknown(model: nn.Module, patterns: Iterable[str], key: str) -> Iterator[Problem]:
    paths, parts = [name for name, _ in _with_tied(model)], part_names(model)
    for pattern in patterns:
        if not any(names(pattern, path) for path in paths):
            text = f"no part of the model with weights; allowed: {', '.join(parts)}"
            text += ", layers.0, or a pattern such as *.bias"
            words = {word for path in paths for word in path.split(".") if word.isidentifier()}
            yield Problem(key, [pattern], text + did_you_mean(pattern, [*parts, *sorted(words)]))


def _tied(
    model: nn.Module, patterns: Sequence[str], found: dict[str, nn.Parameter], key: str
) -> Iterator[Problem]:
    """An output layer whose weights are those of an embedding that no pattern names."""
    chosen = {id(parameter) for parameter in found.values()}
    for path, weight in _with_tied(model):
        if id(weight) in chosen or not any(names(pattern, path) for pattern in patterns):
            continue
        owner = next(name for name, known in model.named_parameters() if known is weight)
        owner = owner.rpartition(".")[0]
        text = f"the weights of {path.rpartition('.')[0]} are those of {owner}"
        allowed = f"{key}=[{','.join([*patterns, owner])}], or architecture.tie_embeddings=false"
        yield Problem(key, list(patterns), f"{text}; allowed: {allowed}")


def _with_tied(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The parameters by name, and the weights that a layer reads from another part."""
    yield from model.named_parameters()
    for path, part in model.named_modules():
        if isinstance(part, TiedLinear):
            yield f"{path}.weight", part.weight
