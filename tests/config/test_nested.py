"""A group inside of a group is chosen with a dot, wherever overrides are read."""

import pytest
from omegaconf import OmegaConf

from seqpipe.config.commandline import check
from seqpipe.config.compose import compose
from seqpipe.config.config_view import flat_params
from seqpipe.config.nested_groups import with_dots, with_slashes
from seqpipe.errors import ConfigError

CRF, LINEAR = "seqpipe.nn.crf.CRFHead", "seqpipe.nn.head.Head"


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("architecture.head=crf", "architecture/head=crf"),
        ("architecture.head=linear,crf", "architecture/head=linear,crf"),
        ("architecture.head={hidden:[64]}", "architecture.head={hidden:[64]}"),
        ("architecture.head.hidden=[64]", "architecture.head.hidden=[64]"),
        ("architecture.attention=dot", "architecture.attention=dot"),
        ("architecture/head=crf", "architecture/head=crf"),
        ("cell=gru", "cell=gru"),
        ("hydra.launcher=basic", "hydra.launcher=basic"),
        ("--config-dir=a.b", "--config-dir=a.b"),
        ("data.path=architecture.head=crf", "data.path=architecture.head=crf"),
    ],
)
def test_a_dotted_key_is_read_as_a_choice_only_where_it_names_a_group(typed, read):
    assert with_slashes([typed]) == [read]
    assert with_dots(read) == (
        "architecture.head=crf" if read == "architecture/head=crf" else typed
    )


def test_a_group_inside_of_the_users_own_is_known_too(tmp_path):
    (tmp_path / "cell" / "gate").mkdir(parents=True)
    assert with_slashes(["cell.gate=hard"]) == ["cell.gate=hard"]
    assert with_slashes(["cell.gate=hard"], [tmp_path]) == ["cell/gate=hard"]


@pytest.mark.parametrize("order", [1, -1])
def test_the_option_is_chosen_and_its_keys_can_be_changed_in_any_order(order):
    typed = ["architecture.head=crf", "architecture.head.hidden=[64]"][::order]
    cfg, choices = compose(["data=copy_memory", *typed])
    assert cfg.architecture.head._target_ == CRF
    assert cfg.architecture.head.hidden == [64]
    params = flat_params(cfg, choices)
    assert params["architecture.head"] == "crf"
    assert params["architecture.head.hidden"] == "[64]"


def test_a_mapping_changes_the_option_that_is_chosen():
    cfg, choices = compose(["architecture.head={hidden:[64]}"])
    assert (cfg.architecture.head._target_, cfg.architecture.head.hidden) == (LINEAR, [64])
    assert choices["architecture/head"] == "linear"


def test_every_job_of_a_grid_is_checked():
    grid = ["data=copy_memory", "architecture.head=linear,crf", "task.label_smoothing=0,0.1"]
    (problem,) = check(grid, sweep=True).problems
    assert problem.startswith("task.label_smoothing=0.1: ")
    assert problem.endswith("(in 1 of 4 jobs: architecture.head=crf task.label_smoothing=0.1)")


def test_an_experiment_chooses_it_in_its_defaults(tmp_path):
    (tmp_path / "experiment").mkdir()
    file = tmp_path / "experiment" / "mine.yaml"
    head = "# @package _global_\ndefaults:\n  - override /data: copy_memory\n"
    file.write_text(f"{head}  - override /architecture/head: crf\n")
    cfg, _ = compose(["experiment=mine"], [tmp_path])
    assert cfg.architecture.head._target_ == CRF
    file.write_text(f"{head}architecture: {{head: crf}}\n")
    with pytest.raises(ConfigError) as caught:
        compose(["experiment=mine"], [tmp_path])
    assert caught.value.problems == [
        "architecture.head=crf: wrong type; allowed: a mapping with _target_, or in the defaults "
        "of a file: override /architecture/head: crf; in hydra.sweeper.params: architecture/head"
    ]
    file.write_text(f"{head}cell: gru\n")
    with pytest.raises(ConfigError) as caught:
        compose(["experiment=mine"], [tmp_path])
    assert caught.value.problems[-1] == (
        "cell=gru: wrong type; allowed: a mapping with _target_, or in the defaults of a file: "
        "override /cell: gru"
    )


def test_a_grid_of_an_experiment_names_it_with_a_slash(command, environment):
    folder = environment["cwd"] / "mine" / "experiment"
    folder.mkdir(parents=True)
    (folder / "heads.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /data: copy_memory\n"
        "hydra: {sweeper: {params: {architecture/head: 'linear,crf'}}}\n"
    )
    body = "    print(launch.overrides, cfg.architecture.head._target_)"
    done = command("-m", "-cd", "mine", "experiment=heads", body=body)
    assert [line for line in done.out.splitlines() if line.startswith("(")] == [
        f"('architecture.head=linear', 'experiment=heads') {LINEAR}",
        f"('architecture.head=crf', 'experiment=heads') {CRF}",
    ]


def test_what_was_typed_is_what_is_recorded_and_repeated(command):
    body = (
        "    print(launch.command_line)\n"
        "    print(cfg.architecture.head._target_, launch.overrides)"
    )
    done = command("data=copy_memory", "architecture.head=crf", body=body)
    assert done.code == 0, done.err
    line, told = done.out.splitlines()[:2]
    assert line == "python -m seqpipe data=copy_memory architecture.head=crf"
    assert told == f"{CRF} ('data=copy_memory', 'architecture.head=crf')"


def test_jobs_of_a_sweep_and_the_processes_they_start_choose_it(command):
    body = "    print(sys.argv[1:], cfg.architecture.head._target_, launch.overrides)"
    done = command("-m", "data=copy_memory", "architecture.head=linear,crf", body=body)
    told = [line for line in done.out.splitlines() if line.startswith("[")]
    assert told == [
        f"['data=copy_memory', 'architecture/head={name}', 'hydra.mode=RUN'] {target} "
        f"('data=copy_memory', 'architecture.head={name}')"
        for name, target in (("linear", LINEAR), ("crf", CRF))
    ]


def test_what_is_shown_is_what_is_chosen(command):
    shown = command("--cfg", "job", "data=copy_memory", "architecture.head=crf")
    assert OmegaConf.create(shown.out).architecture.head._target_ == CRF
    refused = command("architecture.head=crf")
    assert refused.err.startswith("seqpipe: architecture.head=crf: scores sequences of tags")
