"""Models of equal size: match_parameters chooses the width, which everything else reads."""

import json

import pytest
import torch
from omegaconf import OmegaConf

from seqpipe.commands.options import Rerun
from seqpipe.commands.rerun import run as rerun
from seqpipe.commands.train import run
from seqpipe.config.compose import Launch, compose
from seqpipe.errors import ConfigError
from seqpipe.inference.load import load_model
from seqpipe.inference.model_format import LOGGED
from seqpipe.nn import cells
from seqpipe.nn.recurrent import RecurrentStack
from seqpipe.runs.matched_size import nearest_width, parameter_count

ADDING = (
    *("data=adding", "data.length=6", "data.source.train=60", "data.source.valid=16"),
    "data.source.test=16",
)
TRANSLATION = (
    *("data=dates", "data.source.train=20", "data.source.valid=4", "data.source.test=4"),
    *("bidirectional=true", "architecture.bridge=copy"),
)
QUICK = (
    *("logger=none", "trainer.accelerator=cpu", "diagnostics=none"),
    *("trainer.enable_progress_bar=false", "preflight=none", "trainer.threads=1"),
)


@pytest.fixture
def trained(tmp_path):
    """trained("match_parameters=500"): the result of that run."""

    def start(*words, folder="run", data=ADDING):
        typed = [*data, *QUICK, "trainer.max_epochs=2", *words]
        cfg, choices = compose(typed)
        return run(cfg, Launch(tmp_path / "runs" / folder, tmp_path, choices, tuple(typed)))

    return start


def tanh(d, h):
    return h * (d + h + 1)


def gru(d, h):
    return 3 * tanh(d, h)


def peephole(d, h):
    return 4 * tanh(d, h) + 3 * h


CELLS = {cells.RNN: tanh, cells.GRU: gru, cells.PeepholeLSTM: peephole}


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("keys", [88, 100])
def test_the_count_of_a_recurrent_layer_is_that_of_its_equations(cell, keys):
    def count(width):
        stack = RecurrentStack(input_size=keys, hidden_size=width, cell=cell)
        model = torch.nn.Sequential(stack, torch.nn.Linear(width, keys))
        return parameter_count(model, "recurrent")

    for width in (1, 36, 46):
        assert count(width) == CELLS[cell](keys, width)


def test_the_widths_of_chung_have_twenty_thousand_parameters_each():
    """Chung et al. (2014), table 1: 100 tanh, 46 GRU and 36 LSTM units."""

    def widths(keys):
        return [nearest_width(20_000, lambda h, f=f: f(keys, h)) for f in CELLS.values()]

    assert widths(100) == [100, 46, 36]
    assert widths(88) == [104, 48, 39]


@pytest.mark.parametrize("wanted", [3, 4, 5, 7, 10, 100, 12_345])
def test_the_nearest_width_is_that_of_trying_all(wanted):
    def count(width):
        return 3 * width * width

    tried = min(range(1, 100), key=lambda width: (abs(count(width) - wanted), width))
    assert nearest_width(wanted, count) == tried


def test_shared_parameters_count_once():
    model = torch.nn.ModuleDict({"read": torch.nn.Embedding(7, 3), "write": torch.nn.Linear(3, 7)})
    model["write"].weight = model["read"].weight
    assert parameter_count(model) == 7 * 3 + 7


@pytest.mark.parametrize(
    ("words", "width"),
    [
        (("match_parameters=480",), 10),  # 4 h (2 + h + 1): 520, and 432 with 9
        (("match_parameters=480", "match_parameters_count=all"), 9),  # h + 1 more: 442, 531
        (("match_parameters=480", "cell=rnn", "bidirectional=true", "depth=2"), 7),  # 8 h (h + 1)
    ],
)
def test_the_record_the_checkpoint_and_the_model_have_the_width(trained, words, width):
    result = trained(*words)
    config = OmegaConf.load(result.output_dir / "config.yaml")
    saved = torch.load(result.output_dir / "checkpoints" / "last.ckpt", weights_only=True)
    model = load_model(result.output_dir / "model" / LOGGED)
    assert config.hidden_size == config.architecture.encoder.hidden_size == width
    assert saved["seqpipe"]["config"]["hidden_size"] == model.config["hidden_size"] == width
    count = sum(part.numel() for part in model.network.parameters())
    assert json.loads((result.output_dir / "metrics.json").read_text())["parameters"] == count


def test_the_width_is_the_same_as_one_that_is_typed(trained):
    chosen, typed = trained("match_parameters=500"), trained("hidden_size=10", folder="typed")
    assert chosen.metrics == typed.metrics


def test_a_run_with_a_chosen_width_is_resumed_and_repeated(trained, tmp_path):
    straight = trained("match_parameters=500", folder="straight")
    first = trained("match_parameters=500", "trainer.max_epochs=1", folder="first")
    checkpoint = first.output_dir / "checkpoints" / "last.ckpt"
    words = ("match_parameters=500", "scheduler=warmup_cosine", f"resume={checkpoint}")
    resumed = trained(*words, folder="resumed")
    assert resumed.metrics["parameters"] == straight.metrics["parameters"]
    answer = rerun(Rerun(run=str(straight.output_dir)), tmp_path)
    assert answer.code == 0, answer.text
    assert "differs" not in answer.text
    (new,) = (tmp_path / "outputs" / "runs").iterdir()
    assert OmegaConf.load(new / "config.yaml") == OmegaConf.load(
        straight.output_dir / "config.yaml"
    )
    with pytest.raises(ConfigError, match=r"match_parameters=501: .* another value"):
        trained("match_parameters=501", f"resume={checkpoint}", folder="other")


@pytest.mark.parametrize(
    ("data", "words", "message"),
    [
        (
            ADDING,
            ("match_parameters=15",),
            "match_parameters=15: the model has 16 with hidden_size=1; allowed: at least 16",
        ),
        (
            ("data=digits_flat",),
            ("match_parameters=500",),
            "match_parameters=500: hidden_size changes none of its parameters "
            "(match_parameters_count=recurrent); allowed: match_parameters_count=all, or null",
        ),
        (
            TRANSLATION,
            ("match_parameters=5000", "architecture.decoder.hidden_size=256"),
            "match_parameters=5000: not every hidden_size is possible: architecture.bridge=copy: "
            "the encoder's state is 2 wide and the decoder's 256; allowed: match_parameters=null",
        ),
        (
            TRANSLATION,
            ("match_parameters=5000", "hidden_size=8"),
            "hidden_size=8: match_parameters=5000 chooses it; allowed: leave it out, or "
            "match_parameters=null",
        ),
    ],
)
def test_a_number_that_no_width_has_is_refused(trained, data, words, message):
    with pytest.raises(ConfigError) as caught:
        trained(*words, data=data)
    assert caught.value.problems == [message]
