"""Command lines of any words: each is accepted, or refused with clear messages before it works.

More of them, other ones each time: make fuzz
"""

import dataclasses
import shlex
import sys

import pytest
from hypothesis import example, given, note, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

import refusals
from forking import SEQPIPE
from seqpipe import cli
from seqpipe.commands.dispatch import COMMANDS, call, split
from seqpipe.config.compose import compose
from seqpipe.config.config_view import leaves
from seqpipe.config.paths import conf_dir
from seqpipe.errors import ConfigError
from time_limits import time_limit

SECONDS = 60
LONGEST = 4000  # characters of a message
ODD_VALUES = (
    *("", "null", "nan", "inf", "-inf", "1e999", "-1", "0", "1", "1.5", "true", "9" * 40, "0x10"),
    *("[]", "{}", "[1,2", "[1,2]", "{a:1}", "{a:{b:[1]}}", "[" * 300, "(", ")", "}", "a,", "a:b"),
    *("${seed}", "${nothing}", "${oc.env:HOME}", "${oc.env:NO_SUCH}", "${now:%Y}", "${resolve:x}"),
    *("'", '"', "\\", "a b", " ", "é", "😀", "\u202e", "\x1b[31m", "a" * 3000, "???", "%s", "<b>"),
    *("gru,lstm", "choice(1,2)", "range(1,3)", "interval(0,1)", "sort(3,1)", "glob(*)", "int(3.7)"),
    *(
        "../..",
        "/",
        "/dev/null",
        "os.system",
        "builtins.eval",
        "subprocess.Popen",
        "5min",
        "*",
        "?",
    ),
    *("tag(log,interval(0,1))", "json_str({a:1})", "!!python/object:os.system", "1_000", "~", "@"),
)
ODD_KEYS = (
    *("", ".", "a..b", "x.", "..", "@", "/", "cell@x", "data/x", "a b", "é", "[0]", "data.x[0]"),
    *("data[x]", "_target_", "hydra", "defaults", "hydra.mode", "hydra.run.dir", "hydra/launcher"),
    *("hydra.sweep.dir", "hydra.sweeper.params", "hydra.callbacks.comparison.figure"),
)
FLAGS = (
    *(
        "-m",
        "--multirun",
        "--cfg",
        "--cfg=job",
        "-c",
        "--config-dir",
        "--config-dir=/nope",
        "--run",
    ),
    *("--config-name=x", "--config-name=../x", "--config-path=x", "--foo", "-", "--", "--resolve"),
    *("-p", "--package=x", "--experimental-rerun=x", "-x", "--lr=3", "--multirun=1", "--info=all"),
)
GROUPS = {
    group.name: [file.stem for file in group.glob("*.yaml")]
    for group in conf_dir().iterdir()
    if group.is_dir() and group.name[0] != "_"
}


@pytest.fixture(scope="module")
def keys() -> list[str]:
    """Every key of some configurations."""
    found = set(ODD_KEYS)
    for data in ("digits", "parallel", "fasta", "video", "forecast", "conll"):
        cfg, _ = compose([f"data={data}", *(["data.path=x"] if data != "digits" else [])])
        found |= {key for key, _ in leaves(OmegaConf.to_container(cfg, resolve=False))}
    return sorted(found)


def misspelt(key: str, place: int, letter: str) -> str:
    """The key with another letter, or one more, at a place of it."""
    place %= len(key) + 1
    return key[:place] + letter + key[place + 1 :]


VALUES = (
    st.sampled_from(ODD_VALUES)
    | st.integers().map(str)
    | st.floats().map(str)
    | st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=8)
)
OPTIONS = st.sampled_from(sorted(GROUPS)).flatmap(
    lambda group: st.sampled_from(
        [*GROUPS[group], "", "nope", "null", "LSTM", "a,b", "[a,b]", "../cell/lstm", "lstm.yaml"]
    ).map(lambda option: f"{group}={option}")
)


