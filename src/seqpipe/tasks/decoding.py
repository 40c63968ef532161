"""Options of decoding: greedy, or by beam search."""

from collections.abc import Iterator
from typing import Literal

Decoding = Literal["greedy", "beam"]
BEAM_SIZE, LENGTH_PENALTY = 5, 0.6


def beam_faults(
    decoding: Decoding, beam_size: int | None, length_penalty: float | None = None
) -> Iterator[tuple[str, str]]:
    """Options of a beam where decoding is greedy, which would do nothing: (argument, text)."""
    given = {"beam_size": beam_size, "length_penalty": length_penalty}
    for name, value in given.items() if decoding == "greedy" else ():
        if value is not None:
            yield name, "greedy decoding has no beam; allowed: null, or also task.decoding=beam"


def transcript_faults(decoding: Decoding, beam_size: int | None) -> Iterator[tuple[str, str]]:
    """As `beam_faults`, of a task without a length penalty."""
    return beam_faults(decoding, beam_size)


def beam_size_of(decoding: Decoding, beam_size: int | None) -> int | None:
    """Hypotheses at each step; None if decoding is greedy.

    Args:
        decoding: `greedy` or `beam`.
        beam_size: as it is given; None: `BEAM_SIZE`.
    """
    if decoding == "greedy":
        return None
    return BEAM_SIZE if beam_size is None else beam_size
