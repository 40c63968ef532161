"""Settings of the diagnostics."""

from dataclasses import dataclass

from seqpipe.bounds import Count, WholeNumber


@dataclass(frozen=True)
class Settings:
    """The group `diagnostics` of the configuration.

    Args:
        every: updates between two snapshots of the gradient through time and the cells; None: at
            the start and at the end only.
        examples: number of training examples to measure, always the same ones; 0: none.
        free_running: number of validation examples on which a model that writes y is also
            measured reading its own guesses; 0: none.
    """

    every: Count | None = 500
    examples: WholeNumber = 8
    free_running: WholeNumber = 64
