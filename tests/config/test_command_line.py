"""The command line as a user meets it: in a process of its own, in an empty folder."""

import os
import signal
import subprocess
import sys
import time

import pytest
from omegaconf import OmegaConf

import seqpipe
from seqpipe.config.paths import conf_dir
from seqpipe.config.sweep_callback import comparison_problems

REFUSED = {
    "detph=3": "; did you mean 'depth'?",
    "cell=lsmt": "; did you mean 'lstm'?",
    "trainer.max_epoch=3": "; did you mean 'max_epochs'?",
    "depth=0": "seqpipe: depth=0: out of range; allowed: an integer >= 1",
    "dropout=1.5": "seqpipe: dropout=1.5: out of range; allowed: a number in [0, 1)",
    "data=python_docs bidirectional=true": "allowed: false",
    "trainer.profiler=simple": "another argument of pytorch_lightning.Trainer",
    "optim.epsilon=1": "another argument of torch.optim.Adam",
}


@pytest.mark.parametrize("line", REFUSED)
def test_a_mistake_is_refused_before_anything_is_written(command, line):
    done = command(*line.split())
    (message,) = done.err.splitlines()
    assert done.code == 2
    assert message.startswith(f"seqpipe: {line.split()[-1]}: ")
    assert message.endswith(REFUSED[line])
    assert done.out == ""
    assert done.left == []


COMPOSED = """
import sys
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf, open_dict
from seqpipe.config.commandline import check
from seqpipe.config.loader import Loader

words, compose, calls = sys.argv[1:], ConfigLoaderImpl._load_configuration_impl, []
ConfigLoaderImpl._load_configuration_impl = lambda *a, **k: calls.append(1) or compose(*a, **k)
check(words, names_only=True).composed.run(
    lambda cfg: calls.append((cfg, HydraConfig.instance().cfg)) or 0.5
)
one, (cfg, used) = calls
whole = Loader().hydra_loader.load_configuration("config", [*words, "hydra.mode=RUN"], RunMode.RUN)
nodes = [OmegaConf.to_container(tree.hydra) for tree in (used, whole)]
for node in nodes:  # the folder of a job is made by Hydra, and its mode we set without an override
    del node["overrides"]["hydra"], node["runtime"]["output_dir"]
assert nodes[0] == nodes[1]
with open_dict(whole):
    del whole["hydra"], whole["workers"], whole["skip_done"]  # of a sweep
assert cfg == whole
"""


def test_a_run_is_composed_once_as_hydra_would(forked):
    words = ("cell=gru", "architecture/head=crf", "depth=2", "hydra.run.dir=run")
    done = forked(COMPOSED, *words, "~callbacks.early_stopping", "+trainer.min_steps=3")
    assert (done.returncode, done.stderr) == (0, "")


WITHOUT_TORCH = """
import sys
from seqpipe.cli import main
code = main()
assert "torch" not in sys.modules
sys.exit(code)
"""


@pytest.mark.parametrize(
    ("line", "code"),
    [
        *(
            ("detph=3", 2),
            ("data=digts", 2),
            ("cell.forget_bais=1", 2),
            ("seed=-1 data.lenght=3", 2),
        ),
        *(("trainer.profiler=simple", 2), ("-m detph=1,2 cell=rnn,gru", 2)),
        *(("depth=0 dropout=1.5 data.bptt=x", 2), ("optim.lr=-1", 2), ("-m depth=0,-1", 2)),
        *(("--help", 0), ("--cfg job depth=3", 0)),
    ],
)
def test_a_wrong_name_or_value_or_a_request_for_help_does_not_import_torch(forked, line, code):
    done = forked(WITHOUT_TORCH, *line.split())
    assert done.returncode == code, done.stderr


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--depth=3", "--depth=3: no such flag; allowed: keys are written without dashes, depth=3"),
        (
            "-cp conf",
            "--config-path=conf: would hide the packaged options; allowed: --config-dir=conf",
        ),
        ("-m --cfg job", "--multirun --cfg: exclude each other; allowed: one of them"),
        (
            "data=digits --bogus cell=gru",
            "--bogus: no such flag; allowed: --multirun, --config-dir, --config-name, --cfg, "
            "--resolve, --info, --help, --version",
        ),
        ("--resolve", "--resolve: has nothing to resolve; allowed: --cfg job --resolve"),
        ("-p cell", "--package=cell: says what --cfg shows; allowed: with --cfg job"),
        (
            "--cfg job -p hydra.run",
            "--package=hydra.run: nothing there in --cfg job; allowed: cell, architecture, task, "
            "optim, scheduler, averaging, callbacks, logger, diagnostics, seed, folds, fold, "
            "hidden_size, match_parameters, match_parameters_count, depth, bidirectional, "
            "dropout, input_dropout, output_dropout, locked_dropout, activation_penalty, "
            "temporal_activation_penalty, weight_noise, init_range, freeze, preflight, baselines, "
            "resume, trainer, data",
        ),
        (
            "--cfg all -p resume",
            "--package=resume: nothing there in --cfg all; allowed: a key that it has",
        ),
        ("-cd nowhere", "--config-dir=nowhere: no such folder; allowed: a folder"),
    ],
)
def test_a_flag_that_cannot_be_used_is_refused(command, line, message):
    done = command(*line.split())
    assert (done.code, done.err) == (2, f"seqpipe: {message}\n")


