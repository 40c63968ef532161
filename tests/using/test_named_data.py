"""Which data a record names: data that comes with Python or a library names nothing."""

import pytest
from omegaconf import OmegaConf

from seqpipe.config.compose import compose
from seqpipe.errors import ConfigError
from seqpipe.runs.trust import check_data, named_data

BUNDLED = (
    *("adding", "copy_memory", "dates", "digits", "digits_flat"),
    *("identifiers", "python_docs", "python_tokens", "temporal_order"),
)
READ = {
    "conll2003": ("data.path=here", "data.path=here"),
    "hub": ("data.source.name=glue", "data.source.name=glue"),
    "names": ("data.path=here", "data.path=here"),
    "table": ("data.source.train=a.csv", "data.source.train=a.csv"),
}


class Theirs:
    """A run that was not trained from this folder."""

    typed = "run=theirs"

    def is_own(self, root) -> bool:
        return False


def of(*overrides):
    cfg, _ = compose(overrides)
    return OmegaConf.to_container(cfg, resolve=False)


@pytest.mark.parametrize("data", BUNDLED)
def test_data_that_comes_with_python_may_be_read_by_any_record(data, tmp_path):
    config = of(f"data={data}")
    assert named_data(config) == []
    check_data(Theirs(), config, tmp_path, own_data=False, instead="")


def test_a_class_that_is_bundled_names_what_stands_beside_it():
    """A path is no option of it, but where there is one, another class may read it."""
    config = of("data=identifiers")
    config["data"]["source"] = {
        "_target_": "seqpipe.data.sources.stream.Stream",
        "source": config["data"]["source"],
        "train": "secret.txt",
    }
    assert named_data(config) == ["data.source.train=secret.txt"]
    assert named_data({**of("data=identifiers"), "resume": "a.ckpt"}) == ["resume=a.ckpt"]


@pytest.mark.parametrize("data", READ)
def test_what_else_may_be_named_is_a_key_that_the_data_has(data, tmp_path):
    typed, named = READ[data]
    config = of(f"data={data}", typed)
    assert any(one.startswith(named.split("=")[0]) for one in named_data(config))
    with pytest.raises(ConfigError) as refused:
        check_data(Theirs(), config, tmp_path, own_data=False, instead="input=FILE, or ")
    allowed = str(refused.value).partition("; allowed: ")[2]
    assert (
        allowed
        == f"{named.split('=')[0]}=... of yours, input=FILE, or own_data=true, if you trust them"
    )
