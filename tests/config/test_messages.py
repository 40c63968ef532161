"""What is refused, and in which words."""

import pytest

from seqpipe.config.commandline import check, read_flags
from seqpipe.config.compose import compose
from seqpipe.config.paths import conf_dir
from seqpipe.config.schema import GROUPS, OF_SWEEPS, PANEL
from seqpipe.config.validate import validate
from seqpipe.errors import ConfigError

KEYS = ", ".join((*PANEL, *OF_SWEEPS, *GROUPS))
CELLS = "gru, gru_simplified, irnn, lstm, lstm_peephole, none, rnn"
EXPERIMENTS = ", ".join(sorted(file.stem for file in (conf_dir() / "experiment").glob("*.yaml")))
DATA = (
    "source, y, x, batch_size, batch_tokens, num_workers, seed, window, eval_window, bptt, "
    "max_length, longer, keep, folds, fold, on_error, cache"
)
TRAINER = (
    "max_epochs, accelerator, devices, num_nodes, strategy, precision, min_epochs, max_steps, "
    "max_time, gradient_clip_val, gradient_clip_algorithm, accumulate_grad_batches, "
    "check_val_every_n_epoch, val_check_interval, log_every_n_steps, limit_train_batches, "
    "limit_val_batches, limit_test_batches, overfit_batches, num_sanity_val_steps, deterministic, "
    "detect_anomaly, enable_progress_bar, checkpoint_every, max_bad_steps, "
    "process_timeout, threads"
)
FIELDS = "seqpipe.data.fields"