def overrides(keys: list[str]) -> st.SearchStrategy[str]:
    """One override: of a key, of a group, or something that is none."""
    known = st.sampled_from(keys)
    wrong = st.builds(misspelt, known, st.integers(0, 60), st.sampled_from("x._-/@ é~+=:["))
    pairs = st.builds(
        "{}{}={}".format, st.sampled_from(["", "", "", "+", "++", "~"]), known | wrong, VALUES
    )
    return pairs | OPTIONS | known.map("~{}".format) | VALUES


def refused(words: list[str]) -> bool:
    """Check a command line as training does; return True if it is refused."""
    note(shlex.join(words))
    path, argv, problems = list(sys.path), list(sys.argv), []
    try:
        with time_limit(SECONDS):
            cli._check_configuration(words, "train")
    except ConfigError as error:
        problems = error.problems
    finally:
        sys.path[:], sys.argv[:] = path, argv
        refusals.MET.clear()  # no advice mends a command of several odd words
    too_long = [problem[:200] for problem in problems if not 0 < len(problem.strip()) < LONGEST]
    assert not too_long
    return bool(problems)


def fuzz(lines: st.SearchStrategy[list[str]], times: int) -> int:
    """Check command lines; return how many were refused."""
    count = 0

    @settings(max_examples=times * settings.default.max_examples)
    @given(words=lines)
    @example(words=["data.folds=${oc.env:NO_SUCH}"])
    @example(words=["-m", "diagnostics._target_=${oc.env:NO_SUCH}", "task._target_=???"])
    @example(words=["data=lines", f"data.path={'a' * 3000}"])
    def check(words: list[str]) -> None:
        nonlocal count
        count += refused(words)

    check()
    return count


@pytest.mark.slow
def test_any_value_of_any_key_is_accepted_or_refused(keys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    known = st.sampled_from([key for key in keys if key not in ODD_KEYS])
    one = st.builds("{}={}".format, known, VALUES)
    lines = one.map(lambda word: [word]) | st.lists(one, min_size=2, max_size=2).map(
        lambda two: ["-m", *two]
    )
    assert fuzz(lines, 8) > 100
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_any_words_are_accepted_or_refused(keys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = overrides(keys) | st.sampled_from(FLAGS)
    assert fuzz(st.lists(words, min_size=1, max_size=4), 5) > 100
    assert not list(tmp_path.iterdir())


def test_any_options_of_a_command_are_refused_where_there_is_no_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = {
        name: [field.name for field in dataclasses.fields(command.options)]
        for name, command in COMMANDS.items()
    }
    lines = st.sampled_from(sorted(options)).flatmap(
        lambda name: st.lists(
            st.builds("{}={}".format, st.sampled_from([*options[name], "rnu", ""]), VALUES)
            | VALUES,
            max_size=3,
        ).map(lambda words: [name, *words])
    )

    @settings(max_examples=3 * settings.default.max_examples)
    @given(words=lines)
    def check(words: list[str]) -> None:
        note(shlex.join(words))
        with time_limit(SECONDS):
            try:
                code = call(*split(words))
            except ConfigError:  # whose form the plugin `refusals` judges
                code = 2
        assert code == 2 or words == ["sync"]  # which has nothing to send

    check()
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_process_that_is_refused_ends_with_2_and_leaves_nothing(keys, warm, tmp_path):
    """The whole program: no traceback, nothing on standard output, no file."""
    count = 0

    @settings(max_examples=settings.default.max_examples // 2)
    @given(words=st.lists(overrides(keys), min_size=1, max_size=3))
    def run(words: list[str]) -> None:
        nonlocal count
        words = [word for word in words if word and word[0] != "-"] or ["nope"]
        note(shlex.join(words))
        # One that is accepted is only shown.
        ended = warm.run(SEQPIPE, *words, "--cfg=job", cwd=tmp_path, seconds=SECONDS)
        assert ended.returncode in (0, 2), ended.stderr
        assert "Traceback" not in ended.stderr
        if ended.returncode == 2:
            count += 1
            assert ended.stdout == ""
            assert ended.stderr.startswith("seqpipe: ")

    run()
    assert count > 5
    assert not list(tmp_path.iterdir())
