"""Parameters of a search as Optuna knows them, and their importance."""

import math
import warnings
from collections.abc import Sequence

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from seqpipe.config.parameters import Choice, Parameter, Value
from seqpipe.report.search_trials import Trial
from seqpipe.report.sweep_jobs import FINISHED
from seqpipe.search.pruners import quiet

FEWEST = 8  # finished trials: of fewer, forests of trees learn little but noise


def distribution_of(parameter: Parameter) -> BaseDistribution:
    """The distribution of a parameter."""
    if isinstance(parameter, Choice):
        return CategoricalDistribution(parameter.values)
    low, high, log = parameter.low, parameter.high, parameter.log
    if parameter.is_whole:
        return IntDistribution(int(low), int(high), log, int(parameter.step or 1))
    return FloatDistribution(low, high, log, parameter.step)


def suggest(trial: optuna.Trial, parameter: Parameter) -> Value:
    """The value of a parameter for a trial."""
    if isinstance(parameter, Choice):
        return str(trial.suggest_categorical(parameter.key, parameter.values))
    key, low, high, log = parameter.key, parameter.low, parameter.high, parameter.log
    if parameter.is_whole:
        step = int(parameter.step or 1)
        return trial.suggest_int(key, int(low), int(high), step=step, log=log)
    return trial.suggest_float(key, low, high, step=parameter.step, log=log)


def is_compatible(old: BaseDistribution, new: BaseDistribution) -> bool:
    """True if one study can have both for the same key."""
    try:
        optuna.distributions.check_distribution_compatibility(old, new)
    except ValueError:
        return False
    return True


def in_words(distribution: BaseDistribution) -> str:
    """A distribution as it is typed: `gru,lstm`, `tag(log,interval(0.0001,0.1))`."""
    if isinstance(distribution, CategoricalDistribution):
        return ",".join(map(str, distribution.choices))
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    text = f"interval({distribution.low},{distribution.high})"
    text = f"int({text})" if isinstance(distribution, IntDistribution) else text
    return f"tag(log,{text})" if distribution.log else text


def importance_of(
    space: Sequence[Parameter], trials: Sequence[Trial], mode: str
) -> dict[str, float]:
    """The share of each key, largest first; empty where too little is known.

    Args:
        space: the parameters.
        trials: of the study.
        mode: `min` or `max`.

    Source: Hutter, Hoos & Leyton-Brown (2014), as Optuna computes it.
    """
    keys = [one.key for one in space]
    finished = [
        one
        for one in trials
        if one.status == FINISHED and math.isfinite(one.value) and {*keys} <= one.values.keys()
    ]
    varied = [key for key in keys if len({one.values[key] for one in finished}) > 1]
    results = {one.value for one in finished}
    known = len(finished) >= FEWEST and len(varied) > 1 and len(results) > 1
    if not known:
        return {}
    quiet()
    distributions = {one.key: distribution_of(one) for one in space if one.key in varied}
    study = optuna.create_study(direction="maximize" if mode == "max" else "minimize")
    for one in finished:
        values = {key: one.values[key] for key in varied}
        study.add_trial(
            optuna.create_trial(params=values, distributions=distributions, value=one.value)
        )
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of experimental parts, and of numpy
        try:
            return optuna.importance.get_param_importances(study, evaluator=evaluator)
        except RuntimeError:  # no tree found any difference
            return {}
