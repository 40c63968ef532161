"""A language model for the search of a model that writes transcripts: whether it fits, and how."""

from typing import Any

import torch

from seqpipe.data.base import FieldSpec
from seqpipe.data.vocabulary import EOS
from seqpipe.errors import ConfigError
from seqpipe.inference.generate import is_in_pieces
from seqpipe.models.fusion import LanguageModel
from seqpipe.models.one_to_many import OneToMany
from seqpipe.tasks.base import Task

_MOST_NAMED = 10  # symbols in a message


def fuse(model: Any, lm: Any, weight: float, bonus: float) -> None:
    """Let the beam search of a model read a language model, see `Model.read_language_model`.

    Args:
        model: a `Model`.
        lm: a `Model`.
        weight: see `LanguageModel`.
        bonus: see `LanguageModel`.

    Raises:
        ConfigError: one of them does not fit.
    """
    if "lm" not in model.task.search_options:
        text = f"task={model.task.name} has no beam that reads it; allowed: task=transcription"
        raise ConfigError(f"lm: {text}")
    network, y, known = lm.network, model.spec.y, lm.spec.y
    if not isinstance(network, OneToMany) or network.is_roll or lm.x is not None:
        allowed = "a run of architecture=one_to_many task=language_modeling, without a condition"
        raise ConfigError(f"lm: {type(network).__name__} is no language model; allowed: {allowed}")
    if problem := _vocabulary_problem(y, known):
        raise ConfigError(f"lm: {problem}")
    places = {name: id_ for id_, name in enumerate(known.names or ()) if id_ > EOS}
    names = (y.names or ())[EOS + 1 :]
    ids = torch.tensor([*range(EOS + 1), *(places[name] for name in names)], device=model.device)
    ends = not is_in_pieces(lm.config["data"])
    scorer = LanguageModel(network, ids, weight=weight, bonus=bonus, ends=ends)
    model.task.scorer = scorer


def _vocabulary_problem(y: FieldSpec, known: FieldSpec) -> str | None:
    """Why a language model cannot score the symbols of y; None: it can."""
    if y.names is None or known.names is None or not y.can_be_unknown:
        return "the symbols of y have no names; allowed: a y of words or characters"
    if y.unit != known.unit:
        return f"reads {known.unit}, and y has {y.unit}; allowed: a language model of {y.unit}"
    listed = set(known.names[EOS + 1 :])
    missing = [name for name in y.names[EOS + 1 :] if name not in listed]
    if not missing:
        return None
    shown = ", ".join(map(repr, missing[:_MOST_NAMED]))
    more = f" and {len(missing) - _MOST_NAMED} more" if len(missing) > _MOST_NAMED else ""
    lower = {name.lower() for name in listed}
    in_case = " in this case" if all(name.lower() in lower for name in missing) else ""
    text = f"does not know the symbols {shown}{more}{in_case}"
    return f"{text}; allowed: a language model trained on texts with all symbols of y"


def check_beam_of(task: Task, beam_size: int) -> None:
    """Refuse a language model where decoding is greedy, which would not read it.

    Args:
        task: of the model.
        beam_size: hypotheses at each step.

    Raises:
        ConfigError: there is only one.
    """
    if getattr(task, "scorer", None) is not None and beam_size == 1:
        text = "greedy decoding compares no transcripts; allowed: also beam_size=20"
        raise ConfigError(f"lm: {text}")