def test_flags_may_stand_between_overrides(environment, command):
    (environment["cwd"] / "mine").mkdir()
    body = "    print(launch.overrides, launch.flags)"
    done = command("depth=2", "-m", "cell=gru,rnn", "--config-dir", "mine", "seed=1", body=body)
    assert done.code == 0
    assert [line for line in done.out.splitlines() if line.startswith("(")] == [
        f"('depth=2', 'cell={cell}', 'seed=1') ('--config-dir=mine',)" for cell in ("gru", "rnn")
    ]


def test_a_key_that_holds_null_can_be_removed_and_the_record_says_so(command):
    body = "    print(launch.overrides, 'max_time' in cfg.trainer)"
    done = command("~trainer.max_time", body=body)
    assert done.out.splitlines()[0] == "('~trainer.max_time',) False"


def test_several_mistakes_are_listed_together(command):
    done = command("cell=lsmt", "detph=3", "optim.lr=0")
    assert done.err.startswith("seqpipe: 3 problems in the configuration:\n  1. cell=lsmt: ")
    assert "Traceback" not in done.err


def test_a_command_that_works_prints_what_came_of_it(command):
    body = "    print(launch.root, launch.output_dir, launch.overrides, launch.sweep)"
    done = command("cell=gru", "depth=2", body=body)
    assert (done.code, done.err) == (0, "")
    seen, summary = done.out.splitlines()
    root, folder, overrides = seen.split(" ", 2)
    assert summary == "ran gru 2"
    assert folder.startswith(f"{root}/outputs/runs/")
    assert folder.endswith("_digits_gru")
    assert overrides == "('cell=gru', 'depth=2') None"
    assert not [name for name in done.left if name.endswith((".log", ".yaml"))]


def test_hydras_flags_go_on_working(command):
    shown = command("--cfg", "job", "depth=3")
    assert (shown.code, shown.err) == (0, "")
    assert "\ndepth: 3\n" in shown.out
    assert command("--cfg", "job", "-p", "depth", "depth=3").out == "3\n"
    assert "dir: outputs/runs/" in command("--cfg", "hydra", "-p", "hydra.run").out
    assert command("--info", "searchpath").out.count(str(conf_dir())) == 1
    assert command("--version").out == f"seqpipe {seqpipe.__version__}\n"
    completed = command("-sc", "install=bash")
    assert completed.code == 0
    assert "complete" in completed.out


def test_help_names_every_group_every_option_and_the_panel(command):
    text = command("--help").out
    for folder in conf_dir().iterdir():
        if folder.is_dir() and folder.name != "hydra":
            options = ", ".join(sorted(file.stem for file in folder.glob("*.yaml")))
            assert f"\n{folder.name}: {options}\n" in text
    for name in ("seed", "hidden_size", "depth", "bidirectional", "dropout", "resume"):
        assert f"\n{name} " in text
    assert text.rstrip().endswith("--cfg job")


def test_every_job_of_a_sweep_is_checked_before_the_first_runs(command):
    done = command("-m", "cell=lstm,rnn", "depth=1,0")
    assert done.code == 2
    assert done.err == (
        "seqpipe: depth=0: out of range; allowed: an integer >= 1 (in 2 of 4 jobs: depth=0)\n"
    )
    assert done.left == []


