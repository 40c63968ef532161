"""The options of the commands that do not train, one dataclass each."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Annotated, Literal

from seqpipe.bounds import (
    BeamSize,
    Count,
    GeneratorSeed,
    LengthPenalty,
    LMBonus,
    LMWeight,
    ManyRows,
    NBest,
    NotNegative,
    Temperature,
    Threads,
    TopP,
    WholeNumber,
)
from seqpipe.config.command_options import option, passed_on
from seqpipe.rules import real, whole
from seqpipe.runs.options import ModelOptions, RunOptions

REGIONS = ("gff3", "gff", "bed")
"""Formats of regions, and ends of the names of such files."""


@dataclass(frozen=True, kw_only=True)
class _Reading(ModelOptions):
    """Options of commands that read raw input."""

    format: Literal["csv", "tsv", "jsonl", "parquet", "lines", "source"] | None = option(
        "how to read the input; source: like the files of the training; null: chosen by the file "
        "name and the content",
        None,
    )
    encoding: str | None = option(
        "encoding of text files; by default that of the training, or utf-8", None
    )
    batch_size: ManyRows = option("the largest number of examples computed at once", 256)
    own_data: bool = option(
        "also read files beside the input that another person's model names", False
    )


@dataclass(frozen=True, kw_only=True)
class _Fused(ModelOptions):
    """Options of a language model that is read in the search for transcripts."""

    lm: str | None = option(
        "for transcripts by CTC, with a beam: the run of a language model (architecture="
        "one_to_many) of the same symbols, whose probabilities are added",
        None,
    )
    lm_weight: LMWeight = option("factor of the language model's log-probabilities", 0.5)
    lm_bonus: LMBonus = option(
        "nats added for each symbol, against answers that are too short", 0.0
    )

    def problems(self) -> Iterator[str]:
        """Yield the options that do not fit together."""
        yield from super().problems()
        if self.lm is None:
            text = "has no effect without lm=..."
            yield from _inert(self, text, "lm_weight", "lm_bonus")


@dataclass(frozen=True, kw_only=True)
class _Decoding(_Reading, _Fused):
    """Options of commands whose answers may be searched for."""

    beam_size: BeamSize | None = option(
        "for translations and transcripts: hypotheses kept at each step; 1: greedy; null: as in "
        "the test",
        None,
    )
    n_best: NBest = option("answers for each input, at most beam_size", 1)
    length_penalty: LengthPenalty | None = option(
        "for translations: alpha of the length normalisation; 0: none; null: as in the test", None
    )
    unknown: Literal["keep", "ban", "copy"] | None = option(
        "for translations: keep <UNK>, ban it, or copy the symbol of x that it attends to; null: "
        "as in the test",
        None,
    )


@dataclass(frozen=True, kw_only=True)
class Predict(_Decoding):
    """Answer raw input: labels, numbers, tags with their spans, translations, forecasts.

    The input is a table (csv, tsv, JSON lines, Parquet) with the column that the model reads, a
    text file with one text per line, or files of the kind used in training. The output has one row
    for each input row, in the same order, with its columns. Only a few thousand rows are in memory
    at a time, however large the input is.
    """

    input: str = option("a file, a folder, a glob pattern, or - for standard input")
    output: str = option(
        "a file (.csv .tsv .jsonl .parquet; of tags also .gff3 .bed), or - for standard output", "-"
    )
    output_format: Literal["csv", "tsv", "jsonl", "parquet", "gff3", "bed"] | None = option(
        "format of the output; null: chosen by the file name, jsonl on standard output", None
    )
    on_error: Literal["row", "stop"] = option(
        "a row that cannot be read: row writes its error to the output, stop ends the command",
        "row",
    )
    columns: bool = option("also write the columns of the input", True)

    def problems(self) -> Iterator[str]:
        """Yield the options that do not fit together."""
        yield from super().problems()
        if not self.columns and (self.output_format or self.output.rpartition(".")[2]) in REGIONS:
            text = "regions need the ids and places that the input has; allowed: columns=true"
            yield f"columns=false: {text}"


@dataclass(frozen=True, kw_only=True)
class Translate(_Decoding):
    """Write a sequence for a sequence, greedily or by beam search, with scores and attention.

    For models with architecture=encoder_decoder or task=transcription. To translate a large file,
    use predict.
    """

    text: str | None = option("the text to translate", None)
    input: str | None = option(
        "instead of text: a file with one text per line, or - for standard input", None
    )
    attention: str | None = option(
        "draw the attention of each step of y over the steps of x to this .png", None
    )

    def problems(self) -> Iterator[str]:
        """Yield the options that do not fit together."""
        yield from super().problems()
        yield from _one_of(text=self.text, input=self.input)
        if self.input is None:
            yield from _inert(
                self, "has no effect without input=...", "format", "encoding", "batch_size"
            )
        if self.attention is not None and not self.attention.endswith(".png"):
            yield f"attention={self.attention}: wrong form; allowed: a name that ends in .png"


@dataclass(frozen=True, kw_only=True)
class Sample(ModelOptions):
    """Write new sequences: text, tunes in ABC notation, or music as MIDI files and pictures.

    For models with architecture=one_to_many. Each symbol is drawn at random from the distribution
    that the model predicts.
    """

    n: ManyRows = option("number of samples", 1)
    prompt: str = option(
        "text at the start of each sample; of music, a file that each sample continues: "
        "prompt=tune.mid",
        "",
    )
    prompt_steps: Count | None = option(
        "read this many first steps of a prompt file (rows of a roll, events, characters); null: "
        "all",
        None,
    )
    condition: str | None = option("the value of x, for models with a condition", None)
    temperature: Temperature = option(
        "divides the logits; below 1 the samples are more predictable", 1.0
    )
    top_k: Count | None = option(
        "draw only among this many of the most likely symbols; null: all", None
    )
    top_p: TopP | None = option(
        "draw only among the most likely symbols that together have this probability; null: all",
        None,
    )
    max_length: ManyRows | None = option(
        "the most steps of a sample; null: the longest y of the training, at most 200", None
    )
    seed: GeneratorSeed = option("random seed; the same seed writes the same samples", 0)
    allow_unknown: bool = option("allow <UNK> in the samples and in the prompt", False)
    output: str | None = option(
        "text: a file to write the samples to; music: the folder for .mid and .png files, by "
        "default this folder",
        None,
    )
    tempo: Annotated[float, real("[4, 10000]")] | None = option(  # what MIDI can hold
        "for music in beats: quarter notes per minute in the MIDI file; null: as in a MIDI prompt, "
        "else 120",
        None,
    )
    novelty: bool = option(
        "compare text with the training split: how many samples are copies, and the longest "
        "copied passage",
        False,
    )
    log: bool = option("with novelty=true: add the result to the record of the run", True)
    own_data: bool = option(
        "with novelty=true: read the files and data sets that another person's run names", False
    )

    def problems(self) -> Iterator[str]:
        """Yield options that would do nothing."""
        yield from super().problems()
        if not self.novelty:
            yield from _inert(self, "has no effect without novelty=true", "log", "own_data")
        if self.top_k == 1:
            why = "has no effect, as top_k=1 always takes the most likely symbol"
            yield from _inert(self, why, "temperature", "top_p", "seed")


@dataclass(frozen=True, kw_only=True)
class Score(_Reading):
    """Compute the log-probability of sequences, whole or symbol by symbol, and rank them.

    For language models, and for models that write a y given an x. In nats; the most likely
    sequence comes first.
    """

    text: str | None = option("one sequence, or several separated by |: 'a pair | a pear'", None)
    condition: str | None = option("the value of x for the text, for models with a condition", None)
    input: str | None = option(
        "instead of text: a file with one sequence per line or row, or -", None
    )
    output: str = option("for an input: a file (.csv .tsv .jsonl .parquet), or -", "-")
    tokens: bool = option("also print the log-probability of each symbol", False)
    unknown: Literal["count", "skip", "refuse"] = option(
        "symbols that are not in the vocabulary: count scores them as <UNK>, skip leaves them out, "
        "refuse ends the command",
        "count",
    )

    def problems(self) -> Iterator[str]:
        """Yield the options that do not fit together."""
        yield from super().problems()
        yield from _one_of(text=self.text, input=self.input)
        if self.input is None:
            names = ("format", "encoding", "batch_size", "output")
            yield from _inert(self, "has no effect without input=...", *names)
        else:
            yield from _inert(
                self, "belongs to text=...; an input has its own column for it", "condition"
            )


@dataclass(frozen=True, kw_only=True)
class Evaluate(_Fused):
    """Measure the model of a run on a split, or on new labelled data, with intervals and slices.

    Confidence intervals come from the bootstrap over examples. The metrics are added to the run.
    """

    split: Literal["train", "valid", "test"] | None = option(
        "the split of the run's data to measure; null: test", None
    )
    input: str | None = option("measure a file with labels instead of a split", None)
    format: Literal["csv", "tsv", "jsonl", "parquet", "lines", "source"] | None = option(
        "how to read the input, see predict", None
    )
    data: tuple[str, ...] = passed_on(
        "change keys of the run's data, such as data.path=...", "data"
    )
    own_data: bool = option(
        "read the files and data sets that another person's run names",
        False,
    )
    beam_size: BeamSize | None = option(
        "for translations and transcripts: see predict; null: as in the test", None
    )
    confidence: Annotated[float, real("(0, 1)")] = option("level of the confidence intervals", 0.95)
    resamples: WholeNumber = option("number of bootstrap resamples; 0: no intervals", 1000)
    seed: GeneratorSeed = option("random seed of the resampling", 0)
    log: bool = option("add the metrics to the record of the run", True)

    def problems(self) -> Iterator[str]:
        """Yield the options that do not fit together."""
        yield from super().problems()
        if self.input is None and self.format is not None:
            yield f"format={self.format}: has no effect without input=...; allowed: also input=..."
        if self.resamples == 0:
            yield from _inert(self, "has no effect with resamples=0", "confidence", "seed")
        for one in self.data:
            key = one.partition("=")[0].lstrip("+~")
            if key.startswith(("data.x", "data.y")) and not key.endswith(".column"):
                allowed = "data.path, data.source.*, data.x.column, data.y.column"
                yield f"{one}: the model reads as it was trained to; allowed: {allowed}"
        if self.input is not None and self.split is not None:
            text = f"cannot be combined with input={self.input}; allowed: one of them"
            yield f"split={self.split}: {text}"
        if self.input is not None and self.data:
            text = f"cannot be combined with input={self.input}; allowed: one of them"
            yield from (f"{one}: {text}" for one in self.data)


@dataclass(frozen=True, kw_only=True)
class Export(ModelOptions):
    """Write the model to a file or folder, to use it elsewhere.

    format=onnx writes a graph for other programs, and checks it against the model at several
    sizes. format=safetensors writes a folder (weights, configuration, vocabulary) that
    `seqpipe.load` opens without Hydra, MLflow or Lightning.
    """

    format: Literal["onnx", "safetensors"] = option("the format to write")
    output: str = option("a new .onnx file, or a new folder for safetensors")


def _inert(options: RunOptions, why: str, *names: str) -> Iterator[str]:
    """Yields options that were given and would do nothing."""
    for one in fields(options):
        value = getattr(options, one.name)
        if one.name in names and value != one.default:
            yield f"{one.name}={value}: {why}; allowed: leave it out"


def _one_of(**given: object) -> Iterator[str]:
    """Yields a problem unless exactly one of some options is given."""
    names = " or ".join(f"{name}=..." for name in given)
    there = [name for name, value in given.items() if value is not None]
    if not there:
        yield f"{next(iter(given))}=: is missing; allowed: {names}"
    elif len(there) > 1:
        typed = " ".join(f"{name}={given[name]}" for name in there)
        yield f"{typed}: exclude each other; allowed: {names}"


@dataclass(frozen=True, kw_only=True)
class Rerun(RunOptions):
    """Train a run again and compare the metrics, bit for bit.

    Restores configuration, seed and number of threads from the record of the run. Lists differences
    of code, machine and data, then trains. The new run has the tag rerun_of. The exit code is 0 if
    all metrics are the same, and 1 if one differs.
    """

    tolerance: NotNegative = option(
        "largest allowed difference of a metric, relative to its old value", 0.0
    )
    threads: Threads | None = option("number of threads; by default that of the run", None)
    strict: bool = option("stop before training if code, machine or data differ", False)
    own_code: bool = option("allow the import of classes that are not part of seqpipe", False)
    own_data: bool = option(
        "read the files and data sets that another person's run names",
        False,
    )


@dataclass(frozen=True, kw_only=True)
class Serve(RunOptions):
    """Answer requests over HTTP with a run's model, using MLflow's scoring server.

    Starts `mlflow models serve` in this environment, sends one request, and prints the curl
    command for it. Ctrl-C ends it.
    """

    host: str = option("address to listen on; 0.0.0.0: reachable from other machines", "127.0.0.1")
    port: Annotated[int, whole(0, 65535)] = option("port to listen on; 0: any free one", 5001)
    workers: Annotated[int, whole(1, 256)] = option("number of processes", 1)
    register: str | None = option("register the model under this name in MLflow's registry", None)
    alias: str | None = option("alias of the registered version, such as champion", None)

    def problems(self) -> Iterator[str]:
        """Options that do not fit together."""
        yield from super().problems()
        if self.alias is not None and self.register is None:
            text = "has no effect without register=...; allowed: also register=..."
            yield f"alias={self.alias}: {text}"


@dataclass(frozen=True, kw_only=True)
class Register(RunOptions):
    """Register a run's model under a name in MLflow's model registry.

    Afterwards run=models:/name@alias finds it, in seqpipe and in MLflow. A run that is already
    registered under the name keeps its version.
    """

    name: str = option("a name for the registered model, new or existing")
    alias: str | None = option(
        "alias of the version, such as champion; any other version loses it", None
    )


@dataclass(frozen=True, kw_only=True)
class Sync:
    """Send what runs could not send to their MLflow store.

    A run keeps what its store did not take in unsent/ of its folder: with logger.offline=true all
    of its record. What was sent is removed from there, and nothing is recorded twice. The exit
    code is 1 if anything remains.
    """

    run: str | None = option(
        "a run folder, or one that holds run folders; by default all below outputs/", None
    )
    tracking_uri: str | None = option(
        "the MLflow store to send to; by default the one that each run was started with", None
    )