NO_X = "this data has no x; allowed: {}"
UNKNOWN_KEYS = [
    (
        "data=python_docs data.x.by=words",
        f"data.x.by=words: {NO_X.format('data.by=words')}",
    ),
    ("data=jsb_chorales +data.x.noise=0.1", f"+data.x.noise=0.1: {NO_X.format('leave it out')}"),
    ("data=jsb_chorales data.x.noise=0.1", f"data.x.noise=0.1: {NO_X.format('leave it out')}"),
    (
        "data=jsb_chorales +data.x.lowest=30",
        f"+data.x.lowest=30: {NO_X.format('data.y.lowest=30')}",
    ),
    (
        "data=python_docs data.x.lowercase=true",
        f"data.x.lowercase=true: {NO_X.format('+data.y.lowercase=true')}",
    ),
    (
        "data=python_docs +data.x.word_dropout=0.1",
        f"+data.x.word_dropout=0.1: {NO_X.format('leave it out')}",
    ),
    ("detph=3", f"detph=3: unknown key; allowed: {KEYS}; did you mean 'depth'?"),
    ("+detph=3", f"+detph=3: unknown key; allowed: {KEYS}; did you mean 'depth'?"),
    ("lr=0.1", f"lr=0.1: unknown key; allowed: {KEYS}; did you mean 'optim.lr'?"),
    (
        "trainer.max_epoch=3",
        f"trainer.max_epoch=3: unknown key; allowed: {TRAINER}; did you mean 'max_epochs'?",
    ),
    (
        "trainer.profiler=simple",
        f"trainer.profiler=simple: unknown key; allowed: {TRAINER}, or with a plus "
        "another argument of pytorch_lightning.Trainer",
    ),
    (
        "cell.forget_bais=1",
        "cell.forget_bais=1: unknown key; allowed: forget_bias, output_tanh, weight_drop, "
        "hidden_dropout, zoneout, zoneout_memory, layer_norm, recurrent_init, kernel; "
        "did you mean 'forget_bias'?",
    ),
    (
        "data.y.lowercase=true data=python_docs",
        "data.y.lowercase=true: is not in the configuration yet; allowed: with a plus: "
        "+data.y.lowercase=true",
    ),
    (
        "+cell.forget_bais=1",
        "+cell.forget_bais=1: unknown key; allowed: forget_bias, output_tanh, weight_drop, "
        "hidden_dropout, zoneout, zoneout_memory, layer_norm, recurrent_init, kernel; "
        "did you mean 'forget_bias'?",
    ),
    (
        "+architecture.encodr.depth=3",
        "+architecture.encodr.depth=3: unknown key; allowed: encoder, head, pooling, "
        "embedding_size, embedding_dropout, characters, characters_size, freeze_vectors; "
        "did you mean 'encoder'?",
    ),
    (
        "+callbacks.early_stoping.patience=3",
        "+callbacks.early_stoping.patience=3: unknown key; allowed: early_stopping, checkpoint, "
        "or a new one with its class: +callbacks.early_stoping._target_=module.Class; "
        "did you mean 'early_stopping'?",
    ),
    ("data.lenght=5", f"data.lenght=5: unknown key; allowed: {DATA}; did you mean 'max_length'?"),
    (
        "+data.length=5",
        f"+data.length=5: no part of the configuration uses it; allowed: {DATA}; "
        "did you mean 'max_length'?",
    ),
    (
        "data=parallel data.source.train=a.*",
        "data.source.train=a.*: its value is that of data.train; allowed: data.train=a.*",
    ),
    (
        "data=wikitext2 data.source.local.train=a.txt",
        "data.source.local.train=a.txt: its value is that of data.train; allowed: data.train=a.txt",
    ),
    ("depth.foo=3", "depth.foo=3: depth holds a value; allowed: depth=..."),
    (
        "+architecture.x_size=3",
        "+architecture.x_size=3: is set by the run; allowed: leave it out",
    ),
    (
        "trainer.max_bad_step=3",
        f"trainer.max_bad_step=3: unknown key; allowed: {TRAINER}; did you mean 'max_bad_steps'?",
    ),
    (
        "~trainer.max_bad_steps",
        "~trainer.max_bad_steps: the run needs this key; allowed: leave ~trainer.max_bad_steps out",
    ),
    ("+trainer.logger=false", "+trainer.logger=false: is set by the run; allowed: leave it out"),
]
OPTIONS = [
    ("cell=lsmt", f"cell=lsmt: no such option; allowed: {CELLS}; did you mean 'lstm'?"),
    ("cell=null", f"cell=null: an option must be chosen; allowed: {CELLS}"),
    ("cell=3", f"cell=3: no such option; allowed: {CELLS}"),
    ("~cell", "~cell: cannot be deleted; allowed: another option"),
    (
        "+experiment=first",
        "+experiment=first: is in the configuration already; allowed: without the plus: "
        "experiment=first",
    ),
    (
        "experiment=frist",
        f"experiment=frist: no such option; allowed: {EXPERIMENTS}; did you mean 'first'?",
    ),
]
VALUES = [
    (
        "data=basic_motions data.x.time_warp=1000",
        "data.x.time_warp=1000: out of range; allowed: a number in [0, 2]",
    ),
    (
        "data=basic_motions data.x.noise=1e39",
        "data.x.noise=1e39: out of range; allowed: a number in [0, 1e+37] (as float32 holds it)",
    ),
    (
        "data=yesno data.x.frequency_masks=[2,500]",
        "data.x.frequency_masks=[2,500]: there are data.x.n_mels=40 bands; "
        "allowed: [2,40], or fewer",
    ),
    (
        "data=fsdd +data.x.frequency_masks=[2,500]",
        "+data.x.frequency_masks=[2,500]: cepstra hold no bands; "
        "allowed: null, or the field LogMel",
    ),
    ("depth=0", "depth=0: out of range; allowed: an integer >= 1"),
    ("depth=three", "depth=three: wrong type; allowed: an integer >= 1"),
    ("depth=null", "depth=null: wrong type; allowed: an integer >= 1"),
    ("depth=true", "depth=true: wrong type; allowed: an integer >= 1"),
    ("hidden_size=1.5", "hidden_size=1.5: wrong type; allowed: an integer >= 1"),
    ("bidirectional=2", "bidirectional=2: wrong type; allowed: true or false or auto"),
    ("dropout=1.5", "dropout=1.5: out of range; allowed: a number in [0, 1)"),
    ("dropout=1", "dropout=1: out of range; allowed: a number in [0, 1)"),
    ("dropout=nan", "dropout=nan: out of range; allowed: a number in [0, 1)"),
    ("seed=-1", "seed=-1: out of range; allowed: an integer from 0 to 4294967295"),
    ("seed=???", "seed=???: must be given; allowed: an integer from 0 to 4294967295"),
    (
        "resume=nowhere.ckpt",
        "resume=nowhere.ckpt: no such file; allowed: a checkpoint, as "
        "outputs/runs/.../checkpoints/last.ckpt, or null",
    ),
    (
        "replay=nowhere.pt",
        "replay=nowhere.pt: is a command now; allowed: python -m seqpipe replay file=..., with "
        "the same keys",
    ),
    (
        "trainer.max_bad_steps=-1",
        "trainer.max_bad_steps=-1: out of range; allowed: an integer >= 0",
    ),
    (
        "trainer.max_bad_steps=null",
        "trainer.max_bad_steps=null: wrong type; allowed: an integer >= 0",
    ),
    (
        "trainer.threads=0",
        "trainer.threads=0: out of range; allowed: an integer from 1 to 1024 or auto",
    ),
    (
        "trainer.threads=-1",
        "trainer.threads=-1: out of range; allowed: an integer from 1 to 1024 or auto",
    ),
    (
        "trainer.threads=1.5",
        "trainer.threads=1.5: wrong type; allowed: an integer from 1 to 1024 or auto",
    ),
    (
        "trainer.threads=1025",
        "trainer.threads=1025: out of range; allowed: an integer from 1 to 1024 or auto",
    ),
    (
        "trainer.threads=many",
        "trainer.threads=many: unknown choice; allowed: an integer from 1 to 1024 or auto",
    ),
    (
        "trainer.threads=null",
        "trainer.threads=null: wrong type; allowed: an integer from 1 to 1024 or auto",
    ),
    ("data.batch_size=0", "data.batch_size=0: out of range; allowed: an integer >= 1"),
    ("data.num_workers=-1", "data.num_workers=-1: out of range; allowed: an integer >= 0"),
    ("optim.lr=0", "optim.lr=0: out of range; allowed: a number > 0"),
    (
        "optim.betas=[0.9]",
        "optim.betas=[0.9]: out of range; allowed: a list of 2, each a number in [0, 1)",
    ),
    (
        "trainer.max_epochs=0",
        "trainer.max_epochs=0: out of range; allowed: an integer >= 1 or -1",
    ),
    (
        "trainer.max_time=01:00",
        "trainer.max_time=01:00: wrong form; allowed: DD:HH:MM:SS, a second or more or null",
    ),
    (
        "trainer.gradient_clip_algorithm=nrom",
        "trainer.gradient_clip_algorithm=nrom: unknown choice; allowed: norm, value; "
        "did you mean 'norm'?",
    ),
    (
        "trainer.gradient_clip_val=0",
        "trainer.gradient_clip_val=0: out of range; allowed: a number > 0 or null",
    ),
    (
        "architecture.pooling=meen",
        "architecture.pooling=meen: unknown choice; allowed: last, mean, max, flatten; "
        "did you mean 'mean'?",
    ),
    (
        "architecture.head.hidden=[64,0]",
        "architecture.head.hidden=[64,0]: out of range; allowed: a list, each an integer >= 1",
    ),
    (
        "architecture.head.hidden=64",
        "architecture.head.hidden=64: wrong type; allowed: a list, each an integer >= 1",
    ),
    (
        "architecture.encoder.depth=0",
        "architecture.encoder.depth=0: out of range; allowed: an integer >= 1",
    ),
    ("cell.forget_bias=big", "cell.forget_bias=big: wrong type; allowed: a number"),
    ("data.y.column=3", "data.y.column=3: wrong type; allowed: text"),
    (
        "task.monitor=accuracy",
        "task.monitor=accuracy: wrong form; allowed: auto, or a metric of the validation split, "
        "val/...",
    ),
    (
        "depth=${width}",
        "depth=${width}: leads nowhere (Interpolation key 'width' not found); "
        "allowed: a key that exists",
    ),
]
TARGETS = [
    (
        f"data.y._target_={FIELDS}.labels.Categry",
        f"data.y._target_={FIELDS}.labels.Categry: {FIELDS}.labels has no Categry; "
        "allowed: a class, as module.Class",
    ),
    (
        "data.y._target_=seqpipe.nothing.Category",
        "data.y._target_=seqpipe.nothing.Category: seqpipe.nothing cannot be imported: "
        "No module named 'seqpipe.nothing'; allowed: a class, as module.Class",
    ),
    (
        "data.y._target_=my_missing_module.Category",
        "data.y._target_=my_missing_module.Category: my_missing_module cannot be imported: "
        "No module named 'my_missing_module'; allowed: a class, as module.Class",
    ),
    (
        "~data.y.column",
        "~data.y.column: the run needs this key; allowed: leave ~data.y.column out",
    ),
]
COMMAND_LINE = [
    (
        "depth=[",
        "depth=[: cannot be read (no viable alternative at input '['); allowed: an integer >= 1",
    ),
    (
        "data=table data.path=a=b(ü).csv",
        "data.path=a=b(ü).csv: cannot be read (mismatched input '=' expecting <EOF>); "
        "allowed: in quotes, 'data.path=\"a=b(ü).csv\"'",
    ),
    (
        "data=table data.path=a,b.csv",
        "data.path=a,b.csv: several values; allowed: one value, or all of them in one: "
        "'data.path=[a,b.csv]', or a job for each with -m",
    ),
    (
        "cell=lst(m cell.forget_bais=1",
        "cell=lst(m: cannot be read (no viable alternative at input 'lst(m'); "
        f"allowed: {CELLS}; did you mean 'lstm'?",
    ),
    (
        "data=table data.path=x data.x.column=a,b.c",
        "data.x.column=a,b.c: several values; allowed: one value, or a job for each with -m; "
        "a comma of a name in quotes, 'data.x.column=\"a,b.c\"'",
    ),
    (
        "callbacks.ema._target_=my.EMA",
        "callbacks.ema._target_=my.EMA: unknown key; allowed: early_stopping, checkpoint, or a new "
        "one with its class: +callbacks.ema._target_=module.Class",
    ),
    (
        "~cell.forget",
        "~cell.forget: no such key; allowed: ~cell.forget_bias, ~cell.output_tanh, "
        "~cell.weight_drop, ~cell.hidden_dropout, ~cell.zoneout, ~cell.zoneout_memory, "
        "~cell.layer_norm, ~cell.recurrent_init, ~cell.kernel; "
        "did you mean '~cell.forget_bias'?",
    ),
    ("depth=1,2", "depth=1,2: several values; allowed: one value, or a job for each with -m"),
    ("~seed", "~seed: the run needs this key; allowed: leave ~seed out"),
    ("~depth", "~depth: the run needs this key; allowed: leave ~depth out"),
    (
        "data.y={digits:2}",
        "data.y={digits:2}: adds keys (digits); allowed: with a plus: +data.y={digits:2}",
    ),
    (
        "architecture.head={hiden:[3]}",
        "architecture.head={hiden:[3]}: adds keys (hiden); "
        "allowed: with a plus: +architecture.head={hiden:[3]}",
    ),
    (
        "architecture.head.hidden={a:3}",
        "architecture.head.hidden={a:3}: wrong type; allowed: a list, each an integer >= 1",
    ),
    ("data=table data.path=x data.x.column=5", "data.x.column=5: wrong type; allowed: text"),
    (
        "data=table data.path=x data.y=null",
        "data.y=null: is missing; allowed: a mapping with _target_",
    ),
    (
        "data.y._target_=3",
        "data.y._target_=3: wrong type; allowed: a class, as module.Class",
    ),
    (
        "+callbacks=ema",
        "+callbacks=ema: no such option; allowed: default, none; "
        "one more callback: +callbacks.ema._target_=module.Class",
    ),
    (
        "callbacks.foo.every=2",
        "callbacks.foo.every=2: unknown key; allowed: early_stopping, checkpoint, or a new one "
        "with its class: +callbacks.foo._target_=module.Class",
    ),
]
FLAGS = [
    ("--config-dir", "--config-dir: expected one argument; allowed: --config-dir CONFIG-DIR"),
    (
        "--cfg jobs",
        "--cfg: invalid choice: 'jobs' (choose from 'job', 'hydra', 'all'); "
        "allowed: --cfg job, --cfg hydra, --cfg all",
    ),
    (
        "--multirun=3",
        "--multirun: ignored explicit argument '3'; allowed: --multirun by itself",
    ),
    (
        "--hidden-size=3",
        "--hidden-size=3: no such flag; allowed: keys are written without dashes, hidden_size=3",
    ),
    ("--lr=3", "--lr=3: no such flag; allowed: keys are written without dashes, lr=3"),
    (
        "--experimental-rerun=config.pickle",
        "--experimental-rerun=config.pickle: would unpickle a file, which can run code; "
        "allowed: python -m seqpipe rerun run=FOLDER",
    ),
]


