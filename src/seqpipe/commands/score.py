"""Score sequences by their likelihood: `python -m seqpipe score run=latest text="a pear"`."""

import logging
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from seqpipe.commands.dispatch import Answer
from seqpipe.commands.options import Score
from seqpipe.commands.predict import refuse_own_input
from seqpipe.console import PlainConsole
from seqpipe.data.base import Found
from seqpipe.data.progress import Progress
from seqpipe.display import visible
from seqpipe.errors import DataError
from seqpipe.inference.generate import encoded_condition, typed_condition
from seqpipe.inference.model import Model
from seqpipe.inference.outputs import of_input
from seqpipe.inference.scoring import Score as Likelihood
from seqpipe.inference.scoring import probability_of, ranked
from seqpipe.inference.writers import Output, format_of
from seqpipe.runs.open_model import open_model, open_reader

SEPARATOR = " | "

log = logging.getLogger(__name__)


def run(options: Score, root: Path) -> Answer:
    """Scores the texts and ranks them, or the rows of an input in their order.

    Raises:
        ConfigError: the model gives sequences no probability.
        DataError: a sequence that cannot be read.
    """
    kind = "" if options.input is None else format_of(options.output, None)
    model, _ = open_model(options, root)
    if options.input is not None:
        return _of_input(options, options.input, model, kind, root)
    assert options.text is not None
    texts = [text for text in options.text.split(SEPARATOR) if text]
    if not texts:
        raise DataError(f"text={options.text}: holds no sequence; allowed: one or more")
    condition = typed_condition(model.x, options.condition)
    if condition is None and model.x is not None:
        encoded_condition(model.x, None)  # raises, with the conditions that there are
    scores = model.score(texts, condition=condition, unknown=options.unknown)
    _warn_of_unknown([one.unknown for one in scores], options)
    table = Table(title="log-probability in nats, most likely first", title_justify="left")
    for name in (
        *("rank", "total", "probability", "per token"),
        *("perplexity", "tokens", "unknown", "text"),
    ):
        table.add_column(name, justify="left" if name == "text" else "right", overflow="fold")
    for rank, place in enumerate(ranked(scores), 1):
        one = scores[place]
        total = (f"{one.total:.3f}", probability_of(one.total))
        numbers = (*total, f"{one.per_token:.3f}", f"{one.perplexity:.3f}")
        counts = (str(len(one.tokens)), str(one.unknown))
        table.add_row(str(rank), *numbers, *counts, texts[place])
    PlainConsole().print(table)
    if not options.tokens:
        return Answer()
    return Answer("\n\n".join(_by_token(texts[p], scores[p]) for p in ranked(scores)))


def _by_token(text: str, score: Likelihood) -> str:
    rows = zip(score.tokens, score.log_probabilities, strict=True)
    return "\n".join([visible(text), *(f"{value:9.3f}  {_shown(token)}" for token, value in rows)])


def _shown(token: str) -> str:
    return token if token.isprintable() and token.strip() else repr(token)


def _of_input(options: Score, input: str, model: Model, kind: str, root: Path) -> Answer:
    refuse_own_input(input, options.output)
    reader = open_reader(model, options, root)
    reader.column = model.y.column
    unknown: list[int] = []
    with (
        Output(options.output, kind, sys.stdout) as output,
        Progress(options.output != "-", "scoring") as progress,
    ):
        for row in _rows(progress.count(reader.read(input), input), model, options):
            output.write([row])
            unknown.append(row["unknown"])
        if not unknown:
            raise DataError(f"input={input}: has no rows; allowed: one row or more")
    _warn_of_unknown(unknown, options)
    return Answer()


def _warn_of_unknown(counts: Sequence[int], options: Score) -> None:
    """Warns if numbers of unknown symbols differ: then totals are not comparable."""
    if len(set(counts)) < 2:
        return
    what = {"count": "score <UNK> for them", "skip": "leave them out"}[options.unknown]
    other = {"count": "skip", "skip": "count"}[options.unknown]
    log.warning(
        "unknown=%s: the sequences hold %s to %s unknown symbols; totals that %s are not"
        " comparable; allowed: sequences with equally many, unknown=refuse or unknown=%s",
        *(options.unknown, min(counts), max(counts), what, other),
    )


def _rows(found: Iterator[Found], model: Model, options: Score) -> Iterator[dict[str, Any]]:
    for one in found:
        if isinstance(one, DataError):
            raise one
        try:
            score = model.score([one], unknown=options.unknown)[0]
        except DataError as error:
            where = getattr(one, "place", "inputs")
            raise DataError([f"{where}: {problem}" for problem in error.problems]) from None
        scored: dict[str, Any] = {
            "total": score.total,
            "probability": score.probability or None,  # too small a number is none, not 0
            "per_token": score.per_token,
            "perplexity": score.perplexity,
            "tokens": len(score.tokens),
            "unknown": score.unknown,
        }
        if options.tokens:
            scored |= {"symbols": score.tokens, "log_probabilities": score.log_probabilities}
        line = getattr(one, "line", None)
        yield {"line": line, **of_input(one, {"line", *scored}), **scored}
