"""Variables of a launcher: what the trainer asks for decides whether they count."""

import os

import pytest
from pytorch_lightning import Trainer

from seqpipe.errors import ConfigError
from seqpipe.processes import (
    ignore_stale_ranks,
    is_follower,
    is_launched,
    processes_of,
    rank,
    starting_children,
)

ONE = {"devices": 1, "num_nodes": 1, "accelerator": "auto"}
TWO = {"devices": 2, "num_nodes": 1, "accelerator": "cpu"}
BY_HAND = {
    **{"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2"},
    **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29511"},
}
NAMES = (
    *("RANK", "LOCAL_RANK", "WORLD_SIZE", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT"),
    *("SLURM_JOB_ID", "SLURM_JOB_NAME", "SLURM_NTASKS_PER_NODE"),
    *("SLURM_PROCID", "SLURM_NTASKS", "SLURM_STEP_ID", "TORCHELASTIC_RUN_ID", "SEQPIPE_STARTED_BY"),
)


@pytest.fixture
def variables(monkeypatch):
    """variables(LOCAL_RANK="1"): nothing else of a launcher is in the environment."""

    def given(**values: str) -> None:
        for name in NAMES:
            monkeypatch.delenv(name, raising=False)
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return given


@pytest.mark.parametrize(
    "left",
    [
        {"LOCAL_RANK": "1"},
        {"RANK": "3", "WORLD_SIZE": "4"},
        {"SLURM_PROCID": "2"},
        {"NODE_RANK": "1"},
        {"LOCAL_RANK": "none of ours"},
        {"SLURM_PROCID": "0", "SLURM_NTASKS": "4"},  # without srun; Lightning refuses to start
        BY_HAND,
    ],
)
@pytest.mark.parametrize("trainer", [ONE, {}])
def test_one_process_takes_no_rank_from_its_environment_and_says_so(variables, left, trainer):
    variables(**left)
    told = ignore_stale_ranks(trainer)
    shown = [f"{name}={value}" for name, value in left.items() if value != "0"]
    assert all(pair in told for pair in shown if not pair.startswith("MASTER"))
    assert rank() == 0
    assert "WORLD_SIZE" not in os.environ
    assert ignore_stale_ranks(trainer) is None


@pytest.mark.parametrize(
    "left", [{}, {"SLURM_PROCID": "0", "SLURM_NTASKS": "1"}, {"LOCAL_RANK": "0"}]
)
def test_what_says_no_more_than_the_first_process_is_left_alone(variables, left):
    variables(**left)
    assert ignore_stale_ranks(ONE) is None
    assert left.items() <= os.environ.items()


def test_lightning_makes_a_trainer_of_one_process_in_a_batch_script_of_several_tasks(variables):
    """It takes the number of tasks for that of processes, and refuses one process."""
    variables(SLURM_PROCID="0", SLURM_NTASKS="4", SLURM_JOB_ID="7", SLURM_JOB_NAME="train")
    assert "SLURM_NTASKS=4" in str(ignore_stale_ranks(ONE))
    assert Trainer(devices=1, accelerator="cpu", logger=False).world_size == 1


def test_a_rank_without_a_place_to_meet_does_not_make_one_of_two_processes(variables):
    variables(LOCAL_RANK="1")
    assert ignore_stale_ranks(TWO).startswith("LOCAL_RANK=1 in the environment: ignored, since not")
    assert rank() == 0
    variables(MASTER_ADDR="elsewhere.example")  # the second process would wait there for ever
    assert "MASTER_ADDR=elsewhere.example" in ignore_stale_ranks(TWO)


def test_processes_started_by_hand_count_where_the_trainer_asks_for_as_many(variables):
    variables(**{**BY_HAND, "RANK": "1", "LOCAL_RANK": "1"})
    assert ignore_stale_ranks(TWO) is None
    assert rank() == 1
    with pytest.raises(ConfigError, match=r"trainer\.devices=3: .*allowed: trainer\.devices=2"):
        ignore_stale_ranks({**TWO, "devices": 3})


@pytest.mark.parametrize("launcher", ["TORCHELASTIC_RUN_ID", "SLURM_STEP_ID"])
def test_the_second_process_of_a_launcher_is_refused_where_one_was_asked_for(variables, launcher):
    variables(LOCAL_RANK="1", WORLD_SIZE="2", **{launcher: "7"})
    with pytest.raises(ConfigError, match=r"trainer\.devices=1: asks for one process"):
        ignore_stale_ranks(ONE)
    assert ignore_stale_ranks(TWO) is None
    assert rank() == 1


@pytest.mark.parametrize(
    ("started", "message"),
    [
        ({"TORCHELASTIC_RUN_ID": "7", "WORLD_SIZE": "4"}, "asks for 2, and the launcher started 4"),
        ({"SLURM_STEP_ID": "0", "SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "4"}, "started 4"),
        ({"SLURM_STEP_ID": "0", "SLURM_NTASKS": "2"}, "allowed: srun --ntasks-per-node=2$"),
    ],
)
def test_another_number_of_processes_than_the_launcher_started_is_refused(
    variables, started, message
):
    variables(**started)
    with pytest.raises(ConfigError, match=message):
        ignore_stale_ranks(TWO)


def test_only_the_processes_after_the_first_of_a_launcher_follow_it(variables):
    variables()
    assert not is_follower(TWO)
    variables(**BY_HAND)
    assert not is_follower(TWO)
    variables(**{**BY_HAND, "RANK": "1", "LOCAL_RANK": "1"})
    assert is_follower(TWO)
    assert not is_follower(ONE)
    variables(LOCAL_RANK="1")
    assert not is_follower(TWO)  # nothing says where to meet
    variables(LOCAL_RANK="1", TORCHELASTIC_RUN_ID="7")
    assert is_follower(TWO)


def test_a_child_of_this_process_would_be_known_as_one(variables, monkeypatch):
    variables()
    with starting_children(None):
        monkeypatch.setenv("LOCAL_RANK", "1")
        assert not is_launched()  # that is for the children
        monkeypatch.setattr(os, "getppid", os.getpid)
        assert is_launched()
        assert ignore_stale_ranks(TWO) is None
        assert rank() == 1
    assert not is_launched()


@pytest.mark.parametrize(
    ("trainer", "asked"),
    [
        ({}, 1),
        ({"devices": 2, "num_nodes": 3}, 6),
        ({"devices": "2"}, 2),
        ({"devices": [0]}, 1),
        ({"devices": "0,1"}, 2),
        ({"devices": "auto", "accelerator": "cpu"}, 1),
        ({"devices": "auto", "accelerator": "gpu"}, None),
        ({"devices": -1}, None),
    ],
)
def test_how_many_processes_a_trainer_asks_for(trainer, asked):
    assert processes_of(trainer) == asked
