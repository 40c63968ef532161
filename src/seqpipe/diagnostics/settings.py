"""What of a training is looked at, and how often."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """The group `diagnostics` of the configuration.

    Args:
        every: updates from one look at the gradient through time, and into the cells, to the
            next; None: at the start and at the end only.
        examples: of the training split, always the same ones, that are looked at; 0: none.
        free_running: of the validation split, on which a model that writes y is also measured
            reading its own guesses; 0: none.
    """

    every: int | None = 500
    examples: int = 8
    free_running: int = 64
