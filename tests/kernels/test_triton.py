"""Runs the tests of the Triton kernels in Triton's interpreter, which a process chooses before it imports Triton."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="this is the interpreted session")
def test_kernels_in_the_interpreter():
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "triton_kernels"],
        cwd=HERE,
        # The interpreter multiplies small tiles with numpy: more threads would only wait for each other.
        env={**os.environ, "TRITON_INTERPRET": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    # The session's own report, failures included, is the message.
    report = f"TRITON_INTERPRET=1 pytest tests/kernels/triton_kernels\n{result.stdout}{result.stderr}"
    assert result.returncode == 0, report


@pytest.mark.gpu
@pytest.mark.parametrize("tool", ["memcheck", "racecheck"])
def test_whole_model_under_compute_sanitizer(tool):
    if not torch.cuda.is_available():
        pytest.skip("no GPU that PyTorch can use")
    sanitizer = shutil.which("compute-sanitizer")
    if sanitizer is None:
        pytest.skip("no compute-sanitizer on the path: it comes with the CUDA toolkit")
    result = subprocess.run(
        [sanitizer, "--tool", tool, "--error-exitcode", "9", "--target-processes", "all"]
        + [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "triton_kernels/test_model.py"],
        cwd=HERE,
        # Memory that PyTorch keeps for itself would hide what is read beyond a tensor.
        env={**os.environ, "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
