"""Checks of a search before its first job: of its options, and of the values of each key."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from seqpipe.bounds import problems_together, together_of
from seqpipe.config.nested_groups import with_dots
from seqpipe.config.parameters import Parameter
from seqpipe.config.signatures import found_target, signature_of
from seqpipe.config.swept import PARAMS
from seqpipe.errors import did_you_mean
from seqpipe.rules import Problem, Rule

_KEY = "hydra.sweeper"
_NOT_SETTINGS = ("_target_", "params")


def setting_problems(hydra: DictConfig) -> list[Problem]:
    """The problems of the search's own options, by the rules of the sweeper's arguments."""
    written: Any = OmegaConf.to_container(hydra.sweeper, resolve=True)
    target = written["_target_"]
    settings = {name: value for name, value in written.items() if name not in _NOT_SETTINGS}
    found = list(_value_problems(settings, signature_of(target).rules))
    together = together_of(found_target(target))
    if together is not None and not found:
        found = problems_together(together, settings)
    return [one._replace(key=f"{_KEY}.{one.key}") for one in found]


def _value_problems(
    settings: Mapping[str, Any], rules: Mapping[str, Rule | None]
) -> Iterator[Problem]:
    for name, value in settings.items():
        rule = rules.get(name)
        if name not in rules:
            hint = did_you_mean(name, rules)
            yield Problem(name, value, f"unknown key; allowed: {', '.join(rules)}{hint}")
        elif rule is not None and (fault := rule.fault(value)):
            yield Problem(name, value, fault)


def probes(space: Iterable[Parameter]) -> Iterator[list[str]]:
    """The overrides of jobs that show whether all values are allowed.

    Each extreme value of each parameter is in one of them, beside the first of all others.
    """
    extremes = {one.key: one.extremes() for one in space}
    first = {key: values[0] for key, values in extremes.items()}
    yield [*first.values()]
    for key, values in extremes.items():
        yield from ([*(first | {key: value}).values()] for value in values[1:])


class Probed:
    """The problems of jobs that were probed, each of them once.

    Args:
        swept: overrides with several values, by their keys.
        typed: keys of the command line; the other ones are of an option.
    """

    def __init__(self, swept: Mapping[str, Override], typed: Collection[str]) -> None:
        self._swept, self._typed = swept, typed
        self._values: dict[tuple[str, str], list[str]] = {}  # (key, text): values with that problem
        self._others: dict[str, None] = {}

    def add(self, values: Sequence[str], problems: Sequence[str]) -> None:
        """Notes the problems of a job.

        Args:
            values: the overrides that were probed.
            problems: each `key=value: text`.
        """
        starts = {f"{with_dots(value)}: ": value.partition("=") for value in values}
        for problem in problems:
            for start, (key, _, value) in starts.items():
                if problem.startswith(start):
                    text = problem.removeprefix(start)
                    held = self._values.setdefault((key, text), [])
                    held += [value] if value not in held else []
                    break
            else:
                self._others[problem] = None

    def problems(self) -> Iterator[str]:
        """The problems: of a value with the override that has it, then all others."""
        for (key, text), values in self._values.items():
            line = with_dots(str(self._swept[key].input_line))
            found = [f"at {' and '.join(values)}"] if line != f"{key}={values[0]}" else []
            if self._swept[key].key_or_group not in self._typed:
                place = key.replace("/", ".")
                found.append(f"of the option; not to search it: ~{PARAMS}.{place}")
            yield f"{line}: {text}" + (f" ({', '.join(found)})" if found else "")
        yield from self._others


def judging_problems(judged: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Yield the problem of trials that are not judged by the same metric.

    Args:
        judged: metric and direction of each job.
    """
    names = sorted({monitor for monitor, _ in judged})
    if len({*judged}) > 1:
        text = f"trials judged by {' and '.join(names)} cannot be compared"
        yield f"task.monitor={judged[0][0]}: {text}; allowed: also one task.monitor"
