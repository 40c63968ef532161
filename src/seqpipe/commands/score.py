"""Score sequences by their likelihood: `python -m seqpipe score run=latest text="a pear"`."""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from seqpipe.commands.dispatch import Answer
from seqpipe.commands.options import Score
from seqpipe.console import PlainConsole
from seqpipe.data.placed import PlacedRecord
from seqpipe.data.progress import Progress
from seqpipe.display import visible
from seqpipe.errors import DataError
from seqpipe.inference.generate import encoded_condition, typed_condition
from seqpipe.inference.model import Model
from seqpipe.inference.outputs import of_input
from seqpipe.inference.scoring import Score as Likelihood
from seqpipe.inference.scoring import probability_of, ranked
from seqpipe.inference.writers import Output, check_output
from seqpipe.runs.open_model import open_model, open_reader

SEPARATOR = " | "

log = logging.getLogger(__name__)


def run(options: Score, root: Path) -> Answer:
    """Score the texts and rank them, or score the rows of an input in their order.

    Raises:
        ConfigError: the model gives sequences no probability.
        DataError: a sequence cannot be read.
    """
    if options.input is not None:
        return _score_input(options, options.input, root)
    model, _ = open_model(options, root)
    assert options.text is not None
    texts = [text for text in options.text.split(SEPARATOR) if text]
    if not texts:
        raise DataError(f"text={options.text}: holds no sequence; allowed: one or more")
    condition = typed_condition(model.x, options.condition)
    if condition is None and model.x is not None:
        encoded_condition(model.x, None)  # raises, and lists the conditions
    scores = model.score(texts, condition=condition, unknown=options.unknown)
    _warn_of_unknown([one.unknown for one in scores], options)
    order = ranked(scores)
    PlainConsole().print(_table([(texts[place], scores[place]) for place in order]))
    if not options.tokens:
        return Answer()
    return Answer("\n\n".join(_by_token(texts[place], scores[place]) for place in order))


def _table(scored: Sequence[tuple[str, Likelihood]]) -> Table:
    table = Table(title="log-probability in nats, most likely first", title_justify="left")
    numbers = ("rank", "total", "probability", "per token", "perplexity", "tokens", "unknown")
    for name in (*numbers, "text"):
        table.add_column(name, justify="left" if name == "text" else "right", overflow="fold")
    for rank, (text, one) in enumerate(scored, 1):
        table.add_row(
            str(rank),
            f"{one.total:.3f}",
            probability_of(one.total),
            f"{one.per_token:.3f}",
            f"{one.perplexity:.3f}",
            str(len(one.tokens)),
            str(one.unknown),
            text,
        )
    return table


def _by_token(text: str, score: Likelihood) -> str:
    rows = zip(score.tokens, score.log_probabilities, strict=True)
    return "\n".join([visible(text), *(f"{value:9.3f}  {_shown(token)}" for token, value in rows)])


def _shown(token: str) -> str:
    return token if token.isprintable() and token.strip() else repr(token)


def _score_input(options: Score, input: str, root: Path) -> Answer:
    format = check_output(options.output, input)
    model, _ = open_model(options, root)
    reader = open_reader(model, options, root)
    reader.column = model.y.column
    unknown: list[int] = []
    with (
        Output(options.output, format, sys.stdout) as output,
        Progress(options.output != "-", "scoring") as progress,
    ):
        for record in progress.count(reader.records(input), input):
            row = _score_record(record, model, options)
            output.write([row])
            unknown.append(row["unknown"])
        if not unknown:
            raise DataError(f"input={input}: has no rows; allowed: one row or more")
    _warn_of_unknown(unknown, options)
    return Answer()


def _warn_of_unknown(counts: Sequence[int], options: Score) -> None:
    """Warn if the numbers of unknown symbols differ: then totals are not comparable."""
    if len(set(counts)) < 2:
        return
    what = {"count": "score <UNK> for them", "skip": "leave them out"}[options.unknown]
    other = {"count": "skip", "skip": "count"}[options.unknown]
    log.warning(
        "unknown=%s: the sequences hold %s to %s unknown symbols; totals that %s are not"
        " comparable; allowed: sequences with equally many, unknown=refuse or unknown=%s",
        *(options.unknown, min(counts), max(counts), what, other),
    )


def _score_record(record: PlacedRecord, model: Model, options: Score) -> dict[str, Any]:
    """The line number, the columns of the input, and the score."""
    try:
        score = model.score([record], unknown=options.unknown)[0]
    except DataError as error:
        raise DataError([f"{record.place}: {problem}" for problem in error.problems]) from None
    scored: dict[str, Any] = {
        "total": score.total,
        "probability": score.probability or None,  # null if it is too small for a float
        "per_token": score.per_token,
        "perplexity": score.perplexity,
        "tokens": len(score.tokens),
        "unknown": score.unknown,
    }
    if options.tokens:
        scored |= {"symbols": score.tokens, "log_probabilities": score.log_probabilities}
    return {"line": record.line, **of_input(record, {"line", *scored}), **scored}