@pytest.mark.parametrize(("typed", "message"), FLAGS)
@pytest.mark.parametrize("place", ["before", "after"])
def test_a_flag_that_cannot_be_used_is_named_wherever_it_stands(typed, message, place):
    words = [*typed.split(), "cell=gru"] if place == "before" else ["cell=gru", *typed.split()]
    if typed == "--config-dir" and place == "before":
        words = ["-m", "--config-dir"]
    with pytest.raises(ConfigError) as caught:
        read_flags(words)
    assert caught.value.problems == [message]


def test_a_primary_configuration_that_is_not_there_is_named_as_a_flag():
    with pytest.raises(ConfigError, match=r"^--config-name=foo: no such configuration; allowed: "):
        check([], config_name="foo")


def test_two_values_that_read_each_other_are_reported():
    with pytest.raises(ConfigError, match="leads nowhere"):
        compose(["seed=${data.seed}"])


@pytest.mark.parametrize(
    ("override", "message"), [*UNKNOWN_KEYS, *OPTIONS, *VALUES, *TARGETS, *COMMAND_LINE]
)
def test_what_is_wrong_is_said_in_full(override, message):
    with pytest.raises(ConfigError) as caught:
        compose(override.split())
    assert caught.value.problems == [message]


def test_an_argument_that_no_option_lists_is_checked_against_the_real_constructor():
    with pytest.raises(ConfigError) as caught:
        compose(["+trainer.profilr=simple"])
    (problem,) = caught.value.problems
    assert problem.startswith("+trainer.profilr=simple: unknown key; allowed: accelerator, ")
    assert "inference_mode, profiler, detect_anomaly" in problem
    assert problem.endswith("; did you mean 'profiler'?")


