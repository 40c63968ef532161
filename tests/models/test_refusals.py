"""An option that a model cannot take is refused by name, with what is allowed."""

import pytest

from seqpipe.errors import ConfigError
from seqpipe.models.forcing import Exponential, InverseSigmoid, Linear

ALONE = "each note of a roll is drawn on its own, 1 or 0; allowed"
SAMPLED = {
    "temperature=0.0: out of range; allowed: a number in [1e-09, 10000]": ("", "temperature", 0.0),
    "top_k=0: out of range; allowed: an integer >= 1 or null": ("", "top_k", 0),
    "top_p=0.0: out of range; allowed: a number in [1e-06, 1] or null": ("", "top_p", 0.0),
    "top_p=1.5: out of range; allowed: a number in [1e-06, 1] or null": ("", "top_p", 1.5),
    f"top_k=3: {ALONE}: top_k=null": (" roll", "top_k", 3),
    f"top_p=0.5: {ALONE}: top_p=null": (" roll", "top_p", 0.5),
}
WITHIN = "out of range; allowed: an integer from 1 to"
SEARCHED = {
    f"beam_size=0: {WITHIN} 10000": {"beam_size": 0},
    f"n_best=3: {WITHIN} 2 (which beam_size=2 finds)": {"beam_size": 2, "n_best": 3},
    f"n_best=0: {WITHIN} 2 (which beam_size=2 finds)": {"beam_size": 2, "n_best": 0},
    "length_penalty=-0.5: out of range; allowed: a number in [0, 10]": {
        "beam_size": 2,
        "length_penalty": -0.5,
    },
}
DECAYED = {
    "updates=0: out of range; allowed: an integer >= 1": lambda: Linear(updates=0),
    "end=1.5: out of range; allowed: a number in [0, 1]": lambda: Linear(end=1.5),
    "base=1.0: out of range; allowed: a number in (0, 1)": lambda: Exponential(base=1.0),
    "k=0.5: out of range; allowed: a number >= 1": lambda: InverseSigmoid(k=0.5),
}


@pytest.mark.parametrize("message", SAMPLED)
def test_samples_that_cannot_be_drawn_are_refused_by_name(build, message):
    shape, option, value = SAMPLED[message]
    model = build(f"one_to_many{shape}").model
    with pytest.raises(ConfigError) as refused:
        model.sample(**{option: value})
    assert refused.value.problems == [message]


@pytest.mark.parametrize("message", SEARCHED)
def test_beams_that_cannot_search_are_refused_by_name(build, ragged, message):
    model, _, spec, _ = build("encoder_decoder additive")
    batch = ragged(spec)
    with pytest.raises(ConfigError) as refused:
        model.beam(batch.x, batch.x_lengths, 3, **SEARCHED[message])
    assert refused.value.problems == [message]


@pytest.mark.parametrize("message", DECAYED)
def test_what_does_not_decay_is_refused_by_name(message):
    with pytest.raises(ConfigError) as refused:
        DECAYED[message]()
    assert refused.value.problems == [f"architecture.teacher_forcing_decay.{message}"]
