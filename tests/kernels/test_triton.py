"""Runs the tests of the Triton kernels in Triton's interpreter, which a process chooses before it imports Triton."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

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