def test_names_and_values_that_no_class_takes_are_reported_together():
    with pytest.raises(ConfigError) as caught:
        compose(["cell=lsmt", "detph=3", "optim.lr=0", "trainer.max_epoch=3", "depth=[", "seed=-1"])
    assert [problem.partition(":")[0] for problem in caught.value.problems] == [
        "depth=[",
        "cell=lsmt",
        "detph=3",
        "trainer.max_epoch=3",
        "optim.lr=0",
        "seed=-1",
    ]
    assert str(caught.value).startswith("6 problems in the configuration:\n  1. depth=[: ")


def test_values_of_classes_are_judged_once_all_names_are_right():
    typed = ["dropout=1.5", "hidden_size=0", "data.window=1"]
    assert [one.partition(":")[0] for one in check(["detph=3", *typed]).problems] == ["detph=3"]
    assert [one.partition(":")[0] for one in check(typed).problems] == [
        *("data.window=1", "hidden_size=0", "dropout=1.5")
    ]


def test_options_that_exclude_each_other_are_judged_once_all_values_are_right():
    assert [one.partition(":")[0] for one in check(["task=regression", "depth=0"]).problems] == [
        "depth=0"
    ]
    assert [one.partition(":")[0] for one in check(["task=regression"]).problems] == [
        "task=regression"
    ]


