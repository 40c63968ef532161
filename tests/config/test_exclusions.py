"""Options that exclude each other, and combinations that must go on working."""

import re

import pytest

from seqpipe.config.compose import compose
from seqpipe.config.validate import problems_of, validate
from seqpipe.errors import ConfigError

CELLS = "gru, gru_simplified, irnn, lstm, lstm_peephole, none, rnn"
FIELDS = "seqpipe.data.fields"
BOTH_WAYS = "the decoder would read its own answer, y_{t+1}; allowed: false"
CUT = (
    "x and y cannot be cut together; "
    "allowed: null, or a y for each step (Tags), or text without an x"
)
EXCLUSIONS = [
    (
        "data=python_docs bidirectional=true",
        "bidirectional=true: " + BOTH_WAYS,
    ),
    (
        "data=dates architecture.decoder.bidirectional=true",
        "architecture.decoder.bidirectional=true: " + BOTH_WAYS,
    ),
    (
        "data=dates architecture.decoder.learn_initial_state=true",
        "architecture.decoder.learn_initial_state=true: the decoder starts in the state that "
        "architecture.bridge chooses; allowed: false",
    ),
    (
        "data=dates architecture.attention=none architecture.input_feeding=true",
        "architecture.input_feeding=true: without attention there is no attentional vector to read;"
        " allowed: false, or also architecture.attention=additive",
    ),
    (
        "data=dates architecture.attention=dot architecture.coverage=true",
        "architecture.coverage=true: attention=dot does not read what is covered; allowed: false, "
        "or also architecture.attention=additive",
    ),
    (
        "data=dates architecture.coverage_penalty=1",
        "architecture.coverage_penalty=1: attention does not read what is covered; allowed: 0, or "
        "also architecture.coverage=true",
    ),
    (
        "data=dates architecture.attention=none architecture.bridge=zero",
        "architecture.bridge=zero: without attention y would not depend on x; allowed: last, or "
        "also architecture.attention=additive",
    ),
    (
        "data=python_docs architecture.keys=autoregressive",
        "architecture.keys=autoregressive: a step of y is one symbol and no notes; "
        "allowed: independent",
    ),
    (
        "cell=irnn init_range=0.1",
        "init_range=0.1: draws all weights, also those of cell.recurrent_init=identity; allowed: "
        "null, or cell.recurrent_init=orthogonal",
    ),
    (
        "dropout=0 locked_dropout=true",
        "locked_dropout=true: nothing is dropped; allowed: false, or also dropout=0.2",
    ),
    (
        "data=digits_flat cell=lstm",
        "cell=lstm: architecture=one_to_one has no recurrence; allowed: cell=none",
    ),
    (
        "data=digits_flat bidirectional=true",
        "bidirectional=true: architecture=one_to_one has no time axis to read backwards; "
        "allowed: bidirectional=false",
    ),
    (
        "cell=none",
        "cell=none: architecture=many_to_one is recurrent; "
        "allowed: gru, gru_simplified, irnn, lstm, lstm_peephole, rnn",
    ),
    (
        "architecture=many_to_many",
        "architecture=many_to_many: data=digits maps a series to one category; "
        "allowed: architecture=many_to_one, or data=...",
    ),
    (
        "data=dates architecture=one_to_many",
        "architecture=one_to_many: data=dates maps a text to a text; "
        "allowed: architecture=encoder_decoder, or architecture=many_to_many task=transcription, "
        "or data=...",
    ),
    (
        "data=dates architecture=many_to_many",
        "task=transduction: does not fit data=dates; "
        "allowed: task=transcription or architecture=encoder_decoder",
    ),
    (
        "data=dates task=transcription",
        "task=transcription: does not fit data=dates; "
        "allowed: task=transduction or architecture=many_to_many",
    ),
    (
        "data=dates architecture=many_to_many task=transcription data.window=9",
        f"data.window=9: {CUT}",
    ),
    ("task=tagging", "task=tagging: does not fit data=digits; allowed: task=classification"),
    (
        f"data=digits_flat data.y._target_={FIELDS}.labels.Tags",
        f"data.y={FIELDS}.labels.Tags: no architecture maps one vector to a tag for each "
        "step; allowed: a piano roll or a text or any of several labels or one category or one "
        "number or one ordered class",
    ),
    (
        "data=jsb_chorales architecture.embedding_size=8",
        "architecture.embedding_size=8: each step is a row of numbers, without "
        "an embedding; allowed: null",
    ),
    (
        "data=jsb_chorales task=language_modeling",
        "task=language_modeling: does not fit data=jsb_chorales; allowed: task=multi_label",
    ),
    (
        f"data.y._target_={FIELDS}.multilabel.MultiLabel",
        "task=classification: does not fit data=digits; allowed: task=multi_label",
    ),
    (
        "data=jsb_chorales task.threshold=1",
        "task.threshold=1: out of range; allowed: a number in (0, 1)",
    ),
    (
        "data.window=3",
        f"data.window=3: {CUT}",
    ),
    (
        "trainer.max_epochs=-1",
        "trainer.max_epochs=-1: training would not end; "
        "allowed: also trainer.max_steps or trainer.max_time",
    ),
    (
        "trainer.max_epochs=-1 trainer.max_time=00:00:01:00 scheduler=cosine",
        "scheduler=cosine: needs to know the number of steps; "
        "allowed: trainer.max_epochs or max_steps",
    ),
    (
        "averaging=ema "
        "+callbacks.mine._target_=pytorch_lightning.callbacks.StochasticWeightAveraging "
        "+callbacks.mine.swa_lrs=0.1",
        "averaging=ema: callbacks.mine averages the weights as well; "
        "allowed: one of them, none or ~callbacks.mine",
    ),
    (
        "architecture.head=crf",
        "architecture.head=crf: scores sequences of tags, but architecture=many_to_one predicts "
        "none; allowed: architecture.head=linear, or data of task=tagging",
    ),
    (
        "data=dates architecture=many_to_many task=transcription architecture.head=crf",
        "architecture.head=crf: scores sequences of tags, but task=transcription predicts none; "
        "allowed: architecture.head=linear, or data of task=tagging",
    ),
    (
        "architecture.pooling=flatten",
        "architecture.pooling=flatten: has weights for each step, so the greatest number of steps "
        "must be known; allowed: also data.max_length=N, the steps of the longest x; or max, mean, "
        "last",
    ),
    (
        "data=copy_memory architecture.head=crf task.label_smoothing=0.1",
        "task.label_smoothing=0.1: smooths the tags of one step, but a CRF predicts "
        "whole sequences; allowed: 0",
    ),
    (
        "data=copy_memory architecture.head=crf data.bptt=8",
        "data.bptt=8: architecture.head=crf needs the previous tag, which the carried state "
        "does not hold; allowed: null, data.window in its place, or architecture.head=linear",
    ),
    (
        "data=copy_memory architecture.head=crf architecture.head.dropout=0.5",
        "architecture.head.dropout=0.5: acts between the layers of the head, which has only one; "
        "allowed: 0, or also architecture.head.hidden=[64]",
    ),
    (
        "architecture.head.activation=tanh",
        "architecture.head.activation=tanh: acts between the layers of the head, which has only "
        "one; allowed: relu, or also architecture.head.hidden=[64]",
    ),
    (
        "data=copy_memory architecture.head=crg",
        "architecture.head=crg: no such option; allowed: crf, linear; did you mean 'crf'?",
    ),
    (
        "architecture.head=null",
        "architecture.head=null: an option must be chosen; allowed: crf, linear",
    ),
    (
        "data=python_tokens +architecture.head=crf",
        "+architecture.head=crf: is in the configuration already; "
        "allowed: without the plus: architecture.head=crf",
    ),
    (
        "data.source.valid=0.5 data.source.test=0.5",
        "data.source.test=0.5: leaves nothing to train on, with data.source.valid=0.5; "
        "allowed: shares that together are less than 1",
    ),
    (
        "architecture.embedding_size=8",
        "architecture.embedding_size=8: each step is a row of numbers, without an embedding; "
        "allowed: null",
    ),
    (
        "data=dates architecture.characters=cnn",
        "architecture.characters=cnn: x does not hold the characters of words; "
        "allowed: null, or a Spelled x",
    ),
    (
        "architecture.characters_size=8",
        "architecture.characters_size=8: x does not hold the characters of words; "
        "allowed: null, or a Spelled x",
    ),
    (
        "data=python_docs architecture.freeze_vectors=true",
        "architecture.freeze_vectors=true: random vectors would never be trained; "
        "allowed: false, or data.y.vectors=FILE",
    ),
    (
        "optim=sgd optim.nesterov=true optim.momentum=0",
        "optim.nesterov=true: needs a momentum; allowed: optim.momentum=0.9, or false",
    ),
    (
        "optim=sgd optim.weight_decay_on=all",
        "optim.weight_decay_on=all: has no effect with optim.weight_decay=0; "
        "allowed: matrices, or a decay above 0",
    ),
    (
        "optim.weight_decay_on=biases",
        "optim.weight_decay_on=biases: unknown choice; allowed: matrices, all",
    ),
    (
        "trainer.gradient_clip_val=null trainer.gradient_clip_algorithm=value",
        "trainer.gradient_clip_algorithm=value: nothing is clipped; "
        "allowed: leave it out, or also trainer.gradient_clip_val=1.0",
    ),
    (
        "data=identifiers architecture.decoder.learn_initial_state=true",
        "architecture.decoder.learn_initial_state=true: "
        "the decoder starts in a state made from the condition; allowed: false",
    ),
    (
        "data=adding data.length=0",
        "data.length=0: out of range; allowed: an integer >= 2 (a step for each mark)",
    ),
    (
        "data=python_docs data.by=word",
        "data.by=word: unknown choice; allowed: characters, words, tokens, bytes, subwords, "
        "graphemes, spelled; did you mean 'words'?",
    ),
    (
        "cell=rnn cell.nonlinearity=sigmoid",
        "cell.nonlinearity=sigmoid: unknown choice; allowed: tanh, relu",
    ),
    (
        "data=dates task.beam_size=5",
        "task.beam_size=5: greedy decoding has no beam; allowed: null, or also task.decoding=beam",
    ),
    (
        "data=dates task.length_penalty=0.0",
        "task.length_penalty=0.0: greedy decoding has no beam; "
        "allowed: null, or also task.decoding=beam",
    ),
    (
        "data=yesno data.path=x task.beam_size=1",
        "task.beam_size=1: greedy decoding has no beam; allowed: null, or also task.decoding=beam",
    ),
    (
        "data=dates architecture.teacher_forcing=0 architecture.teacher_forcing_decay=linear",
        "architecture.teacher_forcing=0: is 0 from the start, so "
        "architecture.teacher_forcing_decay "
        "would do nothing; allowed: above 0, or architecture.teacher_forcing_decay=none",
    ),
    (
        "data=dates architecture.teacher_forcing=0.5 architecture.teacher_forcing_decay=linear "
        "architecture.teacher_forcing_decay.end=0.5",
        "architecture.teacher_forcing_decay.end=0.5: is no less than "
        "architecture.teacher_forcing=0.5; allowed: less than that",
    ),
    (
        "data=dates architecture.teacher_forcing_decay=exponential "
        "architecture.teacher_forcing_decay.base=1.0",
        "architecture.teacher_forcing_decay.base=1.0: out of range; allowed: a number in (0, 1)",
    ),
    (
        "data=dates task.decoding=bean",
        "task.decoding=bean: unknown choice; allowed: greedy, beam; did you mean 'beam'?",
    ),
    (
        "cell=gruu cell.reset_after=true",
        f"cell=gruu: no such option; allowed: {CELLS}; did you mean 'gru'?",
    ),
]


