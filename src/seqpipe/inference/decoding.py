"""Answers that are sequences of their own length: translations and transcripts, with scores."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from seqpipe.data.base import Field, SequenceBatch
from seqpipe.data.vocabulary import BOS, EOS, PAD
from seqpipe.errors import ConfigError
from seqpipe.inference.answers import Answer
from seqpipe.inference.limits import SEARCH
from seqpipe.models.encoder_decoder import EncoderDecoder
from seqpipe.nn.ctc import best_path, ctc_loss
from seqpipe.nn.ctc_beam import prefix_beam
from seqpipe.rules import faults, or_null, whole
from seqpipe.tasks.base import Task
from seqpipe.tasks.transcription import Transcription

_RULES = {
    **SEARCH,
    "beam_size": or_null(SEARCH["beam_size"]),
    "length_penalty": or_null(SEARCH["length_penalty"]),
}


@dataclass(frozen=True)
class Decoding:
    """How an answer is searched for.

    Args:
        beam_size: hypotheses at each step; None: as the task was told, which is greedily where it
            was told nothing.
        n_best: answers of each x, at most `beam_size`.
        length_penalty: of a translation, see `seqpipe.models.beam.length_norm`; None: as the task.
    """

    beam_size: int | None = None
    n_best: int = 1
    length_penalty: float | None = None

    def check(self, network: nn.Module, task: Task) -> None:
        """Refuses what has no say in what this model answers.

        Raises:
            ConfigError: with each option that was given.
        """
        given = {"beam_size": self.beam_size, "length_penalty": self.length_penalty}
        given["n_best"] = self.n_best if self.n_best != 1 else None
        asked = {name: value for name, value in given.items() if value is not None}
        if not decodes(network, task):
            text = f"task={task.name} searches for no sequence; allowed: leave it out"
            problems = [f"{name}={value}: {text}" for name, value in asked.items()]
        else:
            problems = self._misfits(task)
        if problems:
            raise ConfigError(problems)

    def _misfits(self, task: Task) -> list[str]:
        problems = faults(_RULES, vars(self))
        if problems:
            return problems
        size = self.size(task)
        if self.n_best > size:
            most = whole(1, size).because(f"which beam_size={size} finds")
            problems += faults({"n_best": most}, {"n_best": self.n_best})
        if self.length_penalty is not None and isinstance(task, Transcription):
            text = "a transcript is ranked by its probability alone; allowed: leave it out"
            problems.append(f"length_penalty={self.length_penalty}: {text}")
        elif self.length_penalty is not None and size == 1:
            text = "greedy decoding has no beam; allowed: also beam_size=2 or more"
            problems.append(f"length_penalty={self.length_penalty}: {text}")
        return problems

    def size(self, task: Task) -> int:
        """Hypotheses at each step; 1 is greedy."""
        told: int = getattr(task, "beam_size", None) or 1
        return told if self.beam_size is None else self.beam_size


def decodes(network: nn.Module, task: Task) -> bool:
    """Whether answers are searched for: translations of an encoder and decoder, transcripts."""
    return isinstance(network, EncoderDecoder) or isinstance(task, Transcription)


def decoded(
    network: nn.Module, task: Task, y: Field, batch: SequenceBatch, how: Decoding
) -> list[Answer]:
    """`prediction` and its `score`, log p(y | x) in nats, of each x; with n_best > 1 also `n_best`.

    Args:
        network: in eval mode.
        task: transduction or transcription.
        y: the field of the answers, fitted.
        batch: x of what is asked.
        how: the search.
    """
    found = _translations if isinstance(network, EncoderDecoder) else _transcripts
    answers = []
    for best in found(network, task, batch, how):
        rows = [
            {"prediction": y.decode(ids), "score": score}
            for ids, score in best
            if score > float("-inf")
        ]
        answer: Answer = dict(rows[0])
        if how.n_best > 1:
            answer["n_best"] = rows
        answers.append(answer)
    return answers


Found = list[list[tuple[Tensor, float]]]
"""Of each x, the best answers: ids and log p."""


def _translations(network: Any, task: Any, batch: SequenceBatch, how: Decoding) -> Found:
    penalty = getattr(task, "length_penalty", None) if how.length_penalty is None else None
    penalty = how.length_penalty if penalty is None else penalty
    hypotheses = network.beam(
        batch.x,
        batch.x_lengths,
        task.max_length,
        beam_size=how.size(task),
        n_best=how.n_best,
        **({} if penalty is None else {"length_penalty": penalty}),
    )
    ids, lengths, scores = hypotheses.ids.cpu(), hypotheses.lengths.tolist(), hypotheses.scores
    return [
        [(_said(row[:n]), score) for row, n, score in zip(*one, strict=True)]
        for one in zip(ids, lengths, scores.tolist(), strict=True)
    ]


def _said(ids: Tensor) -> Tensor:
    """Without the <EOS> at the end."""
    return ids[:-1] if len(ids) and int(ids[-1]) == EOS else ids


def _transcripts(network: Any, task: Any, batch: SequenceBatch, how: Decoding) -> Found:
    logits = network(batch.x, batch.x_lengths, batch.y, batch.y_lengths)
    assert batch.x_lengths is not None
    if how.size(task) > 1:
        best = prefix_beam(
            *(logits, batch.x_lengths),
            blank=PAD,
            beam_size=how.size(task),
            n_best=how.n_best,
            banned=(BOS, EOS),  # as in the test
        )
        every = zip(best.ids.cpu(), best.lengths.tolist(), best.scores.tolist(), strict=True)
        return [[(row[:n], s) for row, n, s in zip(*one, strict=True)] for one in every]
    ids, said = best_path(logits, batch.x_lengths, blank=PAD)
    losses = ctc_loss(logits, batch.x_lengths, ids, said, blank=PAD)
    every_one = zip(ids.cpu(), said.tolist(), losses.tolist(), strict=True)
    return [[(row[:n], -loss)] for row, n, loss in every_one]
