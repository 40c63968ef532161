"""Options of decoding: greedy, or by beam search."""

from typing import Literal

from seqpipe.errors import ConfigError

Decoding = Literal["greedy", "beam"]
BEAM_SIZE, LENGTH_PENALTY = 5, 0.6


def beam_size_of(decoding: Decoding, beam_size: int | None, **others: float | None) -> int | None:
    """Hypotheses at each step; None where decoding is greedy.

    Args:
        decoding: `greedy` or `beam`.
        beam_size: as it is given; None: `BEAM_SIZE`.
        others: more options that a beam alone reads.

    Raises:
        ConfigError: an unknown way; options of a beam without one.
    """
    if decoding == "beam":
        return BEAM_SIZE if beam_size is None else beam_size
    for name, value in {"beam_size": beam_size, **others}.items():
        if value is not None:
            raise ConfigError(
                f"task.{name}={value}: greedy decoding has no beam;"
                f" allowed: null, or also task.decoding=beam"
            )
    return None
