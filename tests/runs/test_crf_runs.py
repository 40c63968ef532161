"""Whole runs with architecture.head=crf."""

import json
import random

import pytest
import torch

from seqpipe.data.tags import faults, spans
from seqpipe.inference.load import load_model


def test_a_run_trains_tests_records_and_repeats_a_crf(launch):
    overrides = ["architecture.head=crf", "trainer.max_epochs=2", "preflight=full", "depth=2"]
    first = launch("copy_memory", *overrides, folder="first")
    again = launch("copy_memory", *overrides, folder="again")
    assert first.metrics == again.metrics
    assert 0 < first.metrics["test/loss"] < 2.2
    saved = torch.load(first.output_dir / "checkpoints" / "best.ckpt", weights_only=True)
    weights = saved["state_dict"]
    assert weights["model.head.transitions"].shape == (9, 9)
    assert weights["model.head.transitions"].ne(0).any()
    page = (first.output_dir / "report.md").read_text()
    assert "architecture.head=crf" in page
    metrics = json.loads((first.output_dir / "metrics.json").read_text())
    text = json.dumps(metrics)
    assert "gradient/encoder.0.forwards" in text


def test_one_batch_can_be_memorised_by_a_crf(launch):
    result = launch(
        "copy_memory",
        *("architecture.head=crf", "architecture.head.hidden=[16]", "bidirectional=true"),
        *("trainer=overfit", "hidden_size=32", "optim.lr=0.02", "data.batch_size=4"),
        *("trainer.max_epochs=300", "trainer.check_val_every_n_epoch=300", "preflight=none"),
        *("trainer.accelerator=cpu", "trainer.enable_progress_bar=false"),
    )
    assert result.metrics["test/accuracy"] == result.metrics["val/accuracy"] == 1.0


def sentences():
    """Random ones, in which names of one to three words are persons and Rome is a place."""
    draw = random.Random(0)
    for _ in range(200):
        for _ in range(draw.randint(1, 5)):
            kind = draw.choice(("person", "place", "other"))
            if kind == "person":
                yield "Ann B-PER\n" + "Lee I-PER\n" * draw.randint(0, 2)
            else:
                yield "Rome B-LOC\n" if kind == "place" else f"{draw.choice('abc')} O\n"
        yield "\n"


def test_what_was_trained_predicts_what_keeps_the_rules_alone_as_in_company(launch, tmp_path):
    file = tmp_path / "names.conll"
    file.write_text("".join(sentences()))
    more = ["architecture.head=crf", "trainer.max_epochs=6", "optim.lr=0.02"]
    result = launch("conll", f"data.path={file}", *more)
    assert result.metrics["test/entity_f1"] > 0.9
    (folder,) = {found.parent for found in result.output_dir.rglob("seqpipe.json")}
    model = load_model(folder)
    asked = [["Ann", "Lee", "Rome"], ["Lee"], ["a", "Lee", "Lee", "b"], ["Rome"]]
    answers = model.predict(asked)
    alone = model.predict(asked, batch_size=1)
    for tokens, answer, single in zip(asked, answers, alone, strict=True):
        tags = answer["prediction"]
        assert len(tags) == len(answer["probability"]) == len(tokens)
        assert not faults(tags, "bio")
        placed = [{k: v for k, v in one.items() if k != "text"} for one in answer["spans"]]
        assert placed == [span._asdict() for span in spans(tags)]
        assert single["prediction"] == tags
        assert single["probability"] == pytest.approx(answer["probability"], abs=1e-5)
    assert answers[0]["prediction"] == ["B-PER", "I-PER", "B-LOC"]
