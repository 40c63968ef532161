"""Cross-validation on the command line: `folds=10` without `fold=...` is a sweep over the folds."""

from collections.abc import Sequence
from dataclasses import dataclass

from omegaconf import DictConfig

from seqpipe.bounds import LEAVE_ONE_OUT
from seqpipe.config.config_view import Tree
from seqpipe.config.loader import Composed, Typed, parse

KEY = "fold"
_QUIET = "diagnostics=none"
_NO_BAR = "trainer.enable_progress_bar=false"


def runs_each_fold(composed: Composed, typed: Sequence[Typed]) -> bool:
    """Return True if folds are chosen, and none of them to be tested alone.

    Args:
        composed: the configuration; of a sweep the one its jobs start from.
        typed: the overrides of the command line.
    """
    folds, fold = map(Tree(composed.cfg).get, ("data.folds", f"data.{KEY}"))
    return folds is not None and fold is None and all(one.key_or_group != KEY for one in typed)


@dataclass(frozen=True)
class FoldSweep:
    """A command that is run for each fold.

    Args:
        settings: overrides of each run besides its fold, see `settings_of_folds`.
        jobs: the configuration of each of its jobs, for the first fold.
    """

    settings: tuple[str, ...]
    jobs: tuple[DictConfig, ...]

    def command_line(self, words: Sequence[str], count: int) -> list[str]:
        """Return the command line of the sweep over the folds.

        Args:
            words: of the command line as typed, flags first.
            count: of folds.
        """
        is_sweep = any(word in ("-m", "--multirun") for word in words)
        flags = [] if is_sweep else ["--multirun"]
        return [*flags, *words, *self.settings, f"{KEY}=range({count})"]


def settings_of_folds(composed: Composed, typed: Sequence[Typed]) -> tuple[str, ...]:
    """Return what each run of a fold is given, unless something else was typed.

    No probe of the gradients, whose figures take longer than a small training; and no bar for each
    of the many runs of `leave_one_out`.

    Args:
        composed: as `runs_each_fold`.
        typed: as `runs_each_fold`.
    """
    keys = {one.key_or_group for one in typed}
    probes = any(key.partition(".")[0] == "diagnostics" for key in keys)
    given = [] if probes or composed.choices.get("diagnostics") != "default" else [_QUIET]
    many = Tree(composed.cfg).get("data.folds") == LEAVE_ONE_OUT
    given += [_NO_BAR] if many and _NO_BAR.partition("=")[0] not in keys else []
    return tuple(given)


def of_first_fold(settings: Sequence[str]) -> list[Typed]:
    """Return the overrides of the run of the first fold, which stands for all in checks."""
    return parse([*settings, f"{KEY}=0"])[0]