def test_a_sweep_prints_one_line_and_one_result_for_each_job(command):
    body = "    print(launch.sweep, launch.overrides)"
    done = command("-m", "cell=rnn,gru", "depth=2", body=body)
    assert done.code == 0
    assert done.err.splitlines() == [
        "#0 (cell=rnn)",
        "sweep: 1 of 2 jobs done, about 0 s left",
        "#1 (cell=gru)",
        "sweep: 2 of 2 jobs done",
    ]
    name = next(part.split("/")[2] for part in done.left if part.startswith("outputs/sweeps/"))
    assert done.out.splitlines() == [
        f"{name} ('cell=rnn', 'depth=2')",
        "ran rnn 2",
        f"{name} ('cell=gru', 'depth=2')",
        "ran gru 2",
        f"comparison: outputs/sweeps/{name}/comparison.html",
    ]


def test_a_packaged_grid_is_checked_and_run_like_one_that_is_typed(command):
    assert command("-m", "sweep=cells").out.count("ran ") == 10
    refused = command("-m", "sweep=cells", "dropout=1.5")
    assert refused.err == "seqpipe: dropout=1.5: out of range; allowed: a number in [0, 1)\n"


def test_a_job_that_fails_does_not_stop_the_others_and_is_compared_as_failed(environment, command):
    body = (
        "    from seqpipe.errors import DataError\n"
        "    if cfg.depth == 2: raise DataError('reviews.csv:3: no text')\n"
        "    if cfg.depth == 3: raise RuntimeError('a fault of ours')"
    )
    done = command("-m", "depth=1,2,3,4", body=body)
    assert done.code == 2
    assert done.out.splitlines()[:-1] == ["ran lstm 1", "ran lstm 4"]
    pages = [name for name in done.left if name.endswith("comparison.md")]
    (page,) = [name for name in pages if name.startswith("outputs/sweeps/")]
    told = (environment["cwd"] / page).read_text()
    assert "2 of 4 jobs finished." in told
    assert "| 1 | 2 | refused |" in told
    assert "| reviews.csv:3: no text |" in told
    assert "| 2 | 3 | failed |" in told
    assert "| a fault of ours |" in told
    assert "seqpipe: reviews.csv:3: no text\n" in done.err
    assert "RuntimeError: a fault of ours\n" in done.err
    assert done.err.splitlines()[-1] == "seqpipe: 2 of 4 jobs failed: #1 (depth=2), #2 (depth=3)"


def test_of_many_jobs_that_fail_the_first_are_named(command):
    body = "    raise RuntimeError('a fault of ours')"
    done = command("-m", "seed=range(13)", body=body)
    names = ", ".join(f"#{number} (seed={number})" for number in range(10))
    assert done.err.splitlines()[-1] == f"seqpipe: 13 of 13 jobs failed: {names}, and 3 more"


def test_what_was_done_is_compared_when_a_sweep_is_interrupted(command):
    body = "    if cfg.depth == 2: raise KeyboardInterrupt"
    done = command("-m", "depth=1,2,3", body=body)
    assert done.code == 130
    assert done.out.splitlines()[-1].endswith("/comparison.html")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (
            "figure=gradient",
            "unknown choice; allowed: gradients, clipping, means or null; did you mean",
        ),
        ("solved=1", "no figure shows it; allowed: null, or also hydra.callbacks"),
        ("units={a:nats}", "no figure shows it; allowed: null, or also hydra.callbacks"),
        ("+figuer=gradients", "unknown key; allowed: figure, guessing, solved, units"),
    ],
)
def test_a_comparison_that_cannot_be_drawn_is_refused_before_the_first_job(
    command, option, message
):
    name = option.lstrip("+")
    plus = "+" * (name != option)
    done = command("-m", "depth=1,2", f"{plus}hydra.callbacks.comparison.{name}")
    assert (done.code, done.out, done.left) == (2, "", [])
    assert done.err.startswith(f"seqpipe: hydra.callbacks.comparison.{name}: {message}")


