"""Nothing wrong is timed: with our computation broken, its benchmarks fail and leave no figure."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.results import read

from ..conftest import REPOSITORY

pytest.importorskip("pytest_benchmark")

# A plugin for pytest that makes everything of ours wrong by 1 %, before the suites are imported.
BROKEN = """
from satn_fast import LogMel, functional, streaming

def off(function):
    def run(*arguments, **options):
        found = function(*arguments, **options)
        return (found[0] * 1.01, *found[1:]) if isinstance(found, tuple) else found * 1.01
    return run

for name in ("causal_conv1d", "self_attention", "attention_transfer_loss", "attentive_pool"):
    setattr(functional, name, off(getattr(functional, name)))
streaming.stream_step = off(streaming.stream_step)
LogMel.__call__ = off(LogMel.__call__)
"""
SUITES = {
    "test_operations": "forward and eager and not backward and not 128",
    "test_model": "test_inference and eager and base and not 8",
    "test_streaming": "test_step and edge and 30 and 25",
    "frontend/test_utterances": "test_utterance and stft and 3 and 40",
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("broken")
    (folder / "everything_is_off.py").write_text(BROKEN)
    suites = [REPOSITORY / "benchmarks" / f"{suite}.py" for suite in SUITES]
    chosen = " or ".join(f"({keyword})" for keyword in SUITES.values())
    options = ["--benchmark", f"--benchmark-results={folder}", "-k", chosen, "-q", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", "-p", "everything_is_off", *options, *suites]
    done = subprocess.run(
        command, cwd=REPOSITORY, env=os.environ | {"PYTHONPATH": str(folder)}, capture_output=True, text=True
    )
    assert done.returncode == 1, done.stdout + done.stderr
    (path,) = folder.glob("*.json")
    return path


def test_every_benchmark_of_what_is_broken_fails(ran):
    found = read(ran)
    assert {failure["suite"] for failure in found.failed} == set(SUITES)
    operations = {failure["case"].partition("[")[0] for failure in found.failed if "operations" in failure["suite"]}
    named = {"causal_conv1d", "self_attention", "attention_transfer_loss", "attentive_pool"}
    assert operations == {f"test_{name}" for name in named}
    assert all("differs from" in failure["reason"] for failure in found.failed)


def test_none_of_them_leaves_a_figure(ran):
    assert not read(ran).records
