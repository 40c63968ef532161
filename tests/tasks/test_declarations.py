"""What tasks and architectures declare: the x and y they fit, and metrics that are better high."""

import pytest

from seqpipe.config.compatibility import packaged_fits
from seqpipe.data.kinds import KINDS, FieldSpec
from seqpipe.errors import ConfigError
from seqpipe.tasks.base import HIGH_IS_BETTER
from seqpipe.tasks.classification import Classification


def test_every_kind_of_entry_has_an_architecture_and_a_task():
    fits = packaged_fits()
    assert {y for _, y in fits} == {name for name, kind in KINDS.items() if "y" in kind.roles}
    kinds = {name for name, kind in KINDS.items() if "x" in kind.roles}
    assert {x for x, _ in fits} == {None, *kinds}


def test_what_is_translated_can_also_be_transcribed_and_translation_comes_first():
    fits = packaged_fits()["symbols", "symbols"]
    assert [(fit.architecture, fit.task) for fit in fits] == [
        ("encoder_decoder", "transduction"),
        ("many_to_many", "transcription"),
    ]
    several = {pair for pair, found in packaged_fits().items() if len(found) > 1}
    assert several == {(x, "symbols") for x in ("symbols", "spelled", "values")}


class Hits(Classification):
    """A task with a metric of its own."""

    high_is_better = HIGH_IS_BETTER | {"hit_rate"}

    def metric_names(self):
        return ["loss", "hit_rate", "miss_rate"]


@pytest.mark.parametrize(("metric", "mode"), [("hit_rate", "max"), ("miss_rate", "min")])
def test_a_task_says_which_of_its_own_metrics_are_better_high(metric, mode):
    y = FieldSpec("category", 3)
    assert Hits(y=y, monitor=f"val/{metric}", mode=mode).better(f"val/{metric}") == mode
    wrong = {"max": "min", "min": "max"}[mode]
    with pytest.raises(ConfigError) as refused:
        Hits(y=y, monitor=f"val/{metric}", mode=wrong)
    assert refused.value.problems == [
        f"task.mode={wrong}: would treat a worse val/{metric} as better; allowed: task.mode={mode}"
    ]
