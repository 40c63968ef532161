"""A class named in place of another: what its option wrote for the old one goes with it."""

import pytest

from seqpipe.config.compose import compose
from seqpipe.config.config_view import Tree
from seqpipe.errors import ConfigError

FIELDS, SOURCES = "seqpipe.data.fields", "seqpipe.data.sources"


def node(key, *overrides):
    cfg, _ = compose(overrides)
    found = Tree(cfg).raw(key)
    return {name: value for name, value in found.items() if not name.startswith("_")}


@pytest.mark.parametrize(
    ("key", "overrides", "kept"),
    [
        (
            "data.y",
            ("data=audio_table", "architecture=many_to_one", "task=classification"),
            {"column"},
        ),
        ("data.x", ("data=table", "data.path=x.csv"), {"column", "lowercase", "max_vocabulary"}),
        ("optim", (), {"lr", "weight_decay"}),
        (
            "data.source.source",
            ("data=audio_table",),
            {"path", "train", "valid", "test", "encoding", "group", "stratify", "order", "seed"},
        ),
    ],
)
def test_a_new_class_keeps_of_the_old_ones_keys_what_it_takes(key, overrides, kept):
    new = {
        "data.y": f"{FIELDS}.labels.Category",
        "data.x": f"{FIELDS}.spelling.Spelled",
        "optim": "torch.optim.SGD",
        "data.source.source": f"{SOURCES}.text.LabelledLines",
    }[key]
    assert node(key, *overrides, f"{key}._target_={new}").keys() >= kept
    assert not node(key, *overrides, f"{key}._target_={new}").keys() & {"betas", "columns"}


def test_a_key_that_was_typed_is_kept_and_refused_where_the_class_does_not_take_it():
    typed = ("data=audio_table", f"data.source.source._target_={SOURCES}.text.LabelledLines")
    with pytest.raises(ConfigError) as caught:
        compose([*typed, "data.source.source.columns=[a]"])
    (problem,) = caught.value.problems
    assert problem.startswith("data.source.source.columns=[a]: unknown key; allowed: train, ")


def test_a_value_of_a_type_that_the_new_class_does_not_take_becomes_its_default():
    typed = ("data=table", "data.path=x.csv", f"data.x._target_={FIELDS}.spelling.Spelled")
    assert "min_count" not in node("data.x", *typed)
    assert node("data.x", *typed, "data.x.min_count=3")["min_count"] == 3


def test_a_key_that_holds_null_can_be_removed():
    assert "max_time" not in node("trainer", "~trainer.max_time")
    with pytest.raises(ConfigError, match=r"^~trainer\.max_tim: no such key; .*~trainer\.max_time"):
        compose(["~trainer.max_tim"])
