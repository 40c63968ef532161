"""What the jobs of a sweep note: enough to tell which of them can be compared."""

import pytest

from seqpipe.build import build_data
from seqpipe.config.compose import Launch, compose
from seqpipe.report.sweep_jobs import read_jobs
from seqpipe.runs import identity
from seqpipe.runs.sweep import noted

ADDING = ("data=adding", "data.length=6", "data.source.valid=16", "data.source.test=16")


def judged_on(*typed):
    cfg, _ = compose(typed)
    return identity.judged_on(cfg, build_data(cfg))


@pytest.mark.parametrize("typed", ["data.batch_size=16", "data.batch_tokens=64", "seed=1"])
def test_how_batches_are_made_is_no_other_data(typed):
    first = judged_on(*ADDING, "data.source.train=60")
    assert judged_on(*ADDING, "data.source.train=60", typed) == first


@pytest.mark.parametrize("typed", ["data.length=7", "data.source.valid=17", "data.source.test=17"])
def test_another_validation_or_test_is_other_data(typed):
    first = judged_on(*ADDING, "data.source.train=60")
    assert judged_on(*ADDING, "data.source.train=60", typed) != first


def test_a_text_in_other_pieces_is_the_same_data_and_one_by_words_is_other(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("\n\n".join(f"The cat sat on mat number {k}." for k in range(60)))
    text = ("data=stream", f"data.path={path}", "data.bptt=null")
    whole = judged_on(*text, "data.window=16")
    assert judged_on(*text, "data.window=32") == whole
    assert judged_on(*text, "data.y.by=words", "data.window=16") != whole


def test_a_job_notes_what_it_was_judged_on(tmp_path):
    cfg, choices = compose(["data=adding"])
    launch = Launch(tmp_path / "0", tmp_path, choices, ("data=adding",))
    with noted(tmp_path, 0, cfg, launch) as ended:
        ended.judged_on = "abc"
    (job,) = read_jobs(tmp_path)
    assert (job.judged_on, job.folder) == ("abc", "0")
