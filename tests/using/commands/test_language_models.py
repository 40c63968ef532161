"""lm=RUN of predict, translate and evaluate, as it is typed."""

import pytest

from seqpipe.commands.dispatch import COMMANDS
from seqpipe.config.command_options import read
from seqpipe.errors import ConfigError


@pytest.fixture
def letters(made, run_of):
    """The run of a language model of the characters that transcripts have, and more."""
    return run_of("lines")


def test_predict_and_translate_read_it(ask, run_command, run_of, letters, tmp_path):
    (tmp_path / "x.txt").write_text("the cat sat on a mat\nno dog it was good bad\n")
    given = {"input": str(tmp_path / "x.txt"), "beam_size": 6}
    plain = ask("transcript", **given)
    found = ask("transcript", lm=letters, lm_weight=3.0, lm_bonus=12.0, **given)
    assert [row["score"] for row in plain] != [row["score"] for row in found]
    typed = f"input={tmp_path / 'x.txt'} beam_size=6 lm={letters} lm_weight=3 lm_bonus=12"
    lines = run_command("translate", "transcript", typed).splitlines()
    assert [line.split()[1] for line in lines] == [row["prediction"] for row in found]


def test_evaluate_measures_with_it_under_a_name_of_its_own(run_command, letters, capsys):
    for typed in ("", "beam_size=6", f"beam_size=6 lm={letters} lm_weight=4"):
        run_command("evaluate", "transcript", f"resamples=0 log=false {typed}")
    said = " ".join(capsys.readouterr().out.split())
    assert "run-transcript: test, " in said
    assert "run-transcript: test beam_size=6, " in said
    assert "run-transcript: test beam_size=6 lm=run-lines lm_weight=4.0 lm_bonus=0.0, " in said


@pytest.mark.parametrize("command", ["predict", "translate", "evaluate"])
def test_greedy_decoding_and_a_lone_weight_are_refused(run_of, run_command, letters, command):
    asked = {"predict": "input=x.txt", "translate": "text=cat", "evaluate": ""}[command]
    with pytest.raises(ConfigError) as refused:
        run_command(command, "transcript", f"{asked} lm={letters}")
    assert f"lm={letters}: greedy decoding compares no transcripts" in str(refused.value)
    typed = ["run=latest", *asked.split()]
    with pytest.raises(ConfigError, match=r"lm_weight=2\.0: has no effect without lm="):
        read(COMMANDS[command].options, [*typed, "lm_weight=2"], command)
    with pytest.raises(ConfigError, match="lm_weight=0"):
        read(COMMANDS[command].options, [*typed, "lm=best", "lm_weight=0"], command)


def test_it_is_of_no_use_to_a_translation(run_command, letters):
    with pytest.raises(ConfigError) as refused:
        run_command("translate", "translation", f"text=cat beam_size=3 lm={letters}")
    assert "task=transduction has no beam that reads it" in str(refused.value)