@pytest.mark.parametrize(
    ("units", "fault"),
    [({"a": "nats"}, None), ({"a": 1}, "out of range"), ("nats", "wrong type"), (None, None)],
)
def test_units_are_texts_by_the_name_of_a_panel(units, fault):
    node = {"callbacks": {"comparison": {"figure": "means", "units": units}}}
    found = [problem.text for problem in comparison_problems(OmegaConf.create(node))]
    allowed = "; allowed: a mapping, each value text or null"
    assert found == ([] if fault is None else [f"{fault}{allowed}"])


def test_a_sweep_of_which_every_job_is_refused_leaves_nothing(command):
    body = "    from seqpipe.errors import ConfigError\n    raise ConfigError('the reason')"
    done = command("-m", "depth=1,2", body=body)
    assert done.code == 2
    assert not [name for name in done.left if "sweeps/" in name]


@pytest.mark.parametrize(("error", "code"), [("DataError", 2), ("TrainingError", 1)])
def test_a_users_mistake_ends_with_its_message_and_leaves_no_empty_folder(command, error, code):
    done = command(body=f"    from seqpipe.errors import {error}\n    raise {error}('the reason')")
    assert (done.code, done.out, done.err) == (code, "", "seqpipe: the reason\n")
    assert not any((name.count("/") > 1) for name in done.left)


def test_a_fault_of_ours_ends_with_its_traceback(command):
    done = command(body="    return 1 / 0")
    assert done.code == 1
    assert done.err.startswith("Traceback")
    assert done.err.endswith("ZeroDivisionError: division by zero\n")


def test_lightnings_exit_on_ctrl_c_counts_as_an_interrupt(command):
    body = "    try: raise KeyboardInterrupt\n    except KeyboardInterrupt: sys.exit(1)"
    assert command(body=body).code == 130
    assert command(body="    raise KeyboardInterrupt").code == 130


@pytest.mark.parametrize(
    ("number", "code", "seen"),
    [
        (signal.SIGTERM, 143, "Terminated"),
        (signal.SIGHUP, 129, "Terminated"),
        (signal.SIGXCPU, 152, "Terminated"),
        (signal.SIGINT, 130, "KeyboardInterrupt"),
    ],
)
def test_a_signal_closes_what_is_open_and_ends_with_its_code(
    environment, start, number, code, seen
):
    body = (
        "    import time\n"
        "    try:\n"
        "        open('started', 'w').close()\n"
        "        time.sleep(60)\n"
        "    except BaseException as error:\n"
        "        open('closed', 'w').write(type(error).__name__)\n"
        "        raise"
    )
    running = start(body)
    deadline = time.monotonic() + 60
    while not (environment["cwd"] / "started").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    running.send_signal(number)
    assert running.wait() == code
    assert (environment["cwd"] / "closed").read_text() == seen
    told = {143: "terminated", 130: "interrupted"}
    err = running.stderr.read().decode()
    assert err == f"seqpipe: {told.get(code, f'ended by {number.name}')}\n"


def test_under_nohup_a_closed_terminal_ends_nothing(environment, start):
    body = (
        "    import os, signal\n"
        "    os.kill(os.getpid(), signal.SIGHUP)\n"
        "    open('went on', 'w').close()"
    )
    nohup = "import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    assert start(body, before=nohup).wait() == 0
    assert (environment["cwd"] / "went on").exists()


def test_a_run_whose_messages_nobody_reads_comes_to_its_end(environment, start):
    body = (
        "    for _ in range(1000): print('epoch', file=sys.stderr, flush=True)\n"
        "    open('went on', 'w').close()"
    )
    running = start(body)
    running.stderr.close()
    assert running.wait() == 0
    assert (environment["cwd"] / "went on").exists()


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ("OSError(28, 'No space left on device')", "No space left on device; allowed: "),
        ("OSError(28, 'No space left on device', 'a/b')", "a/b: No space left on device; "),
        ("PermissionError(13, 'Permission denied', 'a/b')", "a/b: Permission denied; allowed: "),
        ("OSError(122, 'Disk quota exceeded')", "Disk quota exceeded; allowed: "),
        ("OSError(30, 'Read-only file system', 'x')", "x: Read-only file system; allowed: "),
        ("RuntimeError('PytorchStreamWriter failed writing file data/5')", "PytorchStreamWriter"),
        ("MemoryError()", "out of memory: the machine has no more; allowed: a smaller "),
        ("RuntimeError('[enforce] DefaultCPUAllocator: can\\'t allocate memory')", "out of memory"),
    ],
)
def test_a_place_that_takes_no_more_is_one_line(command, error, told):
    done = command(body=f"    raise {error}")
    (line,) = done.err.splitlines()
    assert done.code == 1
    assert line.startswith(f"seqpipe: {told}")


