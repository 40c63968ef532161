"""Commands as a user meets them, with one planted in place of the real ones."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import pytest

from seqpipe.commands.dispatch import COMMANDS, PANEL_COMMANDS, split
from seqpipe.config.command_options import first_line, help_of, option, passed_on, read
from seqpipe.errors import ConfigError
from seqpipe.rules import real, text, whole
from seqpipe.runs.options import RunOptions

# Also where the tests run in the background of a shell, which has SIGINT ignored.
INTERRUPTIBLE = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
PLANT = """
import sys, types
from dataclasses import dataclass
from seqpipe.config.command_options import option
from seqpipe.commands import dispatch as registry

@dataclass(frozen=True, kw_only=True)
class Echo:
    '''Say it again.

    Longer words about it.
    '''

    text: str = option("what is said")
    times: int = option("how often", 1)

def run(options, root):
    Answer = registry.Answer
{body}

fake = types.ModuleType("seqpipe.commands.echo")
fake.run = run
sys.modules["seqpipe.commands.echo"] = fake
registry.COMMANDS["echo"] = registry.Command("echo", Echo)
"""
MAIN = """
from seqpipe.cli import main
code = main()
heavy = {"torch", "mlflow", "pytorch_lightning"} & set(sys.modules)
print(*heavy, file=open("imported", "w"))
sys.exit(code)
"""
ANSWER = "    return Answer(f'{options.text} x {options.times}')"


@pytest.fixture
def start(environment) -> Callable[..., "subprocess.Popen[str]"]:
    """Start `seqpipe ...` with `body` as the command `echo`, and come back at once."""

    def run(*arguments: str, body: str = ANSWER) -> "subprocess.Popen[str]":
        code = [sys.executable, "-c", INTERRUPTIBLE + PLANT.format(body=body) + MAIN, *arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(code, text=True, **pipes, **environment)

    return run


@pytest.fixture
def seqpipe(forked, environment) -> Callable[..., tuple[int, str, str]]:
    """(exit code, stdout, stderr); a command that imports a heavy library fails the test."""

    def run(*arguments: str, body: str = ANSWER) -> tuple[int, str, str]:
        done = forked(PLANT.format(body=body) + MAIN, *arguments)
        assert (environment["cwd"] / "imported").read_text().strip() == ""
        return done.returncode, done.stdout, done.stderr

    return run


def test_a_verb_gets_its_options_as_typed_and_says_its_answer(seqpipe):
    typed = 'The apple, and "pear" = 1 {x: [y'
    assert seqpipe("echo", f"text={typed}", "times=3") == (0, f"{typed} x 3\n", "")


def test_mistakes_are_listed_together_before_anything_heavy_is_imported(seqpipe):
    code, out, err = seqpipe("echo", "tmes=2", "times=two", "loud", "--quiet")
    assert (code, out) == (2, "")
    assert err.splitlines() == [
        "seqpipe: 5 problems in the configuration:",
        "  1. tmes=2: not an option of echo; allowed: text, times; did you mean 'times'?",
        "  2. times=two: wrong type; allowed: an integer",
        "  3. loud: has no value; allowed: key=value, in quotes if it has spaces: 'key=two words'",
        "  4. --quiet: no such flag of echo; allowed: --help",
        "  5. text=: is missing; allowed: what is said",
    ]


def test_a_verb_that_does_not_exist_is_refused(seqpipe):
    code, out, err = seqpipe("eco", "text=a")
    assert (code, out) == (2, "")
    commands = ", ".join([*PANEL_COMMANDS, *COMMANDS, "echo"])
    assert err == f"seqpipe: eco: no such command; allowed: {commands}; did you mean 'echo'?\n"


def test_a_key_without_its_value_is_no_verb(seqpipe):
    code, _, err = seqpipe("optim.lr")
    assert code == 2
    assert err.endswith(", or a key with its value: optim.lr=...\n")


def test_help_of_a_verb_and_help_of_the_program(seqpipe):
    code, out, err = seqpipe("echo", "text=a", "--help")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "python -m seqpipe echo text=... [key=value ...]",
        "",
        "Say it again.",
        "",
        "Longer words about it.",
        "",
        "  text   what is said; must be given",
        "  times  how often; an integer; default 1",
    ]
    code, out, err = seqpipe("--help")
    assert (code, err) == (0, "")
    assert "\necho" in out
    assert "  Say it again.\n" in out
    for name, command in COMMANDS.items():
        assert f"\n{name}" in out
        assert f"  {first_line(command.options)}\n" in out


def test_train_is_the_verb_without_a_name(seqpipe):
    code, out, err = seqpipe("train", "--cfg", "job", "depth=3")
    assert (code, err) == (0, "")
    assert "\ndepth: 3\n" in out
    code, _, err = seqpipe("train", "~depth")
    assert code == 2
    assert err.startswith("seqpipe: ~depth: ")


@pytest.mark.parametrize(
    "argv", [[], ["cell=gru"], ["-m", "cell=gru"], ["+a.b=1"], ["~data.x"], ["--help"], [""]]
)
def test_words_without_a_verb_are_left_to_training(argv):
    assert split(argv) == ("train", argv)


@pytest.mark.parametrize(
    ("body", "code", "out", "err"),
    [
        ("    return Answer('differs', 1)", 1, "differs\n", ""),
        ("    return Answer()", 0, "", ""),
        ("    from seqpipe.errors import DataError as E; raise E('a.csv:3: no')", 2, "", "a.csv:3"),
        (
            "    from seqpipe.errors import TrainingError as E; raise E('no')",
            1,
            "",
            "seqpipe: no\n",
        ),
        ("    return 1 / 0", 1, "", "ZeroDivisionError: division by zero\n"),
        ("    raise KeyboardInterrupt", 130, "", "seqpipe: interrupted\n"),
        (
            "    import logging; logging.warning('%s', 'x'); return Answer()",
            0,
            "",
            "WARNING root: x",
        ),
    ],
)
def test_a_verb_ends_as_training_does(seqpipe, body, code, out, err):
    done = seqpipe("echo", "text=a", body=body)
    assert done[:2] == (code, out)
    assert err in done[2] if err else done[2] == ""
    assert ("Traceback" in done[2]) == ("1 / 0" in body)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_closes_what_is_open_and_ends_with_its_code(environment, start, number, code):
    body = (
        "    import time\n"
        "    try:\n"
        "        open('started', 'w').close()\n"
        "        time.sleep(60)\n"
        "    finally:\n"
        "        open('closed', 'w').close()\n"
    )
    running = start("echo", "text=a", body=body)
    deadline = time.monotonic() + 60
    while not (environment["cwd"] / "started").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    running.send_signal(number)
    _, err = running.communicate(timeout=60)
    assert running.returncode == code
    assert (environment["cwd"] / "closed").exists()
    assert err == f"seqpipe: {'terminated' if code == 143 else 'interrupted'}\n"


def test_whoever_reads_a_stream_may_stop_reading(environment):
    body = "    for _ in range(100_000): print(options.text)\n    return Answer()"
    script = environment["cwd"] / "main.py"
    script.write_text(PLANT.format(body=body) + MAIN)
    line = f"{sys.executable} {script} echo text=a | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, check=True, **environment
    )
    assert (done.stdout, done.stderr) == ("a\n0\n", "")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_needs_nothing_heavy(environment, forked, command):
    done = forked("import sys" + MAIN, command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert (environment["cwd"] / "imported").read_text().strip() == ""
    assert done.stdout.startswith(f"python -m seqpipe {command} ")
    assert max(map(len, done.stdout.splitlines())) <= 100
    assert os.listdir(environment["cwd"]) == ["imported"]


@dataclass(frozen=True, kw_only=True)
class Every:
    """Options of every type."""

    path: str = option("a path")
    n: Annotated[int, whole(1)] = option("how many", 5)
    heat: Annotated[float, real("(0, inf)")] = option("a number", 1.0)
    seed: Annotated[int, whole(0)] | None = option("of chance", None)
    format: Literal["csv", "jsonl"] = option("how it is written", "csv")
    loud: bool = option("a switch", False)
    shares: tuple[Annotated[float, real("[0, 1]")], ...] = option("some numbers", ())
    by: tuple[Literal["length", "class"], ...] = option("some words", ("length",))
    name: Annotated[str, text(r"\w+", "letters")] = option("a name", "a")
    said: str | None = option("a text or none", None)
    overrides: tuple[str, ...] = passed_on("of the run's configuration", "data", "task")

    def problems(self):
        if self.loud and self.n > 5:
            yield f"n={self.n}: is too many with loud=true; allowed: up to 5"


def typed(*words: str) -> Every:
    return read(Every, ["path=p", *words], "every")


@pytest.mark.parametrize(
    ("word", "name", "value"),
    [
        ("path=a=b", None, None),
        ("n=7", "n", 7),
        ("heat=2", "heat", 2.0),
        ("heat=1e-3", "heat", 0.001),
        ("seed=null", "seed", None),
        ("said=null", "said", "null"),
        ("said=3", "said", "3"),
        ("said=", "said", ""),
        ("seed=3", "seed", 3),
        ("format=jsonl", "format", "jsonl"),
        ("loud=true", "loud", True),
        ("shares=[0.5, 1]", "shares", (0.5, 1.0)),
        ("shares=0.5", "shares", (0.5,)),
        ("by=[class,length]", "by", ("class", "length")),
        ("data.path=my file.csv", "overrides", ("data.path=my file.csv",)),
        ("+data.source.x=1", "overrides", ("+data.source.x=1",)),
    ],
)
def test_a_word_becomes_a_value_of_the_options_type(word, name, value):
    if name is None:
        assert read(Every, [word], "every").path == "a=b"
        return
    found = getattr(typed(word), name)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("n=0", "n=0: out of range; allowed: an integer >= 1"),
        ("n=1.5", "n=1.5: wrong type; allowed: an integer >= 1"),
        ("n=null", "n=null: wrong type; allowed: an integer >= 1"),
        ("heat=nan", "heat=nan: out of range; allowed: a number > 0"),
        ("heat=", "heat=: wrong type; allowed: a number > 0"),
        ("seed=-1", "seed=-1: out of range; allowed: an integer >= 0 or null"),
        (
            "format=json",
            "format=json: unknown choice; allowed: csv, jsonl; did you mean 'jsonl'?",
        ),
        ("loud=1", "loud=1: wrong type; allowed: true or false"),
        (
            "shares=[0.5,2]",
            "shares=[0.5,2]: out of range; allowed: a list, each a number in [0, 1]",
        ),
        ("by=[size]", "by=[size]: out of range; allowed: a list, each length, class"),
        ("name=a b", "name=a b: wrong form; allowed: letters"),
        ("path=q", "path=q: path is given twice; allowed: once"),
        ("overrides=x", "overrides=x: not an option of every; allowed: path, n, heat, seed, "),
        ("model.path=x", "model.path=x: not an option of every; allowed: path, n, heat, seed, "),
    ],
)
def test_a_value_that_is_not_allowed_is_refused_as_typed(word, message):
    with pytest.raises(ConfigError) as caught:
        typed(word)
    (problem,) = caught.value.problems
    assert problem.startswith(message)


def test_options_that_do_not_fit_together_are_refused():
    with pytest.raises(ConfigError, match="n=6: is too many with loud=true; allowed: up to 5"):
        typed("n=6", "loud=true")


def test_help_tells_types_limits_and_defaults():
    lines = {line.split()[0]: line for line in help_of(Every, "every").splitlines() if line}
    assert lines["path"].endswith("  a path; must be given")
    assert lines["heat"].endswith("  a number; a number > 0; default 1.0")
    assert lines["seed"].endswith("  of chance; an integer >= 0 or null")
    assert lines["loud"].endswith("  a switch; true or false; default false")
    assert lines["by"].endswith("  some words; a list, each length, class; default [length]")
    assert lines["data.*,"].endswith("data.*, task.*  of the run's configuration")


def test_options_that_only_choose_among_runs_are_refused_where_a_run_is_named():
    with pytest.raises(ConfigError) as caught:
        read(RunOptions, ["run=abc1", "experiment=digits", "metric=val/loss"], "look")
    assert caught.value.problems == [
        "experiment=digits: has no effect with run=abc1; allowed: with run=latest or run=best",
        "metric=val/loss: has no effect with run=abc1; allowed: with run=best",
    ]
    assert read(RunOptions, ["run=latest", "experiment=digits"], "look").experiment == "digits"
