"""Write y for x: `python -m seqpipe translate run=latest text="Guten Morgen" beam_size=5`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from seqpipe.commands.dispatch import Answer
from seqpipe.commands.options import Translate
from seqpipe.data.base import Record
from seqpipe.data.kinds import Answer as Found
from seqpipe.errors import ConfigError, DataError
from seqpipe.inference.generate import Decoding
from seqpipe.inference.model import Model
from seqpipe.inference.unknown_symbols import shown, unknown_symbols
from seqpipe.models.architecture import attends
from seqpipe.runs.open_model import open_model, open_reader, read_language_model


def run(options: Translate, root: Path) -> Answer:
    """Translate, and draw the attention of each step.

    Raises:
        ConfigError: the model writes no sequences, or an option does not fit it.
        DataError: an input cannot be read.
    """
    model, _ = open_model(options, root)
    read_language_model(model, options, root)
    if not model.task.search_options:
        allowed = "predict, or a run of encoder_decoder"
        raise ConfigError(f"task={model.task.name}: does not write a sequence; allowed: {allowed}")
    if options.attention is not None and not attends(model.network):
        text = "the model has no attention to draw; allowed: leave it out"
        raise ConfigError(f"attention={options.attention}: {text}")
    how = Decoding(options.beam_size, options.n_best, options.length_penalty, options.unknown)
    if options.input is not None:
        records = list(open_reader(model, options, root).records(options.input))
    else:
        records = list(model.records([options.text]))
    lines, pairs = [], []
    for one in model.answers(records, decoding=how, batch_size=options.batch_size):
        if one.answer is None:
            raise DataError(f"{one.place}: {one.error}")
        assert one.record is not None
        lines += [*_lines(one.answer), *_unknown(model, one.record, one.answer)]
        pairs.append((one.record, one.answer["prediction"]))
    if options.attention is not None:
        lines.append(f"attention: {_draw_attention(model, pairs, Path(options.attention))}")
    return Answer("\n".join(lines))


def _lines(answer: Found) -> list[str]:
    best = answer.get("n_best", [answer])
    return [f"{row['score']:9.3f}  {row['prediction']}" for row in best]


def _unknown(model: Model, record: Record, answer: Found) -> Iterator[str]:
    """Name the symbols of the input that the model does not know."""
    count = answer.get("unknown", 0)
    if count and model.x is not None:
        symbols = unknown_symbols(model.x, record[model.x.column], model.x.encode(record))
        yield f"{'':11}{shown(symbols, count)} in the input"


def _draw_attention(model: Model, pairs: Any, path: Path) -> Path:
    from seqpipe.report.examples import AttentionMap, draw_attention

    maps = []
    for record, text in pairs:
        weights, x, y = model.attention(record, text)
        maps.append(AttentionMap(x, y, weights))
    return draw_attention(path, maps)
