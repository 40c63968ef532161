"""Parts of sacrebleu that its documentation does not promise; the only module that uses them.

A score is a function of counts of n-grams, summed over examples. sacrebleu's public functions take
whole lists of texts; the counts alone are what several processes and a bootstrap can add up.
tests/config/test_private_apis.py fails where a new version of sacrebleu changes one of them.
"""

from collections.abc import Sequence
from typing import Any


def statistics_of(scorer: Any, answer: str, references: Sequence[str]) -> list[int]:
    """The counts that a score is made of, for one text.

    Args:
        scorer: sacrebleu's BLEU or CHRF.
        answer: the text to judge.
        references: at least one.
    """
    scorer_references = [[one] for one in references]
    (counts,) = scorer._extract_corpus_statistics([answer], scorer_references)
    return [int(count) for count in counts]


def sizes_of(scorer: Any) -> int:
    """The number of counts of a scorer."""
    return len(statistics_of(scorer, "a", ["a"]))


def score_of(scorer: Any, counts: Sequence[int]) -> float:
    """The score of summed counts, from 0 to 100."""
    return float(scorer._compute_score_from_stats(list(counts)).score)


def signature_of(scorer: Any, references: int = 1) -> str:
    """The signature that makes a score comparable: `nrefs:1|case:lc|eff:no|tok:13a|...`.

    Args:
        scorer: sacrebleu's BLEU or CHRF.
        references: of each text; 0: their number varies.
    """
    scorer.num_refs = references or -1
    return str(scorer.get_signature().format())