def test_a_configuration_changed_after_composing_is_checked_again():
    cfg, choices = compose([])
    cfg.depth = 0
    with pytest.raises(ConfigError, match=r"^depth=0: out of range; allowed: an integer >= 1$"):
        validate(cfg, choices)


@pytest.mark.parametrize("other", ["many_to_many", "one_to_many", "encoder_decoder"])
def test_an_option_that_does_not_fit_is_the_only_problem(other):
    """Not what the data gave to the architecture that it brings."""
    typed = ["data=table", "data.path=x.csv", f"architecture={other}"]
    (problem,) = check(typed).problems
    assert problem.startswith(f"architecture={other}: data=table maps a text to one category")


def test_what_is_refused_for_its_plus_is_judged_with_its_value():
    typed = ["+optim.weight_decay=0.1", "optim.weight_decay_on=all"]
    (problem,) = check(typed).problems
    assert problem.startswith("+optim.weight_decay=0.1: is in the configuration already;")
    assert check(["optim.weight_decay=0.1", typed[1]]).problems == []


def test_an_option_of_a_part_that_is_not_there_is_refused_as_typed():
    typed = "architecture.teacher_forcing_decay=linear"
    assert check(["data=dates", typed]).problems == []
    with pytest.raises(ConfigError) as error:
        check(["data=digits", typed])
    text = "the chosen architecture has no teacher_forcing_decay; allowed: leave it out, or another"
    assert str(error.value) == f"{typed}: {text} architecture"


