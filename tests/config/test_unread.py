"""A typed key that nothing would read is refused, with what would give it an effect."""

import pytest

from seqpipe.config.compose import compose
from seqpipe.errors import ConfigError

FILES = "data=table data.path=a.csv data.source.valid=v.csv data.source.test=[t.csv,u.csv]"
UNREAD = [
    ("data=fasta data.source.label_column=kind", "no table of labels is read"),
    (f"{FILES} data.source.seed=3", "every split is named, so nothing is drawn"),
    (f"{FILES} data.source.group=[x]", "every split is named, so nothing is drawn"),
    (f"{FILES} data.source.stratify=label", "every split is named, so nothing is drawn"),
    (f"{FILES} data.source.order=file", "every split is named, so nothing is drawn"),
    ("architecture.head.activation=tanh", "acts between layers of the head, which has one"),
    (
        "data=dates task.decoding=beam task.beam_size=1 task.length_penalty=1.0",
        "with one hypothesis there is nothing to compare",
    ),
    ("data=python_docs task.sample_length=0 task.sample_temperature=0.5", "no sample is drawn"),
    ("data=table data.path=a.jsonl data.source.quote=x", "jsonl has none"),
    ("data=table data.path=a.parquet data.source.encoding=latin-1", "parquet has none"),
    ("data=table data.path=a data.source.format=jsonl data.source.quote=x", "jsonl has none"),
    (
        "data=table data.path=a.csv data.x.by=bytes data.x.max_vocabulary=300",
        "by bytes there are always 260 symbols",
    ),
    ("data=pairs data.path=a.tsv data.y.by=bytes data.y.max_vocabulary=300", "by bytes there are"),
]
READ = [
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
]


@pytest.mark.parametrize(("line", "why"), UNREAD)
def test_a_typed_key_that_nothing_reads_is_refused(line, why):
    with pytest.raises(ConfigError) as caught:
        compose(line.split())
    (problem,) = caught.value.problems
    assert problem.startswith(f"{line.split()[-1]}: {why}")
    assert "; allowed: leave it out" in problem


@pytest.mark.parametrize("line", READ)
def test_a_key_that_something_reads_is_taken(line):
    compose(line.split())


def test_a_job_of_a_sweep_that_would_not_read_its_key_is_refused():
    from seqpipe.config.commandline import check

    typed = ["architecture.head.activation=relu,tanh", "architecture.head.hidden=[]"]
    problems = check(typed, sweep=True).problems
    assert [problem.partition(":")[0] for problem in problems] == [
        f"architecture.head.activation={name}" for name in ("relu", "tanh")
    ]
    assert check([typed[0], "architecture.head.hidden=[4]"], sweep=True).problems == []
