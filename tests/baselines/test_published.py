"""Baselines of real data sets: the figures that counting and scikit-learn give on the same files.

Those figures were computed apart from this code, with the texts as they are: a vocabulary with
<UNK>, another split or another interpolation moves them a little.
"""

import pytest

from seqpipe.build import build_data, unchecked_task
from seqpipe.config.compose import compose

pytestmark = pytest.mark.realdata
WIKITEXT2 = (
    *("data.train=valid.txt", "data.valid=test.txt", "data.test=test.txt"),
    "data.y.max_vocabulary=10003",
)


@pytest.mark.parametrize(
    ("data", "folder", "options", "figures"),
    [
        (
            *("wikitext2", "lm_wikitext2", WIKITEXT2),
            {"unigram/perplexity": (444, 1), "bigram/perplexity": (202, 5)},
        ),
        ("sst2", "sentiment_sst2", (), {"majority/accuracy": (0.499, 0.001)}),
        ("sst2", "sentiment_sst2", (), {"linear/accuracy": (0.810, 0.01)}),
        ("sst5", "sentiment_sst5", (), {"linear/accuracy": (0.418, 0.01)}),
        ("wnut17", "ner_wnut17", (), {"tag_of_symbol/entity_f1": (0.060, 0.003)}),
        ("ud_ewt", "pos_ud_english_ewt", (), {"tag_of_symbol/accuracy": (0.783, 0.004)}),
        (
            *("jsb_chorales", "music_jsb_chorales", ()),
            {"frequencies/loss": (11.06, 0.02), "last_step/loss": (10.49, 0.05)},
        ),
        ("min_temperatures", "ts_forecasting", (), {"last/mae": (1.95, 0.005)}),
        (
            *("airline_passengers", "ts_forecasting", ()),
            {"last/mae": (44.72, 0.01), "seasonal/mae": (41.31, 0.01)},
        ),
    ],
)
def test_the_baselines_agree_with_figures_computed_apart(
    data, folder, options, figures, metrics_of, shared_data
):
    path = f"data.path={shared_data / folder}"
    cfg, _ = compose([f"data={data}", path, "data.cache=null", *options])
    prepared = build_data(cfg)
    found = metrics_of(unchecked_task(cfg, prepared), prepared)
    for name, (figure, tolerance) in figures.items():
        baseline, metric = name.split("/")
        assert found[baseline][metric] == pytest.approx(figure, abs=tolerance), name


@pytest.mark.parametrize(
    ("data", "folder", "least"),
    [
        ("japanese_vowels", "ts_japanese_vowels", 0.976),
        ("basic_motions", "ts_basic_motions", 0.80),
        ("fsdd", "speech_fsdd", 0.92),
        ("splice", "dna_splice_uci", 0.93),
    ],
)
def test_a_linear_model_reads_series_well(data, folder, least, metrics_of, shared_data):
    cfg, _ = compose([f"data={data}", f"data.path={shared_data / folder}", "data.cache=null"])
    prepared = build_data(cfg)
    found = metrics_of(unchecked_task(cfg, prepared), prepared)
    assert found["linear"]["accuracy"] >= least
