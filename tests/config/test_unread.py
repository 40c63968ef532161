"""A typed key that nothing would read is refused, with what would give it an effect."""

import pytest

from seqpipe.config.commandline import check
from seqpipe.config.compose import compose
from seqpipe.errors import ConfigError

FILES = "data=table data.path=a.csv data.source.valid=v.csv data.source.test=[t.csv,u.csv]"
UNREAD = [
    ("data=fasta data.source.label_column=kind", "no table of labels is read"),
    ("data=conll data.source.scheme=null data.source.convert_to=bioes", "no spans are read"),
    ("data=conll data.source.scheme=null data.source.invalid=repair", "no spans are read"),
    (f"{FILES} data.source.seed=3", "every split is named, so nothing is drawn"),
    (f"{FILES} data.source.group=[x]", "every split is named, so nothing is drawn"),
    (f"{FILES} data.source.stratify=label", "every split is named, so nothing is drawn"),
    (f"{FILES} data.source.order=file", "every split is named, so nothing is drawn"),
    (
        "data=dates task.decoding=beam task.beam_size=1 task.length_penalty=1.0",
        "with one hypothesis there is nothing to compare",
    ),
    ("data=python_docs task.sample_length=0 task.sample_temperature=0.5", "no samples are drawn"),
    ("data=table data.path=a.jsonl data.source.quote=x", "jsonl has none"),
    ("data=table data.path=a.parquet data.source.encoding=latin-1", "parquet has none"),
    ("data=table data.path=a data.source.format=jsonl data.source.quote=x", "jsonl has none"),
    (
        "data=table data.path=a.csv data.x.by=bytes data.x.max_vocabulary=300",
        "by bytes there are always 260 symbols",
    ),
    ("data=pairs data.path=a.tsv data.y.by=bytes data.y.max_vocabulary=300", "by bytes there are"),
    (
        "data=table data.path=a.csv data.source.order=file data.source.seed=3",
        "in the order of the file nothing is drawn",
    ),
    (
        "data=names data.path=. +data.source.local.order=file data.source.local.seed=3",
        "in the order of the file nothing is drawn",
    ),
    ("data=ag_news data.path=. data.source.hub.name=x", "the data is read from files"),
    ("data=ag_news data.source.local.train=x.csv", "the data is read from the hub"),
    ("data=audio_folders data.path=a data.source.encoding=latin-1", "no list of files is read"),
    ("data=video data.path=a data.source.encoding=latin-1", "no list of files is read"),
    ("data=video data.path=a data.source.pattern='(?P<who>.+)_.*'", "nothing reads who"),
    ("data=long_csv data.path=a.csv data.source.tags=part", "neither x nor y reads it"),
    ("data=long_csv data.path=a.csv data.source.targets=[z]", "neither x nor y reads it"),
    ("architecture.encoder.hidden_size=6 hidden_size=5", "read in its place: architecture.encoder"),
    ("architecture.encoder.dropout=0 dropout=0.5", "read in its place: architecture.encoder"),
    ("depth=1 output_dropout=0.3 dropout=0.5", "the only layer drops by output_dropout"),
    ("init_range=0.1 cell.recurrent_init=uniform", "init_range draws all weights"),
    (
        "data=digits_flat architecture=one_to_one cell=none input_dropout=0.3",
        "nothing reads it; allowed: leave it out",
    ),
    (
        "data=digits_flat architecture=one_to_one cell=none locked_dropout=true",
        "nothing reads it; allowed: leave it out",
    ),
    ("architecture.encoder.bidirectional=false bidirectional=true", "read in its place: "),
    (
        "data=dates architecture.encoder.depth=1 architecture.decoder.depth=1 depth=2",
        "read in its place: architecture.encoder.depth, architecture.decoder.depth",
    ),
    ("diagnostics.examples=0 diagnostics.every=10", "no example is looked at"),
    ("diagnostics=none diagnostics.every=10", "no example is looked at"),
    ("trainer.gradient_clip_val=null trainer.gradient_clip_algorithm=norm", "nothing is clipped"),
    ("trainer=overfit trainer.limit_train_batches=3", "read in its place: trainer.overfit_batches"),
    ("trainer.overfit_batches=1 trainer.limit_val_batches=0.5", "read in its place: "),
    ("trainer.overfit_batches=0.1 trainer.limit_test_batches=3", "read in its place: "),
    ("callbacks=none trainer.min_epochs=2", "nothing stops the training early"),
    ("~callbacks.early_stopping +trainer.min_steps=9", "nothing stops the training early"),
    (
        "scheduler=step trainer.max_epochs=5 scheduler.gamma=0.1",
        "the learning rate would not change within trainer.max_epochs=5",
    ),
    (
        "scheduler=step trainer.max_epochs=1 scheduler.step_size=1",
        "the learning rate would not change within trainer.max_epochs=1; allowed: leave it out, "
        "or more trainer.max_epochs",
    ),
    (
        "scheduler=step trainer.max_epochs=5 scheduler.step_size=5",
        "the learning rate would not change within trainer.max_epochs=5",
    ),
    ("match_parameters=20000 hidden_size=50", "match_parameters=20000 chooses it"),
    ("match_parameters_count=all", "no number of parameters is given"),
    (
        "architecture.encoder.hidden_size=9 match_parameters=20000",
        "nothing reads hidden_size, which it would choose",
    ),
    (
        "averaging=asgd averaging.start_epoch=2 averaging.patience=3",
        "averaging begins with epoch 2 (averaging.start_epoch); allowed: leave it out",
    ),
    (
        "averaging=asgd trainer.max_epochs=5 averaging.start_epoch=6",
        "training ends with epoch 5, before averaging begins; allowed: leave it out, or at most 5",
    ),
    (
        "scheduler=decay trainer.max_epochs=5 scheduler.start_epoch=5",
        "the learning rate would not change within trainer.max_epochs=5; allowed: leave it out, "
        "or scheduler.start_epoch below 5",
    ),
]
READ = [
    "match_parameters=20000 match_parameters_count=all",
    "depth=2 output_dropout=0.3 dropout=0.5",
    "depth=1 output_dropout=null dropout=0.5",
    "init_range=null cell.recurrent_init=identity",
    "averaging=asgd averaging.patience=3",
    "averaging=asgd averaging.start_epoch=5 trainer.max_epochs=5",
    "data=fasta data.source.labels=l.csv data.source.label_column=kind",
    "data=table data.path=a.csv data.source.valid=v.csv data.source.seed=3",
    f"{FILES}",
    f"{FILES} data.source.group=null",
    "architecture.head.activation=tanh architecture.head.hidden=[4]",
    "data=dates task.decoding=beam task.beam_size=2 task.length_penalty=1.0",
    "data=table data.path=a.jsonl data.source.encoding=latin-1",
    "data=table data.path=[a.jsonl,b.csv] data.source.quote=x",
    "data=table data.path=a.csv data.x.by=bytes",  # the option's max_vocabulary was not typed
    "data=class_folders data.path=a data.source.valid=b data.source.test=c",  # nor its stratify
    "data=adding data.source.seed=3",
    "data=table data.path=a.csv data.source.order=file data.source.group=[text]",
    "data=ag_news data.path=. data.source.local.train=x.csv",
    "data=ag_news data.source.hub.name=x",
    "data=video data.path=a data.source.train=b.csv data.source.encoding=latin-1",
    "data=audio_folders data.path=a data.source.test=[b.txt] data.source.encoding=latin-1",
    "data=long_csv data.path=a.csv data.source.label=kind",
    "data=video data.path=a data.y.column=who data.source.pattern='(?P<who>.+)_.*'",
    "data=video data.path=a data.source.group=[who] data.source.pattern='(?P<who>.+)_.*'",
    "data=long_csv data.path=a.csv data.source.tags=part data.y.column=tags architecture="
    "many_to_many task=tagging data.y._target_=seqpipe.data.fields.labels.Tags",
    "data=dates architecture.encoder.hidden_size=6 hidden_size=5",  # the decoder reads it
    "diagnostics.examples=2 diagnostics.every=10",
    "trainer.limit_train_batches=3 trainer.overfit_batches=0",
    "trainer.min_epochs=2",
    "callbacks=none trainer.min_epochs=2 trainer.max_time=00:00:01:00",
    "scheduler=step trainer.max_epochs=5",
    "scheduler=step trainer.max_epochs=5 scheduler.step_size=4 scheduler.gamma=0.1",
    "scheduler=step scheduler.gamma=0.1 trainer.max_epochs=-1 trainer.max_steps=100",
    "scheduler=step scheduler.gamma=0.1 trainer=debug",
    "scheduler=decay scheduler.start_epoch=4 scheduler.gamma=0.1 trainer.max_epochs=5",
]


@pytest.mark.parametrize(("line", "why"), UNREAD)
def test_a_typed_key_that_nothing_reads_is_refused(line, why):
    with pytest.raises(ConfigError) as caught:
        compose(line.split())
    (problem,) = caught.value.problems
    typed = line.split()[-1].replace("'", "")
    assert problem.replace("'", "").startswith(f"{typed}: {why}")
    assert "; allowed: leave it out" in problem


@pytest.mark.parametrize("line", READ)
def test_a_key_that_something_reads_is_taken(line):
    compose(line.split())
    assert check(line.split(), sweep=False).problems == []


def test_a_job_of_a_sweep_that_would_not_read_its_key_is_refused():
    typed = ["diagnostics.every=10,20", "diagnostics.examples=0"]
    problems = check(typed, sweep=True).problems
    assert [problem.partition(":")[0] for problem in problems] == [
        f"diagnostics.every={number}" for number in (10, 20)
    ]
    assert check([typed[0], "diagnostics.examples=2"], sweep=True).problems == []
