"""A class named in place of another: what its option wrote for the old one goes with it."""

import pytest

from seqpipe.config.compose import compose
from seqpipe.config.config_view import Tree
from seqpipe.data.fields.spelling import Spelled
from seqpipe.errors import ConfigError
from seqpipe.targets import instantiate

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


@pytest.mark.parametrize("min_count", [None, 3])
def test_spelled_words_are_chosen_by_the_way_a_text_is_read(min_count):
    typed = ["data=table", "data.path=x.csv", "data.x.by=spelled", "+data.x.characters=9"]
    typed += [] if min_count is None else [f"data.x.min_count={min_count}"]
    cfg, _ = compose(typed)
    assert cfg.data.x._target_ == f"{FIELDS}.spelling.Spelled"
    field = instantiate(cfg.data.x, "data.x")
    assert isinstance(field, Spelled)
    assert field.way.unit == "words"
    assert field.characters == 9
    assert field.way.min_count == (2 if min_count is None else 3)


def test_a_reader_of_characters_fits_spelled_words_only():
    typed = ["data=table", "data.path=x.csv", "architecture.characters=lstm"]
    compose([*typed, "data.x.by=spelled"])
    with pytest.raises(ConfigError, match="does not hold the characters of words"):
        compose(typed)


@pytest.mark.parametrize("data", ["pairs", "stream"])
def test_spelled_words_cannot_be_written(data):
    cfg, _ = compose([f"data={data}", "data.path=x.tsv", "data.y.by=spelled"])
    with pytest.raises(ConfigError) as refused:
        instantiate(cfg.data.y, "data.y")
    assert refused.value.problems == [
        "by=spelled: words with their characters are read by the field Spelled, and never "
        "written; allowed: words or characters; as x also spelled"
    ]


def test_a_key_that_holds_null_can_be_removed():
    assert "max_time" not in node("trainer", "~trainer.max_time")
    with pytest.raises(ConfigError, match=r"^~trainer\.max_tim: no such key; .*~trainer\.max_time"):
        compose(["~trainer.max_tim"])
