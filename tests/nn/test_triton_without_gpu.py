"""The Triton kernels on a machine without a GPU: run by Triton's interpreter, and compiled."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from seqpipe.checks import check_kernels
from seqpipe.errors import ConfigError
from seqpipe.nn.cells import GRU, LSTM, RNN
from seqpipe.nn.kernels import triton_loop
from seqpipe.nn.kernels.choice import cannot_run, kernel_on, select_kernel
from seqpipe.nn.recurrent import RecurrentLayer

HERE = Path(__file__).parent
needs_triton = pytest.mark.skipif(
    find_spec("triton") is None, reason="Triton comes with torch's builds for CUDA"
)


def run(arguments, tmp_path, **environment):
    """A Python program, which must end well."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "TRITON_"))}
    ended = subprocess.run(
        [sys.executable, *arguments],
        env={**clean, "TRITON_CACHE_DIR": str(tmp_path), **environment},
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout[-5000:] + ended.stderr[-5000:]
    return ended.stdout


@needs_triton
@pytest.mark.slow
def test_in_the_interpreter_the_kernels_have_the_answers_of_the_step_loop(tmp_path):
    # Triton reads the variable when it is imported, so this takes a process of its own.
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    tests = str(HERE / "test_triton.py")
    said = run(["-m", "pytest", *options, tests], tmp_path, TRITON_INTERPRET="1")
    assert " passed" in said
    assert " failed" not in said


@needs_triton
@pytest.mark.slow
def test_the_kernels_compile_for_the_oldest_and_for_newer_gpus(tmp_path):
    said = run([str(HERE / "compile_triton.py")], tmp_path)
    # For each of three GPUs: four LSTMs and the simplified GRU, two each; the GRU four; the trial.
    assert said.split()[0] == str(3 * (2 * 5 + 4 + 1))


def test_triton_is_not_asked_for_on_a_cpu():
    code = """
import sys, torch
from seqpipe.nn.cells import GRU
from seqpipe.nn.recurrent import RecurrentLayer
layer = RecurrentLayer(GRU(3, 4))
layer(torch.randn(2, 3, 3))[0].sum().backward()
assert layer.kernel_name() == "fast loop"
print([name for name in sys.modules if "triton" in name and name.startswith("seqpipe")])
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for name in ("elementwise", "gru_steps", "lstm_steps"):
        assert f"triton_{name}" not in said.stdout
    assert "triton_loop" in said.stdout


@pytest.mark.parametrize("kernel", ["auto", "fast"])
def test_without_triton_a_cell_of_a_gpu_is_stepped_and_a_forced_loop_is_refused(
    monkeypatch, kernel
):
    monkeypatch.setattr(triton_loop, "runs_triton", lambda device: False)
    gpu, cell = torch.device("cuda"), GRU(3, 4, kernel=kernel).float()
    chosen = select_kernel(cell)
    assert chosen.fits(gpu, torch.float32) == (kernel == "auto")
    if kernel == "auto":
        assert kernel_on(chosen, gpu, torch.float32).name == "step loop"
    else:
        wanted = r"cell.kernel=fast: it cannot run GRU in float32 on cuda here; allowed: auto, loop"
        with pytest.raises(ConfigError, match=wanted):
            raise ConfigError(cannot_run(cell, gpu))


def test_a_forced_loop_and_half_precision_with_triton(monkeypatch):
    monkeypatch.setattr(triton_loop, "runs_triton", lambda device: True)
    gpu = torch.device("cuda")
    for cell in (GRU(3, 4, kernel="fast"), LSTM(3, 4, kernel="fast")):
        assert kernel_on(select_kernel(cell), gpu, torch.float32).name == "Triton loop"
    assert kernel_on(select_kernel(GRU(3, 4)), gpu, torch.float16).name == "step loop"


@pytest.mark.parametrize(
    ("cell", "allowed"),
    [
        (RNN(3, 4, kernel="fast"), "RNN in float32 on cuda here; allowed: auto, fused, loop"),
        (GRU(3, 4, kernel="fast"), "GRU in float32 on cuda here; allowed: auto, loop"),
    ],
)
def test_a_kernel_that_the_training_device_lacks_is_refused_before_the_run(
    monkeypatch, cell, allowed
):
    monkeypatch.setattr(triton_loop, "runs_triton", lambda device: False)
    trainer = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device("cuda")))
    with pytest.raises(ConfigError, match=f"cell.kernel=fast: it cannot run {allowed}"):
        check_kernels(RecurrentLayer(cell.float()), trainer)
    check_kernels(RecurrentLayer(GRU(3, 4).float()), trainer)


def test_a_precision_that_no_fast_loop_has_is_refused_when_it_is_asked_for():
    cell = GRU(3, 4, kernel="fast").to(torch.bfloat16)
    wanted = r"cell.kernel=fast: it cannot run GRU in bfloat16 on cpu here; allowed: auto, loop"
    with pytest.raises(ConfigError, match=wanted):
        select_kernel(cell)(cell, torch.randn(2, 3, 3).bfloat16(), None, cell.initial_state(2))


def test_a_failing_triton_is_no_triton(monkeypatch, caplog):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setitem(sys.modules, "seqpipe.nn.kernels.triton_elementwise", None)
    triton_loop.runs_triton.cache_clear()
    with caplog.at_level("INFO"):
        assert not triton_loop.runs_triton(torch.device("cuda"))
    triton_loop.runs_triton.cache_clear()
    assert "no Triton on cuda" in caplog.text
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (6, 1))
    assert not triton_loop.runs_triton(torch.device("cuda"))
    triton_loop.runs_triton.cache_clear()