NO_PLACE = "the configuration has no such place; allowed"
PLACES = [
    ("experiment=null", "experiment=null: none is chosen without it; allowed: leave it out, abc"),
    ("~experiment", "~experiment: cannot be deleted; allowed: leave it out"),
    ("sweep=null", "sweep=null: none is chosen without it; allowed: leave it out, cells"),
    ("cell@foo=gru", f"cell@foo=gru: {NO_PLACE}: cell=gru"),
    ("~stack", f"~stack: {NO_PLACE}: leave it out"),
    (
        "stack=feedforward",
        f"stack=feedforward: {NO_PLACE}: stack@architecture.encoder=feedforward",
    ),
    (
        "stack=feedforward data=dates",
        f"stack=feedforward: {NO_PLACE}: stack@architecture.decoder=feedforward or "
        "stack@architecture.encoder=feedforward",
    ),
]


@pytest.mark.parametrize(("line", "text"), PLACES)
def test_an_option_without_a_place_is_refused_with_those_there_are(line, text):
    try:
        (problem,) = check(line.split()).problems
    except ConfigError as error:  # nothing is composed
        problem = str(error)
    assert problem.startswith(text)


@pytest.mark.parametrize(
    ("cell", "allowed"),
    [("rnn", "nonlinearity, recurrent_gain, input_std, "), ("gru_simplified", "")],
)
def test_where_all_arguments_of_a_class_are_listed_no_others_are_offered(cell, allowed):
    (problem,) = check([f"cell={cell}", "cell.foo=1"]).problems
    shared = "weight_drop, hidden_dropout, zoneout, layer_norm, recurrent_init, kernel"
    assert problem == f"cell.foo=1: unknown key; allowed: {allowed}{shared}"


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("depth={a:1}", "wrong type; allowed: an integer >= 1"),
        ("dropout={a:1}", "wrong type; allowed: a number in [0, 1)"),
        ("bidirectional={a:1}", "wrong type; allowed: true or false or auto"),
        ("architecture.pooling=${cell}", "wrong type; allowed: last, mean, max, flatten"),
    ],
)
def test_a_mapping_that_a_part_reads_in_place_of_a_value_is_refused(line, text):
    assert check([line]).problems == [f"{line}: {text}"]
