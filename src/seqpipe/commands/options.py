"""The options of the commands that use a trained model."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Annotated, Literal

from seqpipe.bounds import (
    BeamSize,
    Count,
    GeneratorSeed,
    LengthPenalty,
    ManyRows,
    NBest,
    Positive,
    Temperature,
    TopP,
    WholeNumber,
)
from seqpipe.config.command_options import option, passed_on
from seqpipe.rules import real
from seqpipe.runs.options import ModelOptions, RunOptions


@dataclass(frozen=True, kw_only=True)
class _Reading(ModelOptions):
    """Options of commands that read raw input."""

    format: Literal["csv", "tsv", "jsonl", "parquet", "lines", "source"] | None = option(
        "of the input; without it by the file's name, else lines of text, else files as the "
        "training's own source reads them",
        None,
    )
    encoding: str | None = option(
        "of text; without it as the training's own text, else utf-8", None
    )
    batch_size: ManyRows = option("examples that are computed at once, at most", 256)
    own_data: bool = option(
        "read the files beside the input that the record names, though it is somebody else's", False
    )


@dataclass(frozen=True, kw_only=True)
class _Decoding(_Reading):
    """Options of commands whose answers may be searched for."""

    beam_size: BeamSize | None = option(
        "of translations and transcripts: hypotheses at each step, 1 is greedy; null: as the test",
        None,
    )
    n_best: NBest = option("answers of each input, at most beam_size", 1)
    length_penalty: LengthPenalty | None = option(
        "of translations: alpha of the length normalisation, 0 for none; null: as the test", None
    )


@dataclass(frozen=True, kw_only=True)
class Predict(_Decoding):
    """Answer raw input: labels, numbers, tags with their spans, translations, forecasts.

    The input is a table (csv, tsv, JSON lines, Parquet) with the column the model reads, a text a
    line, or files as they were trained on. The answers come in the order of the input, with its
    columns; however large it is, a few thousand rows are held at a time.
    """

    input: str = option("a file, a folder, a pattern, or - for standard input")
    output: str = option("a file (.csv .tsv .jsonl .parquet), or - for standard output", "-")
    output_format: Literal["csv", "tsv", "jsonl", "parquet"] | None = option(
        "of the output; without it by the file's name, jsonl on standard output", None
    )
    on_error: Literal["row", "stop"] = option(
        "a row that cannot be answered gets a row with its error, or stops the job", "row"
    )
    columns: bool = option("false: answers only, without the columns of the input", True)


@dataclass(frozen=True, kw_only=True)
class Translate(_Decoding):
    """Write y for x: greedily or by beam search, with scores and a figure of the attention.

    For models of encoder_decoder, and for transcription. Many lines: see predict.
    """

    text: str | None = option("what is translated", None)
    input: str | None = option("in place of text: a file with one a line, or -", None)
    attention: str | None = option("a .png: which steps of x each step of y looked at", None)

    def problems(self) -> Iterator[str]:
        """Yield the options that do not fit together."""
        yield from super().problems()
        yield from _one_of(text=self.text, input=self.input)
        if self.input is None:
            yield from _inert(self, "of an input=...", "format", "encoding", "batch_size")
        if self.attention is not None and not self.attention.endswith(".png"):
            yield f"attention={self.attention}: is a picture; allowed: a name that ends in .png"


@dataclass(frozen=True, kw_only=True)
class Sample(ModelOptions):
    """Write new sequences: text, or music as MIDI and as a picture.

    For models of one_to_many. Each step is drawn from what the model expects there.
    """

    n: ManyRows = option("how many", 1)
    prompt: str = option("text that each sample continues", "")
    condition: str | None = option("a value of x, where the model has one", None)
    temperature: Temperature = option("1: as the model expects; below 1 the likely gains", 1.0)
    top_k: Count | None = option("draw among this many likeliest only", None)
    top_p: TopP | None = option(
        "draw among the likeliest that together have this probability", None
    )
    max_length: ManyRows | None = option(
        "most steps of each; null: the longest y of the training, at most 200", None
    )
    seed: GeneratorSeed = option("the same one draws the same", 0)
    allow_unknown: bool = option("true: <UNK> may be written, and stand in the prompt", False)
    output: str | None = option("a folder for the .mid and .png of music; null: here", None)
    tempo: Positive = option("of music, steps a minute in its MIDI", 120.0)

    def problems(self) -> Iterator[str]:
        """Chance where there is only one to draw."""
        yield from super().problems()
        if self.top_k == 1:
            why = "of what is drawn by chance, and top_k=1 takes the likeliest"
            yield from _inert(self, why, "temperature", "top_p", "seed")


@dataclass(frozen=True, kw_only=True)
class Score(_Reading):
    """Tell how likely a model finds sequences, symbol by symbol, and rank them.

    For language models, and for y given x. In nats; the first of the ranking is the likeliest.
    """

    text: str | None = option("one sequence, or several: 'a pair | a pear'", None)
    condition: str | None = option("of the text: a value of x, where the model has one", None)
    input: str | None = option("in place of text: a file with one a line or a row, or -", None)
    output: str = option("of an input: a file (.csv .tsv .jsonl .parquet), or -", "-")
    tokens: bool = option("true: also each symbol's own log-probability", False)
    unknown: Literal["count", "skip", "refuse"] = option(
        "symbols not in the vocabulary: score <UNK> for them, leave them out, or refuse", "count"
    )

    def problems(self) -> Iterator[str]:
        """Yield the options that do not fit together."""
        yield from super().problems()
        yield from _one_of(text=self.text, input=self.input)
        if self.input is None:
            names = ("format", "encoding", "batch_size", "output")
            yield from _inert(self, "of an input=...", *names)
        else:
            yield from _inert(self, "of text=..., and in the records of an input", "condition")


@dataclass(frozen=True, kw_only=True)
class Evaluate(ModelOptions):
    """Measure the model of a run on a split, or on new labelled data, with intervals and slices.

    Intervals are of the bootstrap over examples. What is found is logged to the same run.
    """

    split: Literal["train", "valid", "test"] | None = option(
        "of the run's data; without it test", None
    )
    input: str | None = option("in place of it: a labelled file, as predict reads one", None)
    format: Literal["csv", "tsv", "jsonl", "parquet", "lines", "source"] | None = option(
        "of the input, see predict", None
    )
    data: tuple[str, ...] = passed_on("changes of the run's data, data.path=...", "data")
    own_data: bool = option(
        "read the files and data sets that the record of somebody else's run names",
        False,
    )
    confidence: Annotated[float, real("(0, 1)")] = option("of the intervals", 0.95)
    resamples: WholeNumber = option("of the bootstrap; 0: no intervals", 1000)
    seed: GeneratorSeed = option("of the resampling", 0)
    log: bool = option("false: print only", True)

    def problems(self) -> Iterator[str]:
        """Yield the options that do not fit together."""
        yield from super().problems()
        if self.input is None and self.format is not None:
            yield f"format={self.format}: is of an input; allowed: with input=..."
        if self.resamples == 0:
            yield from _inert(
                self, "of the bootstrap, and resamples=0 is none", "confidence", "seed"
            )
        for one in self.data:
            key = one.partition("=")[0].lstrip("+~")
            if key.startswith(("data.x", "data.y")) and not key.endswith(".column"):
                allowed = "data.path, data.source.*, data.x.column, data.y.column"
                yield f"{one}: the model reads as it was trained to; allowed: {allowed}"
        if self.input is not None and self.split is not None:
            text = f"is not read with input={self.input}; allowed: one of them"
            yield f"split={self.split}: {text}"
        if self.input is not None and self.data:
            text = f"is not read with input={self.input}; allowed: one of them"
            yield from (f"{one}: {text}" for one in self.data)


@dataclass(frozen=True, kw_only=True)
class Export(ModelOptions):
    """Write the model to use it elsewhere.

    onnx: a graph for other programs, checked against the model at several sizes. safetensors: a
    folder (weights, configuration, vocabulary) that `seqpipe.load` opens without Hydra, MLflow or
    Lightning.
    """

    format: Literal["onnx", "safetensors"] = option("of what is written")
    output: str = option("a new file .onnx, or a new folder")


def _inert(options: RunOptions, why: str, *names: str) -> Iterator[str]:
    """Options that were given and would do nothing."""
    for one in fields(options):
        value = getattr(options, one.name)
        if one.name in names and value != one.default:
            yield f"{one.name}={value}: is {why}; allowed: leave it out"


def _one_of(**given: object) -> Iterator[str]:
    """Exactly one of some options."""
    names = " or ".join(f"{name}=..." for name in given)
    there = [name for name, value in given.items() if value is not None]
    if not there:
        yield f"{next(iter(given))}=: is missing; allowed: {names}"
    elif len(there) > 1:
        typed = " ".join(f"{name}={given[name]}" for name in there)
        yield f"{typed}: exclude each other; allowed: {names}"
