"""The C library builds by itself, without Python, and passes its own tests."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_library_builds_and_passes_ctest(tmp_path):
    if shutil.which("cmake") is None or shutil.which("ctest") is None:
        pytest.skip("no cmake on the path: install it to test the C library")
    build = tmp_path / "build"
    subprocess.run(["cmake", "-S", ROOT, "-B", build, "-DSATN_FAST_BUILD_TESTS=ON"], check=True, capture_output=True)
    subprocess.run(["cmake", "--build", build, "--parallel", "2"], check=True, capture_output=True)
    outcome = subprocess.run(["ctest", "--test-dir", build, "--output-on-failure"], capture_output=True, text=True)
    assert outcome.returncode == 0, outcome.stdout
    symbols = subprocess.run(["cmake", "-E", "cat", build / "CMakeCache.txt"], capture_output=True, text=True)
    assert "pybind11_DIR" not in symbols.stdout
