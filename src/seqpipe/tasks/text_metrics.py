"""Metrics of texts that a model writes: error rates by words and characters, BLEU, chrF."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from seqpipe.data.optional_deps import need
from seqpipe.tasks.sacrebleu_internals import score_of, sizes_of, statistics_of
from seqpipe.tasks.sequence_metrics import ExactMatch, Written, WrittenSums, best_edits

Tokenizer = Literal["13a", "intl", "char", "zh", "none"]
"""Tokenizers of BLEU that need no further library."""


class TextErrorRate(WrittenSums):
    """Edit distance between texts per true word or per true character, whatever a symbol is.

    Words are what white space separates; characters are code points, blanks included. Summed over
    the whole split before the division; may pass 1. Of several references the closest counts, by
    its own length. Updated with two lists of `Written`.

    Args:
        by: what is inserted, deleted and substituted.
        kwargs: of torchmetrics' Metric.

    Source: Levenshtein (1966); unit costs.
    """

    def __init__(self, by: Literal["words", "characters"], **kwargs: Any) -> None:
        # Names of their own: torchmetrics takes metrics with equal states for one.
        self.held = f"edits_of_{by}", f"true_{by}"
        super().__init__(dict.fromkeys(self.held, 1), **kwargs)
        self.by = by

    def terms(self, prediction: Written, truth: Written) -> Sequence[int]:
        """Edits, and true words or characters."""
        return best_edits(self._cut(prediction), map(self._cut, truth.every))

    def _cut(self, written: Written) -> Sequence[str]:
        return written.spelled.split() if self.by == "words" else written.spelled

    def compute(self) -> Tensor:
        """Edits per true word or character."""
        edits, total = (getattr(self, name) for name in self.held)
        rate: Tensor = edits / total.clamp(min=1)
        return rate


class WrongShare(ExactMatch):
    """Share of sequences that are not right: the word error rate of pronunciations.

    Source: Yao & Zweig (2015), "Sequence-to-sequence neural net models for grapheme-to-phoneme
        conversion", section 3.1.
    """

    def compute(self) -> Tensor:
        """Wrong of all, in [0, 1]."""
        return 1 - super().compute()


class CorpusScore(WrittenSums):
    """A score of sacrebleu, from 0 to 100, of a whole split.

    The n-grams of each example are counted, and the counts summed over the split and over
    processes before the score is computed: it is that of the whole corpus, not a mean. The texts
    are those that the field of y writes, and the raw truths. Updated with two lists of `Written`.

    Args:
        name: `bleu` or `chrf`.
        scorer: of sacrebleu.
        kwargs: of torchmetrics' Metric.

    Source: Post (2018), "A call for clarity in reporting BLEU scores"; Papineni et al. (2002);
        Popovic (2015) for chrF.
    """

    def __init__(self, name: Literal["bleu", "chrf"], scorer: Any, **kwargs: Any) -> None:
        self.held = f"{name}_counts"
        super().__init__({self.held: sizes_of(scorer)}, **kwargs)
        self.scorer = scorer

    def terms(self, prediction: Written, truth: Written) -> Sequence[int]:
        """Counts of n-grams, and of those that are right."""
        references = [one.spelled for one in truth.every]
        return statistics_of(self.scorer, prediction.spelled, references)

    def compute(self) -> Tensor:
        """The score, from 0 to 100."""
        return torch.tensor(score_of(self.scorer, getattr(self, self.held).tolist()))


def scorers(tokenizer: Tokenizer, *, lowercase: bool) -> dict[Literal["bleu", "chrf"], Any]:
    """The scorers of sacrebleu, by the name of their metric.

    Args:
        tokenizer: of BLEU; chrF has none.
        lowercase: texts are compared in small letters.

    Raises:
        ConfigError: sacrebleu is not installed.
    """
    module = need("sacrebleu", extra="translation", what=f"task.bleu={tokenizer}")
    # `force` turns off a warning about texts that look tokenized.
    bleu = module.BLEU(tokenize=tokenizer, lowercase=lowercase, force=True)
    return {"bleu": bleu, "chrf": module.CHRF(lowercase=lowercase)}