def test_the_result_of_a_run_whose_files_could_not_be_written_is_shown(command):
    body = (
        "    from seqpipe.errors import RecordError\n"
        "    raise RecordError('x: No space left', 'test: loss 0.5')"
    )
    done = command(body=body)
    assert (done.code, done.out) == (1, "test: loss 0.5\n")
    assert done.err == "seqpipe: x: No space left\n"


def test_whoever_reads_may_stop_reading(environment):
    line = f"{sys.executable} -m seqpipe --cfg job | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, check=True, **environment
    )
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] in ("0", "141")


@pytest.mark.parametrize("flag", ["--help", "--cfg job", "--info searchpath"])
def test_whoever_reads_may_stop_before_the_first_line(environment, flag):
    environment["env"]["PYTHONUNBUFFERED"] = "1"
    line = f"{sys.executable} -m seqpipe {flag} | true"
    done = subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, check=True, **environment
    )
    assert done.stderr == ""


def test_a_child_of_a_distributed_run_complains_only_once(environment, command):
    environment["env"] |= {"LOCAL_RANK": "1", "TORCHELASTIC_RUN_ID": "1"}
    done = command("depth=0")
    assert (done.code, done.err) == (2, "")


def test_a_rank_that_a_launcher_left_behind_silences_nothing(environment, command):
    environment["env"]["LOCAL_RANK"] = "1"
    assert command("depth=0").err == "seqpipe: depth=0: out of range; allowed: an integer >= 1\n"
    body = "    import os; print('LOCAL_RANK' in os.environ)"
    done = command("trainer.accelerator=cpu", body=body)
    assert (done.code, done.out) == (0, "False\nran lstm 1\n")
    ignored = "ignored, since trainer.devices=1 asks for one process"
    assert done.err == f"seqpipe: LOCAL_RANK=1 in the environment: {ignored}\n"


def test_children_of_a_sweep_are_told_to_run_one_job(command):
    body = "    print(sys.argv[1:]); sys.argv.append('left behind')"
    done = command("-m", "depth=1,2", "hydra.job.name=x", body=body)
    lines = [line for line in done.out.splitlines() if line.startswith("[")]
    assert lines == [
        "['depth=1', 'hydra.job.name=x', 'hydra.mode=RUN']",
        "['depth=2', 'hydra.job.name=x', 'hydra.mode=RUN']",
    ]


def test_the_console_script_and_the_module_are_the_same_command(environment):
    done = subprocess.run(
        [sys.executable, "-m", "seqpipe", "depth=0"],
        capture_output=True,
        text=True,
        check=False,
        **environment,
    )
    assert done.returncode == 2
    assert done.stderr == "seqpipe: depth=0: out of range; allowed: an integer >= 1\n"
    assert os.listdir(environment["cwd"]) == []


def test_the_command_that_repeats_a_run_names_the_folder_of_options(environment, command):
    (environment["cwd"] / "my conf").mkdir()
    body = "    print(launch.command_line)"
    done = command("-cd", "my conf", "depth=2", "hydra.job.name=x", body=body)
    line = "python -m seqpipe '--config-dir=my conf' hydra.job.name=x depth=2"
    assert done.out.splitlines()[0] == line


def test_a_folder_that_was_deleted_under_the_user_is_a_message(forked):
    """As in a terminal that still stands in a folder which is gone."""
    code = "import os, sys\nos.mkdir('gone')\nos.chdir('gone')\nos.rmdir('../gone')\n"
    done = forked(code + "from seqpipe.cli import main\nsys.exit(main())", "data=adding")
    assert (done.returncode, done.stdout) == (2, "")
    message = (
        "the current folder cannot be read (No such file or directory); allowed: cd to another"
    )
    assert done.stderr == f"seqpipe: {message}\n"
