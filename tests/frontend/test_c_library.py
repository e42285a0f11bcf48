"""The C library builds by itself, without Python, and passes its own tests."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from satn_fast.frontend import supported_isas

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


def can_sanitize(folder):
    """Whether the C++ compiler that CMake takes by default has the sanitizers' run time."""
    compiler = os.environ.get("CXX", "c++")
    command = [compiler, "-fsanitize=address,undefined", "-x", "c++", "-", "-o", folder / "probe"]
    try:
        return subprocess.run(command, input=b"int main() {}", capture_output=True).returncode == 0
    except OSError:
        return False


def test_every_isa_passes_ctest_under_address_and_undefined_behaviour_sanitizers(tmp_path):
    if shutil.which("cmake") is None or shutil.which("ctest") is None:
        pytest.skip("no cmake on the path: install it to test the C library")
    if not can_sanitize(tmp_path):
        pytest.skip("the C++ compiler cannot link -fsanitize=address,undefined: install its sanitizer libraries")
    build = tmp_path / "build"
    configure = ["cmake", "-S", ROOT, "-B", build, "-DSATN_FAST_BUILD_TESTS=ON"]
    subprocess.run([*configure, "-DSATN_FAST_SANITIZE=address,undefined"], check=True, capture_output=True)
    subprocess.run(["cmake", "--build", build, "--parallel", "2"], check=True, capture_output=True)
    for isa in supported_isas():
        outcome = subprocess.run(
            ["ctest", "--test-dir", build, "--output-on-failure", "--parallel", "2"],
            env={**os.environ, "SATN_FAST_ISA": isa},
            capture_output=True,
            text=True,
        )
        assert outcome.returncode == 0, f"{isa}: {outcome.stdout}"
