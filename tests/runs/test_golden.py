"""A recorded run repeats: the numbers of a small training are those of the day it was recorded.

To record anew, after a change that is meant to change them:
    SEQPIPE_RECORD=1 python -m pytest tests/runs/test_golden.py
"""

import json
import os
import platform
from pathlib import Path

import numpy
import pytest
import pytorch_lightning
import torch

GOLDEN = Path(__file__).parent / "golden"
VERSIONS = {
    "python": platform.python_version(),
    "torch": torch.__version__,
    "pytorch_lightning": pytorch_lightning.__version__,
    "numpy": numpy.__version__,
    "machine": platform.machine(),
}


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.json")), ids=lambda path: path.stem)
def test_a_recorded_run_gives_its_recorded_metrics(path, launch):
    golden = json.loads(path.read_text())
    found = launch(golden["data"], *golden["overrides"]).metrics
    metrics = {k: v for k, v in found.items() if not k.startswith(("gradient/encoder", "cell/"))}
    if "SEQPIPE_RECORD" in os.environ:
        new = {**golden, "metrics": metrics, "recorded_with": VERSIONS}
        path.write_text(json.dumps(new, indent=2) + "\n")
    assert set(metrics) == set(golden["metrics"])
    told = f"recorded with {golden['recorded_with']}, now {VERSIONS}"
    # Another processor rounds otherwise, which may turn a decision or two of the test's 179.
    for name, value in golden["metrics"].items():
        wanted = (
            pytest.approx(value, rel=0.01) if "loss" in name else pytest.approx(value, abs=0.03)
        )
        assert metrics[name] == wanted, f"{name}; {told}"


def test_there_are_recorded_runs():
    assert {path.stem for path in GOLDEN.glob("*.json")} >= {"digits_lstm"}
