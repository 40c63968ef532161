"""Runs every command that applies to each of the five architectures, each in a shell of its own.

    python benchmarks/every_command.py --folder FOLDER [--only dates]

Trains one model of each for a minute or less on embedded data in FOLDER, then predicts, samples,
scores, evaluates, reruns, exports, serves and registers. The output is kept in FOLDER. When all
five models are there, it is written into docs/use.md between its marks. A command that fails ends
the script.
"""

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

DOC = Path(__file__).parent.parent / "docs" / "use.md"
START, END = "<!-- made by benchmarks/every_command.py -->", "<!-- end -->"
LINES, WIDTH = 9, 116  # of an answer, as it is shown
SEQPIPE = "python -m seqpipe"
MEASURE = "evaluate run={name} resamples=200"
AGAIN = ["rerun run={name}", "export run={name} format=safetensors output={name}_exported"]
GRAPH = "export run={name} format=onnx output={name}.onnx"
NAMED = "register run={name} name={name} alias=champion"
INPUTS = {"tokens": "x = 1\nimport os  # files\n", "dates": "3 May 1979\nSaturday 8 June 2019\n"}
TRAINED = {
    "digits": ("many_to_one", "experiment=digits bidirectional=true"),
    "flat": ("one_to_one", "experiment=digits_flat"),
    "tokens": ("many_to_many", "experiment=python_tokens trainer.max_steps=130"),
    "docs": ("one_to_many", "experiment=python_docs trainer.max_steps=200"),
    "dates": ("encoder_decoder", "experiment=dates trainer.max_steps=1000"),
}
ASKED = {
    "digits": ["predict run={name} input=digits.jsonl output_format=csv columns=false", GRAPH],
    "flat": ["predict run={name} input=flat.jsonl output_format=csv columns=false", GRAPH],
    "tokens": ["predict run={name} input=tokens.txt", GRAPH],
    "docs": [
        "sample run={name} n=2 prompt='The function ' temperature=0.7 max_length=60 seed=1",
        "score run={name} text='the function returns | returns function the'",
        GRAPH,
    ],
    "dates": [
        "predict run={name} input=dates.txt beam_size=5 n_best=2",
        "translate run={name} text='3 May 1979' beam_size=5 n_best=3 attention=attention.png",
        "score run={name} input=pairs.jsonl",
    ],
}


def main() -> None:
    """Runs all and writes the transcript."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="empty; made where it is not")
    parser.add_argument("--only", choices=TRAINED, default=None)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    os.chdir(arguments.folder)
    for name, (architecture, options) in TRAINED.items():
        if arguments.only in (None, name):
            told = [f"### {architecture}\n", "```text", *one(name, options), "```"]
            Path(f"{name}.md").write_text("\n".join(told))
    files = [Path(f"{name}.md") for name in TRAINED]
    if all(file.is_file() for file in files):
        text = "\n\n".join(file.read_text() for file in files)
        before, _, rest = DOC.read_text().partition(START)
        DOC.write_text(f"{before}{START}\n\n{text}\n\n{END}{rest.partition(END)[2]}")


def one(name: str, options: str) -> Iterator[str]:
    """The transcript of one model."""
    trained = said(f"{SEQPIPE} {options}")
    yield f"$ {SEQPIPE} {options}"
    yield from (line for line in trained if line.startswith(("best epoch", "test:")))
    (folder,) = (line.split()[-1] for line in trained if line.startswith("folder:"))
    Path(name).symlink_to(Path(folder).expanduser())
    write_inputs(name)
    for words in [*ASKED[name], MEASURE, *AGAIN, NAMED]:
        command = f"{SEQPIPE} {words.format(name=name)}"
        yield f"$ {command}"
        yield from cut(said(command))
    yield from served(name)
    command = f"python -c \"import seqpipe; print(seqpipe.load('{name}_exported'))\""
    yield f"$ {command}"
    yield from cut(said(command))


def write_inputs(name: str) -> None:
    """What the model is asked: texts, or the examples that its run keeps."""
    if name in INPUTS:
        Path(f"{name}.txt").write_text(INPUTS[name])
    example = json.loads(Path(name, "model", "input_example.json").read_text())
    if isinstance(example, dict) and "columns" in example:
        rows = [dict(zip(example["columns"], row, strict=True)) for row in example["data"]]
        Path(f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    if name == "dates":
        pairs = [("3 May 1979", "1979-05-03"), ("3 May 1979", "1979-03-05")]
        rows = [{"human": human, "iso": iso} for human, iso in pairs]
        Path("pairs.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def said(command: str) -> list[str]:
    """What a command prints, by a shell of its own.

    Raises:
        SystemExit: it fails.
    """
    print(f"$ {command}", file=sys.stderr, flush=True)
    done = subprocess.run(in_shell(command), shell=True, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{command}\nended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout.splitlines()


def served(name: str) -> Iterator[str]:
    """The answer to the curl line that the server prints."""
    command = f"{SEQPIPE} serve run={name} port=5001"
    yield f"$ {command}"
    print(f"$ {command}", file=sys.stderr, flush=True)
    running = subprocess.Popen(
        f"exec {in_shell(command)}",
        shell=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert running.stdout is not None
    curl = next(line for line in running.stdout if line.startswith("curl "))
    yield from cut([f"$ {curl.rstrip()}"])
    yield from cut(said(curl))
    running.send_signal(signal.SIGINT)
    running.wait(30)
    time.sleep(1)  # until the port is free


def in_shell(command: str) -> str:
    """`python` is this one."""
    return command.replace("python ", f"{shlex.quote(sys.executable)} ", 1)


def cut(lines: list[str]) -> Iterator[str]:
    """Some lines of an answer, as wide as a page."""
    plain = [line.rstrip().replace(f"{Path.cwd()}/", "") for line in lines if line.strip()]
    if len(plain) > LINES + 1:
        plain[LINES:-1] = [f"... ({len(plain) - LINES - 1} more lines)"]
    for line in plain:
        yield line if len(line) <= WIDTH else f"{line[: WIDTH - 3]}..."


if __name__ == "__main__":
    main()
