"""What the commands that use a model refuse: a command, a model, options, and the message."""

from pathlib import Path

import pytest

from seqpipe.commands.dispatch import COMMANDS
from seqpipe.config.command_options import read
from seqpipe.errors import ConfigError, DataError

FILES = {
    "in.csv": "id,text\n1,cat\n2,\n",
    "empty.csv": "id,text\n",
    "in.txt": "the\n\n",
    "blank.csv": 'text,n\na,1\n"",2\n',
    "plain.jsonl": '{"text": "the cat"}\n',
    "ugly.jsonl": '{"text": "the cat", "label": "ugly"}\n',
    "out.csv": "as it was",
}
TEXT, WORDS = "category of text", "words"
SAME = "output=F/in.csv: is the input; allowed: another file"
NO_NAME = (
    "output=F/out.xls: its name does not determine the format; allowed: a name that ends in .csv,"
    " .tsv, .tab, .jsonl, .ndjson, .json, .parquet, .gff3, .gff, .bed, or output_format=..."
)
FOLDER = "output=F/folder.csv: is a folder; allowed: a file, or -"
EMPTY = "is empty, x has no steps; allowed: one or more"
REFUSED = [
    ("predict", TEXT, "input=F/in.csv output=F/in.csv", SAME),
    ("predict", TEXT, "input=F/in.csv output=F/link.csv", SAME.replace("in.csv", "link.csv")),
    ("score", WORDS, "input=F/in.csv output=F/in.csv", SAME),
    ("predict", TEXT, "input=F/in.csv output=F/out.xls", NO_NAME),
    ("score", WORDS, "input=F/in.csv output=F/out.xls", NO_NAME),
    ("predict", TEXT, "input=F/in.csv output=F/folder.csv", FOLDER),
    ("score", WORDS, "input=F/in.csv output=F/folder.csv", FOLDER),
    ("predict", TEXT, "input=F/in.csv output=F/in.csv/x.csv", "output=F/in.csv/x.csv: cannot be w"),
    (
        *("predict", TEXT, "input=F/empty.csv output=F/out.csv"),
        "input=F/empty.csv: has no rows; allowed: one row or more",
    ),
    (
        *("score", WORDS, "input=F/empty.csv output=F/out.csv"),
        "input=F/empty.csv: has no rows; allowed: one row or more",
    ),
    (
        *("predict", TEXT, "input=F/in.csv output=F/out.csv on_error=stop"),
        f"F/in.csv:3: text: {EMPTY}",
    ),
    ("score", WORDS, "input=F/blank.csv", "F/blank.csv:3: text: has no steps; allowed: one or mo"),
    ("score", "lines", "text=", "text=: holds no sequence; allowed: one or more"),
    ("score", "lines", "text=' | '", "text= | : holds no sequence; allowed: one or more"),
    (
        *("score", WORDS, "text='the zebra sat' unknown=refuse"),
        "text: holds 1 unknown symbol ('zebra'); allowed: ",
    ),
    ("translate", "translation", "input=F/in.txt", "F/in.txt:2: "),
    (
        *("translate", TEXT, "text=a"),
        "task=classification: does not write a sequence; allowed: predict, or a run of encoder_",
    ),
    (
        *("translate", "transcript", "text=a attention=a.png"),
        "attention=a.png: the model has no attention to draw; allowed: leave it out",
    ),
    (
        "sample",
        "lines",
        "output=F/out.csv",
        "output=F/out.csv: already exists; allowed: a new name",
    ),
    ("sample", "lines", "tempo=60", "tempo=60.0: is an option for music, but the model writes tex"),
    ("evaluate", TEXT, "input=F/plain.jsonl", "F/plain.jsonl:1: column=label: not in the record"),
    ("evaluate", TEXT, "input=F/ugly.jsonl", "F/ugly.jsonl:1: label='ugly': "),
    (
        *("export", TEXT, "format=onnx output=F/graph"),
        "output=F/graph: wrong form; allowed: a name that ends in .onnx",
    ),
    (
        *("export", TEXT, "format=safetensors output=F/out.csv"),
        "output=F/out.csv: already exists; allowed: a new name",
    ),
]


@pytest.fixture
def place(tmp_path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "link.csv").symlink_to(tmp_path / "in.csv")
    (tmp_path / "folder.csv").mkdir()
    return tmp_path


@pytest.mark.parametrize(("command", "name", "typed", "message"), REFUSED)
def test_a_command_refuses_and_writes_nothing(run_command, place, command, name, typed, message):
    before = sorted(place.iterdir())
    with pytest.raises((ConfigError, DataError)) as caught:
        run_command(command, name, typed.replace("F/", f"{place}/"))
    (problem,) = caught.value.problems
    assert problem.startswith(message.replace("F/", f"{place}/"))
    assert sorted(p for p in place.iterdir() if p.name not in ("runs", "outputs")) == before
    assert (place / "out.csv").read_text() == "as it was"


@pytest.mark.parametrize(
    ("command", "words", "wrong"),
    [
        ("evaluate", ["resamples=0", "seed=3"], "seed=3: has no effect with resamples=0; allowed"),
        ("evaluate", ["resamples=0", "confidence=0.9"], "confidence=0.9: has no effect with re"),
        ("score", ["text=a", "batch_size=3"], "batch_size=3: has no effect without input=...; "),
        ("score", ["text=a", "output=o.csv"], "output=o.csv: has no effect without input=...; "),
        ("translate", ["text=a", "encoding=latin-1"], "encoding=latin-1: has no effect witho"),
        ("translate", ["text=a", "format=csv"], "format=csv: has no effect without input=...; "),
        ("sample", ["top_k=1", "temperature=0.5"], "temperature=0.5: has no effect, as top_k=1 a"),
        ("sample", ["top_k=1", "top_p=0.9"], "top_p=0.9: has no effect, as top_k=1 always takes "),
        ("sample", ["top_k=1", "seed=3"], "seed=3: has no effect, as top_k=1 always takes the mo"),
    ],
)
def test_options_that_would_do_nothing_are_refused(command, words, wrong):
    with pytest.raises(ConfigError) as refused:
        read(COMMANDS[command].options, ["run=latest", *words], command)
    (problem,) = refused.value.problems
    assert problem.startswith(wrong)


def test_options_of_chance_are_taken_where_something_is_drawn():
    assert read(COMMANDS["sample"].options, ["run=latest", "top_k=1", "n=2"], "sample").n == 2
    assert read(COMMANDS["sample"].options, ["run=latest", "top_k=2", "seed=3"], "sample").seed == 3
