"""Comparison of the samples of a run with its training split, for people and for its record."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seqpipe.errors import ConfigError
from seqpipe.inference.generate import is_in_pieces
from seqpipe.inference.model import Model
from seqpipe.inference.novelty import Novelty, compare
from seqpipe.inference.unknown_symbols import ids_of_answer
from seqpipe.runs.measured_data import load_split
from seqpipe.tracking.run_additions import add_to_run
from seqpipe.tracking.run_record import RunRecord


def check_comparable(model: Model) -> None:
    """Refuse samples that cannot be compared with the training split.

    Raises:
        ConfigError: the model does not write texts.
    """
    if not model.spec.y.is_text:
        text = "compares texts, but the model writes piano rolls; allowed: leave it out"
        raise ConfigError(f"novelty=true: {text}")


def compare_with_training(
    model: Model,
    found: RunRecord,
    root: Path,
    prompt: str,
    samples: Sequence[str],
    *,
    own_data: bool,
    trust: Sequence[str],
) -> tuple[Novelty, str]:
    """Compare samples with the training split of the run, which is read as `evaluate` reads it.

    A model of whole examples wrote one with its prompt: prompt and sample are compared. In one
    long text read in pieces, the prompt may well be a passage of it, and is left out.

    Args:
        model: the run's model, which writes texts.
        found: the run.
        root: the folder the user works in.
        prompt: the text that each sample continues, or nothing.
        samples: as drawn, without the prompt; at least one.
        own_data: see `load_split`.
        trust: see `load_split`.

    Returns:
        the comparison, and a sentence for people.

    Raises:
        ConfigError: data that may not be read.
        DataError: the data cannot be read, or are no longer those of the training.
    """
    in_pieces = is_in_pieces(model.config["data"])
    how: dict[str, Any] = {"typed": None, "own_data": own_data, "trust": trust}
    data, _ = load_split(model, found, root, {}, split="train", **how)
    column = data.columns("train").y
    joined = [prompt + model.y.between(prompt, text) + text for text in samples]
    written = samples if in_pieces else joined
    ids = [ids_of_answer(model.y, text)[:-1].numpy() for text in written]
    novelty = compare(ids, column, in_pieces=in_pieces)
    where = "occur in its text" if in_pieces else f"equal one of its {column.rows:,} examples"
    count, known = len(samples), sum(novelty.known)
    some = f"{known:,} of {count:,} samples {where}"
    unit = model.spec.y.unit or "symbols"
    passage = f"longest copied passage: {novelty.longest:,} {unit} (mean {novelty.mean:.1f})"
    return novelty, f"compared with the training split: {some}; {passage}"


def record_novelty(
    found: RunRecord, novelty: Novelty, texts: Sequence[str], temperature: float, seed: int
) -> str:
    """Add a comparison to the record of its run: metrics `samples/...`, and a table of samples.

    Returns:
        the places where it was written.

    Raises:
        TrackingError: the run cannot be written to.
    """
    metrics = {
        "samples/in_training": novelty.share,
        "samples/longest_copy": float(novelty.longest),
        "samples/mean_copy": novelty.mean,
    }
    rows = [
        {"sample": text, "in_training": known, "longest_copy": copied, "temperature": temperature}
        for text, known, copied in zip(texts, novelty.known, novelty.copied, strict=True)
    ]
    return add_to_run(found, metrics, f"samples seed-{seed}", rows)
