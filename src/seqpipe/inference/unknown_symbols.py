"""Unknown symbols of an input: those that did not occur in training."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqpipe.data.base import Field, FieldSpec
from seqpipe.data.vocabulary import EOS, UNK


def unknown_at(spec: FieldSpec, ids: Any) -> Any:
    """Return (T,) bool, True for unknown steps. ids: (T,), or (T, 1 + C) of spelled words."""
    steps = np.asarray(ids)
    first = steps[:, 0] if spec.is_spelled else steps
    return np.zeros(len(first), dtype=bool) if spec.unknown is None else first == spec.unknown


def counts_unknown(spec: FieldSpec | None) -> bool:
    """True if symbols can be unknown: not numbers, bytes or subwords."""
    return spec is not None and spec.can_be_unknown


def unknown_symbols(fld: Field, value: Any, ids: Tensor) -> list[str]:
    """List the unknown symbols of a raw entry as it spells them; none if they cannot be located.

    Args:
        fld: fitted.
        value: the entry.
        ids: the encoded entry; may hold <EOS>.
    """
    spec = fld.spec
    steps, _ = fld.steps(value)
    unknown = unknown_at(spec, ids)
    if not spec.is_spelled:
        unknown = unknown[np.asarray(ids) != EOS]
    if len(steps) != len(unknown):
        return []
    return [step for step, one in zip(steps, unknown.tolist(), strict=True) if one]


def ids_of_answer(y: Field, text: str) -> Tensor:
    """Return the ids that a model has written as a text, (T + 1,), with <EOS>.

    What it writes for an unknown symbol is one symbol, though a text of the data would be cut
    into `<`, `UNK` and `>` there.

    Args:
        y: its field, fitted.
        text: the answer.
    """
    mark = y.decode([UNK]) if y.spec.can_be_unknown else ""
    ids = list[int]()
    for place, part in enumerate(text.split(mark) if mark else [text]):
        ids += [UNK] * (place > 0)
        ids += y.encode_target({y.column: part}).tolist()[:-1]  # without its <EOS>
    return torch.tensor([*ids, EOS])


def shown(symbols: list[str], count: int) -> str:
    """Format `2 unknown symbols ('P', 'ü')`; symbols: the located ones."""
    named = ", ".join(map(repr, list(dict.fromkeys(symbols))[:5]))
    named = f" ({named}{', ...' if len(set(symbols)) > 5 else ''})" if named else ""
    return f"{count:,} unknown symbol{'s' if count != 1 else ''}{named}"
