"""docs/own_data.md, run as it stands: from another folder, in processes of its own."""

import random
import re
import shlex
from pathlib import Path

import pytest

from forking import SEQPIPE

PAGE = Path(__file__).parents[2] / "docs" / "own_data.md"


@pytest.fixture
def page():
    """The blocks of the page, by their language."""
    return dict(re.findall(r"^```(\w+)\n(.*?)^```$", PAGE.read_text(), flags=re.M | re.S))


@pytest.fixture
def folder(tmp_path, page):
    """What the page tells a user to write, and data for it."""
    (tmp_path / "conf" / "data").mkdir(parents=True)
    (tmp_path / "my_data.py").write_text(page["python"])
    (tmp_path / "conf" / "data" / "mine.yaml").write_text(page["yaml"])
    draw = random.Random(0)
    rows = []
    for number in range(40):
        kilos = [
            60 + (1 if number % 2 else -1) * step + draw.random() for step in range(3 + number % 5)
        ]
        rows.append(f"{'gain' if number % 2 else 'loss'} {' '.join(f'{k:.1f}' for k in kilos)}\n")
    (tmp_path / "weights.txt").write_text("".join(rows))
    return tmp_path


@pytest.fixture
def run(warm, folder):
    """run("python -c ..."): how a line of the page ends there."""

    def ended(line):
        python, flag, code, *arguments = shlex.split(line)
        assert python == "python"
        assert flag == "-c" or (flag, code) == ("-m", "seqpipe")
        return warm.run(code if flag == "-c" else SEQPIPE, *arguments, cwd=folder)

    return ended


def test_the_page_is_short(page):
    assert set(page) == {"python", "yaml", "sh"}
    assert len([line for line in PAGE.read_text().splitlines() if line]) <= 30


def test_a_source_and_a_field_of_a_users_own_are_checked_and_trained_on(run, folder, page):
    check, train = page["sh"].splitlines()
    checked = run(check)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
    trained = run(train)
    assert trained.returncode == 0, trained.stderr
    (data,) = (line for line in trained.stdout.splitlines() if line.startswith("data:"))
    assert data == (
        "data:       Weights: train 24, valid 8, test 8; 2 to 6 steps; values (1) -> "
        "2 classes (gain, loss)"
    )
    assert re.search(r"^test: +loss 0\.\d+, accuracy ", trained.stdout, flags=re.M)
    # What was prepared is kept, but not when their code changes.
    (folder / "my_data.py").write_text(page["python"].replace(".diff()[:, None]", "[:, None]"))
    again = run(f"{train} diagnostics=none preflight=none")
    assert "; 3 to 7 steps; " in again.stdout, again.stderr


def test_what_is_wrong_with_their_data_is_told_with_its_line(run, folder, page):
    text = (folder / "weights.txt").read_text().splitlines()
    text[6] = "gain 61.2 sixty"
    (folder / "weights.txt").write_text("\n".join(text))
    failed = run(page["sh"].splitlines()[1])
    assert (failed.returncode, failed.stderr) == (
        2,
        "seqpipe: weights.txt:7: could not convert string to float: 'sixty'\n",
    )