@pytest.mark.parametrize(("overrides", "message"), EXCLUSIONS)
def test_options_that_exclude_each_other_are_named_with_what_would_work(overrides, message):
    with pytest.raises(ConfigError) as caught:
        compose(overrides.split())
    # Which packaged data would work is for the next test: there is more with every source.
    assert [re.sub(", or data=.*", ", or data=...", p) for p in caught.value.problems] == [message]


def test_a_training_that_an_older_version_began_with_both_goes_on(tmp_path):
    checkpoint = tmp_path / "last.ckpt"
    checkpoint.touch()
    cfg, _ = compose(["cell=irnn", "init_range=0.1", f"resume={checkpoint}"])
    assert cfg.init_range == 0.1


def test_data_that_would_work_with_the_architecture_is_named_three_at_most():
    with pytest.raises(ConfigError) as caught:
        compose(["architecture=many_to_many"])
    (problem,) = caught.value.problems
    named = problem.partition(", or ")[2].removesuffix(", ...").split(", ")
    assert 0 < len(named) <= 3
    for data in named:
        cfg, _ = compose([data])
        assert cfg.architecture._target_ == "seqpipe.models.many_to_many.ManyToMany"


ACCEPTED = [
    "seed=0 dropout=0 data.num_workers=0",
    "dropout=0.999 hidden_size=1 depth=1 bidirectional=true",
    "trainer.precision=bf16-mixed trainer.devices=auto trainer.max_time=00:00:01:30",
    "trainer.max_epochs=-1 trainer.max_steps=10 scheduler=cosine",
    "trainer.limit_train_batches=3 trainer.limit_val_batches=0.5 trainer.gradient_clip_val=null",
    "architecture.head.hidden=[64,32] architecture.pooling=mean",
    "architecture.pooling=flatten data.max_length=8",
    "data=copy_memory architecture.head=crf task.class_weights=sqrt data.window=64",
    "data=copy_memory architecture.head.hidden=[64] architecture.head=crf",
    "data=dates bidirectional=true architecture.encoder.learn_initial_state=true",
    "data=dates task.decoding=beam task.beam_size=3 task.length_penalty=0",
    "data=yesno data.path=x task.decoding=beam",
    "data=dates architecture=many_to_many task=transcription",
    "data=dates architecture.attention=none architecture.teacher_forcing=0.5",
    "data=python_docs data.by=words data.window=64",
    f"data=python_tokens data.x._target_={FIELDS}.spelling.Spelled ~data.x.by "
    "architecture.characters=lstm architecture.characters_size=20",
    "data=python_docs data.by=words +data.y.vectors=glove.txt architecture.freeze_vectors=true",
    "data=adding data.length=400 cell=gru cell.reset_after=true",
    "optim=sgd optim.nesterov=true optim.lr=1",
    "optim=adamw optim.weight_decay_on=all",
    "callbacks=none scheduler=plateau",
    "~callbacks.early_stopping",
    "+trainer.min_steps=3 hydra.run.dir=/tmp/x",
    "+trainer.profiler=simple",
]


@pytest.mark.parametrize("overrides", ACCEPTED)
def test_what_can_work_is_accepted(overrides):
    cfg, choices = compose(overrides.split())
    validate(cfg, choices)
    assert problems_of(cfg, choices) == []
